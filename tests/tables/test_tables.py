"""What tables are made of: scales chosen on dev, verdicts, the forms, the check."""

import csv
import io

import pytest

from mergelab.errors import UserError
from mergelab.evaluation.measuring import Measured
from mergelab.evaluation.statistics import Interval
from mergelab.tables import checking, choices, claims, strategies, sweeps, three
from mergelab.tables.table import Table, page

TABLE = Table(
    name="t",
    title="A <title>",
    caption="What & how.",
    columns=("model", "rate", "lead"),
    rows=(("a|b", Interval(0.5, 0.25, 0.75), None), ("c", Interval(1.0, 0.9, 1.0), 0.123456)),
    figure="t.png",
    alt="A picture.",
)


def tried(*scores):
    """Trials of one strategy whose dev scores are these, out of ten."""
    return {
        ("low conflict", "ties", scale): Measured({"persona": "1" * right + "0" * (10 - right)})
        for scale, right in scores
    }


def test_the_best_dev_score_chooses_and_of_equals_the_first():
    chosen = strategies.choose(tried((0.7, 4), (1.0, 8), (1.2, 8), (1.5, 2)))
    assert chosen == {("low conflict", "ties"): 1.0}


def test_no_test_item_is_in_any_choice():
    assert {each.split for each in strategies.trials().values()} == {"dev"}
    assert {each.split for each in sweeps.scale_measurements().values()} == {"dev"}


def test_every_comparison_is_on_test_items():
    chosen = {(pair, name): 1.0 for pair, name, _ in strategies.trials()}
    rows = list(strategies.entries(chosen))
    asked = [each for row in rows for each in row.measurements]
    asked += [*sweeps.density_measurements().values(), *sweeps.path_measurements().values()]
    asked += three.three_measurements().values()
    assert {each.split for each in asked} == {"test"}


def test_every_strategy_with_a_scale_is_shown_twice_and_random_ones_with_seeds():
    chosen = {(pair, name): 1.0 for pair, name, _ in strategies.trials()}
    rows = list(strategies.entries(chosen))
    for name, each in strategies.STRATEGIES.items():
        shown = [row for row in rows if row.name == name and row.pair == "conflict"]
        assert [row.setting for row in shown] == ["default", "best on dev"][: 1 + bool(each.scales)]
        assert {len(row.measurements) for row in shown} == {3 if each.random else 1}
    assert [row.name for row in rows[:2]] == ["base", "persona adapter"]


def test_choices_are_read_as_they_were_written(tmp_path):
    trials = {
        key: Measured({"persona": "1" * round(3 + 2 * key[2]) + "000"})
        for key in strategies.trials()
    }
    path = tmp_path / "choices.csv"
    path.write_text(choices.choices_csv(trials))
    assert choices.read_choices(path) == strategies.choose(trials)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "cannot be read"),
        ("a,b\n1,2\n", "is no table of choices"),
        ("pair,strategy,lambda,chosen\nlow conflict,ties,much,yes\n", "is no table of choices"),
        ("pair,strategy,lambda,chosen\nlow conflict,ties,1,yes\n", "has no scale for"),
    ],
)
def test_a_wrong_file_of_choices_is_refused(tmp_path, text, says):
    path = tmp_path / "choices.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=says):
        choices.read_choices(path)


def test_a_table_is_written_in_three_forms():
    rows = list(csv.reader(io.StringIO(TABLE.csv())))
    assert rows == [
        ["model", "rate", "rate_low", "rate_high", "lead"],
        ["a|b", "0.5000", "0.2500", "0.7500", ""],
        ["c", "1.0000", "0.9000", "1.0000", "0.1235"],
    ]
    assert "| a\\|b | 0.500 [0.250, 0.750] |  |" in TABLE.markdown()
    assert "![A picture.](t.png)" in TABLE.markdown()
    text = page([TABLE])
    assert "A &lt;title&gt;" in text and "What &amp; how." in text and "<title>A" not in text
    assert '<img src="t.png" alt="A picture.">' in text and "<script" not in text


def test_claims_name_rows_that_the_main_table_has():
    chosen = {(pair, name): 1.0 for pair, name, _ in strategies.trials()}
    known = {(row.pair, row.name, row.setting) for row in strategies.entries(chosen)}
    known |= {
        (pair, f"ties, density {density:g}", "default")
        for pair, density in sweeps.density_measurements()
    }
    for claim in claims.AHEAD:
        assert {(claim.pair, *claim.better), (claim.pair, *claim.worse)} <= known


@pytest.mark.parametrize(
    ("column", "before", "after", "beyond"),
    [
        ("combined", "0.9000", "0.9190", False),
        ("combined", "0.9000", "0.9300", True),
        ("size", "0.9000", "0.9190", True),
        ("size", "0.9000", "0.9010", False),
        ("verdict", "ahead", "within noise", False),
        ("model", "ties", "slerp", True),
        ("combined", "0.9000", "", True),
        ("combined", "0.9000", "nan", True),
    ],
)
def test_the_check_knows_how_far_a_cell_may_move(tmp_path, column, before, after, beyond):
    for name, value in (("old.csv", before), ("new.csv", after)):
        (tmp_path / name).write_text(f"pair,{column}\nlow,{value}\n")
    (move,) = checking.moves(tmp_path / "old.csv", tmp_path / "new.csv")
    assert move.beyond == beyond
    assert "old.csv, low" in str(move) and (before in str(move))


def test_the_check_sees_rows_that_come_or_go(tmp_path):
    (tmp_path / "old.csv").write_text("a\n1\n")
    (tmp_path / "new.csv").write_text("a\n1\n2\n")
    (move,) = checking.moves(tmp_path / "old.csv", tmp_path / "new.csv")
    assert move.beyond
    with pytest.raises(UserError, match="cannot be read"):
        checking.moves(tmp_path / "none.csv", tmp_path / "new.csv")
    assert checking.moves(tmp_path / "old.csv", tmp_path / "old.csv") == []
