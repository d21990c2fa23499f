"""nbgrader's own commands, from a clean course to feedback, with the shipped configuration."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from autograder import build
from autograder.courses import PACKAGE, Course

pytestmark = pytest.mark.slow


class Shell:
    """Runs nbgrader as an instructor and as a learner would, from their own folders."""

    def __init__(self, course: Course, desk: Path) -> None:
        self.course, self.desk = course, desk
        self.variables = {
            **os.environ,
            "JUPYTER_CONFIG_PATH": str(PACKAGE),
            "MERGELAB_ROOT": str(course.root),
            "MERGELAB_COURSE": str(course.state),
            "JUPYTER_CONFIG_DIR": str(desk / "no-home"),
            "IPYTHONDIR": str(desk / "ipython"),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        }

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "nbgrader", *words],
            cwd=self.desk,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def scores(self) -> dict[str, float | None]:
        with sqlite3.connect(self.course.state / "gradebook.db") as database:
            rows = database.execute(
                "select base_cell.name, grade.auto_score from grade"
                " join base_cell on base_cell.id = grade.cell_id"
            ).fetchall()
        return dict(rows)


@pytest.fixture(scope="module")
def shell(built_course: Course, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    root = tmp_path_factory.mktemp("class")
    course = Course(root / "course", root / "state")
    shutil.copytree(built_course.solutions, course.solutions)
    desk = root / "desk"
    desk.mkdir()
    return Shell(course, desk)


def test_the_round_trip_by_nbgraders_own_commands(shell, built_course):
    course, lesson = shell.course, "90_small"

    shell("generate_assignment", lesson)
    released = course.release(lesson).read_bytes()
    assert released == built_course.release(lesson).read_bytes()
    assert [p.name for p in (course.lessons / lesson).iterdir()] == [f"{lesson}.ipynb"]

    shell("release_assignment", lesson)
    assert "mergelab 90_small" in shell("list")
    shell("fetch_assignment", lesson)
    mine = shell.desk / lesson / f"{lesson}.ipynb"
    assert mine.read_bytes() == released

    solved = {
        cell.id: cell.source
        for cell in nbformat.read(build.notebook_path(built_course, lesson), 4).cells
    }
    notebook = nbformat.read(mine, as_version=4)
    for cell in notebook.cells:
        if cell.id in ("trim", "elect_sign", "why_sign_election"):
            cell.source = solved[cell.id]
    nbformat.write(notebook, mine)

    validated = shell("validate", str(mine))
    assert "VALIDATION FAILED ON 2 CELL(S)" in validated  # the two visible cells not yet solved
    shell("submit", lesson)
    shell("collect", lesson)
    shell("autograde", lesson)
    assert shell.scores() == {
        "trim_visible": 1,
        "trim_hidden": 3,
        "elect_sign_visible": 1,
        "elect_sign_hidden": 3,
        "disjoint_merge_visible": 0,
        "disjoint_merge_hidden": 0,
        "ties_visible": 0,
        "ties_hidden": 0,
        "why_sign_election": None,  # waits for a person
    }

    shell("generate_feedback", lesson)
    shell("release_feedback", lesson)
    shell("fetch_feedback", lesson)
    feedback = "".join(p.read_text() for p in (shell.desk / lesson / "feedback").rglob("*.html"))
    assert "is not written yet" in feedback
    assert "Content-Security-Policy" in feedback  # the course's own page, not nbgrader's
    assert course.root.joinpath("autograder").exists() is False
    assert sorted(p.name for p in course.root.iterdir()) == ["lessons", "solutions"]


def test_an_instructor_notebook_validates_in_full(shell, built_course):
    validated = shell("validate", str(build.notebook_path(built_course, "90_small")))
    assert "Success" in validated
