"""Results: one model on the suites, several models in a table, two models compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mergelab.errors import UserError
from mergelab.evaluation.choosing_scorers import STRICT, Scorer
from mergelab.evaluation.generation import BATCH_SIZE, MAX_NEW_TOKENS, generate_replies
from mergelab.evaluation.leads import Paired, paired
from mergelab.evaluation.scorers import Score
from mergelab.evaluation.statistics import (
    Interval,
    mean_of_rates,
    paired_difference,
    rate_interval,
)
from mergelab.evaluation.suites import PAIR, SKILLS, SPLITS, Item, load_suite

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
    """How a model did on one suite: the rate of right replies with its interval, every outcome.

    `scorer` says how replies were judged.
    """

    skill: str
    rate: Interval
    partial: float
    outcomes: tuple[Outcome, ...]
    scorer: str = "strict"

    @classmethod
    def of(cls, skill: str, outcomes: Sequence[Outcome], scorer: str = "strict") -> SkillResult:
        """Summarise outcomes; items of one template form a cluster."""
        rate = rate_interval(
            [o.score.strict for o in outcomes], [o.item.template for o in outcomes]
        )
        partial = sum(o.score.partial for o in outcomes) / len(outcomes)
        return cls(skill, rate, partial, tuple(outcomes), scorer)

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
                    "scorer": result.scorer,
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
    suites: Mapping[str, Sequence[Item]] | None = None,
    scorer: Scorer = STRICT,
    system: Mapping[str, str] | None = None,
    batch_size: int = BATCH_SIZE,
    max_new_tokens: int = MAX_NEW_TOKENS,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Ask a model every item of the shipped suites, or of `suites`, and score its greedy replies.

    `skills` names the suites: persona and agentic by default, digest where you ask for it.
    `limit` takes the first so many items of each suite; suites are shuffled, so these are a fair
    sample. Load the model in fp32 for results that do not depend on batching. Tune on
    `split="dev"`; the test split is for the final figure. `name` is what tables call the model.
    `progress` is called with the number of items just answered.

    `suites` stand in for the shipped ones, items by skill (`suites.by_skill`); `split` is then what
    results call them. `scorer` is one of `choose_scorer`. `system`, `batch_size` and
    `max_new_tokens` are as for `generate_replies`.

    Raises `UserError` for an unknown skill or split, for a limit below 1, and for items that the
    scorer cannot judge, before the model is asked anything.
    """
    asked = items_asked(skills, split, limit, suites, scorer)
    options = {"batch_size": batch_size, "max_new_tokens": max_new_tokens, "system": system}
    results = {}
    for skill, items in asked.items():
        replies = generate_replies(model, tokenizer, items, progress=progress, **options)
        results[skill] = score_replies(skill, items, replies, scorer)
    return Evaluation(name, split, results)


def items_asked(
    skills: Sequence[str],
    split: str,
    limit: int | None = None,
    suites: Mapping[str, Sequence[Item]] | None = None,
    scorer: Scorer = STRICT,
) -> dict[str, Sequence[Item]]:
    """Return the items that `evaluate` asks, by skill; raises `UserError` as it does."""
    skills = list(suites) if suites is not None else list(dict.fromkeys(skills))
    if not skills:
        raise UserError(f"no skills to evaluate; known skills are {', '.join(SKILLS)}")
    if limit is not None and limit < 1:
        raise UserError(f"limit {limit}: evaluate at least 1 item, or leave the limit out")
    found = {skill: suites[skill] if suites else load_suite(skill, split) for skill in skills}
    for items in found.values():
        scorer.check(items[:limit])
    return {skill: items[:limit] for skill, items in found.items()}


def score_replies(
    skill: str, items: Sequence[Item], replies: Sequence[str], scorer: Scorer = STRICT
) -> SkillResult:
    """Score replies that were made elsewhere, one per item of the skill in the same order."""
    if len(items) != len(replies):
        raise UserError(f"{len(items)} items but {len(replies)} replies: give one reply per item")
    part = scorer.parts[skill]
    scores = part.scores(items, replies)
    outcomes = [Outcome(i, r, s) for i, r, s in zip(items, replies, scores, strict=True)]
    return SkillResult.of(skill, outcomes, part.name)


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
        if result.scorer != other.scorer:
            raise UserError(
                f"{first.model} and {second.model} were scored differently ({result.scorer}, "
                f"{other.scorer}); use the same scorer for both"
            )
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


def paired_skills(first: Evaluation, second: Evaluation) -> list[Paired]:
    """Compare two evaluations of the same items item by item, skill by skill, for `lead`."""
    return [
        paired(
            [outcome.score.strict for outcome in result.outcomes],
            [outcome.score.strict for outcome in second.skills[skill].outcomes],
            [outcome.item.template for outcome in result.outcomes],
        )
        for skill, result in first.skills.items()
    ]


def results_table(evaluations: Iterable[Evaluation], *, title: str | None = None) -> Table:
    """Return a rich table: a row per model, a column per skill, combined last.

    Each cell shows the rate of right replies and its 95% interval. The caption names the scorer
    where it is not the strict one.
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
    return f"{what_was_asked(rows[0])}, 95% intervals{how_judged(rows[0])}"


def what_was_asked(evaluation: Evaluation) -> str:
    """Say which items an evaluation is of: the split, or the file of one's own, and how many."""
    counts = {skill: len(result.outcomes) for skill, result in evaluation.skills.items()}
    same = len(set(counts.values())) == 1
    number = next(iter(counts.values())) if same else ""
    many = f"{number} items a skill" if same else ", ".join(f"{n} {s}" for s, n in counts.items())
    suite = f"{evaluation.split} split" if evaluation.split in SPLITS else evaluation.split
    return f"{suite}, {many}"


def how_judged(evaluation: Evaluation) -> str:
    """Say which scorers gave the figures, or nothing where all are strict.

    >>> found = SkillResult("persona", Interval(0.5, 0.4, 0.6), 0.5, (), "free")
    >>> how_judged(Evaluation("m", "dev", {"persona": found}))
    '; judged by: persona free'
    """
    scorers = {skill: result.scorer for skill, result in evaluation.skills.items()}
    if set(scorers.values()) <= {"strict"}:
        return ""
    return "; judged by: " + "; ".join(f"{skill} {name}" for skill, name in scorers.items())


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
