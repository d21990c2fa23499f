"""What is done to a block of entries on a CPU, one step each, compiled by numba.

The steps of one entry are those of the functions in `mergelab.methods`, in the same order, so that
every bit is the same. A block is short enough to stay in the first-level cache, and for a count of
its entries to be exact in fp32. All arrays are fp32 and of one length, `[n]`, if nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
