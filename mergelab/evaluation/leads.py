"""Is one model ahead of another on the same items, or is it noise? And the best of many?

Scores of one item are compared with each other: all that counts is where the two models differ.
`paired` reduces two models on one suite to the few numbers that matter, `lead` gives the interval
of the mean over suites, `p_value` the same as a test, and `holm` pays for asking many questions.
How often these intervals hold the truth: `data/tables/coverage.md`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from mergelab.errors import UserError
from mergelab.evaluation.statistics import (
    LEVEL,
    Interval,
    by_cluster,
    mean_of_rates,
    student_quantile,
)

SMALLEST_P = 1e-12  # smaller ones are not told apart


@dataclass(frozen=True)
class Paired:
    """Two models on the same items: what the first won, what it lost, and what that is worth.

    `won` and `lost` are shares of all items: right by the first model alone, by the second alone.
    `effective_items`: how many independent items would tell as much; `degrees`: degrees of freedom
    of the spread between clusters, their number minus one.
    """

    won: float
    lost: float
    effective_items: float
    degrees: float

    def interval(self, level: float = LEVEL) -> Interval:
        """Return rate(first) - rate(second) with its interval.

        Tango's score interval for paired proportions (Statistics in Medicine 17, 1998, 891-908) on
        the effective number of items, with Student quantiles for normal ones. It has a width where
        the two models never differ: then the difference may still be as large as what so many
        templates can hide.

        >>> print(Paired(0.10, 0.04, 500, 200).interval())
        0.060 [0.028, 0.094]
        >>> print(Paired(0.0, 0.0, 200, 199).interval())
        0.000 [-0.019, 0.019]
        """
        difference = self.won - self.lost
        square = student_quantile(level, self.degrees) ** 2
        high = self._limit(1.0, square)
        low = self._limit(-1.0, square)
        return Interval(difference, low, high, self.effective_items)

    def _limit(self, end: float, square: float) -> float:
        """The difference farthest towards `end` that the counts do not rule out."""
        difference = self.won - self.lost
        inside, outside = difference, end
        for _ in range(45):  # halves a range of at most 2 down to rounding
            middle = (inside + outside) / 2
            if (difference - middle) ** 2 <= square * self._variance(middle):
                inside = middle
            else:
                outside = middle
        return inside

    def _variance(self, difference: float) -> float:
        """Variance of the estimate if this were the true difference (Tango's equation 5)."""
        b = (2 + self.lost - self.won) * difference - self.won - self.lost
        c = -self.lost * difference * (1 - difference)
        likely = (math.sqrt(max(0.0, b * b - 8 * c)) - b) / 4
        return max(0.0, 2 * likely + difference * (1 - difference)) / self.effective_items


def paired(first: Sequence[float], second: Sequence[float], clusters: Sequence[Hashable]) -> Paired:
    """Compare two models item by item, for scores of 0 or 1 and the cluster of each item.

    The design effect of the differences (cluster-robust variance over that of independent items)
    divides the number of items, as in `rate_interval`. Where the models never differ, nothing
    shows how alike the items of a cluster are, and one cluster counts as one item.

    Raises `UserError` when there are no items or the lengths differ.

    >>> paired([1, 1, 1, 1, 0, 1], [1, 0, 1, 0, 0, 1], "abcdef").won.__round__(3)
    0.333
    """
    a, sums_a, sizes = by_cluster(first, clusters)
    b, sums_b, _ = by_cluster(second, clusters)
    return paired_of_sums(float((a * (1 - b)).mean()), sums_a - sums_b, sizes)


def paired_of_sums(won: float, differences: np.ndarray, sizes: np.ndarray) -> Paired:
    """As `paired`, from the share won, and each cluster's difference and number of items."""
    items, groups = int(sizes.sum()), len(sizes)
    difference = float(differences.sum()) / items
    lost = max(0.0, won - difference)
    naive = (won + lost - difference**2) / items
    effective = float(groups)
    if naive > 0 and groups > 1:
        spread = differences - difference * sizes
        robust = groups / (groups - 1) * float((spread**2).sum()) / items**2
        effective = items * min(1.0, naive / robust) if robust > 0 else float(items)
    return Paired(won, lost, effective, groups - 1.0)


def lead(skills: Sequence[Paired], level: float = LEVEL) -> Interval:
    """Return how far the first model is ahead, averaged over skills, with its interval.

    >>> one = Paired(0.10, 0.04, 500, 200)
    >>> print(lead([one, one]))
    0.060 [0.037, 0.084]
    """
    return mean_of_rates([skill.interval(level) for skill in skills])


def p_value(skills: Sequence[Paired]) -> float:
    """Return the two-sided p-value of the mean difference over skills.

    The test inverts `lead`: p is 1 minus the level at which its interval just touches 0, so the two
    never disagree. For one skill this is McNemar's test on the effective number of items.

    >>> round(p_value([Paired(0.10, 0.04, 500, 200)]), 4)
    0.0004
    >>> p_value([Paired(0.05, 0.05, 500, 200)])
    1.0
    """
    from scipy.optimize import brentq

    sign = 1 if lead(skills).estimate > 0 else -1

    def nearest(log_p: float) -> float:
        """The limit on the side of 0, positive where 0 is excluded."""
        interval = lead(skills, 1 - math.exp(log_p))
        return interval.low if sign > 0 else -interval.high

    ends = (math.log(SMALLEST_P), math.log(1 - SMALLEST_P))
    if nearest(ends[1]) <= 0:
        return 1.0
    if nearest(ends[0]) >= 0:
        return SMALLEST_P
    return math.exp(brentq(nearest, *ends, xtol=1e-6))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for being many, in the given order.

    Holm's step-down method (Scandinavian Journal of Statistics 6, 1979, 65-70): the chance of even
    one false finding stays below the level, whatever the tests have to do with each other.

    Raises `UserError` for a value outside 0 to 1.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    if any(not 0 <= p <= 1 for p in p_values):
        raise UserError("a p-value lies between 0 and 1")
    corrected = [1.0] * len(p_values)
    reached = 0.0
    for rank, n in enumerate(sorted(range(len(p_values)), key=lambda n: p_values[n])):
        reached = max(reached, min(1.0, (len(p_values) - rank) * p_values[n]))
        corrected[n] = reached
    return corrected
