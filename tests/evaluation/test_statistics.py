"""Intervals: against other people's formulas, at the ends of the range, and by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from mergelab.errors import UserError
from mergelab.evaluation import (
    Interval,
    load_suite,
    mean_of_rates,
    paired_difference,
    rate_interval,
)

outcomes = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5)), min_size=1, max_size=60)


@pytest.mark.parametrize("successes", [3, 50, 500, 905, 997])
def test_items_without_clusters_give_wilsons_interval(successes):
    values = [1] * successes + [0] * (1000 - successes)
    made = rate_interval(values, range(1000))
    wilson = binomtest(successes, 1000).proportion_ci(method="wilson")
    assert made.estimate == successes / 1000
    assert (made.low, made.high) == pytest.approx((wilson.low, wilson.high), abs=3e-4)


def test_clusters_of_copies_count_as_one_item_each():
    """40 templates of 10 equal outcomes tell as much as 40 items."""
    values, clusters = [1] * 30 + [0] * 10, range(40)
    copied = rate_interval(np.repeat(values, 10), np.repeat(clusters, 10))
    single = rate_interval(values, clusters)
    assert copied.effective_items == pytest.approx(39, abs=1e-9)
    assert (copied.low, copied.high) == pytest.approx((single.low, single.high), abs=0.01)


def test_clusters_that_are_more_even_than_chance_are_not_worth_more_than_their_items():
    even = rate_interval([1, 0] * 50, [n // 2 for n in range(100)])
    assert even.effective_items == 100


@pytest.mark.parametrize(("value", "end"), [(0, "low"), (1, "high")])
def test_at_the_ends_of_the_range_a_template_counts_as_one_item(value, end):
    made = rate_interval([value] * 1000, [n % 200 for n in range(1000)])
    wilson = binomtest(200 * value, 200).proportion_ci(method="wilson")
    assert getattr(made, end) == value
    assert (made.low, made.high) == pytest.approx((wilson.low, wilson.high), abs=1e-3)


@given(pairs=outcomes)
def test_an_interval_stays_in_range_and_around_its_rate(pairs):
    values, clusters = zip(*pairs, strict=True)
    made = rate_interval(values, clusters)
    assert 0 <= made.low <= made.estimate <= made.high <= 1
    assert made.low < made.high
    assert 0 < made.effective_items <= len(values)


@given(pairs=outcomes)
def test_swapping_success_and_failure_mirrors_the_interval(pairs):
    values, clusters = zip(*pairs, strict=True)
    made, mirrored = (rate_interval(v, clusters) for v in (values, [1 - value for value in values]))
    assert made.low == pytest.approx(1 - mirrored.high, abs=1e-9)
    assert made.high == pytest.approx(1 - mirrored.low, abs=1e-9)


@given(pairs=outcomes, seed=st.integers(0, 99))
def test_the_order_of_items_and_the_names_of_clusters_do_not_matter(pairs, seed):
    values, clusters = map(np.array, zip(*pairs, strict=True))
    order = np.random.default_rng(seed).permutation(len(values))
    made = rate_interval(values, clusters)
    other = rate_interval(values[order], [f"template {c}" for c in clusters[order]])
    assert (made.low, made.high) == pytest.approx((other.low, other.high), abs=1e-12)


def test_the_combined_interval_is_wider_where_a_part_is():
    a, b = Interval(0.9, 0.86, 0.93), Interval(0.7, 0.62, 0.77)
    made = mean_of_rates([a, b])
    assert made.estimate == pytest.approx(0.8)
    assert made.low == pytest.approx(0.8 - math.hypot(0.04, 0.08) / 2)
    assert made.high == pytest.approx(0.8 + math.hypot(0.03, 0.07) / 2)
    assert mean_of_rates([a]).low == pytest.approx(a.low)


def test_a_paired_difference_is_sharper_than_two_separate_intervals():
    rng = np.random.default_rng(0)
    first = (rng.random(1000) < 0.8).astype(int)
    second = np.where(rng.random(1000) < 0.95, first, 0)
    clusters = [n % 200 for n in range(1000)]
    made = paired_difference(first, second, clusters)
    apart = [rate_interval(v, clusters) for v in (first, second)]
    assert made.low > 0
    assert made.high - made.low < 0.7 * math.hypot(*(i.high - i.low for i in apart))


@given(pairs=outcomes)
def test_a_difference_turned_round_changes_its_sign(pairs):
    values, clusters = zip(*pairs, strict=True)
    other = [*values[1:], 1]
    made, turned = (
        paired_difference(a, b, clusters) for a, b in ((values, other), (other, values))
    )
    assert made.low == pytest.approx(-turned.high, abs=1e-9)
    assert made.high == pytest.approx(-turned.low, abs=1e-9)
    assert made.low <= made.estimate <= made.high


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: rate_interval([], []), "at least one item"),
        (lambda: rate_interval([1, 0], ["a"]), "2 scores but 1 clusters"),
        (lambda: rate_interval([1], ["a"], level=1.5), "confidence level 1.5"),
        (lambda: mean_of_rates([]), "at least one skill"),
        (lambda: paired_difference([1, 0], [1], ["a", "b"]), "1 scores but 2 clusters"),
    ],
)
def test_impossible_requests_are_refused_in_words(call, words):
    with pytest.raises(UserError, match=words):
        call()


# Coverage: of intervals for a known rate, how many hold it. Items of a template share a
# beta-distributed rate with intraclass correlation `alike`; sizes are those of the suites.


def _sizes(skill):
    templates = [item.template for item in load_suite(skill, "test")]
    return np.unique(templates, return_counts=True)[1]


def _draw(rng, rate, alike, sizes):
    shape = (1 - alike) / alike
    rates = rng.beta(rate * shape, (1 - rate) * shape, len(sizes))
    return (rng.random(sizes.sum()) < np.repeat(rates, sizes)).astype(float)


def _rate_coverage(skill, rate, alike, replicates):
    rng, sizes = np.random.default_rng(1), _sizes(skill)
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    made = [rate_interval(_draw(rng, rate, alike, sizes), clusters) for _ in range(replicates)]
    return np.mean([i.low <= rate <= i.high for i in made])


def _combined_coverage(rates, alike, replicates):
    rng, truth = np.random.default_rng(2), sum(rates) / 2
    suites = [_sizes(skill) for skill in ("persona", "agentic")]
    held = 0
    for _ in range(replicates):
        parts = [
            rate_interval(_draw(rng, rate, alike, sizes), np.repeat(np.arange(len(sizes)), sizes))
            for rate, sizes in zip(rates, suites, strict=True)
        ]
        combined = mean_of_rates(parts)
        held += combined.low <= truth <= combined.high
    return held / replicates


def _difference_coverage(rate, lost, replicates):
    """The second model fails where the first does, and in a share `lost` of other templates."""
    rng, sizes = np.random.default_rng(3), _sizes("persona")
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    held = 0
    for _ in range(replicates):
        first = _draw(rng, rate, 0.2, sizes)
        second = first * _draw(rng, 1 - lost, 0.2, sizes)
        made = paired_difference(first, second, clusters)
        held += made.low <= rate * lost <= made.high
    return held / replicates


def test_intervals_hold_the_true_rate_about_95_times_in_100():
    assert 0.91 <= _rate_coverage("persona", 0.9, 0.1, 300) <= 0.985
    assert 0.91 <= _combined_coverage((0.9, 0.6), 0.1, 200) <= 0.985
    assert 0.91 <= _difference_coverage(0.9, 0.05, 200) <= 0.985


@pytest.mark.slow
@pytest.mark.parametrize("skill", ["persona", "agentic"])
@pytest.mark.parametrize("alike", [0.001, 0.1, 0.3])
@pytest.mark.parametrize("rate", [0.05, 0.2, 0.5, 0.8, 0.9, 0.95, 0.98])
def test_rate_intervals_hold_the_true_rate_93_to_97_times_in_100(skill, alike, rate):
    assert 0.93 <= _rate_coverage(skill, rate, alike, 2000) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("rates", [(0.05, 0.05), (0.5, 0.9), (0.9, 0.9), (0.98, 0.05)])
def test_combined_intervals_hold_the_true_mean_93_to_97_times_in_100(rates):
    assert 0.93 <= _combined_coverage(rates, 0.1, 2000) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "lost"), [(0.5, 0.05), (0.9, 0.02), (0.9, 0.1), (0.98, 0.05)])
def test_difference_intervals_hold_the_true_difference_92_to_98_times_in_100(rate, lost):
    """With about ten differing items in all (rate .5, lost .02) it was .924."""
    assert 0.92 <= _difference_coverage(rate, lost, 1500) <= 0.98
