"""Results: one model on the suites, several models in a table, two models compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mergelab.errors import UserError
from mergelab.evaluation.generation import generate_replies
from mergelab.evaluation.scorers import Score, score
from mergelab.evaluation.statistics import (
    Interval,
    mean_of_rates,
    paired_difference,
    rate_interval,
)
from mergelab.evaluation.suites import PAIR, SKILLS, Item, load_suite

if TYPE_CHECKING:
    from rich.table import Table
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Outcome:
    """One item, the reply it got, and its score."""

    item: Item
    reply: str
    score: Score


@dataclass(frozen=True)
class SkillResult:
    """How a model did on one suite: the strict rate with its interval, and every outcome."""

    skill: str
    rate: Interval
    partial: float
    outcomes: tuple[Outcome, ...]

    @classmethod
    def of(cls, skill: str, outcomes: Sequence[Outcome]) -> SkillResult:
        """Summarise outcomes; items of one template form a cluster."""
        rate = rate_interval(
            [o.score.strict for o in outcomes], [o.item.template for o in outcomes]
        )
        partial = sum(o.score.partial for o in outcomes) / len(outcomes)
        return cls(skill, rate, partial, tuple(outcomes))

    def failures(self) -> list[Outcome]:
        """Return the outcomes that did not score, for reading."""
        return [outcome for outcome in self.outcomes if not outcome.score.strict]


@dataclass(frozen=True)
class Evaluation:
    """One model on one or more skills; `combined` is the mean of the skills' rates."""

    model: str
    split: str
    skills: dict[str, SkillResult]

    @property
    def combined(self) -> Interval:
        """The mean over the skills, each counting alike, with its 95% interval."""
        return mean_of_rates([result.rate for result in self.skills.values()])

    def to_dict(self, *, outcomes: bool = True) -> dict[str, Any]:
        """Return everything as plain values for JSON; `outcomes=False` leaves out the items."""
        return {
            "model": self.model,
            "split": self.split,
            "combined": _interval_dict(self.combined),
            "skills": {
                name: {
                    **_interval_dict(result.rate),
                    "partial": result.partial,
                    "items": len(result.outcomes),
                    "templates": len({o.item.template for o in result.outcomes}),
                    **({"outcomes": _outcome_dicts(result)} if outcomes else {}),
                }
                for name, result in self.skills.items()
            },
        }

    def table(self) -> Table:
        """Return the evaluation as a table of one row."""
        return results_table([self])


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    skills: Sequence[str] = PAIR,
    split: str = "test",
    limit: int | None = None,
    name: str = "model",
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Ask a model every item of the shipped suites and score its greedy replies.

    `skills` names the suites: persona and agentic by default, digest where you ask for it.
    `limit` takes the first so many items of each suite; suites are shuffled, so these are a fair
    sample. Load the model in fp32 for results that do not depend on batching. Tune on
    `split="dev"`; the test split is for the final figure. `name` is what tables call the model.
    `progress` is called with the number of items just answered.

    Raises `UserError` for an unknown skill or split and for a limit below 1.
    """
    if not skills:
        raise UserError(f"no skills to evaluate; known skills are {', '.join(SKILLS)}")
    if limit is not None and limit < 1:
        raise UserError(f"limit {limit}: evaluate at least 1 item, or leave the limit out")
    suites = {skill: load_suite(skill, split)[:limit] for skill in dict.fromkeys(skills)}
    results = {}
    for skill, items in suites.items():
        replies = generate_replies(model, tokenizer, items, progress=progress)
        results[skill] = score_replies(skill, items, replies)
    return Evaluation(name, split, results)


def score_replies(skill: str, items: Sequence[Item], replies: Sequence[str]) -> SkillResult:
    """Score replies that were made elsewhere, one per item in the same order."""
    if len(items) != len(replies):
        raise UserError(f"{len(items)} items but {len(replies)} replies: give one reply per item")
    outcomes = [Outcome(i, r, score(i, r)) for i, r in zip(items, replies, strict=True)]
    return SkillResult.of(skill, outcomes)


def compare(first: Evaluation, second: Evaluation) -> dict[str, Interval]:
    """Return first minus second, per skill and `combined`, each with its 95% interval.

    Both must have answered the same items; comparing item by item is what makes small differences
    visible. An interval that excludes 0 is more than noise, for one comparison planned beforehand.

    Raises `UserError` when the two did not answer the same items.
    """
    if first.skills.keys() != second.skills.keys() or first.split != second.split:
        raise UserError(
            f"{first.model} and {second.model} were not evaluated on the same suites; "
            "use the same skills and split for both"
        )
    differences = {}
    for skill, result in first.skills.items():
        other = second.skills[skill]
        if [o.item for o in result.outcomes] != [o.item for o in other.outcomes]:
            raise UserError(
                f"{first.model} and {second.model} answered different {skill} items; "
                "use the same limit for both"
            )
        differences[skill] = paired_difference(
            [o.score.strict for o in result.outcomes],
            [o.score.strict for o in other.outcomes],
            [o.item.template for o in result.outcomes],
        )
    return {**differences, "combined": mean_of_rates(list(differences.values()))}


def results_table(evaluations: Iterable[Evaluation], *, title: str | None = None) -> Table:
    """Return a rich table: a row per model, a column per skill, combined last.

    Each cell shows the strict rate and its 95% interval.
    """
    from rich.table import Table

    rows = list(evaluations)
    skills = list(dict.fromkeys(skill for row in rows for skill in row.skills))
    table = Table(title=title, caption=_caption(rows))
    table.add_column("model", overflow="fold")
    for column in (*skills, "combined"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        cells = [str(row.skills[s].rate) if s in row.skills else "" for s in skills]
        table.add_row(row.model, *cells, str(row.combined))
    return table


def _caption(rows: Sequence[Evaluation]) -> str | None:
    if not rows:
        return None
    result = next(iter(rows[0].skills.values()))
    return f"{rows[0].split} split, {len(result.outcomes)} items a skill, 95% intervals"


def _interval_dict(interval: Interval) -> dict[str, float]:
    return {"rate": interval.estimate, "low": interval.low, "high": interval.high}


def _outcome_dicts(result: SkillResult) -> list[dict[str, Any]]:
    return [
        {
            "id": outcome.item.id,
            "template": outcome.item.template,
            "reply": outcome.reply,
            "strict": outcome.score.strict,
            "partial": outcome.score.partial,
            "reason": outcome.score.reason,
        }
        for outcome in result.outcomes
    ]
