"""All that numba compiles for a CPU: steps on a block of entries, and runs over many blocks.

A block is short enough to stay in the first-level cache while all steps are done to it, and for a
count of its entries to be exact in fp32. The steps are those of the functions in
`mergelab.methods`, in the same order, so that every bit is the same; only sums in fp64 are added
up in another order. Arrays are fp32 and of one length, `[n]`, if nothing else is said.

It is one file because numba keeps compiled code on disk by the file of the outermost function: a
step in another file could change and the old one would still run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np

BLOCK = 1024  # entries
_ZERO, _ONE = np.float32(0), np.float32(1)
_SIGN_OFF = np.uint32(0x7FFFFFFF)


def _compiled(**options: Any) -> Callable[[Callable], Callable]:
    """numba's `njit`; what it compiles is kept on disk, if there is a folder to keep it in."""

    def decorate(function: Callable) -> Callable:
        try:
            return numba.njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # neither beside this file nor in the user's cache
            return numba.njit(nogil=True, **options)(function)

    return decorate


jit = _compiled(error_model="numpy")
reordering = _compiled(fastmath={"reassoc"})  # for sums of counts and of fp64


# Steps on a block --------------------------------------------------------------------------------


@jit
def drop(before, words, keys, first, mask, after):
    """What stays of entries `first` and on; `mask` has room for a block and 4 more."""
    lead = first & 3  # entries of the first counter that belong to what came before
    counters = (lead + len(before) + 3) >> 2
    survivors(
        np.uint64(first >> 2), keys[2], keys[3], keys[0], keys[1], words, mask[: 4 * counters]
    )
    kept = mask[lead : lead + len(before)]
    for i in range(len(after)):
        after[i] = before[i] if kept[i] > _ZERO else _ZERO


@jit
def survivors(first, stream0, stream1, seed0, seed1, limit, survives):
    """Where the words of counters `first` and on lie below `limit`, as 1 and 0.

    Philox4x32-10, as in `mergelab.methods.philox`.
    """
    mask, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    for j in range(len(survives) // 4):
        block = first + np.uint64(j)
        c0, c1, c2, c3 = block & mask, block >> half, stream0, stream1
        k0, k1 = seed0, seed1
        for _ in range(10):
            product0 = (c0 & mask) * np.uint64(0xD2511F53)
            product1 = (c2 & mask) * np.uint64(0xCD9E8D57)
            c0, c1 = (product1 >> half) ^ c1 ^ k0, product1 & mask
            c2, c3 = (product0 >> half) ^ c3 ^ k1, product0 & mask
            k0 = (k0 + np.uint64(0x9E3779B9)) & mask
            k1 = (k1 + np.uint64(0xBB67AE85)) & mask
        survives[4 * j] = _ONE if c0 < limit else _ZERO
        survives[4 * j + 1] = _ONE if c1 < limit else _ZERO
        survives[4 * j + 2] = _ONE if c2 < limit else _ZERO
        survives[4 * j + 3] = _ONE if c3 < limit else _ZERO


@jit
def copy(values, out):
    for i in range(len(out)):  # numba's own assignment looks for overlaps, one entry at a time
        out[i] = values[i]


@jit
def scale(values, factor):
    for i in range(len(values)):
        values[i] *= factor


@jit
def trim(values, low, high):
    """Set to zero whose magnitude is not in `[low, high]`."""
    for i in range(len(values)):
        magnitude = abs(values[i])
        values[i] = values[i] if (magnitude >= low) & (magnitude <= high) else _ZERO


@reordering
def removed(before, after):
    """How many entries became zero."""
    gone = _ZERO
    for i in range(len(after)):
        gone += _ONE if (before[i] != _ZERO) & (after[i] == _ZERO) else _ZERO
    return np.int64(gone)


@jit
def tell_signs(values, plus, minus):
    """Mark with 1 in `plus` and `minus` where a source has that sign."""
    for i in range(len(values)):
        plus[i] = _ONE if values[i] > _ZERO else plus[i]
        minus[i] = _ONE if values[i] < _ZERO else minus[i]


@reordering
def conflicts(plus, minus):
    """How many entries have both marks; `plus` keeps those marks alone."""
    clashing = _ZERO
    for i in range(len(plus)):
        plus[i] *= minus[i]
        clashing += plus[i]
    return clashing


@reordering
def resolved(clash, change):
    """How many of the marked entries have a change."""
    settled = _ZERO
    for i in range(len(clash)):
        settled += clash[i] if change[i] != _ZERO else _ZERO
    return np.int64(settled)


@jit
def add_weighted(values, weight, total):
    for i in range(len(total)):
        total[i] += values[i] * weight


@jit
def add_votes(values, weight, by_count, votes):
    """Add one source's votes, by their size or by their number."""
    if by_count:
        for i in range(len(votes)):
            votes[i] += sign_of(values[i] * weight, _ZERO)
    else:
        add_weighted(values, weight, votes)


@jit
def settle(votes, draw):
    """From sums of votes to signs; `draw` where they are 0."""
    for i in range(len(votes)):
        votes[i] = sign_of(votes[i], draw)


@jit
def sign_of(value, draw):
    return _ONE if value > _ZERO else (-_ONE if value < _ZERO else draw)


@jit
def add_agreeing(values, weight, voting, share, votes, total, divisors):
    """Add what agrees with the votes, and its share; `voting`: the weight that says what agrees."""
    for i in range(len(total)):
        agrees = values[i] * voting * votes[i] > _ZERO
        total[i] += values[i] * weight if agrees else _ZERO
        divisors[i] += share * (_ONE if agrees else _ZERO)


@jit
def divide(total, divisors):
    for i in range(len(total)):
        total[i] /= divisors[i] if divisors[i] != _ZERO else _ONE


@jit
def divide_by(values, divisor):
    for i in range(len(values)):
        values[i] /= divisor


@jit
def add(a, b, total):
    for i in range(len(total)):
        total[i] = a[i] + b[i]


@jit
def subtract(origin, values):
    for i in range(len(values)):
        values[i] -= origin[i] if len(origin) else _ZERO


@reordering
def square(values):
    total = 0.0
    for i in range(len(values)):
        total += np.float64(values[i]) * np.float64(values[i])
    return total


@jit
def write(values, start, value, halves):
    """Store in fp32, or rounded to bf16: to nearest, and to even where it is half way."""
    if len(value):
        copy(values, value[start : start + len(values)])
        return
    out, bits = halves[start : start + len(values)], values.view(np.uint32)
    for i in range(len(out)):
        odd = (bits[i] >> np.uint32(16)) & np.uint32(1)
        rounded = (bits[i] + np.uint32(0x7FFF) + odd) >> np.uint32(16)
        nan = (bits[i] & _SIGN_OFF) > np.uint32(0x7F800000)
        out[i] = np.uint16(np.uint32(0x7FC0) if nan else rounded)


# Runs over blocks --------------------------------------------------------------------------------


@jit
def drop_run(values, limit, keys, offset, kept):
    """What a drop leaves of `values`, of which the first is entry `offset`, into `kept`."""
    mask = np.empty(BLOCK + 4, dtype=np.float32)
    for start in range(0, len(values), BLOCK):
        before, after = values[start : start + BLOCK], kept[start : start + BLOCK]
        drop(before, limit, keys, offset + start, mask, after)


@jit
def weighted_sum_run(deltas, weights, total):
    """The sum of some arrays, each times its weight, into `total`."""
    for start in range(0, len(total), BLOCK):
        part, first = total[start : start + BLOCK], deltas[0][start : start + BLOCK]
        for i in range(len(part)):
            part[i] = first[i] * weights[0]
        for s in range(1, len(deltas)):
            add_weighted(deltas[s][start : start + BLOCK], weights[s], part)


@jit
def elect_run(deltas, weights, voting, shares, lam, by_count, draw, divides, merged):
    """Elect a sign and average what agrees with it, into `merged`; see `How`."""
    votes = np.empty(BLOCK, dtype=np.float32)
    divisors = np.empty(BLOCK, dtype=np.float32)
    for start in range(0, len(merged), BLOCK):
        part = merged[start : start + BLOCK]
        signs, divisor = votes[: len(part)], divisors[: len(part)]
        part[:] = _ZERO
        signs[:] = _ZERO
        divisor[:] = _ZERO
        for s in range(len(deltas)):
            add_votes(deltas[s][start : start + BLOCK], voting[s], by_count, signs)
        settle(signs, draw)
        for s in range(len(deltas)):
            delta = deltas[s][start : start + BLOCK]
            add_agreeing(delta, weights[s], voting[s], shares[s], signs, part, divisor)
        if divides:
            divide(part, divisor)
        scale(part, lam)


@jit
def count_run(changes, prepared, merged, same, gone):
    """Add to `gone` what became zero; returns conflicts, those resolved, and the square."""
    plus, minus = np.empty(BLOCK, dtype=np.float32), np.empty(BLOCK, dtype=np.float32)
    clashing, settled, total = 0, 0, 0.0
    for start in range(0, len(merged), BLOCK):
        part = merged[start : start + BLOCK]
        up, down = plus[: len(part)], minus[: len(part)]
        up[:] = _ZERO
        down[:] = _ZERO
        for s in range(len(prepared)):
            after = prepared[s][start : start + BLOCK]
            tell_signs(after, up, down)
            if not same:
                gone[s] += removed(changes[s][start : start + BLOCK], after)
        clashing += np.int64(conflicts(up, down))
        settled += resolved(up, part)
        total += square(part)
    return clashing, settled, total


@jit
def upper_digits(bits, counts):
    """Count the upper 16 bits of magnitudes, given as bits."""
    for i in range(len(bits)):
        counts[(bits[i] & _SIGN_OFF) >> np.uint32(16)] += 1


@jit
def lower_digits(bits, upper, counts):
    """Count the lower 16 bits of those whose upper ones are `upper`."""
    for i in range(len(bits)):
        if (bits[i] & _SIGN_OFF) >> np.uint32(16) == upper:
            counts[bits[i] & np.uint32(0xFFFF)] += 1


class How(NamedTuple):
    """What is done to every entry; the arrays have a row or a number for each source.

    `words`: of 2**32 random words, how many keep. `keys`: the four words of seed and stream.
    `bounds`: the magnitudes that a trim keeps. `factors`: what is multiplied by after the drop,
    and after the trim.
    """

    words: np.ndarray
    keys: np.ndarray
    bounds: np.ndarray
    factors: np.ndarray
    weights: np.ndarray
    shares: np.ndarray
    divisor: np.float32
    lam: np.float32
    draw: np.float32
    in_weights: bool
    drops: bool
    trims: bool
    elects: bool
    by_count: bool
    unweighted: bool
    divides: bool


@jit
def merge_run(deltas, base, offset, how, value, halves, counts):
    """Merge entries `offset` and on; returns the square of the merged change.

    `deltas` `[sources, n]` and `base` `[n]` or empty, in fp32. The result goes to `value` `[n]` in
    fp32, or, where that is empty, rounded to bf16 to `halves` `[n]`, as uint16. To `counts` are
    added: for each source the entries removed, then the conflicts, then those resolved.
    """
    sources, size = deltas.shape
    left = np.empty((sources, BLOCK), dtype=np.float32)
    up = np.empty(BLOCK, dtype=np.float32)
    down = np.empty(BLOCK, dtype=np.float32)
    merged = np.empty(BLOCK, dtype=np.float32)
    divisors = np.empty(BLOCK, dtype=np.float32)
    mask = np.empty(BLOCK + 4, dtype=np.float32)
    weights = how.weights
    voting = np.ones(sources, dtype=np.float32) if how.unweighted else weights
    total = 0.0
    for start in range(0, size, BLOCK):
        length = min(BLOCK, size - start)
        plus, minus, result = up[:length], down[:length], merged[:length]
        origin = base[start : start + length]
        plus[:] = _ZERO
        minus[:] = _ZERO
        for s in range(sources):
            before, after = deltas[s][start : start + length], left[s][:length]
            if how.drops:
                drop(before, how.words[s], how.keys[s], offset + start, mask, after)
                if how.factors[s, 0] != _ONE:
                    scale(after, how.factors[s, 0])
            else:
                copy(before, after)
            if how.trims:
                trim(after, how.bounds[s, 0], how.bounds[s, 1])
                if how.factors[s, 1] != _ONE:
                    scale(after, how.factors[s, 1])
            if how.drops or how.trims:
                counts[s] += removed(before, after)
            tell_signs(after, plus, minus)
            if how.in_weights:
                add(origin, before, after)
        # A conflict is marked in `up`; `down` is free from here on.
        clashing = conflicts(plus, minus)
        if how.elects:
            _elected_of(left, how, weights, voting, minus, result, divisors[:length])
        else:
            _sum_of(left, how, weights, result)
        if how.in_weights:
            write(result, start, value, halves)
            subtract(origin, result)
        elif len(base):
            add(origin, result, minus)
            write(minus, start, value, halves)
        else:
            write(result, start, value, halves)
        if clashing:
            counts[sources] += np.int64(clashing)
            counts[sources + 1] += resolved(plus, result)
        total += square(result)
    return total


@jit
def _sum_of(left, how, weights, result):
    for i in range(len(result)):
        result[i] = left[0, i] * weights[0]
    for s in range(1, len(left)):
        add_weighted(left[s], weights[s], result)
    if how.divisor != _ONE:
        divide_by(result, how.divisor)
    if how.lam != _ONE:
        scale(result, how.lam)


@jit
def _elected_of(left, how, weights, voting, votes, result, divisors):
    votes[:] = _ZERO
    result[:] = _ZERO
    divisors[:] = _ZERO
    for s in range(len(left)):
        add_votes(left[s], voting[s], how.by_count, votes)
    settle(votes, how.draw)
    for s in range(len(left)):
        add_agreeing(left[s], weights[s], voting[s], how.shares[s], votes, result, divisors)
    if how.divides:
        divide(result, divisors)
    scale(result, how.lam)


@reordering
def gram_run(deltas, base, sums):
    """Add to `sums`, `[sources, sources]` in fp64, the inner products of base plus each delta.

    Both triangles' sums are the lower one's; each sum `base + delta` is rounded to fp32.
    """
    sources, size = deltas.shape
    full = np.empty((sources, BLOCK), dtype=np.float32)
    for start in range(0, size, BLOCK):
        length = min(BLOCK, size - start)
        for s in range(sources):
            add(base[start : start + length], deltas[s][start : start + length], full[s][:length])
        for s in range(sources):
            one = full[s][:length]
            for t in range(s + 1):
                other, total = full[t][:length], 0.0
                for i in range(length):
                    total += np.float64(one[i]) * np.float64(other[i])
                sums[s, t] += total


@jit
def gather_between(values, low, high, found):
    """Put the magnitudes in `[low, high]` into `found`; returns how many, and how many are above.

    `found` has room for all of `values`. Every value is written, and the next one over it unless
    it belongs there: no branch to be guessed wrongly.
    """
    inside = 0
    above = 0
    for i in range(len(values)):
        magnitude = abs(values[i])
        found[inside] = magnitude
        inside += (magnitude >= low) & (magnitude <= high)
        above += magnitude > high
    return inside, above
