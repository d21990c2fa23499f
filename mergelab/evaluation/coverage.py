"""How often intervals hold the truth: the simulation that the choice of methods rests on.

`python -m mergelab.evaluation.coverage_table` makes `data/tables/coverage.csv` and `coverage.md`
again. Scores are drawn for the templates of the shipped suites at a rate that is known, and
counted is how many intervals hold it. Items of a template are alike to the degree `alike`, the
intraclass correlation; `measured_likeness` says what it is in the course's committed scores.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import numpy as np

from mergelab.evaluation.interval_rules import (
    OTHER_RULES,
    OWN_RULE,
    effective_wilson,
)
from mergelab.evaluation.leads import Paired, holm, lead, paired_of_sums
from mergelab.evaluation.statistics import Interval, paired_difference
from mergelab.evaluation.suites import SKILLS, load_suite
from mergelab.paths import data_path

REPLICATES = 2000
RATES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98)
ENDS = (0.0, 1.0)
ALIKE = (0.1, 0.4, 0.7)
PAIRS = ((0.5, 0.45), (0.9, 0.9), (0.9, 0.88), (0.9, 0.8), (0.95, 0.94), (0.98, 0.95))
# For persona and for agentic, two models each.
COMBINED = (((0.9, 0.9), (0.9, 0.9)), ((0.93, 0.9), (0.9, 0.92)), ((0.93, 0.64), (0.9, 0.88)))
# Correlation of two models' latent scores: unrelated models, two merges, nearly the same merge.
RELATED = (0.5, 0.9, 0.97)
LATENT_ALIKE = 0.8
MODELS = (2, 4, 8)
OWN_DIFFERENCE = "Tango on effective items (paired)"


@dataclass(frozen=True)
class Cell:
    """One line of the table: what was drawn, how it was judged, and how often it was right.

    `share`: of the intervals, those that hold the truth; for `false lead`, of the comparisons of
    equal models, those that name a winner. `width`: mean width of the intervals.
    """

    kind: str
    method: str
    suite: str
    items: int
    templates: int
    alike: float
    truth: str
    replicates: int
    share: float
    width: float | None


def sizes_of(skill: str, limit: int | None = None) -> np.ndarray:
    """Return how many items each template has in the first `limit` items of a test suite.

    >>> sizes_of("persona").sum(), len(sizes_of("persona"))
    (np.int64(1000), 220)
    """
    templates = [item.template for item in load_suite(skill)[:limit]]
    return np.unique(templates, return_counts=True)[1]


def likeness(values: Sequence[float], clusters: Sequence[str]) -> float:
    """Return the intraclass correlation of scores, estimated by the analysis of variance.

    NaN where all scores are equal or no cluster has two items. Source: Donner, International
    Statistical Review 54, 1986, 67-82.

    >>> likeness([1, 1, 0, 0], "aabb"), round(likeness([1, 0, 1, 0], "aabb"), 2)
    (1.0, -1.0)
    """
    array = np.asarray(values, dtype=float)
    _, index, sizes = np.unique(list(clusters), return_inverse=True, return_counts=True)
    items, groups = len(array), len(sizes)
    if items == groups or groups < 2 or array.min() == array.max():
        return float("nan")
    means = np.bincount(index, weights=array) / sizes
    between = float((sizes * (means - array.mean()) ** 2).sum()) / (groups - 1)
    within = float(((array - means[index]) ** 2).sum()) / (items - groups)
    typical = (items - float((sizes**2).sum()) / items) / (groups - 1)
    return (between - within) / (between + (typical - 1) * within)


def measured_likeness() -> dict[str, list[float]]:
    """Return the likeness of every merge in `data/tables/three_skills.json` on test, per skill."""
    rows = json.loads(data_path("tables", "three_skills.json").read_text(encoding="utf-8"))
    found: dict[str, list[float]] = {skill: [] for skill in SKILLS}
    for row in rows:
        if row["split"] == "test":
            for skill, right in row["right"].items():
                clusters = [item.template for item in load_suite(skill)[: len(right)]]
                value = likeness([int(mark) for mark in right], clusters)
                if not np.isnan(value):
                    found[skill].append(value)
    return found


def draw(rng: np.random.Generator, rate: float, alike: float, sizes: np.ndarray) -> np.ndarray:
    """Return how many items of each template succeed; each has its own beta-distributed rate.

    Their mean rate is `rate`, the intraclass correlation of the items `alike`.
    """
    shape = (1 - alike) / alike
    own = rng.beta(rate * shape, (1 - rate) * shape, len(sizes)) if 0 < rate < 1 else rate
    return rng.binomial(sizes, own) * 1.0


def draw_models(
    rng: np.random.Generator, rates: Sequence[float], related: float, sizes: np.ndarray
) -> np.ndarray:
    """Return the scores of several models on the same items, a row each, at exact rates.

    A latent normal score for each item decides: a template's part and an item's own part, each
    shared between the models to the degree `related`.
    """
    from scipy.special import ndtri

    count, items, groups = len(rates), int(sizes.sum()), len(sizes)

    def parts(size: int) -> np.ndarray:
        shared, own = rng.standard_normal(size), rng.standard_normal((count, size))
        return np.sqrt(related) * shared + np.sqrt(1 - related) * own

    latent = np.sqrt(LATENT_ALIKE) * np.repeat(parts(groups), sizes, axis=1)
    latent += np.sqrt(1 - LATENT_ALIKE) * parts(items)
    return (latent + ndtri(rates)[:, None] > 0) * 1.0


def rate_cell(
    rate: float,
    alike: float,
    suite: str,
    *,
    limit: int | None = None,
    method: str = OWN_RULE,
    replicates: int = REPLICATES,
) -> Cell:
    """Draw one model's scores many times; count the intervals that hold its rate."""
    sizes, rule = sizes_of(suite, limit), {OWN_RULE: effective_wilson, **OTHER_RULES}[method]
    rng = np.random.default_rng([1, round(1000 * rate), round(1000 * alike), int(sizes.sum())])
    made = [rule(draw(rng, rate, alike, sizes), sizes, rng) for _ in range(replicates)]
    return _cell("rate", method, suite, sizes, alike, f"{rate:g}", made, rate)


def difference_cell(
    rates: tuple[float, float],
    related: float,
    suite: str,
    *,
    method: str = OWN_DIFFERENCE,
    limit: int | None = None,
    replicates: int = REPLICATES,
) -> Cell:
    """Draw two models on the same items; count the intervals that hold their difference."""
    sizes = sizes_of(suite, limit)
    clusters = np.repeat(np.arange(len(sizes)), sizes).tolist()
    rng = np.random.default_rng([2, *(round(1000 * r) for r in (*rates, related)), len(sizes)])
    made = []
    for _ in range(replicates):
        first, second = draw_models(rng, rates, related, sizes)
        made.append(
            _paired(first, second, sizes).interval()
            if method == OWN_DIFFERENCE
            else paired_difference(first, second, clusters)
        )
    truth = f"{rates[0]:g} and {rates[1]:g}, related {related:g}"
    return _cell("difference", method, suite, sizes, LATENT_ALIKE, truth, made, rates[0] - rates[1])


def combined_cell(
    rates: Sequence[tuple[float, float]], related: float, *, replicates: int = REPLICATES
) -> Cell:
    """Draw two models on persona and agentic; count the leads, meant over both, that are held.

    `rates`: for each of the two suites the rates of the two models.
    """
    suites = [sizes_of(skill) for skill in ("persona", "agentic")]
    rng = np.random.default_rng([4, round(1000 * related), *(round(1000 * r[0]) for r in rates)])
    made = [
        lead(
            [
                _paired(*draw_models(rng, pair, related, sizes), sizes)
                for pair, sizes in zip(rates, suites, strict=True)
            ]
        )
        for _ in range(replicates)
    ]
    value = sum(first - second for first, second in rates) / 2
    truth = ", ".join(f"{a:g} and {b:g}" for a, b in rates) + f", related {related:g}"
    sizes = np.concatenate(suites)
    return _cell(
        "combined", OWN_DIFFERENCE, "persona + agentic", sizes, LATENT_ALIKE, truth, made, value
    )


def false_lead_cells(
    models: int, suite: str, *, replicates: int = REPLICATES, related: float = 0.9
) -> list[Cell]:
    """Draw models that are equally good; count how often the leader beats one by more than noise.

    Three ways of asking: without correction, Holm over the comparisons with the leader, and Holm
    over all pairs. Only the last knows that any of them could have come out as the leader.
    """
    sizes = sizes_of(suite)
    rng = np.random.default_rng([3, models])
    named = {"no correction": 0, "Holm, with the leader only": 0, "Holm, all pairs": 0}
    pairs = [(a, b) for a in range(models) for b in range(a)]
    for _ in range(replicates):
        scores = draw_models(rng, [0.9] * models, related, sizes)
        leader = int(scores.sum(1).argmax())
        raw = [_quick_p(_paired(scores[a], scores[b], sizes)) for a, b in pairs]
        own = [n for n, pair in enumerate(pairs) if leader in pair]
        everywhere = holm(raw)
        named["no correction"] += min(raw[n] for n in own) < 0.05
        named["Holm, with the leader only"] += min(holm([raw[n] for n in own])) < 0.05
        named["Holm, all pairs"] += min(everywhere[n] for n in own) < 0.05
    truth = f"{models} models of rate 0.9, related {related:g}"
    size = (int(sizes.sum()), len(sizes), LATENT_ALIKE, truth, replicates)
    return [Cell("false lead", m, suite, *size, n / replicates, None) for m, n in named.items()]


def _paired(first: np.ndarray, second: np.ndarray, sizes: np.ndarray) -> Paired:
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    won = float((first * (1 - second)).mean())
    return paired_of_sums(won, np.add.reduceat(first - second, starts), sizes)


def _quick_p(found: Paired) -> float:
    """`p_value` for one skill, whose inverted interval has a closed form."""
    from scipy.special import stdtr

    apart = found.won + found.lost
    if apart == 0:
        return 1.0
    distance = abs(found.won - found.lost) * np.sqrt(found.effective_items / apart)
    return float(2 * stdtr(found.degrees, -distance))


def _cell(
    kind: str,
    method: str,
    suite: str,
    sizes: np.ndarray,
    alike: float,
    truth: str,
    made: Sequence[Interval],
    value: float,
) -> Cell:
    held = np.mean([i.low - 1e-12 <= value <= i.high + 1e-12 for i in made])
    width = float(np.mean([i.high - i.low for i in made]))
    size = (int(sizes.sum()), len(sizes))
    return Cell(kind, method, suite, *size, alike, truth, len(made), float(held), width)


def all_cells(replicates: int = REPLICATES, executor: Executor | None = None) -> list[Cell]:
    """Return every cell of the table, those of whole suites first; `executor` shares the work."""
    sizes: list[tuple[str, int | None]] = [(skill, None) for skill in SKILLS]
    sizes += [("agentic", limit) for limit in (300, 100, 50)]
    tasks: list[Callable[[], Cell | list[Cell]]] = [
        partial(rate_cell, rate, alike, suite, limit=limit, replicates=replicates)
        for suite, limit in sizes
        for alike in ALIKE
        for rate in (*ENDS, *RATES)
    ]
    tasks += [
        partial(rate_cell, rate, 0.4, "agentic", method=method, replicates=replicates // 4)
        for method in OTHER_RULES
        for rate in (*ENDS, *RATES)
    ]
    tasks += [
        partial(difference_cell, rates, related, "agentic", method=method, replicates=replicates)
        for method in (OWN_DIFFERENCE, "MOVER (paired_difference)")
        for related in RELATED
        for rates in PAIRS
    ]
    tasks += [
        partial(combined_cell, rates, related, replicates=replicates)
        for related in RELATED
        for rates in COMBINED
    ]
    tasks += [partial(false_lead_cells, n, "agentic", replicates=replicates) for n in MODELS]
    made = (executor.map if executor else map)(_run, tasks)
    return [cell for cells in made for cell in (cells if isinstance(cells, list) else [cells])]


def _run(task: Callable[[], Cell | list[Cell]]) -> Cell | list[Cell]:
    return task()
