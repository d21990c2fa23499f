"""The capstone's table: merges of three adapters, item by item, measured once and shipped.

`python -m mergelab.notebook.capstone_table` makes `data/tables/three_skills.json` again, in some
minutes. It holds which items each merge got right, so every interval and every difference between
two merges is computed when a lesson shows it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from mergelab.errors import UserError
from mergelab.notebook.experiments import recipe
from mergelab.paths import data_path

if TYPE_CHECKING:
    from mergelab.evaluation.results import Evaluation

THREE = ("task_api_persona", "task_api_agentic", "task_api_digest")
FILE = ("tables", "three_skills.json")
LEVELS = (0.0, 0.4, 0.8)
MIXER_ITEMS, DEV_ITEMS, TEST_ITEMS = 60, 60, 150
# What each method is tried at on dev: the scale lambda, and the settings that stay.
SCALES: dict[str, tuple[str, dict[str, Any], Sequence[float | None]]] = {
    "sum": ("task_arithmetic", {}, (0.5, 0.6, 0.7, 0.8)),
    "TIES": ("ties", {"density": 0.5}, (0.7, 0.85, 1.0, 1.2)),
    "DELLA": ("della", {"density": 0.5}, (0.7, 0.85, 1.0, 1.2)),
    "Model Stock": ("model_stock", {}, (None,)),
    "TSV-Merge": ("tsv_merge", {}, (0.5, 0.7, 0.85, 1.0)),
    "Iso-C": ("iso_c", {}, (0.85, 1.0, 1.2, 1.4)),
    "KnOTS-TIES": ("knots_ties", {"density": 0.5}, (0.7, 0.85, 1.0, 1.2)),
    "Core Space TIES": ("core_space", {"method": "ties", "density": 0.5}, (0.7, 0.85, 1.0, 1.2)),
}
# DELLA draws at random: its final comes with more than one seed.
SEEDS = {"DELLA": (0, 1, 2)}


@dataclass(frozen=True)
class Entry:
    """One merge of the table: its group, the dials it was made with, its size, its evaluation."""

    group: str
    name: str
    weights: tuple[float, ...]
    scale: float | None
    seed: int
    size: float
    evaluation: Evaluation


def three_recipe(
    name: str, scale: float | None = None, weights: Sequence[float] | None = None
) -> dict[str, Any]:
    """The recipe of one method of the table at a scale, by the name the table gives it.

    Raises `UserError` for a name that the table has not.

    >>> three_recipe("TIES", 0.7)["parameters"]
    {'density': 0.5, 'lambda': 0.7}
    """
    if name not in SCALES:
        raise UserError(f"{name}: no such method here; there are {', '.join(SCALES)}")
    method, settings, _ = SCALES[name]
    scaled = settings if scale is None else {**settings, "lambda": scale}
    made = {**recipe(method, THREE, weights), "parameters": scaled}
    if method == "model_stock":  # takes no weights
        made["models"] = [{"model": model} for model in THREE]
    return made


@cache
def three_table() -> tuple[Entry, ...]:
    """Every merge of the shipped table.

    >>> sorted({entry.group for entry in three_table()})
    ['dev', 'mixer', 'test']
    """
    rows = json.loads(data_path(*FILE).read_text(encoding="utf-8"))
    return tuple(_entry(row) for row in rows)


def best_on_dev(name: str) -> Entry:
    """The entry of one method whose combined score on dev is the highest; the first among equals.

    Raises `ValueError` if the table has no entry of that name.
    """
    tried = [entry for entry in three_table() if (entry.group, entry.name) == ("dev", name)]
    return max(tried, key=lambda entry: entry.evaluation.combined.estimate)


def finals() -> list[Entry]:
    """The entries measured once on test, each method at the scale chosen on dev."""
    return [entry for entry in three_table() if entry.group == "test"]


def mixed(weights: Sequence[float]) -> Entry:
    """The plain sum with these three weights, each one of `LEVELS`.

    Raises `UserError` for weights that were not measured.
    """
    for entry in three_table():
        if entry.group == "mixer" and entry.weights == tuple(weights):
            return entry
    raise UserError(f"weights {tuple(weights)} were not measured; choose each from {LEVELS}")


def _entry(row: Mapping[str, Any]) -> Entry:
    from mergelab.evaluation.results import Evaluation, Outcome, SkillResult
    from mergelab.evaluation.scorers import Score

    skills = {}
    for skill, right in row["right"].items():
        items = _items(skill, row["split"])[: len(right)]
        outcomes = [
            Outcome(item, "", Score(int(mark), float(mark), ""))
            for item, mark in zip(items, right, strict=True)
        ]
        skills[skill] = SkillResult.of(skill, outcomes)
    return Entry(
        row["group"],
        row["name"],
        tuple(row["weights"]),
        row["scale"],
        row["seed"],
        row["size"],
        Evaluation(row["name"], row["split"], skills),
    )


@cache
def _items(skill: str, split: str) -> list[Any]:
    from mergelab.evaluation.suites import load_suite

    return load_suite(skill, split)


def _measured(
    group: str,
    name: str,
    *,
    scale: float | None = None,
    weights: Sequence[float] = (1.0, 1.0, 1.0),
    seed: int = 0,
    items: int,
) -> dict[str, Any]:
    import mergelab
    from mergelab.evaluation.results import evaluate
    from mergelab.evaluation.suites import SKILLS

    split = "test" if group == "test" else "dev"
    merged = mergelab.merge(three_recipe(name, scale, weights), seed=seed)
    found = evaluate(*merged.load(), skills=SKILLS, split=split, limit=items, name=name)
    size = merged.report.total().magnitude_kept
    return {
        "group": group,
        "name": name,
        "split": split,
        "weights": list(weights),
        "scale": scale,
        "seed": seed,
        "size": round(size or 0.0, 4),
        "right": {
            skill: "".join(str(o.score.strict) for o in result.outcomes)
            for skill, result in found.skills.items()
        },
    }


def _rows() -> Iterator[dict[str, Any]]:
    """Each method at every scale on dev, its best on test, and the grid of the mixer on dev."""
    for name, (_, _, scales) in SCALES.items():
        tried = [_measured("dev", name, scale=scale, items=DEV_ITEMS) for scale in scales]
        yield from tried
        best = max(tried, key=_combined)
        for seed in SEEDS.get(name, (0,)):
            yield _measured("test", name, scale=best["scale"], seed=seed, items=TEST_ITEMS)
    for weights in itertools.product(LEVELS, repeat=len(THREE)):
        yield _measured("mixer", "sum", weights=weights, items=MIXER_ITEMS)


def _combined(row: Mapping[str, Any]) -> float:
    return sum(right.count("1") / len(right) for right in row["right"].values())


def main() -> None:
    """Measure the table again and write it where it ships."""
    import torch

    torch.set_num_threads(1)
    rows = []
    for row in _rows():
        rows.append(row)
        rates = [right.count("1") / len(right) for right in row["right"].values()]
        said = " ".join(f"{rate:.2f}" for rate in rates)
        print(row["group"], row["name"], row["scale"], row["weights"], said, flush=True)
    text = ",\n".join(json.dumps(row) for row in rows)
    (data_path("tables") / FILE[-1]).write_text(f"[\n{text}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
