"""Lesson 07_memory_and_kernels as it ships: its forms agree, and grading is right at both ends."""

import shutil
from pathlib import Path

import pytest

from autograder import build
from autograder.courses import PACKAGE, Course
from autograder.exercise import of_lesson
from autograder.submit import submit

LESSON = "07_memory_and_kernels"
POINTS = {
    "memory/peak_bytes": 5,
    "memory/merge_seconds": 4,
    "memory/merge_program": 5,
    "memory/radix_threshold": 6,
}


@pytest.fixture
def course(tmp_path: Path) -> Course:
    """The repository's lessons, with a work folder and grading of one's own."""
    root = tmp_path / "course"
    root.mkdir()
    for name in ("solutions", "lessons"):
        (root / name).symlink_to(PACKAGE.parent / name)
    return Course(root, tmp_path / "state")


def scores(course: Course, source: Path) -> dict[str, float]:
    folder = course.work / LESSON
    folder.mkdir(parents=True)
    shutil.copy(source, folder / f"{LESSON}.ipynb")
    return {result.id: result.score for result in submit(course, LESSON).results}


def test_the_lesson_has_its_four_exercises():
    assert {exercise.id: exercise.points.total for exercise in of_lesson(LESSON)} == POINTS


def test_text_notebook_and_release_agree_and_nothing_is_given_away():
    assert build.check(Course(PACKAGE.parent, PACKAGE / "course"), LESSON) == []


def test_the_reference_solution_earns_full_marks(course):
    assert scores(course, build.notebook_path(course, LESSON)) == POINTS


def test_the_untouched_release_scores_exactly_zero(course):
    assert scores(course, course.release(LESSON)) == dict.fromkeys(POINTS, 0)
