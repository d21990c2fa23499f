"""Merging one tensor in parts, in plain PyTorch: every method, on any device.

A tensor is merged in runs of rows that stay in the processor's cache, so that memory depends on
the size of a part and not on that of the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from mergelab.kernels.backends import TORCH, Backend
from mergelab.kernels.combining import GramSum, combine, factors_of, is_by_row
from mergelab.kernels.counting import Counts
from mergelab.kernels.operands import Operand, Remembered, Rowwise, Zeros, tiles
from mergelab.kernels.preparing import factor_of, prepare
from mergelab.methods.concat import concat
from mergelab.methods.declaration import Method
from mergelab.methods.factors import Factors

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Merge:
    """The merge of one tensor, ready to be run.

    `changes`: what each source changes in the base (its own weight where there is no base).
    `settings`: the merge's parameters; `per_source`: each source's, in the order of `changes`.
    `in_weights`: full weights are combined, base plus change, and not the changes. `merged`: the
    merged change, where it is known already (from factors merged apart). `seed` and
    `streams` (one per source) name the random numbers, `backend` does the inner loops.
    """

    method: Method
    changes: Sequence[Operand]
    settings: Mapping[str, Any]
    per_source: Sequence[Mapping[str, Any]]
    base: Operand | None = None
    in_weights: bool = False
    merged: Operand | None = None
    seed: int = 0
    streams: Sequence[int] = ()
    backend: Backend = TORCH


class Part(NamedTuple):
    """A run of a merged tensor's rows, from `start` up to but without `stop`, in fp32.

    `weights`: base and change added up; `change`: what the merge makes of the changes. Both are
    `[rows, columns]`.
    """

    start: int
    stop: int
    weights: Tensor
    change: Tensor


class TiledMerge:
    """Runs a `Merge` part by part.

    Raises `ValueError`, on construction or while it runs, as the method does.

    >>> import torch
    >>> from mergelab.kernels.operands import InMemory
    >>> from mergelab.methods import REGISTRY
    >>> tau = [InMemory(torch.tensor(t)) for t in ([0.5, 0.01], [-0.25, 0.02])]
    >>> run = TiledMerge(Merge(REGISTRY["ties"], tau, {"lam": 1.0}, [{"density": 0.5}] * 2))
    >>> [part.weights.tolist() for part in run.parts()]
    [[[0.5, 0.0]]]
    >>> run.counts.removed, run.counts.conflicts, run.counts.resolved
    ((1, 1), 1, 1)
    """

    def __init__(self, merge: Merge) -> None:
        self.merge = merge
        method = merge.method
        self._base = None if merge.base is None else Remembered(merge.base)
        self._changes = [Remembered(change) for change in merge.changes]
        self._operands: Sequence[Operand] = self._changes
        if merge.in_weights:
            self._operands = [
                Remembered(Rowwise(change.shape, (self._base, change), _plus))
                for change in self._changes
            ]
        self._sums = GramSum(self._operands)
        numbers = merge.settings, merge.per_source
        if merge.merged is not None:
            self._prepared, self.result = self._operands, merge.merged
            return
        self._prepared = prepare(
            method, self._operands, *numbers, merge.seed, merge.streams, merge.backend
        )
        sums = self._sums if method.prepare is None else None
        self.result = combine(method, self._prepared, *numbers, self._base, merge.backend, sums)

    def parts(self) -> Iterator[Part]:
        """The merged tensor part by part; counts and sums are complete when all have been taken."""
        in_weights, resolves = self.merge.in_weights, self.merge.method.resolves_conflicts
        count = self.merge.backend.count
        self.counts = Counts(0, (0,) * len(self._changes), 0, 0, 0.0)
        self._weight_gram = self._sums if self._sums.complete else GramSum(self._operands)
        self._gram = GramSum(self._changes) if in_weights else self._weight_gram
        for start, stop in tiles(self.result.shape):
            merged = self.result.rows(start, stop)
            changes = [change.rows(start, stop) for change in self._changes]
            left = changes if in_weights else [p.rows(start, stop) for p in self._prepared]
            self._gram.add(changes)
            if in_weights and not self._weight_gram.complete:
                self._weight_gram.add([weight.rows(start, stop) for weight in self._operands])
            change, value = merged, merged
            if self._base is not None:
                base = self._base.rows(start, stop)
                change = merged - base if in_weights else merged
                value = merged if in_weights else base + merged
            self.counts += count(changes, left, change, resolves=resolves)
            yield Part(start, stop, value, change)

    @property
    def gram(self) -> Matrix:
        """Inner products of the changes in fp64, complete when all parts have been taken."""
        return self._gram.matrix

    @property
    def weight_gram(self) -> Matrix:
        """Those of what was combined: of full weights where `in_weights`."""
        return self._weight_gram.matrix

    @property
    def rescale(self) -> tuple[float, ...]:
        """For each source the factor on what its first half kept, in the order of the changes."""
        return tuple(map(factor_of, self._prepared))

    def low_rank(self) -> Factors | None:
        """The merged change as factors, where the method gives or only adds up some."""
        if isinstance(self.result, Factors):
            return self.result
        method, changes = self.merge.method, [change.operand for change in self._changes]
        changes = [change for change in changes if not isinstance(change, Zeros)]
        summed = method.coefficients and not method.prepare and not self.merge.in_weights
        summed = summed and not is_by_row(method, self.merge.settings)
        if not summed or not changes or not all(isinstance(c, Factors) for c in changes):
            return None
        factors = factors_of(method, self._changes, self.merge.settings, self.merge.per_source)
        pairs = zip(self._changes, factors, strict=True)
        weights = [f for change, f in pairs if not isinstance(change.operand, Zeros)]
        return concat(changes, weights)


def _plus(base: Tensor, change: Tensor, _: int) -> Tensor:
    return base + change
