"""The kernels that merge a tensor on a GPU: one pass, and factors never multiplied out.

A tensor is seen as a matrix `[rows, columns]`; each program takes one tile of it. A source is one
of four kinds: a change stored in full, two LoRA factors, full weights whose change is what they
differ from the base, or nothing at all. A tile of `b @ a` is made in registers and used up there.

What is computed is, entry by entry and in this order, what `mergelab.methods` computes in fp32.
For that the launches turn off the compiler's own joining of products and sums
(`enable_fp_fusion=False`), and divisions are correctly rounded. A product of factors is defined as
a chain of fused multiply-adds over the rank, from the first column of `b` to the last: on a GPU the
same bits in every kernel and tile, so that a threshold fits the values it is held against.

Counts and squares are written by each program to its own place and added up afterwards, so that
sums have one order and every run gives the same.
"""

from __future__ import annotations

import triton
import triton.language as tl

DENSE, FACTORS, TUNED, NOTHING = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2), tl.constexpr(3)
# What is stored of each source in `numbers`, and of the merge as a whole in the row after them.
WEIGHT, SHARE, DROP_FACTOR, LOW, HIGH, FACTOR = (tl.constexpr(i) for i in range(6))
DIVISOR, LAMBDA, DRAW = (tl.constexpr(i) for i in range(3))
NUMBERS = tl.constexpr(6)
DEPTH = tl.constexpr(16)  # of a product's step, the least that a GPU takes


@triton.jit
def as_fp32(pointer, entry, inside):
    """Entries of any floating dtype; bf16 is the upper half of an fp32 number."""
    values = tl.load(pointer + entry, mask=inside, other=0.0)
    if values.dtype == tl.bfloat16:
        bits = values.to(tl.int16, bitcast=True).to(tl.int32) << 16
        return bits.to(tl.float32, bitcast=True)
    else:
        return values.to(tl.float32)


@triton.jit
def rounded(values, DTYPE: tl.constexpr):
    """fp32 to the nearest number of another dtype, a tie to the even one; NaN stays NaN."""
    if DTYPE.is_bf16():
        bits = values.to(tl.int32, bitcast=True)
        upper = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        upper = tl.where(values == values, upper, 0x7FC0)
        return upper.to(tl.int16).to(tl.bfloat16, bitcast=True)
    else:
        return values.to(DTYPE)


@triton.jit
def tile_of(program, rows, columns, TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr):
    """The rows and columns of a tile, all in 64 bits: entries are numbered beyond 2**31."""
    across = tl.cdiv(columns, TILE_COLUMNS)
    row = (program // across).to(tl.int64) * TILE_ROWS + tl.arange(0, TILE_ROWS)
    column = (program % across).to(tl.int64) * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    return row, column, row[:, None] * columns + column[None, :], inside


@triton.jit
def product(b, a, rank, row, column, rows, columns, inside):
    """A tile of `b @ a`: added up over the rank, in order, each step rounded once."""
    total = inside.to(tl.float32) * 0.0
    depth = tl.arange(0, DEPTH)
    for _ in range(0, rank, DEPTH):
        there = depth < rank
        left = as_fp32(
            b, row[:, None] * rank + depth[None, :], (row < rows)[:, None] & there[None, :]
        )
        right = as_fp32(
            a,
            depth.to(tl.int64)[:, None] * columns + column[None, :],
            there[:, None] & (column < columns)[None, :],
        )
        total = tl.dot(left, right, total, input_precision="ieee")
        depth += DEPTH
    return total


@triton.jit
def change_of(
    first, second, rank, base, row, column, entry, rows, columns, inside, KIND: tl.constexpr
):
    """What a source changes in a tile, in fp32; `base` holds the base's values there."""
    if KIND == FACTORS:
        return product(first, second, rank, row, column, rows, columns, inside)
    elif KIND == TUNED:
        return as_fp32(first, entry, inside) - base
    elif KIND == DENSE:
        return as_fp32(first, entry, inside)
    else:
        return inside.to(tl.float32) * 0.0


@triton.jit
def survives(drops, row, column, entry, columns, ALIGNED: tl.constexpr, TILE_COLUMNS: tl.constexpr):
    """Which entries DARE keeps: entry i has word i % 4 of Philox's counter (i // 4, stream).

    `drops` holds seed, stream, and the number of 2**32 words that keep. Where a row's first entry
    always begins a counter (`ALIGNED`) each counter is used for its four entries at once.
    """
    if ALIGNED:
        quarter = tl.min(column, 0) // 4 + tl.arange(0, TILE_COLUMNS // 4)
        counter = (row * columns // 4)[:, None] + quarter[None, :]
    else:
        counter = entry // 4
    stream = tl.load(drops + 1)
    word0, word1, word2, word3 = tl.philox(
        tl.load(drops),
        (counter & 0xFFFFFFFF).to(tl.uint32),
        (counter >> 32).to(tl.uint32),
        (stream & 0xFFFFFFFF).to(tl.uint32),
        ((stream >> 32) & 0xFFFFFFFF).to(tl.uint32),
    )
    if ALIGNED:
        words = tl.join(tl.join(word0, word2), tl.join(word1, word3))
        word = tl.reshape(words, (row.shape[0], TILE_COLUMNS))
    else:
        lane = entry % 4
        even = tl.where(lane == 0, word0, word2)
        word = tl.where(lane % 2 == 0, even, tl.where(lane == 1, word1, word3))
    return word.to(tl.int64) < tl.load(drops + 2)


@triton.jit
def merge_kernel(
    out,
    counts,
    squares,
    base,
    firsts,
    seconds,
    ranks,
    numbers,
    drops,
    rows,
    columns,
    KINDS: tl.constexpr,
    HAS_BASE: tl.constexpr,
    IN_WEIGHTS: tl.constexpr,
    DROPS: tl.constexpr,
    TRIMS: tl.constexpr,
    ELECTS: tl.constexpr,
    BY_COUNT: tl.constexpr,
    UNWEIGHTED: tl.constexpr,
    DIVIDES: tl.constexpr,
    ADDS_BASE: tl.constexpr,  # otherwise the merged change is written
    ALIGNED: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    TILE_COLUMNS: tl.constexpr,
):
    """Drop, trim, elect or add up, scale, add the base, round; and count what happened.

    The two sides of an election are added up at once, and the elected one is taken at the end: so
    every source is read once, however many there are. `counts` gets, for each program, the entries
    removed of each source, the conflicts, those resolved, and how many more entries elect plus
    than minus; `squares` the merged change's square.
    """
    SOURCES: tl.constexpr = len(KINDS)
    program = tl.program_id(0)
    row, column, entry, inside = tile_of(program, rows, columns, TILE_ROWS, TILE_COLUMNS)
    nothing = inside.to(tl.float32) * 0.0
    base_values = nothing
    if HAS_BASE:
        base_values = as_fp32(base, entry, inside)
    total = nothing
    votes, plus, minus, plus_share, minus_share = nothing, nothing, nothing, nothing, nothing
    positive, negative = nothing > 0, nothing > 0
    places = counts + program.to(tl.int64) * (SOURCES + 3)
    for s in tl.static_range(SOURCES):
        change = change_of(
            firsts[s], seconds[s], ranks[s], base_values,
            row, column, entry, rows, columns, inside, KINDS[s],
        )  # fmt: skip
        left = change
        own = numbers + s * NUMBERS
        if DROPS:
            kept = survives(drops + 3 * s, row, column, entry, columns, ALIGNED, TILE_COLUMNS)
            left = tl.where(kept, left, 0.0) * tl.load(own + DROP_FACTOR)
        if TRIMS:
            magnitude = tl.abs(left)
            kept = (magnitude >= tl.load(own + LOW)) & (magnitude <= tl.load(own + HIGH))
            left = tl.where(kept, left, 0.0) * tl.load(own + FACTOR)
        if DROPS or TRIMS:
            removed = (change != 0.0) & (left == 0.0)
            tl.store(places + s, tl.sum(removed.to(tl.int32)))
        positive |= left > 0.0
        negative |= left < 0.0
        weight = tl.load(own + WEIGHT)
        if ELECTS:
            share = tl.load(own + SHARE)
            term = left * weight
            key = left if UNWEIGHTED else term
            up, down = key > 0.0, key < 0.0
            votes += up.to(tl.float32) - down.to(tl.float32) if BY_COUNT else key
            plus += tl.where(up, term, 0.0)
            minus += tl.where(down, term, 0.0)
            plus_share += tl.where(up, share, 0.0)
            minus_share += tl.where(down, share, 0.0)
        else:
            term = (base_values + left if IN_WEIGHTS else left) * weight
            if s == 0:
                total = term
            else:
                total += term
    whole = numbers + SOURCES * NUMBERS
    lam = tl.load(whole + LAMBDA)
    if ELECTS:
        elected = (votes > 0.0).to(tl.int32) - (votes < 0.0).to(tl.int32)
        tl.store(places + SOURCES + 2, tl.sum(elected))
        sign = tl.where(elected == 0, tl.load(whole + DRAW), elected.to(tl.float32))
        total = tl.where(sign > 0.0, plus, tl.where(sign < 0.0, minus, 0.0))
        if DIVIDES:
            share = tl.where(sign > 0.0, plus_share, tl.where(sign < 0.0, minus_share, 0.0))
            total = tl.div_rn(total, tl.where(share == 0.0, 1.0, share))
        total = total * lam
    else:
        total = tl.div_rn(total, nothing + tl.load(whole + DIVISOR)) * lam
    merged = total - base_values if IN_WEIGHTS else total
    conflict = positive & negative
    tl.store(places + SOURCES, tl.sum(conflict.to(tl.int32)))
    if ELECTS:
        resolved = conflict & (merged != 0.0)
        tl.store(places + SOURCES + 1, tl.sum(resolved.to(tl.int32)))
    wide = tl.where(inside, merged, 0.0).to(tl.float64)
    tl.store(squares + program, tl.sum(wide * wide))
    result = merged
    if ADDS_BASE:
        result = total if IN_WEIGHTS else base_values + total
    tl.store(out + entry, rounded(result, out.dtype.element_ty), mask=inside)


@triton.jit
def gram_kernel(
    sums,
    base,
    firsts,
    seconds,
    ranks,
    rows,
    columns,
    KINDS: tl.constexpr,
    HAS_BASE: tl.constexpr,
    IN_WEIGHTS: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    TILE_COLUMNS: tl.constexpr,
):
    """Inner products of all pairs, of changes or (`IN_WEIGHTS`) of base plus change, in fp64.

    Products of two fp32 numbers are exact there. Each program writes its own sums, pair (i, j <= i)
    at place `i (i + 1) / 2 + j`; pairs that are known from factors are left out. A source that is
    needed again is read again, from the cache: that keeps the registers free for any number.
    """
    SOURCES: tl.constexpr = len(KINDS)
    program = tl.program_id(0)
    row, column, entry, inside = tile_of(program, rows, columns, TILE_ROWS, TILE_COLUMNS)
    base_values = inside.to(tl.float32) * 0.0
    if HAS_BASE:
        base_values = as_fp32(base, entry, inside)
    places = sums + program.to(tl.int64) * (SOURCES * (SOURCES + 1) // 2)
    for i in tl.static_range(SOURCES):
        one = change_of(
            firsts[i], seconds[i], ranks[i], base_values,
            row, column, entry, rows, columns, inside, KINDS[i],
        )  # fmt: skip
        if IN_WEIGHTS:
            one = base_values + one
        one = one.to(tl.float64)
        for j in tl.static_range(i + 1):
            known = KINDS[i] == NOTHING or KINDS[j] == NOTHING
            known = known or (KINDS[i] == FACTORS and KINDS[j] == FACTORS)
            if IN_WEIGHTS or not known:
                if j == i:
                    other = one
                else:
                    other = change_of(
                        firsts[j], seconds[j], ranks[j], base_values,
                        row, column, entry, rows, columns, inside, KINDS[j],
                    )  # fmt: skip
                    if IN_WEIGHTS:
                        other = base_values + other
                    other = other.to(tl.float64)
                tl.store(places + i * (i + 1) // 2 + j, tl.sum(one * other))
