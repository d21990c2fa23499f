"""A run of a merge's entries in one pass on a CPU: the loops of `cpu_merge`, compiled by numba.

Whatever happens to an entry happens while its block lies in the first-level cache: drop, trim,
election, mean, base, rounding, and all that the report counts. Each step does exactly what the
function of `mergelab.methods` does, in the same order, so that every bit is the same; only sums
in fp64 are added up in another order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mergelab.kernels.cpu import jit, reordering, sign_of, survivors

BLOCK = 1024  # entries; the few arrays of this length stay in the first-level cache
_ZERO, _ONE = np.float32(0), np.float32(1)
_SIGN_OFF = np.uint32(0x7FFFFFFF)


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
    weights, shares, unit = how.weights, how.shares, np.ones(sources, dtype=np.float32)
    square = 0.0
    for start in range(0, size, BLOCK):
        length = min(BLOCK, size - start)
        plus, minus, result = up[:length], down[:length], merged[:length]
        origin = base[start : start + length]
        plus[:] = _ZERO
        minus[:] = _ZERO
        for s in range(sources):
            before, after = deltas[s][start : start + length], left[s][:length]
            if how.drops:
                _drop(before, how.words[s], how.keys[s], offset + start, mask, after)
                if how.factors[s, 0] != _ONE:
                    _scale(after, how.factors[s, 0])
            else:
                _copy(before, after)
            if how.trims:
                _trim(after, how.bounds[s, 0], how.bounds[s, 1])
                if how.factors[s, 1] != _ONE:
                    _scale(after, how.factors[s, 1])
            if how.drops or how.trims:
                counts[s] += _removed(before, after)
            _tell_signs(after, plus, minus)
            if how.in_weights:
                _add(origin, before, after)
        # A conflict is marked in `up`; `down` is free from here on.
        conflicts = _conflicts(plus, minus)
        if how.elects:
            voting, draw = unit if how.unweighted else weights, how.draw
            _vote(left, voting, draw, how.by_count, minus)
            _agreeing(left, weights, voting, shares, minus, result, divisors[:length])
            if how.divides:
                _divide(result, divisors[:length])
            _scale(result, how.lam)
        else:
            _sum(left, weights, result)
            if how.divisor != _ONE:
                _divide_by(result, how.divisor)
            if how.lam != _ONE:
                _scale(result, how.lam)
        if how.in_weights:
            _write(result, start, value, halves)
            _subtract(origin, result)
        elif len(base):
            _add(origin, result, minus)
            _write(minus, start, value, halves)
        else:
            _write(result, start, value, halves)
        if conflicts:
            counts[sources] += np.int64(conflicts)
            counts[sources + 1] += _resolved(plus, result)
        square += _square(result)
    return square


@jit
def _drop(before, words, keys, first, mask, after):
    lead = first & 3  # entries of the first counter that belong to what came before
    counters = (lead + len(before) + 3) >> 2
    survivors(
        np.uint64(first >> 2), keys[2], keys[3], keys[0], keys[1], words, mask[: 4 * counters]
    )
    kept = mask[lead : lead + len(before)]
    for i in range(len(after)):
        after[i] = before[i] if kept[i] > _ZERO else _ZERO


@jit
def _copy(values, out):
    for i in range(len(out)):  # numba's own assignment looks for overlaps, one entry at a time
        out[i] = values[i]


@jit
def _scale(values, factor):
    for i in range(len(values)):
        values[i] *= factor


@jit
def _trim(values, low, high):
    for i in range(len(values)):
        magnitude = abs(values[i])
        values[i] = values[i] if (magnitude >= low) & (magnitude <= high) else _ZERO


@reordering
def _removed(before, after):
    gone = _ZERO  # whole numbers up to a block's length are exact in fp32
    for i in range(len(after)):
        gone += _ONE if (before[i] != _ZERO) & (after[i] == _ZERO) else _ZERO
    return np.int64(gone)


@jit
def _tell_signs(values, plus, minus):
    for i in range(len(values)):
        plus[i] = _ONE if values[i] > _ZERO else plus[i]
        minus[i] = _ONE if values[i] < _ZERO else minus[i]


@reordering
def _conflicts(plus, minus):
    clashing = _ZERO
    for i in range(len(plus)):
        plus[i] *= minus[i]
        clashing += plus[i]
    return clashing


@reordering
def _resolved(clash, change):
    settled = _ZERO
    for i in range(len(clash)):
        settled += clash[i] if change[i] != _ZERO else _ZERO
    return np.int64(settled)


@jit
def _sum(left, weights, result):
    values, weight = left[0], weights[0]
    for i in range(len(result)):
        result[i] = values[i] * weight
    for s in range(1, len(left)):
        values, weight = left[s], weights[s]
        for i in range(len(result)):
            result[i] += values[i] * weight


@jit
def _vote(left, weights, draw, by_count, votes):
    votes[:] = _ZERO
    for s in range(len(left)):
        values, weight = left[s], weights[s]
        if by_count:
            for i in range(len(votes)):
                votes[i] += sign_of(values[i] * weight, _ZERO)
        else:
            for i in range(len(votes)):
                votes[i] += values[i] * weight
    for i in range(len(votes)):
        votes[i] = sign_of(votes[i], draw)


@jit
def _agreeing(left, weights, voting, shares, votes, total, divisors):
    """Add up what agrees with the votes, and its shares; `voting` weights say what agrees."""
    total[:] = _ZERO
    divisors[:] = _ZERO
    for s in range(len(left)):
        values, weight, vote, share = left[s], weights[s], voting[s], shares[s]
        for i in range(len(total)):
            agrees = values[i] * vote * votes[i] > _ZERO
            total[i] += values[i] * weight if agrees else _ZERO
            divisors[i] += share * (_ONE if agrees else _ZERO)


@jit
def _divide(total, divisors):
    for i in range(len(total)):
        total[i] /= divisors[i] if divisors[i] != _ZERO else _ONE


@jit
def _divide_by(values, divisor):
    for i in range(len(values)):
        values[i] /= divisor


@jit
def _add(a, b, total):
    for i in range(len(total)):
        total[i] = a[i] + b[i]


@jit
def _subtract(origin, values):
    for i in range(len(values)):
        values[i] -= origin[i] if len(origin) else _ZERO


@reordering
def _square(values):
    total = 0.0
    for i in range(len(values)):
        total += np.float64(values[i]) * np.float64(values[i])
    return total


@jit
def _write(values, start, value, halves):
    """Store in fp32, or rounded to bf16: to nearest, and to even where it is half way."""
    if len(value):
        _copy(values, value[start : start + len(values)])
        return
    out, bits = halves[start : start + len(values)], values.view(np.uint32)
    for i in range(len(out)):
        odd = (bits[i] >> np.uint32(16)) & np.uint32(1)
        rounded = (bits[i] + np.uint32(0x7FFF) + odd) >> np.uint32(16)
        nan = (bits[i] & _SIGN_OFF) > np.uint32(0x7F800000)
        out[i] = np.uint16(np.uint32(0x7FC0) if nan else rounded)


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
            _add(base[start : start + length], deltas[s][start : start + length], full[s][:length])
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
