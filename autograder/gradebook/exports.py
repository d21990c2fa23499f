"""Grades in the forms that others read: CSV for spreadsheets, JSON, Canvas and Moodle."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from autograder.gradebook.records import ClassGrades, LessonGrade, PartGrade, Student
from mergelab.errors import UserError
from mergelab.files import write_whole

# A spreadsheet runs a cell that starts with one of these; the last four are full-width forms.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
NOT_HANDED_IN = "not handed in"
WAITING = "waits for a person"
GRADED = "graded"


def points(number: float, decimals: int = 2) -> str:
    """A number of points with two decimals at most.

    >>> points(2.5), points(12345.678), points(-0.001), points(3.0)
    ('2.5', '12345.68', '0', '3')
    """
    text = f"{number:.{decimals}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def guarded(text: str) -> str:
    """Text that no spreadsheet takes for a formula: an apostrophe stands before it where needed.

    >>> guarded("=1+1"), guarded("Anna-Lena"), guarded("  @home")
    ("'=1+1", 'Anna-Lena', "'  @home")
    """
    return f"'{text}" if text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA) else text


def rows(grades: ClassGrades, *, exercises: bool = False) -> list[dict[str, Any]]:
    """A row for each student and lesson, or for each student, lesson and exercise.

    The penalty of an exercise is its share of the lesson's. Who handed nothing in has empty cells.
    """
    found = []
    for lesson, parts in grades.lessons.items():
        for student in grades.students:
            grade = grades.of(student, lesson)
            shown = _student_cells(student) | {"lesson": lesson}
            if not exercises:
                maximum = grades.maximum(lesson)
                found.append(shown | _points(grade, grade, maximum) | _submission_cells(grade))
                continue
            own = {part.id: part for part in grade.parts} if grade else {}
            for part in parts:
                cells = _points(grade, own.get(part.id), part.maximum)
                found.append(shown | {"exercise": part.id} | cells | _submission_cells(grade))
    return found


def _student_cells(student: Student) -> dict[str, Any]:
    return {
        "student": student.id,
        "last_name": student.last_name,
        "first_name": student.first_name,
        "email": student.email,
    }


def _points(
    grade: LessonGrade | None, what: LessonGrade | PartGrade | None, maximum: float
) -> dict[str, Any]:
    """The points of a lesson or of one of its parts."""
    if grade is None or what is None:
        empty = dict.fromkeys(("automatic", "manual", "penalty", "total"))
        return empty | {"maximum": round(maximum, 2), "status": NOT_HANDED_IN}
    penalty = max(0.0, what.automatic + what.manual) * grade.late_share
    return {
        "automatic": round(what.automatic, 2),
        "manual": round(what.manual, 2),
        "penalty": round(penalty, 2),
        "total": round(what.automatic + what.manual - penalty, 2),
        "maximum": round(maximum, 2),
        "status": WAITING if what.waiting else GRADED,
    }


def _submission_cells(grade: LessonGrade | None) -> dict[str, Any]:
    if grade is None:
        return dict.fromkeys(("handed_in", "hours_late", "mode"))
    at = grade.handed_in
    return {
        "handed_in": at.strftime("%Y-%m-%dT%H:%M:%SZ") if at else None,
        "hours_late": round(grade.late / 3600, 2),
        "mode": grade.mode,
    }


def csv_text(grades: ClassGrades, *, exercises: bool = False) -> str:
    """The rows as CSV with a header."""
    found = rows(grades, exercises=exercises)
    return table_text([list(found[0]), *(list(row.values()) for row in found)])


def json_text(grades: ClassGrades, *, exercises: bool = False) -> str:
    """The rows as a JSON list; what is missing is null."""
    return json.dumps(rows(grades, exercises=exercises), indent=2, ensure_ascii=False) + "\n"


def canvas_text(grades: ClassGrades) -> str:
    """What Canvas imports into its gradebook: a column per lesson, its points in the second row.

    ID is the student's `lms_user_id` in nbgrader, SIS Login ID their nbgrader id. Who handed
    nothing in has an empty cell, for Canvas' own policy on missing work.
    """
    head = ["Student", "ID", "SIS Login ID", "Section"]
    possible = ["    Points Possible", "", "", "", *map(grades.maximum, grades.lessons)]
    table = [[*head, *grades.lessons], possible]
    for student in grades.students:
        names = ", ".join(name for name in (student.last_name, student.first_name) if name)
        table.append(
            [names or student.id, student.lms_id, student.id, "", *_totals(grades, student)]
        )
    return table_text(table)


def moodle_text(grades: ClassGrades) -> str:
    """What Moodle imports: map "Email address" or "ID number" to the user, lessons to grade items.

    The ID number is the student's `lms_user_id` in nbgrader, or their nbgrader id.
    """
    table: list[list[Any]] = [
        ["First name", "Last name", "ID number", "Email address", *grades.lessons]
    ]
    for student in grades.students:
        identity = [student.lms_id or student.id, student.email]
        own = [student.first_name, student.last_name, *identity, *_totals(grades, student)]
        table.append(own)
    return table_text(table)


def _totals(grades: ClassGrades, student: Student) -> list[float | None]:
    found = [grades.of(student, lesson) for lesson in grades.lessons]
    return [grade.total if grade else None for grade in found]


def table_text(table: Iterable[Sequence[Any]], decimals: int = 2) -> str:
    """Rows of cells as CSV, safe to open in a spreadsheet.

    >>> table_text([["name", "points"], ["=1+1", -2.5], [None, 3]])
    "name,points\\n'=1+1,-2.5\\n,3\\n"
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [_cell(cell, decimals) for cell in row] for row in table
    )
    return text.getvalue()


def _cell(value: Any, decimals: int) -> str:
    """Numbers stay numbers, also below 0; only text can be a formula."""
    if value is None:
        return ""
    return points(value, decimals) if isinstance(value, int | float) else guarded(str(value))


def write_aside(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all.

    Raises `UserError` if that is not possible, or if its folder is missing, which a mistyped path
    would leave behind; a file that was there is then as it was.
    """
    if not path.parent.is_dir():
        raise UserError(f"{path}: cannot be written ({path.parent} is not a folder)")
    try:
        write_whole(path, content)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None


def notes(grades: ClassGrades) -> list[str]:
    """What to know before the grades go out, a line each."""
    found = []
    waiting = [grade for grade in grades.grades if grade.waiting]
    if waiting:
        found.append(
            f"{_counted(waiting, 'submission')} still {_verb(waiting, 'waits', 'wait')} for a "
            f"person to give points (nbgrader formgrader, or mergelab lab --instructor)"
        )
    stock = [grade for grade in grades.grades if grade.mode == "stock"]
    if stock:
        found.append(
            f"{_counted(stock, 'submission')} {_verb(stock, 'was', 'were')} graded in stock mode, "
            f"where the learner's code shares a kernel with the tests and can change its points"
        )
    moved = [grade for grade in grades.grades if abs(grade.penalty - grade.recorded) >= 0.005]
    if moved:
        found.append(
            f"{_counted(moved, 'late penalty', 'late penalties')} "
            f"{_verb(moved, 'differs', 'differ')} from what nbgrader recorded when it graded: "
            f"points or the rule have changed since, and the ones here are up to date"
        )
    return found


def _counted(found: list[Any], one: str, many: str = "") -> str:
    return f"{len(found)} {one if len(found) == 1 else many or one + 's'}"


def _verb(found: list[Any], one: str, many: str) -> str:
    return one if len(found) == 1 else many
