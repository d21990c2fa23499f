"""The conflict dial: turn up the conflict between two adapters and watch the methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets

from mergelab.evaluation.ladder import COLUMNS, LadderRow, read_ladder
from mergelab.notebook.controls import labelled, spoken
from mergelab.notebook.ladder_figure import NAMES, ladder_plot, shown_rows

SCALES = {"default of each method": "default", "best on dev": "best"}


class ConflictDial(widgets.VBox):
    """A slider over the rungs of the ladder; the figure and a sentence follow it.

    `rows` are those of a ladder table, by default of `data/tables/ladder.csv`, which
    `mergelab tables` makes. The scale of the merges and the score on the left can be switched.
    Every control has a label and works from the keyboard; the sentence below the figure says in
    words what it shows.
    """

    def __init__(self, rows: Sequence[LadderRow] | None = None, **options: Any) -> None:
        self.rows = list(read_ladder() if rows is None else rows)
        rungs = sorted({row.own_style for row in self.rows})
        self.rung = labelled(
            widgets.SelectionSlider,
            "own-style share",
            options=[(f"{rung}%", rung) for rung in rungs],
            value=rungs[0],
        )
        self.scale = labelled(widgets.Dropdown, "scale of the merge", options=SCALES)
        self.score = labelled(widgets.Dropdown, "score", options=COLUMNS, value="combined")
        self.picture = widgets.HTML()
        self.sentence = widgets.HTML()
        controls = widgets.HBox(
            [widgets.VBox([self.rung]), widgets.VBox([self.scale, self.score])],
            layout=widgets.Layout(flex_flow="row wrap"),
        )
        super().__init__([controls, self.picture, self.sentence], **options)
        for control in (self.rung, self.scale, self.score):
            control.observe(self._redraw, "value")
        self._redraw()

    def _redraw(self, change: Any = None) -> None:
        rung, scale = self.rung.value, self.scale.value
        picture = ladder_plot(self.rows, scale=scale, rung=rung, score=self.score.value)
        # One assignment replaces the image when it is whole, so nothing flickers.
        self.picture.value = picture.img()
        self.sentence.value = spoken(rung_sentence(self.rows, rung, scale))


def rung_sentence(rows: Sequence[LadderRow], rung: int, scale: str = "default") -> str:
    """Say what a rung shows: the adapters alone, each merge, and what sign election adds.

    A difference counts where its 95% interval excludes 0.
    """
    here = [row for row in rows if row.own_style == rung]
    alone = [row for row in here if row.scale == "alone"]
    skills = " and ".join(f"{row.method} {row.rates[row.method].estimate:.3f}" for row in alone)
    sizes = " and ".join(
        f"{row.method}'s is {size:.1%}" for row, size in zip(alone, alone[0].sizes, strict=True)
    )
    merges = shown_rows(here, scale)
    scores = ", ".join(
        f"{NAMES[row.method]}{_lam(row, scale)} {row.rates['combined']}" for row in merges
    )
    return (
        f"Own style {rung}%. Each adapter alone, on its own skill: {skills}. The task vectors have "
        f"cosine {alone[0].cosine:.3f}; of the base's norm, {sizes}. "
        f"Combined score of the merges at the {scale} scale: {scores}. "
        + " ".join(_difference(row) for row in merges if row.ties_ahead and row.scale == scale)
        + " Each rung is one pair, trained once."
    )


def _lam(row: LadderRow, scale: str) -> str:
    return f" at lambda {row.lam:g}" if scale == "best" and row.lam is not None else ""


def _difference(row: LadderRow) -> str:
    ahead = row.ties_ahead
    if ahead.low > 0:
        verdict = "ties is ahead, beyond noise"
    elif ahead.high < 0:
        verdict = "ties is behind, beyond noise"
    else:
        verdict = "no difference beyond noise"
    return (
        f"Ties minus {NAMES[row.method]}: {ahead.estimate:+.3f} [{ahead.low:+.3f}, "
        f"{ahead.high:+.3f}]: {verdict}."
    )
