"""Is a fresh run what is committed? Cell by cell, within stated tolerances.

Processors with other instructions add in another order, and a reply may change at a near tie. A
score may therefore move by a few items; what is computed without any reply, hardly at all.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from mergelab.errors import UserError

SCORE_TOLERANCE = 0.02  # 6 of 300 items
EXACT_TOLERANCE = 0.002  # norms, shares, cosines
EXACT = ("size", "top", "share", "cosine", "unchanged", "one only", "sign", "mass", "density")
# These follow from the scores, and say so themselves where they are near an edge.
DERIVED = ("p", "verdict", "measured here", "chosen")


@dataclass(frozen=True)
class Move:
    """A cell that is not as committed; `beyond` if by more than its tolerance."""

    file: str
    row: str
    column: str
    committed: str
    fresh: str
    beyond: bool

    def __str__(self) -> str:
        mark = "beyond tolerance" if self.beyond else "within tolerance"
        where = f"{self.file}, {self.row}, {self.column}"
        return f"{where}: {self.committed or 'nothing'} -> {self.fresh or 'nothing'} ({mark})"


def moves(committed: Path, fresh: Path) -> list[Move]:
    """Every cell of one CSV table that differs from the other, in order.

    Raises `UserError` if a file cannot be read.
    """
    old, new = _rows(committed), _rows(fresh)
    name = committed.name
    if old[0] != new[0] or len(old) != len(new):
        return [Move(name, "the table", "its shape", _shape(old), _shape(new), True)]
    found = []
    for before, after in zip(old[1:], new[1:], strict=True):
        for column, left, right in zip(old[0], before, after, strict=True):
            if left != right:
                label = " ".join(before[:3])
                found.append(Move(name, label, column, left, right, _beyond(column, left, right)))
    return found


def _beyond(column: str, left: str, right: str) -> bool:
    if column in DERIVED:
        return False
    try:
        apart = abs(float(left) - float(right))
    except ValueError:
        return True  # a label, or a number that has come or gone
    exact = any(word in column for word in EXACT)
    return not apart <= (EXACT_TOLERANCE if exact else SCORE_TOLERANCE)


def _rows(path: Path) -> list[list[str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.reader(file))
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); `mergelab tables` makes it"
        ) from None


def _shape(rows: list[list[str]]) -> str:
    return f"{len(rows) - 1} rows of {len(rows[0]) if rows else 0} columns"
