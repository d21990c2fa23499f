"""Merges of three adapters, each method at the scale that the capstone's dev table chose."""

from __future__ import annotations

from collections.abc import Mapping

from mergelab.evaluation.leads import holm, lead, p_value
from mergelab.evaluation.measuring import Measured, Measurement
from mergelab.evaluation.results import paired_skills
from mergelab.evaluation.suites import SKILLS
from mergelab.tables.strategies import p_text, verdict
from mergelab.tables.table import Table

BASELINE = "sum"


def three_measurements(
    items: int | None = None,
) -> dict[tuple[str, float | None, int], Measurement]:
    """By method, scale and seed."""
    from mergelab.notebook.capstone_table import (
        SCALES,
        SEEDS,
        TEST_ITEMS,
        best_on_dev,
        three_recipe,
    )

    return {
        (name, scale, seed): Measurement.of(
            three_recipe(name, scale), "test", items or TEST_ITEMS, skills=SKILLS, seed=seed
        )
        for name in SCALES
        for scale in [best_on_dev(name).scale]
        for seed in SEEDS.get(name, (0,))
    }


def three_table(
    wanted: Mapping[tuple[str, float | None, int], Measurement],
    found: Mapping[Measurement, Measured],
) -> Table:
    """Scores with intervals on all three skills, and each merge's lead over the plain sum."""
    scores = {key: found[each].evaluation(key[0], "test") for key, each in wanted.items()}
    sums = next(result for key, result in scores.items() if key[0] == BASELINE)
    compared = {
        key: paired_skills(result, sums) for key, result in scores.items() if key[0] != BASELINE
    }
    corrected = dict(zip(compared, holm([p_value(c) for c in compared.values()]), strict=True))
    rows = []
    for key, result in scores.items():
        name, scale, seed = key
        ahead = lead(compared[key]) if key in compared else None
        p = corrected.get(key)
        rows.append(
            (
                name,
                scale,
                seed,
                *(skill.rate for skill in result.skills.values()),
                result.combined,
                found[wanted[key]].size,
                ahead,
                None if p is None else p_text(p),
                verdict(ahead.estimate, p) if ahead is not None and p is not None else "",
            )
        )
    items = len(next(iter(found[next(iter(wanted.values()))].right.values())))
    return Table(
        name="three_way",
        title="Three adapters in one model",
        caption=(
            f"{items} test items a skill, 95% intervals; lambda chosen on dev "
            "(three_skills.json). Size: the merged change over the mean task vector. Lead over the "
            "plain sum: paired by item, p corrected over the rows (Holm)."
        ),
        columns=(
            "method",
            "lambda",
            "seed",
            *SKILLS,
            "combined",
            "size",
            "lead over sum",
            "p",
            "verdict",
        ),
        rows=tuple(rows),
        keys=1,
        figure="three_way.png",
        alt="Rates on the three skills for each method's merge of three adapters.",
    )
