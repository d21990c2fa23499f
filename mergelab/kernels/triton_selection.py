"""The k-th largest magnitude on a GPU, exactly: radix selection with a good first guess.

As in `mergelab.kernels.selection`, the bits of a magnitude are taken as a whole number and counted
digit by digit: two passes. What is slow on a GPU is the first: every entry adds one to some counter
in memory, and most of them to the same few. So in a large tensor the first digit is guessed: a
sample says within which bounds the k-th largest lies, all but certainly, and a pass over all
entries counts those within alone, and how many lie above. The counts prove the guess, or show that
it was wrong, and then the search begins anew without one. With 20 bits to a digit the bounds are
usually narrow enough for every magnitude within to have a counter of its own: then this one pass
gives the threshold.

Counters are whole numbers, so it does not matter in which order they are added to. Zeros are not
counted: they need no counter, for the k-th largest is zero where nothing else is left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from mergelab.kernels.triton_kernels import (
    DROP_FACTOR,
    NUMBERS,
    as_fp32,
    change_of,
    survives,
    tile_of,
)
from mergelab.kernels.triton_sources import Sources

BITS, BITS_AFTER_GUESS = 16, 20  # of a digit; even, for counters are added up as a square
AT_ONCE = 32  # rows of the square that a program adds up
SAMPLED = 64  # tiles; in all about 2**18 entries
WORTH_SAMPLING = 8 * SAMPLED  # tiles
MARGIN = 8  # standard deviations of a rank in a random sample


@triton.jit
def digits_kernel(
    counters,
    above,
    state,
    base,
    firsts,
    seconds,
    ranks,
    numbers,
    drops,
    every,
    rows,
    columns,
    SEARCHES: tl.constexpr,
    SIDE: tl.constexpr,
    KINDS: tl.constexpr,
    HAS_BASE: tl.constexpr,
    DROPS: tl.constexpr,
    ALIGNED: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    TILE_COLUMNS: tl.constexpr,
):
    """Count the digits of each search's magnitudes, and how many are beyond its counters.

    `SEARCHES` names each search's source; `state` holds its lowest bits and its shift, negative
    where it is done. One of `every` tiles is looked at.
    """
    program = tl.program_id(0).to(tl.int64) * every
    row, column, entry, inside = tile_of(program, rows, columns, TILE_ROWS, TILE_COLUMNS)
    base_values = inside.to(tl.float32) * 0.0
    if HAS_BASE:
        base_values = as_fp32(base, entry, inside)
    for q in tl.static_range(len(SEARCHES)):
        lowest = tl.load(state + 2 * q).to(tl.int32)
        shift = tl.load(state + 2 * q + 1).to(tl.int32)
        if shift >= 0:
            values = change_of(
                firsts[SEARCHES[q]], seconds[SEARCHES[q]], ranks[SEARCHES[q]], base_values,
                row, column, entry, rows, columns, inside, KINDS[SEARCHES[q]],
            )  # fmt: skip
            if DROPS:
                kept = survives(
                    drops + 3 * SEARCHES[q], row, column, entry, columns, ALIGNED, TILE_COLUMNS
                )
                factor = tl.load(numbers + SEARCHES[q] * NUMBERS + DROP_FACTOR)
                values = tl.where(kept, values, 0.0) * factor
            bits = values.to(tl.int32, bitcast=True) & 0x7FFFFFFF
            there = inside & (bits >= lowest) & (bits > 0)
            place = (bits - lowest) >> shift
            within = there & (place < SIDE * SIDE)
            tl.atomic_add(
                counters + q * SIDE * SIDE + place, inside.to(tl.int32), mask=within, sem="relaxed"
            )
            beyond = tl.sum((there & (place >= SIDE * SIDE)).to(tl.int64))
            tl.atomic_add(above + q, beyond, sem="relaxed")


@triton.jit
def sums_kernel(counters, sums, SIDE: tl.constexpr, AT_ONCE: tl.constexpr):
    """Add up each row of the square of counters; every program takes `AT_ONCE` rows."""
    row = tl.program_id(0).to(tl.int64) * AT_ONCE + tl.arange(0, AT_ONCE)
    counts = tl.load(counters + row[:, None] * SIDE + tl.arange(0, SIDE)[None, :])
    tl.store(sums + row, tl.sum(counts.to(tl.int64), 1))


@triton.jit
def counter_at(counters, sums, rank, SIDE: tl.constexpr):
    """The counter in which the entry of a rank lies, counting from the largest."""
    index = tl.arange(0, SIDE)
    rows = tl.load(sums + index)
    from_above = tl.sum(rows, 0) - tl.cumsum(rows, 0) + rows
    row = tl.sum((from_above >= rank).to(tl.int32), 0) - 1
    rank -= tl.sum(tl.where(index > row, rows, 0), 0)
    counts = tl.load(counters + row * SIDE + index).to(tl.int64)
    from_above = tl.sum(counts, 0) - tl.cumsum(counts, 0) + counts
    return row * SIDE + tl.sum((from_above >= rank).to(tl.int32), 0) - 1


@triton.jit
def guess_kernel(counters, sums, state, bounds, SIDE: tl.constexpr, WHOLE: tl.constexpr):
    """Set each search's counters to the bounds that a sample gives: two ranks, upper one first."""
    q = tl.program_id(0)
    counters += q.to(tl.int64) * SIDE * SIDE
    sums += q * SIDE
    total = tl.sum(tl.load(sums + tl.arange(0, SIDE)), 0)
    upper, lower = tl.load(bounds + 2 * q), tl.load(bounds + 2 * q + 1)
    lowest = 0
    if lower <= total:
        lowest = counter_at(counters, sums, lower, SIDE)
    highest = SIDE * SIDE - 1
    if (upper > 0) & (upper <= total):
        highest = counter_at(counters, sums, upper, SIDE)
    width = (highest + 1 - lowest) << WHOLE
    shift = 0
    for bit in tl.static_range(WHOLE):
        shift += (width > ((SIDE * SIDE) << bit)).to(tl.int32)
    tl.store(state + 2 * q, (lowest << WHOLE).to(tl.int64))
    tl.store(state + 2 * q + 1, shift.to(tl.int64))


@triton.jit
def narrow_kernel(counters, sums, above, state, wanted, SIDE: tl.constexpr, WHOLE: tl.constexpr):
    """Go on to the digit in which the wanted rank lies; or to all magnitudes, if it is outside."""
    q = tl.program_id(0)
    counters += q.to(tl.int64) * SIDE * SIDE
    sums += q * SIDE
    lowest, shift = tl.load(state + 2 * q), tl.load(state + 2 * q + 1)
    if shift >= 0:
        rank = tl.load(wanted + q) - tl.load(above + q)
        total = tl.sum(tl.load(sums + tl.arange(0, SIDE)), 0)
        if (rank > 0) & (rank <= total):
            digit = counter_at(counters, sums, rank, SIDE).to(tl.int64)
            tl.store(state + 2 * q, lowest + (digit << shift))
            tl.store(state + 2 * q + 1, tl.where(shift == 0, -1, 0).to(tl.int64))
        else:  # only zeros are left, or the guess was wrong
            done = (rank > 0) & (lowest == 0)
            tl.store(state + 2 * q, lowest * 0)
            tl.store(state + 2 * q + 1, tl.where(done, -1, WHOLE).to(tl.int64))


def kth_largest(
    sources: Sources,
    searches: Sequence[tuple[int, int]],
    numbers: Tensor,
    drops: Tensor,
    *,
    dropping: bool = False,
    worth_sampling: int = WORTH_SAMPLING,
) -> list[float]:
    """The magnitudes of several sources at several ranks; `searches`: pairs of a source and a rank.

    With `dropping` they are those of what a drop leaves; `numbers` and `drops` as for a merge.
    """
    count, device = len(searches), sources.device
    guesses = sources.tiles >= worth_sampling
    bits = BITS_AFTER_GUESS if guesses else BITS
    side, whole = 1 << bits // 2, 31 - bits  # at this shift the counters span every magnitude
    wanted = torch.tensor([rank for _, rank in searches], device=device)
    state = torch.tensor([[0, whole]] * count, device=device)
    sums = torch.empty(count, side, dtype=torch.int64, device=device)

    def counted(every: int) -> tuple[Tensor, Tensor]:
        counters = torch.zeros(count, side * side, dtype=torch.int32, device=device)
        above = torch.zeros(count, dtype=torch.int64, device=device)
        sources.run(
            digits_kernel,
            *(counters, above, state),
            then=(numbers, drops, every),
            every=every,
            SEARCHES=tuple(source for source, _ in searches),
            SIDE=side,
            DROPS=dropping,
            ALIGNED=sources.aligned,
        )
        rows = {"SIDE": side, "AT_ONCE": AT_ONCE, "num_warps": 8}
        sources.alone(sums_kernel, count * side // AT_ONCE, counters, sums, **rows)
        return counters, above

    if guesses:
        every = max(1, sources.tiles // SAMPLED)
        counters, _ = counted(every)
        looked_at = sources.size // every
        bounds = [sample_bounds(rank / sources.size, looked_at) for _, rank in searches]
        bounds = torch.tensor(bounds, device=device)
        sources.alone(guess_kernel, count, counters, sums, state, bounds, SIDE=side, WHOLE=whole)
    while True:
        counters, above = counted(1)
        arguments = (counters, sums, above, state, wanted)
        sources.alone(narrow_kernel, count, *arguments, SIDE=side, WHOLE=whole)
        found = state.tolist()
        if all(shift < 0 for _, shift in found):
            lowest = torch.tensor([bits for bits, _ in found], dtype=torch.int32)
            return lowest.view(torch.float32).tolist()


def sample_bounds(share: float, size: int) -> tuple[int, int]:
    """Two ranks in a sample of `size` between which the rank at `share` of all entries lies.

    >>> sample_bounds(0.5, 10_000)
    (4600, 5400)
    """
    margin = MARGIN * math.sqrt(size * share * (1 - share))
    return math.floor(share * size - margin), math.ceil(share * size + margin)
