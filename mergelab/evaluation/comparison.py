"""Several merges on the same items: a table with intervals, and whether the leader leads at all.

`compare_merges` merges and evaluates every candidate, one at a time; a `Comparison` ranks them.
The leader is held against every other row, item by item. As it was chosen by its score, its leads
are corrected (Holm) as if all pairs of rows had been compared: any row might have come first.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import combinations
from pathlib import Path
from typing import Any

from mergelab.checkpoints.loading import check_device, placed
from mergelab.errors import UserError
from mergelab.evaluation.candidates import Candidate
from mergelab.evaluation.choosing_scorers import STRICT
from mergelab.evaluation.leads import holm, lead, p_value
from mergelab.evaluation.portable import ROOT
from mergelab.evaluation.results import (
    Evaluation,
    compare,
    evaluate,
    how_judged,
    items_asked,
    paired_skills,
    what_was_asked,
)
from mergelab.evaluation.statistics import LEVEL, Interval
from mergelab.evaluation.suites import PAIR
from mergelab.recipes import make_plan
from mergelab.workers import Workers


@dataclass(frozen=True)
class Lead:
    """How far the leader is ahead of one row: the difference, and its p-value corrected by Holm."""

    difference: Interval
    p: float

    @property
    def beyond_noise(self) -> bool:
        """Whether it would be rare (1 in 20 comparisons like this) if no row were better."""
        return self.p < 1 - LEVEL

    def __str__(self) -> str:
        verdict = "more than noise" if self.beyond_noise else "within noise"
        return f"{self.difference}\np {_p(self.p)}, {verdict}"


@dataclass(frozen=True)
class Row:
    """One merge: its method, whether it is a baseline, and how it did."""

    method: str
    baseline: bool
    evaluation: Evaluation

    @property
    def name(self) -> str:
        """What the table calls it."""
        return self.evaluation.model


@dataclass(frozen=True)
class Comparison:
    """Merges ranked by combined score, the best first; `notes` say what is worth knowing."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, rows: Sequence[Row], notes: Sequence[str] = ()) -> Comparison:
        """Rank rows that answered the same items; of equals, the one named first comes first."""
        if not rows:
            raise UserError("nothing to compare: give at least one merge")
        for row in rows[1:]:
            compare(rows[0].evaluation, row.evaluation)  # refuses what answered other items
        ranked = sorted(rows, key=lambda row: -row.evaluation.combined.estimate)
        return cls(tuple(ranked), tuple(notes))

    @property
    def leader(self) -> Row:
        """The row with the highest combined score."""
        return self.rows[0]

    @cached_property
    def leads(self) -> dict[str, Lead]:
        """The leader's lead over every other row, by the row's name."""
        pairs = {
            (a.name, b.name): paired_skills(a.evaluation, b.evaluation)
            for a, b in combinations(self.rows, 2)
        }
        corrected = dict(
            zip(pairs, holm([p_value(found) for found in pairs.values()]), strict=True)
        )
        return {
            row.name: Lead(lead(pairs[pair]), corrected[pair])
            for row in self.rows[1:]
            for pair in [(self.leader.name, row.name)]
        }

    def conclusion(self) -> str:
        """Whether there is a winner, in a sentence or two."""
        if not self.leads:
            return f"{self.leader.name} is the only row, so there is nothing to compare it with."
        noise = [name for name, found in self.leads.items() if not found.beyond_noise]
        ahead = [name for name, found in self.leads.items() if found.beyond_noise]
        said = [f"{self.leader.name} has the highest combined score."]
        if ahead:
            said.append(f"Its lead over {_listed(ahead)} is more than noise.")
        if noise:
            better = "they" if len(noise) > 1 else "it"
            said.append(
                f"Its lead over {_listed(noise)} is within noise: on other items {better} could "
                "come out first."
            )
        return " ".join(said)

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for JSON, without the items."""
        rows = []
        for row in self.rows:
            found = self.leads.get(row.name)
            rows.append(
                {
                    "name": row.name,
                    "method": row.method,
                    "baseline": row.baseline,
                    **{
                        k: v
                        for k, v in row.evaluation.to_dict(outcomes=False).items()
                        if k != "model"
                    },
                    "behind": found
                    and {
                        "difference": found.difference.estimate,
                        "low": found.difference.low,
                        "high": found.difference.high,
                        "p_holm": found.p,
                        "more_than_noise": found.beyond_noise,
                    },
                }
            )
        return {"conclusion": self.conclusion(), "rows": rows, "notes": list(self.notes)}


def compare_merges(
    candidates: Sequence[Candidate],
    *,
    notes: Sequence[str] = (),
    skills: Sequence[str] = PAIR,
    split: str = "dev",
    limit: int | None = None,
    options: dict[str, Any] | None = None,
    asking: dict[str, Any] | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    workers: Workers | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Comparison:
    """Merge and evaluate every candidate and rank them.

    Compare on `split="dev"`: what wins there is then measured once on test. `options` go to
    `merge`, `asking` to `evaluate` (`suites`, `scorer`, `system`, sizes); `device` and `dtype` are
    those of the merged model while it answers. `workers` share the candidates; without any they
    are merged here, one after the other. `progress` is called with (items answered, items in all,
    what is done now).

    Raises `UserError` for unknown skills or splits, for items that the scorer cannot judge, and for
    a device that is not here, before anything is merged.
    """
    asking = asking or {}
    check_device(device, dtype)
    asked = items_asked(skills, split, limit, asking.get("suites"), asking.get("scorer", STRICT))
    each = sum(map(len, asked.values()))
    total, done = len(candidates) * each, 0
    questions = {"skills": list(asked), "split": split, "limit": limit, **asking}
    measure = partial(_measured, options or {}, questions, device, dtype)

    def answered(items: int, name: str) -> None:
        nonlocal done
        done += items
        if progress:
            progress(done, total, name)

    if workers is None:
        results = []
        for candidate in candidates:
            answered(0, f"merging {candidate.name}")
            count = partial(answered, name=candidate.name)
            results.append(measure((candidate.name, candidate.load, count)))
    else:
        allowed = {name: value for name, value in (options or {}).items() if name != "seed"}
        tasks = [
            (candidate.name, _Away(candidate.elsewhere(**allowed).source, allowed), None)
            for candidate in candidates
        ]
        results = workers.map(measure, tasks, lambda place, _: answered(each, tasks[place][0]))
    rows = [
        Row(candidate.plan.method.name, candidate.baseline, result)
        for candidate, result in zip(candidates, results, strict=True)
    ]
    chance = [candidate.name for candidate in candidates if candidate.plan.method.random]
    extra = (
        [
            f"{_listed(chance)}: one draw of the random numbers; the intervals hold for this draw, "
            "another --seed gives another model"
        ]
        if chance
        else []
    )
    return Comparison.of(rows, [*notes, *extra])


@dataclass(frozen=True)
class _Away:
    """What loads a candidate in another process: its plan holds open files, so it is made there."""

    recipe: Any
    allowed: dict[str, bool]

    def __call__(self, **options: Any) -> tuple[Any, Any]:
        plan = make_plan(self.recipe, folders=ROOT, **self.allowed)
        return Candidate("", self.recipe, plan).load(**options)


def _measured(
    options: dict[str, Any],
    questions: dict[str, Any],
    device: str,
    dtype: str,
    task: tuple[str, Callable[..., tuple[Any, Any]], Callable[[int], None] | None],
) -> Evaluation:
    """Load a candidate and ask it; the model is gone before the next is loaded."""
    name, load, count = task
    model, tokenizer = load(**options)
    return evaluate(placed(model, device, dtype), tokenizer, name=name, progress=count, **questions)


def comparison_table(found: Comparison) -> Any:
    """The comparison as a rich table, the best row first."""
    from rich.table import Table

    asked, judged = (say(found.leader.evaluation) for say in (what_was_asked, how_judged))
    table = Table(
        caption=f"{asked}, 95% intervals; p of a lead corrected for comparing all pairs (Holm)"
        f"{judged}"
    )
    table.add_column("merge", overflow="fold")
    for column in (*found.leader.evaluation.skills, "combined", f"lead of {found.leader.name}"):
        table.add_column(column, justify="right")
    for row, cells in zip(found.rows, _cells(found), strict=True):
        table.add_row(*cells, style="bold" if row is found.leader else None)
    return table


def as_markdown(found: Comparison) -> str:
    """The comparison as a page: table, conclusion, notes."""
    evaluation = found.leader.evaluation
    head = ["merge", *evaluation.skills, "combined", f"lead of {found.leader.name}"]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    rows += [[cell.replace("\n", "<br>") for cell in cells] for cells in _cells(found)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines += [
        "",
        f"{what_was_asked(evaluation)}, 95% intervals; p corrected for comparing all pairs (Holm)"
        f"{how_judged(evaluation)}.",
        "",
        found.conclusion(),
    ]
    lines += [part for note in found.notes for part in ("", f"Note: {note}")]
    return "\n".join(lines) + "\n"


def _cells(found: Comparison) -> list[list[str]]:
    return [
        [
            row.name,
            *(str(result.rate) for result in row.evaluation.skills.values()),
            str(row.evaluation.combined),
            str(found.leads.get(row.name, "")),
        ]
        for row in found.rows
    ]


def write_comparison(found: Comparison, folder: Path) -> None:
    """Write `summary.csv`, `.json` and `.md`, and `items.csv` with every reply and score."""
    (folder / "summary.md").write_text(as_markdown(found), encoding="utf-8")
    text = json.dumps(found.to_dict(), indent=2)
    (folder / "summary.json").write_text(text + "\n", encoding="utf-8")
    skills = list(found.leader.evaluation.skills)
    with (folder / "summary.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        columns = [*skills, "combined", "leader_ahead"]
        ends = [f"{column}{end}" for column in columns for end in ("", "_low", "_high")]
        writer.writerow(
            ["merge", "method", "baseline", "split", *ends, "p_holm", "more_than_noise"]
        )
        for row in found.rows:
            ahead = found.leads.get(row.name)
            rates = [result.rate for result in row.evaluation.skills.values()]
            intervals = [*rates, row.evaluation.combined, ahead and ahead.difference]
            writer.writerow(
                [
                    row.name,
                    row.method,
                    "yes" if row.baseline else "no",
                    row.evaluation.split,
                    *(cell for interval in intervals for cell in _bounds(interval)),
                    f"{ahead.p:.3g}" if ahead else "",
                    ("yes" if ahead.beyond_noise else "no") if ahead else "",
                ]
            )
    with (folder / "items.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        marks, words = ["strict", "partial"], ["prompt", "reply", "reason", "scorer"]
        writer.writerow(["merge", "skill", "id", "template", *marks, *words])
        for row in found.rows:
            for skill, result in row.evaluation.skills.items():
                for outcome in result.outcomes:
                    item, score = outcome.item, outcome.score
                    marks = (int(score.strict), f"{score.partial:.4f}")
                    words = (item.input, outcome.reply, score.reason, result.scorer)
                    writer.writerow([row.name, skill, item.id, item.template, *marks, *words])


def _bounds(interval: Interval | None) -> list[str]:
    if interval is None:
        return [""] * 3
    return [f"{value:.4f}" for value in (interval.estimate, interval.low, interval.high)]


def _p(value: float) -> str:
    return "below .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
