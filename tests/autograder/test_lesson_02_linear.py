"""Lesson 02_linear as it ships: its three forms agree, and grading is right at both ends."""

import shutil
from pathlib import Path

import nbformat
import pytest

from autograder import build
from autograder.courses import PACKAGE, Course
from autograder.submit import submit

LESSON = "02_linear"
POINTS = {
    "linear/linear": 5,
    "linear/task_arithmetic": 5,
    "linear/effective_weights": 4,
    "linear/forget": 4,
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


def test_the_release_holds_the_four_exercises(course):
    notebook = nbformat.read(course.release(LESSON), as_version=4)
    graded = {
        cell.metadata.nbgrader.grade_id: cell.metadata.nbgrader.points
        for cell in notebook.cells
        if cell.metadata.get("nbgrader", {}).get("grade")
    }
    for exercise, points in POINTS.items():
        name = exercise.split("/")[1]
        assert graded[f"{name}_visible"] + graded[f"{name}_hidden"] == points


def test_the_reference_solution_earns_full_marks(course):
    hand_in(course, build.notebook_path(course, LESSON))
    found = submit(course, LESSON)
    assert {r.id: r.score for r in found.results} == POINTS


def test_the_untouched_release_scores_exactly_zero(course):
    hand_in(course, course.release(LESSON))
    found = submit(course, LESSON)
    assert {r.id: r.score for r in found.results} == dict.fromkeys(POINTS, 0)
