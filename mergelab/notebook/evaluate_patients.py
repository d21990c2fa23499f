"""Three merges that went wrong, for a diagnosis from scores, report and replies."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from mergelab.evaluation.results import Evaluation, SkillResult
from mergelab.notebook.experiments import recipe
from mergelab.notebook.tables import Table

_DRAWER: dict[str, tuple[tuple[float, float], str]] = {
    "merge A": (
        (0.3, 0.3),
        "the sum of both task vectors times .3: the right mixture, far too small",
    ),
    "merge B": (
        (2.0, 2.0),
        "the sum of both task vectors times 2: the right mixture, far too large",
    ),
    "merge C": (
        (0.1, 1.0),
        "weights .1 and 1.0, the wrong way round for somebody who wanted more persona",
    ),
}


def patients() -> dict[str, dict[str, Any]]:
    """The recipes of three merges of the first pair that went wrong, by name.

    >>> list(patients())
    ['merge A', 'merge B', 'merge C']
    """
    return {
        name: recipe("task_arithmetic", weights=weights) for name, (weights, _) in _DRAWER.items()
    }


def causes() -> Table:
    """What was done to each of them."""
    rows = [[name, cause] for name, (_, cause) in _DRAWER.items()]
    return Table(["", "what was done"], rows, text_columns=(1,))


def symptoms_table(evaluations: Mapping[str, tuple[Evaluation, float]]) -> Table:
    """Strict and partial scores, the size of the merge, and the commonest reason for a wrong reply.

    `evaluations` maps a merge to its evaluation and its size (magnitude kept).
    """
    rows = []
    for name, (evaluation, size) in evaluations.items():
        cells = [name, f"{size:.2f}"]
        for result in evaluation.skills.values():
            cells.append(f"{result.rate.estimate:.2f} ({result.partial:.2f})")
            cells.append(common_reason(result))
        rows.append(cells)
    skills = next(iter(evaluations.values()))[0].skills
    columns = ["", "size"]
    for skill in skills:
        columns += [f"{skill}: strict (partial)", "most wrong replies"]
    return Table(columns, rows, text_columns=(3, 5))


def common_reason(result: SkillResult) -> str:
    """The reason that most wrong replies share, with its share of all replies.

    What is particular to an item (names, values) is left out.
    """
    said = [_general(outcome.score.reason) for outcome in result.failures()]
    if not said:
        return "none wrong"
    reason, count = Counter(said).most_common(1)[0]
    return f"{reason}: {count / len(result.outcomes):.0%}"


def _general(reason: str) -> str:
    reason = re.sub(r"shows (nothing )?(\w+)(?=$| once|,)", r"shows \1…", reason)
    reason = re.sub(r"\s*('[^']*'|\"[^\"]*\"|\b\d+\b)", " …", reason)
    return reason.replace("shows nothing …", "shows no trait")
