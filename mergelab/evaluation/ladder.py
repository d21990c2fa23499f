"""The ladder table: what growing conflict between two adapters does to each way of merging them.

The rungs are pairs of adapters that differ in one thing, the share of the other side's prompts
that each answers in its own style. Every pair was trained once, with its own seeds, so a step
between two rungs holds the luck of two trainings as well. On each rung the table holds both
adapters and the merges, at the scale that a method has by itself and at the best one of a small
grid. That scale is chosen on dev, every score in the table is on test.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mergelab.errors import UserError
from mergelab.evaluation.results import Evaluation, compare, evaluate
from mergelab.evaluation.statistics import Interval
from mergelab.evaluation.suites import PAIR
from mergelab.workers import Workers

# Own-style share in percent, and how the names of that pair end.
RUNGS = {0: "", 2: "_own02", 5: "_own05", 10: "_own10"}
TEST_ITEMS, DEV_ITEMS = 300, 150  # of each suite
# Linear at .5 / .5 is task arithmetic at lambda .5; ties by itself has lambda 1.
LAMBDAS = {
    "task_arithmetic": (0.5, 0.7, 0.85, 1.0),
    "ties": (0.7, 1.0, 1.2, 1.5),
}
DEFAULTS: dict[str, dict[str, Any]] = {
    "linear": {},
    "slerp": {"t": 0.5},
    "ties": {"density": 0.5, "lambda": 1.0},
}
SETTINGS: dict[str, dict[str, Any]] = {"task_arithmetic": {}, "ties": {"density": 0.5}}
COLUMNS = (*PAIR, "combined")


@dataclass(frozen=True)
class LadderRow:
    """One model on one rung.

    `method` is an adapter's skill or a merge method; `scale` is `alone` for an adapter, `default`
    or `best`; `lam` the lambda it was merged with. `rates` has persona, agentic and combined.
    `ties_ahead`: the combined rate of ties at the same scale minus this one, on the same items.
    The rest belongs to the pair and is equal on all rows of a rung: `opposite`, the share of
    entries that both change (top 20% of each) in opposite directions; `cosine` of the two task
    vectors; `sizes`, each one's norm over that of the base.
    """

    own_style: int
    method: str
    scale: str
    lam: float | None
    rates: dict[str, Interval]
    ties_ahead: Interval | None
    magnitude_kept: float | None
    opposite: float
    cosine: float
    sizes: tuple[float, float]


def ladder(
    *,
    rungs: Sequence[int] = tuple(RUNGS),
    limit: int | None = None,
    workers: Workers = Workers(),
    progress: Callable[[int, int, str], None] | None = None,
) -> list[LadderRow]:
    """Merge and evaluate every rung, spread over `workers`, by default in this process.

    `limit` takes the first so many items of each suite, where that is fewer than `TEST_ITEMS` and
    `DEV_ITEMS`. `progress` is called with (rungs done, rungs in all, name).

    Raises `UserError` for a rung that the ladder does not have.
    """
    unknown = [rung for rung in rungs if rung not in RUNGS]
    if unknown:
        raise UserError(f"no rung {unknown[0]}; the rungs are {', '.join(map(str, RUNGS))}")
    done = 0

    def note(place: int, rows: list[LadderRow]) -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, len(rungs), f"own style {rungs[place]}%")

    if progress and rungs:
        progress(0, len(rungs), f"own style {rungs[0]}%")
    found = workers.map(partial(_rung, limit=limit), rungs, note)
    return [row for rows in found for row in rows]


def _rung(rung: int, limit: int | None) -> list[LadderRow]:
    from mergelab.checkpoints.loading import load_model
    from mergelab.interference import inspect_models

    adapters = [f"task_api_{skill}{RUNGS[rung]}" for skill in PAIR]
    found = inspect_models(adapters).total
    measured: list[tuple[str, str, float | None, Evaluation, float | None]] = [
        (skill, "alone", None, _measure(*load_model(adapter), "test", limit), None)
        for skill, adapter in zip(PAIR, adapters, strict=True)
    ]
    measured += _merges(adapters, limit)
    ties = {scale: result for method, scale, _, result, _ in measured if method == "ties"}
    return [
        LadderRow(
            own_style=rung,
            method=method,
            scale=scale,
            lam=lam,
            rates={**{s: r.rate for s, r in result.skills.items()}, "combined": result.combined},
            ties_ahead=(
                compare(ties[scale], result)["combined"]
                if scale in ties and method != "ties"
                else None
            ),
            magnitude_kept=kept,
            opposite=found.opposite_sign,
            cosine=found.cosine or 0.0,
            sizes=found.relative_norms,
        )
        for method, scale, lam, result, kept in measured
    ]


def _merges(
    adapters: Sequence[str], limit: int | None
) -> Iterator[tuple[str, str, float | None, Evaluation, float | None]]:
    """The merges of a pair, on test: (method, scale, lambda, evaluation, magnitude kept)."""
    from mergelab.engine import merge

    def merged(method: str, parameters: dict[str, Any], split: str) -> tuple[Evaluation, Any]:
        models = [{"model": adapter} for adapter in adapters]
        made = merge({"merge_method": method, "models": models, "parameters": parameters})
        return _measure(*made.load(), split, limit), made.report.total().magnitude_kept

    for method, parameters in DEFAULTS.items():
        yield method, "default", parameters.get("lambda"), *merged(method, parameters, "test")
    for method, grid in LAMBDAS.items():
        settings = [{**SETTINGS[method], "lambda": lam} for lam in grid]
        on_dev = [merged(method, chosen, "dev")[0].combined.estimate for chosen in settings]
        best = settings[on_dev.index(max(on_dev))]  # of equals, the smallest lambda
        yield method, "best", best["lambda"], *merged(method, best, "test")


def _measure(model: Any, tokenizer: Any, split: str, limit: int | None) -> Evaluation:
    items = {"test": TEST_ITEMS, "dev": DEV_ITEMS}[split]
    return evaluate(model, tokenizer, split=split, limit=min(items, limit or items))


def write_ladder(rows: Sequence[LadderRow], path: Path) -> None:
    """Write one line per model: the rung, scores with intervals, and the figures of its pair."""
    head = ["own_style_percent", "method", "scale", "lambda"]
    for column in (*COLUMNS, "ties_ahead"):
        head += [column, f"{column}_low", f"{column}_high"]
    head += ["magnitude_kept", "opposite_signs", "cosine", *(f"{skill}_size" for skill in PAIR)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        for row in rows:
            cells: list[Any] = [row.own_style, row.method, row.scale, _cell(row.lam, "g")]
            for interval in (*(row.rates[column] for column in COLUMNS), row.ties_ahead):
                bounds = (
                    (interval.estimate, interval.low, interval.high) if interval else [None] * 3
                )
                cells += [_cell(bound) for bound in bounds]
            pair = (row.magnitude_kept, row.opposite, row.cosine, *row.sizes)
            writer.writerow([*cells, *(_cell(value) for value in pair)])


def _cell(value: float | None, form: str = ".4f") -> str:
    return "" if value is None else format(value, form)


def read_ladder(path: Path | None = None) -> list[LadderRow]:
    """Read a ladder table, by default the one that ships with the course.

    Raises `UserError` for a file that is no ladder table.

    >>> sorted({row.own_style for row in read_ladder()})
    [0, 2, 5, 10]
    """
    from mergelab.paths import data_path

    path = path or data_path("tables", "ladder.csv")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [_row(cells) for cells in csv.DictReader(file)]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: is no ladder table ({error}); make one with `mergelab tables`"
        ) from None


def _row(cells: dict[str, str]) -> LadderRow:
    def interval(column: str) -> Interval | None:
        bounds = [cells[column + end] for end in ("", "_low", "_high")]
        return Interval(*map(float, bounds)) if bounds[0] else None

    rates = {column: interval(column) for column in COLUMNS}
    if None in rates.values():
        raise ValueError("a row without scores")
    return LadderRow(
        own_style=int(cells["own_style_percent"]),
        method=cells["method"],
        scale=cells["scale"],
        lam=float(cells["lambda"]) if cells["lambda"] else None,
        rates=rates,
        ties_ahead=interval("ties_ahead"),
        magnitude_kept=float(cells["magnitude_kept"]) if cells["magnitude_kept"] else None,
        opposite=float(cells["opposite_signs"]),
        cosine=float(cells["cosine"]),
        sizes=tuple(float(cells[f"{skill}_size"]) for skill in PAIR),
    )
