"""Lesson 00_start_here as it ships: its three forms agree, and it works for a learner."""

import nbformat

from autograder import build
from autograder.courses import PACKAGE, Course

LESSON = "00_start_here"
COURSE = Course(PACKAGE.parent, PACKAGE / "course")
POINTS = {"add_task_vector": 3, "merge_two": 4, "misfits": 3}


def test_text_notebook_and_release_agree_and_nothing_is_given_away():
    assert build.check(COURSE, LESSON) == []


def test_the_release_holds_the_three_exercises_and_no_written_answer():
    notebook = nbformat.read(COURSE.release(LESSON), as_version=4)
    graded = {
        cell.metadata.nbgrader.grade_id: cell.metadata.nbgrader.points
        for cell in notebook.cells
        if cell.metadata.get("nbgrader", {}).get("grade")
    }
    assert {name: graded[f"{name}_visible"] + graded[f"{name}_hidden"] for name in POINTS} == POINTS
    assert len(graded) == 6


def test_no_path_of_this_machine_and_no_complaint_stands_in_the_outputs():
    notebook = nbformat.read(build.notebook_path(COURSE, LESSON), as_version=4)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.get("name") != "stderr"
            shown = str(output.get("data", {}).get("text/plain", "")) + output.get("text", "")
            assert str(PACKAGE.parent) not in shown
            assert "/tmp/" not in shown
