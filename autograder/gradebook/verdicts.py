"""Reads what graded notebooks say: their mode, and the verdicts in their grade cells' outputs.

The outputs of a notebook that was graded in stock mode were written by the learner's own kernel, so
a verdict is a claim: it is read only if it has the right shape and speaks of the exercise of its
cell, and it never decides a grade.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from autograder.graded_notebook import mode_of, records_in

UNKNOWN = "unknown"

Phrase = Annotated[str, StringConstraints(max_length=200)]
Verdicts = dict[str, "Verdict"]


class Verdict(BaseModel):
    """What `judging.Verdict.record` wrote, as far as statistics need it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    exercise: Phrase
    part: Phrase
    kinds: dict[Phrase, bool] = Field(default={}, max_length=200)
    misconception: Phrase | None = None

    @property
    def ran(self) -> bool:
        """Whether the function was called at all: one that is not written has no kinds."""
        return bool(self.kinds)


def read_verdicts(path: Path, exercises: Mapping[str, tuple[str, str]]) -> tuple[Verdicts, str]:
    """The verdicts of a graded notebook by grade cell, and the mode it was graded in.

    `exercises` gives exercise and part of each grade cell. The mode of a file that is not there, or
    cannot be read, is "unknown".
    """
    try:
        notebook = json.loads(path.read_text("utf-8"))
        mode = mode_of(notebook)
        graded = [(_grade_id(cell), records_in(cell)) for cell in notebook["cells"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}, UNKNOWN
    verdicts: Verdicts = {}
    for name, records in graded:
        if name not in exercises or len(records) != 1:
            continue
        try:
            verdict = Verdict.model_validate(records[0])
        except ValidationError:
            continue
        if (verdict.exercise, verdict.part) == exercises[name]:
            verdicts[name] = verdict
    return verdicts, mode


def _grade_id(cell: dict[str, Any]) -> str:
    return str(cell["metadata"].get("nbgrader", {}).get("grade_id", ""))
