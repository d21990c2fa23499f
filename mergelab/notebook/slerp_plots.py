"""Pictures of SLERP: the plane with chord and arc, and scores along t."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mergelab.evaluation.results import Evaluation
from mergelab.notebook.picture import Picture
from mergelab.notebook.slerp_walk import PATHS, Walk, walk_sentence
from mergelab.notebook.style import FAINT, INK, METHODS, new_figure, source_colour, styled

LOOK = {"chord": METHODS["linear"], "arc": METHODS["slerp"]}
LABEL = {"chord": "chord (linear)", "arc": "arc (SLERP)"}
STEPS = [n / 60 for n in range(61)]


@styled
def slerp_figure(walk: Walk, title: str = "") -> Picture:
    """Left the plane of the two vectors, right the norm along both ways; markers at `walk.t`.

    The frame depends on the two vectors only, so that nothing jumps while t moves. Near 180 degrees
    the arc between different norms runs far out; it is cut off at 2.5 times the longer vector.
    """
    figure = new_figure(9.4, 4.3)
    plane, lengths = figure.subplots(1, 2, width_ratios=[1.45, 1.0])
    longest = max(*walk.norms, 1e-9)
    farthest = max(walk.to(t).length("arc") for t in STEPS)
    limit = 1.2 * max(longest, min(farthest, 2.5 * longest))
    _plane(plane, walk, limit)
    _lengths(lengths, walk, limit)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return Picture(figure, f"Two arrows with chord and arc. {walk_sentence(walk)}")


def _plane(axis: Any, walk: Walk, limit: float) -> None:
    for n, (tip, name) in enumerate(zip(walk.ends(), walk.names, strict=True)):
        colour = source_colour(name, n)
        arrow = {"arrowstyle": "-|>", "color": colour, "linewidth": 2.4, "shrinkA": 0, "shrinkB": 0}
        axis.annotate("", xy=tip, xytext=(0, 0), arrowprops=arrow)
        _name(axis, name, tip, limit, below=n == 0)
    for path in PATHS:
        colour, marker = LOOK[path]
        way = [walk.to(t).point(path) for t in STEPS]
        axis.plot(*zip(*way, strict=True), color=colour, linestyle="--" if path == "chord" else "-")
        here = walk.point(path)
        axis.plot([0, here[0]], [0, here[1]], color=colour, linewidth=1, linestyle=":")
        axis.plot(*here, color=colour, marker=marker, markersize=10, label=LABEL[path])
    axis.set_aspect("equal")
    axis.set_xlim(-limit, limit * 1.1)
    axis.set_ylim(-0.22 * limit, limit)
    axis.set_title("the plane that the two span")
    axis.set_xlabel("along the first vector")
    axis.set_ylabel("across it")
    axis.legend(loc="upper left")


def _name(axis: Any, name: str, tip: tuple[float, float], limit: float, *, below: bool) -> None:
    """The vector's name at its tip, inside the frame; the first one's hangs below the axis."""
    x, y = (tip[0], -0.05 * limit) if below else (tip[0], tip[1] + 0.04 * limit)
    side = "center" if abs(x) < 0.5 * limit else ("right" if x > 0 else "left")
    x = min(max(x + (0.08 * limit if side == "right" else 0), -0.95 * limit), 1.08 * limit)
    axis.text(x, y, name, ha=side, va="top" if below else "bottom", color=INK, fontweight="bold")


def _lengths(axis: Any, walk: Walk, limit: float) -> None:
    between = [walk.to(t).between() for t in STEPS]
    axis.plot(STEPS, between, color=FAINT, linewidth=1, linestyle=":", label="between the norms")
    for path in PATHS:
        colour, marker = LOOK[path]
        way = [walk.to(t).length(path) for t in STEPS]
        axis.plot(STEPS, way, color=colour, linestyle="--" if path == "chord" else "-")
        axis.plot(walk.t, walk.length(path), color=colour, marker=marker, markersize=10)
    axis.set_ylim(0, limit)
    axis.set_xlim(-0.03, 1.03)
    axis.set_title("norm on the way")
    axis.set_xlabel("t (0: first, 1: second)")
    axis.set_ylabel("norm")
    axis.legend(loc="lower right")


@styled
def t_plot(
    curves: Mapping[str, Mapping[float, Evaluation]],
    published: Mapping[str, Mapping[float, float]] | None = None,
    *,
    title: str = "",
) -> Picture:
    """Combined scores along t with 95% intervals, one curve for each way of merging.

    `published` maps some of the same names to another model's scores; they are drawn hollow.
    """
    figure = new_figure(8.2, 4.2)
    axis = figure.subplots()
    said = []
    shifts = (-0.006, 0.0, 0.006)
    for shift, (name, measured) in zip(shifts, curves.items(), strict=False):
        colour, marker = _look(name)
        at = sorted(measured)
        scores = [measured[t].combined for t in at]
        axis.errorbar(
            [t + shift for t in at],
            [s.estimate for s in scores],
            yerr=[
                [max(0.0, s.estimate - s.low) for s in scores],
                [max(0.0, s.high - s.estimate) for s in scores],
            ],
            color=colour,
            marker=marker,
            capsize=3,
            label=name,
        )
        values = ", ".join(f"{t:g}: {s.estimate:.2f}" for t, s in zip(at, scores, strict=True))
        said.append(f"{name} by t {values}")
    for name, theirs in (published or {}).items():
        colour, marker = _look(name)
        at = sorted(theirs)
        axis.plot(
            at,
            [theirs[t] for t in at],
            color=colour,
            linestyle=":",
            marker=marker,
            markerfacecolor="white",
            label=f"{name}, published (another model)",
        )
    axis.set_xlabel("t (0: persona alone, 1: agentic alone)")
    axis.set_ylabel("combined score")
    axis.set_ylim(0, 1.02)
    axis.set_xlim(-0.03, 1.03)
    axis.legend(loc="lower center", ncols=2)
    if title:
        axis.set_title(title)
    return Picture(figure, f"{title or 'Scores along t'}. {'; '.join(said)}.")


def _look(name: str) -> tuple[str, str]:
    if "size" in name:
        return METHODS["task_arithmetic"]
    return METHODS["slerp" if "slerp" in name.lower() else "linear"]


def t_rows(
    curves: Mapping[str, Mapping[float, Evaluation]], positions: Sequence[float]
) -> list[list[str]]:
    """A row for each t: each curve's score there, empty where it was not measured."""
    return [
        [f"{t:g}", *(str(c[t].combined) if t in c else "" for c in curves.values())]
        for t in positions
    ]
