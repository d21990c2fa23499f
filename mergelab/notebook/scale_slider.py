"""The scale slider: add more or less of one task vector to the base, and read what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets as widgets

from mergelab.notebook.controls import labelled, spoken
from mergelab.notebook.start_models import ready, task_vector_of, weights_of
from mergelab.notebook.tables import Table

SCALES = tuple(n / 4 for n in range(-4, 7))  # -1 to 1.5


class ScaleSlider(widgets.VBox):
    """A slider for the scale of one task vector; the replies to a few prompts follow it.

    `adapters` maps a label to a shipped adapter. All replies are made when the widget is created,
    so moving the slider is instant. Both controls have labels and work from the keyboard; the
    sentence below says in words what has changed against the base.
    """

    def __init__(
        self,
        adapters: Mapping[str, str],
        prompts: Sequence[str],
        scales: Sequence[float] = SCALES,
        **options: Any,
    ) -> None:
        self.prompts = list(prompts)
        self.replies = {label: _replies(name, prompts, scales) for label, name in adapters.items()}
        self.adapter = labelled(widgets.Dropdown, "task vector", options=list(adapters))
        self.scale = labelled(
            widgets.SelectionSlider,
            "scale",
            options=[(f"{scale:+.2f}".replace("-", "−"), scale) for scale in scales],
            value=1.0,
            continuous_update=False,
        )
        self.table = widgets.HTML()
        self.sentence = widgets.HTML()
        super().__init__([self.adapter, self.scale, self.table, self.sentence], **options)
        for control in (self.adapter, self.scale):
            control.observe(self._show, "value")
        self._show()

    def story(self) -> str:
        """What the widget shows now, in one sentence."""
        chosen = self.replies[self.adapter.value]
        scale = self.scale.value
        changed = sum(a != b for a, b in zip(chosen[scale], chosen[0.0], strict=True))
        if scale == 0:
            return "Scale 0: nothing is added, this is the base itself."
        doing = "added to" if scale > 0 else "taken from"
        return (
            f"{abs(scale):.2f} times the {self.adapter.value} task vector {doing} the base: "
            f"{changed} of {len(self.prompts)} replies differ from the base's."
        )

    def _show(self, change: Any = None) -> None:
        chosen = self.replies[self.adapter.value]
        rows = [
            [prompt, reply, "" if reply == plain else "changed"]
            for prompt, reply, plain in zip(
                self.prompts, chosen[self.scale.value], chosen[0.0], strict=True
            )
        ]
        columns = ["you say", "the model replies", "against the base"]
        table = Table(columns, rows, text_columns=range(3))._repr_html_()
        self.table.value = f'<div style="line-height:1.3">{table}</div>'
        self.sentence.value = spoken(self.story())


def _replies(
    reference: str, prompts: Sequence[str], scales: Sequence[float]
) -> dict[float, list[str]]:
    """The replies to the prompts at each scale, and at 0."""
    from mergelab.evaluation.generation import generate_replies

    base, delta = weights_of("base"), task_vector_of(reference)
    model, tokenizer = ready(base)
    found = {}
    for scale in sorted({0.0, *scales}):
        moved = {name: base[name] + scale * change for name, change in delta.items()}
        model.load_state_dict(moved, strict=False)
        found[scale] = generate_replies(model, tokenizer, list(prompts), max_new_tokens=48)
    return found
