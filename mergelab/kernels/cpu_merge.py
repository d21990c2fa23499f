"""Merging one tensor on a CPU in fused passes: what `TiledMerge` gives, by compiled loops.

A merge is at most three passes over the sources: inner products (for the methods on the sphere),
thresholds (for those that trim), and one that does all the rest. The products of LoRA factors are
made tile by tile by PyTorch, into memory that is used again; most of the time goes into them. So
a threshold is first guessed from some entries, and found in one pass if the guess was good.

Measured on two AMD EPYC cores, per entry: a product of rank 16 .7 ns; counting digits .6 ns and
twice per threshold, gathering around a guess .4 ns and once; trim, election, counts, base and
rounding apart 3 ns, fused 1.3 ns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from mergelab.kernels.combining import GramSum
from mergelab.kernels.counting import Counts
from mergelab.kernels.cpu import words
from mergelab.kernels.cpu_loops import How, gather_between, gram_run, merge_run
from mergelab.kernels.fused import FusedMerge
from mergelab.kernels.fused_settings import takes as kernels_take
from mergelab.kernels.operands import LowRank, Operand, as_matrix, tiles
from mergelab.kernels.preparing import kth_largest
from mergelab.kernels.tiled import Matrix, Merge
from mergelab.methods.dare import dare

WORTH_GUESSING = 1 << 20  # entries; a smaller tensor has been read twice before a guess is made
SAMPLE = 1 << 16  # entries that a guess is made from
MARGIN = 0.05  # how far off the share of entries above it may be


def takes(merge: Merge) -> bool:
    """Whether the loops can do this merge; what they cannot, `TiledMerge` does.

    >>> from mergelab.kernels.operands import Zeros
    >>> from mergelab.methods import REGISTRY
    >>> [takes(Merge(REGISTRY[name], [Zeros((4, 5))], {}, [{}])) for name in ("ties", "della")]
    [True, False]
    """
    settings = merge.settings
    late = merge.method.prepare is dare and settings.get("trim_after", 1.0) != 1.0
    undecided = settings.get("zero_sign") == "majority" and settings.get("majority") is None
    return kernels_take(merge) and not late and not undecided


@dataclass(frozen=True)
class FusedPart:
    """Rows of a merged tensor, as `mergelab.kernels.tiled.Part`; good until the next is taken.

    `weights`: base and change added up, `[rows, columns]`, in the run's dtype if that is bf16,
    else in fp32.
    """

    start: int
    stop: int
    weights: Tensor
    run: CompiledMerge

    @property
    def change(self) -> Tensor:
        """What the merge makes of the changes, in fp32; made when it is asked for."""
        return self.run.change(self.start, self.stop)


class CompiledMerge(FusedMerge):
    """Runs a `Merge` that the loops take (`takes`), part by part.

    `dtype`: of the merged weights. `worth_guessing`, the number of entries from which on a
    threshold is guessed first, changes no bit. Raises `ValueError` as the method does.
    """

    def __init__(
        self,
        merge: Merge,
        dtype: torch.dtype = torch.float32,
        worth_guessing: int = WORTH_GUESSING,
    ) -> None:
        self.dtype = torch.bfloat16 if dtype == torch.bfloat16 else torch.float32
        self.shape = merge.changes[0].shape
        longest = max((stop - start for start, stop in tiles(self.shape)), default=0)
        room = longest * as_matrix(self.shape)[1]
        self._deltas = torch.empty(len(merge.changes), room)
        self._value = torch.empty(room, dtype=self.dtype)
        self._sums = GramSum(merge.changes)
        super().__init__(merge)
        self.prepared = [
            replace(
                own,
                **{
                    bound: magnitude_at(change, rank, merge, worth_guessing)
                    for bound, rank in own.ranks.items()
                },
            )
            for own, change in zip(self.prepared, merge.changes, strict=True)
        ]
        self._how = self._numbers()

    def parts(self) -> Iterator[FusedPart]:
        """The merged tensor part by part; counts and sums are complete when all have been taken."""
        columns, sources = as_matrix(self.shape)[1], len(self.merge.changes)
        counts, square = np.zeros(sources + 2, dtype=np.int64), 0.0
        self._sums = self._sums if self._sums.complete else GramSum(self.merge.changes)
        for start, stop in tiles(self.shape):
            value = self._value[: (stop - start) * columns]
            square += self._run(start, stop, value, counts, adds_base=True)
            self._sums.add([row[: len(value)] for row in self._deltas])
            yield FusedPart(start, stop, value.view(stop - start, columns), self)
        self._sums.close()
        *removed, conflicts, resolved = counts.tolist()
        if not self.merge.method.resolves_conflicts:
            resolved = 0
        entries = math.prod(self.shape)
        self.counts = Counts(entries, tuple(removed), conflicts, resolved, square)

    def change(self, start: int, stop: int) -> Tensor:
        """Rows of the merged change, in fp32; of the weights where there is no base."""
        found = torch.empty(stop - start, as_matrix(self.shape)[1])
        counts = np.zeros(len(self.merge.changes) + 2, dtype=np.int64)
        self._run(start, stop, found.view(-1), counts, adds_base=self.merge.in_weights)
        return found - self._base(start, stop) if self.merge.in_weights else found

    @property
    def gram(self) -> Matrix:
        """Inner products of the changes in fp64, complete when all parts have been taken."""
        return self._sums.matrix

    @cached_property
    def weight_gram(self) -> Matrix:
        """Those of what is combined: of full weights where `in_weights`."""
        if not self.merge.in_weights:
            self._sums.finish(self.merge.changes)
            return self._sums.matrix
        sources = len(self.merge.changes)
        sums = np.zeros((sources, sources))
        for start, stop in tiles(self.shape):
            deltas = self._read(start, stop)
            gram_run(deltas.numpy(), _flat(self._base(start, stop)), sums)
        whole = np.tril(sums) + np.tril(sums, -1).T
        return tuple(map(tuple, whole.tolist()))

    def _run(
        self, start: int, stop: int, value: Tensor, counts: np.ndarray, *, adds_base: bool
    ) -> float:
        deltas = self._read(start, stop)
        columns = as_matrix(self.shape)[1]
        base = np.empty(0, dtype=np.float32)
        if self.merge.base is not None and adds_base:
            base = _flat(self._base(start, stop))
        halves = value.dtype == torch.bfloat16
        outputs = (
            np.empty(0, dtype=np.float32) if halves else value.numpy(),
            value.view(torch.uint16).numpy() if halves else np.empty(0, dtype=np.uint16),
        )
        first = np.int64(start * columns)
        return merge_run(deltas.numpy(), base, first, self._how, *outputs, counts)

    def _read(self, start: int, stop: int) -> Tensor:
        """The same rows of all changes, `[sources, entries]`, in memory that is used again."""
        columns = as_matrix(self.shape)[1]
        deltas = self._deltas[:, : (stop - start) * columns]
        for change, row in zip(self.merge.changes, deltas, strict=True):
            rows_into(change, start, stop, row.view(stop - start, columns))
        return deltas

    def _base(self, start: int, stop: int) -> Tensor:
        return self.merge.base.rows(start, stop)

    def _numbers(self) -> How:
        how, streams = self.combination, self.merge.streams or [0] * len(self.prepared)

        def floats(rows: list) -> np.ndarray:
            with np.errstate(over="ignore"):  # as in PyTorch, what is too large is infinite
                return np.array(rows, dtype=np.float64).astype(np.float32)

        keys = [[*words(self.merge.seed), *words(stream)] for stream in streams]
        divisor, lam, draw = floats([how.divisor, how.lam, how.draw])
        return How(
            words=np.array([own.words for own in self.prepared], dtype=np.uint64),
            keys=np.array(keys, dtype=np.uint64),
            bounds=floats([[own.low, own.high] for own in self.prepared]),
            factors=floats([[own.drop_factor, own.factor] for own in self.prepared]),
            weights=floats(how.weights),
            shares=floats(how.shares),
            divisor=divisor,
            lam=lam,
            draw=draw,
            in_weights=self.merge.in_weights,
            drops=self.dropping,
            trims=self.trimming,
            elects=how.switches["ELECTS"],
            by_count=how.switches["BY_COUNT"],
            unweighted=how.switches["UNWEIGHTED"],
            divides=how.switches["DIVIDES"],
        )


def rows_into(operand: Operand, start: int, stop: int, out: Tensor) -> None:
    """Put rows of an operand into `out`, `[rows, columns]` in fp32, without memory of their own."""
    if isinstance(operand, LowRank):
        torch.mm(operand.b[start:stop], operand.a, out=out)
    else:
        out.copy_(operand.rows(start, stop))


def magnitude_at(
    operand: Operand, rank: int, merge: Merge, worth_guessing: int = WORTH_GUESSING
) -> float:
    """The magnitude of an operand at a rank, 1 being the largest.

    >>> from mergelab.kernels.operands import InMemory
    >>> from mergelab.methods import REGISTRY
    >>> tau = InMemory(torch.tensor([[3.0, -1.0], [2.0, -5.0]]))
    >>> magnitude_at(tau, 2, Merge(REGISTRY["ties"], [tau], {}, [{}]))
    3.0
    """
    if isinstance(operand, LowRank) and math.prod(operand.shape) >= worth_guessing:
        found = _near_guess(operand, rank)
        if found is not None:
            return found
    return kth_largest(operand, rank, backend=merge.backend)[0]


def _near_guess(operand: LowRank, rank: int) -> float | None:
    """The magnitude at a rank, in one pass; None if it is not where it was expected."""
    low, high = _guess(operand, rank)
    columns = as_matrix(operand.shape)[1]
    gathered, above = [], 0
    values = torch.empty(max(stop - start for start, stop in tiles(operand.shape)) * columns)
    found = np.empty(len(values), dtype=np.float32)
    for start, stop in tiles(operand.shape):
        part = values[: (stop - start) * columns]
        rows_into(operand, start, stop, part.view(stop - start, columns))
        inside, more = gather_between(part.numpy(), low, high, found)
        gathered.append(found[:inside].copy())
        above += more
    near = np.concatenate(gathered)
    place = rank - above  # among those near, from the largest
    if not 1 <= place <= len(near):
        return None
    return float(np.partition(near, len(near) - place)[len(near) - place])


def _guess(operand: LowRank, rank: int) -> tuple[np.float32, np.float32]:
    """Two magnitudes between which the one at `rank` should lie, from a grid of the entries.

    Rows of a trained change differ in size, and so do columns: many of both are better than whole
    ones.
    """
    size = math.prod(operand.shape)
    step = max(1, math.isqrt(size // SAMPLE))
    grid = operand.b[::step] @ operand.a[:, ::step]
    sample = grid.abs_().view(-1).numpy()
    share = rank / size
    places = [round((share + margin) * len(sample)) for margin in (MARGIN, -MARGIN)]
    bounds = [np.float32(0), np.float32(math.inf)]
    inner = {i: len(sample) - place for i, place in enumerate(places) if 0 < place < len(sample)}
    if inner:
        sample.partition(sorted(set(inner.values())))
        for i, place in inner.items():
            bounds[i] = sample[place]
    return bounds[0], bounds[1]


def _flat(tensor: Tensor) -> np.ndarray:
    return tensor.contiguous().view(-1).numpy()
