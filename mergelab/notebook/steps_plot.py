"""The figure of the TIES stepper: a row for each task vector, one for the vote, one merged."""

from __future__ import annotations

from typing import Any

from matplotlib.patches import Rectangle

from mergelab.notebook.picture import Picture
from mergelab.notebook.steps import STEPS, Steps, signed, story
from mergelab.notebook.style import (
    AGREE,
    CONFLICT,
    CONFLICT_HATCH,
    DROPPED,
    FAINT,
    INK,
    METHODS,
    new_figure,
    source_colour,
    styled,
)

TIES_COLOUR = METHODS["ties"][0]


@styled
def steps_figure(steps: Steps, step: int = len(STEPS), entry: int = 0, title: str = "") -> Picture:
    """Draw TIES on a few entries up to a step (1 to 4), with one entry (from 0) marked.

    Bars are changes of a parameter. Trimmed ones turn pale, those that lost the vote are hatched.
    The frame is the same at every step, so that nothing jumps.
    """
    sources, entries = steps.raw.shape
    figure = new_figure(9.4, 0.95 * sources + 2.5)
    axes = figure.subplots(sources + 2, 1, sharex=True, height_ratios=[1.0] * sources + [0.55, 1.0])
    limit = float(steps.raw.abs().max()) * 1.45 or 1.0
    for i in range(sources):
        _source_row(axes[i], steps, i, step, limit)
    _vote_row(axes[sources], steps, step)
    _merge_row(axes[sources + 1], steps, step, limit)
    for axis in axes:
        axis.axvspan(entry + 0.5, entry + 1.5, facecolor="#FFF3C4", edgecolor="none", zorder=0)
        axis.grid(False)
        axis.tick_params(length=0)
    axes[-1].set_xticks(range(1, entries + 1))
    axes[-1].set_xlim(0.4, entries + 0.6)
    axes[-1].set_xlabel("entry of the task vectors")
    heading = f"Step {step} of {len(STEPS)}: {STEPS[step - 1]}"
    axes[0].set_title(f"{title}: {heading.lower()}" if title else heading)
    figure.align_ylabels()
    return Picture(figure, f"{heading}. Bars for {entries} entries. {story(steps, entry, step)}")


def _source_row(axis: Any, steps: Steps, i: int, step: int, limit: float) -> None:
    colour = source_colour(steps.names[i], i)
    for n, value in enumerate(steps.raw[i].tolist()):
        trimmed = step >= 2 and value != 0 and float(steps.trimmed[i, n]) == 0
        lost = step >= 3 and not trimmed and value != 0 and not bool(steps.agrees[i, n])
        look: dict[str, Any] = {"facecolor": colour, "edgecolor": colour}
        if trimmed:
            look = {"facecolor": DROPPED, "edgecolor": DROPPED}
        elif lost:
            look = {"facecolor": "white", "edgecolor": CONFLICT, "hatch": CONFLICT_HATCH}
        axis.bar(n + 1, value, 0.62, **look)
        _number(axis, n + 1, value, limit, FAINT if trimmed else INK)
    weight = steps.weights[i]
    _label(axis, steps.names[i] + (f"\nweight {weight:g}" if weight != 1 else ""), colour)
    _frame(axis, limit)


def _number(axis: Any, x: float, value: float, limit: float, colour: str, weight: str = "normal"):
    offset = limit * 0.04
    axis.text(
        x,
        value + (offset if value >= 0 else -offset),
        signed(value),
        ha="center",
        va="bottom" if value >= 0 else "top",
        fontsize=9,
        color=colour,
        fontweight=weight,
    )


def _frame(axis: Any, limit: float) -> None:
    axis.axhline(0, color="#8C9196", linewidth=0.8, zorder=1)
    axis.set_ylim(-limit, limit)
    axis.set_yticks([])
    for side in ("left", "bottom"):
        axis.spines[side].set_visible(False)


def _label(axis: Any, text: str, colour: str) -> None:
    axis.set_ylabel(text, rotation=0, ha="right", va="center", color=INK, labelpad=14)
    marker = Rectangle(
        (-0.012, 0.2), 0.005, 0.6, transform=axis.transAxes, color=colour, clip_on=False
    )
    axis.add_patch(marker)


def _vote_row(axis: Any, steps: Steps, step: int) -> None:
    _frame(axis, 1.0)
    _label(axis, f"elected sign\n(by {steps.election})", AGREE)
    if step < 3:
        return
    for n, sign in enumerate(steps.sign.tolist()):
        glyph = {1.0: "+", -1.0: "−", 0.0: "0"}[sign]
        axis.text(
            n + 1,
            0,
            glyph,
            ha="center",
            va="center",
            fontsize=17 if sign else 12,
            fontweight="bold" if sign else "normal",
            color=INK if sign else FAINT,
        )


def _merge_row(axis: Any, steps: Steps, step: int, limit: float) -> None:
    _frame(axis, limit)
    _label(axis, "merged", TIES_COLOUR)
    if step < 4:
        return
    for n, value in enumerate(steps.merged.tolist()):
        axis.bar(n + 1, value, 0.62, facecolor=TIES_COLOUR)
        _number(axis, n + 1, value, limit, TIES_COLOUR, "bold")
