"""Ways to an interval for a clustered rate: the course's own and those it was chosen over.

Each takes how many items of each template succeed, how many there are, and a source of random
numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mergelab.evaluation.statistics import Interval, interval_of_sums

RESAMPLES = 200

Rule = Callable[[np.ndarray, np.ndarray, np.random.Generator], Interval]


def wald(sums: np.ndarray, sizes: np.ndarray, rng: np.random.Generator) -> Interval:
    """The textbook's interval: rate plus or minus 1.96 cluster-robust standard errors."""
    rate = float(sums.sum() / sizes.sum())
    error = float(np.sqrt(((sums - rate * sizes) ** 2).sum()) / sizes.sum())
    return Interval(rate, rate - 1.96 * error, rate + 1.96 * error)


def bootstrap_templates(sums: np.ndarray, sizes: np.ndarray, rng: np.random.Generator) -> Interval:
    """Percentile bootstrap: whole templates drawn with replacement."""
    chosen = rng.integers(len(sizes), size=(RESAMPLES, len(sizes)))
    return _percentiles(sums, sizes, sums[chosen].sum(1) / sizes[chosen].sum(1))


def bootstrap_both(sums: np.ndarray, sizes: np.ndarray, rng: np.random.Generator) -> Interval:
    """Percentile bootstrap: templates drawn with replacement, then items within each."""
    chosen = rng.integers(len(sizes), size=(RESAMPLES, len(sizes)))
    right = rng.binomial(sizes[chosen], (sums / sizes)[chosen]).sum(1)
    return _percentiles(sums, sizes, right / sizes[chosen].sum(1))


def _percentiles(sums: np.ndarray, sizes: np.ndarray, means: np.ndarray) -> Interval:
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(sums.sum() / sizes.sum()), float(low), float(high))


def effective_exact(sums: np.ndarray, sizes: np.ndarray, rng: np.random.Generator) -> Interval:
    """Clopper and Pearson's interval on the effective number of items (Korn & Graubard 1998)."""
    from scipy.stats import beta

    made = interval_of_sums(sums, sizes)
    right, items = made.estimate * made.effective_items, made.effective_items
    low = float(beta.ppf(0.025, right, items - right + 1)) if right > 0 else 0.0
    high = float(beta.ppf(0.975, right + 1, items - right)) if right < items else 1.0
    return Interval(made.estimate, low, high)


def effective_wilson(sums: np.ndarray, sizes: np.ndarray, rng: np.random.Generator) -> Interval:
    """The course's own: `rate_interval`."""
    return interval_of_sums(sums, sizes)


OWN_RULE = "Wilson on effective items (rate_interval)"
OTHER_RULES: dict[str, Rule] = {
    "Wald, cluster-robust": wald,
    "bootstrap over templates": bootstrap_templates,
    "bootstrap over templates and items": bootstrap_both,
    "Clopper-Pearson on effective items": effective_exact,
}
