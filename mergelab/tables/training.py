"""The spread over training: both pairs trained again with other seeds, and merged the same way.

The intervals of the other tables hold for the adapters that ship. How much another training of the
same adapters would have changed is another question, and this is its answer.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

from mergelab.evaluation.measuring import Measured, Measurement
from mergelab.paths import data_path
from mergelab.tables.strategies import PAIRS, Entry, adapters
from mergelab.tables.table import Table

MORE_SEEDS = (100, 200)  # added to the seed that an adapter ships with
PROCESSES = 2


def train_again(
    folder: Path, progress: Callable[[int, int, str], None] = lambda *_: None
) -> dict[int, str]:
    """Train both pairs with every other seed; returns the folder of adapters for each.

    An adapter that is there already is not trained again.
    """
    from mergelab.zoo.models import ADAPTERS

    names = [name for pair in PAIRS for name in adapters(pair).values()]
    jobs = [
        (replace(adapter, seed=adapter.seed + more), folder / f"seed{more}" / adapter.name)
        for more in MORE_SEEDS
        for adapter in ADAPTERS
        if adapter.name in names
    ]
    missing = [job for job in jobs if not job[1].is_dir()]
    pool = ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn"))
    with pool:
        for done, name in enumerate(pool.map(_train, missing)):
            progress(len(jobs) - len(missing) + done + 1, len(jobs), f"training {name}")
    return {more: str(folder / f"seed{more}") for more in MORE_SEEDS}


def _train(job: tuple) -> str:  # type: ignore[type-arg]
    from mergelab.zoo.models import build_adapter, prepare_libraries

    adapter, out = job
    prepare_libraries()
    aside = out.with_name(f".{out.name}.partial")
    build_adapter(adapter, data_path("models", "base"), aside, report=lambda line: None)
    aside.rename(out)
    return f"{adapter.name}, seed {adapter.seed}"


def training_table(
    runs: Mapping[int, Sequence[Entry]], found: Mapping[Measurement, Measured]
) -> Table:
    """Each row's combined score for every training, their mean and range.

    `runs` maps what was added to the seeds to the rows of the main table; 0 is what ships.
    """
    scores: dict[tuple[str, str, str], list[float]] = {}
    for rows in runs.values():
        for row in rows:
            if row.name != "base":
                result = found[row.measurements[0]].evaluation(row.name, "test")
                key = (row.pair, row.name, row.setting)
                scores.setdefault(key, []).append(result.combined.estimate)
    first = next(iter(runs.values()))
    items = len(next(iter(found[first[0].measurements[0]].right.values())))
    return Table(
        name="training",
        title="The spread over training",
        caption=(
            f"Combined score on {items} test items a skill for {len(runs)} trainings of both "
            f"pairs, the shipped one first; the seeds of the others are "
            f"{' and '.join(map(str, MORE_SEEDS))} higher. Scales as chosen for the shipped pair. "
            "Range: the largest minus the smallest."
        ),
        columns=(
            "pair",
            "model",
            "setting",
            *(f"training {n + 1}" for n in range(len(runs))),
            "mean",
            "range",
        ),
        rows=tuple(
            (*key, *values, sum(values) / len(values), max(values) - min(values))
            for key, values in scores.items()
        ),
        keys=3,
    )
