"""How many items a comparison needs, and what picking the best of many does to a score."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist

import torch

from mergelab.errors import UserError

POWER = 0.8


def standard_error(rate: float, items: int, *, per_template: float = 1, alike: float = 0) -> float:
    """The standard error of a rate; items of a template are `alike` from 0 (not) to 1 (the same).

    The design effect of Kish (1965), 1 + (per_template - 1) * alike, divides the number of items.

    Raises `UserError` for fewer than one item, or a template of less than one.

    >>> round(standard_error(0.89, 50), 3)
    0.044
    >>> round(standard_error(0.89, 50, per_template=5, alike=1), 3) == round(
    ...     standard_error(0.89, 10), 3)
    True
    """
    if items < 1 or per_template < 1:
        raise UserError(f"{items} items, {per_template} per template: both must be at least 1")
    return math.sqrt(rate * (1 - rate) / items * (1 + (per_template - 1) * alike))


def items_needed(
    first: float,
    second: float,
    *,
    comparisons: int = 1,
    per_template: float = 1,
    alike: float = 0,
) -> int | None:
    """Items per suite at which two models with these true rates are told apart 4 times out of 5.

    Each model answers items of its own (not paired), at a 5% level shared among `comparisons`.
    None where the rates are equal: no number of items is enough.

    >>> items_needed(0.85, 0.90)
    683
    >>> items_needed(0.9, 0.9) is None
    True
    """
    if first == second:
        return None
    z = NormalDist().inv_cdf(1 - 0.025 / comparisons) + NormalDist().inv_cdf(POWER)
    variance = first * (1 - first) + second * (1 - second)
    effect = 1 + (per_template - 1) * alike
    return math.ceil(z**2 * variance * effect / (first - second) ** 2)


def bootstrap_scores(
    scores: Sequence[float], clusters: Sequence[Hashable], *, runs: int = 1000, seed: int = 0
) -> list[float]:
    """Scores of imagined suites, each made by drawing as many whole clusters as there are.

    With a cluster of its own for every item, items are drawn one by one.

    >>> bootstrap_scores([1.0, 1.0], "ab", runs=2)
    [1.0, 1.0]
    """
    names = list(dict.fromkeys(clusters))
    index = torch.tensor([names.index(cluster) for cluster in clusters])
    values = torch.tensor([float(score) for score in scores], dtype=torch.float64)
    sums = torch.zeros(len(names), dtype=torch.float64).index_add(0, index, values)
    sizes = torch.bincount(index).double()
    draw = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(names), (runs, len(names)), generator=draw)
    return (sums[drawn].sum(1) / sizes[drawn].sum(1)).tolist()


def luckiest(
    candidates: int, items: int, *, rate: float = 0.85, runs: int = 400, seed: int = 0
) -> tuple[list[float], list[float]]:
    """Equal candidates, the best one picked by its score: what it scores then, and on new items.

    Every candidate has the same true `rate`, so whatever the best one gains is luck. Returns the
    scores of the winner on the items it was picked on, and on as many new ones, one for each run.

    >>> picked, fresh = luckiest(20, 50)
    >>> sum(picked) > sum(fresh)
    True
    """
    draw = torch.Generator().manual_seed(seed)
    right = torch.rand(runs, candidates + 1, items, generator=draw) < rate
    scores = right.double().mean(2)
    return scores[:, :candidates].max(1).values.tolist(), scores[:, candidates].tolist()
