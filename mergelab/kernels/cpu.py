"""The inner loops of merging on a CPU, compiled by numba: one pass over the data for each step.

PyTorch runs every comparison, product and choice as a pass of its own, and its `where` takes ten
times as long as a product; one step of TIES is a dozen passes. Here each step reads its inputs
once and writes its result once. numba compiles on the user's machine without a compiler there and
lets go of Python's lock, so that every worker has a core to itself.

Each function does exactly what the function of the same name in `mergelab.methods` (or, for
`count` and `digits`, beside this file) does, to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from mergelab.kernels.counting import Counts
from mergelab.methods.declaration import per_source
from mergelab.methods.linear import sum_of
from mergelab.methods.ties import DIVISORS, ELECTIONS, is_unweighted
from mergelab.methods.ties import elect_and_merge as elect_and_merge_in_steps

_BLOCK = 512  # entries whose running sums stay in the first-level cache
_COUNTERS = 256  # of random numbers made at a time
_ZERO, _ONE = np.float32(0), np.float32(1)


def _compiled(**options: Any) -> Callable[[Callable], Callable]:
    """numba's `njit`; what it compiles is kept on disk, if there is a folder to keep it in."""

    def decorate(function: Callable) -> Callable:
        try:
            return numba.njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # neither beside this file nor in the user's cache
            return numba.njit(nogil=True, **options)(function)

    return decorate


jit = _compiled(error_model="numpy")
reordering = _compiled(fastmath={"reassoc"})  # for sums of counts


def _flat(tensor: Tensor) -> np.ndarray:
    return tensor.contiguous().view(-1).numpy()


def _float32(numbers: float | Sequence[float]) -> np.ndarray:
    """Numbers as they act on fp32 tensors; as in PyTorch, those too large for it are infinite."""
    with np.errstate(over="ignore"):
        return np.float64(numbers).astype(np.float32)


def keep_between(delta: Tensor, low: float, high: float = float("inf")) -> Tensor:
    """As `mergelab.methods.trimming.keep_between`, for fp32."""
    kept = torch.empty_like(delta, memory_format=torch.contiguous_format)
    _keep_between(_flat(delta), _float32(low), _float32(high), kept.view(-1).numpy())
    return kept


@jit
def _keep_between(values, low, high, kept):
    for i in range(len(values)):
        magnitude = abs(values[i])
        inside = (magnitude >= low) & (magnitude <= high)
        kept[i] = values[i] if inside else _ZERO


def drop(
    delta: Tensor, density: float, *, seed: int = 0, stream: int = 0, offset: int = 0
) -> Tensor:
    """As `mergelab.methods.dare.drop`, for fp32; the random numbers are made as they are used."""
    if not 0.0 <= density <= 1.0:
        raise ValueError(f"density must lie between 0 and 1, got {density}")
    kept = torch.empty_like(delta, memory_format=torch.contiguous_format)
    keys = [np.uint64(part) for value in (seed, stream) for part in words(value)]
    limit = np.uint64(round(density * 2**32))
    _drop(_flat(delta), limit, np.int64(offset), *keys, kept.view(-1).numpy())
    return kept


def words(value: int) -> tuple[int, int]:
    return value & 0xFFFFFFFF, (value >> 32) & 0xFFFFFFFF


@jit
def _drop(values, limit, offset, seed0, seed1, stream0, stream1, kept):
    survives = np.empty(4 * _COUNTERS, dtype=np.float32)
    lead = offset & 3  # entries of the first counter that belong to an earlier part
    for start in range(-lead, len(values), 4 * _COUNTERS):
        first = np.uint64((offset + start) >> 2)
        survivors(first, stream0, stream1, seed0, seed1, limit, survives)
        begin, end = max(start, 0), min(start + 4 * _COUNTERS, len(values))
        before, after, mask = values[begin:end], kept[begin:end], survives[begin - start :]
        for i in range(len(before)):
            after[i] = before[i] if mask[i] > _ZERO else _ZERO


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


def weighted_sum(deltas: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """As `mergelab.methods.linear.weighted_sum`, for fp32."""
    total = torch.empty_like(deltas[0], memory_format=torch.contiguous_format)
    _weighted_sum(_arrays(deltas), _float32(weights), total.view(-1).numpy())
    return total


@jit
def _weighted_sum(deltas, weights, total):
    for start in range(0, len(total), _BLOCK):
        part = total[start : start + _BLOCK]
        delta, weight = deltas[0][start : start + _BLOCK], weights[0]
        for i in range(len(part)):
            part[i] = delta[i] * weight
        for s in range(1, len(deltas)):
            delta, weight = deltas[s][start : start + _BLOCK], weights[s]
            for i in range(len(part)):
                part[i] += delta[i] * weight


def linear(
    deltas: Sequence[Tensor], weights: Sequence[float] | None = None, *, normalize: bool = True
) -> Tensor:
    """As `mergelab.methods.linear.linear`, for fp32."""
    weight = per_source(weights, len(deltas), 1.0)
    return weighted_sum(deltas, weight).div_(sum_of(weight) if normalize else 1.0)


def task_arithmetic(
    deltas: Sequence[Tensor],
    weights: Sequence[float] | None = None,
    lam: float = 1.0,
    *,
    normalize: bool = False,
) -> Tensor:
    """As `mergelab.methods.linear.task_arithmetic`, for fp32."""
    return linear(deltas, weights, normalize=normalize).mul_(lam)


def elect_and_merge(
    deltas: Sequence[Tensor],
    weights: Sequence[float] | None = None,
    lam: float = 1.0,
    election: str = "mass",
    zero_sign: str = "zero",
    divisor: str = "weights",
    majority: float | None = None,
) -> Tensor:
    """As `mergelab.methods.ties.elect_and_merge`, for fp32."""
    draw = {"zero": 0.0, "positive": 1.0, "majority": majority}.get(zero_sign)
    if draw is None or election not in ELECTIONS or divisor not in DIVISORS:
        # The majority is still to be found, or a choice is unknown, which it says in its words.
        return elect_and_merge_in_steps(
            deltas, weights, lam, election, zero_sign, divisor, majority
        )
    weight = np.array(per_source(weights, len(deltas), 1.0))
    shares = {"weights": np.abs(weight), "signed_weights": weight}
    merged = torch.empty_like(deltas[0], memory_format=torch.contiguous_format)
    _elect_and_merge(
        _arrays(deltas),
        _float32(weight),
        _float32(shares.get(divisor, np.ones_like(weight))),
        _float32(lam),
        ELECTIONS.index(election),
        is_unweighted(election),
        _float32(draw),
        divisor != DIVISORS[-1],
        merged.view(-1).numpy(),
    )
    return merged


@jit
def _elect_and_merge(deltas, weights, shares, lam, election, unweighted, draw, divides, merged):
    votes = np.empty(_BLOCK, dtype=np.float32)
    totals = np.empty(_BLOCK, dtype=np.float32)
    divisors = np.empty(_BLOCK, dtype=np.float32)
    for start in range(0, len(merged), _BLOCK):
        part = merged[start : start + _BLOCK]
        votes[:] = _ZERO
        totals[:] = _ZERO
        divisors[:] = _ZERO
        for s in range(len(deltas)):
            delta = deltas[s][start : start + _BLOCK]
            weight = _ONE if unweighted else weights[s]
            if election >= 2:  # by count
                for i in range(len(part)):
                    votes[i] += sign_of(delta[i] * weight, _ZERO)
            else:
                for i in range(len(part)):
                    votes[i] += delta[i] * weight
        for i in range(len(part)):
            votes[i] = sign_of(votes[i], draw)
        for s in range(len(deltas)):
            delta, weight, share = deltas[s][start : start + _BLOCK], weights[s], shares[s]
            for i in range(len(part)):
                term = delta[i] * weight
                agrees = (delta[i] if unweighted else term) * votes[i] > _ZERO
                totals[i] += term if agrees else _ZERO
                divisors[i] += share * (_ONE if agrees else _ZERO)
        if divides:
            for i in range(len(part)):
                divisor = divisors[i] if divisors[i] != _ZERO else _ONE
                part[i] = totals[i] / divisor * lam
        else:
            for i in range(len(part)):
                part[i] = totals[i] * lam


@jit
def sign_of(value, draw):
    return _ONE if value > _ZERO else (-_ONE if value < _ZERO else draw)


def count(
    changes: Sequence[Tensor], prepared: Sequence[Tensor], merged: Tensor, *, resolves: bool
) -> Counts:
    """As `mergelab.kernels.counting.count`, for fp32; squares are summed block by block."""
    same = all(before is after for before, after in zip(changes, prepared, strict=True))
    removed = np.zeros(len(changes), dtype=np.int64)
    conflicts, resolved, square = _count(
        _arrays(changes), _arrays(prepared), _flat(merged), same, removed
    )
    return Counts(
        entries=merged.numel(),
        removed=tuple(removed.tolist()),
        conflicts=conflicts,
        resolved=resolved if resolves else 0,
        merged_square=square,
    )


@reordering
def _count(changes, prepared, merged, same, removed):
    up = np.empty(_BLOCK, dtype=np.float32)  # how many sources are positive, and negative
    down = np.empty(_BLOCK, dtype=np.float32)
    conflicts, resolved, square = 0.0, 0.0, 0.0
    for start in range(0, len(merged), _BLOCK):
        part = merged[start : start + _BLOCK]
        up[:] = _ZERO
        down[:] = _ZERO
        for s in range(len(prepared)):
            after = prepared[s][start : start + _BLOCK]
            for i in range(len(part)):
                up[i] += _ONE if after[i] > _ZERO else _ZERO
                down[i] += _ONE if after[i] < _ZERO else _ZERO
            if not same:
                before = changes[s][start : start + _BLOCK]
                gone = _ZERO  # whole numbers up to a block's length are exact in fp32
                for i in range(len(part)):
                    gone += _ONE if (before[i] != _ZERO) & (after[i] == _ZERO) else _ZERO
                removed[s] += np.int64(gone)
        clashing, settled = _ZERO, _ZERO
        for i in range(len(part)):
            clash = (up[i] > _ZERO) & (down[i] > _ZERO)
            clashing += _ONE if clash else _ZERO
            settled += _ONE if clash & (part[i] != _ZERO) else _ZERO
        conflicts += clashing
        resolved += settled
        block = 0.0
        for i in range(len(part)):
            block += np.float64(part[i]) * np.float64(part[i])
        square += block
    return np.int64(conflicts), np.int64(resolved), square


def digits(values: Tensor, upper: int | None, counts: np.ndarray | None = None) -> np.ndarray:
    """As `mergelab.kernels.selection.digits`."""
    counts = np.zeros(1 << 16, dtype=np.int64) if counts is None else counts
    bits = _flat(values).view(np.uint32)
    if upper is None:
        _upper_digits(bits, counts)
    else:
        _lower_digits(bits, np.uint32(upper), counts)
    return counts


@jit
def _upper_digits(bits, counts):
    for i in range(len(bits)):
        counts[(bits[i] & np.uint32(0x7FFFFFFF)) >> np.uint32(16)] += 1


@jit
def _lower_digits(bits, upper, counts):
    for i in range(len(bits)):
        if (bits[i] & np.uint32(0x7FFFFFFF)) >> np.uint32(16) == upper:
            counts[bits[i] & np.uint32(0xFFFF)] += 1


def _arrays(tensors: Sequence[Tensor]) -> tuple[np.ndarray, ...]:
    return tuple(_flat(tensor) for tensor in tensors)
