"""Verdicts kept by what they depend on, so that no submission is judged twice.

A run that was stopped goes on where it was; the same work in another notebook is not run again.
"""

import json
import os
from pathlib import Path
from typing import Any

from autograder.courses import find_course
from autograder.trusted import Work, judge_work

FOLDER = "verdicts"


def verdicts_for(work: Work) -> dict[str, dict[str, Any]]:
    """The outputs of the grade cells, kept from before or judged now."""
    known = kept(find_course().state, work)
    if known is None:
        known = judge_work(work)
        keep(find_course().state, work, known)
    return known


def kept(state: Path, work: Work) -> dict[str, dict[str, Any]] | None:
    """What was found about this work before; None if nothing, or nothing readable."""
    try:
        found = json.loads(_path(state, work).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.keys() == work.grades.keys() else None


def keep(state: Path, work: Work, outputs: dict[str, dict[str, Any]]) -> None:
    """Keep what was found; the file appears whole or not at all."""
    path = _path(state, work)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    partial.write_text(json.dumps(outputs), "utf-8")
    os.replace(partial, path)


def _path(state: Path, work: Work) -> Path:
    return state / FOLDER / f"{work.digest()}.json"
