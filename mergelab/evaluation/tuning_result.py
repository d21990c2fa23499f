"""What a search gave: the tuned recipe, and whether it is better than the recipe as given, on test.

The test suites come in here, after the choice is made and written down: once, for these two
recipes, on the same items. It is one comparison planned beforehand, so its p-value needs no
correction for the trials; the trials were compared on dev.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mergelab.engine import one_thread_each
from mergelab.evaluation.comparison import Comparison, Lead, compare_merges
from mergelab.evaluation.dev_scores import Conditions, Scores
from mergelab.evaluation.search_space import SearchSpace
from mergelab.evaluation.tuning import Trial, best, front
from mergelab.files import write_whole
from mergelab.recipes import Recipe

RECIPE, TRIALS, SUMMARY, PICTURE = "best.yaml", "trials.csv", "summary.json", "front.png"
GIVEN, TUNED = "as given", "tuned"
Progress = Callable[[int, int, str], None]


def write_choice(
    folder: Path, space: SearchSpace, trials: Sequence[Trial], settings: Mapping[str, Any]
) -> None:
    """Write the best recipe, complete, and all trials as CSV; each file appears whole."""
    write_whole(folder / TRIALS, _as_csv(space, trials))
    write_whole(folder / RECIPE, _as_yaml(space, trials, settings))


def _as_yaml(space: SearchSpace, trials: Sequence[Trial], settings: Mapping[str, Any]) -> str:
    chosen = best(trials)
    came = f"trial {chosen.number}" if chosen.number else "the recipe as it was given"
    seed = f" --seed {settings['seed']}" if settings["seed"] else ""
    said = space.recipe_with(chosen.values) if chosen.number else space.recipe
    head = (
        f"# The best on dev of {len(trials) - 1} trials and the recipe as given: {came}.\n"
        f"# {settings['search']} search, seed {settings['seed']}\n"
        f"# mergelab merge {RECIPE} OUT{seed}\n"
    )
    return head + yaml.safe_dump(
        said.model_dump(exclude_defaults=True, mode="json"),
        sort_keys=False,
        default_flow_style=None,
        allow_unicode=True,
        width=100,
    )


def _as_csv(space: SearchSpace, trials: Sequence[Trial]) -> str:
    names = [dimension.name for dimension in space.dimensions]
    rates = list(next(t for t in trials if t.scores).scores.to_dict())
    on_front = {trial.number for trial in front(trials)}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    bounds = [f"{rate}{end}" for rate in rates for end in ("", "_low", "_high")]
    writer.writerow(["trial", *names, *bounds, "on_front", "problem"])
    for trial in trials:
        cells = [f"{trial.values[name]:g}" if trial.number else "" for name in names]
        measured = trial.scores.to_dict() if trial.scores else dict.fromkeys(rates, [None] * 3)
        cells += [
            "" if value is None else f"{value:.4f}" for each in measured.values() for value in each
        ]
        here = "yes" if trial.number in on_front else "no"
        writer.writerow([trial.number or "as given", *cells, here, trial.problem])
    return text.getvalue()


def measure_on_test(
    space: SearchSpace, chosen: Trial, conditions: Conditions, progress: Progress | None = None
) -> Comparison:
    """The recipe as given and the chosen one, if it is another, on the test suites.

    `progress` is called with (items answered, items in all, what is done now).
    """
    recipes: dict[str, Recipe] = {GIVEN: space.recipe}
    if chosen.number:
        recipes[TUNED] = space.recipe_with(chosen.values)
    with one_thread_each():
        return compare_merges(
            [conditions.candidate(name, recipe) for name, recipe in recipes.items()],
            skills=conditions.skills,
            split="test",
            limit=conditions.limit,
            options=conditions.options(),
            progress=progress,
        )


def summarise(
    space: SearchSpace,
    trials: Sequence[Trial],
    settings: Mapping[str, Any],
    found: Comparison,
) -> dict[str, Any]:
    """All that is to be said about a finished search, as plain data for JSON."""
    chosen = best(trials)
    rows = {row.name: row.evaluation for row in found.rows}
    evaluation = rows[GIVEN]
    gain = _gain(found)
    return {
        "recipe": settings["recipe"],
        "search": settings["search"],
        "seed": settings["seed"],
        "trials": len(trials) - 1,
        "failed": sum(trial.scores is None for trial in trials),
        "ranges": {d.name: [d.low, d.high] for d in (*space.dimensions, *space.held)},
        "chosen": {"trial": chosen.number, "values": dict(chosen.values)},
        "front": [trial.number for trial in front(trials)],
        "dev": {GIVEN: trials[0].scores.to_dict(), TUNED: chosen.scores.to_dict()},
        "test": {name: Scores.of(rows[name]).to_dict() for name in (GIVEN, TUNED) if name in rows},
        "items": {name: len(result.outcomes) for name, result in evaluation.skills.items()},
        "gain": gain
        and {
            "difference": gain.difference.estimate,
            "low": gain.difference.low,
            "high": gain.difference.high,
            "p": gain.p,
            "more_than_noise": gain.beyond_noise,
        },
        "conclusion": conclusion(chosen, gain),
        "notes": list(found.notes),
    }


def _gain(found: Comparison) -> Lead | None:
    """Tuned minus as given on test; None where nothing was tuned."""
    if len(found.rows) == 1:
        return None
    (lead,) = found.leads.values()
    if found.leader.name == TUNED:
        return lead
    ahead = lead.difference
    turned = type(ahead)(-ahead.estimate, -ahead.high, -ahead.low, ahead.effective_items)
    return Lead(turned, lead.p)


def conclusion(chosen: Trial, gain: Lead | None) -> str:
    """Whether tuning gained anything, in a sentence."""
    if gain is None:
        return (
            "No trial scored higher on dev than the recipe as given, so the best recipe is that "
            "one and there is no gain."
        )
    size = abs(gain.difference.estimate)
    p = "below .001" if gain.p < 0.001 else f"{gain.p:.3f}".removeprefix("0")
    limits = f"{gain.difference.low:.3f} to {gain.difference.high:.3f}, p {p}"
    if size == 0:
        return f"On test trial {chosen.number} scores as much as the recipe as given ({limits})."
    side = "ahead of" if gain.difference.estimate > 0 else "behind"
    said = f"On test trial {chosen.number} is {size:.3f} {side} the recipe as given ({limits}): "
    if not gain.beyond_noise:
        return said + "within noise, so on other items the recipe as given could come out first."
    better = gain.difference.estimate > 0
    return said + ("the gain is more than noise." if better else "keep the recipe as given.")


def summary_table(summary: Mapping[str, Any]) -> Any:
    """The two recipes with their scores as a rich table."""
    from rich.table import Table

    (items, *other) = dict.fromkeys(summary["items"].values())
    count = f"{items} items a skill" if not other else "all items"
    caption = f"test split, {count}, 95% intervals"
    if TUNED in summary["test"]:
        caption += "; the tuned recipe was chosen for its score on dev, which flatters it there"
    table = Table(caption=caption)
    table.add_column("recipe")
    for name in summary["test"][GIVEN]:
        table.add_column(name, justify="right")
    table.add_column("combined on dev", justify="right")
    for name, rates in summary["test"].items():
        trial = summary["chosen"]["trial"]
        cells = [f"{rate:.3f} [{low:.3f}, {high:.3f}]" for rate, low, high in rates.values()]
        label = f"{TUNED}: trial {trial}" if name == TUNED else name
        table.add_row(label, *cells, f"{summary['dev'][name]['combined'][0]:.3f}")
    return table


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write the summary, which marks the search as finished."""
    write_whole(folder / SUMMARY, json.dumps(summary, indent=2) + "\n")


def read_summary(folder: Path) -> dict[str, Any] | None:
    """The summary of a finished search; None while it is not finished."""
    try:
        return json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
