"""A merge as the methods' pure functions make it in a precision of choice, some rows at a time.

It shares nothing with the kernels: thresholds are found by NumPy over the whole tensor, masks and
sums by `mergelab.methods`, products of factors in the precision asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mergelab.kernels import Merge
from mergelab.kernels.operands import InMemory, LowRank, Operand
from mergelab.methods.dare import dare
from mergelab.methods.gram import gram
from mergelab.methods.slerp import slerp_coefficients
from mergelab.methods.trimming import keep_between, kept_count, trim

BLOCK = 1 << 21  # entries looked at at a time: 16 MiB of fp64
ROUNDING = 2.0**-24  # the most by which fp32 rounds, relative to the number


@dataclass(frozen=True)
class Rows:
    """Some rows: the changes, what the first half left of them, the merged change, the weights."""

    changes: Sequence[Tensor]
    left: Sequence[Tensor]
    change: Tensor
    weights: Tensor
    base: Tensor


class Reference:
    """The merge in `dtype`, fp64 or fp32.

    `gram`: inner products of what slerp joins, summed in fp64; empty for other methods.
    """

    def __init__(self, merge: Merge, dtype: torch.dtype = torch.float64) -> None:
        self.merge, self.dtype = merge, dtype
        self.shape = merge.base.shape
        trims = merge.method.prepare is trim
        self.thresholds = [self._threshold(i) for i in range(len(merge.changes))] if trims else []
        on_the_arc = merge.method.coefficients is slerp_coefficients
        self.gram = self._gram() if on_the_arc else ()
        self._factors = slerp_coefficients(self.gram, **merge.settings) if on_the_arc else ()
        self._weights = [own.get("weight", 1.0) for own in merge.per_source]

    def blocks(self) -> Iterator[tuple[int, int]]:
        """The runs of rows to look at, one after the other."""
        rows, columns = self.shape
        step = max(1, BLOCK // columns)
        for start in range(0, rows, step):
            yield start, min(start + step, rows)

    def rows(self, start: int, stop: int) -> Rows:
        """What becomes of rows `start` to `stop`."""
        merge = self.merge
        changes = self._changes(start, stop)
        base = _rows(merge.base, start, stop, self.dtype)
        if merge.in_weights:
            weights = self._combined([base + change for change in changes])
            return Rows(changes, changes, weights - base, weights, base)
        left = [self._left(i, change, start) for i, change in enumerate(changes)]
        change = self._combined(left)
        return Rows(changes, left, change, base + change, base)

    def _changes(self, start: int, stop: int) -> list[Tensor]:
        return [_rows(change, start, stop, self.dtype) for change in self.merge.changes]

    def _left(self, source: int, change: Tensor, start: int) -> Tensor:
        prepare, own = self.merge.method.prepare, self.merge.per_source[source]
        if prepare is trim:
            return keep_between(change, self.thresholds[source])
        if prepare is dare:
            stream, offset = self.merge.streams[source], start * self.shape[1]
            return dare(change, own["density"], seed=self.merge.seed, stream=stream, offset=offset)
        return change

    def _combined(self, tensors: Sequence[Tensor]) -> Tensor:
        if self._factors:
            return sum(factor * x for factor, x in zip(self._factors, tensors, strict=True))
        return self.merge.method.combine(tensors, weights=self._weights, **self.merge.settings)

    def _threshold(self, source: int) -> float:
        change, density = self.merge.changes[source], self.merge.per_source[source]["density"]
        parts = [
            _rows(change, *block, self.dtype).abs().flatten().cpu().numpy()
            for block in self.blocks()
        ]
        sizes = np.concatenate(parts)
        place = len(sizes) - kept_count(len(sizes), density)
        return float(np.partition(sizes, place)[place])

    def _gram(self) -> tuple[tuple[float, ...], ...]:
        sums = np.zeros((len(self.merge.changes),) * 2)
        for start, stop in self.blocks():
            changes = self._changes(start, stop)
            if self.merge.in_weights:
                base = _rows(self.merge.base, start, stop, self.dtype)
                changes = [base + change for change in changes]
            sums += np.array(gram(changes))
        return tuple(map(tuple, sums.tolist()))

    def margins(self, start: int, stop: int) -> list[Tensor]:
        """For each source the most by which an entry's product in fp32 misses the exact one.

        Whatever the order it is added up in; 0 for a source that is stored as it is.
        """
        nothing = torch.zeros((), dtype=torch.float64, device=self.merge.base.tensor.device)
        return [
            (c.rank + 1) * ROUNDING * (c.b[start:stop].abs().double() @ c.a.abs().double())
            if isinstance(c, LowRank)
            else nothing
            for c in self.merge.changes
        ]


def _rows(operand: Operand, start: int, stop: int, dtype: torch.dtype) -> Tensor:
    if isinstance(operand, LowRank):
        return operand.b[start:stop].to(dtype) @ operand.a.to(dtype)
    assert isinstance(operand, InMemory)
    return operand.tensor[start:stop].to(dtype)
