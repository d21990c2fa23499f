"""Reads a class's gradebook: who handed in what, and the points of every exercise.

nbgrader's tables are read by SQL, in a few queries for the whole class: its own classes ask the
database once for each cell of each student, and take seconds to import.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autograder.courses import Course, configuration
from autograder.grade_cell import parse_call
from autograder.gradebook.late import LateRule
from autograder.gradebook.verdicts import UNKNOWN, Verdicts, read_verdicts
from mergelab.errors import UserError

if TYPE_CHECKING:
    from sqlalchemy import Connection

NOTHING = "no grades yet: collect and grade submissions first"


@dataclass(frozen=True)
class Student:
    """A student, as nbgrader's table of students has them."""

    id: str
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    lms_id: str = ""


@dataclass
class PartGrade:
    """One exercise or written answer of a submission.

    `automatic` are points that the grader gave, `manual` those that a person gave: written
    answers, corrections, extra credit. `waiting` counts cells that a person still has to read.
    """

    id: str
    written: bool
    maximum: float = 0.0
    automatic: float = 0.0
    manual: float = 0.0
    waiting: int = 0

    @property
    def score(self) -> float:
        return self.automatic + self.manual


@dataclass
class LessonGrade:
    """One student's submission of one lesson; times are UTC, `late` is in seconds.

    `recorded` is the penalty that nbgrader wrote down when it graded.
    """

    student: Student
    lesson: str
    parts: list[PartGrade]
    late_share: float = 0.0
    handed_in: datetime | None = None
    late: float = 0.0
    recorded: float = 0.0
    mode: str = UNKNOWN
    verdicts: Verdicts = field(default_factory=dict)

    @property
    def automatic(self) -> float:
        return sum(part.automatic for part in self.parts)

    @property
    def manual(self) -> float:
        return sum(part.manual for part in self.parts)

    @property
    def waiting(self) -> int:
        return sum(part.waiting for part in self.parts)

    @property
    def penalty(self) -> float:
        """Points lost for handing in late, of all points as they are now."""
        return max(0.0, self.automatic + self.manual) * self.late_share

    @property
    def total(self) -> float:
        return self.automatic + self.manual - self.penalty


@dataclass
class ClassGrades:
    """A class: its students, each lesson's exercises with their maxima, and the submissions."""

    students: list[Student]
    lessons: dict[str, list[PartGrade]]
    grades: list[LessonGrade]

    def maximum(self, lesson: str) -> float:
        return sum(part.maximum for part in self.lessons[lesson])

    def of(self, student: Student, lesson: str) -> LessonGrade | None:
        """A student's grade in a lesson; None if nothing was handed in."""
        return self._index.get((student.id, lesson))

    def __post_init__(self) -> None:
        self._index = {(grade.student.id, grade.lesson): grade for grade in self.grades}


def read_class(course: Course, lessons: Sequence[str] = ()) -> ClassGrades:
    """The grades of these lessons, all of the gradebook's by default.

    Penalties follow the course's late rule and the points as they are now. nbgrader records them
    when it grades, before a person has given points for written answers.

    Raises `UserError` if there are no grades or the gradebook knows no such lesson.
    """
    settings = configuration(course)
    rule = LateRule(**settings.CourseLatePenalty.rule)
    with _connection(settings.CourseDirectory.db_url) as gradebook:
        known = [row.name for row in _query(gradebook, _LESSONS)]
        for lesson in lessons:
            if lesson not in known:
                raise UserError(f"{lesson}: is not in the gradebook; there are {', '.join(known)}")
        submitted = _submitted(gradebook)
        with_work = {row.lesson for row in submitted}
        chosen = list(dict.fromkeys(lessons)) or [name for name in known if name in with_work]
        students = {row.id: _student(row) for row in _query(gradebook, _STUDENTS)}
        cells = _cells(course, chosen, _query(gradebook, _CELLS))
        grades = _submissions(students, cells, submitted, rule)
        graded = _add_points(grades, cells, _query(gradebook, _GRADES))
    if not graded:
        raise UserError(f"{', '.join(chosen) if lessons else course.state}: {NOTHING}")
    for grade in grades.values():
        path = course.state / "autograded" / grade.student.id / grade.lesson
        exercises = {name: call for name, (_, _, call) in cells[grade.lesson].items() if call}
        grade.verdicts, grade.mode = read_verdicts(path / f"{grade.lesson}.ipynb", exercises)
    return ClassGrades(
        list(students.values()),
        {lesson: list(_empty(cells[lesson]).values()) for lesson in chosen},
        list(grades.values()),
    )


# A grade cell: the exercise or answer it belongs to, its points, exercise and part of its call.
Cell = tuple[str, float, tuple[str, str] | None]


def _cells(course: Course, lessons: list[str], rows: list[Any]) -> dict[str, dict[str, Cell]]:
    """The graded cells of each lesson by name, in the notebook's order."""
    found: dict[str, dict[str, Cell]] = {lesson: {} for lesson in lessons}
    for row in rows:
        if row.lesson in found:
            call = parse_call(row.source or "")
            exercise = (call[0], call[2]) if call else None
            owner = exercise[0] if exercise else row.cell
            found[row.lesson][row.cell] = (owner, float(row.maximum or 0.0), exercise)
    for lesson, cells in found.items():
        order = {name: place for place, name in enumerate(_order(course, lesson))}
        found[lesson] = dict(sorted(cells.items(), key=lambda c: (order.get(c[0], len(order)), c)))
    return found


def _order(course: Course, lesson: str) -> list[str]:
    """Names of the graded cells as the released notebook has them; the gradebook keeps no order."""
    try:
        release = json.loads((course.lessons / lesson / f"{lesson}.ipynb").read_text("utf-8"))
        marked = [cell["metadata"].get("nbgrader", {}) for cell in release["cells"]]
        return [each["grade_id"] for each in marked if "grade_id" in each]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _empty(cells: dict[str, Cell]) -> dict[str, PartGrade]:
    """A part for each exercise and written answer, with its maximum and no points."""
    parts: dict[str, PartGrade] = {}
    for owner, maximum, call in cells.values():
        part = parts.setdefault(owner, PartGrade(owner, written=call is None))
        part.maximum += maximum
    return parts


def _submissions(
    students: dict[str, Student],
    cells: dict[str, dict[str, Cell]],
    rows: list[Any],
    rule: LateRule,
) -> dict[str, LessonGrade]:
    grades = {}
    for row in rows:
        if row.lesson not in cells:
            continue
        late = 0.0
        if row.handed_in is not None and row.due is not None:
            due = row.due + (row.extension or timedelta())
            late = max(0.0, (row.handed_in - due).total_seconds())
        grades[row.id] = LessonGrade(
            students[row.student],
            row.lesson,
            list(_empty(cells[row.lesson]).values()),
            late_share=rule.share(late),
            handed_in=row.handed_in,
            late=late,
            recorded=float(row.recorded or 0.0),
        )
    return grades


def _add_points(
    grades: dict[str, LessonGrade], cells: dict[str, dict[str, Cell]], rows: list[Any]
) -> int:
    """Fill in the points; returns how many cells have some, or a plain zero."""
    parts = {(key, part.id): part for key, grade in grades.items() for part in grade.parts}
    graded = 0
    for row in rows:
        if row.submission not in grades:
            continue
        owner = cells[grades[row.submission].lesson][row.cell][0]
        part = parts[row.submission, owner]
        # nbgrader's rule: what a person gave takes the place of what the grader gave.
        if row.manual is not None:
            part.manual += row.manual
        else:
            part.automatic += row.automatic or 0.0
        has_points = row.manual is not None or row.automatic is not None
        if has_points:
            part.manual += row.extra or 0.0
        part.waiting += bool(row.waiting)
        graded += has_points
    return graded


def _student(row: Any) -> Student:
    names = (row.first_name, row.last_name, row.email, row.lms_id)
    return Student(row.id, *(name or "" for name in names))


def _submitted(connection: Connection) -> list[Any]:
    from sqlalchemy import DateTime, Interval

    times = {"handed_in": DateTime(), "due": DateTime(), "extension": Interval()}
    return _query(connection, _SUBMISSIONS, **times)


@contextmanager
def _connection(url: str) -> Iterator[Connection]:
    """A connection for reading; a gradebook that is not there yet is not made.

    Raises `UserError` for a gradebook without tables and for what the database refuses.
    """
    from sqlalchemy import create_engine, inspect
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    file = url.removeprefix("sqlite:///").partition("?")[0] if url.startswith("sqlite") else ""
    if file and not Path(file).is_file():
        raise UserError(f"{file}: {NOTHING}")
    engine = create_engine(url, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table("submitted_assignment"):
                raise UserError(NOTHING)
            yield connection
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error)).splitlines()[0]
        raise UserError(
            f"the gradebook cannot be read ({reason}); if an older nbgrader made it, save a copy "
            f"and run `nbgrader db upgrade`"
        ) from None


def _query(connection: Connection, text: str, **types: Any) -> list[Any]:
    """Rows; `types` name columns that SQLite stores as text."""
    from sqlalchemy import text as sql

    return list(connection.execute(sql(text).columns(**types) if types else sql(text)))


_LESSONS = "select name from assignment order by name"

_STUDENTS = """
select id, first_name, last_name, email, lms_user_id as lms_id from student
order by coalesce(last_name, ''), coalesce(first_name, ''), id
"""

_CELLS = """
select assignment.name as lesson, base_cell.name as cell, source_cell.source as source,
       coalesce(grade_cells.max_score, task_cells.max_score) as maximum
from base_cell
join notebook on notebook.id = base_cell.notebook_id
join assignment on assignment.id = notebook.assignment_id
left join grade_cells on grade_cells.id = base_cell.id
left join task_cells on task_cells.id = base_cell.id
left join source_cell
       on source_cell.notebook_id = notebook.id and source_cell.name = base_cell.name
where grade_cells.id is not null or task_cells.id is not null
"""

_SUBMISSIONS = """
select submitted_assignment.id as id, student_id as student, assignment.name as lesson,
       timestamp as handed_in, duedate as due, extension as extension,
       (select sum(late_submission_penalty) from submitted_notebook
        where submitted_notebook.assignment_id = submitted_assignment.id) as recorded
from submitted_assignment
join assignment on assignment.id = submitted_assignment.assignment_id
join student on student.id = student_id
order by assignment.name, coalesce(last_name, ''), coalesce(first_name, ''), student_id
"""

_GRADES = """
select submitted_notebook.assignment_id as submission, base_cell.name as cell,
       auto_score as automatic, manual_score as manual, extra_credit as extra,
       needs_manual_grade as waiting
from grade
join submitted_notebook on submitted_notebook.id = grade.notebook_id
join base_cell on base_cell.id = grade.cell_id
"""
