"""Plots of measurements: scores, differences, a sweep, score against size. Each draws one idea."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mergelab.evaluation.results import Evaluation
from mergelab.evaluation.statistics import Interval
from mergelab.notebook.picture import Picture
from mergelab.notebook.style import (
    AGREE,
    INK,
    METHODS,
    PUBLISHED,
    new_figure,
    source_colour,
    styled,
)


def _error(interval: Interval) -> list[list[float]]:
    """Distances to the limits, as matplotlib's error bars want them."""
    below, above = interval.estimate - interval.low, interval.high - interval.estimate
    return [[max(0.0, below)], [max(0.0, above)]]


def _look(name: str) -> tuple[str, str]:
    """Colour and marker of a model, by the method or the skill its name holds."""
    for method in sorted(METHODS, key=len, reverse=True):
        if method in name.lower().replace(" ", "_"):
            return METHODS[method]
    return source_colour(name, 3), "P" if "persona" in name else "X"


@styled
def score_plot(evaluations: Sequence[Evaluation], *, title: str = "") -> Picture:
    """A row for each model, a panel for each skill and for the two combined, with 95% intervals.

    Scores are shares of items right, from 0 to 1.
    """
    skills = list(dict.fromkeys(skill for e in evaluations for skill in e.skills))
    panels = [*skills, "combined"]
    figure = new_figure(9.4, 1.3 + 0.42 * len(evaluations))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, panel in zip(axes, panels, strict=True):
        for row, evaluation in enumerate(evaluations):
            rate = _rate(evaluation, panel)
            if rate is None:
                continue
            colour, marker = _look(evaluation.model)
            axis.errorbar(
                rate.estimate, row, xerr=_error(rate), color=colour, marker=marker, capsize=3
            )
        axis.set_xlim(-0.03, 1.03)
        axis.set_xlabel("share of items right")
        axis.set_title(panel)
        axis.grid(axis="y", visible=False)
    axes[0].set_yticks(range(len(evaluations)), [e.model for e in evaluations])
    axes[0].set_ylim(len(evaluations) - 0.5, -0.5)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    said = "; ".join(f"{e.model} {e.combined.estimate:.2f}" for e in evaluations)
    return Picture(figure, f"{title or 'Scores'} with 95% intervals. Combined: {said}.")


def _rate(evaluation: Evaluation, panel: str) -> Interval | None:
    if panel == "combined":
        return evaluation.combined
    return evaluation.skills[panel].rate if panel in evaluation.skills else None


@styled
def differences_plot(
    groups: Mapping[str, Sequence[tuple[str, Interval]]],
    *,
    title: str = "",
    what: str = "combined score",
) -> Picture:
    """Differences in score with their intervals against a line at zero; one panel for each group.

    An interval that crosses the line is noise for all we know. `what` is the score compared.
    """
    rows = max(len(group) for group in groups.values())
    figure = new_figure(9.4, 1.5 + 0.5 * rows)
    axes = figure.subplots(1, len(groups), sharex=True, sharey=True, squeeze=False)[0]
    said = []
    for axis, (label, group) in zip(axes, groups.items(), strict=True):
        for row, (name, difference) in enumerate(group):
            clear = difference.low > 0 or difference.high < 0
            axis.errorbar(
                difference.estimate,
                row,
                xerr=_error(difference),
                color=INK if clear else AGREE,
                marker="o",
                markerfacecolor=INK if clear else "white",
                capsize=4,
            )
            axis.text(
                difference.estimate,
                row - 0.16,
                _signed(difference.estimate),
                ha="center",
                va="bottom",
                fontsize=10,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            )
            said.append(f"{label}, {name}: {_signed(difference.estimate)}")
        axis.axvline(0, color=INK, linewidth=1)
        axis.set_title(label)
        axis.set_xlabel(f"difference in {what}")
        axis.grid(axis="y", visible=False)
    axes[0].set_yticks(range(rows), [name for name, _ in next(iter(groups.values()))])
    axes[0].set_ylim(rows - 0.5, -0.65)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return Picture(figure, f"{title or 'Differences'} with 95% intervals. {'; '.join(said)}.")


@styled
def sweep_plot(
    measured: Mapping[float, Evaluation],
    published: Mapping[float, float] | None = None,
    *,
    knob: str = "density (share of entries kept)",
    title: str = "",
    method: str = "ties",
) -> Picture:
    """The combined score along one dial with its 95% intervals, and a published curve beside it."""
    figure = new_figure(8.2, 4.0)
    axis = figure.subplots()
    colour, marker = METHODS[method]
    at = sorted(measured)
    scores = [measured[x].combined for x in at]
    axis.fill_between(
        at, [s.low for s in scores], [s.high for s in scores], color=colour, alpha=0.15, linewidth=0
    )
    axis.plot(
        at,
        [s.estimate for s in scores],
        color=colour,
        marker=marker,
        label="measured here, combined (band: 95% interval)",
    )
    for skill, style in zip(measured[at[0]].skills, (":", "-.", "--"), strict=False):
        rates = [measured[x].skills[skill].rate.estimate for x in at]
        axis.plot(at, rates, style, color=source_colour(skill), linewidth=1.6, label=skill)
    if published:
        xs = sorted(published)
        axis.plot(
            xs,
            [published[x] for x in xs],
            color=PUBLISHED,
            linestyle="--",
            marker="o",
            markerfacecolor="white",
            label="published (another model)",
        )
    axis.set_xlabel(knob)
    axis.set_ylabel("share of items right")
    axis.set_ylim(0, 1.02)
    axis.legend(loc="lower right")
    if title:
        axis.set_title(title)
    said = ", ".join(f"{x:g}: {s.estimate:.2f}" for x, s in zip(at, scores, strict=True))
    return Picture(figure, f"{title or 'Sweep'}. Combined score by {knob}: {said}.")


@styled
def size_plot(
    curves: Mapping[str, Sequence[tuple[float, Evaluation]]],
    *,
    marked: Sequence[tuple[str, float, float]] = (),
    title: str = "",
) -> Picture:
    """Combined score against the size of the merged change, one curve for each method.

    `curves`: method to (size, evaluation) pairs, the size as the report's "magnitude kept".
    `marked`: (label, size, score) of points to put a ring around.
    """
    figure = new_figure(8.2, 4.2)
    axis = figure.subplots()
    said = []
    shift = dict(zip(curves, (-0.006, 0.006, 0.0), strict=False))
    for name, points in curves.items():
        colour, marker = _look(name)
        ordered = sorted(points, key=lambda point: point[0])
        scores = [evaluation.combined for _, evaluation in ordered]
        axis.errorbar(
            [size + shift.get(name, 0.0) for size, _ in ordered],
            [s.estimate for s in scores],
            yerr=[[_error(s)[side][0] for s in scores] for side in (0, 1)],
            color=colour,
            marker=marker,
            capsize=3,
            label=name,
        )
        at = ", ".join(
            f"{size:.2f}: {s.estimate:.2f}" for (size, _), s in zip(ordered, scores, strict=True)
        )
        said.append(f"{name} by size {at}")
    for text, size, score in marked:
        ring = {"marker": "o", "markersize": 17, "markeredgewidth": 1.6}
        axis.plot(
            [size + shift[next(iter(curves))]],
            [score],
            linestyle="none",
            markerfacecolor="none",
            markeredgecolor=METHODS["linear"][0],
            label=text,
            **ring,
        )
    axis.set_xlabel("size of the merged change (1 = as large as one adapter's)")
    axis.set_ylabel("combined score")
    axis.legend(loc="best")
    if title:
        axis.set_title(title)
    return Picture(figure, f"{title or 'Score against size'}. {'; '.join(said)}.")


def _signed(value: float) -> str:
    """Two digits with a sign; what rounds to zero has a plus."""
    return f"{round(value, 2) + 0.0:+.2f}".replace("-", "−")
