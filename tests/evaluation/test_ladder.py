"""The ladder: every rung is measured alike, and its table is read as it was written."""

import csv

import pytest

from mergelab.errors import UserError
from mergelab.evaluation import Interval, evaluate
from mergelab.evaluation.ladder import (
    LAMBDAS,
    RUNGS,
    LadderRow,
    ladder,
    read_ladder,
    write_ladder,
)
from mergelab.paths import data_path

ROW = LadderRow(
    own_style=5,
    method="ties",
    scale="best",
    lam=1.2,
    rates={
        "persona": Interval(0.9, 0.85, 0.95),
        "agentic": Interval(0.7, 0.6, 0.8),
        "combined": Interval(0.8, 0.7, 0.9),
    },
    ties_ahead=None,
    magnitude_kept=1.25,
    opposite=0.02,
    cosine=-0.01,
    sizes=(0.09, 0.07),
)


def test_a_short_ladder_has_every_model_on_test_and_the_same_figures_as_a_plain_evaluation():
    from mergelab.checkpoints.loading import load_model
    from mergelab.interference import inspect_models

    seen = []
    rows = ladder(rungs=[10], limit=12, progress=lambda *about: seen.append(about))
    assert seen == [(0, 1, "own style 10%"), (1, 1, "own style 10%")]
    assert [(row.method, row.scale) for row in rows] == [
        ("persona", "alone"),
        ("agentic", "alone"),
        ("linear", "default"),
        ("slerp", "default"),
        ("ties", "default"),
        ("task_arithmetic", "best"),
        ("ties", "best"),
    ]
    names = [f"task_api_{skill}_own10" for skill in ("persona", "agentic")]
    alone = evaluate(*load_model(names[0]), split="test", limit=12)
    assert rows[0].rates["persona"].estimate == alone.skills["persona"].rate.estimate
    found = inspect_models(names).total
    assert {row.sizes for row in rows} == {found.relative_norms}
    assert {row.cosine for row in rows} == {found.cosine}
    by = {(row.method, row.scale): row for row in rows}
    assert by["task_arithmetic", "best"].lam in LAMBDAS["task_arithmetic"]
    ahead = by["ties", "default"].rates["combined"].estimate
    ahead -= by["linear", "default"].rates["combined"].estimate
    assert by["linear", "default"].ties_ahead.estimate == pytest.approx(ahead)
    # The task vectors are near a right angle, so their half sum keeps near 1/sqrt(2).
    assert by["linear", "default"].magnitude_kept == pytest.approx(0.71, abs=0.04)


def test_a_table_is_read_as_it_was_written(tmp_path):
    other = LadderRow(**{**vars(ROW), "lam": None, "ties_ahead": Interval(0.1, -0.1, 0.3)})
    write_ladder([ROW, other], tmp_path / "ladder.csv")
    again = read_ladder(tmp_path / "ladder.csv")
    write_ladder(again, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "ladder.csv").read_bytes()
    assert (again[0].lam, again[0].scale, again[0].ties_ahead) == (1.2, "best", None)
    assert again[0].rates["agentic"].low == 0.6
    assert (again[1].lam, again[1].ties_ahead.high, again[1].sizes) == (None, 0.3, (0.09, 0.07))


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "own_style_percent\nmany\n"])
def test_another_table_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "ladder.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=r"ladder\.csv: is no ladder table .*mergelab tables"):
        read_ladder(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_ladder(tmp_path / "none.csv")


def test_an_unknown_rung_is_refused_before_anything_runs():
    with pytest.raises(UserError, match="no rung 7; the rungs are 0, 2, 5, 10"):
        ladder(rungs=[0, 7])


def test_the_shipped_table_has_every_rung_and_choices_from_the_grids():
    rows = read_ladder()
    assert [row.own_style for row in rows] == [rung for rung in RUNGS for _ in range(7)]
    for row in rows:
        if row.scale == "best":
            assert row.lam in LAMBDAS[row.method]
        for rate in row.rates.values():
            assert 0 <= rate.low <= rate.estimate <= rate.high <= 1
    alone = {(row.own_style, row.method): row.rates for row in rows if row.scale == "alone"}
    assert all(rates[skill].estimate >= 0.85 for (_, skill), rates in alone.items())
    with data_path("tables", "ladder.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 28
