"""The slerp circle: turn one vector against another, walk between them, and watch the norm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets

from mergelab.notebook.controls import labelled, spoken
from mergelab.notebook.slerp_plots import slerp_figure
from mergelab.notebook.slerp_walk import Walk, walk_sentence

OWN = "two vectors of your own"


class SlerpCircle(widgets.VBox):
    """Sliders for angle, norms and t; the figure and a sentence follow them.

    `pairs` maps a label to a `Walk` between two real tensors, whose angle and norms are given.
    Every control has a label and works from the keyboard; the sentence below the figure says in
    words what the figure shows.
    """

    def __init__(self, pairs: Mapping[str, Walk] | None = None, **options: Any) -> None:
        self.pairs = dict(pairs or {})
        self.pair = labelled(widgets.Dropdown, "vectors", options=[OWN, *self.pairs], value=OWN)
        self.t = labelled(widgets.FloatSlider, "t", min=0.0, max=1.0, step=0.05, value=0.5)
        self.angle = labelled(widgets.IntSlider, "angle (degrees)", min=0, max=180, value=90)
        self.norms = [
            labelled(widgets.FloatSlider, f"norm of {name}", min=0.0, max=2.0, step=0.1, value=1.0)
            for name in ("first", "second")
        ]
        self.picture = widgets.HTML()
        self.sentence = widgets.HTML()
        controls = widgets.HBox(
            [widgets.VBox([self.pair, self.t]), widgets.VBox([self.angle, *self.norms])],
            layout=widgets.Layout(flex_flow="row wrap"),
        )
        super().__init__([controls, self.picture, self.sentence], **options)
        for control in (self.pair, self.t, self.angle, *self.norms):
            control.observe(self._redraw, "value")
        self._redraw()

    def walk(self) -> Walk:
        """The walk that the figure shows now."""
        if self.pair.value in self.pairs:
            return self.pairs[self.pair.value].to(self.t.value)
        a, b = (slider.value for slider in self.norms)
        return Walk((a, b), float(self.angle.value), self.t.value)

    def _redraw(self, change: Any = None) -> None:
        given = self.pair.value in self.pairs  # a real pair brings its own angle and norms
        for slider in (self.angle, *self.norms):
            slider.layout.display = "none" if given else None
        walk = self.walk()
        self.picture.value = slerp_figure(walk).img()
        self.sentence.value = spoken(walk_sentence(walk))
