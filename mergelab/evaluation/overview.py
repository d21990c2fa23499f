"""The overview table: what each source can do alone, and what merges of the two can do.

One row per model on the full test suites, with 95% intervals; written as CSV and as a figure. The
recipes run at the settings they ship with; choosing those is the business of a lesson.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergelab.evaluation.measuring import Measured, Measurement
from mergelab.evaluation.results import Evaluation
from mergelab.evaluation.suites import PAIR

ITEMS = 1000  # of each suite
PAIRS = {"low conflict": "", "conflict": "_conflict"}
MERGES: dict[str, dict[str, Any]] = {
    "linear 0.5 / 0.5": {"merge_method": "linear"},
    "slerp, t 0.5": {"merge_method": "slerp", "parameters": {"t": 0.5}},
    "ties, density 0.5": {"merge_method": "ties", "parameters": {"density": 0.5}},
}


@dataclass(frozen=True)
class Row:
    """One model of the overview: the pair it belongs to, its name, its evaluation."""

    pair: str
    name: str
    evaluation: Evaluation


def measurements(split: str = "test", items: int = ITEMS) -> dict[tuple[str, str], Measurement]:
    """What to measure, by pair and name: base, adapters and merges of both shipped pairs."""
    wanted = {("", "base"): Measurement.of("base", split, items)}
    for pair, suffix in PAIRS.items():
        adapters = [f"task_api_{skill}{suffix}" for skill in PAIR]
        for adapter in adapters:
            name = f"{adapter.split('_')[2]} adapter"
            wanted[pair, name] = Measurement.of(adapter, split, items)
        for name, recipe in MERGES.items():
            whole = {**recipe, "models": [{"model": adapter} for adapter in adapters]}
            wanted[pair, name] = Measurement.of(whole, split, items)
    return wanted


def overview(
    wanted: Mapping[tuple[str, str], Measurement], found: Mapping[Measurement, Measured]
) -> list[Row]:
    """The rows of the table from what was measured."""
    return [
        Row(pair, name, found[each].evaluation(name, each.split))
        for (pair, name), each in wanted.items()
    ]


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """One line per model: rates with their intervals, and how many items and templates."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        head = ["pair", "model", "split", "items", "templates"]
        for column in ("persona", "agentic", "combined"):
            head += [column, f"{column}_low", f"{column}_high"]
        writer.writerow(head)
        for row in rows:
            skills = row.evaluation.skills
            items = sum(len(result.outcomes) for result in skills.values())
            templates = sum(
                len({outcome.item.template for outcome in result.outcomes})
                for result in skills.values()
            )
            cells = [row.pair or "both", row.name, row.evaluation.split, items, templates]
            for interval in (*(s.rate for s in skills.values()), row.evaluation.combined):
                bounds = (interval.estimate, interval.low, interval.high)
                cells += [f"{value:.4f}" for value in bounds]
            writer.writerow(cells)
