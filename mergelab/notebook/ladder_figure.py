"""The figure of the ladder: methods against conflict, and one rung skill by skill."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mergelab.evaluation.ladder import LadderRow, read_ladder
from mergelab.evaluation.suites import PAIR
from mergelab.notebook.picture import Picture
from mergelab.notebook.style import METHODS, SOURCE_OF, new_figure, styled

SHOWN = {"default": ("linear", "slerp", "ties"), "best": ("task_arithmetic", "slerp", "ties")}
NAMES = {
    "linear": "linear .5 / .5",
    "task_arithmetic": "task arithmetic",
    "slerp": "slerp, t .5",
    "ties": "ties, density .5",
}
MARKED = "#FFF3C4"
SKILL_MARKERS = {"persona": "o", "agentic": "s"}


def shown_rows(rows: Sequence[LadderRow], scale: str) -> list[LadderRow]:
    """The merges that belong on a figure of one scale; slerp has no lambda and is on both."""
    return [
        row
        for method in SHOWN[scale]
        for row in rows
        if row.method == method and row.scale == ("default" if method == "slerp" else scale)
    ]


@styled
def ladder_plot(
    rows: Sequence[LadderRow] | None = None,
    *,
    scale: str = "default",
    rung: int | None = None,
    score: str = "combined",
) -> Picture:
    """Draw the scores of the methods against the share of own style, with 95% intervals.

    `scale` is `default` or `best`; `score` persona, agentic or combined. With a `rung` (its share
    in percent) that rung is marked, and a second panel shows its methods on both skills.
    """
    shown = shown_rows(read_ladder() if rows is None else rows, scale)
    rungs = sorted({row.own_style for row in shown})
    figure = new_figure(7.0 if rung is None else 10.6, 3.7)
    left, *right = figure.subplots(
        1, 1 if rung is None else 2, width_ratios=[1.0] if rung is None else [1.0, 0.85],
        squeeze=False,
    )[0]  # fmt: skip
    if rung is not None:
        place = rungs.index(rung)
        left.axvspan(place - 0.4, place + 0.4, facecolor=MARKED, edgecolor="none", zorder=0)
        _rung_panel(right[0], [row for row in shown if row.own_style == rung], rung)
    for n, method in enumerate(SHOWN[scale]):
        _line(left, [row for row in shown if row.method == method], rungs, score, n)
    left.set_xticks(range(len(rungs)), [f"{share}%" for share in rungs])
    left.set_xlim(-0.5, len(rungs) - 0.5)
    left.set_ylim(0, 1)
    left.set_xlabel("own-style share of the pair: more conflict to the right")
    left.set_ylabel(f"{score} score on test")
    left.set_title({"default": "At the default scale", "best": "At the best scale on dev"}[scale])
    left.legend(loc="lower left")
    return Picture(figure, _words(shown, rungs, scale, score))


def _line(axis: Any, rows: Sequence[LadderRow], rungs: list[int], score: str, n: int) -> None:
    colour, marker = METHODS[rows[0].method]
    rates = [row.rates[score] for row in rows]
    axis.errorbar(
        [rungs.index(row.own_style) + 0.09 * (n - 1) for row in rows],
        [rate.estimate for rate in rates],
        yerr=_arms(rates),
        fmt=f"{marker}-",
        color=colour,
        label=NAMES[rows[0].method],
        capsize=2,
        elinewidth=1.2,
        linewidth=1.4,
    )


def _arms(rates: Sequence[Any]) -> list[list[float]]:
    return [[r.estimate - r.low for r in rates], [r.high - r.estimate for r in rates]]


def _rung_panel(axis: Any, rows: Sequence[LadderRow], rung: int) -> None:
    for shift, skill in zip((-0.15, 0.15), PAIR, strict=True):
        rates = [row.rates[skill] for row in rows]
        axis.errorbar(
            [rate.estimate for rate in rates],
            [place + shift for place in range(len(rows))],
            xerr=_arms(rates),
            fmt=SKILL_MARKERS[skill],
            color=SOURCE_OF[skill],
            label=skill,
            capsize=2,
            elinewidth=1.2,
            clip_on=False,
        )
    names = [
        NAMES[row.method] + (f"\nλ = {row.lam:g}" if row.lam is not None else "") for row in rows
    ]
    axis.set_yticks(range(len(rows)), names)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlim(0, 1)
    axis.set_facecolor(MARKED)
    axis.grid(color="white")
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel("share of held-out prompts answered right")
    axis.set_title(f"Own style {rung}%")
    axis.legend(loc="lower right", bbox_to_anchor=(1.02, 0.985), ncols=2, columnspacing=1.0)


def _words(rows: Sequence[LadderRow], rungs: list[int], scale: str, score: str) -> str:
    lines = [
        f"{NAMES[method]}: "
        + ", ".join(
            f"{row.rates[score].estimate:.3f} at {row.own_style}%"
            for row in rows
            if row.method == method
        )
        for method in SHOWN[scale]
    ]
    return (
        f"{score.capitalize()} scores of three methods at the {scale} scale, for own-style shares "
        f"of {', '.join(f'{share}%' for share in rungs)}. " + ". ".join(lines) + "."
    )
