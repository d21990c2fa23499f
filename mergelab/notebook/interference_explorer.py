"""The interference explorer: pick a matrix, say what counts as changed, see who wants what."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets
from torch import Tensor

from mergelab.notebook.controls import labelled, spoken
from mergelab.notebook.interference_figure import LOOKS, PATCH, View, explorer_figure, look
from mergelab.notebook.ten import ten_parameters
from mergelab.notebook.weights import Changes

TEN = "ten parameters"


class InterferenceExplorer(widgets.VBox):
    """Controls for layer, matrix, share, entry, method and seed; figure and sentence follow them.

    `found` holds two task vectors. Beside its layers one can choose the ten parameters of the
    course, shown as two rows of five. Every control has a label and works from the keyboard; the
    sentence below the figure says in words what the figure shows.
    """

    def __init__(
        self, found: Changes, names: Sequence[str] = ("persona", "agentic"), **options: Any
    ) -> None:
        self.names = names
        self.tensors: dict[str, dict[str, tuple[Tensor, Tensor]]] = {}
        for name, (first, second) in found.deltas.items():
            layer, matrix = short_name(name)
            self.tensors.setdefault(layer, {})[matrix] = (first, second)
        self.tensors[TEN] = {"all ten": tuple(t.reshape(2, 5) for t in ten_parameters())}
        layers = list(self.tensors)
        self.layer = labelled(
            widgets.Dropdown, "layer", options=layers, value=layers[min(1, len(layers) - 1)]
        )
        self.matrix = labelled(widgets.Dropdown, "matrix", options=list(self._matrices()))
        if "q_proj" in self._matrices():
            self.matrix.value = "q_proj"
        self.share = labelled(
            widgets.FloatSlider,
            "changed: top",
            min=0.05,
            max=1.0,
            step=0.05,
            value=0.5,
            readout_format=".0%",
        )
        self.row = labelled(widgets.IntSlider, "row", min=1, max=PATCH, value=1)
        self.column = labelled(widgets.IntSlider, "column", min=1, max=PATCH, value=1)
        self.method = labelled(widgets.Dropdown, "merge shown", options=list(LOOKS))
        self.seed = labelled(widgets.IntSlider, "seed of DARE", min=0, max=9, value=0)
        self.picture = widgets.HTML()
        self.sentence = widgets.HTML()
        controls = widgets.HBox(
            [
                widgets.VBox([self.layer, self.matrix, self.share, self.method]),
                widgets.VBox([self.row, self.column, self.seed]),
            ],
            layout=widgets.Layout(flex_flow="row wrap"),
        )
        super().__init__([controls, self.picture, self.sentence], **options)
        self._fit()
        self.layer.observe(self._other_layer, "value")
        self.matrix.observe(self._fit, "value")
        for control in (self.share, self.row, self.column, self.method, self.seed):
            control.observe(self._redraw, "value")

    def _matrices(self) -> dict[str, tuple[Tensor, Tensor]]:
        return self.tensors[self.layer.value]

    def view(self) -> View:
        """The numbers that the figure shows now."""
        first, second = self._matrices()[self.matrix.value]
        return look(first, second, self.share.value, self.seed.value, self.names)

    def _other_layer(self, change: Any = None) -> None:
        """Offer the matrices of the chosen layer, and stay with the same one where it has it."""
        before, names = self.matrix.value, list(self._matrices())
        self.matrix.unobserve(self._fit, "value")
        self.matrix.options = names
        self.matrix.value = before if before in names else names[0]
        self.matrix.observe(self._fit, "value")
        self._fit()

    def _fit(self, change: Any = None) -> None:
        """Let rows and columns end where the matrix does."""
        first, _ = self._matrices()[self.matrix.value]
        # A smaller end moves a slider at once: nothing is drawn until both fit.
        self.fitting = True
        self.row.max, self.column.max = (min(PATCH, size) for size in first.shape)
        self.fitting = False
        self._redraw()

    def _redraw(self, change: Any = None) -> None:
        if self.fitting:
            return
        entry = (self.row.value - 1, self.column.value - 1)
        title = f"{self.layer.value}, {self.matrix.value}"
        picture = explorer_figure(self.view(), self.method.value, entry, title)
        # One assignment replaces the image when it is whole, so nothing flickers.
        self.picture.value = picture.img()
        self.sentence.value = spoken(picture.alt)


def short_name(name: str) -> tuple[str, str]:
    """Layer and matrix of a tensor's name, as people say them.

    >>> short_name("model.layers.1.self_attn.q_proj.weight")
    ('layer 1', 'q_proj')
    """
    layer = re.search(r"layers\.(\d+)\.", name)
    matrix = name.removesuffix(".weight").rpartition(".")[2]
    return (f"layer {layer[1]}" if layer else "outside layers", matrix)
