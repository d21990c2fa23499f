"""What a merge did to one tensor, in numbers, added up part by part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor


@dataclass(frozen=True)
class Counts:
    """What happened to one tensor, in numbers of entries; tuples hold one number per source.

    `removed`: entries that the method's first half set to zero (trimmed, or dropped at random).
    `conflicts`: entries where, after that, two sources are nonzero with opposite signs.
    `resolved`: conflicts in which one side was elected. `merged_square`: inner product of the
    merged change with itself, in fp64.
    """

    entries: int
    removed: tuple[int, ...]
    conflicts: int
    resolved: int
    merged_square: float

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.entries + other.entries,
            tuple(a + b for a, b in zip(self.removed, other.removed, strict=True)),
            self.conflicts + other.conflicts,
            self.resolved + other.resolved,
            self.merged_square + other.merged_square,
        )


def count(
    changes: Sequence[Tensor], prepared: Sequence[Tensor], merged: Tensor, *, resolves: bool
) -> Counts:
    """The counts of one part: `changes` before and after a method's first half, and the result.

    All of one shape. `resolves`: whether the method elects a sign where sources disagree.

    >>> before = [torch.tensor([0.5, 0.01]), torch.tensor([-0.25, 0.02])]
    >>> after = [torch.tensor([0.5, 0.0]), torch.tensor([-0.25, 0.0])]
    >>> counts = count(before, after, torch.tensor([0.5, 0.0]), resolves=True)
    >>> counts.removed, counts.conflicts, counts.resolved
    ((1, 1), 1, 1)
    """
    conflict = opposed(prepared)
    flat = merged.double().flatten()
    return Counts(
        entries=merged.numel(),
        removed=tuple(
            0 if before is after else int(before.count_nonzero() - after.count_nonzero())
            for before, after in zip(changes, prepared, strict=True)
        ),
        conflicts=int(conflict.count_nonzero()),
        resolved=int((conflict & (merged != 0)).count_nonzero()) if resolves else 0,
        merged_square=float(flat @ flat),
    )


def opposed(tensors: Sequence[Tensor]) -> Tensor:
    """Where at least two same-shaped tensors are nonzero with opposite signs, as a bool tensor.

    >>> opposed([torch.tensor([1.0, 2.0, 0.0]), torch.tensor([-3.0, 1.0, -1.0])])
    tensor([ True, False, False])
    """
    return (reduce(torch.maximum, tensors) > 0) & (reduce(torch.minimum, tensors) < 0)
