"""The mixer: three weights, three skills. A grid of sums of three adapters, measured beforehand."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from mergelab.notebook.capstone_table import LEVELS, Entry, mixed
from mergelab.notebook.controls import labelled, spoken
from mergelab.notebook.picture import Picture
from mergelab.notebook.style import INK, new_figure, source_colour, styled

HATCHES = ("", "//", "..")


class ThreeMixer(widgets.VBox):
    """Three sliders, one for each adapter's weight; figure and sentence follow them.

    Every position was measured once and ships as a table, so nothing is merged while you look.
    Every control has a label and works from the keyboard.
    """

    def __init__(self, start: tuple[float, float, float] = (0.8, 0.8, 0.8), **options: Any) -> None:
        self.weights = [
            labelled(
                widgets.SelectionSlider,
                f"weight {skill}",
                options=[(f"{level:g}", level) for level in LEVELS],
                value=value,
            )
            for skill, value in zip(("persona", "agentic", "digest"), start, strict=True)
        ]
        self.picture = widgets.HTML()
        self.sentence = widgets.HTML()
        super().__init__([*self.weights, self.picture, self.sentence], **options)
        for slider in self.weights:
            slider.observe(self._redraw, "value")
        self._redraw()

    def entry(self) -> Entry:
        """The measured merge that the figure shows now."""
        return mixed([slider.value for slider in self.weights])

    def _redraw(self, change: Any = None) -> None:
        picture = mixer_figure(self.entry())
        self.picture.value = picture.img()
        self.sentence.value = spoken(picture.alt)


@styled
def mixer_figure(entry: Entry) -> Picture:
    """One merge: a bar for each skill with its 95% interval, the weights in the bars' names."""
    figure = new_figure(8.2, 3.0)
    axis = figure.subplots()
    skills = list(entry.evaluation.skills)
    for row, (skill, hatch) in enumerate(zip(skills, HATCHES, strict=True)):
        rate = entry.evaluation.skills[skill].rate
        axis.barh(
            row,
            rate.estimate,
            color=source_colour(skill),
            hatch=hatch,
            edgecolor="white",
            height=0.6,
        )
        axis.errorbar(
            rate.estimate,
            row,
            xerr=[[max(0.0, rate.estimate - rate.low)], [max(0.0, rate.high - rate.estimate)]],
            color=INK,
            capsize=4,
        )
        axis.text(1.03, row, f"{rate.estimate:.2f}", va="center")
    names = [f"{s}\nweight {w:g}" for s, w in zip(skills, entry.weights, strict=True)]
    axis.set_yticks(range(len(skills)), names)
    axis.set_ylim(len(skills) - 0.5, -0.5)
    axis.set_xlim(0, 1.12)
    axis.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    axis.set_xlabel("share of items right, 95% interval")
    axis.set_title(f"A sum of three: combined {entry.evaluation.combined.estimate:.2f}")
    axis.grid(axis="y", visible=False)
    return Picture(figure, mixer_sentence(entry))


def mixer_sentence(entry: Entry) -> str:
    """In words: the weights, the three scores, the weakest skill, and the size."""
    skills = list(entry.evaluation.skills)
    rates = {skill: entry.evaluation.skills[skill].rate.estimate for skill in skills}
    mix = ", ".join(f"{s} {w:g}" for s, w in zip(skills, entry.weights, strict=True))
    said = ", ".join(f"{skill} {rate:.2f}" for skill, rate in rates.items())
    items = len(entry.evaluation.skills[skills[0]].outcomes)
    low = min(rates.values())
    lost = [skill for skill in skills if rates[skill] == low]
    weak = f"The weakest is {lost[0]}." if len(lost) == 1 else f"Weakest: {' and '.join(lost)}."
    return (
        f"Weights {mix}. Share right of {items} items each: {said}. {weak} "
        f"The merged change is {entry.size:.2f} times as large as one adapter's."
    )
