"""A lesson's outline is read from the notebook that learners open."""

import nbformat
import pytest

from autograder.courses import PACKAGE, Course
from autograder.exercise import find
from autograder.outline import outline, outlines

REPOSITORY = Course(PACKAGE.parent, PACKAGE / "course")

HEADER = """# A lesson about nothing

It says little, and | says it well.

| | |
|---|---|
| **Time** | about 35 minutes |
| **Difficulty** | ●●○ |
| **You need** | Python. Weights (lesson 1). Angles (lessons 2, 3 and 12). |
| **Short of time?** | Do the parts marked ▸. |
"""


def write(path, *cells) -> None:
    nbformat.write(nbformat.v4.new_notebook(cells=list(cells)), path)


def test_the_header_gives_title_time_difficulty_and_needs(tmp_path):
    write(tmp_path / "07_x.ipynb", nbformat.v4.new_markdown_cell(HEADER))
    found = outline(tmp_path / "07_x.ipynb", "07_x")
    assert (found.number, found.title, found.minutes) == (7, "A lesson about nothing", 35)
    assert (found.difficulty, found.needs) == ("●●○", (1, 2, 3, 12))
    assert found.gives == "It says little, and \\| says it well."
    assert found.short_path == "Do the parts marked ▸."
    assert (found.exercises, found.written) == ((), 0)


def test_a_notebook_that_says_nothing_of_itself_has_an_outline_too(tmp_path):
    write(tmp_path / "notes.ipynb", nbformat.v4.new_code_cell("1 + 1"))
    found = outline(tmp_path / "notes.ipynb", "notes")
    assert (found.number, found.title, found.needs, found.short_path) == (None, "notes", (), "")


@pytest.mark.parametrize("about", outlines(REPOSITORY), ids=lambda about: about.name)
def test_what_a_release_says_of_its_exercises_is_what_their_records_say(about):
    assert about.exercises
    for exercise in about.exercises:
        record = find(exercise.id)
        assert (exercise.function, exercise.title) == (record.function, record.title)
        assert (exercise.points, exercise.minutes) == (record.points.total, record.minutes)
    assert about.difficulty and about.short_path


def test_the_written_answer_counts_apart(built_course):
    about = outline(built_course.release("90_small"), "90_small")
    assert [e.function for e in about.exercises] == ["trim", "elect_sign", "disjoint_merge", "ties"]
    assert (about.points, about.written) == (20, 5)
