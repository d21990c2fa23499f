"""Sweeps of one dial: TIES' density, the path from one adapter to the other, and the scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mergelab.evaluation.leads import lead, p_value
from mergelab.evaluation.measuring import Measured, Measurement
from mergelab.evaluation.results import paired_skills
from mergelab.evaluation.suites import PAIR
from mergelab.tables.strategies import (
    PAIRS,
    STRATEGIES,
    TEST_ITEMS,
    adapters,
    p_text,
    verdict,
)
from mergelab.tables.table import Table

Found = Mapping[Measurement, Measured]
DENSITIES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
# Published for the running example on a 3-billion-parameter model: density to combined score.
PUBLISHED_DENSITY = {0.3: 0.823, 0.4: 0.867, 0.5: 0.891, 0.6: 0.879, 0.7: 0.854}
STEPS = tuple(n / 10 for n in range(11))
PUBLISHED_PATH = {
    "slerp of weights": {0.3: 0.867, 0.5: 0.891, 0.7: 0.872},
    "linear": {0.3: 0.851, 0.5: 0.878, 0.7: 0.859},
}
CURVES = ("task arithmetic", "ties")
CURVE_ITEMS = 150


def density_measurements(items: int = TEST_ITEMS) -> dict[tuple[str, float], Measurement]:
    """TIES at its default scale, by pair and density."""
    return {
        (pair, density): Measurement.of(_ties(pair, density), "test", items)
        for pair in PAIRS
        for density in DENSITIES
    }


def _ties(pair: str, density: float) -> dict[str, Any]:
    recipe = STRATEGIES["ties"].recipe(pair)
    return {**recipe, "parameters": {**recipe["parameters"], "density": density}}


def density_table(wanted: Mapping[tuple[str, float], Measurement], found: Found) -> Table:
    """TIES by density, the published scores beside it, and each density against .5."""
    scores = {key: found[each].evaluation("ties", "test") for key, each in wanted.items()}
    rows = []
    for (pair, density), result in scores.items():
        compared = paired_skills(result, scores[pair, 0.5])
        same = density == 0.5
        p = None if same else p_value(compared)
        rows.append(
            (
                pair,
                density,
                *(skill.rate for skill in result.skills.values()),
                result.combined,
                found[wanted[pair, density]].size,
                PUBLISHED_DENSITY.get(density),
                None if same else lead(compared),
                None if p is None else p_text(p),
                "" if p is None else verdict(lead(compared).estimate, p),
            )
        )
    return Table(
        name="ties_density",
        title="TIES by density",
        caption=(
            f"{_items(wanted, found)} test items a skill, lambda 1, 95% intervals. Published: the "
            "combined score on a 3-billion-parameter model, where .5 is the best of five. The p "
            "of each difference from density .5 stands for itself, uncorrected: ten looks at one "
            "curve."
        ),
        columns=(
            "pair",
            "density",
            *PAIR,
            "combined",
            "size",
            "published",
            "minus density .5",
            "p",
            "verdict",
        ),
        rows=tuple(rows),
        keys=2,
        figure="ties_density.png",
        alt="Combined score of TIES against density for both pairs, and the published five points.",
    )


def path_measurements(items: int = TEST_ITEMS) -> dict[tuple[str, float], Measurement]:
    """The low-conflict pair on the way from persona (t = 0) to agentic (t = 1)."""
    wanted = {}
    for t in STEPS:
        models = [
            {"model": adapter, "parameters": {"weight": weight}}
            for adapter, weight in zip(
                adapters("low conflict").values(), (round(1 - t, 10), t), strict=True
            )
        ]
        straight = {**STRATEGIES["linear"].recipe("low conflict"), "models": models}
        recipes = {"linear": straight}
        for name in ("slerp of weights", "slerp of task vectors"):
            recipe = STRATEGIES[name].recipe("low conflict")
            recipes[name] = {**recipe, "parameters": {**recipe["parameters"], "t": t}}
        for name, recipe in recipes.items():
            wanted[name, t] = Measurement.of(recipe, "test", items)
    return wanted


def path_table(wanted: Mapping[tuple[str, float], Measurement], found: Found) -> Table:
    """SLERP in both spaces and the straight line, by t, and SLERP's lead over the line."""
    scores = {key: found[each].evaluation(key[0], "test") for key, each in wanted.items()}
    rows = []
    for (name, t), result in scores.items():
        compared = None if name == "linear" else paired_skills(result, scores["linear", t])
        p = None if compared is None else p_value(compared)
        rows.append(
            (
                name,
                t,
                *(skill.rate for skill in result.skills.values()),
                result.combined,
                found[wanted[name, t]].size,
                PUBLISHED_PATH.get(name, {}).get(t),
                None if compared is None else lead(compared),
                None if p is None else p_text(p),
                "" if compared is None or p is None else verdict(lead(compared).estimate, p),
            )
        )
    return Table(
        name="slerp_linear",
        title="SLERP and the straight line, by t",
        caption=(
            f"{_items(wanted, found)} test items a skill, low-conflict pair, 95% intervals; t = 0 "
            "is the persona adapter, t = 1 the agentic one. Published: the combined score on a "
            "3-billion-parameter model. Lead over linear at the same t, p uncorrected."
        ),
        columns=(
            "path",
            "t",
            *PAIR,
            "combined",
            "size",
            "published",
            "lead over linear",
            "p",
            "verdict",
        ),
        rows=tuple(rows),
        keys=2,
        figure="slerp_linear.png",
        alt="Combined score against t for linear, slerp of weights and slerp of task vectors.",
    )


def scale_measurements(items: int = CURVE_ITEMS) -> dict[tuple[str, str, float], Measurement]:
    """The curves of the scale, on dev items: what a choice of scale looks at."""
    return {
        (pair, name, scale): Measurement.of(STRATEGIES[name].recipe(pair, scale), "dev", items)
        for pair in PAIRS
        for name in CURVES
        for scale in STRATEGIES[name].scales
    }


def scale_table(wanted: Mapping[tuple[str, str, float], Measurement], found: Found) -> Table:
    """Combined dev score and size by lambda."""
    rows = []
    for (pair, name, scale), each in wanted.items():
        result = found[each].evaluation(name, "dev")
        rates = (skill.rate for skill in result.skills.values())
        rows.append((pair, name, scale, *rates, result.combined, found[each].size))
    return Table(
        name="scale",
        title="The scale, lambda",
        caption=(
            f"{_items(wanted, found)} dev items a skill, 95% intervals. Size: the merged change "
            "over the mean task vector. The main table's scales were chosen on more dev items "
            "(choices.csv)."
        ),
        columns=("pair", "method", "lambda", *PAIR, "combined", "size"),
        rows=tuple(rows),
        keys=3,
        figure="scale.png",
        alt="Combined dev score against lambda for task arithmetic and TIES, a panel per pair.",
    )


def _items(wanted: Mapping[Any, Measurement], found: Found) -> int:
    return len(next(iter(found[next(iter(wanted.values()))].right.values())))
