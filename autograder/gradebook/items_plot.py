"""The figure of an item analysis: how hard each exercise was, who got what, and what it tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from mergelab.notebook.style import (
    AGREE,
    CONFLICT,
    CONFLICT_HATCH,
    DROPPED,
    FAINT,
    INK,
    SOURCES,
    new_figure,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from autograder.gradebook.items import Item


@styled
def items_plot(items: Sequence[Item]) -> Figure:
    """A row for each exercise: mean share with interval, zero to full marks, discrimination."""
    lessons = list(dict.fromkeys(item.lesson for item in items))
    names = [_label(item, with_lesson=len(lessons) > 1) for item in items]
    figure = new_figure(11, 1.9 + 0.55 * len(items))
    figure.suptitle(f"Exercises of {', '.join(lessons)}", x=0.01, ha="left", weight="bold")
    hard, marks, tells = figure.subplots(1, 3, sharey=True, width_ratios=(4, 4, 3))
    hard.set_yticks(range(len(items)), names)
    hard.set_ylim(len(items) - 0.5, -0.5)
    _difficulty(hard, items)
    _marks(marks, items)
    _discrimination(tells, items)
    return figure


def _label(item: Item, *, with_lesson: bool) -> str:
    name = item.exercise.split("/")[-1]
    return f"{f'{item.lesson}: ' if with_lesson else ''}{name}\nn = {item.submissions}"


def _difficulty(panel: Axes, items: Sequence[Item]) -> None:
    for place, item in enumerate(items):
        panel.errorbar(
            item.mean,
            place,
            xerr=[[item.mean - item.low], [item.high - item.mean]],
            fmt="o",
            color=SOURCES[0],
            capsize=3,
            linewidth=1.4,
            clip_on=False,
        )
    panel.set_xlim(0, 1)
    panel.set_title("How hard")
    panel.set_xlabel("mean share of points, 95% interval")


def _marks(panel: Axes, items: Sequence[Item]) -> None:
    places = range(len(items))
    zero = [item.zero for item in items]
    full = [item.full for item in items]
    some = [1 - a - b for a, b in zip(zero, full, strict=True)]
    height = 0.6
    panel.barh(
        places, zero, height, label="none", color="white", edgecolor=CONFLICT, hatch=CONFLICT_HATCH
    )
    panel.barh(places, some, height, left=zero, label="some", color=DROPPED, edgecolor=FAINT)
    start = [a + b for a, b in zip(zero, some, strict=True)]
    panel.barh(places, full, height, left=start, label="all", color=AGREE, edgecolor=INK)
    panel.set_xlim(0, 1)
    panel.set_title("Points")
    panel.set_xlabel("share of submissions")
    # On the title's line, above the bars it explains.
    panel.legend(
        loc="lower right",
        bbox_to_anchor=(1.02, 0.99),
        ncols=3,
        handlelength=1.4,
        columnspacing=1.0,
        handletextpad=0.5,
        borderaxespad=0.1,
    )


def _discrimination(panel: Axes, items: Sequence[Item]) -> None:
    panel.set_xlim(-1, 1)
    panel.axvline(0, color=FAINT, linewidth=1)
    for place, item in enumerate(items):
        if item.discrimination is None:
            panel.text(
                0.04, place, item.discrimination_text(), color=FAINT, va="center", fontsize=10
            )
            continue
        value, low, high = item.discrimination
        panel.errorbar(
            value,
            place,
            xerr=[[value - low], [high - value]],
            fmt="D",
            color=INK,
            capsize=3,
            linewidth=1.4,
            clip_on=False,
        )
    panel.set_title("Discrimination")
    panel.set_xlabel("correlation with the other\nexercises, 95% interval")


def describe_plot(items: Sequence[Item]) -> str:
    """The figure in words, for those who cannot see it."""
    found = []
    for item in items:
        words = (
            f"{item.exercise}: {item.submissions} submissions, mean share of points "
            f"{item.mean:.2f} ({item.low:.2f} to {item.high:.2f}), {item.zero:.0%} with no points, "
            f"{item.full:.0%} with all"
        )
        if item.discrimination is not None:
            words += f", discrimination {item.discrimination[0]:.2f}"
        found.append(words)
    return "Exercises of a class. " + "; ".join(found) + "."
