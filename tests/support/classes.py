"""Small classes of learners, written straight into a gradebook with nbgrader's own means."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from nbgrader.api import Gradebook

from autograder.courses import Course, configuration, environment

VERDICT = "application/vnd.mergelab.verdict+json"


def grade_source(exercise: str, part: str) -> str:
    return f'grade("{exercise}", {exercise.split("/")[1]}, part="{part}")'


@cache
def empty_gradebook() -> Path:
    """A gradebook as nbgrader makes it; that takes seconds, so one is made and copied."""
    folder = Path(tempfile.mkdtemp(prefix="gradebook-"))
    atexit.register(shutil.rmtree, folder)
    course = Course(folder, folder)
    with environment(course.environment()):
        Gradebook(f"sqlite:///{folder / 'empty.db'}", "mergelab").close()
    return folder / "empty.db"


class ClassBook:
    """A gradebook that is filled by hand: lessons, students, submissions, points."""

    def __init__(self, course: Course) -> None:
        self.course = course
        course.state.mkdir(parents=True, exist_ok=True)
        (course.root / "solutions").mkdir(parents=True, exist_ok=True)
        (course.root / "lessons").mkdir(exist_ok=True)
        self.url = configuration(course).CourseDirectory.db_url
        shutil.copyfile(empty_gradebook(), course.state / "gradebook.db")

    @contextmanager
    def book(self) -> Iterator[Gradebook]:
        with warnings.catch_warnings(), Gradebook(self.url, "mergelab") as book:
            warnings.simplefilter("ignore")  # nbgrader's use of SQLAlchemy warns
            yield book

    def lesson(
        self,
        lesson: str,
        exercises: Mapping[str, tuple[float, float]],
        written: Mapping[str, float] | None = None,
        **fields: Any,
    ) -> None:
        """A lesson whose exercises have points for visible and hidden cases, as the real ones."""
        order = []
        with self.book() as book:
            book.add_assignment(lesson, **fields)
            book.add_notebook(lesson, lesson)
            for exercise, worth in exercises.items():
                for part, points in zip(("visible", "hidden"), worth, strict=True):
                    name = f"{exercise.split('/')[1]}_{part}"
                    self._cell(book, lesson, name, "code", points, grade_source(exercise, part))
                    order.append(name)
            for name, points in (written or {}).items():
                self._cell(book, lesson, name, "markdown", points, "...")
                order.append(name)
        folder = self.course.lessons / lesson
        folder.mkdir(parents=True)
        cells = [{"metadata": {"nbgrader": {"grade_id": name}}} for name in order]
        (folder / f"{lesson}.ipynb").write_text(json.dumps({"cells": cells}))

    def _cell(
        self, book: Gradebook, lesson: str, name: str, kind: str, points: float, source: str
    ) -> None:
        book.add_grade_cell(name, lesson, lesson, max_score=points, cell_type=kind)
        book.add_source_cell(name, lesson, lesson, cell_type=kind, source=source)

    def student(self, name: str, **fields: str) -> None:
        with self.book() as book:
            book.add_student(name, **fields)

    def submission(
        self,
        lesson: str,
        student: str,
        automatic: Mapping[str, float],
        manual: Mapping[str, float] | None = None,
        records: Sequence[dict[str, Any]] | None = None,
        mode: str = "stock",
        **fields: Any,
    ) -> None:
        """Points by grade cell, and the graded notebook's mode and verdict records."""
        with self.book() as book:
            book.update_or_create_student(student)
            book.add_submission(lesson, student, **fields)
            for name, points in automatic.items():
                grade = book.find_grade(name, lesson, lesson, student)
                grade.auto_score, grade.needs_manual_grade = points, False
            for name, points in (manual or {}).items():
                grade = book.find_grade(name, lesson, lesson, student)
                grade.manual_score, grade.needs_manual_grade = points, False
            book.db.commit()
        if records is not None:
            cells = [
                {
                    "cell_type": "code",
                    "metadata": {"nbgrader": {"grade_id": self._name(record)}},
                    "outputs": [{"output_type": "display_data", "data": {VERDICT: record}}],
                }
                for record in records
            ]
            folder = self.course.state / "autograded" / student / lesson
            folder.mkdir(parents=True)
            graded = {"cells": cells, "metadata": {"mergelab": {"mode": mode}}}
            (folder / f"{lesson}.ipynb").write_text(json.dumps(graded))

    @staticmethod
    def _name(record: dict[str, Any]) -> str:
        return f"{record['exercise'].split('/')[1]}_{record['part']}"


def record(exercise: str, part: str, kinds: Mapping[str, bool], **more: Any) -> dict[str, Any]:
    """A verdict record as graded notebooks hold it."""
    return {
        "exercise": exercise,
        "part": part,
        "score": 0.0,
        "maximum": 1.0,
        "kinds": dict(kinds),
        "mutated": False,
        "misconception": None,
        "reason": "",
        **more,
    }
