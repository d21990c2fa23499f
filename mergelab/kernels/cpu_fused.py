"""A run of a merge's entries in one pass on a CPU: what `cpu_merge` calls, compiled by numba.

Whatever happens to an entry happens while its block lies in the first-level cache: drop, trim,
election, mean, base, rounding, and all that the report counts. Each step does exactly what the
function of `mergelab.methods` does, in the same order, so that every bit is the same; only sums
in fp64 are added up in another order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mergelab.kernels.cpu_loops import (
    BLOCK,
    add,
    add_agreeing,
    add_votes,
    add_weighted,
    conflicts,
    copy,
    divide,
    divide_by,
    drop,
    jit,
    removed,
    reordering,
    resolved,
    scale,
    settle,
    square,
    subtract,
    tell_signs,
    trim,
    write,
)

_ZERO, _ONE = np.float32(0), np.float32(1)


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
            _elect(left, how, weights, voting, minus, result, divisors[:length])
        else:
            _sum(left, how, weights, result)
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
def _sum(left, how, weights, result):
    for i in range(len(result)):
        result[i] = left[0, i] * weights[0]
    for s in range(1, len(left)):
        add_weighted(left[s], weights[s], result)
    if how.divisor != _ONE:
        divide_by(result, how.divisor)
    if how.lam != _ONE:
        scale(result, how.lam)


@jit
def _elect(left, how, weights, voting, votes, result, divisors):
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
