"""The simulation behind the intervals: it draws what it says, and they hold what they promise."""

import csv

import numpy as np
import pytest
from scipy.stats import binom

from mergelab.evaluation import coverage_table
from mergelab.evaluation.coverage import (
    ALIKE,
    ENDS,
    OWN_DIFFERENCE,
    RATES,
    Cell,
    combined_cell,
    difference_cell,
    draw,
    draw_models,
    false_lead_cells,
    likeness,
    measured_likeness,
    rate_cell,
    sizes_of,
)
from mergelab.evaluation.interval_rules import OWN_RULE
from mergelab.evaluation.suites import SKILLS
from mergelab.paths import data_path

DRAWS = 250


def likely(share, low=0.93, high=0.97, draws=DRAWS):
    """Whether a share of few draws is one in 1,000 or likelier for some coverage in low to high."""
    right = round(share * draws)
    return binom.ppf(0.001, draws, low) <= right <= binom.ppf(0.999, draws, high)


def test_scores_are_drawn_at_the_rate_and_likeness_asked_for():
    sizes = np.full(4000, 5)
    sums = draw(np.random.default_rng(0), 0.8, 0.4, sizes)
    scores = np.concatenate([[1] * int(n) + [0] * (5 - int(n)) for n in sums])
    assert scores.mean() == pytest.approx(0.8, abs=4 * 0.4 * (2.6 / 20000) ** 0.5)
    assert likeness(scores, np.repeat(np.arange(4000), 5)) == pytest.approx(0.4, abs=0.04)
    assert set(draw(np.random.default_rng(0), 1.0, 0.4, sizes)) == {5.0}


def test_models_are_drawn_at_their_rates_and_agree_the_more_they_are_related():
    sizes = np.full(4000, 5)
    agreed = []
    for related in (0.5, 0.97):
        first, second = draw_models(np.random.default_rng(0), (0.9, 0.8), related, sizes)
        assert (first.mean(), second.mean()) == pytest.approx((0.9, 0.8), abs=0.02)
        agreed.append((first == second).mean())
    assert agreed[0] < agreed[1]


def test_likeness_is_that_of_the_analysis_of_variance():
    """Means 1 and 1/2 of two templates of two: mean squares 1/4 between and 1/4 within."""
    assert likeness([1, 1, 1, 0], "aabb") == pytest.approx(0.0)
    assert likeness([1, 1, 0, 0], "aabb") == pytest.approx(1.0)
    assert np.isnan(likeness([1, 1], "aa"))
    assert np.isnan(likeness([1, 0], "ab"))


def test_the_simulated_likeness_covers_the_measured_one():
    for skill, values in measured_likeness().items():
        assert ALIKE[0] <= np.median(values) <= ALIKE[-1] + 0.05, skill


@pytest.mark.parametrize(
    ("rate", "alike", "suite"),
    [(0.05, 0.4, "agentic"), (0.6, 0.7, "persona"), (0.95, 0.1, "digest")],
)
def test_rate_intervals_hold_the_rate_as_often_as_they_promise(rate, alike, suite):
    assert likely(rate_cell(rate, alike, suite, replicates=DRAWS).share)


@pytest.mark.parametrize("rate", ENDS)
def test_at_the_ends_an_interval_has_a_width_and_holds_the_rate(rate):
    cell = rate_cell(rate, 0.4, "persona", replicates=2)
    assert cell.share == 1
    assert 1 / 220 < cell.width < 5 / 220
    plain = rate_cell(rate, 0.4, "persona", method="bootstrap over templates", replicates=2)
    assert plain.width == 0


def test_difference_intervals_hold_the_difference_as_often_as_they_promise():
    assert likely(difference_cell((0.9, 0.88), 0.9, "agentic", replicates=DRAWS).share)
    assert likely(combined_cell([(0.9, 0.9), (0.93, 0.9)], 0.9, replicates=DRAWS).share)


def test_equal_models_have_a_false_leader_in_at_most_5_of_100_comparisons():
    shares = {cell.method: cell.share for cell in false_lead_cells(6, "agentic", replicates=300)}
    assert shares["Holm, all pairs"] <= binom.ppf(0.999, 300, 0.05) / 300
    assert shares["no correction"] > 0.1
    assert shares["Holm, all pairs"] <= shares["Holm, with the leader only"]


def test_the_committed_table_keeps_its_promise_but_for_the_cell_that_the_page_names():
    with data_path("tables", "coverage.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    own = [row for row in rows if row["method"] in (OWN_RULE, OWN_DIFFERENCE)]
    assert min(int(row["replicates"]) for row in own) >= 2000
    whole = {
        (row["suite"], float(row["alike"]), float(row["truth"])): float(row["share"])
        for row in rows
        if row["method"] == OWN_RULE and row["items"] == "1000"
    }
    wanted = {(s, a, r) for s in SKILLS for a in ALIKE for r in (*ENDS, *RATES)}
    assert whole.keys() == wanted
    outside = {k: s for k, s in whole.items() if k[2] in RATES and not 0.93 <= s <= 0.97}
    assert set(outside) == {("agentic", 0.7, 0.98)}  # three or four templates fail in all
    assert min(outside.values()) > 0.925
    page = data_path("tables", "coverage.md").read_text(encoding="utf-8")
    assert "Outside: agentic, 1000 items, alike 0.7, true 0.98: 92.95%." in page


def test_a_cell_that_breaks_the_promise_is_pointed_out():
    cells = [
        Cell("rate", OWN_RULE, "agentic", 1000, 160, 0.4, truth, 2000, share, 0.1)
        for truth, share in (("0.5", 0.95), ("0.98", 0.921), ("1", 1.0))
    ]
    assert [coverage_table.kept(cell) for cell in cells] == [True, False, None]
    said = coverage_table._promise(cells, "whole suites")
    assert "1 of 2 cells" in said
    assert "true 0.98: 92.10%" in said


def test_the_sizes_are_those_of_the_shipped_suites():
    assert {skill: int(sizes_of(skill).sum()) for skill in SKILLS} == dict.fromkeys(SKILLS, 1000)
    assert len(sizes_of("agentic", 50)) <= 50
