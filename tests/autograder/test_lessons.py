"""Every lesson as it ships: its three forms agree, and a class is graded rightly.

The class of a lesson is graded as any class is: in the sandbox, through nbgrader. One student hands
in the reference, one nothing; student n answers each exercise with that exercise's n-th known wrong
or unusual function, so that few submissions try them all.
"""

from itertools import zip_longest

import nbformat
import pytest
from carried import answer
from small_lessons import own_course

from autograder import build
from autograder.courses import PACKAGE, Course
from autograder.exercise import Exercise, of_lesson
from autograder.grading import grade_class

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
    """Name, band and expression of each function known for an exercise, besides its own."""
    wrong = [
        (each.name, each.band, f"exercise.misconceptions[{number}].function")
        for number, each in enumerate(exercise.misconceptions)
    ]
    right = [
        (name, (1.0, 1.0), f"exercise.alternatives[{name!r}]") for name in exercise.alternatives
    ]
    return wrong + right


def rounds(lesson: str) -> list[tuple[tuple[str, tuple[float, float], str] | None, ...]]:
    return list(zip_longest(*map(variants, of_lesson(lesson))))


def hand_in(course: Course, student: str, lesson: str, notebook: nbformat.NotebookNode) -> None:
    folder = course.state / "submitted" / student / lesson
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / f"{lesson}.ipynb")


def answered(lesson: str, answers: tuple) -> nbformat.NotebookNode:
    """The instructor's notebook with these answers, one for each exercise or None."""
    notebook = nbformat.read(build.notebook_path(HERE, lesson), as_version=4)
    cells = {cell.metadata.get("nbgrader", {}).get("grade_id"): cell for cell in notebook.cells}
    for exercise, each in zip(of_lesson(lesson), answers, strict=True):
        if each is not None:
            cells[exercise.function].source = answer(exercise, each[2])
    return notebook


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


@pytest.mark.slow
@each_lesson
def test_a_class_gets_the_points_it_has_earned(lesson, tmp_path):
    course = own_course(tmp_path / "course", PACKAGE.parent, tmp_path / "state")
    exercises, answers = of_lesson(lesson), rounds(lesson)
    hand_in(course, "reference", lesson, answered(lesson, (None,) * len(exercises)))
    hand_in(course, "untouched", lesson, nbformat.read(course.release(lesson), as_version=4))
    for number, each in enumerate(answers):
        hand_in(course, f"student{number}", lesson, answered(lesson, each))

    graded = {each.student: each for each in grade_class(course, lesson).submissions}

    assert graded.keys() == {
        "reference",
        "untouched",
        *(f"student{n}" for n in range(len(answers))),
    }
    assert graded["reference"].scores == {e.id: e.points.total for e in exercises}
    assert graded["untouched"].scores == {e.id: 0 for e in exercises}
    problems = []
    for number, row in enumerate(answers):
        for exercise, each in zip(exercises, row, strict=True):
            name, (low, high), _ = each or ("the reference", (1.0, 1.0), "")
            share = graded[f"student{number}"].scores[exercise.id] / exercise.points.total
            if not low <= share <= high:
                reason = graded[f"student{number}"].reasons.get(exercise.id)
                problems.append(f"{exercise.id}, {name}: {share:.2f}, {reason}")
    assert problems == []


def test_the_course_has_at_least_thirty_exercises_and_every_lesson_some():
    counts = {lesson: len(of_lesson(lesson)) for lesson in LESSONS}
    assert sum(counts.values()) >= 30
    assert min(counts.values()) >= 1
    assert len(LESSONS) == 9
