"""Lesson 05_dare as it ships: its three forms agree, and grading is right at both ends."""

import shutil
from pathlib import Path

import nbformat
import pytest

from autograder import build
from autograder.courses import PACKAGE, Course
from autograder.submit import submit

LESSON = "05_dare"
POINTS = {
    "dare/drop": 3,
    "dare/rescale": 3,
    "dare/estimate_expectation": 3,
    "dare/dare_linear": 4,
    "dare/dare_ties": 5,
    "dare/seventy_percent": 5,
}


@pytest.fixture
def course(tmp_path: Path) -> Course:
    """The repository's lessons, with a work folder and grading of one's own."""
    root = tmp_path / "course"
    root.mkdir()
    for name in ("solutions", "lessons"):
        (root / name).symlink_to(PACKAGE.parent / name)
    return Course(root, tmp_path / "state")


def hand_in(course: Course, source: Path) -> None:
    folder = course.work / LESSON
    folder.mkdir(parents=True)
    shutil.copy(source, folder / f"{LESSON}.ipynb")


def test_text_notebook_and_release_agree_and_nothing_is_given_away():
    assert build.check(Course(PACKAGE.parent, PACKAGE / "course"), LESSON) == []


def test_the_release_holds_the_six_exercises_and_a_written_answer(course):
    notebook = nbformat.read(course.release(LESSON), as_version=4)
    graded = {
        cell.metadata.nbgrader.grade_id: (cell.cell_type, cell.metadata.nbgrader.points)
        for cell in notebook.cells
        if cell.metadata.get("nbgrader", {}).get("grade")
    }
    for exercise, points in POINTS.items():
        name = exercise.split("/")[1]
        assert graded[f"{name}_visible"][1] + graded[f"{name}_hidden"][1] == points
    assert [kind for kind, _ in graded.values()].count("markdown") >= 1


def test_the_reference_solution_earns_full_marks(course):
    hand_in(course, build.notebook_path(course, LESSON))
    found = submit(course, LESSON)
    assert {r.id: r.score for r in found.results if not r.written} == POINTS


def test_the_untouched_release_scores_exactly_zero(course):
    hand_in(course, course.release(LESSON))
    found = submit(course, LESSON)
    assert {r.id: r.score for r in found.results if not r.written} == dict.fromkeys(POINTS, 0)
    assert [r.reasons for r in found.results if r.written] == [["No answer yet."]]
