"""Committed and published results: read, laid side by side, and judged claim by claim."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from itertools import pairwise

from mergelab.evaluation.results import Evaluation, compare
from mergelab.notebook.tables import Table
from mergelab.notebook.verdicts import beyond_noise
from mergelab.paths import data_path

# Published with a 3-billion-parameter model; persona, agentic, and the mean of both.
PUBLISHED = {
    "ties": (0.891, 0.903, 0.897),
    "dare_ties": (0.883, 0.891, 0.887),
    "slerp": (0.879, 0.883, 0.881),
    "linear": (0.862, 0.871, 0.867),
    "persona only": (0.945, 0.312, 0.629),
    "agentic only": (0.287, 0.961, 0.624),
}
_SHORT = {"persona adapter": "persona only", "agentic adapter": "agentic only"}


def overview_rates(pair: str = "low conflict") -> dict[str, dict[str, tuple[float, float, float]]]:
    """Rates of `data/tables/overview.csv`: model to skill (and combined) to (rate, low, high).

    Models go by their method, the adapters alone by "persona only" and "agentic only".

    >>> sorted(overview_rates()["linear"])
    ['agentic', 'combined', 'persona']
    """
    found = {}
    with data_path("tables", "overview.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["pair"] != pair:
                continue
            name = _SHORT.get(row["model"]) or row["model"].replace(",", "").split()[0]
            found[name] = {
                part: (float(row[part]), float(row[f"{part}_low"]), float(row[f"{part}_high"]))
                for part in ("persona", "agentic", "combined")
            }
    return found


def published_table(
    ours: Mapping[str, Evaluation], committed: Mapping[str, Mapping[str, tuple[float, ...]]]
) -> Table:
    """The published rates, the committed ones and the ones measured now, model by model.

    `ours` and `committed` go by the names of `PUBLISHED`; what is missing stays empty.
    """
    rows = []
    for name, rates in PUBLISHED.items():
        theirs = " ".join(f"{rate:.3f}" for rate in rates)
        kept = committed.get(name)
        table = (
            " ".join(f"{kept[part][0]:.3f}" for part in ("persona", "agentic", "combined"))
            if kept
            else ""
        )
        measured = ours.get(name)
        live = ""
        if measured is not None:
            skills = " ".join(f"{r.rate.estimate:.3f}" for r in measured.skills.values())
            live = f"{skills} {measured.combined}"
        rows.append([name, theirs, table, live])
    return Table(
        ["", "published", "committed table (1,000 items a skill)", "measured now"],
        rows,
        caption="Persona, agentic, combined; measured now with the 95% interval of the combined",
    )


def order_verdict(ours: Mapping[str, Evaluation], order: Sequence[str]) -> str:
    """Whether a published order of methods, best first, is confirmed, by neighbours.

    A step is confirmed or contradicted where its difference is more than noise on the same items.
    """
    steps = []
    for better, worse in pairwise(order):
        sign = beyond_noise(compare(ours[better], ours[worse])["combined"])
        word = {1: "confirmed", -1: "contradicted", 0: "cannot be told from noise"}[sign]
        steps.append((f"{better} over {worse}", word))
    said = "; ".join(f"{step}: {word}" for step, word in steps)
    words = {word for _, word in steps}
    if words == {"confirmed"}:
        end = "The published order is confirmed."
    elif "contradicted" in words:
        end = "The published order does not hold here."
    else:
        end = "The published order is not confirmed as a whole."
    return f"{said[0].upper()}{said[1:]}. {end}"


def leader_sentence(
    pair: str, table: Mapping[str, Sequence[float]], order: Sequence[str] | None = None
) -> str:
    """Which method of a table leads, and whether the intervals tell it from the next one.

    `table` maps methods to (rate, low, high); only those of `order` count, if it is given.
    Intervals that do not meet are a lead; where they meet, a table without single items cannot
    tell.

    >>> print(leader_sentence("one pair", {"a": (0.9, 0.87, 0.93), "b": (0.8, 0.76, 0.84)}))
    One pair: a (0.900) leads b (0.800), and their intervals do not meet.
    >>> print(leader_sentence("one pair", {"a": (0.9, 0.87, 0.93), "b": (0.89, 0.86, 0.92)}))
    One pair: a (0.900) and b (0.890) are on top, and their intervals overlap, so this table cannot
    tell them apart.
    """
    names = [name for name in order or table if name in table]
    first, second = sorted(names, key=lambda name: -table[name][0])[:2]
    rates = [f"{name} ({table[name][0]:.3f})" for name in (first, second)]
    if table[first][1] > table[second][2]:
        said = f"{rates[0]} leads {rates[1]}, and their intervals do not meet."
    else:
        said = (
            f"{rates[0]} and {rates[1]} are on top, and their intervals overlap, so this table "
            "cannot tell them apart."
        )
    return f"{pair[0].upper()}{pair[1:]}: {said}"


def all_beat_verdict(
    merges: Mapping[str, Evaluation], alone: Sequence[Evaluation], *, skill: str = "combined"
) -> str:
    """Whether every merge scores above every single adapter, by more than noise."""
    below = [
        name
        for name, merged in merges.items()
        if not all(beyond_noise(compare(merged, single)[skill]) > 0 for single in alone)
    ]
    if not below:
        return f"Every merge beats both adapters alone ({skill}), by more than noise."
    return f"Not every merge beats both adapters alone ({skill}): not {', '.join(below)}."
