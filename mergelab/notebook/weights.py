"""The real task vectors of a pair of adapters, for looking at, and what TIES makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from mergelab.engine import task_vectors
from mergelab.methods import elect_sign, trim
from mergelab.recipes import make_plan, parse_recipe


@dataclass(frozen=True)
class Changes:
    """What models change in their base: for each tensor the base's values and one task vector each.

    `base` maps a tensor's name to its values, `deltas` to the list of task vectors, all in fp32.
    """

    names: tuple[str, ...]
    base: Mapping[str, Tensor]
    deltas: Mapping[str, list[Tensor]]

    @property
    def entries(self) -> int:
        """How many parameters they change."""
        return sum(tensor.numel() for tensor in self.base.values())


def changes(*references: str) -> Changes:
    """The task vectors of the models named, every tensor multiplied out (small models only).

    Raises `UserError` if they do not belong together.

    >>> found = changes("task_api_persona", "task_api_agentic")
    >>> len(next(iter(found.deltas.values())))
    2
    """
    models = [{"model": reference} for reference in references]
    plan = make_plan(parse_recipe({"merge_method": "task_arithmetic", "models": models}))
    found = list(task_vectors(plan))
    return Changes(
        names=tuple(source.name for source in plan.sources),
        base={tensor.name: base for tensor, base, _ in found},
        deltas={tensor.name: deltas for tensor, _, deltas in found},
    )


def norm_kept(deltas: Sequence[Tensor], densities: Sequence[float]) -> list[float]:
    """Share of a task vector's norm that is left when its largest entries are kept.

    `deltas`: the task vector's tensors, each trimmed by itself as TIES does.

    >>> import torch
    >>> [round(share, 2) for share in norm_kept([torch.tensor([3.0, 4.0])], [0.5, 1.0])]
    [0.8, 1.0]
    """
    ordered = [delta.double().flatten().square().sort(descending=True).values for delta in deltas]
    whole = sum(float(values.sum()) for values in ordered)
    kept = [
        sum(float(values[: int(density * len(values) + 0.5)].sum()) for values in ordered)
        for density in densities
    ]
    return [(share / whole) ** 0.5 if whole else 0.0 for share in kept]


@dataclass(frozen=True)
class Fate:
    """What TIES made of one source's change, in shares of its squared norm; they add up to 1.

    `norm` is the size of its task vector before any of that.
    """

    name: str
    kept: float
    trimmed: float
    overruled: float
    norm: float


def fates(found: Changes, density: float, names: Sequence[str] = ()) -> list[Fate]:
    """For each source: how much of its change was trimmed, overruled in an election, and kept.

    `names` replaces the sources' own names.

    >>> import torch
    >>> pair = [torch.tensor([3.0, 4.0, 0.0]), torch.tensor([-5.0, 0.0, 1.0])]
    >>> fates(Changes(("a", "b"), {"w": torch.zeros(3)}, {"w": pair}), 2 / 3)[0]
    Fate(name='a', kept=0.64, trimmed=0.0, overruled=0.36, norm=5.0)
    """
    count = len(found.names)
    total, kept, overruled = ([0.0] * count for _ in range(3))
    for deltas in found.deltas.values():
        trimmed = [trim(delta, density) for delta in deltas]
        sign = elect_sign(trimmed)
        for i, (before, after) in enumerate(zip(deltas, trimmed, strict=True)):
            square = after.double().square()
            total[i] += float(before.double().square().sum())
            kept[i] += float(square[after.sign() == sign].sum())
            overruled[i] += float(square[after.sign() != sign].sum())
    return [
        Fate(name, k / t, 1 - (k + o) / t, o / t, t**0.5)
        for name, t, k, o in zip(names or found.names, total, kept, overruled, strict=True)
        if t
    ]
