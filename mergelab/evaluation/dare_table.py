"""The table of random drops: what DARE leaves of one adapter's skill, and of a pair's.

Too long a sweep for a lesson: more than a hundred merges, several seeds for each setting. Choices
are made from it, so it is measured on the dev suites.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from mergelab.evaluation.generation import generate_replies
from mergelab.evaluation.results import SkillResult, score_replies
from mergelab.evaluation.suites import load_suite

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


def random_drops(
    chosen: Sequence[Setting] | None = None,
    *,
    limit: int | None = ITEMS,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Row]:
    """Merge and score every setting with its seeds on the dev suites.

    `limit` items of each suite; `chosen` settings only, by default all. `progress` is called with
    (settings done, settings in all, name).
    """
    todo = list(settings() if chosen is None else chosen)
    rows = []
    for done, setting in enumerate(todo):
        if progress:
            progress(done, len(todo), f"{setting.label}, density {setting.density:g}")
        rolls = [_scores(setting, seed, limit) for seed in range(setting.seeds)]
        rates = {
            skill: tuple(roll[skill].rate.estimate for roll in rolls) for skill in setting.skills
        }
        rows.append(Row(setting, rates, len(rolls[0][setting.skills[0]].outcomes)))
    return rows


def _scores(setting: Setting, seed: int, limit: int | None) -> dict[str, SkillResult]:
    """Merge with one seed and score; all prompts in one go, which is quicker for a small model."""
    from mergelab.engine import merge

    asked = {skill: load_suite(skill, "dev")[:limit] for skill in setting.skills}
    model = merge(setting.recipe(), seed=seed).load()
    replies = iter(generate_replies(*model, [item for each in asked.values() for item in each]))
    return {
        skill: score_replies(skill, items, list(islice(replies, len(items))))
        for skill, items in asked.items()
    }


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
