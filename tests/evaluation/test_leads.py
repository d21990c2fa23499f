"""Leads on the same items: Tango's interval by maximum likelihood, Holm by closed testing."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import t

from mergelab.errors import UserError
from mergelab.evaluation.leads import Paired, holm, lead, p_value, paired

pairs = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 6)), min_size=2, max_size=60
)


def score_statistic(won, lost, items, difference):
    """Tango's statistic, with the likelihood maximised by a search instead of his formula."""

    def minus_likelihood(q):  # q: true share that the second wins; the first wins q + difference
        parts = [(won, q + difference), (lost, q), (items - won - lost, 1 - 2 * q - difference)]
        return -sum(count * math.log(share) for count, share in parts if count)

    ends = (max(0.0, -difference) + 1e-12, (1 - difference) / 2 - 1e-12)
    q = minimize_scalar(minus_likelihood, bounds=ends, method="bounded", options={"xatol": 1e-13}).x
    variance = items * (2 * q + difference * (1 - difference))
    return (won - lost - items * difference) / math.sqrt(variance)


@pytest.mark.parametrize(("won", "lost", "items"), [(12, 2, 50), (30, 22, 400), (5, 3, 900)])
def test_independent_items_give_tangos_interval(won, lost, items):
    first = [1] * won + [0] * (items - won)
    second = [0] * won + [1] * lost + [0] * (items - won - lost)
    made = paired(first, second, range(items)).interval()
    # without clusters the spread is known from items - 1 degrees of freedom, and counted over them
    quantile, worth = t.ppf(0.975, items - 1), (items - 1) / items
    estimate = (won - lost) / items

    def limit(sign, end):
        return brentq(
            lambda d: (
                score_statistic(won * worth, lost * worth, items * worth, d) - sign * quantile
            ),
            estimate,
            end,
        )

    assert made.estimate == pytest.approx(estimate)
    assert made.low == pytest.approx(limit(1, -0.999), abs=2e-5)
    assert made.high == pytest.approx(limit(-1, 0.999), abs=2e-5)


def test_templates_of_copies_count_as_one_item_each():
    first, second = [1] * 12 + [0] * 28, [0] * 12 + [1] * 4 + [0] * 24
    single = paired(first, second, range(40))
    copied = paired(np.repeat(first, 10), np.repeat(second, 10), np.repeat(range(40), 10))
    assert copied.effective_items == pytest.approx(single.effective_items)
    assert copied.interval().low == pytest.approx(single.interval().low)


@given(pairs, pairs)
def test_models_that_never_differ_may_still_differ_by_a_little(some, more):
    for rows in (some, more):
        scores, _, clusters = zip(*rows, strict=True)
        made = paired(scores, scores, clusters)
        assert p_value([made]) == 1.0
        assert made.interval().low < 0 < made.interval().high


@given(pairs)
def test_an_interval_stays_in_range_and_turns_round_with_the_models(rows):
    first, second, clusters = zip(*rows, strict=True)
    made, turned = (
        paired(a, b, clusters).interval() for a, b in ((first, second), (second, first))
    )
    assert -1 <= made.low <= made.estimate <= made.high <= 1
    assert made.low == pytest.approx(-turned.high, abs=1e-9)
    assert made.high == pytest.approx(-turned.low, abs=1e-9)


shares = st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(1, 5)).map(
    lambda n: Paired(n[0] / 100, n[1] / 100, 100.0 * n[2], 99.0)
)


@settings(max_examples=25)
@given(st.lists(shares, min_size=1, max_size=3))
def test_the_test_and_the_interval_agree(skills):
    interval = lead(skills)
    if abs(p_value(skills) - 0.05) > 1e-6:
        assert (p_value(skills) < 0.05) == (not interval.low <= 0 <= interval.high)


@given(shares)
def test_for_one_skill_the_test_is_mcnemars(skill):
    if skill.won != skill.lost:
        chi = (skill.won - skill.lost) * math.sqrt(skill.effective_items / (skill.won + skill.lost))
        expected = 2 * t.sf(abs(chi), skill.degrees)
        assert p_value([skill]) == pytest.approx(max(expected, 1e-12), rel=1e-4, abs=2e-12)


def test_a_lead_over_two_skills_is_sharper_than_over_one():
    one = Paired(0.08, 0.05, 400, 150)
    assert p_value([one, one]) < p_value([one])
    wide, narrow = one.interval(), lead([one, one])
    assert narrow.high - narrow.low == pytest.approx((wide.high - wide.low) / math.sqrt(2))


@given(st.lists(st.integers(0, 100).map(lambda n: n / 100), min_size=1, max_size=6))
def test_holm_is_the_closed_test_of_bonferroni(p_values):
    """A value is corrected by the worst of all groups of hypotheses that it is a member of."""
    count = range(len(p_values))
    groups = [g for size in count for g in combinations(count, size + 1)]
    expected = [
        max(min(1.0, len(g) * min(p_values[n] for n in g)) for g in groups if one in g)
        for one in count
    ]
    assert holm(p_values) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: paired([], [], []), "at least one item"),
        (lambda: paired([1, 0], [1], ["a", "b"]), "1 scores but 2 clusters"),
        (lambda: lead([]), "at least one skill"),
        (lambda: holm([0.5, 1.5]), "between 0 and 1"),
        (lambda: Paired(0.1, 0.0, 10, 9).interval(level=1.5), "confidence level"),
    ],
)
def test_impossible_requests_are_refused_in_words(call, words):
    with pytest.raises(UserError, match=words):
        call()


def test_one_template_alone_still_gives_an_interval():
    made = paired([1, 1, 0], [0, 1, 0], "aaa")
    assert made.effective_items == 1
    assert -1 <= made.interval().low < 0 < made.interval().high <= 1
