"""Ways to an interval for a clustered rate: the course's own and those it was chosen over.

Each takes scores of 0 or 1, template after template, how many items each template has, and a source
of random numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mergelab.evaluation.statistics import Interval, rate_interval

RESAMPLES = 200

Rule = Callable[[np.ndarray, np.ndarray, np.random.Generator], Interval]


def _sums(scores: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    return np.add.reduceat(scores, np.concatenate([[0], np.cumsum(sizes)[:-1]]))


def clusters_of(sizes: np.ndarray) -> list[int]:
    """Return each item's template, for templates of these sizes."""
    return np.repeat(np.arange(len(sizes)), sizes).tolist()


def _percentiles(scores: np.ndarray, means: np.ndarray) -> Interval:
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(scores.mean()), float(low), float(high))


def wald(scores: np.ndarray, sizes: np.ndarray, rng: np.random.Generator) -> Interval:
    """The textbook's interval: rate plus or minus 1.96 cluster-robust standard errors."""
    sums, rate = _sums(scores, sizes), float(scores.mean())
    error = float(np.sqrt(((sums - rate * sizes) ** 2).sum())) / len(scores)
    return Interval(rate, rate - 1.96 * error, rate + 1.96 * error)


def bootstrap_templates(
    scores: np.ndarray, sizes: np.ndarray, rng: np.random.Generator
) -> Interval:
    """Percentile bootstrap: whole templates drawn with replacement."""
    chosen = rng.integers(len(sizes), size=(RESAMPLES, len(sizes)))
    sums = _sums(scores, sizes)
    return _percentiles(scores, sums[chosen].sum(1) / sizes[chosen].sum(1))


def bootstrap_both(scores: np.ndarray, sizes: np.ndarray, rng: np.random.Generator) -> Interval:
    """Percentile bootstrap: templates drawn with replacement, then items within each."""
    chosen = rng.integers(len(sizes), size=(RESAMPLES, len(sizes)))
    sums = _sums(scores, sizes)
    right = rng.binomial(sizes[chosen], (sums / sizes)[chosen]).sum(1)
    return _percentiles(scores, right / sizes[chosen].sum(1))


def effective_exact(scores: np.ndarray, sizes: np.ndarray, rng: np.random.Generator) -> Interval:
    """Clopper and Pearson's interval on the effective number of items (Korn & Graubard 1998)."""
    from scipy.stats import beta

    made = rate_interval(scores, clusters_of(sizes))
    right, items = made.estimate * made.effective_items, made.effective_items
    low = float(beta.ppf(0.025, right, items - right + 1)) if right > 0 else 0.0
    high = float(beta.ppf(0.975, right + 1, items - right)) if right < items else 1.0
    return Interval(made.estimate, low, high)


def effective_wilson(scores: np.ndarray, sizes: np.ndarray, rng: np.random.Generator) -> Interval:
    """The course's own: `rate_interval`."""
    return rate_interval(scores, clusters_of(sizes))


OWN_RULE = "Wilson on effective items (rate_interval)"
OTHER_RULES: dict[str, Rule] = {
    "Wald, cluster-robust": wald,
    "bootstrap over templates": bootstrap_templates,
    "bootstrap over templates and items": bootstrap_both,
    "Clopper-Pearson on effective items": effective_exact,
}
