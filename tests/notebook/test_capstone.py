"""The capstone's table, mixer and board: what they say is what was measured."""

import json

import pytest
import torch

from mergelab.errors import UserError
from mergelab.evaluation.results import Evaluation, Outcome, SkillResult
from mergelab.evaluation.scorers import Score
from mergelab.evaluation.suites import Item
from mergelab.notebook.capstone_board import SKILLS, fits, leaderboard
from mergelab.notebook.capstone_mixer import ThreeMixer, mixer_figure
from mergelab.notebook.capstone_table import (
    LEVELS,
    SCALES,
    best_on_dev,
    finals,
    mixed,
    three_recipe,
    three_table,
)
from mergelab.notebook.capstone_words import (
    dial_sentence,
    finals_table,
    finals_verdict,
    kept_table,
    weakest,
)
from mergelab.notebook.weights import Changes
from mergelab.paths import data_path
from mergelab.recipes import make_plan, parse_recipe


def evaluation(name, *rights):
    skills = {}
    for skill, right in zip(SKILLS, rights, strict=True):
        items = [
            Item(id=f"{skill}{n}", template=f"t{n}", input="x", expected="y") for n in range(10)
        ]
        outcomes = [
            Outcome(item, "", Score(int(n < right), float(n < right), ""))
            for n, item in enumerate(items)
        ]
        skills[skill] = SkillResult.of(skill, outcomes)
    return Evaluation(name, "dev", skills)


def test_the_table_holds_what_was_right_item_by_item():
    row = json.loads(data_path("tables", "three_skills.json").read_text())[0]
    entry = three_table()[0]
    for skill, right in row["right"].items():
        outcomes = entry.evaluation.skills[skill].outcomes
        assert [o.score.strict for o in outcomes] == [int(mark) for mark in right]


def test_every_method_was_tried_at_its_scales_and_went_to_test_at_the_best():
    for name, (_, _, scales) in SCALES.items():
        tried = [e.scale for e in three_table() if (e.group, e.name) == ("dev", name)]
        assert tried == list(scales)
        chosen = {e.scale for e in finals() if e.name == name}
        assert chosen == {best_on_dev(name).scale}


def test_no_random_method_is_reported_with_one_seed():
    assert len({e.seed for e in finals() if e.name == "DELLA"}) >= 3


@pytest.mark.parametrize("name", SCALES)
def test_the_recipes_of_the_table_are_valid(name):
    assert len(make_plan(parse_recipe(three_recipe(name, SCALES[name][2][0]))).sources) == 3


def test_an_unknown_method_or_mix_is_an_error_that_names_what_there_is():
    with pytest.raises(UserError, match="TIES"):
        three_recipe("magic")
    with pytest.raises(UserError, match="choose each from"):
        mixed((0.1, 0.2, 0.3))


def test_the_mixer_knows_every_position_and_every_slider_redraws_it():
    mixer = ThreeMixer()
    for slider in mixer.weights:
        assert slider.description.startswith("weight ")
        for level in LEVELS:
            slider.value = level
            assert f"{level:g}" in mixer.sentence.value
    before = mixer.picture.value
    mixer.weights[0].value = LEVELS[0]
    assert mixer.picture.value != before
    assert 'aria-live="polite"' in mixer.sentence.value


def test_the_mixer_says_in_words_what_it_shows():
    entry = mixed((0.8, 0.0, 0.0))
    picture = mixer_figure(entry)
    assert "Weights persona 0.8, agentic 0, digest 0." in picture.alt
    assert "Weakest: agentic and digest." in picture.alt
    assert picture.figure.axes[0].get_xlabel()


def test_the_verdict_names_every_method_but_the_sum_once():
    said = finals_verdict()
    for name in SCALES.keys() - {"sum", "TIES"}:
        assert said.count(name) == 1


def test_a_star_marks_each_gap_that_the_verdict_leaves_open():
    undecided = finals_verdict().partition("Not to be told apart")[2]
    for name, *_, gap, _ in finals_table().rows:
        if gap:
            low, high = gap.partition("[")[2].partition("]")[0].split(", ")
            clear = low[0] == high[0]  # of one sign
            assert gap.endswith(" *") == (clear and name in undecided), name


def test_what_was_kept_is_a_share_of_the_best_source():
    alone = {"a": evaluation("a", 10, 0, 0), "b": evaluation("b", 0, 8, 5)}
    table = kept_table([evaluation("m", 5, 8, 1), evaluation("n", 1, 1, 1)], alone)
    assert table.rows[0] == ["m", "50%", "100%", "20%", "digest", "no"]
    assert table.rows[1][-1] == "yes"


def test_the_weakest_skill_and_the_best_positions_of_a_dial():
    low, high = evaluation("m", 9, 8, 1), evaluation("m", 7, 3, 5)
    assert weakest(low) == "digest"
    said = dial_sentence({0.5: low, 0.7: high})
    assert said.startswith("Best: persona at 0.5, agentic at 0.5, digest at 0.7.")


def test_the_board_keeps_earlier_entries_in_its_file_best_first(tmp_path):
    file = tmp_path / "board.json"
    leaderboard([evaluation("first", 5, 5, 5)], file)
    table = leaderboard([evaluation("second", 9, 9, 9)], file)
    assert [row[0] for row in table.rows] == ["1. second", "2. first"]
    again = leaderboard([evaluation("first", 10, 10, 10)], file)
    assert [row[0] for row in again.rows] == ["1. first", "2. second"]


def test_equal_scores_share_a_place_on_the_board():
    table = leaderboard(
        [evaluation(name, right, 5, 5) for name, right in (("a", 5), ("b", 5), ("c", 1))]
    )
    assert [row[0] for row in table.rows] == ["1. a", "1. b", "3. c"]


def test_a_file_that_is_no_board_is_an_error_and_stays(tmp_path):
    file = tmp_path / "notes.json"
    file.write_text("my notes")
    with pytest.raises(UserError, match="no leaderboard"):
        leaderboard([evaluation("first", 5, 5, 5)], file)
    assert file.read_text() == "my notes"


@pytest.mark.parametrize(
    "merge",
    [None, [], {}, {"w": 1.0}, {"w": torch.ones(3)}, {"w": torch.tensor([1.0, float("nan")])}],
)
def test_what_does_not_fit_the_base_is_turned_down(merge):
    found = Changes(("a",), {"w": torch.zeros(2)}, {"w": [torch.ones(2)]})
    assert fits({"w": torch.ones(2)}, found)
    assert not fits(merge, found)
