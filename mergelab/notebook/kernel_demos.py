"""The learner's own functions of lesson 7 put to work; a wrong one never stops the lesson."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from mergelab.notebook.learner import attempt
from mergelab.notebook.tables import Table


def all_programs(
    function: Callable[..., Any],
    tile: int,
    base: Tensor,
    deltas: Sequence[Tensor],
    weights: Sequence[float],
) -> Tensor | None:
    """What a learner's `merge_program` makes of a whole tensor, one program after the other.

    Returns the merged entries in the order of the programs, or None with a sentence shown.
    """

    @wraps(function)
    def every() -> Tensor:
        merged = []
        for program in range(-(-len(base) // tile)):
            _, mask, values = function(program, tile, base, deltas, weights)
            merged.append(values[mask])
        return torch.cat(merged)

    return attempt(every)


def seconds_table(
    function: Callable[..., Any],
    entries: int,
    sources: int,
    machines: Mapping[str, float],
    *,
    stored: int = 2,
) -> Table | None:
    """A learner's `merge_seconds`, pass by pass and fused, for some bandwidths in bytes a second.

    Returns None, with a sentence shown, if the function is not done.
    """

    @wraps(function)
    def rows() -> list[list[str]]:
        return [
            [name]
            + [
                f"{float(function(entries, sources, speed, fused=fused, stored=stored)):.2g} s"
                for fused in (False, True)
            ]
            for name, speed in machines.items()
        ]

    found = attempt(rows)
    if found is None:
        return None
    return Table(["", "pass by pass", "fused"], found, caption="If only the bytes count")


def threshold_of(
    function: Callable[..., Any], parts: Sequence[Tensor], k: int
) -> tuple[float, int] | None:
    """A learner's `radix_threshold` on some parts, and how many entries lie at or above it.

    Returns None, with a sentence shown, if the function is not done.
    """

    @wraps(function)
    def found() -> tuple[float, int]:
        threshold = float(function(list(parts), k))
        return threshold, sum(int((part.abs() >= threshold).sum()) for part in parts)

    return attempt(found)
