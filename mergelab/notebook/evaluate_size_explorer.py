"""The suite-size explorer: how many items tell two models apart."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from mergelab.notebook.controls import labelled, spoken
from mergelab.notebook.evaluate_plots import SIZES, suite_size_figure, suite_size_sentence


class SuiteSizeExplorer(widgets.VBox):
    """Controls for two true rates, the suite's size, and how alike items of a template are.

    Every control has a label and works from the keyboard; the sentence below the figure says in
    words what it shows. Scores and alikeness lie in [0, 1].
    """

    def __init__(self, first: float = 0.90, second: float = 0.85, **options: Any) -> None:
        rate = {"min": 0.3, "max": 0.99, "step": 0.01, "readout_format": ".2f"}
        self.first = labelled(widgets.FloatSlider, "rate of the first", value=first, **rate)
        self.second = labelled(widgets.FloatSlider, "rate of the second", value=second, **rate)
        self.items = labelled(
            widgets.SelectionSlider, "items per suite", options=list(SIZES), value=50
        )
        self.per_template = labelled(
            widgets.IntSlider, "items per template", min=1, max=20, value=1
        )
        self.alike = labelled(
            widgets.FloatSlider, "alike (0 to 1)", min=0.0, max=1.0, step=0.1, value=0.5
        )
        self.picture, self.sentence = widgets.HTML(), widgets.HTML()
        controls = widgets.HBox(
            [
                widgets.VBox([self.first, self.second, self.items]),
                widgets.VBox([self.per_template, self.alike]),
            ],
            layout=widgets.Layout(flex_flow="row wrap"),
        )
        super().__init__([controls, self.picture, self.sentence], **options)
        for control in (self.first, self.second, self.items, self.per_template, self.alike):
            control.observe(self._redraw, "value")
        self._redraw()

    def _redraw(self, change: Any = None) -> None:
        setting = {"per_template": self.per_template.value, "alike": self.alike.value}
        shown = (self.first.value, self.second.value, self.items.value)
        self.picture.value = suite_size_figure(*shown, **setting).img()
        self.sentence.value = spoken(suite_size_sentence(*shown, **setting))
