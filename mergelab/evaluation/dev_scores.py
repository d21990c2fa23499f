"""How a search measures: on dev, and on nothing else.

Whatever a search chooses, it chooses by what `dev_scores` returns. No argument of it names a split,
so no way leads from a search to an item of the test suites.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mergelab.engine import one_thread_each
from mergelab.errors import UserError
from mergelab.evaluation.candidates import Candidate
from mergelab.evaluation.portable import ROOT
from mergelab.evaluation.results import Evaluation, evaluate
from mergelab.evaluation.statistics import Interval
from mergelab.recipes import Recipe, make_plan

DEV = "dev"


@dataclass(frozen=True)
class Scores:
    """The rates of one merge: each skill's, in the order asked, and their mean."""

    skills: Mapping[str, Interval]
    combined: Interval

    @classmethod
    def of(cls, found: Evaluation) -> Scores:
        """The rates of an evaluation."""
        return cls({skill: r.rate for skill, r in found.skills.items()}, found.combined)

    def to_dict(self) -> dict[str, Any]:
        """As plain data: each rate with its limits.

        >>> Scores({}, Interval(0.5, 0.4, 0.6)).to_dict()
        {'combined': [0.5, 0.4, 0.6]}
        """
        rates = {**self.skills, "combined": self.combined}
        return {name: [rate.estimate, rate.low, rate.high] for name, rate in rates.items()}

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> Scores:
        """Back from `to_dict`."""
        rates = {name: Interval(*bounds) for name, bounds in said.items()}
        return cls(rates, rates.pop("combined"))


@dataclass(frozen=True)
class Conditions:
    """What does not change from trial to trial: the items, and what `merge` is told."""

    skills: tuple[str, ...]
    limit: int | None = None
    seed: int = 0
    allow_pickle: bool = False
    allow_unrelated: bool = False

    @property
    def allowed(self) -> dict[str, bool]:
        """What a plan is told."""
        return {"allow_pickle": self.allow_pickle, "allow_unrelated": self.allow_unrelated}

    def candidate(self, name: str, recipe: Recipe) -> Candidate:
        """A recipe, ready to be merged. Raises `UserError` if it cannot be."""
        return Candidate(name, recipe, make_plan(recipe, folders=ROOT, **self.allowed))

    def options(self) -> dict[str, Any]:
        """What `merge` is told."""
        return {"seed": self.seed, "workers": 1, **self.allowed}


def dev_scores(recipe: Recipe, conditions: Conditions) -> Scores:
    """Merge a recipe in memory and score the merge on dev items.

    All in one thread, so that neither the machine nor the number of workers has a say in it.

    Raises `UserError` if it cannot be merged.
    """
    with one_thread_each():
        model, tokenizer = conditions.candidate("trial", recipe).load(**conditions.options())
        asked = {"skills": conditions.skills, "limit": conditions.limit}
        return Scores.of(evaluate(model, tokenizer, split=DEV, **asked))


def scores_or_problem(recipe: Recipe, conditions: Conditions) -> Scores | str:
    """As `dev_scores`, with what stands in the way of the merge as words; for worker processes."""
    try:
        return dev_scores(recipe, conditions)
    except UserError as error:
        return str(error)
