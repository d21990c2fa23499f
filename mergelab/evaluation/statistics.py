"""Intervals for rates measured on items that come in clusters.

Items of one template succeed and fail together, so a thousand items say less than a thousand
independent ones would. All intervals here are 95% by default, stay inside the possible range,
and behave at rates of 0 and 1. How often they hold the truth: `data/tables/coverage.md`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from mergelab.errors import UserError

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence limits; `effective_items` is what it is worth.

    `effective_items` is the number of independent items that would tell as much (NaN for an
    interval that combines others).
    """

    estimate: float
    low: float
    high: float
    effective_items: float = math.nan

    def __str__(self) -> str:
        return f"{self.estimate:.3f} [{self.low:.3f}, {self.high:.3f}]"


def rate_interval(
    successes: Sequence[float], clusters: Sequence[Hashable], *, level: float = LEVEL
) -> Interval:
    """Return the rate of success with an interval that respects clusters.

    Wilson's score interval (1927) on an effective number of items: the items divided by the
    design effect, the ratio of the cluster-robust variance to the binomial one (Kish 1965), never
    more than the items there are. Student quantiles with clusters - 1 degrees of freedom replace
    the normal ones, as in Korn & Graubard (Survey Methodology 24, 1998, 193-201); Dean & Pagano
    (J. Surv. Stat. Methodol. 3, 2015, 484-503) compare such intervals. Where few clusters
    carry most of the variance, the degrees of freedom shrink with it (Satterthwaite, Biometrics
    Bulletin 2, 1946, 110-114: from the fourth moment, 3 for each evenly contributing cluster).
    At a rate of 0 or 1 the data cannot show how alike the items of a cluster are: one cluster then
    counts as one item. `successes` are 0 or 1, one per item; `clusters` the cluster of each.

    Raises `UserError` when there are no items or the lengths differ.

    >>> print(rate_interval([1, 1, 1, 0, 1, 0, 1, 1], "aabbccdd"))
    0.750 [0.258, 0.963]
    >>> print(rate_interval([1] * 8, "aabbccdd"))
    1.000 [0.283, 1.000]
    """
    _, sums, sizes = by_cluster(successes, clusters)
    return interval_of_sums(sums, sizes, level)


def interval_of_sums(
    sums: np.ndarray, sizes: np.ndarray, level: float = LEVEL, most_degrees: float = math.inf
) -> Interval:
    """As `rate_interval`, from each cluster's successes and its number of items.

    `most_degrees` caps the degrees of freedom where something else is known to limit them.
    """
    items, groups = int(sizes.sum()), len(sums)
    rate = float(sums.sum()) / items
    spread = sums - rate * sizes
    effective, degrees = float(groups), groups - 1.0
    if groups > 1 and 0 < rate < 1:
        robust = groups / (groups - 1) * float((spread**2).sum()) / items**2
        binomial = rate * (1 - rate) / items
        effective = items * min(1.0, binomial / robust) if robust > 0 else float(items)
        if robust > binomial * items / (items - 1) * (1 + 1e-9):  # more than clusters of one give
            degrees = min(degrees, _degrees(spread))
    low, high = _wilson(rate, effective, student_quantile(level, min(degrees, most_degrees)))
    return Interval(rate, low, high, effective)


def _degrees(spread: np.ndarray) -> float:
    """Degrees of freedom of a variance that is the mean of these squares (Satterthwaite)."""
    squares = spread**2
    return 3 * float(squares.sum() ** 2 / (squares**2).sum())


def mean_of_rates(rates: Sequence[Interval]) -> Interval:
    """Return the mean of independent rates with its interval.

    The method of variance estimates recovery (MOVER): each limit is as far from the mean as the
    root of the summed squares of the parts' own distances (Zou & Donner, Statistics in Medicine
    27, 2008, 1693-1702).

    >>> a = Interval(0.9, 0.86, 0.93)
    >>> print(mean_of_rates([a, a]))
    0.900 [0.872, 0.921]
    """
    if not rates:
        raise UserError("no rates to combine: give at least one skill")
    count = len(rates)
    estimate = sum(r.estimate for r in rates) / count
    below = math.sqrt(sum((r.estimate - r.low) ** 2 for r in rates)) / count
    above = math.sqrt(sum((r.high - r.estimate) ** 2 for r in rates)) / count
    return Interval(estimate, estimate - below, estimate + above)


def paired_difference(
    first: Sequence[float],
    second: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    level: float = LEVEL,
) -> Interval:
    """Return rate(first) - rate(second) on the same items, with its interval.

    MOVER for correlated rates (Zou, Psychological Methods 12, 2007, 399-413; for two paired
    proportions it is Newcombe's method 10, Statistics in Medicine 17, 1998, 2635-2650), with the
    correlation of the two rates taken from their cluster sums, and no more degrees of freedom than
    the clusters' differences support. Where the two never differ it has no width, and for models
    that hardly differ it is too wide; `leads.paired` does better at both.

    >>> print(paired_difference([1, 1, 1, 1, 0, 1], [1, 0, 1, 0, 0, 1], "abcdef"))
    0.333 [-0.160, 0.671]
    """
    _, sums_a, sizes = by_cluster(first, clusters)
    _, sums_b, _ = by_cluster(second, clusters)
    items = sizes.sum()
    spread_a = sums_a - sums_a.sum() / items * sizes
    spread_b = sums_b - sums_b.sum() / items * sizes
    # The few templates on which the two differ decide how well the spread is known.
    apart = spread_a - spread_b
    most = _degrees(apart) if apart.any() else math.inf
    a, b = (interval_of_sums(sums, sizes, level, most) for sums in (sums_a, sums_b))
    scale = math.sqrt(float((spread_a**2).sum()) * float((spread_b**2).sum()))
    correlation = float((spread_a * spread_b).sum()) / scale if scale > 0 else 0.0
    estimate = a.estimate - b.estimate
    below = _joined(a.estimate - a.low, b.high - b.estimate, correlation)
    above = _joined(a.high - a.estimate, b.estimate - b.low, correlation)
    return Interval(estimate, estimate - below, estimate + above)


def _joined(x: float, y: float, correlation: float) -> float:
    return math.sqrt(max(0.0, x * x - 2 * correlation * x * y + y * y))


def _wilson(rate: float, items: float, quantile: float) -> tuple[float, float]:
    square = quantile * quantile
    centre = (rate + square / (2 * items)) / (1 + square / items)
    half = (
        quantile
        / (1 + square / items)
        * math.sqrt(rate * (1 - rate) / items + square / (4 * items * items))
    )
    # At the ends of the range the limits are exact; rounding must not move them past the rate.
    return max(0.0, min(rate, centre - half)), min(1.0, max(rate, centre + half))


def student_quantile(level: float, degrees: float) -> float:
    """Return how many standard errors a two-sided interval of this level reaches to each side.

    Student's t with `degrees` of freedom; the normal distribution's for 0, which stands for many.

    Raises `UserError` unless `level` lies between 0 and 1.

    >>> round(student_quantile(0.95, 10), 3), round(student_quantile(0.95, 0), 3)
    (2.228, 1.96)
    """
    from scipy.special import ndtri, stdtrit

    if not 0 < level < 1:
        raise UserError(f"confidence level {level} is not between 0 and 1; the usual one is 0.95")
    upper = 0.5 + level / 2
    return float(stdtrit(degrees, upper) if degrees > 0 else ndtri(upper))


def by_cluster(
    values: Sequence[float], clusters: Sequence[Hashable]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the values, and each cluster's sum and size, in order of first appearance.

    Raises `UserError` when there are no values or the lengths differ.

    >>> by_cluster([1, 0, 1], "aba")
    (array([1., 0., 1.]), array([2., 0.]), array([2, 1]))
    """
    if len(values) != len(clusters):
        raise UserError(f"{len(values)} scores but {len(clusters)} clusters: give one per item")
    if len(values) == 0:
        raise UserError("no scores: an interval needs at least one item")
    numbers = {name: n for n, name in enumerate(dict.fromkeys(clusters))}
    index = np.array([numbers[name] for name in clusters])
    array = np.asarray(values, dtype=float)
    return array, np.bincount(index, weights=array), np.bincount(index)
