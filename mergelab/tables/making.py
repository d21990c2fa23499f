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
from pathlib import Path
from typing import TYPE_CHECKING

from mergelab.errors import UserError
from mergelab.evaluation import dare_table, overview
from mergelab.evaluation.ladder import ladder, write_ladder
from mergelab.evaluation.measuring import Measured, Measurement, measure_all
from mergelab.paths import data_path
from mergelab.tables import choices, claims, layers, strategies, sweeps, three, training
from mergelab.tables.table import Table, page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mergelab.workers import Workers

Progress = Callable[[int, int, str], None]
NAMES = (
    "overview", "strategies", "ties_density", "slerp_linear", "scale", "dare", "interference",
    "three_way", "ladder", "claims",
)  # fmt: skip
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


class _Making:
    """One run."""

    def __init__(self, names: Sequence[str], settings: Settings, work: Path) -> None:
        self.names, self.settings = names, settings
        self.kept, self.seeds = work / "measured.jsonl", work / "seeds"
        self.aside = work / "files"
        shutil.rmtree(self.aside, ignore_errors=True)
        self.aside.mkdir()
        self.tables: dict[str, Table] = {}
        self.figures: dict[str, Figure] = {}

    def wants(self, *names: str) -> bool:
        return any(name in self.names for name in names)

    def run(self) -> None:
        full = self.settings.full
        chosen = self._choices() if full or self.wants("strategies", "claims") else {}
        items = self.settings.items
        rows = density = path = scale = merged = general = drops = None
        wanted: list[Measurement] = []
        if self.wants("strategies", "claims"):
            rows = list(strategies.entries(chosen, items(strategies.TEST_ITEMS)))
            wanted += [each for row in rows for each in row.measurements]
        if self.wants("ties_density", "claims"):
            density = sweeps.density_measurements(items(strategies.TEST_ITEMS))
            wanted += density.values()
        if self.wants("slerp_linear"):
            path = sweeps.path_measurements(items(strategies.TEST_ITEMS))
            wanted += path.values()
        if self.wants("scale"):
            scale = sweeps.scale_measurements(items(sweeps.CURVE_ITEMS))
            wanted += scale.values()
        if self.wants("three_way"):
            merged = three.three_measurements(self.settings.limit)
            wanted += merged.values()
        if self.wants("overview"):
            general = overview.measurements(items=items(overview.ITEMS))
            wanted += general.values()
        if self.wants("dare", "claims"):
            drops = dare_table.measurements(items=items(dare_table.ITEMS))
            wanted += [each for rolls in drops.values() for each in rolls]
        found = self._measure(wanted)

        from mergelab.notebook import table_plots

        if general is not None:
            self._overview(overview.overview(general, found), general, found)
        if rows is not None and self.wants("strategies"):
            table = strategies.strategy_table(rows, found)
            every = [each for row in rows for each in row.measurements]
            self._add(table, found, every, table_plots.strategies_plot(table))
        if density is not None and self.wants("ties_density"):
            table = sweeps.density_table(density, found)
            self._add(table, found, density.values(), table_plots.density_plot(table))
        if path is not None:
            table = sweeps.path_table(path, found)
            self._add(table, found, path.values(), table_plots.path_plot(table))
        if scale is not None:
            table = sweeps.scale_table(scale, found)
            self._add(table, found, scale.values(), table_plots.scale_plot(table))
        interference = None
        if self.wants("interference", "claims"):
            interference = layers.interference_table()
            if self.wants("interference"):
                self._add(interference, figure=table_plots.interference_plot(interference))
        if merged is not None:
            table = three.three_table(merged, found)
            self._add(table, found, merged.values(), table_plots.three_plot(table))
        dropped = dare_table.random_drops(drops, found) if drops is not None else []
        if drops is not None and self.wants("dare"):
            self._drops(dropped, drops, found)
        if self.wants("ladder"):
            self._ladder()
        if self.wants("claims") and rows and density and interference:
            scores = strategies.evaluations(rows, found) | {
                (pair, f"ties, density {value:g}", claims.DEFAULT): found[each].evaluation(
                    "", "test"
                )
                for (pair, value), each in density.items()
            }
            self._add(claims.claims_table(claims.Findings(scores, interference, dropped)))
        if full:
            self._training(chosen)
        if set(self.names) == set(NAMES):
            listed = [self.tables[name] for name in (*NAMES, "training") if name in self.tables]
            self._write(PAGE, page(listed))

    def _choices(self) -> dict[tuple[str, str], float]:
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

    def _add(
        self,
        table: Table,
        found: Mapping[Measurement, Measured] | None = None,
        measurements: Iterable[Measurement] = (),
        figure: Figure | None = None,
    ) -> None:
        self.tables[table.name] = table
        self._write(f"{table.name}.csv", table.csv())
        self._write(f"{table.name}.md", table.markdown())
        if figure is not None:
            figure.savefig(self.aside / table.figure, metadata={"Software": None})
        if found is not None:
            self._write(f"{table.name}_items.csv", _items_csv(measurements, found))

    def _overview(
        self,
        rows: Sequence[overview.Row],
        wanted: Mapping[tuple[str, str], Measurement],
        found: Mapping[Measurement, Measured],
    ) -> None:
        from mergelab.notebook.overview_plot import overview_plot

        overview.write_csv(rows, self.aside / "overview.csv")
        overview_plot(rows).savefig(self.aside / "overview.png", metadata={"Software": None})
        self._write("overview_items.csv", _items_csv(wanted.values(), found))
        self._add_written(
            "overview", "Sources and merges at a glance", keys=2, figure="overview.png",
            caption="Full test suites, recipes as they ship, 95% intervals.",
            alt="Rates on both skills for base, adapters and merges, a panel for each pair.",
        )  # fmt: skip

    def _drops(
        self,
        rows: Sequence[dare_table.Row],
        wanted: Mapping[dare_table.Setting, Sequence[Measurement]],
        found: Mapping[Measurement, Measured],
    ) -> None:
        dare_table.write_drops(rows, self.aside / "dare.csv")
        every = [each for rolls in wanted.values() for each in rolls]
        self._write("dare_items.csv", _items_csv(every, found))
        self._add_written(
            "dare", "Random drops (DARE)", keys=5,
            caption=(
                f"{rows[0].items} dev items a skill. Mean, standard deviation (spread) and "
                "extremes over the seeds; a setting with nothing dropped has one."
            ),
        )  # fmt: skip

    def _ladder(self) -> None:
        rows = ladder(
            limit=self.settings.limit,
            workers=self.settings.workers,
            progress=self.settings.progress,
        )
        write_ladder(rows, self.aside / "ladder.csv")
        self._add_written(
            "ladder", "The ladder of conflict", keys=4,
            caption=(
                "Pairs trained with a growing share of the other side's prompts answered in their "
                "own style. Test items, scales chosen on dev, 95% intervals; every pair was "
                "trained once. Ties ahead: the combined score of ties at the same scale minus the "
                "row's."
            ),
        )  # fmt: skip

    def _training(self, chosen: strategies.Choices) -> None:
        folders = training.train_again(self.seeds, self.settings.progress)
        items = self.settings.items(strategies.TEST_ITEMS)
        runs = {
            seed: list(strategies.entries(chosen, items, folder))
            for seed, folder in {0: "", **folders}.items()
        }
        wanted = [each for rows in runs.values() for row in rows for each in row.measurements[:1]]
        self._add(training.training_table(runs, self._measure(wanted)))

    def _add_written(self, name: str, title: str, **more: object) -> None:
        """A table whose CSV has its own module: the other forms come from that file."""
        with (self.aside / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            head, *rows = csv.reader(file)
        cells = tuple(tuple(_short(cell) for cell in row) for row in rows)
        table = Table(name=name, title=title, columns=tuple(head), rows=cells, **more)  # type: ignore[arg-type]
        self.tables[name] = table
        self._write(f"{name}.md", table.markdown())

    def _write(self, name: str, text: str) -> None:
        (self.aside / name).write_text(text, encoding="utf-8")


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
