"""Whether a kernel's result is right, before any time of it is told.

Held against the methods' pure functions in fp64: weights in bf16 and fp16 within 1 ulp, those in
fp32 within twice the error that the same functions make in fp32; thresholds, masks and counts of
dense sources exactly; inner products within the rounding of what is multiplied.

An fp32 product of factors is not the exact one. Where an entry lies so near a threshold, or a vote
so near a draw, that this rounding decides, either side is right: such entries are counted apart,
and there must be few of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mergelab.benchmarks.reference import ROUNDING, Reference, Rows
from mergelab.kernels import Counts, Merge, TiledMerge, opposed
from mergelab.kernels.fused import FusedMerge
from mergelab.kernels.operands import LowRank
from mergelab.methods.dare import dare

MOST_ULP, MOST_TIMES = 1.0, 2.0
MOST_UNSURE = 0.05  # of all entries
SAME_SQUARE = 1e-5  # of the merged change, relative: thousands of roundings in fp32, added up
SAME_PRODUCT = 1e-10  # of inner products summed in fp64


class WrongResult(Exception):
    """A kernel gave what it must not; the message says which and how much, in one line."""


@dataclass(frozen=True)
class Checked:
    """The largest error, in `unit`, of how much is allowed; `unsure`: entries on either side."""

    error: float
    allowed: float
    unit: str
    unsure: int

    def to_dict(self) -> dict[str, object]:
        return {**vars(self)}


def check(run: TiledMerge | FusedMerge, weights: Tensor, merge: Merge) -> Checked:
    """Hold a finished run and the weights `[rows, columns]` it gave against the reference.

    Raises `WrongResult`.
    """
    wide = Reference(merge)
    found = _Sums(merge)
    halves = weights.dtype != torch.float32
    narrow = None if halves else Reference(merge, torch.float32)
    thresholds = _largest_margins(wide) if wide.thresholds else []
    error = own_error = 0.0
    for start, stop in wide.blocks():
        rows, margins = wide.rows(start, stop), wide.margins(start, stop)
        unsure = _unsure(wide, rows, margins, thresholds)
        found.add(rows, unsure)
        values = weights[start:stop].double()
        sure = ~unsure | ~values.isfinite()
        off = torch.where(sure, (values - rows.weights).abs(), 0.0)
        if narrow is None:
            off = _ulps(off, rows, margins, weights.dtype)
        else:
            made = narrow.rows(start, stop).weights.double()
            missed = torch.where(unsure, 0.0, (made - rows.weights).abs())
            own_error = max(own_error, float(missed.max()))
        error = _worst(error, float(off.max()))
    if halves:
        checked = Checked(error, MOST_ULP, "ulp", found.unsure)
    else:
        ratio = error / own_error if own_error else float(error != 0.0) * 3
        checked = Checked(ratio, MOST_TIMES, "times the reference's own error", found.unsure)
    if not checked.error <= checked.allowed:
        raise WrongResult(
            f"weights are off by {checked.error:.3g} {checked.unit}, {checked.allowed:g} is allowed"
        )
    if found.unsure > MOST_UNSURE * weights.numel():
        raise WrongResult(f"{found.unsure:,} of {weights.numel():,} entries are too near to tell")
    found.compare(run.counts)
    if isinstance(run, FusedMerge):
        for own, threshold, margin in zip(
            run.prepared, wide.thresholds, thresholds, strict=bool(thresholds)
        ):
            _same("a threshold", own.low, threshold, margin)
    if wide.gram:
        _check_gram(run.weight_gram, wide)
    return checked


def _worst(a: float, b: float) -> float:
    return a if a >= b or a != a else b  # NaN is worst


def _largest_margins(wide: Reference) -> list[float]:
    """For each source the largest of its entries' margins: so far off a threshold may be."""
    blocks = [[float(m.max()) for m in wide.margins(*block)] for block in wide.blocks()]
    return [max(of_one) for of_one in zip(*blocks, strict=True)]


def _unsure(
    wide: Reference, rows: Rows, margins: Sequence[Tensor], thresholds: Sequence[float]
) -> Tensor:
    """Where rounding decides what is kept, or which sign a source or the vote has."""
    merge = wide.merge
    found = torch.zeros_like(rows.weights, dtype=torch.bool)
    for change, low, margin in zip(rows.changes, wide.thresholds, thresholds, strict=False):
        if margin:
            found |= (change.abs() - low).abs() <= 2 * margin
    votes, doubt = 0.0, 0.0
    for left, margin, own in zip(rows.left, margins, merge.per_source, strict=True):
        scale = 1 / own["density"] if merge.method.prepare is dare else 1.0
        found |= (left != 0) & (left.abs() <= margin * scale)
        term = left * own.get("weight", 1.0)
        votes = votes + term
        doubt = doubt + margin * scale * own.get("weight", 1.0)
        if len(merge.changes) > 2:  # of two terms no sum has the wrong sign
            doubt = doubt + len(merge.changes) * ROUNDING * term.abs()
    if merge.method.resolves_conflicts:
        found |= opposed(rows.left) & (doubt > 0) & (votes.abs() <= doubt)
    return found


def _ulps(off: Tensor, rows: Rows, margins: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """Errors in units of the last place of the exact number, beyond what fp32 itself rounds.

    That matters only where base and change nearly cancel.
    """
    info = torch.finfo(dtype)
    exponent = torch.frexp(rows.weights.abs()).exponent - 1
    ulp = torch.ldexp(torch.full_like(off, info.eps), exponent)
    ulp = ulp.clamp(min=info.smallest_normal * info.eps)
    sizes = rows.base.abs() + sum(left.abs() for left in rows.left)
    rounding = (len(rows.left) + 8) * ROUNDING * sizes + sum(2 * margin for margin in margins)
    return (off - rounding).clamp(min=0) / ulp


def _check_gram(found: Sequence[Sequence[float]], wide: Reference) -> None:
    ranks = [change.rank for change in wide.merge.changes if isinstance(change, LowRank)]
    within = (max(ranks, default=0) + 4) * ROUNDING if wide.merge.in_weights else SAME_PRODUCT
    for i, row in enumerate(wide.gram):
        for j, exact in enumerate(row):
            lengths = (wide.gram[i][i] * wide.gram[j][j]) ** 0.5
            _same("an inner product", found[i][j], exact, within * lengths)


def _same(what: str, found: float, exact: float, within: float) -> None:
    if not abs(found - exact) <= within:
        raise WrongResult(f"{what} is {found:.9g} and must be {exact:.9g}")


class _Sums:
    """Counts of the reference, block by block."""

    def __init__(self, merge: Merge) -> None:
        self._resolves = merge.method.resolves_conflicts
        self._factored = any(isinstance(change, LowRank) for change in merge.changes)
        self._removed = [0] * len(merge.changes)
        self._conflicts = self._resolved = self.unsure = 0
        self._square = 0.0

    def add(self, rows: Rows, unsure: Tensor) -> None:
        for i, (before, after) in enumerate(zip(rows.changes, rows.left, strict=True)):
            self._removed[i] += int(before.count_nonzero() - after.count_nonzero())
        conflict = opposed(rows.left)
        self._conflicts += int(conflict.sum())
        if self._resolves:
            self._resolved += int((conflict & (rows.change != 0)).sum())
        self._square += float(rows.change.square().sum())
        self.unsure += int(unsure.sum())

    def compare(self, counts: Counts) -> None:
        """Raise `WrongResult` where a run's counts are others."""
        within = self.unsure if self._factored else 0
        for i, (found, exact) in enumerate(zip(counts.removed, self._removed, strict=True)):
            _same(f"how many entries source {i} lost", found, exact, within)
        _same("how many entries conflict", counts.conflicts, self._conflicts, within)
        _same("how many are resolved", counts.resolved, self._resolved, self.unsure)
        within = SAME_SQUARE * self._square
        _same("the square of the change", counts.merged_square, self._square, within)
