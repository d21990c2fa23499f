"""Checks a learner's functions on the visible cases without opening the notebook.

What runs is what runs when a lesson is submitted: imports, definitions and the assignments that
the functions need, never a demonstration. It runs in a process of its own, with a time limit.
"""

import difflib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from autograder.courses import Course
from autograder.intake import read_submission
from autograder.outline import ExerciseOutline, Outline, outline, outlines
from autograder.submit import locate
from mergelab.errors import UserError

# Generous, because a computer may be slow; what does not end is stopped all the same.
SECONDS = 60.0
SECONDS_PER_EXERCISE = 60.0


@dataclass
class Checked:
    """How one function does on the visible cases: what to print, and the verdict as data."""

    exercise: ExerciseOutline
    passed: bool
    text: str
    record: dict[str, Any] = field(default_factory=dict)


@dataclass
class LessonCheck:
    """What `mergelab check` found in one notebook; `notes` are sentences about its cells."""

    lesson: str
    notebook: str
    exercises: list[Checked]
    notes: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return all(each.passed for each in self.exercises)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for `--json`."""
        return {
            "lesson": self.lesson,
            "notebook": self.notebook,
            "passed": self.passed,
            "exercises": [
                {
                    "id": each.exercise.id,
                    "title": each.exercise.title,
                    "passed": each.passed,
                    "kinds": each.record.get("kinds", {}),
                    "misconception": each.record.get("misconception"),
                    "text": each.text,
                }
                for each in self.exercises
            ],
            "notes": self.notes,
        }


def check_lesson(
    course: Course, target: str, exercise: str | None = None, *, seconds: float = SECONDS
) -> LessonCheck:
    """Check the exercises of a lesson, or one of them.

    `target`: a lesson, its folder or notebook, or an exercise such as `ties/trim`. `seconds` is the
    time limit for the cells; every exercise adds to it.

    Raises `UserError` if there is no such lesson, exercise or notebook.
    """
    lesson, path, chosen = _chosen(course, target, exercise)
    notes: list[str] = []
    notebook = read_submission(path, nbformat.read(course.release(lesson), as_version=4), notes)
    checked = run_checks(notebook, chosen, path.parent, course, seconds=seconds, notes=notes)
    return LessonCheck(lesson, str(path), checked, notes)


def run_checks(
    notebook: NotebookNode,
    exercises: Sequence[ExerciseOutline],
    folder: Path,
    course: Course,
    *,
    seconds: float = SECONDS,
    notes: list[str],
) -> list[Checked]:
    """Judge the functions of a notebook in a child process that works in `folder`.

    Sentences about cells that do not run go into `notes`.
    """
    from autograder.essential import essential

    cells = working_cells(notebook)
    calls = [exercise.function for exercise in exercises]
    graded = [False] * len(cells) + [True] * len(calls)
    parts = essential([*cells, *calls], graded)[: len(cells)]
    request = {
        "cells": [[n, part] for n, part in enumerate(parts) if part.strip()],
        "exercises": [[exercise.id, exercise.function] for exercise in exercises],
    }
    limit = seconds + SECONDS_PER_EXERCISE * len(exercises)
    found, ended = _run_child(request, folder, course, limit)
    problems = {each["cell"]: each["problem"] for each in found if "cell" in each}
    notes += [f"the cell that begins with {_begin(cells[n])} {p}" for n, p in problems.items()]
    judged = {each["exercise"]: each for each in found if "exercise" in each}
    stopped = "" if ended else _where_it_stopped(found, cells, limit)
    return [_checked(e, judged.get(e.id), problems, cells, stopped) for e in exercises]


def working_cells(notebook: NotebookNode) -> list[str]:
    """The sources of the code cells that are not grade cells."""
    return [
        cell.source
        for cell in notebook.cells
        if cell.cell_type == "code" and not cell.metadata.get("nbgrader", {}).get("grade")
    ]


def _chosen(
    course: Course, target: str, exercise: str | None
) -> tuple[str, Path, list[ExerciseOutline]]:
    """Lesson, notebook and exercises that the words of the command line stand for."""
    topic = target.partition("/")[0]
    if exercise is None and "/" in target and not Path(target).exists():
        known = {e.id: (about, e) for about in outlines(course) for e in about.exercises}
        if target in known:
            about, found = known[target]
            return (*locate(course, about.name), [found])
        if topic in {each.partition("/")[0] for each in known}:
            raise UserError(f"{target}: no such exercise{_nearest(target, list(known))}")
    lesson, path = locate(course, target)
    about = outline(course.release(lesson), lesson)
    if not about.exercises:
        raise UserError(f"{lesson}: has no exercises to check")
    return lesson, path, _of(about, exercise)


def _of(about: Outline, exercise: str | None) -> list[ExerciseOutline]:
    if exercise is None:
        return list(about.exercises)
    found = [e for e in about.exercises if exercise in (e.id, e.function)]
    if not found:
        known = [e.function for e in about.exercises]
        raise UserError(
            f"{exercise}: no exercise of {about.name}; it has {', '.join(known)}"
            f"{_nearest(exercise.rpartition('/')[2], known)}"
        )
    return found


def _nearest(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _run_child(
    request: dict[str, Any], folder: Path, course: Course, limit: float
) -> tuple[list[dict[str, Any]], bool]:
    """What the child said, line by line, and whether it came to its end."""
    with tempfile.TemporaryDirectory(prefix="mergelab-check-") as temporary:
        asked, said = Path(temporary) / "request.json", Path(temporary) / "results.jsonl"
        asked.write_text(json.dumps(request), "utf-8")
        said.touch()
        child = subprocess.Popen(
            # -P: a learner's torch.py beside the notebook does not take the place of torch.
            [sys.executable, "-P", "-m", "autograder.selfcheck_run", str(asked), str(said)],
            cwd=folder,
            env={**os.environ, **course.environment(), "OMP_WAIT_POLICY": "PASSIVE"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            child.wait(timeout=limit)
            ended = True
        except subprocess.TimeoutExpired:
            ended = False
        finally:
            # Whatever the cells have started goes with it.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        lines = said.read_text("utf-8", errors="replace").splitlines()
    found = []
    for line in lines:
        with suppress(ValueError):  # the last line of a child that was stopped
            found.append(json.loads(line))
    return found, ended and child.returncode == 0


def _where_it_stopped(found: list[dict[str, Any]], cells: Sequence[str], limit: float) -> str:
    last = next((f for f in reversed(found) if "running" in f or "judging" in f), {})
    if "running" in last:
        return (
            f"The cell that begins with {_begin(cells[last['running']])} did not end, or ended "
            f"Python (limit {limit:.0f} s); comment out what is slow there."
        )
    return f"The check did not come to an end (limit {limit:.0f} s), or Python itself stopped."


def _checked(
    exercise: ExerciseOutline,
    found: dict[str, Any] | None,
    problems: dict[int, str],
    cells: Sequence[str],
    stopped: str,
) -> Checked:
    head = f"✗ {exercise.function}: not yet."
    if found is None:
        return Checked(exercise, False, f"{head}\n{stopped or 'It was not reached.'}")
    if found.get("missing"):
        defined = re.compile(rf"^\s*def\s+{exercise.function}\b", re.MULTILINE)
        why = next((p for n, p in problems.items() if defined.search(cells[n])), None)
        reason = f"Its cell {why}." if why else "Its cell is missing, or names it otherwise."
        return Checked(exercise, False, f"{head}\n`{exercise.function}` is not defined. {reason}")
    record = found["record"]
    return Checked(exercise, record["score"] == record["maximum"], found["text"], record)


def _begin(source: str) -> str:
    first = next((line.strip() for line in source.splitlines() if line.strip()), "")
    return f"`{first[:50]}{'…' if len(first) > 50 else ''}`"
