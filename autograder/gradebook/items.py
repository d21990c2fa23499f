"""Item analysis: how hard each exercise was for a class, what it tells, and where people err.

Difficulty is the mean share of an exercise's points, with a 95% interval; discrimination is the
corrected item-total correlation: Pearson's correlation between the points of the exercise and the
sum of the points of the lesson's other exercises, over the submissions of the lesson. A few
students say little: the intervals show it, and below 10 submissions no correlation is given.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autograder.gradebook.records import ClassGrades, LessonGrade
from autograder.gradebook.verdicts import Verdict
from mergelab.errors import UserError

FEWEST_FOR_DISCRIMINATION = 10
LISTED = 3


@dataclass(frozen=True)
class Item:
    """One exercise over all graded submissions of its lesson.

    `mean`, `low`, `high`, `zero` and `full` are shares in [0, 1]; `discrimination` is a correlation
    with its limits, None where it says nothing: too few submissions, no other exercise, or points
    that are the same for all. `failed` counts, for each kind of input, the submissions whose
    function ran and got it wrong; `ran` and `unwritten` count submissions whose function ran, and
    whose verdict says that it is not written or could not run.
    """

    lesson: str
    exercise: str
    submissions: int
    mean: float
    low: float
    high: float
    zero: float
    full: float
    discrimination: tuple[float, float, float] | None
    ran: int
    unwritten: int
    failed: dict[str, int]
    misconceptions: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for `--json`."""
        return asdict(self)

    def discrimination_text(self) -> str:
        """The correlation with its interval, or why there is none."""
        if self.discrimination is None:
            few = self.submissions < FEWEST_FOR_DISCRIMINATION
            return f"n < {FEWEST_FOR_DISCRIMINATION}" if few else "undefined"
        value, low, high = self.discrimination
        return f"{value:.2f} [{low:.2f}, {high:.2f}]"

    def lines(self) -> list[str]:
        """What went wrong most, a sentence each."""
        found = []
        if self.unwritten:
            of_all = f"{self.unwritten} of {self.submissions}"
            found.append(f"not written, or could not run, in {of_all}")
        if self.failed:
            found.append(f"most often wrong on {_most(self.failed)}, of {self.ran} that ran")
        if self.misconceptions:
            found.append(f"misconceptions: {_most(self.misconceptions)}")
        return found


def _most(counts: dict[str, int]) -> str:
    listed = [f"{name} ({count})" for name, count in list(counts.items())[:LISTED]]
    more = len(counts) - LISTED
    return ", ".join(listed) + (f" and {more} more" if more > 0 else "")


def analyse(grades: ClassGrades) -> list[Item]:
    """The items of a class's lessons, in the lessons' order; written answers are left out.

    A submission counts for an exercise once none of its cells waits for a person.

    Raises `UserError` if no exercise has a graded submission.
    """
    found = []
    for lesson, parts in grades.lessons.items():
        graded = [grade for grade in grades.grades if grade.lesson == lesson]
        exercises = [part for part in parts if not part.written and part.maximum > 0]
        for part in exercises:
            others = {other.id for other in exercises if other.id != part.id}
            item = _item(lesson, part.id, others, graded)
            if item is not None:
                found.append(item)
    if not found:
        raise UserError(f"{', '.join(grades.lessons)}: no exercise has been graded yet")
    return found


def _item(
    lesson: str, exercise: str, others: set[str], submissions: Sequence[LessonGrade]
) -> Item | None:
    from mergelab.evaluation.statistics import rate_interval

    shares, totals, records = [], [], []
    for grade in submissions:
        parts = {part.id: part for part in grade.parts}
        own = parts[exercise]
        if own.waiting:
            continue
        shares.append(min(1.0, max(0.0, own.score / own.maximum)))
        totals.append(sum(parts[other].score for other in others))
        records.append([v for v in grade.verdicts.values() if v.exercise == exercise])
    if not shares:
        return None
    # Wilson's interval is for shares of 0 and 1. Between those a share varies less, so with part
    # points it is on the safe side.
    interval = rate_interval(shares, range(len(shares)))
    count = len(shares)
    return Item(
        lesson,
        exercise,
        count,
        interval.estimate,
        interval.low,
        interval.high,
        zero=sum(share == 0 for share in shares) / count,
        full=sum(share == 1 for share in shares) / count,
        discrimination=correlation(shares, totals) if others else None,
        ran=sum(any(v.ran for v in own) for own in records),
        unwritten=sum(bool(own) and not any(v.ran for v in own) for own in records),
        failed=_counts(map(_failed, records)),
        misconceptions=_counts({v.misconception for v in own} - {None} for own in records),
    )


def _failed(verdicts: Sequence[Verdict]) -> set[str]:
    return {kind for verdict in verdicts for kind, passed in verdict.kinds.items() if not passed}


def _counts(found: Iterable[set[Any]]) -> dict[str, int]:
    """How many submissions show each, the most frequent first."""
    counts = Counter(name for names in found for name in names)
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def correlation(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float] | None:
    """Pearson's correlation with 95% limits from Fisher's transformation.

    None below 10 pairs or where one side is the same for all.

    >>> correlation([0, 1, 0, 1, 0, 1, 0, 1, 0, 1], [0, 1, 1, 1, 0, 0, 0, 1, 0, 1])
    (0.6..., -0.0..., 0.89...)
    """
    from scipy.stats import norm

    count = len(x)
    if count < FEWEST_FOR_DISCRIMINATION:
        return None
    mean_x, mean_y = math.fsum(x) / count, math.fsum(y) / count
    squares_x = math.fsum((a - mean_x) ** 2 for a in x)
    squares_y = math.fsum((b - mean_y) ** 2 for b in y)
    if min(squares_x, squares_y) < 1e-12 * count:
        return None
    product = math.fsum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    value = max(-1.0, min(1.0, product / math.sqrt(squares_x * squares_y)))
    if abs(value) == 1.0:
        return value, value, value
    half = float(norm.ppf(0.975)) / math.sqrt(count - 3)
    centre = math.atanh(value)
    return value, math.tanh(centre - half), math.tanh(centre + half)


def write_items(found: Sequence[Item], folder: Path) -> None:
    """Write `items.csv` and `items.png` to a folder, which is made if need be.

    Raises `UserError` if that is not possible.
    """
    import io

    from autograder.gradebook.exports import write_aside
    from autograder.gradebook.items_plot import describe_plot, items_plot

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {folder}: cannot be created ({error.strerror})") from None
    picture = io.BytesIO()
    metadata = {"Software": None, "Description": describe_plot(found)}
    items_plot(found).savefig(picture, format="png", metadata=metadata)
    write_aside(folder / "items.csv", _csv(found))
    write_aside(folder / "items.png", picture.getvalue())


def _csv(found: Sequence[Item]) -> str:
    from autograder.gradebook.exports import table_text

    head = [
        *("lesson", "exercise", "submissions", "mean_share", "low", "high", "zero_share"),
        *("full_share", "discrimination", "discrimination_low", "discrimination_high"),
        *("ran", "unwritten", "failed_kinds", "misconceptions"),
    ]
    table: list[list[Any]] = [head]
    for item in found:
        shares = [item.mean, item.low, item.high, item.zero, item.full]
        table.append(
            [
                *(item.lesson, item.exercise, item.submissions),
                *(*shares, *(item.discrimination or [None] * 3)),
                *(item.ran, item.unwritten, _listed(item.failed), _listed(item.misconceptions)),
            ]
        )
    return table_text(table, decimals=4)


def _listed(counts: dict[str, int]) -> str:
    return "; ".join(f"{name}: {count}" for name, count in counts.items())
