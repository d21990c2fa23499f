"""Plots of a merge report: figures by layer, and where the conflicts are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import PercentFormatter

from mergelab.checkpoints import with_layer
from mergelab.notebook.picture import Picture
from mergelab.notebook.style import (
    AGREE,
    CONFLICT,
    DROPPED,
    INK,
    METHODS,
    new_figure,
    source_colour,
    styled,
)
from mergelab.report import MergeReport, Summary

_MARKERS = ("o", "s", "^", "D", "v", "P")
_STYLES = ("-", "--", "-.", ":")
_READABLE = 16  # more layers than this and numbers no longer fit on the cells


def report_plots(report: MergeReport) -> list[Picture]:
    """The plots that this report has numbers for; none for a merge that merged nothing."""
    drawn = [removed_plot, conflicts_plot, magnitude_plot, angle_plot, conflict_map]
    pictures = [draw(report) for draw in drawn]
    return [picture for picture in pictures if picture is not None]


@styled
def removed_plot(report: MergeReport) -> Picture | None:
    """Share of each source's entries that was trimmed or dropped, by layer."""
    layers = report.per_layer()
    if not report.removed_word or not layers:
        return None
    axis, figure = _by_layer(layers)
    for n, name in enumerate(report.sources):
        shares = [row.removed_share[n] for row in layers]
        _line(axis, shares, source_colour(name, n), n, name)
    axis.set_ylabel(f"share {report.removed_word}")
    _shares(axis)
    _legend(axis)
    title = f"{report.removed_word.capitalize()} by layer"
    axis.set_title(title)
    total = report.total().removed_share
    said = ", ".join(f"{s} {_percent(t)}" for s, t in zip(report.sources, total, strict=True))
    return Picture(figure, f"{title}, as a share of each source's entries. In total: {said}.")


@styled
def conflicts_plot(report: MergeReport) -> Picture | None:
    """Share of entries with opposite signs, by layer, and of those that an election settled."""
    layers = [row for row in report.per_layer() if row.conflicts is not None and row.entries]
    if not layers:
        return None
    axis, figure = _by_layer(layers)
    conflicts = [row.conflicts / row.entries for row in layers]
    resolved = [row.resolved / row.entries for row in layers]
    axis.bar(range(len(layers)), conflicts, 0.75, color=DROPPED, label="conflicts")
    if any(resolved):
        look = {"color": CONFLICT, "marker": "o", "linestyle": "none", "markersize": 5}
        axis.plot(range(len(layers)), resolved, **look, label="resolved by a vote")
    axis.set_ylabel("share of entries")
    _shares(axis, top=max(conflicts))
    _legend(axis)
    axis.set_title("Sign conflicts by layer")
    total = report.total()
    shares = (_percent(n / total.entries) for n in (total.conflicts or 0, total.resolved))
    return Picture(
        figure,
        "Sign conflicts by layer, as a share of the entries. "
        "In total {} conflict and {} were resolved by electing a sign.".format(*shares),
    )


@styled
def magnitude_plot(report: MergeReport) -> Picture | None:
    """Norm of the merged change over the mean norm of the sources' changes, by layer."""
    layers = report.per_layer()
    kept = [row.magnitude_kept for row in layers]
    if all(value is None for value in kept):
        return None
    axis, figure = _by_layer(layers)
    colour, _ = METHODS.get(report.method, (INK, "o"))
    axis.axhline(1, color=AGREE, linewidth=1, linestyle=":")
    _line(axis, kept, colour, 0, "")
    axis.set_ylim(0, max(1.1, 1.1 * max(value for value in kept if value is not None)))
    axis.set_ylabel("magnitude kept")
    axis.set_title("Magnitude kept by layer (1: as large as one source's change)")
    return Picture(
        figure, f"Magnitude kept by layer. In total {report.total().magnitude_kept:.3f}."
    )


@styled
def angle_plot(report: MergeReport) -> Picture | None:
    """Mean angle between the sources, by layer, in degrees."""
    layers, total = report.per_layer(), report.total()
    weights = report.space == "weights"
    angles = [row.weight_angle if weights else row.angle for row in layers]
    if all(angle is None for angle in angles):
        return None
    axis, figure = _by_layer(layers)
    axis.axhline(90, color=AGREE, linewidth=1, linestyle=":")
    _line(axis, angles, INK, 0, "")
    largest = max(angle for angle in angles if angle is not None)
    axis.set_ylim(0, 180 if largest > 115 else 120)
    axis.set_yticks(range(0, 181 if largest > 115 else 121, 30))
    axis.set_ylabel("angle in degrees")
    between = "full weights" if weights else "changes"
    remark = "" if weights else " (90: nothing in common)"
    axis.set_title(f"Angle between the sources' {between} by layer{remark}")
    whole = total.weight_angle if weights else total.angle
    return Picture(figure, f"Angle between the sources' {between} by layer. In total {whole:.1f}°.")


@styled
def conflict_map(report: MergeReport) -> Picture | None:
    """Share of conflicting entries, for each kind of tensor (rows) in each layer (columns)."""
    shares: dict[str, dict[int, float]] = {}
    for tensor in report.tensors:
        if tensor.layer is not None and tensor.conflicts is not None and tensor.entries:
            kind = _kind(tensor.name)
            shares.setdefault(kind, {})[tensor.layer] = tensor.conflicts / tensor.entries
    if not shares:
        return None
    layers = sorted({layer for row in shares.values() for layer in row})
    grid = np.array([[row.get(layer, np.nan) for layer in layers] for row in shares.values()])
    figure = new_figure(9.4, 1.5 + 0.36 * len(shares))
    axis = figure.subplots()
    colours = LinearSegmentedColormap.from_list("conflict", ["#FFFFFF", "#F7CDB0", "#E8843C"])
    axis.set_facecolor(DROPPED)
    top = float(np.nanmax(grid)) or 1.0
    image = axis.imshow(grid, cmap=colours, vmin=0, vmax=top, aspect="auto")
    if len(layers) <= _READABLE:
        for y, x in np.argwhere(~np.isnan(grid)):
            axis.text(x, y, f"{grid[y, x]:.0%}", ha="center", va="center", fontsize=9, color=INK)
    axis.set_yticks(range(len(shares)), list(shares))
    step = max(1, len(layers) // 16)
    axis.set_xticks(range(0, len(layers), step), [str(layer) for layer in layers[::step]])
    axis.set_xlabel("layer")
    axis.grid(False)
    bar = figure.colorbar(image, ax=axis, pad=0.02, format=PercentFormatter(1, decimals=0))
    bar.set_label("share of entries")
    bar.outline.set_visible(False)
    axis.set_title("Sign conflicts by kind of tensor (grey: not merged)")
    y, x = np.unravel_index(np.nanargmax(grid), grid.shape)
    return Picture(
        figure,
        f"Sign conflicts by kind of tensor and layer. Most, {grid[y, x]:.0%} of the entries, are "
        f"in {list(shares)[y]} of layer {layers[x]}.",
    )


def _kind(name: str) -> str:
    """A tensor's name without its layer.

    >>> _kind("model.layers.12.mlp.up_proj.weight")
    'mlp.up_proj'
    """
    return with_layer(name, 0).split(".0.", 1)[-1].removesuffix(".weight")


def _by_layer(layers: Sequence[Summary]) -> tuple[Any, Any]:
    """An axis with the layers from left to right, a label for each or, of many, for some."""
    figure = new_figure(9.4, 2.9)
    axis = figure.subplots()
    labels = [row.label.removeprefix("layer ").replace("outside layers", "out") for row in layers]
    step = max(1, len(labels) // 16)
    axis.set_xticks(range(0, len(labels), step), labels[::step])
    axis.set_xlim(-0.6, len(labels) - 0.4)
    axis.set_xlabel("layer (out: outside the layers)" if "out" in labels else "layer")
    axis.grid(axis="x", visible=False)
    return axis, figure


def _line(axis: Any, values: Sequence[float | None], colour: str, n: int, label: str) -> None:
    axis.plot(
        range(len(values)),
        [np.nan if value is None else value for value in values],
        color=colour,
        marker=_MARKERS[n % len(_MARKERS)],
        linestyle=_STYLES[n % len(_STYLES)],
        markersize=5 if len(values) <= 2 * _READABLE else 2.5,
        label=label,
    )


def _shares(axis: Any, top: float = 1.0) -> None:
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0 if top > 0.05 else 2))
    axis.set_ylim(0, top * 1.08 or 1.0)


def _legend(axis: Any) -> None:
    axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{share:.0%}"
