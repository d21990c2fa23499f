"""How far a learner is: exercises that pass, points of the last submission, where to go on.

A notebook is checked again only when its code has changed: what was found is kept in the course's
state folder, under a digest of the learner's code and of the exercises.
"""

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat

from autograder.courses import PACKAGE, Course
from autograder.intake import read_submission
from autograder.outline import ExerciseOutline, Outline, outlines
from autograder.selfcheck import run_checks, working_cells
from autograder.submit import last_submission
from mergelab.errors import UserError
from mergelab.files import write_whole

_FOLDER = "progress"


@dataclass
class LessonProgress:
    """One lesson: which exercises pass the visible check now, and the last submission.

    `score` is None before the first submission; `submitted_now` says whether the notebook is still
    as it was submitted.
    """

    outline: Outline
    opened: bool
    passed: dict[str, bool]
    score: float | None = None
    submitted_now: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def open_exercises(self) -> list[ExerciseOutline]:
        return [e for e in self.outline.exercises if not self.passed.get(e.id, False)]

    @property
    def minutes_left(self) -> int:
        return sum(exercise.minutes for exercise in self.open_exercises)

    @property
    def status(self) -> str:
        """Where the lesson stands, in a word or three."""
        if not self.outline.exercises:
            return "to read"
        if self.score is not None and self.score >= self.outline.points and not self.open_exercises:
            return "done"
        if not self.open_exercises:
            return "checked" if self.submitted_now else "ready to submit"
        if any(self.passed.values()):
            return "in progress"
        return "opened" if self.opened else "not opened"

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for `--json`."""
        about = self.outline
        return {
            "lesson": about.name,
            "title": about.title,
            "status": self.status,
            "passed": sum(self.passed.values()),
            "exercises": [
                {
                    "id": e.id,
                    "passed": self.passed.get(e.id, False),
                    "points": e.points,
                    "minutes": e.minutes,
                }
                for e in about.exercises
            ],
            "points": self.score,
            "points_possible": about.points,
            "written_points": about.written,
            "minutes_left": self.minutes_left,
            "notes": self.notes,
        }


@dataclass
class CourseProgress:
    """All lessons, and the next step as a sentence."""

    lessons: list[LessonProgress]
    next: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for `--json`."""
        lessons = self.lessons
        return {
            "lessons": [each.to_dict() for each in lessons],
            "total": {
                "passed": sum(sum(each.passed.values()) for each in lessons),
                "exercises": sum(len(each.outline.exercises) for each in lessons),
                "points": sum(each.score or 0.0 for each in lessons),
                "points_possible": sum(each.outline.points for each in lessons),
                "minutes_left": sum(each.minutes_left for each in lessons),
            },
            "next": self.next,
        }


def progress(course: Course, tell: Callable[[str], None] | None = None) -> CourseProgress:
    """How far the learner is in every released lesson; checks what has changed since last time.

    Raises `UserError` if no lesson is released.
    """
    known = outlines(course)
    if not known:
        raise UserError(f"{course.lessons}: holds no lessons; run `mergelab lessons`")
    if tell:
        tell("checking what has changed")
    # One or two at a time: each child loads torch.
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        lessons = list(pool.map(lambda each: _lesson(course, each, run=True), known))
    return CourseProgress(lessons, _next(lessons))


def known_progress(course: Course) -> list[LessonProgress]:
    """The same from what is remembered, without checking anything: at once."""
    return [_lesson(course, each, run=False) for each in outlines(course)]


def _lesson(course: Course, about: Outline, *, run: bool) -> LessonProgress:
    path = course.work / about.name / f"{about.name}.ipynb"
    nothing = {exercise.id: False for exercise in about.exercises}
    if not path.is_file():
        return LessonProgress(about, False, nothing)
    notes: list[str] = []
    if path.read_bytes() == course.release(about.name).read_bytes():
        return LessonProgress(about, True, nothing)
    try:
        release = nbformat.read(course.release(about.name), as_version=4)
        notebook = read_submission(path, release, notes)
    except (UserError, OSError) as error:
        return LessonProgress(about, True, nothing, notes=[str(error)])
    found = LessonProgress(about, True, nothing, notes=notes)
    _add_submission(course, found, path)
    cells = working_cells(notebook)
    if cells == working_cells(release) or not about.exercises:
        return found
    kept, digest = _kept(course, about), _digest(cells, about)
    if kept.get("digest") == digest:
        found.passed, found.notes = kept["passed"], notes + kept["notes"]
    elif run:
        said: list[str] = []
        checked = run_checks(notebook, about.exercises, path.parent, course, notes=said)
        found.passed = {each.exercise.id: each.passed for each in checked}
        found.notes = notes + said
        _keep(course, about, {"digest": digest, "passed": found.passed, "notes": said})
    elif kept:
        found.passed = nothing | {k: v for k, v in kept["passed"].items() if k in nothing}
    return found


def _add_submission(course: Course, found: LessonProgress, path: Path) -> None:
    submitted = last_submission(course, found.outline.name)
    if submitted is None:
        return
    known = {exercise.id for exercise in found.outline.exercises}
    found.score = sum(float(e["score"]) for e in submitted["exercises"] if e["id"] in known)
    found.submitted_now = submitted.get("digest") == hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(cells: list[str], about: Outline) -> str:
    """Of all that decides whether exercises pass: the learner's code, and the exercises' own."""
    summed = hashlib.sha256(json.dumps([cells, [e.id for e in about.exercises]]).encode())
    for topic in sorted({exercise.id.partition("/")[0] for exercise in about.exercises}):
        for path in sorted((PACKAGE / "exercises" / topic).glob("*.py")):
            summed.update(path.read_bytes())
    return summed.hexdigest()


def _kept(course: Course, about: Outline) -> dict[str, Any]:
    path = course.state / _FOLDER / f"{about.name}.json"
    try:
        found = json.loads(path.read_text("utf-8"))
        whole = isinstance(found, dict) and {"digest", "passed", "notes"} <= found.keys()
        return found if whole else {}
    except (OSError, ValueError):
        return {}


def _keep(course: Course, about: Outline, found: dict[str, Any]) -> None:
    folder = course.state / _FOLDER
    try:
        write_whole(folder / f"{about.name}.json", json.dumps(found) + "\n")
    except OSError as error:
        raise UserError(
            f"{error.filename or folder}: cannot be written ({error.strerror})"
        ) from None


def _next(lessons: list[LessonProgress]) -> str:
    """The next step, in one line."""
    for each in lessons:
        about = each.outline
        if each.open_exercises:
            exercise = each.open_exercises[0]
            line = f"next: {about.name}, exercise {exercise.function}, "
            line += f"about {exercise.minutes} minutes: "
            return line + (about.path if each.opened else "`mergelab lab` puts it into work/")
        if about.exercises and each.status == "ready to submit":
            return f"next: all exercises of {about.name} pass: mergelab submit {about.name}"
        if each.status == "checked":
            return (
                f"next: {about.name} has {each.score:g} of {about.points:g} points; "
                f"`mergelab submit {about.name}` says what is missing"
            )
    return "every exercise passes and is submitted: well done"
