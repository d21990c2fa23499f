"""The DARE dice: roll again and again, and watch the mean of the rolls come home."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets
from torch import Tensor

from mergelab.notebook.controls import labelled, spoken
from mergelab.notebook.dare_plots import dice_plot
from mergelab.notebook.dare_rolls import rolled
from mergelab.notebook.picture import Picture
from mergelab.notebook.ten import ten_parameters


class DareDice(widgets.VBox):
    """A button that rolls, a slider for the density, the current roll and the mean of all rolls.

    `examples` maps a label to a task vector of about ten entries; by default the persona row of
    the course's ten parameters. Every control works from the keyboard, and the sentence below the
    figure says in words what it shows. The rolls are numbered seeds, so everybody sees the same.
    """

    def __init__(
        self, examples: Mapping[str, Tensor] | None = None, *, density: float = 0.3, **options: Any
    ) -> None:
        self.examples = dict(examples or {"ten parameters, persona": ten_parameters()[0]})
        self.example = labelled(widgets.Dropdown, "task vector", options=list(self.examples))
        self.density = labelled(
            widgets.FloatSlider,
            "density (kept)",
            min=0.05,
            max=1.0,
            step=0.05,
            value=density,
            readout_format=".0%",
        )
        self.once = widgets.Button(description="Roll again")
        self.often = widgets.Button(description="Roll 20 times")
        self.again = widgets.Button(description="Start over")
        self.picture = widgets.HTML()
        self.sentence = widgets.HTML()
        controls = widgets.HBox(
            [
                widgets.VBox([self.example, self.density]),
                widgets.HBox([self.once, self.often, self.again]),
            ],
            layout=widgets.Layout(flex_flow="row wrap"),
        )
        super().__init__([controls, self.picture, self.sentence], **options)
        self.once.on_click(lambda _: self.roll(1))
        self.often.on_click(lambda _: self.roll(20))
        self.again.on_click(self._start)
        for control in (self.example, self.density):
            control.observe(self._start, "value")
        self._start()

    @property
    def delta(self) -> Tensor:
        """The task vector on show."""
        return self.examples[self.example.value].float().flatten()

    @property
    def running(self) -> Tensor:
        """The mean of all rolls so far."""
        return self.total / self.rolls

    def roll(self, times: int = 1) -> None:
        """Roll so many times more, and draw."""
        for _ in range(times):
            self.sample = rolled(self.delta, 1 - self.density.value, seed=self.rolls)[1]
            self.total = self.total + self.sample
            self.rolls += 1
        picture = self.figure()
        self.picture.value = picture.img()
        self.sentence.value = spoken(self.story())

    def figure(self) -> Picture:
        """The figure as it stands now."""
        return dice_plot(self.delta, self.sample, self.running, self.rolls, 1 / self.density.value)

    def story(self) -> str:
        """What the figure shows, in words."""
        left = int((self.sample != 0).sum())
        off = float((self.running - self.delta).norm() / self.delta.norm())
        alone = float((self.sample - self.delta).norm() / self.delta.norm())
        return (
            f"Roll {self.rolls} keeps {left} of {len(self.delta)} entries and multiplies them by "
            f"{1 / self.density.value:.2f}; it is {alone:.0%} of the change's size away from it. "
            f"The mean of {self.rolls} roll{'s' * (self.rolls > 1)} is {off:.0%} away."
        )

    def _start(self, *_: Any) -> None:
        self.rolls, self.total = 0, self.delta * 0
        self.roll()
