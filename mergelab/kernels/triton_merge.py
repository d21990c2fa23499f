"""Merging one tensor on a GPU in whole passes: what `TiledMerge` gives, by the Triton kernels.

A merge is at most three steps: inner products (for the methods on the sphere), thresholds (for
those that trim), and one pass that does all the rest. Coefficients, counts of what is kept and
errors come from `mergelab.methods`, so that only the passes over the data are new.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from mergelab.kernels.combining import majority_of
from mergelab.kernels.counting import Counts
from mergelab.kernels.fused import FusedMerge
from mergelab.kernels.fused_settings import Preparation
from mergelab.kernels.operands import InMemory
from mergelab.kernels.tiled import Matrix, Merge
from mergelab.kernels.triton_kernels import FACTORS, NOTHING, gram_kernel, merge_kernel
from mergelab.kernels.triton_selection import WORTH_SAMPLING, kth_largest
from mergelab.kernels.triton_sources import Sources, Tile


@dataclass(frozen=True)
class WholePart:
    """All rows of a merged tensor, as `mergelab.kernels.tiled.Part` gives some of them.

    `weights`: base and change added up, `[rows, columns]`, rounded once to the run's dtype.
    """

    start: int
    stop: int
    weights: Tensor
    run: TritonMerge

    @property
    def change(self) -> Tensor:
        """What the merge makes of the changes, in fp32; made when it is asked for."""
        return self.run.change


class TritonMerge(FusedMerge):
    """Runs a `Merge` that the kernels take (`fused_settings.takes`), in one part.

    `dtype`: of the merged weights. `tile`, and `worth_sampling`, the number of tiles from which on
    a threshold is guessed first, change no bit of the result. Raises `ValueError` as the method.
    """

    def __init__(
        self,
        merge: Merge,
        dtype: torch.dtype = torch.float32,
        tile: Tile | None = None,
        worth_sampling: int = WORTH_SAMPLING,
    ) -> None:
        self.dtype = dtype
        self._sources = Sources(merge.changes, merge.base, tile)
        super().__init__(merge)
        self._drops = self._on_device(_random(merge, self.prepared), torch.int64)
        self.prepared = self._with_thresholds(self.prepared, worth_sampling)
        if self.combination.draw is None:
            self.combination = replace(self.combination, draw=0.0)
            *_, signs = self._run(torch.float32, adds_base=False)
            self.combination = replace(self.combination, draw=majority_of(signs))

    def parts(self) -> Iterator[WholePart]:
        """The merged tensor in one part; `counts` is complete when it has been taken."""
        weights, self.counts, _ = self._run(self.dtype, adds_base=True)
        yield WholePart(0, self._sources.shape[0], weights, self)

    @property
    def change(self) -> Tensor:
        """The merged change in fp32, `[rows, columns]`; the weights where there is no base."""
        return self._run(torch.float32, adds_base=False)[0]

    @property
    def result(self) -> InMemory:
        """What was combined, in fp32: the change, or the weights where `in_weights`."""
        return InMemory(self._run(torch.float32, adds_base=self.merge.in_weights)[0])

    @cached_property
    def gram(self) -> Matrix:
        """Inner products of the changes in fp64."""
        return self._gram(in_weights=False)

    @cached_property
    def weight_gram(self) -> Matrix:
        """Those of what was combined: of full weights where `in_weights`."""
        return self._gram(in_weights=True) if self.merge.in_weights else self.gram

    def _with_thresholds(
        self, prepared: Sequence[Preparation], worth_sampling: int
    ) -> list[Preparation]:
        """The same with the magnitudes that stand at the ranks that are given."""
        wanted = [
            (source, bound, rank)
            for source, own in enumerate(prepared)
            for bound, rank in own.ranks.items()
        ]
        if not wanted:
            return list(prepared)
        found = kth_largest(
            self._sources,
            [(source, rank) for source, _, rank in wanted],
            self._numbers(prepared),
            self._drops,
            dropping=self.dropping,
            worth_sampling=worth_sampling,
        )
        bounds: list[dict[str, float]] = [{} for _ in prepared]
        for (source, bound, _), magnitude in zip(wanted, found, strict=True):
            bounds[source][bound] = magnitude
        return [replace(own, **known) for own, known in zip(prepared, bounds, strict=True)]

    def _numbers(self, prepared: Sequence[Preparation]) -> Tensor:
        """A row for each source, and one for the merge, as `triton_kernels` names their places."""
        how = self.combination
        rows = [
            [weight, share, own.drop_factor, own.low, own.high, own.factor]
            for weight, share, own in zip(how.weights, how.shares, prepared, strict=True)
        ]
        rows.append([how.divisor, how.lam, how.draw or 0.0, 0.0, 0.0, 0.0])
        return self._on_device(rows, torch.float32)

    def _on_device(self, numbers: Sequence[Sequence[float]], dtype: torch.dtype) -> Tensor:
        return torch.tensor(numbers, dtype=dtype).to(self._sources.device)

    def _run(self, dtype: torch.dtype, *, adds_base: bool) -> tuple[Tensor, Counts, int]:
        """The merged tensor, its counts, and how many more entries elect plus than minus."""
        of, count = self._sources, len(self.merge.changes)
        out = torch.empty(of.shape, dtype=dtype, device=of.device)
        counts = torch.zeros(of.tiles, count + 3, dtype=torch.int32, device=of.device)
        squares = torch.zeros(of.tiles, dtype=torch.float64, device=of.device)
        of.run(
            merge_kernel,
            *(out, counts, squares),
            then=(self._numbers(self.prepared), self._drops),
            IN_WEIGHTS=self.merge.in_weights,
            DROPS=self.dropping,
            TRIMS=self.trimming,
            **self.combination.switches,
            ADDS_BASE=adds_base and self.merge.base is not None,
            ALIGNED=of.aligned,
        )
        *removed, conflicts, resolved, signs = counts.sum(0).tolist()
        found = Counts(of.size, tuple(removed), conflicts, resolved, float(squares.sum()))
        return out, found, signs

    def _gram(self, *, in_weights: bool) -> Matrix:
        """Products of factors in the small; the other pairs in one pass over all sources."""
        of, count = self._sources, len(self.merge.changes)
        matrix = torch.zeros(count, count, dtype=torch.float64)
        if not in_weights:
            matrix += of.products_of_factors()
        if in_weights or not set(of.kinds) <= {FACTORS.value, NOTHING.value}:
            pairs = count * (count + 1) // 2
            sums = torch.zeros(of.tiles, pairs, dtype=torch.float64, device=of.device)
            of.run(gram_kernel, sums, IN_WEIGHTS=in_weights)
            i, j = torch.tril_indices(count, count)
            lower = torch.zeros_like(matrix)
            lower[i, j] = sums.sum(0).cpu()
            matrix += lower + lower.tril(-1).T
        return tuple(map(tuple, matrix.tolist()))


def _random(merge: Merge, prepared: Sequence[Preparation]) -> list[list[int]]:
    """For each source seed, stream and the number of words that keep, as 64-bit integers."""
    streams = merge.streams or [0] * len(prepared)
    return [
        [_signed(merge.seed), _signed(stream), own.words]
        for stream, own in zip(streams, prepared, strict=True)
    ]


def _signed(value: int) -> int:
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)
