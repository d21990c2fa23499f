"""The main table: every strategy on both pairs, at its default scale and at its best one.

A merged change that is too small or too large hides what a method does, so each method that has a
scale (lambda) is shown twice. The best scale is chosen on dev items and kept in
`data/tables/choices.csv`; every score is on test items.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mergelab.evaluation.leads import holm, lead, p_value
from mergelab.evaluation.measuring import Measured, Measurement
from mergelab.evaluation.results import Evaluation, paired_skills
from mergelab.evaluation.statistics import LEVEL
from mergelab.evaluation.suites import PAIR
from mergelab.tables.table import Table

PAIRS = {"low conflict": "", "conflict": "_conflict"}
TEST_ITEMS, DEV_ITEMS = 300, 300  # of each suite
SEEDS = 3  # for a method that draws at random
BASELINE = "linear"
SUMS = (0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.2)
MEANS = (0.7, 0.85, 1.0, 1.2, 1.5, 1.8)


@dataclass(frozen=True)
class Strategy:
    """A method with the settings that stay, and the scales that are tried on dev."""

    name: str
    method: str
    settings: dict[str, Any] = field(default_factory=dict)
    scales: tuple[float, ...] = ()
    random: bool = False

    @property
    def seeds(self) -> range:
        return range(SEEDS if self.random else 1)

    def recipe(self, pair: str, scale: float | None = None, folder: str = "") -> dict[str, Any]:
        """The recipe that merges a pair; None is the method's own scale.

        `folder` holds adapters of the same names from another training.
        """
        scaled = {} if scale is None else {"lambda": scale}
        return {
            "merge_method": self.method,
            "base_model": "base",
            "models": [{"model": adapter} for adapter in adapters(pair, folder).values()],
            "parameters": {**self.settings, **scaled},
            "dtype": "float32",
        }


STRATEGIES: dict[str, Strategy] = {
    each.name: each
    for each in (
        Strategy("linear", "linear", {"space": "weights"}),
        Strategy("slerp of weights", "slerp", {"t": 0.5, "space": "weights"}),
        Strategy("slerp of task vectors", "slerp", {"t": 0.5, "space": "task_vectors"}),
        Strategy("task arithmetic", "task_arithmetic", {}, SUMS),
        Strategy("ties", "ties", {"density": 0.5}, MEANS),
        Strategy("dare_linear", "dare_linear", {"density": 0.5}, SUMS, random=True),
        Strategy("dare_ties", "dare_ties", {"density": 0.5}, MEANS, random=True),
        Strategy("della", "della", {"density": 0.5}, MEANS, random=True),
        Strategy("tsv_merge", "tsv_merge", {}, SUMS),
        Strategy("iso_c", "iso_c", {}, MEANS),
        Strategy("knots_ties", "knots_ties", {"density": 0.5}, MEANS),
        Strategy("core_space ties", "core_space", {"method": "ties", "density": 0.5}, MEANS),
    )
}
Choices = Mapping[tuple[str, str], float]


def adapters(pair: str, folder: str = "") -> dict[str, str]:
    """The adapters of a pair by skill.

    >>> adapters("conflict")["persona"]
    'task_api_persona_conflict'
    """
    start = f"{folder}/" if folder else ""
    return {skill: f"{start}task_api_{skill}{PAIRS[pair]}" for skill in PAIR}


def trials(items: int = DEV_ITEMS) -> dict[tuple[str, str, float], Measurement]:
    """The dev measurements among which a scale is chosen: by pair, strategy and scale."""
    return {
        (pair, each.name, scale): Measurement.of(each.recipe(pair, scale), "dev", items)
        for pair in PAIRS
        for each in STRATEGIES.values()
        for scale in each.scales
    }


def choose(found: Mapping[tuple[str, str, float], Measured]) -> dict[tuple[str, str], float]:
    """The scale with the best combined dev score for each pair and strategy; of equals the first.

    >>> low, high = Measured({"persona": "01"}), Measured({"persona": "11"})
    >>> choose({("low conflict", "ties", 1.0): low, ("low conflict", "ties", 1.2): high})
    {('low conflict', 'ties'): 1.2}
    """
    best: dict[tuple[str, str], tuple[float, float]] = {}
    for (pair, name, scale), measured in found.items():
        shares = [right.count("1") / len(right) for right in measured.right.values()]
        score = sum(shares) / len(shares)
        if (pair, name) not in best or score > best[pair, name][0]:
            best[pair, name] = (score, scale)
    return {key: scale for key, (_, scale) in best.items()}


@dataclass(frozen=True)
class Entry:
    """A row to be: its pair, its name, how it is scaled, and a measurement for each seed."""

    pair: str
    name: str
    setting: str
    scale: float | None
    measurements: tuple[Measurement, ...]


def entries(choices: Choices, items: int = TEST_ITEMS, folder: str = "") -> Iterator[Entry]:
    """Every row of the table, base and adapters first; `folder` holds adapters of another training.

    A strategy without a choice has no scale, and its default only.
    """

    def measured(model: Any, seeds: range = range(1)) -> tuple[Measurement, ...]:
        return tuple(Measurement.of(model, "test", items, seed=seed) for seed in seeds)

    if not folder:
        yield Entry("both", "base", "alone", None, measured("base"))
    for pair in PAIRS:
        for skill, adapter in adapters(pair, folder).items():
            yield Entry(pair, f"{skill} adapter", "alone", None, measured(adapter))
        for each in STRATEGIES.values():
            default = measured(each.recipe(pair, None, folder), each.seeds)
            yield Entry(pair, each.name, "default", None, default)
            scale = choices.get((pair, each.name))
            if scale is not None:
                best = measured(each.recipe(pair, scale, folder), each.seeds)
                yield Entry(pair, each.name, "best on dev", scale, best)


def evaluations(
    rows: list[Entry], found: Mapping[Measurement, Measured]
) -> dict[tuple[str, str, str], Evaluation]:
    """The evaluation of each row's first seed, by pair, name and setting."""
    return {
        (row.pair, row.name, row.setting): found[row.measurements[0]].evaluation(row.name, "test")
        for row in rows
    }


def strategy_table(rows: list[Entry], found: Mapping[Measurement, Measured]) -> Table:
    """Scores with intervals, the spread over seeds, and each merge's lead over the plain average.

    The leads of a pair are tested item by item and corrected together (Holm).
    """
    scores = evaluations(rows, found)
    leads: dict[int, tuple[Any, float]] = {}
    for pair in PAIRS:
        places = [
            place
            for place, row in enumerate(rows)
            if row.pair == pair and row.setting != "alone" and row.name != BASELINE
        ]
        against = scores[pair, BASELINE, "default"]
        compared = [
            paired_skills(scores[rows[place].pair, rows[place].name, rows[place].setting], against)
            for place in places
        ]
        corrected = holm([p_value(each) for each in compared])
        for place, each, p in zip(places, compared, corrected, strict=True):
            leads[place] = (lead(each), p)
    cells = []
    for place, row in enumerate(rows):
        result = scores[row.pair, row.name, row.setting]
        ahead, p = leads.get(place, (None, None))
        combined = [
            found[each].evaluation(row.name, "test").combined.estimate for each in row.measurements
        ]
        cells.append(
            (
                row.pair,
                row.name,
                row.setting,
                row.scale,
                *(skill.rate for skill in result.skills.values()),
                result.combined,
                len(combined),
                max(combined) - min(combined) if len(combined) > 1 else None,
                found[row.measurements[0]].size,
                ahead,
                None if p is None else p_text(p),
                "" if p is None else verdict(ahead.estimate, p),
            )
        )
    items = len(next(iter(found[rows[0].measurements[0]].right.values())))
    return Table(
        name="strategies",
        title="Strategies, at their default and at their best scale",
        caption=(
            f"{items} test items a skill, 95% intervals over items and templates. Scales: chosen "
            "on dev, in choices.csv. Seeds: how many draws of a random method were merged; scores "
            "are of the first, spread is the largest combined score minus the smallest. Size: the "
            "merged change over the mean task vector. Lead over linear: paired by item, p "
            "corrected within the pair (Holm)."
        ),
        columns=(
            "pair",
            "model",
            "setting",
            "lambda",
            *PAIR,
            "combined",
            "seeds",
            "spread",
            "size",
            "lead over linear",
            "p",
            "verdict",
        ),
        rows=tuple(cells),
        keys=3,
        figure="strategies.png",
        alt=(
            "One panel for each pair. Combined score of every strategy with its interval, a hollow "
            "mark at the default scale and a filled one at the scale chosen on dev; a dotted line "
            "marks the plain average."
        ),
    )


def p_text(p: float) -> str:
    return "<.001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def verdict(difference: float, p: float) -> str:
    """Whether a difference is more than noise, and to which side.

    >>> verdict(0.1, 0.01), verdict(-0.1, 0.01), verdict(0.1, 0.2)
    ('ahead', 'behind', 'within noise')
    """
    if p >= 1 - LEVEL:
        return "within noise"
    return "ahead" if difference > 0 else "behind"
