"""The figures of the first lesson: task vectors, the line between two models, the spine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mergelab.evaluation.results import Evaluation
from mergelab.notebook.picture import Picture
from mergelab.notebook.plots import _error
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

_PERSONA, _AGENTIC = (3.0, 0.5), (0.7, 2.4)


def _arrow(axis: Any, tip: tuple[float, float], colour: str, **how: Any) -> None:
    start = how.pop("start", (0.0, 0.0))
    style = {"arrowstyle": "-|>", "color": colour, "linewidth": 2.4, "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", xy=tip, xytext=start, arrowprops={**style, "mutation_scale": 18, **how})


@styled
def arrows_plot() -> Picture:
    """Two task vectors as arrows from the base: their sum, their average, and one turned round."""
    figure = new_figure(8.2, 4.0)
    axis = figure.subplots()
    persona, agentic = source_colour("persona"), source_colour("agentic")
    total = (_PERSONA[0] + _AGENTIC[0], _PERSONA[1] + _AGENTIC[1])
    middle = (total[0] / 2, total[1] / 2)
    for start in (_PERSONA, _AGENTIC):
        axis.plot(*zip(start, total, strict=True), ":", color=FAINT, linewidth=1.4)
    axis.plot([0, total[0]], [0, total[1]], "-", color=DROPPED, linewidth=1.6, zorder=0)
    _arrow(axis, _PERSONA, persona)
    _arrow(axis, _AGENTIC, agentic)
    _arrow(axis, (-_PERSONA[0] * 0.55, -_PERSONA[1] * 0.55), persona, linestyle=(0, (4, 2)))
    axis.plot(0, 0, "o", color=INK, markersize=11)
    axis.plot(*middle, marker=METHODS["linear"][1], color=METHODS["linear"][0], markersize=11)
    sum_colour, sum_marker = METHODS["task_arithmetic"]
    axis.plot(*total, marker=sum_marker, color=sum_colour, markersize=11)
    texts = [
        (0.05, -0.33, "base", "left", INK),
        (2.0, -0.02, "+ persona: gain a skill", "left", persona),
        (-0.08, 1.45, "+ agentic: gain another", "right", INK),
        (-1.7, -0.02, "− persona: forget it", "center", persona),
        (middle[0] - 0.15, middle[1] + 0.28, "average:\nhalf of each", "right", INK),
        (total[0] - 0.13, total[1] + 0.12, "sum: all of both", "right", INK),
    ]
    for x, y, text, side, colour in texts:
        axis.text(x, y, text, ha=side, va="center", color=colour, fontsize=11)
    axis.set_xlim(-2.9, 4.6)
    axis.set_ylim(-0.6, 3.25)
    axis.axis("off")
    axis.set_title("A model is a point, what training changed is an arrow")
    return Picture(
        figure,
        "The base is a point. One arrow leads from it to the persona model, another to the agentic "
        "model. Their sum is the far corner of the parallelogram, their average lies half way to "
        "it. The persona arrow turned round, dashed, leads away from the skill.",
    )


@styled
def parts_plot(curves: Mapping[str, Mapping[float, Evaluation]], *, title: str = "") -> Picture:
    """The score on an adapter's own skill against the scale its task vector is added with.

    `curves`: skill to (scale to evaluation).
    """
    figure = new_figure(8.2, 3.8)
    axis = figure.subplots()
    said = []
    for marker, (skill, points) in zip("PXsv", curves.items(), strict=False):
        at = sorted(points)
        rates = [points[x].skills[skill].rate for x in at]
        axis.errorbar(
            at,
            [rate.estimate for rate in rates],
            yerr=[[_error(rate)[side][0] for rate in rates] for side in (0, 1)],
            color=source_colour(skill),
            marker=marker,
            capsize=3,
            label=f"base + scale × {skill}, scored on {skill}",
        )
        steps = ", ".join(f"{x:g}: {r.estimate:.2f}" for x, r in zip(at, rates, strict=True))
        said.append(f"{skill} by scale {steps}")
    axis.axvline(1, color=FAINT, linewidth=1, linestyle="--")
    axis.text(1.01, 0.03, "as trained", color=FAINT, fontsize=10)
    axis.set_xlabel("scale of the task vector (0 = base, 1 = fine-tuned model)")
    axis.set_ylabel("share of items right")
    axis.set_ylim(-0.04, 1.04)
    axis.legend(loc="center right", frameon=True, edgecolor="none", framealpha=1)
    if title:
        axis.set_title(title)
    return Picture(figure, f"{title or 'Score against scale'}, 95% intervals. {'; '.join(said)}.")


@styled
def basin_plot(
    lines: Mapping[str, Mapping[float, Evaluation]], skill: str, *, title: str = ""
) -> Picture:
    """The score on one skill along straight lines between models, with 95% intervals.

    `lines`: what a line joins to (share of the second model to evaluation).
    """
    figure = new_figure(8.2, 3.8)
    axis = figure.subplots()
    looks = (("#117733", "o", "-"), (CONFLICT, "s", "--"), (AGREE, "^", ":"))
    said = []
    for (colour, marker, dashes), (label, points) in zip(looks, lines.items(), strict=False):
        at = sorted(points)
        rates = [points[x].skills[skill].rate for x in at]
        axis.errorbar(
            at,
            [rate.estimate for rate in rates],
            yerr=[[_error(rate)[side][0] for rate in rates] for side in (0, 1)],
            color=colour,
            marker=marker,
            linestyle=dashes,
            capsize=3,
            label=label,
        )
        steps = ", ".join(f"{x:g}: {r.estimate:.2f}" for x, r in zip(at, rates, strict=True))
        said.append(f"{label}: {steps}")
    axis.set_xlabel("way from the first model (0) to the second (1)")
    axis.set_ylabel(f"{skill}: share of items right")
    axis.set_ylim(-0.04, 1.04)
    axis.legend(loc="center")
    if title:
        axis.set_title(title)
    return Picture(figure, f"{title or 'Along a line'}, 95% intervals. {'; '.join(said)}.")


@styled
def spine_plot() -> Picture:
    """The spine of the course: what four families of methods do about interference."""
    figure = new_figure(9.4, 3.0)
    panels = figure.subplots(1, 4)
    titles = (
        "Linear ignores it",
        "SLERP avoids\nbad geometry",
        "TIES resolves it",
        "DARE pre-empts it",
    )
    _ignore(panels[0])
    _geometry(panels[1])
    _resolve(panels[2])
    _delete(panels[3])
    for number, (axis, title) in enumerate(zip(panels, titles, strict=True)):
        axis.set_title(title if "\n" in title else f"{title}\n", fontsize=11)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.grid(False)
        axis.spines[["left", "bottom"]].set_visible(False)
        axis.text(
            0.5,
            -0.02,
            (
                "opposite changes cancel\nin the average",
                "the middle stays\nas long as the ends",
                "a vote per weight,\nthe outvoted stay out",
                "delete at random,\nenlarge what is left",
            )[number],
            transform=axis.transAxes,
            ha="center",
            va="top",
            fontsize=10,
            color=INK,
        )
    return Picture(
        figure,
        "Four small drawings. Linear: a bar up and a bar down, and a short bar, their average. "
        "SLERP: two arrows at a right angle; the middle of the straight line between their tips is "
        "nearer to the start than the middle of the arc. TIES: two bars up, one down and crossed "
        "out; the result is the average of the two that agree. DARE: ten bars of which half are "
        "deleted and the others drawn twice as long.",
    )


def _bars(axis: Any, heights: Sequence[float], looks: Sequence[dict[str, Any]]) -> None:
    axis.axhline(0, color=INK, linewidth=1)
    for x, (height, look) in enumerate(zip(heights, looks, strict=True)):
        axis.bar(x, height, width=0.7, **look)


def _ignore(axis: Any) -> None:
    persona, agentic = source_colour("persona"), source_colour("agentic")
    _bars(
        axis,
        (0.8, -0.5, 0.15),
        ({"color": persona}, {"color": agentic}, {"color": METHODS["linear"][0]}),
    )
    axis.text(2, 0.22, "average", ha="center", fontsize=10)
    axis.set_ylim(-0.7, 1.0)
    axis.set_xlim(-0.7, 2.7)


def _geometry(axis: Any) -> None:
    from math import cos, pi, sin

    _arrow(axis, (1, 0), source_colour("persona"))
    _arrow(axis, (0, 1), source_colour("agentic"))
    arc = [(cos(n * pi / 60), sin(n * pi / 60)) for n in range(31)]
    axis.plot(*zip(*arc, strict=True), color=METHODS["slerp"][0])
    axis.plot([1, 0], [0, 1], ":", color=METHODS["linear"][0])
    axis.plot(0.5, 0.5, METHODS["linear"][1], color=METHODS["linear"][0])
    axis.plot(cos(pi / 4), sin(pi / 4), METHODS["slerp"][1], color=METHODS["slerp"][0])
    axis.text(0.77, 0.75, "SLERP", fontsize=10)
    axis.text(0.46, 0.36, "linear", fontsize=10, ha="right")
    axis.set_xlim(-0.1, 1.2)
    axis.set_ylim(-0.1, 1.2)
    axis.set_aspect("equal")


def _resolve(axis: Any) -> None:
    lost = {"color": "white", "edgecolor": CONFLICT, "hatch": CONFLICT_HATCH}
    third = source_colour("third")
    looks = ({"color": source_colour("persona")}, lost, {"color": third})
    _bars(axis, (0.8, -0.5, 1.2, 1.0), (*looks, {"color": METHODS["ties"][0]}))
    axis.text(3, 1.07, "result", ha="center", fontsize=10)
    axis.text(1.0, -0.62, "outvoted", ha="center", va="top", fontsize=10)
    axis.set_ylim(-0.95, 1.4)
    axis.set_xlim(-0.7, 3.7)


def _delete(axis: Any) -> None:
    heights = (0.5, -0.3, 0.4, 0.2, -0.45, 0.35, 0.3, -0.2, 0.45, 0.25)
    colour = METHODS["dare_linear"][0]
    axis.axhline(0, color=INK, linewidth=1)
    for x, height in enumerate(heights):
        if x in (0, 3, 4, 6, 9):
            axis.bar(x, 2 * height, width=0.75, color=colour)
        else:
            axis.bar(x, height, width=0.75, color="white", edgecolor=FAINT, linestyle=":")
    axis.set_ylim(-1.1, 1.2)
