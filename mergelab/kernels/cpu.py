"""The inner loops of merging on a CPU, compiled by numba: one pass over the data for each step.

They serve the merges that `cpu_merge`, which does all steps in one pass, does not take. PyTorch
runs every comparison, product and choice as a pass of its own, and its `where` takes ten times as
long as a product; one step of TIES is a dozen passes. Here each step reads its inputs once and
writes its result once. numba compiles on the user's machine without a compiler there and lets go
of Python's lock, so that every worker has a core to itself.

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
from mergelab.methods.declaration import per_source
from mergelab.methods.linear import sum_of
from mergelab.methods.ties import DIVISORS, ELECTIONS, is_unweighted
from mergelab.methods.ties import elect_and_merge as elect_and_merge_in_steps


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
    loops.drop_run(_flat(delta), limit, keys, np.int64(offset), kept.view(-1).numpy())
    return kept


def words(value: int) -> tuple[int, int]:
    """The lower and the upper 32 bits of a whole number.

    >>> words(2**32 + 5)
    (5, 1)
    """
    return value & 0xFFFFFFFF, (value >> 32) & 0xFFFFFFFF


def weighted_sum(deltas: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """As `mergelab.methods.linear.weighted_sum`, for fp32."""
    total = torch.empty_like(deltas[0], memory_format=torch.contiguous_format)
    loops.weighted_sum_run(_arrays(deltas), _float32(weights), total.view(-1).numpy())
    return total


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
    loops.elect_run(
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


def count(
    changes: Sequence[Tensor], prepared: Sequence[Tensor], merged: Tensor, *, resolves: bool
) -> Counts:
    """As `mergelab.kernels.counting.count`, for fp32; squares are summed block by block."""
    same = all(before is after for before, after in zip(changes, prepared, strict=True))
    removed = np.zeros(len(changes), dtype=np.int64)
    conflicts, resolved, square = loops.count_run(
        _arrays(changes), _arrays(prepared), _flat(merged), same, removed
    )
    return Counts(
        entries=merged.numel(),
        removed=tuple(removed.tolist()),
        conflicts=conflicts,
        resolved=resolved if resolves else 0,
        merged_square=square,
    )


def digits(values: Tensor, upper: int | None, counts: np.ndarray | None = None) -> np.ndarray:
    """As `mergelab.kernels.selection.digits`."""
    counts = np.zeros(1 << 16, dtype=np.int64) if counts is None else counts
    bits = _flat(values).view(np.uint32)
    if upper is None:
        loops.upper_digits(bits, counts)
    else:
        loops.lower_digits(bits, np.uint32(upper), counts)
    return counts


def _arrays(tensors: Sequence[Tensor]) -> tuple[np.ndarray, ...]:
    return tuple(_flat(tensor) for tensor in tensors)
