"""Plots of linear merges: the plane of two task vectors, the loss on a line, score and scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mergelab.evaluation.results import Evaluation
from mergelab.evaluation.statistics import Interval
from mergelab.notebook.picture import Picture
from mergelab.notebook.style import AGREE, FAINT, INK, METHODS, new_figure, source_colour, styled
from mergelab.notebook.weights import Changes

LINEAR, SUM = METHODS["linear"][0], METHODS["task_arithmetic"][0]


def plane_of(found: Changes) -> tuple[float, float, float]:
    """Norms of the first two task vectors, whole model, and the angle between them in degrees.

    >>> import torch
    >>> pair = [torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])]
    >>> plane_of(Changes(("a", "b"), {"w": torch.zeros(2)}, {"w": pair}))
    (3.0, 4.0, 90.0)
    """
    first = second = inner = 0.0
    for one, other, *_ in found.deltas.values():
        one, other = one.double().flatten(), other.double().flatten()
        first, second = first + float(one @ one), second + float(other @ other)
        inner += float(one @ other)
    if not first or not second:
        raise ValueError("a task vector of zeros has no angle")
    cosine = max(-1.0, min(1.0, inner / math.sqrt(first * second)))
    return math.sqrt(first), math.sqrt(second), math.degrees(math.acos(cosine))


@styled
def plane_plot(
    norms: Sequence[float],
    angle: float,
    *,
    names: Sequence[str] = ("persona", "agentic"),
    title: str = "",
) -> Picture:
    """Two task vectors in their own plane, in true lengths: the average's line, and the sum's.

    `norms`: their lengths; `angle` between them in degrees. The base is the origin.
    """
    figure = new_figure(8.2, 5.0)
    axis = figure.subplots()
    a, turn = norms[0], math.radians(angle)
    ends = [(a, 0.0), (norms[1] * math.cos(turn), norms[1] * math.sin(turn))]
    middle = tuple(sum(pair) / 2 for pair in zip(*ends, strict=True))
    corner = tuple(2 * x for x in middle)
    for (x, y), name, offset in zip(ends, names, ((10, -4), (-10, 8)), strict=True):
        colour = source_colour(name)
        axis.annotate(
            "", (x, y), (0, 0), arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 3}
        )
        axis.annotate(
            f"{name}\n(length {math.hypot(x, y):.1f})",
            (x, y),
            offset,
            textcoords="offset points",
            ha="left" if offset[0] > 0 else "right",
            color=INK,
        )
    axis.plot(*zip(*ends, strict=True), color=LINEAR, linestyle="--", zorder=1,
              label="weighted averages, alpha from 0 to 1")  # fmt: skip
    axis.plot([0, 1.12 * corner[0]], [0, 1.12 * corner[1]], color=SUM, linestyle=":", zorder=1,
              label="scaled sums, lambda from 0 upwards")  # fmt: skip
    axis.plot(*middle, marker="o", color=LINEAR, markersize=11)
    axis.plot(*corner, marker="s", color=SUM, markersize=11)
    axis.plot(0, 0, marker="o", color=INK, markersize=8)
    size = math.hypot(*middle)
    for text, spot, offset in (
        (f"average: alpha .5 = lambda .5\n(length {size:.1f})", middle, (14, 2)),
        (f"sum: lambda 1\n(length {2 * size:.1f})", corner, (14, -10)),
        ("base", (0, 0), (-8, -16)),
    ):
        axis.annotate(
            text,
            spot,
            offset,
            textcoords="offset points",
            ha="right" if text == "base" else "left",
            # The dotted line runs behind the words.
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8},
        )
    reach = max(corner)
    axis.set_xlim(min(0.0, ends[1][0]) - 0.4 * reach, 1.75 * reach)
    axis.set_ylim(-0.16 * reach, 1.22 * reach)
    axis.set_aspect("equal")
    axis.set_xlabel("change of the weights (norm), along the first adapter's direction")
    axis.set_ylabel("at right angles to it")
    figure.legend(loc="outside lower center", ncols=2)
    if title:
        axis.set_title(title)
    return Picture(
        figure,
        f"{title or 'Two task vectors'}. {names[0]} and {names[1]} start at the base, lengths "
        f"{norms[0]:.1f} and {norms[1]:.1f}, angle {angle:.0f} degrees. Their average lies half "
        f"way between their ends, {size:.1f} from the base. Their sum is twice as far, at the "
        "opposite corner.",
    )


@styled
def line_plot(
    measured: Mapping[float, Evaluation],
    *,
    knob: str,
    published: Mapping[float, float] | None = None,
    title: str = "",
) -> Picture:
    """Both skills' scores along a line of merges, with 95% intervals, and their mean."""
    figure = new_figure(9.4, 4.0)
    axis = figure.subplots()
    draw_line(axis, measured)
    if published:
        xs = sorted(published)
        axis.plot(xs, [published[x] for x in xs], color=INK, linestyle="--", marker="o",
                  markerfacecolor="white", label="combined, published (another model)")  # fmt: skip
    axis.set_xlabel(knob)
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    if title:
        axis.set_title(title)
    said = "; ".join(
        f"{x:g}: " + ", ".join(f"{s} {r.rate.estimate:.2f}" for s, r in each.skills.items())
        for x, each in sorted(measured.items())
    )
    return Picture(figure, f"{title or 'Scores along a line'}. By {knob}: {said}.")


def draw_line(axis: Any, measured: Mapping[float, Evaluation]) -> None:
    """The curves of `line_plot` on an axis of one's own."""
    at = sorted(measured)
    for skill, marker, style in zip(
        measured[at[0]].skills, ("P", "X", "^"), ("-", "-.", ":"), strict=False
    ):
        rates = [measured[x].skills[skill].rate for x in at]
        axis.errorbar(
            at,
            [r.estimate for r in rates],
            yerr=_errors(rates),
            color=source_colour(skill),
            marker=marker,
            linestyle=style,
            capsize=3,
            label=skill,
        )
    axis.plot(at, [measured[x].combined.estimate for x in at], color=AGREE, linewidth=3,
              alpha=0.45, zorder=1, label="combined (mean)")  # fmt: skip
    axis.set_ylim(-0.03, 1.03)
    axis.set_ylabel("share of items right")


def _errors(intervals: Sequence[Interval]) -> list[list[float]]:
    return [
        [max(0.0, i.estimate - i.low) for i in intervals],
        [max(0.0, i.high - i.estimate) for i in intervals],
    ]


@styled
def loss_plot(
    lines: Mapping[str, Mapping[float, Mapping[str, float]]], *, knob: str = "alpha"
) -> Picture:
    """A panel for each line of merges: the loss on the right replies of each skill, and their mean.

    `lines` maps a title to the losses by skill at each place; a line of one skill has no mean
    beside it. The dashed chord joins the two ends, and a curve above it would be a barrier. Losses
    in nats per token.
    """
    figure = new_figure(9.4, 3.9)
    axes = figure.subplots(1, len(lines), sharey=True, squeeze=False)[0]
    said = []
    for axis, (title, losses) in zip(axes, lines.items(), strict=True):
        at = sorted(losses)
        means = [sum(losses[x].values()) / len(losses[x]) for x in at]
        for skill, marker, style in zip(losses[at[0]], ("P", "X"), ("-", "-."), strict=False):
            axis.plot(at, [losses[x][skill] for x in at], style, color=source_colour(skill),
                      marker=marker, linewidth=1.5, label=f"{skill} replies")  # fmt: skip
        alone = len(losses[at[0]]) == 1
        if not alone:
            axis.plot(at, means, color=INK, marker="o", linewidth=2.6, label="mean of both")
        axis.plot([at[0], at[-1]], [means[0], means[-1]], "--", color=FAINT,
                  label="straight line between its ends")  # fmt: skip
        axis.set_title(title)
        axis.set_xlabel(knob)
        what = next(iter(losses[at[0]])) if alone else "mean"
        said.append(f"{title}, {what}: " + ", ".join(
            f"{x:g}: {m:.{2 if m > 0.05 else 3}f}" for x, m in zip(at, means, strict=True)
        ))  # fmt: skip
    axes[0].set_ylabel("loss per token (nats)")
    axes[0].set_ylim(bottom=0)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return Picture(figure, f"Loss on right replies along a line of merges. {'; '.join(said)}.")


@styled
def scale_plot(
    alone: Mapping[str, Mapping[float, Interval]], merged: Mapping[float, Evaluation]
) -> Picture:
    """Each adapter's skill against its scale, by itself and in the sum with the other.

    `alone`: skill to scale to its score with 95% interval; `merged`: lambda to evaluation.
    """
    figure = new_figure(9.4, 3.9)
    axes = figure.subplots(1, len(alone), sharey=True, squeeze=False)[0]
    said = []
    for axis, (skill, points) in zip(axes, alone.items(), strict=True):
        colour = source_colour(skill)
        together = {x: merged[x].skills[skill].rate for x in sorted(merged)}
        for rates, style, marker, fill, label in (
            (dict(sorted(points.items())), "--", "o", "white", "by itself"),
            (together, "-", "s", colour, "in the sum of both"),
        ):
            axis.errorbar(list(rates), [r.estimate for r in rates.values()],
                          yerr=_errors(list(rates.values())), color=colour, linestyle=style,
                          marker=marker, markerfacecolor=fill, capsize=3, label=label)  # fmt: skip
            said.append(f"{skill} {label}: " + ", ".join(
                f"{x:g}: {r.estimate:.2f}" for x, r in rates.items()))  # fmt: skip
        axis.set_title(f"{skill} skill")
        axis.set_xlabel("scale of each task vector (lambda)")
        axis.set_ylim(-0.03, 1.03)
        axis.legend(loc="lower right")
    axes[0].set_ylabel("share of items right")
    return Picture(figure, f"Score against scale with 95% intervals. {'; '.join(said)}.")
