"""Makes the tables that are asked for: measures what they need, once, and writes them at the end.

Nothing is replaced before everything is there. What is measured is kept aside meanwhile, so that a
run that was killed goes on where it stopped.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mergelab.errors import UserError
from mergelab.evaluation import dare_table, overview
from mergelab.evaluation.ladder import ladder, write_ladder
from mergelab.evaluation.measuring import Measured, Measurement, measure_all
from mergelab.paths import data_path
from mergelab.tables import choices, claims, layers, strategies, sweeps, three, training
from mergelab.tables.table import Table, page

if TYPE_CHECKING:
    from mergelab.workers import Workers

Progress = Callable[[int, int, str], None]
Found = Mapping[Measurement, Measured]
PAGE = "index.html"
_WORK = ".measuring"


@dataclass(frozen=True)
class Settings:
    """How to make them: where, with which workers, on how many items of each suite at most.

    `full` chooses the scales again and trains the adapters again with other seeds.
    """

    out: Path
    workers: Workers
    limit: int | None = None
    full: bool = False
    progress: Progress = lambda done, total, name: None

    def items(self, usual: int) -> int:
        return min(usual, self.limit or usual)


def make_tables(names: Sequence[str], settings: Settings) -> list[str]:
    """Make the named tables, all by default; returns the names of the files written.

    Raises `UserError` for an unknown name and for a folder that cannot be written to.
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise UserError(f"{unknown[0]}: no such table; there are {', '.join(NAMES)}")
    work = settings.out / _WORK
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {settings.out}: cannot be created ({error.strerror})") from None
    making = _Making(tuple(dict.fromkeys(names)) or NAMES, settings, work)
    making.run()
    files = sorted(path.name for path in making.aside.iterdir())
    for name in files:
        os.replace(making.aside / name, settings.out / name)
    shutil.rmtree(work)
    return files


@dataclass(frozen=True)
class _Part:
    """One table: what it needs measured, and what writes it from that."""

    wanted: Iterable[Measurement]
    write: Callable[[Found], None]


class _Making:
    """One run. Each table has a method that returns its part; a scale is chosen only if needed."""

    def __init__(self, names: Sequence[str], settings: Settings, work: Path) -> None:
        self.names, self.settings = names, settings
        self.kept, self.seeds = work / "measured.jsonl", work / "seeds"
        self.aside = work / "files"
        shutil.rmtree(self.aside, ignore_errors=True)
        self.aside.mkdir()
        self.tables: dict[str, Table] = {}

    def run(self) -> None:
        if self.settings.full:
            self.chosen  # noqa: B018  (chosen before any test item is read)
        parts = [_PARTS[name](self) for name in self.names]
        found = self._measure(each for part in parts for each in part.wanted)
        for part in parts:
            part.write(found)
        if self.settings.full:
            self._training()
        if set(self.names) == set(NAMES):
            listed = [self.tables[name] for name in (*NAMES, "training") if name in self.tables]
            self._write(PAGE, page(listed))

    def strategies(self) -> _Part:
        rows = self._rows()
        wanted = [each for row in rows for each in row.measurements]
        return self._part(
            wanted, lambda found: strategies.strategy_table(rows, found), "strategies_plot"
        )

    def ties_density(self) -> _Part:
        wanted = self._densities()
        return self._part(
            wanted.values(), lambda found: sweeps.density_table(wanted, found), "density_plot"
        )

    def slerp_linear(self) -> _Part:
        wanted = sweeps.path_measurements(self.settings.items(strategies.TEST_ITEMS))
        return self._part(
            wanted.values(), lambda found: sweeps.path_table(wanted, found), "path_plot"
        )

    def scale(self) -> _Part:
        wanted = sweeps.scale_measurements(self.settings.items(sweeps.CURVE_ITEMS))
        return self._part(
            wanted.values(), lambda found: sweeps.scale_table(wanted, found), "scale_plot"
        )

    def three_way(self) -> _Part:
        wanted = three.three_measurements(self.settings.limit)
        return self._part(
            wanted.values(), lambda found: three.three_table(wanted, found), "three_plot"
        )

    def interference(self) -> _Part:
        return self._part((), lambda found: self.interferences, "interference_plot")

    def claims(self) -> _Part:
        rows, densities, drops = self._rows(), self._densities(), self._drops()

        def findings(found: Found) -> claims.Findings:
            scores = strategies.evaluations(rows, found)
            for (pair, value), each in densities.items():
                key = (pair, f"ties, density {value:g}", claims.DEFAULT)
                scores[key] = found[each].evaluation("ties", "test")
            return claims.Findings(
                scores, self.interferences, dare_table.random_drops(drops, found)
            )

        wanted = [each for row in rows for each in row.measurements]
        wanted += [*densities.values(), *(each for rolls in drops.values() for each in rolls)]
        return _Part(wanted, lambda found: self._add(claims.claims_table(findings(found))))

    def overview(self) -> _Part:
        wanted = overview.measurements(items=self.settings.items(overview.ITEMS))

        def write(found: Found) -> None:
            from mergelab.notebook.overview_plot import overview_plot

            rows = overview.overview(wanted, found)
            overview.write_csv(rows, self.aside / "overview.csv")
            overview_plot(rows).savefig(self.aside / "overview.png", metadata={"Software": None})
            self._write("overview_items.csv", _items_csv(wanted.values(), found))
            self._add_written(
                name="overview",
                title="Sources and merges at a glance",
                keys=2,
                figure="overview.png",
                caption="Full test suites, recipes as they ship, 95% intervals.",
                alt="Rates on both skills for base, adapters and merges, a panel for each pair.",
            )

        return _Part(wanted.values(), write)

    def dare(self) -> _Part:
        wanted = self._drops()
        every = [each for rolls in wanted.values() for each in rolls]

        def write(found: Found) -> None:
            rows = dare_table.random_drops(wanted, found)
            dare_table.write_drops(rows, self.aside / "dare.csv")
            self._write("dare_items.csv", _items_csv(every, found))
            self._add_written(
                name="dare",
                title="Random drops (DARE)",
                keys=5,
                caption=(
                    f"{rows[0].items} dev items a skill. Mean, standard deviation (spread) and "
                    "extremes over the seeds; a setting with nothing dropped has one."
                ),
            )

        return _Part(every, write)

    def ladder(self) -> _Part:
        def write(found: Found) -> None:
            settings = self.settings
            rows = ladder(
                limit=settings.limit, workers=settings.workers, progress=settings.progress
            )
            write_ladder(rows, self.aside / "ladder.csv")
            self._add_written(
                name="ladder",
                title="The ladder of conflict",
                keys=4,
                caption=(
                    "Pairs trained with a growing share of the other side's prompts answered in "
                    "their own style. Test items, scales chosen on dev, 95% intervals; every pair "
                    "was trained once. Ties ahead: the combined score of ties at the same scale "
                    "minus the row's."
                ),
            )

        return _Part((), write)

    def _rows(self) -> list[strategies.Entry]:
        return list(strategies.entries(self.chosen, self.settings.items(strategies.TEST_ITEMS)))

    def _densities(self) -> dict[tuple[str, float], Measurement]:
        return sweeps.density_measurements(self.settings.items(strategies.TEST_ITEMS))

    def _drops(self) -> dict[dare_table.Setting, list[Measurement]]:
        return dare_table.measurements(items=self.settings.items(dare_table.ITEMS))

    @cached_property
    def interferences(self) -> Table:
        return layers.interference_table()

    def _part(
        self, wanted: Iterable[Measurement], table: Callable[[Found], Table], plot: str
    ) -> _Part:
        """A table with a figure; `plot` is the name of what draws it."""
        every = list(wanted)

        def write(found: Found) -> None:
            from mergelab.notebook import table_plots

            made = table(found)
            self._add(made)
            if every:
                self._write(f"{made.name}_items.csv", _items_csv(every, found))
            figure = getattr(table_plots, plot)(made)
            figure.savefig(self.aside / made.figure, metadata={"Software": None})

        return _Part(every, write)

    @cached_property
    def chosen(self) -> dict[tuple[str, str], float]:
        if not self.settings.full:
            place = self.settings.out / choices.FILE
            return choices.read_choices(
                place if place.is_file() else data_path("tables", choices.FILE)
            )
        trials = strategies.trials(self.settings.items(strategies.DEV_ITEMS))
        found = self._measure(trials.values())
        tried = {key: found[each] for key, each in trials.items()}
        self._write(choices.FILE, choices.choices_csv(tried))
        return strategies.choose(tried)

    def _measure(self, wanted: Iterable[Measurement]) -> dict[Measurement, Measured]:
        return measure_all(
            wanted, self.settings.workers, kept=self.kept, progress=self.settings.progress
        )

    def _add(self, table: Table) -> None:
        self.tables[table.name] = table
        self._write(f"{table.name}.csv", table.csv())
        self._write(f"{table.name}.md", table.markdown())

    def _training(self) -> None:
        folders = training.train_again(self.seeds, self.settings.progress)
        items = self.settings.items(strategies.TEST_ITEMS)
        runs = {
            seed: list(strategies.entries(self.chosen, items, folder))
            for seed, folder in {0: "", **folders}.items()
        }
        wanted = [each for rows in runs.values() for row in rows for each in row.measurements[:1]]
        self._add(training.training_table(runs, self._measure(wanted)))

    def _add_written(self, name: str, **about: Any) -> None:
        """A table whose CSV has its own module: the other forms come from that file."""
        with (self.aside / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            head, *rows = csv.reader(file)
        cells = tuple(tuple(_short(cell) for cell in row) for row in rows)
        table = Table(name=name, columns=tuple(head), rows=cells, **about)
        self.tables[name] = table
        self._write(f"{name}.md", table.markdown())

    def _write(self, name: str, text: str) -> None:
        (self.aside / name).write_text(text, encoding="utf-8")


_PARTS: dict[str, Callable[[_Making], _Part]] = {
    "overview": _Making.overview,
    "strategies": _Making.strategies,
    "ties_density": _Making.ties_density,
    "slerp_linear": _Making.slerp_linear,
    "scale": _Making.scale,
    "dare": _Making.dare,
    "interference": _Making.interference,
    "three_way": _Making.three_way,
    "ladder": _Making.ladder,
    "claims": _Making.claims,
}
NAMES = tuple(_PARTS)


def _short(cell: str) -> str:
    """A number of four decimals with three, for reading."""
    return f"{float(cell):.3f}" if cell.count(".") == 1 and len(cell.split(".")[1]) == 4 else cell


def _items_csv(wanted: Iterable[Measurement], found: Mapping[Measurement, Measured]) -> str:
    """Which items each model got right, as a string of 0 and 1 in the order of the suite."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["model", "seed", "split", "skill", "right"])
    for each in dict.fromkeys(wanted):
        for skill, right in found[each].right.items():
            writer.writerow([_model(each.model), each.seed, each.split, skill, right])
    return text.getvalue()


def _model(text: str) -> str:
    """A recipe in few words: method, models with their weights, parameters."""
    if not text.startswith("{"):
        return text
    recipe = json.loads(text)
    sources = [
        source["model"] + (f"*{source['parameters']['weight']:g}" if "parameters" in source else "")
        for source in recipe["models"]
    ]
    settings = [f"{name} {value}" for name, value in recipe.get("parameters", {}).items()]
    return f"{recipe['merge_method']}({', '.join([*sources, *settings])})"
