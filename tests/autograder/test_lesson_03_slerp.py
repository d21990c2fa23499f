"""Lesson 03_slerp as it ships: three forms agree, grading is right at both ends, sums add up."""

import math
import re
import shutil
from pathlib import Path

import nbformat
import pytest

from autograder import build
from autograder.courses import PACKAGE, Course
from autograder.submit import submit

LESSON = "03_slerp"
POINTS = {
    "slerp/angle": 4,
    "slerp/slerp": 7,
    "slerp/magnitude_kept": 4,
    "slerp/rescaled_linear": 4,
}
PERSONA = [0.08, 0.002, 0.15, -0.20, 0.06, -0.07, -0.001, 0.004, -0.04, 0.005]
AGENTIC = [-0.05, -0.001, 0.02, -0.11, -0.06, -0.06, 0.02, 0.17, 0.03, -0.006]


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


def test_the_release_holds_the_four_exercises_and_a_written_answer(course):
    notebook = nbformat.read(course.release(LESSON), as_version=4)
    graded = {
        cell.metadata.nbgrader.grade_id: (cell.cell_type, cell.metadata.nbgrader.points)
        for cell in notebook.cells
        if cell.metadata.get("nbgrader", {}).get("grade")
    }
    for exercise, points in POINTS.items():
        name = exercise.split("/")[1]
        assert graded[f"{name}_visible"][1] + graded[f"{name}_hidden"][1] == points
    assert [kind for kind, _ in graded.values()].count("markdown") == 1


def test_the_reference_solution_earns_full_marks(course):
    hand_in(course, build.notebook_path(course, LESSON))
    found = submit(course, LESSON)
    assert {r.id: r.score for r in found.results if not r.written} == POINTS


def test_the_untouched_release_scores_exactly_zero(course):
    hand_in(course, course.release(LESSON))
    found = submit(course, LESSON)
    assert {r.id: r.score for r in found.results if not r.written} == dict.fromkeys(POINTS, 0)
    assert [r.reasons for r in found.results if r.written] == [["No answer yet."]]


def test_the_ten_parameters_worked_by_hand_are_right():
    """From the two rows alone: norms, angle, factor, and both rows of the solution."""
    text = (PACKAGE.parent / "solutions" / LESSON / f"{LESSON}.py").read_text()
    a, b = (math.sqrt(sum(x * x for x in row)) for row in (PERSONA, AGENTIC))
    dot = sum(x * y for x, y in zip(PERSONA, AGENTIC, strict=True))
    assert f"persona is {a:.3f}, that of agentic {b:.3f}".replace("0.", ".") in text
    assert f"inner product is {dot:.4f}".replace("0.", ".", 1) in text
    half = math.acos(dot / a / b) / 2
    factor = math.sin(half) / math.sin(2 * half)
    for name, times in (("linear", 0.5), ("slerp", factor)):
        row = re.findall(rf"# \| \*{name}\* \|([^\n]+)", text)[-1]
        printed = [float(cell.replace("−", "-")) for cell in row.strip(" |").split("|")]
        exact = [times * (x + y) for x, y in zip(PERSONA, AGENTIC, strict=True)]
        assert printed == pytest.approx(exact, abs=0.00055)
