"""Grades one's own work in one step: submit, collect, autograde and feedback, by nbgrader.

Everything happens in a private course folder; the learner's notebook is only read. Its code runs in
a sandbox, as in a class; where there is none, in a kernel that also holds the tests ("stock mode"):
good enough for studying alone, and said so.
"""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from filelock import FileLock
from nbformat import NotebookNode

from autograder.courses import (
    MODE_VARIABLE,
    STOCK,
    TRUSTED,
    Course,
    api,
    environment,
    no_instructor_notebook,
    succeed,
)
from autograder.exercise import find
from autograder.grade_cell import parse_call
from autograder.intake import grade_id, read_submission
from mergelab.errors import UserError
from mergelab.files import write_whole

LEARNER = "me"

Progress = Callable[[str], None]


@dataclass
class Part:
    """One graded cell: its score, and why it is not the maximum."""

    part: str
    score: float
    maximum: float
    reason: str = ""
    misconception: str | None = None


@dataclass
class Result:
    """One exercise of a submission, or one written answer."""

    id: str
    title: str
    parts: list[Part] = field(default_factory=list)
    written: bool = False

    @property
    def score(self) -> float:
        return sum(part.score for part in self.parts)

    @property
    def maximum(self) -> float:
        return sum(part.maximum for part in self.parts)

    @property
    def reasons(self) -> list[str]:
        return list(dict.fromkeys(part.reason for part in self.parts if part.reason))


@dataclass
class Submission:
    """What `mergelab submit` found."""

    lesson: str
    notebook: str
    results: list[Result]
    feedback: str
    notes: list[str] = field(default_factory=list)
    mode: str = TRUSTED
    why_stock: str | None = None

    @property
    def score(self) -> float:
        return sum(result.score for result in self.results if not result.written)

    @property
    def maximum(self) -> float:
        return sum(result.maximum for result in self.results if not result.written)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for `--json`."""
        return {
            "lesson": self.lesson,
            "notebook": self.notebook,
            "mode": self.mode,
            "score": self.score,
            "maximum": self.maximum,
            "exercises": [
                {
                    "id": result.id,
                    "title": result.title,
                    "score": result.score,
                    "maximum": result.maximum,
                    "parts": [asdict(part) for part in result.parts],
                }
                for result in self.results
                if not result.written
            ],
            "written": [
                {"id": r.id, "maximum": r.maximum, "answered": not r.reasons}
                for r in self.results
                if r.written
            ],
            "notes": self.notes,
            "feedback": self.feedback,
        }


def submit(course: Course, target: str, progress: Progress | None = None) -> Submission:
    """Grade a lesson: `target` is its name, its folder, or a notebook.

    In a sandbox where there can be one, else in stock mode.

    Raises `UserError` if there is no such lesson or the notebook cannot be graded.
    """
    from autograder.sandbox.host import unavailable  # loads torch

    tell = progress or (lambda _: None)
    lesson, path = locate(course, target)
    notes: list[str] = []
    notebook = read_submission(path, nbformat.read(course.release(lesson), as_version=4), notes)

    try:
        home = course.state / "self-study"
        home.mkdir(parents=True, exist_ok=True)
        with FileLock(home / f".{lesson}.lock"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nbgrader's use of SQLAlchemy warns on every grade
            tell("starting the sandbox")
            why = unavailable()
            mode = STOCK if why else TRUSTED
            with environment({MODE_VARIABLE: mode}):
                results, feedback = _grade(course, lesson, notebook, path, notes, tell)
            found = Submission(lesson, str(path), results, feedback, notes, mode, why)
            _remember(course, found, path)
    except OSError as error:
        place = error.filename or course.state
        raise UserError(f"{place}: cannot be written ({error.strerror or error})") from None
    return found


def last_submission(course: Course, lesson: str) -> dict[str, Any] | None:
    """What the last submission of a lesson found, as `to_dict` gives it, and its notebook's digest.

    None if there has been none, or if its record cannot be read.
    """
    try:
        found = json.loads(_record(course, lesson).read_text(encoding="utf-8"))
        return found if isinstance(found, dict) and "exercises" in found else None
    except (OSError, ValueError):
        return None


def _record(course: Course, lesson: str) -> Path:
    return course.state / "self-study" / f"{lesson}.json"


def _remember(course: Course, found: Submission, path: Path) -> None:
    """Keep the scores for `mergelab progress`."""
    target = _record(course, found.lesson)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    write_whole(target, json.dumps({**found.to_dict(), "digest": digest}) + "\n")


def _grade(
    course: Course,
    lesson: str,
    notebook: NotebookNode,
    path: Path,
    notes: list[str],
    tell: Progress,
) -> tuple[list[Result], str]:
    """Results and the path of the feedback, from nbgrader's steps in a private course."""
    from autograder.feedback_page import note_down

    private = _private_course(course, lesson)
    with environment(private.prepare()):
        grader = api(
            private,
            source_directory=str(course.solutions),
            root=str(private.root),
        )
        tell("reading the exercises")
        _open_gradebook(grader, private, lesson)
        tell("handing in")
        _hand_in(grader, private, lesson, notebook)
        succeed(grader.collect(lesson), f"{lesson}: cannot be collected")
        tell("running your functions")
        succeed(grader.autograde(lesson, LEARNER), f"{path}: cannot be graded")
        tell("writing the feedback")
        note_down(private.state / "autograded" / LEARNER / lesson, lesson, notes)
        succeed(grader.generate_feedback(lesson, LEARNER), f"{lesson}: no feedback")
        results = _results(grader, private, lesson)
    feedback = private.state / "feedback" / LEARNER / lesson / f"{lesson}.html"
    kept = course.state / "self-study" / f"{lesson}.html"
    shutil.copyfile(feedback, kept)
    return results, str(kept)


def locate(course: Course, target: str) -> tuple[str, Path]:
    """Lesson and notebook that a lesson's name, a folder or a notebook's path stands for."""
    given = Path(target)
    if given.suffix == ".ipynb" or (given.exists() and given.is_dir()):
        path = given if given.suffix == ".ipynb" else given / f"{given.resolve().name}.ipynb"
        lesson = path.stem
        if lesson not in course.released():
            lesson = path.resolve().parent.name
    else:
        lesson = target.strip("/")
        path = course.work / lesson / f"{lesson}.ipynb"
    course.release(lesson)
    if not path.is_file():
        raise UserError(
            f"{path}: there is no notebook to submit; `mergelab lab` puts the lessons into work/"
        )
    return lesson, path


def _private_course(course: Course, lesson: str) -> Course:
    """A course of one's own for this version of a lesson; older versions are removed.

    nbgrader refuses to change the cells of a lesson that has been submitted, so every version of
    the instructor notebook gets its own gradebook.
    """
    source = course.solutions / lesson / f"{lesson}.ipynb"
    if not source.is_file():
        raise UserError(no_instructor_notebook(source))
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    home = course.state / "self-study"
    root = home / f"{lesson}-{digest}"
    root.mkdir(parents=True, exist_ok=True)
    for other in home.glob(f"{lesson}-*"):
        if other != root and other.is_dir():
            shutil.rmtree(other)
    return Course(root, root)


def _open_gradebook(grader: Any, private: Course, lesson: str) -> None:
    ready = private.root / "ready"
    if ready.exists():
        return
    # What an interrupted first run has left behind would stand in the way.
    (private.root / "gradebook.db").unlink(missing_ok=True)
    shutil.rmtree(private.exchange / "mergelab", ignore_errors=True)
    succeed(grader.generate_assignment(lesson), f"{lesson}: cannot be prepared for grading")
    succeed(grader.release_assignment(lesson), f"{lesson}: cannot be released")
    ready.touch()


def _hand_in(grader: Any, private: Course, lesson: str, notebook: NotebookNode) -> None:
    """Write the notebook aside and submit it to the private exchange."""
    from nbgrader.utils import capture_log

    desk = private.root / "desk" / lesson
    shutil.rmtree(desk, ignore_errors=True)
    desk.mkdir(parents=True)
    nbformat.write(notebook, desk / f"{lesson}.ipynb")
    inbound = private.exchange / "mergelab" / "inbound"
    for old in inbound.glob(f"{LEARNER}+{lesson}+*"):
        shutil.rmtree(old)
    for step in ("submitted", "autograded", "feedback"):
        shutil.rmtree(private.state / step, ignore_errors=True)
    shutil.rmtree(private.state / "cache", ignore_errors=True)
    grader.coursedir.assignment_id, grader.coursedir.student_id = lesson, LEARNER
    sender = grader.exchange.Submit(
        coursedir=grader.coursedir, authenticator=grader.authenticator, parent=grader
    )
    sender.assignment_dir = os.fspath(desk.parent)
    succeed(capture_log(sender), f"{lesson}: cannot be submitted")


def _results(grader: Any, private: Course, lesson: str) -> list[Result]:
    """Scores from the gradebook, reasons from the graded notebook, in the lesson's order."""
    graded = nbformat.read(
        private.state / "autograded" / LEARNER / lesson / f"{lesson}.ipynb", as_version=4
    )
    results: dict[str, Result] = {}
    with grader.gradebook as gradebook:
        sources = {
            cell.name: cell.source for cell in gradebook.find_notebook(lesson, lesson).source_cells
        }
        scores = {
            grade.name: grade
            for grade in gradebook.find_submission_notebook(lesson, lesson, LEARNER).grades
        }
        for cell in graded.cells:
            grade = scores.get(grade_id(cell))
            if grade is None:
                continue
            call = parse_call(sources[grade.name])
            if call is None:
                answered = grade.auto_score != 0
                reason = "" if answered else "No answer yet."
                part = Part("written", 0.0, grade.max_score, reason)
                results[grade.name] = Result(grade.name, grade.name, [part], written=True)
                continue
            exercise, _, name = call
            result = results.setdefault(exercise, Result(exercise, find(exercise).title))
            score = float(grade.auto_score or 0.0)
            result.parts.append(_part(cell, name, score, float(grade.max_score)))
    return list(results.values())


def _part(cell: NotebookNode, name: str, score: float, maximum: float) -> Part:
    from autograder.feedback_content import verdict_in, why_no_verdict  # loads torch

    verdict = verdict_in(cell)
    if verdict:
        return Part(name, score, maximum, verdict["reason"], verdict["misconception"])
    reason = "" if score == maximum else why_no_verdict(cell)
    return Part(name, score, maximum, reason)
