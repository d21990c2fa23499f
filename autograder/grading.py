"""Grades a class: collect, check, judge in parallel, record one by one, write feedback.

Judging needs no gradebook, so it can run in many processes or machines; recording is done here,
by nbgrader, one submission at a time. Both remember what they have done: a run that is stopped goes
on where it was.
"""

import hashlib
import json
import sqlite3
import tempfile
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
from filelock import FileLock, Timeout
from nbgrader.api import MissingEntry

from autograder.collecting import CHECKED, Handed, collect, handed_in, write_checked
from autograder.courses import (
    MODE_VARIABLE,
    STOCK,
    TRUSTED,
    Course,
    api,
    configuration,
    environment,
    hidden_seed,
    no_instructor_notebook,
    succeed,
)
from autograder.exercise import find
from autograder.feedback_content import verdict_in
from autograder.feedback_page import note_down
from autograder.grade_cell import parse_call
from autograder.gradebook.one_engine import one_engine
from autograder.intake import grade_id
from autograder.judge_all import judge_all
from autograder.kept_verdicts import keep, kept
from autograder.preprocessors import grade_sources, work_of
from autograder.sandbox.host import unavailable
from autograder.trusted import Work, refused_outputs
from mergelab.errors import UserError
from mergelab.files import write_whole

BACKUPS = 5
Progress = Callable[[str, int, int], None]


@dataclass
class Graded:
    """One submission after grading: points per exercise, and reasons for what was odd."""

    student: str
    scores: dict[str, float] = field(default_factory=dict)
    maximum: float = 0.0
    reasons: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    refused: str = ""
    written: float = 0.0
    unchanged: bool = False

    @property
    def score(self) -> float:
        return sum(self.scores.values())


@dataclass
class ClassReport:
    """What `mergelab grade` did for one lesson."""

    lesson: str
    mode: str
    submissions: list[Graded]
    points: dict[str, float]
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for `--json`."""
        return {
            "lesson": self.lesson,
            "mode": self.mode,
            "points": self.points,
            "notes": self.notes,
            "submissions": [
                {
                    "student": each.student,
                    "score": each.score,
                    "maximum": each.maximum,
                    "written_maximum": each.written,
                    "exercises": each.scores,
                    "reasons": each.reasons,
                    "notes": each.notes,
                    "refused": each.refused or None,
                }
                for each in self.submissions
            ],
        }


def grade_class(
    course: Course,
    lesson: str,
    *,
    workers: int = 1,
    executor: Executor | None = None,
    stock: bool = False,
    again: bool = False,
    progress: Progress | None = None,
) -> ClassReport:
    """Grade every submission of a lesson that is new or has changed; `again` grades all.

    Manual scores stay. Judging is spread over `workers` processes, or over `executor` if one is
    given. `stock` runs learners' code in kernels that also hold the tests, one after the other, and
    marks the grades so.

    Raises `UserError` if the lesson is not there, or if there is no sandbox and `stock` is not set.
    """
    why = None if stock else unavailable()
    if why:
        raise UserError(
            f"a class is graded in a sandbox, and {why}; --stock grades without one, but then "
            f"learners' code can read the tests and change its own grades"
        )
    course.release(lesson)
    course.state.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(course.state / ".grading.lock", timeout=0), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nbgrader's use of SQLAlchemy warns on every grade
            mode = STOCK if stock else TRUSTED
            with environment({**course.prepare(), MODE_VARIABLE: mode}), one_engine():
                run = _Run(course, lesson, mode, again, progress or (lambda *_: None))
                return run.all(workers, executor)
    except Timeout:
        raise UserError("this class is being graded already; wait for that to end") from None


class _Run:
    """One run over one lesson."""

    def __init__(
        self, course: Course, lesson: str, mode: str, again: bool, progress: Progress
    ) -> None:
        self.course, self.lesson, self.mode, self.again = course, lesson, mode, again
        self.progress = progress
        self.grader = api(
            course,
            source_directory=str(course.solutions),
            submitted_directory=str(course.state / CHECKED),
        )
        self.done = _Done(course.state / "recorded" / f"{lesson}.json")

    def all(self, workers: int, executor: Executor | None) -> ClassReport:
        _back_up(self.course)
        register(self.course, self.lesson, self.grader)
        notes = collect(self.course, self.lesson)
        with self.grader.gradebook as gradebook:
            grades = grade_sources(gradebook, self.lesson, self.lesson)
        everyone = handed_in(self.course, self.lesson)
        works = {each.student: work_of(each.notebook, grades, hidden_seed()) for each in everyone}
        reports = []
        for number, handed in enumerate(self.judged(everyone, works, workers, executor)):
            self.progress(handed.student, number, len(everyone))
            reports.append(self.record(handed, works[handed.student]))
        reports.sort(key=lambda each: each.student)
        points: dict[str, float] = {}
        for call in filter(None, map(parse_call, grades.values())):
            points.setdefault(call[0], find(call[0]).points.total)
        return ClassReport(self.lesson, self.mode, reports, points, notes)

    def judged(
        self,
        everyone: list[Handed],
        works: dict[str, Work],
        workers: int,
        executor: Executor | None,
    ) -> Iterator[Handed]:
        """The submissions in the order in which their verdicts are there."""
        if self.mode == STOCK:
            yield from everyone
            return
        waiting: dict[str, list[Handed]] = {}
        for handed in everyone:
            work = works[handed.student]
            if handed.refused:
                keep(self.course.state, work, refused_outputs(work, handed.refused))
            if kept(self.course.state, work) is not None:
                yield handed
            else:
                waiting.setdefault(work.digest(), []).append(handed)
        open_works = {digest: works[group[0].student] for digest, group in waiting.items()}
        for digest, outputs in judge_all(open_works, workers, executor):
            keep(self.course.state, open_works[digest], outputs)
            yield from waiting[digest]

    def record(self, handed: Handed, work: Work) -> Graded:
        """Have nbgrader record one submission and write its feedback; never stops the others."""
        content = write_checked(self.course, self.lesson, handed)
        state = hashlib.sha256(content + work.digest().encode() + self.mode.encode()).hexdigest()
        student = handed.student
        report = Graded(student, notes=handed.notes, refused=handed.refused)
        report.unchanged = (
            not self.again and self.done.is_done(student, state) and self.is_recorded(student)
        )
        if not report.unchanged:
            try:
                succeed(self.grader.autograde(self.lesson, student), "cannot be recorded")
            except UserError as error:
                report.refused = report.refused or str(error)
                return report
            folder = self.course.state / "autograded" / student / self.lesson
            note_down(folder, self.lesson, handed.notes, handed.refused)
            self.done.add(student, state)
        try:  # again each time, for somebody may have given points or written comments since
            succeed(self.grader.generate_feedback(self.lesson, student), "no feedback")
        except UserError as error:
            report.notes.append(str(error))
        self._add_scores(report)
        return report

    def is_recorded(self, student: str) -> bool:
        """Whether the gradebook has this submission: it may be another one than last time."""
        with self.grader.gradebook as gradebook:
            try:
                return gradebook.find_submission(self.lesson, student) is not None
            except MissingEntry:
                return False

    def _add_scores(self, report: Graded) -> None:
        folder = self.course.state / "autograded" / report.student / self.lesson
        notebook = nbformat.read(folder / f"{self.lesson}.ipynb", as_version=4)
        told = {grade_id(cell): verdict_in(cell) for cell in notebook.cells if grade_id(cell)}
        with self.grader.gradebook as gradebook:
            sources = grade_sources(gradebook, self.lesson, self.lesson)
            submission = gradebook.find_submission_notebook(
                self.lesson, self.lesson, report.student
            )
            for grade in submission.grades:
                call = parse_call(sources.get(grade.name, ""))
                if call is None:
                    report.written += grade.max_score
                    continue
                name = call[0]
                report.scores[name] = report.scores.get(name, 0.0) + float(grade.auto_score or 0)
                report.maximum += grade.max_score
                reason = told.get(grade.name, {}).get("reason")
                if reason:
                    report.reasons.setdefault(name, reason)


def register(course: Course, lesson: str, grader: Any = None) -> None:
    """Tell the gradebook about a lesson's cells and points, if it does not know this version.

    `grader` is nbgrader's interface to the course, where there is one already.

    Raises `UserError` if the gradebook holds submissions of another version.
    """
    from nbgrader.converters import GenerateAssignment
    from nbgrader.coursedir import CourseDirectory
    from nbgrader.utils import capture_log

    notebook = course.solutions / lesson / f"{lesson}.ipynb"
    if not notebook.is_file():
        raise UserError(no_instructor_notebook(notebook))
    digest = hashlib.sha256(notebook.read_bytes()).hexdigest()
    known = _Done(course.state / "registered.json")
    with (grader or api(course)).gradebook as gradebook:
        there = any(each.name == lesson and each.notebooks for each in gradebook.assignments)
    if there and known.is_done(lesson, digest):
        return
    with tempfile.TemporaryDirectory() as folder:
        config = configuration(
            course, source_directory=str(course.solutions), release_directory=folder
        )
        coursedir = CourseDirectory(config=config, assignment_id=lesson)
        app = GenerateAssignment(coursedir=coursedir, config=config)
        app.force = True
        succeed(
            capture_log(app),
            f"{lesson}: the gradebook does not take this version (it may hold submissions of an "
            f"older one)",
        )
    known.add(lesson, digest)


class _Done:
    """What has been done, by name: a small file that is whole at any time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            found = json.loads(path.read_text("utf-8"))
            self.states = {str(name): str(state) for name, state in found.items()}
        except (OSError, ValueError, AttributeError):
            self.states = {}

    def is_done(self, name: str, state: str) -> bool:
        return self.states.get(name) == state

    def add(self, name: str, state: str) -> None:
        self.states[name] = state
        write_whole(self.path, json.dumps(self.states, indent=1, sort_keys=True) + "\n")


def _back_up(course: Course) -> None:
    """Copy an SQLite gradebook aside; the newest few copies stay."""
    gradebook = course.state / "gradebook.db"
    if not gradebook.is_file():
        return
    folder = course.state / "backups"
    folder.mkdir(exist_ok=True)
    target = folder / f"gradebook-{datetime.now(UTC):%Y%m%dT%H%M%S}.db"
    with (
        closing(sqlite3.connect(gradebook)) as present,
        closing(sqlite3.connect(target)) as copy,
    ):
        present.backup(copy)
    for old in sorted(folder.glob("gradebook-*.db"))[:-BACKUPS]:
        old.unlink()
