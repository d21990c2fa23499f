"""Verdicts kept by what they depend on, so that no submission is judged twice.

A run that was stopped goes on where it was; the same work in another notebook is not run again.
"""

import json
from pathlib import Path

from autograder.courses import find_course
from autograder.trusted import Outputs, Work, judge_work
from mergelab.files import write_whole

FOLDER = "verdicts"


def verdicts_for(work: Work) -> Outputs:
    """The outputs of the grade cells, kept from before or judged now."""
    known = kept(find_course().state, work)
    if known is None:
        known = judge_work(work)
        keep(find_course().state, work, known)
    return known


def kept(state: Path, work: Work) -> Outputs | None:
    """What was found about this work before; None if nothing, or nothing readable."""
    try:
        found = json.loads(_path(state, work).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.keys() == work.grades.keys() else None


def keep(state: Path, work: Work, outputs: Outputs) -> None:
    """Keep what was found."""
    write_whole(_path(state, work), json.dumps(outputs))


def _path(state: Path, work: Work) -> Path:
    return state / FOLDER / f"{work.digest()}.json"
