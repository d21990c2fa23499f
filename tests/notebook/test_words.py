"""Tables, verdicts and the calling of a learner's functions say what is so."""

import pytest
import torch

from mergelab.evaluation.results import Evaluation, Outcome, SkillResult
from mergelab.evaluation.scorers import Score
from mergelab.evaluation.statistics import Interval
from mergelab.evaluation.suites import Item
from mergelab.notebook.learner import attempt, merge_with
from mergelab.notebook.result_tables import (
    differences_table,
    merge_report_table,
    replies_table,
    scores_table,
    sizes_table,
    sweep_table,
)
from mergelab.notebook.tables import Table
from mergelab.notebook.verdicts import (
    beyond_noise,
    conflicts_sentence,
    density_verdict,
    difference_sentence,
    ends_verdict,
    overruled_sentence,
    scale_or_election,
)
from mergelab.notebook.weights import Changes, Fate
from mergelab.report import MergeReport, TensorReport

GAIN, LOSS, NOTHING = (
    Interval(0.1, 0.05, 0.15),
    Interval(-0.1, -0.15, -0.05),
    Interval(0, -0.1, 0.1),
)


def report(conflicts, entries=1000):
    tensor = TensorReport(
        "w", 0, entries, (500, 500), conflicts, conflicts, (1.0, 1.0), ((1.0, 0.0), (0.0, 1.0)), 1.5
    )
    return MergeReport("ties", ["task_api_a", "b"], "base", "task_vectors", 0, "trimmed", [tensor])


def evaluation(name, right, items=200):
    """A model that gets the first `right` items of each suite; every item its own template."""
    skills = {}
    for skill in ("persona", "agentic"):
        outcomes = [
            Outcome(
                Item(id=f"{skill}{n}", template=str(n), input="x", expected="y"),
                "reply",
                Score(int(n < right), float(n < right), ""),
            )
            for n in range(items)
        ]
        skills[skill] = SkillResult.of(skill, outcomes)
    return Evaluation(name, "dev", skills)


def test_a_table_escapes_its_cells_and_names_its_rows_and_columns():
    html = Table(["", "score"], [["<b>", "1"]], caption="a & b", strong={0})._repr_html_()
    assert "&lt;b&gt;" in html and "<b>" not in html
    assert 'scope="row"' in html and html.count('scope="col"') == 2
    assert "a &amp; b</caption>" in html


def test_a_table_refuses_rows_of_another_length():
    with pytest.raises(ValueError, match="2 cells in a row of a table of 3"):
        Table(["a", "b", "c"], [["1", "2"]])


def test_scores_and_differences_show_intervals():
    better, worse = evaluation("better", 180), evaluation("worse", 100)
    assert "200 items a skill" in str(scores_table([better, worse]))
    assert "+0.400 [" in str(differences_table([("better", better, worse)]))
    assert "−0.400 [−" in str(differences_table([("worse", worse, better)]))


def test_a_merge_report_shows_a_row_for_each_layer_and_the_total():
    lines = str(merge_report_table(report(125))).splitlines()
    assert lines[0] == "ties of task_api_a and b"
    assert [line.split()[0] for line in lines[2:]] == ["layer", "total"]
    assert "125 (12.5%)" in lines[2] and "trimmed: a" in lines[1]


def test_methods_at_the_same_size_are_compared_row_by_row():
    curves = {
        "sum": [(0.7, evaluation("sum", 100)), (1.2, evaluation("sum", 150))],
        "ties": [(1.2, evaluation("ties", 150)), (0.7, evaluation("ties", 180))],
    }
    rows = sizes_table(curves).rows
    assert [(row[0], row[-1]) for row in rows] == [("0.70", "ties"), ("1.20", "cannot tell")]


def test_a_sweep_shows_the_published_value_where_there_is_one():
    table = sweep_table({0.5: evaluation("a", 150), 0.1: evaluation("b", 90)}, {0.5: 1.2, 0.1: 0.9},
                        {0.5: 0.891})  # fmt: skip
    assert [(row[0], row[-2], row[-1]) for row in table.rows] == [
        ("0.1", "", "0.90"),
        ("0.5", "0.891", "1.20"),
    ]


def test_replies_show_the_first_item_and_the_first_failure_of_each_skill():
    table = replies_table([evaluation("good", 200), evaluation("worse", 2)])
    assert len(table.rows) == 4
    assert table.rows[1][1:] == ["✓ reply", "✗ reply"]
    assert len(replies_table([evaluation("good", 200)]).rows) == 2


def test_where_the_first_reply_is_wrong_the_next_wrong_one_stands_beside_it():
    table = replies_table([evaluation("good", 200), evaluation("all wrong", 0)])
    assert [row[1:] for row in table.rows] == [["✓ reply", "✗ reply"]] * 4
    assert "the next that all wrong got wrong" in table.caption


@pytest.mark.parametrize(
    ("conflicts", "words"),
    [(125, "Close to chance"), (30, "fewer than chance"), (200, "more than chance")],
)
def test_conflicts_are_compared_with_chance(conflicts, words):
    said = conflicts_sentence(report(conflicts), 0.5)
    assert "chance alone would give 12.5%" in said and words in said


def test_who_loses_elections_is_said_whether_or_not_it_is_the_smaller_one():
    small, large = Fate("small", 0.8, 0.1, 0.1, 1.0), Fate("large", 0.9, 0.05, 0.05, 2.0)
    assert "favours the louder adapter" in overruled_sentence([large, small])
    loud_loser = Fate("loud", 0.6, 0.1, 0.3, 4.0)
    assert "loud loses more" in overruled_sentence([large, loud_loser])
    assert "2.00 times as large" in overruled_sentence([large, loud_loser])


@pytest.mark.parametrize(("interval", "answer"), [(GAIN, 1), (LOSS, -1), (NOTHING, 0)])
def test_noise_is_what_an_interval_around_zero_says(interval, answer):
    assert beyond_noise(interval) == answer


def test_equal_scores_are_called_equal():
    said = difference_sentence("A", "B", Interval(0.001, -0.02, 0.02))
    assert said.startswith("A and B score less than .01 apart (95% interval −.02 to +.02)")


@pytest.mark.parametrize(
    ("scale", "election", "words"),
    [
        (GAIN, GAIN, "sign election earns its keep, beside the right size"),
        (NOTHING, GAIN, "sign election earns its keep, and size alone does not"),
        (GAIN, LOSS, "the election costs more than it brings"),
        (GAIN, NOTHING, "the right size explains the lead"),
        (LOSS, NOTHING, "a larger size is a burden"),
        (NOTHING, NOTHING, "neither makes a difference"),
    ],
)
def test_the_lead_is_explained_by_what_was_measured(scale, election, words):
    assert words in scale_or_election(scale, election)


PUBLISHED = {0.3: 0.823, 0.4: 0.867, 0.5: 0.891, 0.6: 0.879, 0.7: 0.854}


def test_a_flat_sweep_does_not_confirm_the_published_peak():
    flat = {d: evaluation("ties", 170 + n % 2) for n, d in enumerate(PUBLISHED)}
    said = density_verdict(flat, PUBLISHED)
    assert "None of 0.3, 0.4, 0.6 and 0.7 differs" in said
    assert "not confirmed" in said


def test_a_peaked_sweep_confirms_it():
    peaked = {d: evaluation("ties", 190 if d == 0.5 else 120) for d in PUBLISHED}
    assert "the published peak is confirmed" in density_verdict(peaked, PUBLISHED)


def test_a_sweep_that_differs_elsewhere_says_where():
    rising = {d: evaluation("ties", 190 if d > 0.5 else 120) for d in PUBLISHED}
    said = density_verdict(rising, PUBLISHED)
    assert "0.6 and 0.7 are better than 0.5 beyond noise" in said
    assert "confirmed" not in said


@pytest.mark.parametrize(
    ("right", "words"),
    [(195, "0.4 is above 0.5 by more than noise"), (150, "it is not above 0.5")],
)
def test_a_place_that_the_source_has_not_measured_is_not_left_out(right, words):
    measured = {d: evaluation("linear", 150 if d == 0.5 else 100) for d in (0.3, 0.5, 0.7)}
    measured[0.4] = evaluation("linear", right)
    said = density_verdict(measured, {d: PUBLISHED[d] for d in (0.3, 0.5, 0.7)})
    assert "Of these three the best here is 0.5" in said
    assert "Measured here as well: 0.4 (" in said and words in said


def test_the_ends_of_a_sweep_are_compared_with_its_middle():
    said = ends_verdict({d: evaluation("ties", n) for d, n in ((0.05, 40), (0.5, 180), (1.0, 180))})
    assert "Density 0.05 scores .70 below density 0.5" in said
    assert "Density 1 and density 0.5 score less than .01 apart" in said


def test_attempt_returns_what_the_function_returns():
    assert attempt(lambda a, b=1: a + b, 2, b=3) == 5


def test_attempt_names_the_empty_function_even_deep_inside(capsys):
    def trim():
        raise NotImplementedError

    def ties():
        return trim()

    assert attempt(ties) is None
    assert "Your trim is still empty" in capsys.readouterr().out


def test_attempt_turns_an_error_or_a_forgotten_return_into_a_sentence(capsys):
    def broken():
        raise IndexError("list index out of range")

    def forgetful():
        pass

    assert attempt(broken) is None
    assert "Your broken stops with IndexError" in capsys.readouterr().out
    assert attempt(forgetful) is None
    assert "Your forgetful returns nothing" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [torch.ones(3), [1.0, 2.0], 0.5])
def test_a_learners_merge_of_the_wrong_shape_is_a_sentence(wrong, capsys):
    def ties(deltas):
        return wrong

    found = Changes(("a",), {"w": torch.ones(2)}, {"w": [torch.ones(2)]})
    assert merge_with(ties, found) is None
    assert "Your ties does not return a tensor of the deltas' shape" in capsys.readouterr().out
