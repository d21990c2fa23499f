"""The memory planner: turn the dials of a merge and see whether it fits."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from mergelab.notebook.controls import labelled, spoken
from mergelab.notebook.memory_plan import GB, MODELS, WAYS, MemoryPlan, plan_memory, plan_sentence
from mergelab.notebook.memory_plots import memory_plot

FULL = "full fine-tunes"
KINDS = {FULL: None} | {f"adapters of rank {rank}": rank for rank in (8, 16, 64, 256)}


class MemoryPlanner(widgets.VBox):
    """Dials for model, sources, way and bits; a bar against the limit, and a sentence in words.

    Every control has a label and works from the keyboard.
    """

    def __init__(self, **options: Any) -> None:
        self.model = labelled(
            widgets.Dropdown, "model", options=list(MODELS), value="8B (Llama-3.1-8B)"
        )
        self.sources = labelled(widgets.IntSlider, "number of sources", min=1, max=8, value=2)
        self.kind = labelled(widgets.Dropdown, "the sources are", options=list(KINDS))
        self.way = labelled(widgets.Dropdown, "merged", options=list(WAYS))
        self.bits = labelled(
            widgets.Dropdown, "bits of the base", options=[("16", 16), ("8", 8), ("4", 4)], value=16
        )
        self.limit = labelled(
            widgets.IntSlider, "memory there is (GB)", min=4, max=128, step=4, value=16
        )
        self.picture = widgets.HTML()
        self.sentence = widgets.HTML()
        left = widgets.VBox([self.model, self.sources, self.kind])
        right = widgets.VBox([self.way, self.bits, self.limit])
        controls = widgets.HBox([left, right], layout=widgets.Layout(flex_flow="row wrap"))
        super().__init__([controls, self.picture, self.sentence], **options)
        for control in (*left.children, *right.children):
            control.observe(self._redraw, "value")
        self._redraw()

    def plan(self) -> MemoryPlan:
        """The plan that the figure shows now."""
        return plan_memory(
            MODELS[self.model.value],
            self.sources.value,
            rank=KINDS[self.kind.value],
            bits=self.bits.value,
            way=self.way.value,
        )

    def _redraw(self, change: Any = None) -> None:
        plan, limit = self.plan(), self.limit.value * GB
        label = self.model.value.partition(" ")[0]
        title = f"{label}: {self.sources.value} {self.kind.value}, {self.way.value}"
        if self.sources.value == 1:
            title = title.replace("tunes", "tune").replace("adapters", "adapter")
        self.picture.value = memory_plot({label: plan}, limit=limit, title=title).img()
        self.sentence.value = spoken(plan_sentence(plan, limit))
