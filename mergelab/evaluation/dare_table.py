"""The table of random drops: what DARE leaves of one adapter's skill, and of a pair's.

Too long a sweep for a lesson: more than a hundred merges, several seeds for each setting. Choices
are made from it, so it is measured on the dev suites.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from mergelab.evaluation.measuring import Measured, Measurement

PERSONA, AGENTIC = ADAPTERS = ("task_api_persona", "task_api_agentic")
ITEMS = 80
SINGLE = (0.5, 0.3, 0.1, 0.05, 0.01)
PAIR = (0.1, 0.2, 0.3, 0.4, 0.5)
# An adapter made this many times as large, to see how its size bears on the drop.
LARGER = 2.0
# The scale at which each method does well with nothing dropped.
PAIR_SCALES = {"dare_linear": 0.85, "dare_ties": 1.0}
HEAD = ["models", "method", "scale", "rescale", "density", "skill", "items", "seeds"]
HEAD += ["mean", "spread", "low", "high"]


@dataclass(frozen=True)
class Setting:
    """One merge to be rolled several times; `scale` multiplies the merged change (lambda)."""

    sources: tuple[str, ...]
    method: str
    density: float
    scale: float = 1.0
    rescale: bool = True
    seeds: int = 3

    @property
    def label(self) -> str:
        """How the table calls what is merged: persona, agentic or pair."""
        return "pair" if len(self.sources) > 1 else self.sources[0].split("_")[2]

    @property
    def skills(self) -> tuple[str, ...]:
        return tuple(source.split("_")[2] for source in self.sources)

    def recipe(self) -> dict[str, Any]:
        return {
            "merge_method": self.method,
            "base_model": "base",
            "models": [{"model": source} for source in self.sources],
            "parameters": {
                "density": self.density,
                "lambda": self.scale,
                "rescale": self.rescale,
            },
            "dtype": "float32",
        }


@dataclass(frozen=True)
class Row:
    """A setting and, for each of its skills, the rate of every roll, seed by seed."""

    setting: Setting
    rates: dict[str, tuple[float, ...]]
    items: int


def settings() -> Iterator[Setting]:
    """Every setting of the table, those with nothing dropped first; these need one roll only."""
    for adapter in ADAPTERS:
        one = (adapter,)
        yield Setting(one, "dare_linear", 1.0, seeds=1)
        for density in SINGLE:
            yield Setting(one, "dare_linear", density)
        for density in SINGLE[:3]:
            yield Setting(one, "dare_linear", density, rescale=False)
        yield Setting(one, "dare_linear", 1.0, LARGER, seeds=1)
        for density in SINGLE[:3]:
            yield Setting(one, "dare_linear", density, LARGER)
    for method, scale in PAIR_SCALES.items():
        yield Setting(ADAPTERS, method, 1.0, scale, seeds=1)
        for density in PAIR:
            yield Setting(ADAPTERS, method, density, scale, seeds=5)


def measurements(
    chosen: Sequence[Setting] | None = None, items: int = ITEMS
) -> dict[Setting, list[Measurement]]:
    """One measurement for each seed of every setting, by default of all, on the dev suites."""
    return {
        setting: [
            Measurement.of(setting.recipe(), "dev", items, skills=setting.skills, seed=seed)
            for seed in range(setting.seeds)
        ]
        for setting in (settings() if chosen is None else chosen)
    }


def random_drops(
    wanted: Mapping[Setting, Sequence[Measurement]], found: Mapping[Measurement, Measured]
) -> list[Row]:
    """The rows of the table from what was measured."""
    rows = []
    for setting, rolls in wanted.items():
        rates = {
            skill: tuple(_share(found[roll].right[skill]) for roll in rolls)
            for skill in setting.skills
        }
        rows.append(Row(setting, rates, len(found[rolls[0]].right[setting.skills[0]])))
    return rows


def _share(right: str) -> float:
    return right.count("1") / len(right)


def write_drops(rows: Sequence[Row], path: Path) -> None:
    """One line per setting and skill: the mean over the seeds, their spread, and the extremes."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEAD)
        for row in rows:
            setting = row.setting
            for skill, rates in row.rates.items():
                spread = f"{stdev(rates):.4f}" if len(rates) > 1 else ""
                numbers = [f"{value:.4f}" for value in (mean(rates), min(rates), max(rates))]
                writer.writerow(
                    [
                        setting.label,
                        setting.method,
                        f"{setting.scale:g}",
                        "yes" if setting.rescale else "no",
                        f"{setting.density:g}",
                        skill,
                        row.items,
                        len(rates),
                        numbers[0],
                        spread,
                        *numbers[1:],
                    ]
                )
