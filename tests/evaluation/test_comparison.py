"""A comparison ranks, says which leads are real, and keeps every item."""

import csv
import json

import pytest

from mergelab.errors import UserError
from mergelab.evaluation.comparison import (
    Comparison,
    Row,
    as_markdown,
    comparison_table,
    write_comparison,
)
from mergelab.evaluation.leads import holm, p_value, paired
from mergelab.evaluation.results import Evaluation, Outcome, SkillResult
from mergelab.evaluation.scorers import Score
from mergelab.evaluation.suites import Item


def row(name, marks, method="ties", baseline=False):
    """A row with these marks on both skills, four items a template."""
    skills = {}
    for skill in ("persona", "agentic"):
        outcomes = [
            Outcome(
                Item(id=f"{skill}-{n}", template=f"t{n // 4}", input="Hi", expected="Hi."),
                f"reply of {name}",
                Score(mark, float(mark), "right" if mark else "wrong"),
            )
            for n, mark in enumerate(marks)
        ]
        skills[skill] = SkillResult.of(skill, outcomes)
    return Row(method, baseline, Evaluation(name, "dev", skills))


GOOD = [1] * 180 + [0] * 20
CLOSE = [1] * 178 + [0] * 22
POOR = ([1, 0, 0, 0] * 50)[:200]


@pytest.fixture
def found():
    rows = [row("poor", POOR, "linear", True), row("good", GOOD), row("close", CLOSE)]
    return Comparison.of(rows, ["a note"])


def test_the_best_comes_first_and_of_equals_the_one_named_first():
    made = Comparison.of([row("poor", POOR), row("a", GOOD), row("b", GOOD)])
    assert [one.name for one in made.rows] == ["a", "b", "poor"]
    assert made.leader.name == "a"


def test_a_real_lead_is_told_from_noise(found):
    assert found.leads["poor"].beyond_noise
    assert not found.leads["close"].beyond_noise
    assert found.leads["close"].difference.estimate == pytest.approx(0.01)
    said = found.conclusion()
    assert "over poor is more than noise" in said
    assert "over close is within noise" in said


def test_p_values_are_corrected_for_all_pairs_not_only_the_leaders(found):
    marks = {"good": GOOD, "close": CLOSE, "poor": POOR}
    clusters = [n // 4 for n in range(200)]
    pairs = [("good", "close"), ("good", "poor"), ("close", "poor")]
    raw = [p_value([paired(marks[a], marks[b], clusters)] * 2) for a, b in pairs]
    assert found.leads["close"].p == pytest.approx(holm(raw)[0])
    assert found.leads["poor"].p == pytest.approx(holm(raw)[1])


def test_a_row_alone_has_nothing_to_lead():
    made = Comparison.of([row("only", GOOD)])
    assert made.leads == {}
    assert "nothing to compare" in made.conclusion()


def test_rows_on_other_items_are_refused():
    with pytest.raises(UserError, match="different persona items"):
        Comparison.of([row("a", GOOD), row("b", GOOD[:100])])
    with pytest.raises(UserError, match="at least one merge"):
        Comparison.of([])


def test_every_item_and_every_figure_is_written(found, tmp_path):
    write_comparison(found, tmp_path)
    with (tmp_path / "items.csv").open(newline="") as file:
        items = list(csv.DictReader(file))
    assert len(items) == 3 * 2 * 200
    right = [int(i["strict"]) for i in items if (i["merge"], i["skill"]) == ("close", "agentic")]
    assert right == CLOSE
    assert {i["reply"] for i in items if i["merge"] == "poor"} == {"reply of poor"}
    with (tmp_path / "summary.csv").open(newline="") as file:
        rows = {line["merge"]: line for line in csv.DictReader(file)}
    assert list(rows) == ["good", "close", "poor"]
    assert float(rows["poor"]["persona"]) == 0.25
    assert rows["poor"]["baseline"] == "yes"
    assert (rows["good"]["p_holm"], rows["good"]["leader_ahead"]) == ("", "")
    assert rows["close"]["more_than_noise"] == "no"
    assert float(rows["poor"]["leader_ahead"]) == pytest.approx(0.65)
    assert json.loads((tmp_path / "summary.json").read_text()) == found.to_dict()
    page = (tmp_path / "summary.md").read_text()
    assert page == as_markdown(found)
    assert found.conclusion() in page
    assert "Note: a note" in page


def test_json_has_scores_with_intervals_and_leads(found):
    data = found.to_dict()
    first, last = data["rows"][0], data["rows"][-1]
    assert first["behind"] is None
    assert last["name"] == "poor"
    assert last["behind"]["more_than_noise"] is True
    assert last["behind"]["low"] < 0.65 < last["behind"]["high"]
    assert first["skills"]["persona"]["rate"] == 0.9
    assert first["combined"]["low"] < 0.9 < first["combined"]["high"]


def test_the_table_has_a_row_for_each_merge(found):
    table = comparison_table(found)
    assert table.row_count == 3
    assert [str(c.header) for c in table.columns] == [
        "merge",
        "persona",
        "agentic",
        "combined",
        "lead of good",
    ]
