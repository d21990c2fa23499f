"""Plots of weights: a patch of a layer, a vote, what trimming leaves, what became of a change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from matplotlib.colors import ListedColormap
from torch import Tensor

from mergelab.methods import trim
from mergelab.notebook.picture import Picture
from mergelab.notebook.steps import signed
from mergelab.notebook.style import (
    AGREE,
    CONFLICT,
    CONFLICT_HATCH,
    DROPPED,
    INK,
    METHODS,
    SIGNED,
    ink_on,
    new_figure,
    source_colour,
    styled,
)
from mergelab.notebook.weights import Fate


@styled
def patch_plot(
    first: Tensor,
    second: Tensor,
    *,
    names: tuple[str, str],
    rows: slice = slice(0, 12),
    columns: slice = slice(0, 12),
    density: float = 0.5,
    title: str = "",
) -> Picture:
    """Two adapters' changes in one patch of a layer, and where their larger entries agree or clash.

    `first` and `second` are matrices of one shape. "Larger" means within the top `density` of the
    whole matrix by magnitude.
    """
    figure = new_figure(9.4, 3.7)
    axes = figure.subplots(1, 3)
    patches = [matrix[rows, columns].float() for matrix in (first, second)]
    limit = float(max(patch.abs().max() for patch in patches)) or 1.0
    for axis, patch, name in zip(axes, patches, names, strict=False):
        image = axis.imshow(patch.numpy(), cmap=SIGNED, vmin=-limit, vmax=limit)
        axis.set_title(f"change by {name}")
    bar = figure.colorbar(image, ax=axes[:2].tolist(), shrink=0.75, pad=0.02)
    bar.set_label("change of the weight")
    kept = [trim(matrix, density)[rows, columns].sign() for matrix in (first, second)]
    product = kept[0] * kept[1]
    one_only = (product == 0) & (kept[0] != kept[1])
    relation = torch.where(product > 0, 2.0, torch.where(product < 0, 3.0, one_only.float()))
    colours = ListedColormap(["white", DROPPED, AGREE, CONFLICT])
    axes[2].imshow(relation.numpy(), cmap=colours, vmin=0, vmax=3)
    for y, line in enumerate(relation.tolist()):
        for x, kind in enumerate(line):
            if kind >= 2:
                axes[2].text(
                    x, y, "=" if kind == 2 else "×", ha="center", va="center", color="white",
                    fontsize=10, fontweight="bold",
                )  # fmt: skip
    axes[2].set_title("= agree   × oppose")
    axes[2].set_xlabel("grey: only one of the two\nwhite: neither")
    for axis in axes:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.grid(False)
        for spine in axis.spines.values():
            spine.set_visible(True)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    agree, oppose = int((relation == 2).sum()), int((relation == 3).sum())
    return Picture(
        figure,
        f"Three grids of {relation.numel()} weights: the change by {names[0]}, the change by "
        f"{names[1]}, and their relation: {agree} agree, {oppose} oppose, "
        f"{int(one_only.sum())} are changed much by one adapter only.",
    )


@styled
def vote_plot(entries: Mapping[str, Mapping[str, float]]) -> Picture:
    """For each entry the models' changes as bars, their plain average, and what TIES makes of them.

    `entries` maps a title to the changes by model name. Weights are 1, nothing is trimmed.
    """
    figure = new_figure(4.4 * len(entries) + 0.6, 3.5)
    axes = figure.subplots(1, len(entries), squeeze=False)[0]
    said = []
    limit = 1.35 * max(abs(v) for changes in entries.values() for v in changes.values())
    for axis, (title, changes) in zip(axes, entries.items(), strict=True):
        values = list(changes.values())
        plus = sum(v for v in values if v > 0)
        minus = -sum(v for v in values if v < 0)
        winners = [v for v in values if v * (plus - minus) > 0]
        merged = sum(winners) / len(winners) if winners else 0.0
        average = sum(values) / len(values)
        for n, (name, value) in enumerate(changes.items()):
            wins = value in winners
            colour = source_colour(name, n)
            look: dict[str, Any] = {"facecolor": colour, "edgecolor": colour}
            if not wins:
                look = {"facecolor": "white", "edgecolor": CONFLICT, "hatch": CONFLICT_HATCH}
            axis.bar(n, value, 0.6, **look)
            _value(axis, n, value, limit)
        n = len(values)
        axis.bar(n + 0.3, average, 0.6, color=METHODS["linear"][0])
        _value(axis, n + 0.3, average, limit)
        axis.bar(n + 1.3, merged, 0.6, color=METHODS["ties"][0])
        _value(axis, n + 1.3, merged, limit)
        axis.set_xticks([*range(n), n + 0.3, n + 1.3], [*changes, "average", "TIES"])
        axis.axhline(0, color=INK, linewidth=1)
        axis.axvline(n - 0.35, color="#8C9196", linewidth=0.8, linestyle=":")
        axis.set_ylim(-limit, limit)
        axis.set_ylabel("change of the weight")
        against = f"−{minus:.3g}" if minus else "0"
        axis.set_title(f"{title}\nmass: +{plus:.3g} against {against}")
        axis.grid(axis="x", visible=False)
        told = ", ".join(f"{name} {signed(value)}" for name, value in changes.items())
        said.append(
            f"{title}: {told}; mass for plus {plus:.3g}, for minus {minus:.3g}; average "
            f"{signed(round(average, 6))}, TIES {signed(round(merged, 6))}"
        )
    return Picture(figure, f"Bars. {'. '.join(said)}. Hatched bars lost the vote.")


def _value(axis: Any, x: float, value: float, limit: float) -> None:
    axis.text(
        x,
        value + (limit * 0.03 if value >= 0 else -limit * 0.03),
        signed(round(value, 6)),
        ha="center",
        va="bottom" if value >= 0 else "top",
        fontsize=10,
    )


@styled
def trim_plot(
    densities: Sequence[float], kept: Mapping[str, Sequence[float]], marked: Sequence[float] = ()
) -> Picture:
    """Share of a task vector's norm that stays, by density; one curve for each source.

    `kept` maps a source's name to its shares, one for each density; `marked` are densities to
    point out.
    """
    figure = new_figure(7.4, 3.8)
    axis = figure.subplots()
    axis.plot(
        densities,
        [d**0.5 for d in densities],
        color=AGREE,
        linestyle=":",
        label="if all entries were equally large",
    )
    for n, (name, shares) in enumerate(kept.items()):
        style = ("-", "--", "-.")[n % 3]
        axis.plot(densities, shares, style, color=source_colour(name, n), label=name)
    for density in marked:
        axis.axvline(density, color=INK, linewidth=1)
        axis.text(density + 0.01, 0.03, f"density {density:g}", fontsize=10)
    axis.set_xlabel("density (share of entries kept)")
    axis.set_ylabel("share of the norm kept")
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1.03)
    axis.legend(loc="lower right", bbox_to_anchor=(1.0, 0.08))
    at = [min(range(len(densities)), key=lambda i: abs(densities[i] - d)) for d in marked]
    said = "; ".join(
        f"{name} keeps " + ", ".join(f"{shares[i]:.2f} at {densities[i]:g}" for i in at)
        for name, shares in kept.items()
    )
    return Picture(
        figure, f"Share of the norm kept against density. {said or 'No density marked'}."
    )


@styled
def fate_plot(found: Sequence[Fate], *, title: str = "") -> Picture:
    """What TIES made of each source's change: kept, overruled, trimmed, as shares of its square.

    The shares are of the squared norm, so the three parts of a bar add up to 1.
    """
    figure = new_figure(8.6, 1.3 + 0.55 * len(found))
    axis = figure.subplots()
    for row, fate in enumerate(found):
        left = 0.0
        for share, look, ink in (
            (fate.kept, {"facecolor": source_colour(fate.name, row)}, ink_on(fate.name, row)),
            (
                fate.overruled,
                {"facecolor": "white", "edgecolor": CONFLICT, "hatch": CONFLICT_HATCH},
                INK,
            ),
            (fate.trimmed, {"facecolor": DROPPED}, INK),
        ):
            axis.barh(row, share, 0.62, left=left, **look)
            if share > 0.03:
                label = axis.text(
                    left + share / 2, row, f"{share:.0%}", ha="center", va="center", color=ink
                )
                label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.2}) if (
                    "hatch" in look
                ) else None
            left += share
    axis.set_yticks(range(len(found)), [fate.name for fate in found])
    axis.set_ylim(len(found) - 0.5, -0.5)
    axis.set_xlim(0, 1)
    axis.set_xlabel("share of the adapter's change (squared norm)")
    axis.grid(False)
    handles = [
        axis.barh(0, 0, facecolor="#444444"),
        axis.barh(0, 0, facecolor="white", edgecolor=CONFLICT, hatch=CONFLICT_HATCH),
        axis.barh(0, 0, facecolor=DROPPED),
    ]
    figure.legend(
        handles,
        ["kept (the source's colour)", "overruled in an election", "trimmed"],
        loc="outside upper right",
        ncols=3,
    )
    if title:
        axis.set_title(title)
    said = "; ".join(
        f"{f.name}: {f.kept:.0%} kept, {f.overruled:.0%} overruled, {f.trimmed:.0%} trimmed"
        for f in found
    )
    return Picture(figure, f"{title or 'What became of each change'}. {said}.")
