"""Every lesson as it ships: its three forms agree, and nbgrader grades it rightly at both ends.

Grading goes through nbgrader itself. A submission of round n answers each exercise of a lesson with
that exercise's n-th known wrong or unusual function, so that few submissions try them all.
"""

import shutil
from itertools import zip_longest
from pathlib import Path

import nbformat
import pytest
from small_lessons import own_course

from autograder import build
from autograder.courses import PACKAGE, Course
from autograder.exercise import Exercise, of_lesson
from autograder.submit import submit

HERE = Course(PACKAGE.parent, PACKAGE / "course")
LESSONS = build.lesson_names(HERE)
each_lesson = pytest.mark.parametrize("lesson", LESSONS)
# A written answer is read by a person.
WRITTEN = {
    "01_interference": 1,
    "03_slerp": 1,
    "04_ties": 1,
    "05_dare": 1,
    "06_evaluate_and_tune": 1,
    "08_capstone": 1,
}


def variants(exercise: Exercise) -> list[tuple[str, tuple[float, float], str]]:
    """Name, band and source of each function that is known for an exercise, besides its own."""
    home = f"find({exercise.id!r})"
    wrong = [
        (each.name, each.band, f"{home}.misconceptions[{number}].function")
        for number, each in enumerate(exercise.misconceptions)
    ]
    right = [(name, (1.0, 1.0), f"{home}.alternatives[{name!r}]") for name in exercise.alternatives]
    return wrong + right


ROUNDS = [
    pytest.param(lesson, number, answers, id=f"{lesson}-{number}")
    for lesson in LESSONS
    for number, answers in enumerate(
        zip_longest(*(variants(exercise) for exercise in of_lesson(lesson)))
    )
]


@pytest.fixture
def course(tmp_path: Path) -> Course:
    """The repository's lessons, with a work folder and grading of one's own."""
    return own_course(tmp_path / "course", PACKAGE.parent, tmp_path / "state")


def hand_in(course: Course, lesson: str, notebook: nbformat.NotebookNode | Path) -> None:
    folder = course.work / lesson
    folder.mkdir(parents=True)
    target = folder / f"{lesson}.ipynb"
    if isinstance(notebook, Path):
        shutil.copy(notebook, target)
    else:
        nbformat.write(notebook, target)


def scores(course: Course, lesson: str) -> dict[str, float]:
    return {r.id: r.score for r in submit(course, lesson).results if not r.written}


@each_lesson
def test_text_notebook_and_release_agree_and_nothing_is_given_away(lesson):
    assert build.check(HERE, lesson) == []


@each_lesson
def test_a_release_holds_its_exercises_with_their_points_and_its_written_answers(lesson):
    notebook = nbformat.read(HERE.release(lesson), as_version=4)
    graded = {
        cell.metadata.nbgrader.grade_id: (cell.cell_type, cell.metadata.nbgrader.points)
        for cell in notebook.cells
        if cell.metadata.get("nbgrader", {}).get("grade")
    }
    for exercise in of_lesson(lesson):
        name = exercise.function
        assert graded[f"{name}_visible"] == ("code", exercise.points.visible)
        assert graded[f"{name}_hidden"] == ("code", exercise.points.hidden)
    assert [kind for kind, _ in graded.values()].count("markdown") == WRITTEN.get(lesson, 0)


@each_lesson
def test_the_reference_solution_earns_full_marks(course, lesson):
    hand_in(course, lesson, build.notebook_path(course, lesson))
    assert scores(course, lesson) == {e.id: e.points.total for e in of_lesson(lesson)}


@each_lesson
def test_the_untouched_release_scores_exactly_zero(course, lesson):
    hand_in(course, lesson, course.release(lesson))
    found = submit(course, lesson)
    assert {r.id: r.score for r in found.results if not r.written} == {
        e.id: 0 for e in of_lesson(lesson)
    }
    assert all(r.reasons == ["No answer yet."] for r in found.results if r.written)


@pytest.mark.parametrize(("lesson", "number", "answers"), ROUNDS)
def test_wrong_answers_score_within_their_bands_and_unusual_ones_in_full(
    course, lesson, number, answers
):
    notebook = nbformat.read(build.notebook_path(course, lesson), as_version=4)
    cells = {cell.metadata.get("nbgrader", {}).get("grade_id"): cell for cell in notebook.cells}
    exercises = of_lesson(lesson)
    for exercise, answer in zip(exercises, answers, strict=True):
        if answer is not None:
            cells[
                exercise.function
            ].source = f"from autograder.exercise import find\n\n{exercise.function} = {answer[2]}"
    hand_in(course, lesson, notebook)
    found = scores(course, lesson)
    for exercise, answer in zip(exercises, answers, strict=True):
        name, (low, high), _ = answer or ("the reference", (1.0, 1.0), "")
        share = found[exercise.id] / exercise.points.total
        assert low <= share <= high, f"{exercise.id}, {name}: {share:.2f}"


def test_the_course_has_at_least_thirty_exercises_and_every_lesson_some():
    counts = {lesson: len(of_lesson(lesson)) for lesson in LESSONS}
    assert sum(counts.values()) >= 30
    assert min(counts.values()) >= 1
    assert len(LESSONS) == 9
