"""One tuning from the recipe's file to the files that it leaves, in the order that keeps it honest.

Search on dev; write the choice down; only then open the test suites, for two recipes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergelab.errors import UserError
from mergelab.evaluation.candidates import candidates
from mergelab.evaluation.dev_scores import DEV, Conditions
from mergelab.evaluation.portable import ROOT, portable
from mergelab.evaluation.ranges import Ranges
from mergelab.evaluation.search_space import SearchSpace, search_space
from mergelab.evaluation.suites import load_suite
from mergelab.evaluation.tuning import Trial, best, run_search
from mergelab.evaluation.tuning_record import Record
from mergelab.evaluation.tuning_result import (
    PICTURE,
    measure_on_test,
    read_summary,
    summarise,
    write_choice,
    write_summary,
)
from mergelab.files import write_whole
from mergelab.recipes import make_plan
from mergelab.workers import Workers

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Tuning:
    """A search that is known to be able to run; `settings` say what it is, as plain data."""

    space: SearchSpace
    conditions: Conditions
    settings: Mapping[str, Any]

    def open(self, folder: Path) -> Record:
        """The record of this search in a folder, new or as far as it went."""
        return Record(folder, self.settings, self.space.dimensions)

    def finished(self, record: Record) -> dict[str, Any] | None:
        """The summary, if the search has been through already."""
        return read_summary(record.folder)

    def search(self, record: Record, workers: Workers, progress: Progress) -> list[Trial]:
        """Run the search, or what is left of it, and write down what it chose."""
        trials = run_search(
            self.space,
            self.settings["search"],
            self.settings["trials"],
            self.conditions,
            record,
            workers=workers,
            progress=progress,
        )
        write_choice(record.folder, self.space, trials, self.settings)
        return trials

    def test(self, record: Record, trials: Sequence[Trial], progress: Progress) -> dict[str, Any]:
        """Score the choice on test, draw the figure, and write the summary, which ends it all."""
        from mergelab.notebook.tuning_plot import tuning_plot

        found = measure_on_test(self.space, best(trials), self.conditions, progress)
        summary = summarise(self.space, trials, self.settings, found)
        method = self.space.recipe.merge_method
        picture = tuning_plot(trials, summary["test"], method=method)
        write_whole(record.folder / PICTURE, picture.png)
        write_summary(record.folder, summary)
        return summary


def prepare(
    path: Path,
    conditions: Conditions,
    search: str,
    trials: int,
    ranges: Sequence[str] = (),
    groups: int = 1,
) -> Tuning:
    """Read a recipe and everything about a search, and check that it can run.

    Raises `UserError`, one line, for a recipe that cannot be merged and asked, that has nothing to
    tune, and for ranges, groups or a grid that do not fit it.
    """
    wanted = Ranges.parse(ranges)
    (given, *_), _ = candidates([path], **conditions.allowed)
    folders = (path.resolve().parent, Path())
    recipe = portable(given.plan.recipe, folders, given.plan, **conditions.allowed)
    plan = make_plan(recipe, folders=ROOT, **conditions.allowed)
    try:
        space = search_space(recipe, plan, wanted, groups)
    except UserError as error:
        raise UserError(str(error) if str(error).startswith("--") else f"{path}: {error}") from None
    if search == "grid":
        space.grid(trials)
    items = [
        item.to_line()
        for skill in conditions.skills
        for item in load_suite(skill, DEV)[: conditions.limit]
    ]
    settings = {
        "recipe": recipe.model_dump(exclude_defaults=True, mode="json"),
        "models": [source.fingerprint for source in plan.sources],
        "items": hashlib.sha256("\n".join(items).encode()).hexdigest(),
        "search": search,
        "trials": trials,
        "seed": conditions.seed,
        "skills": list(conditions.skills),
        "limit": conditions.limit,
        "groups": groups,
        "ranges": {name: [b.low, b.high] for name, b in sorted(wanted.given.items())},
    }
    return Tuning(space, conditions, settings)
