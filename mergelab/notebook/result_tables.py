"""Tables of what was measured: scores, differences, a sweep, replies, a merge report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mergelab.evaluation.results import Evaluation, compare
from mergelab.evaluation.statistics import Interval
from mergelab.notebook.tables import Table
from mergelab.notebook.verdicts import beyond_noise
from mergelab.report import MergeReport
from mergelab.report_table import row_cells


def change(difference: Interval) -> str:
    """A difference with its interval, with real minus signs.

    >>> change(Interval(-0.02, -0.05, 0.01))
    '−0.020 [−0.050, +0.010]'
    """
    text = f"{difference.estimate:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"
    return text.replace("-", "−")


def scores_table(evaluations: Sequence[Evaluation], *, caption: str = "") -> Table:
    """A row for each model: its rate on every skill and combined, with 95% intervals."""
    skills = list(dict.fromkeys(skill for e in evaluations for skill in e.skills))
    first = next(iter(evaluations[0].skills.values()))
    rows = [
        [e.model, *(str(e.skills[s].rate) if s in e.skills else "" for s in skills), e.combined]
        for e in evaluations
    ]
    note = f"{evaluations[0].split} split, {len(first.outcomes)} items a skill, 95% intervals"
    title = f"{caption}: {note}" if caption else note
    return Table(["", *skills, "combined"], rows, caption=title[0].upper() + title[1:])


def differences_table(
    pairs: Sequence[tuple[str, Evaluation, Evaluation]], *, caption: str = ""
) -> Table:
    """A row for each comparison: first minus second on the same items, with 95% intervals."""
    rows = [
        [label, *(change(d) for d in compare(first, second).values())]
        for label, first, second in pairs
    ]
    skills = list(compare(pairs[0][1], pairs[0][2]))
    return Table(["", *skills], rows, caption=caption)


def sweep_table(
    measured: Mapping[float, Evaluation],
    sizes: Mapping[float, float],
    published: Mapping[float, float] | None = None,
    *,
    knob: str = "density",
) -> Table:
    """A row for each position of a dial: scores, the published one if any, and the merge's size."""
    published = published or {}
    first = next(iter(measured.values()))
    rows = []
    for x in sorted(measured):
        rates = [f"{result.rate.estimate:.3f}" for result in measured[x].skills.values()]
        theirs = [f"{published[x]:.3f}" if x in published else ""] if published else []
        rows.append([f"{x:g}", *rates, measured[x].combined, *theirs, f"{sizes[x]:.2f}"])
    items = len(next(iter(first.skills.values())).outcomes)
    return Table(
        [knob, *first.skills, "combined", *(["published"] if published else []), "size"],
        rows,
        caption=f"{first.split.capitalize()} split, {items} items a skill",
    )


def sizes_table(curves: Mapping[str, Sequence[tuple[float, Evaluation]]]) -> Table:
    """Two methods at the same sizes: their combined scores and the difference, second minus first.

    `curves` maps two methods to (size, evaluation) pairs over the same sizes.
    """
    (one, first), (other, second) = ((name, dict(points)) for name, points in curves.items())
    rows = []
    for size in sorted(second):
        difference = compare(second[size], first[size])["combined"]
        rows.append(
            [
                f"{size:.2f}",
                f"{first[size].combined.estimate:.3f}",
                f"{second[size].combined.estimate:.3f}",
                change(difference),
                {1: other, -1: one, 0: "cannot tell"}[beyond_noise(difference)],
            ]
        )
    return Table(["size", one, other, "difference", "ahead"], rows)


def replies_table(evaluations: Sequence[Evaluation]) -> Table:
    """What models said to the same prompts: of each skill the first item, and one that went wrong.

    The one that went wrong is the first after it that the last model got wrong, if there is any.
    """
    last = evaluations[-1]
    rows = []
    for skill, result in last.skills.items():
        wrong = [n for n, outcome in enumerate(result.outcomes) if not outcome.score.strict and n]
        for n in [0, *wrong[:1]]:
            replies = [_reply(evaluation, skill, n) for evaluation in evaluations]
            rows.append([result.outcomes[n].item.input, *replies])
    return Table(
        ["prompt", *(evaluation.model for evaluation in evaluations)],
        rows,
        text_columns=range(len(evaluations) + 1),
        caption=f"✓ scored, ✗ did not; the first item of each skill, and the next that "
        f"{last.model} got wrong",
    )


def _reply(evaluation: Evaluation, skill: str, n: int) -> str:
    outcome = evaluation.skills[skill].outcomes[n]
    return f"{'✓' if outcome.score.strict else '✗'} {outcome.reply}"


def merge_report_table(report: MergeReport) -> Table:
    """What a merge did, a row for each layer and one for the total, as `mergelab merge` prints."""
    removed = [f"{report.removed_word}: {_short(s)}" for s in report.sources]
    columns = ["", "entries", *(removed if report.removed_word else [])]
    columns += ["sign conflicts", "resolved", "magnitude kept", "angle"]
    summaries = [*report.per_layer(), report.total()]
    return Table(
        columns,
        [row_cells(report, summary) for summary in summaries],
        caption=f"{report.method} of {' and '.join(report.sources)}",
        strong={len(summaries) - 1},
    )


def _short(name: str) -> str:
    return name.removeprefix("task_api_")
