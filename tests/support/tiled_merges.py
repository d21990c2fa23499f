"""Small merges run in tiles, and the same by each method's own function on whole tensors.

Factors are eighths of small whole numbers, so that their products are exact in fp32 in any order
of addition, and full of ties and zeros.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from mergelab.kernels import Merge, TiledMerge, operands
from mergelab.kernels.backends import TORCH, Backend
from mergelab.kernels.operands import InMemory, LowRank, Operand, Rowwise, Zeros, as_matrix
from mergelab.methods import REGISTRY, Method

SHAPES = ((), (0,), (1,), (7,), (1, 9), (9, 1), (3, 5), (2, 3, 7), (0, 4), (4, 0), (2, 0, 3))
KINDS = ("fp32", "bf16", "fp16", "factors", "zeros", "difference")


@dataclass(frozen=True)
class Case:
    """One merge: sources as operands, and the same sources as whole fp32 tensors."""

    method: Method
    operands: list[Operand]
    wholes: list[Tensor]
    base: Tensor | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    per_source: Sequence[Mapping[str, Any]] = ()
    in_weights: bool = False
    seed: int = 0

    @property
    def streams(self) -> list[int]:
        return [3 * i + 1 for i in range(len(self.wholes))]

    def merge(self, backend: Backend = TORCH) -> Merge:
        return Merge(
            self.method,
            self.operands,
            self.settings,
            self.per_source,
            base=None if self.base is None else InMemory(self.base),
            in_weights=self.in_weights,
            seed=self.seed,
            streams=self.streams if self.method.random else (),
            backend=backend,
        )


def tiles_of(entries: int) -> AbstractContextManager:
    """Within it, tensors are merged in runs of rows of about so many entries."""
    return mock.patch.object(operands, "TILE_ENTRIES", entries)


def run(case: Case, tile: int, backend: Backend = TORCH) -> tuple[Tensor, TiledMerge]:
    """The merged weights put together from their parts, each row given exactly once, and the run.

    What no part covers stays NaN.
    """
    with tiles_of(tile):
        merge = TiledMerge(case.merge(backend))
        shape = tuple(merge.result.shape)
        whole, next_row = torch.full(as_matrix(shape), torch.nan), 0
        for part in merge.parts():
            assert part.start == next_row < part.stop
            whole[part.start : part.stop] = part.weights
            next_row = part.stop
        rows, columns = as_matrix(shape)
        assert next_row == (rows if columns else 0)
    return whole.reshape(shape), merge


def by_function(case: Case) -> Tensor:
    """What the method's own function makes of the whole tensors; base and change added up."""
    function, inputs = case.method.function, case.wholes
    if case.in_weights:
        inputs = [case.base + whole for whole in inputs]
    accepted = inspect.signature(function).parameters
    named = {**case.settings, "seed": case.seed, "streams": case.streams, "base": case.base}
    for name in {name for own in case.per_source for name in own}:
        values = [own[name] for own in case.per_source]
        named["weights" if name == "weight" else name] = values
    named = {name: value for name, value in named.items() if name in accepted}
    together = "deltas" in accepted or "tensors" in accepted  # slerp takes its two one by one
    change = function(inputs, **named) if together else function(*inputs, **named)
    return change if case.in_weights or case.base is None else case.base + change


def outcome(call, *args: Any) -> Any:
    """What a call returns, or the words with which it refuses."""
    try:
        return call(*args)
    except ValueError as error:
        return str(error)


def source(
    chance: np.random.Generator, kind: str, shape: tuple[int, ...]
) -> tuple[Operand, Tensor]:
    """A random source of a kind, and the same as a whole fp32 tensor."""
    if kind == "zeros":
        return Zeros(shape), torch.zeros(shape)
    if kind == "factors" and len(shape) == 2:
        rank = int(chance.integers(1, 6))
        b, a = eighths(chance, (shape[0], rank)), eighths(chance, (rank, shape[1]))
        return LowRank(b, a), torch.from_numpy(b.numpy() @ a.numpy())
    if kind == "difference":
        tuned, before = values(chance, shape), values(chance, shape)
        both = InMemory(tuned.bfloat16()), InMemory(before)
        return Rowwise(shape, both, lambda x, y, _: x - y), tuned.bfloat16().float() - before
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(kind, torch.float32)
    stored = values(chance, shape).to(dtype)
    return InMemory(stored), stored.float()


def values(chance: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
    """Random numbers, a third of them exact ties with others, some zeros of either sign."""
    normal = chance.normal(size=shape)
    tied = chance.integers(-4, 5, size=shape) / 4
    drawn = np.where(chance.random(shape) < 0.35, tied, normal)
    return torch.from_numpy(np.asarray(drawn * np.where(drawn == 0, -1.0, 1.0), dtype=np.float32))


def eighths(chance: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
    """Multiples of 1/8 between -1 and 1."""
    return torch.from_numpy(chance.integers(-8, 9, size=shape).astype(np.float32) / 8)


def random_case(
    name: str,
    settings: Mapping[str, Any],
    per_source: Mapping[str, Sequence[Any]],
    *,
    number: int,
    shape: tuple[int, ...],
    kinds: Sequence[str],
    base: bool = True,
    in_weights: bool = False,
) -> Case:
    """The merge that a number names; `per_source` gives values that sources take in turn."""
    chance = np.random.default_rng([number, 2026])
    pairs = [source(chance, kind, shape) for kind in kinds]
    return Case(
        REGISTRY[name],
        [operand for operand, _ in pairs],
        [whole for _, whole in pairs],
        values(chance, shape) if base else None,
        settings,
        [{key: each[i % len(each)] for key, each in per_source.items()} for i in range(len(kinds))],
        in_weights,
        seed=number,
    )


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two fp32 tensors hold the same bits, the signs of zeros included."""
    return one.shape == other.shape and bool(
        (one.contiguous().view(torch.int32) == other.contiguous().view(torch.int32)).all()
    )
