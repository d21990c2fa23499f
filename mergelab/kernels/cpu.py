"""The inner loops of merging on a CPU, compiled by numba: one pass over the data for each step.

They serve the merges that `cpu_merge` does not take, which does all steps in one pass. PyTorch runs every comparison, product and choice as a pass of its own, and its `where` takes ten
times as long as a product; one step of TIES is a dozen passes. Here each step reads its inputs
once and writes its result once. numba compiles on the user's machine without a compiler there and
lets go of Python's lock, so that every worker has a core to itself.

Each function does exactly what the function of the same name in `mergelab.methods` (or, for
`count` and `digits`, beside this file) does, to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mergelab.kernels import cpu_loops as loops
from mergelab.kernels.counting import Counts
from mergelab.kernels.cpu_loops import BLOCK
from mergelab.methods.declaration import per_source
from mergelab.methods.linear import sum_of
from mergelab.methods.ties import DIVISORS, ELECTIONS, is_unweighted
from mergelab.methods.ties import elect_and_merge as elect_and_merge_in_steps

_ZERO = np.float32(0)


def _flat(tensor: Tensor) -> np.ndarray:
    return tensor.contiguous().view(-1).numpy()


def _float32(numbers: float | Sequence[float]) -> np.ndarray:
    """Numbers as they act on fp32 tensors; as in PyTorch, those too large for it are infinite."""
    with np.errstate(over="ignore"):
        return np.float64(numbers).astype(np.float32)


def keep_between(delta: Tensor, low: float, high: float = float("inf")) -> Tensor:
    """As `mergelab.methods.trimming.keep_between`, for fp32."""
    kept = delta.clone(memory_format=torch.contiguous_format)
    loops.trim(kept.view(-1).numpy(), _float32(low), _float32(high))
    return kept


def drop(
    delta: Tensor, density: float, *, seed: int = 0, stream: int = 0, offset: int = 0
) -> Tensor:
    """As `mergelab.methods.dare.drop`, for fp32; the random numbers are made as they are used."""
    if not 0.0 <= density <= 1.0:
        raise ValueError(f"density must lie between 0 and 1, got {density}")
    kept = torch.empty_like(delta, memory_format=torch.contiguous_format)
    keys = np.array([*words(seed), *words(stream)], dtype=np.uint64)
    limit = np.uint64(round(density * 2**32))
    _drop(_flat(delta), limit, keys, np.int64(offset), kept.view(-1).numpy())
    return kept


def words(value: int) -> tuple[int, int]:
    """The lower and the upper 32 bits of a whole number.

    >>> words(2**32 + 5)
    (5, 1)
    """
    return value & 0xFFFFFFFF, (value >> 32) & 0xFFFFFFFF


@loops.jit
def _drop(values, limit, keys, offset, kept):
    mask = np.empty(BLOCK + 4, dtype=np.float32)
    for start in range(0, len(values), BLOCK):
        before, after = values[start : start + BLOCK], kept[start : start + BLOCK]
        loops.drop(before, limit, keys, offset + start, mask, after)


def weighted_sum(deltas: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """As `mergelab.methods.linear.weighted_sum`, for fp32."""
    total = torch.empty_like(deltas[0], memory_format=torch.contiguous_format)
    _weighted_sum(_arrays(deltas), _float32(weights), total.view(-1).numpy())
    return total


@loops.jit
def _weighted_sum(deltas, weights, total):
    for start in range(0, len(total), BLOCK):
        part, first = total[start : start + BLOCK], deltas[0][start : start + BLOCK]
        for i in range(len(part)):
            part[i] = first[i] * weights[0]
        for s in range(1, len(deltas)):
            loops.add_weighted(deltas[s][start : start + BLOCK], weights[s], part)


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
        _float32(np.ones_like(weight) if is_unweighted(election) else weight),
        _float32(shares.get(divisor, np.ones_like(weight))),
        _float32(lam),
        election.startswith("count"),
        _float32(draw),
        divisor != "none",
        merged.view(-1).numpy(),
    )
    return merged


@loops.jit
def _elect_and_merge(deltas, weights, voting, shares, lam, by_count, draw, divides, merged):
    votes = np.empty(BLOCK, dtype=np.float32)
    divisors = np.empty(BLOCK, dtype=np.float32)
    for start in range(0, len(merged), BLOCK):
        part = merged[start : start + BLOCK]
        signs, divisor = votes[: len(part)], divisors[: len(part)]
        part[:] = _ZERO
        signs[:] = _ZERO
        divisor[:] = _ZERO
        for s in range(len(deltas)):
            loops.add_votes(deltas[s][start : start + BLOCK], voting[s], by_count, signs)
        loops.settle(signs, draw)
        for s in range(len(deltas)):
            delta = deltas[s][start : start + BLOCK]
            loops.add_agreeing(delta, weights[s], voting[s], shares[s], signs, part, divisor)
        if divides:
            loops.divide(part, divisor)
        loops.scale(part, lam)


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


@loops.jit
def _count(changes, prepared, merged, same, removed):
    plus, minus = np.empty(BLOCK, dtype=np.float32), np.empty(BLOCK, dtype=np.float32)
    conflicts, resolved, square = 0, 0, 0.0
    for start in range(0, len(merged), BLOCK):
        part = merged[start : start + BLOCK]
        up, down = plus[: len(part)], minus[: len(part)]
        up[:] = _ZERO
        down[:] = _ZERO
        for s in range(len(prepared)):
            after = prepared[s][start : start + BLOCK]
            loops.tell_signs(after, up, down)
            if not same:
                removed[s] += loops.removed(changes[s][start : start + BLOCK], after)
        conflicts += np.int64(loops.conflicts(up, down))
        resolved += loops.resolved(up, part)
        square += loops.square(part)
    return conflicts, resolved, square


def digits(values: Tensor, upper: int | None, counts: np.ndarray | None = None) -> np.ndarray:
    """As `mergelab.kernels.selection.digits`."""
    counts = np.zeros(1 << 16, dtype=np.int64) if counts is None else counts
    bits = _flat(values).view(np.uint32)
    if upper is None:
        _upper_digits(bits, counts)
    else:
        _lower_digits(bits, np.uint32(upper), counts)
    return counts


@loops.jit
def _upper_digits(bits, counts):
    for i in range(len(bits)):
        counts[(bits[i] & np.uint32(0x7FFFFFFF)) >> np.uint32(16)] += 1


@loops.jit
def _lower_digits(bits, upper, counts):
    for i in range(len(bits)):
        if (bits[i] & np.uint32(0x7FFFFFFF)) >> np.uint32(16) == upper:
            counts[bits[i] & np.uint32(0xFFFF)] += 1


def _arrays(tensors: Sequence[Tensor]) -> tuple[np.ndarray, ...]:
    return tuple(_flat(tensor) for tensor in tensors)
