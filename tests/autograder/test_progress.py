"""`mergelab progress` and the start page: how far one is, and where to go on."""

import json

import nbformat
import pytest
import typer
from small_lessons import SOLUTIONS, hand_in
from typer.testing import CliRunner

import autograder.progress as module
from autograder.courses import PACKAGE, Course
from autograder.learner_commands import progress as command
from autograder.progress import known_progress, progress
from autograder.startpage import refresh, start_page
from autograder.submit import submit
from mergelab.errors import UserError


@pytest.fixture
def children(monkeypatch) -> list[int]:
    """How many exercises each child process was asked about; no child is started."""
    asked: list[int] = []
    whole = module.run_checks

    def counted(*args, **options):
        asked.append(len(args[1]))
        return whole(*args, **options)

    monkeypatch.setattr(module, "run_checks", counted)
    return asked


def run(*arguments: str):
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "120"})


def test_a_lesson_that_is_not_opened_counts_nothing_and_writes_nothing(course, children):
    shown = run("--json")
    found = json.loads(shown.output)
    assert found["total"] == {
        "passed": 0, "exercises": 4, "points": 0, "points_possible": 20,
        "minutes_left": found["total"]["minutes_left"],
    }  # fmt: skip
    assert [e["passed"] for e in found["lessons"][0]["exercises"]] == [False] * 4
    assert found["lessons"][0]["status"] == "not opened"
    assert found["next"].endswith("`mergelab lab` puts it into work/")
    assert children == [] and not course.work.exists()


def test_an_untouched_notebook_starts_no_process(course, children):
    hand_in(course, {})
    (found,) = progress(course).lessons
    assert (found.opened, found.status, children) == (True, "opened", [])


def test_what_passes_is_counted_once_and_remembered_until_the_code_changes(course, children):
    path = hand_in(course, {"trim": SOLUTIONS["trim"]})
    found = progress(course)
    (lesson,) = found.lessons
    assert [name for name, passed in lesson.passed.items() if passed] == ["ties/trim"]
    open_minutes = sum(e.minutes for e in lesson.outline.exercises[1:])
    assert (lesson.minutes_left, lesson.status) == (open_minutes, "in progress")
    second = lesson.outline.exercises[1]
    assert found.next == (
        f"next: 90_small, exercise elect_sign, about {second.minutes} minutes: "
        "work/90_small/90_small.ipynb"
    )
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="only outputs changed")]
    nbformat.write(notebook, path)
    assert progress(course).lessons[0].passed == lesson.passed
    assert known_progress(course)[0].passed == lesson.passed
    assert children == [4]
    hand_in(course, {"trim": "def trim(delta, density):\n    return delta"})
    assert not any(progress(course).lessons[0].passed.values())
    assert children == [4, 4]


def test_points_are_those_of_the_last_submission(course):
    hand_in(course, SOLUTIONS)
    before = progress(course)
    assert (before.lessons[0].status, before.lessons[0].score) == ("ready to submit", None)
    assert before.next == "next: all exercises of 90_small pass: mergelab submit 90_small"
    submit(course, "90_small")
    after = progress(course)
    assert (after.lessons[0].status, after.lessons[0].score) == ("done", 20)
    assert after.next.startswith("every exercise passes")
    shown = run()
    assert "20 / 20" in shown.output and "4 / 4" in shown.output
    assert "| 4 / 4 | 20 / 20 + 5 |" in (course.work / "START.md").read_text()


def test_a_broken_notebook_is_a_note_and_the_rest_is_still_told(course):
    hand_in(course, {}).write_text("{")
    shown = run()
    assert shown.exit_code == 0
    assert "Note, 90_small: " in shown.output and "cannot be read as a notebook" in shown.output
    assert "0 / 4" in shown.output


def test_a_damaged_record_is_made_again(course, children):
    hand_in(course, {"trim": SOLUTIONS["trim"]})
    progress(course)
    (course.state / "progress" / "90_small.json").write_text("[1")
    assert progress(course).lessons[0].passed["ties/trim"]
    assert children == [4, 4]


def test_no_lessons_is_one_line(tmp_path):
    with pytest.raises(UserError, match="holds no lessons"):
        progress(Course(tmp_path, tmp_path / "state"))


def test_the_start_page_follows_the_learner_until_it_is_edited(course):
    hand_in(course, {})
    refresh(course)
    page = course.work / "START.md"
    assert "**Begin with [A small lesson](90_small/90_small.ipynb).**" in page.read_text()
    hand_in(course, {"trim": SOLUTIONS["trim"]})
    run()
    assert "**Go on with [A small lesson]" in page.read_text()
    assert "| 1 / 4 |" in page.read_text()
    page.write_text(page.read_text() + "\nmy notes\n")
    mine = page.read_text()
    hand_in(course, {})
    run()
    assert page.read_text() == mine
    assert [p.name for p in course.work.iterdir() if p.name.startswith("START")] == ["START.md"]
    page.unlink()
    run()
    assert page.read_text() == start_page(course)


def test_the_course_shows_its_path_and_the_shortened_one():
    page = start_page(Course(PACKAGE.parent, PACKAGE / "no state"))
    assert "| 4 [TIES: settle the conflicts, then merge]" in page
    assert "| 1, 2 | ●●○ | 90 min |" in page
    assert "## Short of time?" in page
    assert page.index("1. [Start here") < page.index(
        "[TIES: settle the conflicts, then merge](04_ties/04_ties.ipynb): "
    )
