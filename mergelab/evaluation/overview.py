"""The overview table: what each source can do alone, and what merges of the two can do.

One row per model on the full test suites, with 95% intervals; written as CSV and as a figure. The
recipes run at the settings they ship with; choosing those is the business of a lesson.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergelab.evaluation.results import Evaluation, evaluate

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


def overview(
    *,
    split: str = "test",
    limit: int | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Row]:
    """Evaluate base, adapters and merges of both shipped pairs on the suites of `split`.

    `limit` takes the first so many items of each suite. `progress` is called with (models done,
    models in all, name).
    """
    rows = []
    models = list(_models())
    for done, (pair, name, load) in enumerate(models):
        if progress:
            progress(done, len(models), name)
        model, tokenizer = load()
        rows.append(
            Row(pair, name, evaluate(model, tokenizer, split=split, limit=limit, name=name))
        )
    return rows


def _models() -> Iterator[tuple[str, str, Callable[[], tuple[Any, Any]]]]:
    from mergelab.checkpoints.loading import load_model
    from mergelab.engine import merge

    yield "", "base", lambda: load_model("base")
    for pair, suffix in PAIRS.items():
        adapters = [f"task_api_{skill}{suffix}" for skill in ("persona", "agentic")]
        for adapter in adapters:
            yield pair, f"{adapter.split('_')[2]} adapter", lambda a=adapter: load_model(a)
        for name, recipe in MERGES.items():
            whole = {**recipe, "models": [{"model": adapter} for adapter in adapters]}
            yield pair, name, lambda recipe=whole: merge(recipe).load()


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
