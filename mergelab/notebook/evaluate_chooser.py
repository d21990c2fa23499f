"""The strategy chooser: a few questions, a recipe, its reason, and what was measured about it."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets

from mergelab.notebook.controls import labelled
from mergelab.notebook.evaluate_advice import DISTINCT, SIMILAR, advise


class StrategyChooser(widgets.VBox):
    """Asks how many models, how alike, whether compressed, and for memory; answers with a recipe.

    `measured` maps a method to a sentence with what was measured about it. Every control has a
    label and works from the keyboard; the answer is text.
    """

    def __init__(self, measured: Mapping[str, str] | None = None, **options: Any) -> None:
        self.measured = dict(measured or {})
        self.models = labelled(widgets.IntSlider, "how many models", min=2, max=8, value=2)
        self.kind = labelled(
            widgets.Dropdown,
            "their skills are",
            options=[("similar", SIMILAR), ("distinct", DISTINCT)],
            value=DISTINCT,
        )
        self.compressed = labelled(widgets.Checkbox, "stored sparsely", value=False)
        self.little_memory = labelled(widgets.Checkbox, "little memory", value=False)
        self.answer = widgets.HTML()
        controls = [self.models, self.kind, self.compressed, self.little_memory]
        super().__init__([*controls, self.answer], **options)
        for control in controls:
            control.observe(self._redraw, "value")
        self._redraw()

    def _redraw(self, change: Any = None) -> None:
        advice = advise(
            self.models.value,
            self.kind.value,
            compressed=self.compressed.value,
            little_memory=self.little_memory.value,
        )
        said = {
            "Why": advice.reason,
            "Compare with": advice.baseline,
            "Take care": advice.doubt,
            "Measured in this lesson": self.measured.get(advice.method, ""),
        }
        lines = [
            f"<p><b>{title}.</b> {html.escape(text)}</p>" for title, text in said.items() if text
        ]
        self.answer.value = (
            '<div role="status" aria-live="polite" style="line-height:1.5">'
            f"<pre>{html.escape(advice.recipe())}</pre>{''.join(lines)}</div>"
        )
