"""`mergelab check`: the sentences of the notebook, in a terminal, whatever the notebook holds."""

import json
import time

import pytest
import typer
from small_lessons import SOLUTIONS, hand_in
from typer.testing import CliRunner

from autograder.exercise import find
from autograder.learner_commands import check
from autograder.selfcheck import check_lesson
from mergelab.errors import UserError


def run(*arguments: str):
    app = typer.Typer()
    app.command()(check)
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "120"})


def test_right_wrong_and_unwritten_functions_are_told_in_the_notebooks_words(course):
    wrong = find("ties/elect_sign").misconceptions[0]
    own = f"from {wrong.function.__module__} import {wrong.function.__name__} as elect_sign"
    hand_in(course, {"trim": SOLUTIONS["trim"], "elect_sign": own})
    shown = run("90_small")
    assert shown.exit_code == 1
    assert "✓ trim: all 8 kinds of input pass." in shown.output
    assert wrong.sentence in shown.output
    assert "`disjoint_merge` is not written yet" in shown.output
    assert "90_small: 1 of 4 pass on the visible cases." in shown.output


def test_one_exercise_by_either_name_and_as_data(course):
    hand_in(course, {"trim": SOLUTIONS["trim"]})
    for arguments in (("90_small", "trim"), ("90_small", "ties/trim"), ("ties/trim",)):
        shown = run(*arguments, "--json")
        assert shown.exit_code == 0
        found = json.loads(shown.output)
        assert (found["lesson"], found["passed"]) == ("90_small", True)
        assert [(e["id"], e["passed"]) for e in found["exercises"]] == [("ties/trim", True)]


def test_demonstrations_do_not_run_and_a_broken_cell_costs_only_what_it_defines(course, tmp_path):
    mark = tmp_path / "ran"
    path = hand_in(
        course,
        {"trim": SOLUTIONS["trim"], "elect_sign": "def elect_sign(deltas, weights=None)\n    pass"},
        extra=[
            f"open({str(mark)!r}, 'w')",
            "raise RuntimeError('a demonstration that fails')",
            "%matplotlib inline",
        ],
    )
    before = path.read_bytes()
    found = check_lesson(course, "90_small")
    assert not mark.exists()
    assert [each.passed for each in found.exercises] == [True, False, False, False]
    assert "Its cell cannot be read (line 1: expected ':')" in found.exercises[1].text
    assert len(found.notes) == 1 and "def elect_sign(deltas" in found.notes[0]
    assert path.read_bytes() == before


def test_a_cell_that_stops_and_a_function_that_is_gone_are_named(course):
    failing = "least = 1 / 0\n" + SOLUTIONS["trim"].replace(
        "how_many = max", "how_many = least or max"
    )
    hand_in(course, {"trim": failing, "elect_sign": "# nothing here"})
    found = check_lesson(course, "90_small")
    assert "stops with ZeroDivisionError, line 1: division by zero" in found.exercises[0].text
    assert "`elect_sign` is not defined. Its cell is missing" in found.exercises[1].text


def test_what_does_not_end_is_stopped_and_named(course):
    endless = "pause = [None for _ in iter(int, 1)]\n" + SOLUTIONS["trim"].replace(
        "size = delta", "size = pause or delta"
    )
    hand_in(course, {"trim": endless})
    started = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autograder.selfcheck.SECONDS_PER_EXERCISE", 0.0)
        found = check_lesson(course, "ties/trim", seconds=15.0)
    assert time.monotonic() - started < 60
    assert not found.passed
    assert "`pause = [None for _ in iter(int, 1)]` did not end" in found.exercises[0].text


def test_a_module_beside_the_notebook_helps_but_does_not_replace_a_library(course):
    helped = "from my_helper import keep\n" + SOLUTIONS["trim"].replace(
        "size = delta", "size = keep(delta)"
    )
    path = hand_in(course, {"trim": helped})
    (path.parent / "my_helper.py").write_text("def keep(x):\n    return x\n")
    (path.parent / "torch.py").write_text("raise ImportError('not the real one')\n")
    assert check_lesson(course, "ties/trim").passed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("91_none",), "91_none: no such lesson; there are 90_small"),
        (("90_small", "trimm"), r"trimm: no exercise of 90_small; .*did you mean trim\?"),
        (("ties/trimm",), r"ties/trimm: no such exercise; did you mean ties/trim\?"),
        (("90_small",), "there is no notebook to submit; `mergelab lab` puts"),
    ],
)
def test_every_wrong_use_is_one_line(course, arguments, message):
    if len(arguments) == 2:
        hand_in(course, {})
    with pytest.raises(UserError, match=message) as error:
        check_lesson(course, *arguments)
    assert "\n" not in str(error.value)


def test_a_broken_notebook_is_one_line(course):
    hand_in(course, {}).write_text("{")
    with pytest.raises(UserError, match="cannot be read as a notebook") as error:
        check_lesson(course, "90_small")
    assert "\n" not in str(error.value)
