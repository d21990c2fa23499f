"""Reads what graded notebooks say of themselves: the verdict records in their grade cells' outputs.

A notebook that was graded in stock mode was written by the learner's own kernel, so a record is a
claim: it is read only if it has the right shape and speaks of the exercise of its cell, and it
never decides a grade.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

# As `autograder.feedback.MIME`, which cannot be read without loading torch.
MIME = "application/vnd.mergelab.verdict+json"
STOCK = "stock"
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
    mode: Phrase = STOCK

    @property
    def ran(self) -> bool:
        """Whether the function was called at all: one that is not written has no kinds."""
        return bool(self.kinds)


def read_verdicts(path: Path, exercises: Mapping[str, tuple[str, str]]) -> tuple[Verdicts, str]:
    """The verdicts of a graded notebook by grade cell, and the mode it was graded in.

    `exercises` gives exercise and part of each grade cell. One cell in stock mode makes the whole
    notebook's mode "stock"; so does a notebook without any verdict. The mode of a file that is not
    there, or cannot be read, is "unknown".
    """
    try:
        cells = json.loads(path.read_text("utf-8"))["cells"]
        graded = [(_grade_id(cell), _records(cell)) for cell in cells]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}, UNKNOWN
    verdicts: Verdicts = {}
    modes = set()
    for name, records in graded:
        if name not in exercises or len(records) != 1:
            modes |= {STOCK} if records else set()
            continue
        try:
            verdict = Verdict.model_validate(records[0])
        except ValidationError:
            continue
        if (verdict.exercise, verdict.part) == exercises[name]:
            verdicts[name] = verdict
            modes.add(verdict.mode)
    if not modes or STOCK in modes:
        return verdicts, STOCK
    return verdicts, "+".join(sorted(modes))


def _grade_id(cell: dict[str, Any]) -> str:
    return str(cell["metadata"].get("nbgrader", {}).get("grade_id", ""))


def _records(cell: dict[str, Any]) -> list[Any]:
    found = [output.get("data", {}) for output in cell.get("outputs", [])]
    return [data[MIME] for data in found if MIME in data]
