"""The TIES stepper: follow one entry through trim, elect and merge, with every dial in reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets
from torch import Tensor

from mergelab.methods import trim
from mergelab.notebook.controls import labelled, spoken
from mergelab.notebook.steps import STEPS, Steps, follow, story
from mergelab.notebook.steps_plot import steps_figure
from mergelab.notebook.ten import NAMES, ten_parameters


@dataclass(frozen=True)
class Example:
    """Task vectors to step through: whole tensors of one shape, and the flat positions to show."""

    names: Sequence[str]
    vectors: Sequence[Tensor]
    shown: Sequence[int] | None = None


class TiesStepper(widgets.VBox):
    """Sliders for step, entry, density and weights; the figure and a sentence follow them.

    `examples` maps a label to an `Example`; by default the ten parameters of the course, with all
    three models and with the first two. Every control has a label and works from the keyboard; the
    sentence below the figure says in words what the figure shows.
    """

    def __init__(self, examples: Mapping[str, Example] | None = None, **options: Any) -> None:
        self.examples = dict(examples or ten_examples())
        first = next(iter(self.examples))
        most = max(len(example.names) for example in self.examples.values())
        self.example = labelled(
            widgets.Dropdown, "task vectors", options=list(self.examples), value=first
        )
        self.step = labelled(widgets.IntSlider, "step", min=1, max=len(STEPS), value=1)
        self.entry = labelled(widgets.IntSlider, "follow entry", min=1, max=10, value=1)
        self.density = labelled(
            widgets.FloatSlider,
            "density (kept)",
            min=0.1,
            max=1.0,
            step=0.1,
            value=0.5,
            readout_format=".0%",
        )
        self.election = labelled(widgets.Dropdown, "election by", options=["mass", "count"])
        self.weights = [
            labelled(widgets.FloatSlider, "weight", min=-1.0, max=2.0, step=0.1, value=1.0)
            for _ in range(most)
        ]
        self.picture = widgets.HTML()
        self.sentence = widgets.HTML()
        controls = widgets.HBox(
            [
                widgets.VBox([self.example, self.step, self.entry, self.density]),
                widgets.VBox([self.election, *self.weights]),
            ],
            layout=widgets.Layout(flex_flow="row wrap"),
        )
        super().__init__([controls, self.picture, self.sentence], **options)
        self._fit()
        self.example.observe(self._fit, "value")
        for control in (self.step, self.entry, self.density, self.election, *self.weights):
            control.observe(self._redraw, "value")

    def steps(self) -> Steps:
        """The numbers that the figure shows now."""
        chosen = self.examples[self.example.value]
        return follow(
            chosen.vectors,
            self.density.value,
            [slider.value for slider in self.weights[: len(chosen.names)]],
            election=self.election.value,
            names=chosen.names,
            shown=chosen.shown,
        )

    def _fit(self, change: Any = None) -> None:
        """Let the controls fit the chosen example: its models' names, its number of entries."""
        chosen = self.examples[self.example.value]
        for n, slider in enumerate(self.weights):
            used = n < len(chosen.names)
            slider.layout.display = None if used else "none"
            slider.description = f"weight {chosen.names[n]}" if used else "weight"
        self.entry.max = len(chosen.shown or chosen.vectors[0].flatten())
        self._redraw()

    def _redraw(self, change: Any = None) -> None:
        steps = self.steps()
        entry, step = self.entry.value - 1, self.step.value
        picture = steps_figure(steps, step, entry)
        # One assignment replaces the image when it is whole, so nothing flickers.
        self.picture.value = picture.img()
        self.sentence.value = spoken(story(steps, entry, step))


def ten_examples() -> dict[str, Example]:
    """The ten parameters of the course, for three models and for two."""
    return {
        "ten parameters, three models": Example(NAMES, ten_parameters(3)),
        "ten parameters, two models": Example(NAMES[:2], ten_parameters(2)),
    }


def layer_example(
    first: Tensor, second: Tensor, *, names: Sequence[str], density: float = 0.5
) -> Example:
    """Ten weights of a real layer: of its first 12 rows, the start of the one with most conflicts.

    `first` and `second` are two task vectors of one matrix; conflicts are counted after a trim to
    `density`.
    """
    signs = [trim(matrix, density)[:12, :10].sign() for matrix in (first, second)]
    row = int((signs[0] * signs[1] < 0).sum(1).argmax())
    start = row * first.shape[1]
    return Example(names, [first, second], range(start, start + signs[0].shape[1]))
