"""What nbgrader's gradebook knows of one submission, read with few queries.

nbgrader's own objects ask the database once more for each grade, which takes longer than all the
rest of a feedback page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nbgrader.api import (
    Assignment,
    BaseCell,
    Comment,
    Grade,
    Gradebook,
    Notebook,
    SourceCell,
    SubmittedAssignment,
    SubmittedNotebook,
)

from mergelab.errors import UserError


@dataclass(frozen=True)
class Points:
    """The grade of one cell: `score` is what counts, `automatic` what the tests gave, `manual`
    what a person gave. None: nothing yet."""

    cell: str
    score: float
    maximum: float
    automatic: float | None
    manual: float | None
    open: bool


@dataclass(frozen=True)
class Recorded:
    """One submission: its grades, the graders' comments by cell, and the instructor's cells."""

    lesson: str
    student: str
    handed_in: datetime | None
    penalty: float
    grades: Sequence[Points]
    comments: Mapping[str, str]
    sources: Mapping[str, str]


def recorded(db_url: str, lesson: str, student: str) -> Recorded:
    """What the gradebook knows of a student's submission of a lesson.

    Raises `UserError` if there is none.
    """
    with Gradebook(db_url) as gradebook:
        ask = gradebook.db.query
        found = _submission(ask, lesson, student)
        grades = ask(
            BaseCell.name,
            Grade.score,
            Grade.max_score,
            Grade.auto_score,
            Grade.manual_score,
            Grade.needs_manual_grade,
        )
        grades = grades.join(BaseCell, BaseCell.id == Grade.cell_id)
        comments = ask(BaseCell.name, Comment.manual_comment)
        comments = comments.join(BaseCell, BaseCell.id == Comment.cell_id)
        sources = ask(SourceCell.name, SourceCell.source)
        return Recorded(
            lesson,
            student,
            found.timestamp,
            float(found.late_submission_penalty or 0.0),
            [Points(*row) for row in grades.filter(Grade.notebook_id == found.id)],
            {name: text for name, text in comments.filter(Comment.notebook_id == found.id) if text},
            dict(tuple(row) for row in sources.filter(SourceCell.notebook_id == found.notebook_id)),
        )


def _submission(ask: Any, lesson: str, student: str) -> Any:
    found = (
        ask(
            SubmittedNotebook.id,
            SubmittedNotebook.notebook_id,
            SubmittedNotebook.late_submission_penalty,
            SubmittedAssignment.timestamp,
        )
        .join(SubmittedAssignment, SubmittedAssignment.id == SubmittedNotebook.assignment_id)
        .join(Assignment, Assignment.id == SubmittedAssignment.assignment_id)
        .join(Notebook, Notebook.id == SubmittedNotebook.notebook_id)
        .filter(Assignment.name == lesson, Notebook.name == lesson)
        .filter(SubmittedAssignment.student_id == student)
        .one_or_none()
    )
    if found is None:
        raise UserError(f"{student}: the gradebook has no submission of {lesson}; grade it first")
    return found
