"""The alpha and lambda explorer: move along a line of merges and see scores, size and weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets
from torch import Tensor

from mergelab.evaluation.results import Evaluation
from mergelab.notebook.controls import labelled, spoken
from mergelab.notebook.linear_plots import LINEAR, SUM, draw_line
from mergelab.notebook.picture import Picture
from mergelab.notebook.style import FAINT, INK, new_figure, source_colour, styled
from mergelab.notebook.ten import NAMES, ten_parameters


@dataclass(frozen=True)
class Line:
    """Merges along one dial: place to evaluation, and place to size (1 = as large as one adapter).

    `kind` is "alpha" (the weights 1 - x and x) or "lambda" (both weights x).
    """

    kind: str
    scores: Mapping[float, Evaluation]
    sizes: Mapping[float, float]

    def weights(self, x: float) -> tuple[float, float]:
        """The factors of the two task vectors at one place.

        >>> Line("alpha", {}, {}).weights(0.25), Line("lambda", {}, {}).weights(0.25)
        ((0.75, 0.25), (0.25, 0.25))
        """
        return (1 - x, x) if self.kind == "alpha" else (x, x)


def merged_ten(line: Line, x: float) -> list[Tensor]:
    """The ten parameters of both adapters, and what the line makes of them at `x`."""
    persona, agentic = ten_parameters()
    first, second = line.weights(x)
    return [persona, agentic, first * persona + second * agentic]


@styled
def lines_figure(line: Line, x: float) -> Picture:
    """Scores and size along a line with one place marked, and the ten parameters at that place."""
    figure = new_figure(9.4, 6.4)
    grid = figure.add_gridspec(3, 2, height_ratios=(3.4, 1, 1), width_ratios=(1.7, 1))
    score, size = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    draw_line(score, line.scores)
    score.legend(loc="lower left", bbox_to_anchor=(-0.02, 0.99), ncols=3, borderaxespad=0.0)
    score.set_ylabel("share of items right\n(95% intervals)")
    at = sorted(line.sizes)
    size.plot(at, [line.sizes[place] for place in at], color=INK, marker="o", markersize=5)
    size.plot([x], [line.sizes[x]], marker="o", markersize=15, markerfacecolor="none",
              markeredgecolor=INK, markeredgewidth=2)  # fmt: skip
    size.axhline(1, color=FAINT, linestyle=":", linewidth=1.2)
    size.set_ylim(0, max(1.2, 1.1 * max(line.sizes.values())))
    size.set_ylabel("size of the merged change\n(1 = one adapter)")
    for axis in (score, size):
        axis.axvline(x, color="#F2C94C", linewidth=7, alpha=0.45, zorder=0)
        axis.set_xlabel(line.kind)
    persona, agentic, merged = merged_ten(line, x)
    # One frame for the whole line, so that nothing jumps.
    limit = max(float(row.abs().max()) for at in line.sizes for row in merged_ten(line, at))
    rows = [figure.add_subplot(grid[n, :]) for n in (1, 2)]
    _bars(rows[0], {NAMES[0]: persona, NAMES[1]: agentic}, limit)
    _bars(rows[1], {"merged": merged}, limit, LINEAR if line.kind == "alpha" else SUM)
    rows[0].tick_params(labelbottom=False)
    rows[1].set_xlabel("the ten parameters")
    return Picture(figure, f"{line.kind.capitalize()} {x:g}. {told(line, x)}")


def _bars(axis: Any, rows: Mapping[str, Tensor], limit: float, colour: str = "") -> None:
    width = 0.76 / len(rows)
    for n, (name, values) in enumerate(rows.items()):
        shift = (n - (len(rows) - 1) / 2) * width
        hatch = "///" if n else ""
        axis.bar(
            [i + 1 + shift for i in range(len(values))],
            values.tolist(),
            width,
            label=name,
            facecolor=colour or source_colour(name),
            edgecolor="white",
            hatch=hatch,
        )
    if colour:
        for i, value in enumerate(merged_text(next(iter(rows.values())))):
            axis.text(i + 1, 1.65 * limit, value, ha="center", va="top", fontsize=9)
    axis.axhline(0, color="#8C9196", linewidth=0.8)
    axis.set_ylim(-1.1 * limit, 1.7 * limit)
    axis.set_xlim(0.4, 10.6)
    axis.set_xticks(range(1, 11))
    axis.grid(False)
    axis.set_ylabel("change")
    axis.legend(loc="lower right", ncols=2, fontsize=9, borderaxespad=0.1)


def merged_text(values: Tensor) -> list[str]:
    """Ten numbers in three digits, with real minus signs.

    >>> import torch
    >>> merged_text(torch.tensor([0.165, -0.0005]))
    ['+.165', '−.001']
    """
    return [f"{v:+.3f}".replace("0.", ".").replace("-", "−") for v in values.tolist()]


def told(line: Line, x: float) -> str:
    """In words: the weights, both scores, the size, and what happened to two of the ten."""
    first, second = line.weights(x)
    skills = line.scores[x].skills
    scores = " and ".join(f"{r.rate.estimate:.2f} on {skill}" for skill, r in skills.items())
    _, _, merged = merged_ten(line, x)
    fifth, eighth = float(merged[4]), float(merged[7])
    half = "; it is the average" if line.kind == "lambda" and x == 0.5 else ""
    cancel = (
        "its two changes cancel exactly"
        if abs(fifth) < 5e-4
        else f"{fifth:+.3f} is left of the changes +.06 and −.06"
    ).replace("-", "−")
    return (
        f"Each weight becomes base + {first:.2f} × persona's change + {second:.2f} × agentic's"
        f"{half}. The merge scores {scores}. Its change is {line.sizes[x]:.2f} times as large as "
        f"one adapter's. In parameter 8, which almost only agentic moves (+.17), {eighth:+.3f} "
        f"arrives; in parameter 5 {cancel}."
    )


class LinearLines(widgets.VBox):
    """A switch between alpha and lambda and a slider along the measured places of that line.

    `lines`: the alpha line and the lambda line. The figure and the sentence follow the controls;
    both have labels and work from the keyboard.
    """

    def __init__(self, *lines: Line, start: float = 0.5, **options: Any) -> None:
        self.lines = {line.kind: line for line in lines}
        self.kind = labelled(widgets.Dropdown, "move along", options=list(self.lines))
        places = sorted(lines[0].scores)
        self.place = labelled(
            widgets.SelectionSlider,
            lines[0].kind,
            options=[(f"{x:g}", x) for x in places],
            value=start if start in places else places[0],
            continuous_update=False,
        )
        self.picture, self.sentence = widgets.HTML(), widgets.HTML()
        controls = widgets.HBox(
            [self.kind, self.place], layout=widgets.Layout(flex_flow="row wrap")
        )
        super().__init__([controls, self.picture, self.sentence], **options)
        self._redraw()
        self.kind.observe(self._fit, "value")
        self.place.observe(self._redraw, "value")

    def _fit(self, change: Any = None) -> None:
        """Offer the places of the chosen line, and stay near the old one."""
        line, before = self.lines[self.kind.value], self.place.value
        places = sorted(line.scores)
        near = min(places, key=lambda x: abs(x - before))
        self.place.unobserve(self._redraw, "value")
        self.place.options = [(f"{x:g}", x) for x in places]
        self.place.value = near
        self.place.description = line.kind
        self.place.observe(self._redraw, "value")
        self._redraw()

    def _redraw(self, change: Any = None) -> None:
        line, x = self.lines[self.kind.value], self.place.value
        self.picture.value = lines_figure(line, x).img()
        self.sentence.value = spoken(told(line, x))
