"""The reference implementation: the methods' own functions, step by step, with counts between."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mergelab.methods import Method


@dataclass(frozen=True)
class Counts:
    """What happened to one tensor, in numbers of entries; tuples hold one number per source.

    `removed`: entries that the method's first half set to zero (trimmed, or dropped at random).
    `conflicts`: entries where, after that, two sources are nonzero with opposite signs.
    `resolved`: conflicts in which one side was elected. `gram[i][j]`: inner products of the
    inputs in fp64; `merged_square`: that of the result with itself.
    """

    entries: int
    removed: tuple[int, ...]
    conflicts: int
    resolved: int
    gram: tuple[tuple[float, ...], ...]
    merged_square: float


@dataclass(frozen=True)
class Merged:
    """A merged tensor in fp32 and what happened on the way."""

    value: Tensor
    counts: Counts


def merge_tensor(
    method: Method,
    inputs: Sequence[Tensor],
    settings: Mapping[str, Any],
    per_source: Sequence[Mapping[str, Any]],
    *,
    base: Tensor | None = None,
    seed: int = 0,
    streams: Sequence[int] = (),
) -> Merged:
    """Merge same-shaped fp32 tensors with `method`.

    `inputs`: task vectors, or full weights. `settings`: the merge's parameters; `per_source`: each
    source's, in the order of `inputs`. `base`: the base's tensor, for methods that look at it.
    `seed` and `streams` (one per source) name the random numbers. Raises `ValueError` as the
    method does.

    >>> from mergelab.methods import REGISTRY
    >>> tau = [torch.tensor([0.5, 0.01]), torch.tensor([-0.25, 0.02])]
    >>> merged = merge_tensor(REGISTRY["ties"], tau, {"lam": 1.0}, [{"density": 0.5}] * 2)
    >>> merged.value, merged.counts.removed, merged.counts.conflicts, merged.counts.resolved
    (tensor([0.5000, 0.0000]), (1, 1), 1, 1)
    """
    prepared = list(inputs)
    if method.prepare is not None:
        random = [{"seed": seed, "stream": stream} for stream in streams] or [{}] * len(prepared)
        prepared = [
            method.prepare(tensor, **_accepted(method.prepare, {**settings, **own, **numbers}))
            for tensor, own, numbers in zip(inputs, per_source, random, strict=True)
        ]
    combining = _accepted(method.combine, {**settings, "base": base})
    if any("weight" in own for own in per_source):
        combining["weights"] = [own["weight"] for own in per_source]
    value = method.combine(prepared, **combining)
    return Merged(value, _count(method, inputs, prepared, value))


def _accepted(function: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    names = inspect.signature(function).parameters
    return {name: value for name, value in values.items() if name in names}


def _count(
    method: Method, inputs: Sequence[Tensor], prepared: Sequence[Tensor], value: Tensor
) -> Counts:
    conflict = opposed(prepared)
    resolved = int((conflict & (value != 0)).sum()) if method.resolves_conflicts else 0
    flat = value.double().flatten()
    return Counts(
        entries=value.numel(),
        removed=tuple(
            int(((before != 0) & (after == 0)).sum())
            for before, after in zip(inputs, prepared, strict=True)
        ),
        conflicts=int(conflict.sum()),
        resolved=resolved,
        gram=gram(inputs),
        merged_square=float(flat @ flat),
    )


def opposed(tensors: Sequence[Tensor]) -> Tensor:
    """Where at least two same-shaped tensors are nonzero with opposite signs, as a bool tensor.

    >>> opposed([torch.tensor([1.0, 2.0, 0.0]), torch.tensor([-3.0, 1.0, -1.0])])
    tensor([ True, False, False])
    """
    plus = torch.zeros_like(tensors[0], dtype=torch.bool)
    minus = torch.zeros_like(plus)
    for tensor in tensors:
        plus |= tensor > 0
        minus |= tensor < 0
    return plus & minus


def gram(tensors: Sequence[Tensor]) -> tuple[tuple[float, ...], ...]:
    """Inner products of all pairs of same-shaped tensors, summed in fp64, as an N x N tuple.

    >>> gram([torch.tensor([1.0, 2.0]), torch.tensor([3.0, -1.0])])
    ((5.0, 1.0), (1.0, 10.0))
    """
    flat = [tensor.double().flatten() for tensor in tensors]
    return tuple(tuple(float(a @ b) for b in flat) for a in flat)
