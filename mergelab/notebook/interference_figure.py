"""One patch of two task vectors, what every method would make of it, and the figure of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.colors import ListedColormap
from matplotlib.patches import Rectangle
from torch import Tensor

from mergelab.methods import dare_linear, linear, slerp, task_arithmetic, ties, trim
from mergelab.notebook.interference_views import Shares, overlap_curve, shares_by_chance
from mergelab.notebook.picture import Picture
from mergelab.notebook.steps import signed
from mergelab.notebook.style import (
    AGREE,
    CONFLICT,
    CONFLICT_HATCH,
    DROPPED,
    FAINT,
    INK,
    METHODS,
    SIGNED,
    new_figure,
    source_colour,
    styled,
)
from mergelab.notebook.weights import Changes

PATCH = 12
KINDS = ("neither", "one only", "same direction", "opposite")
COLOURS = ("white", DROPPED, AGREE, CONFLICT)
LOOKS = {
    "average": METHODS["linear"][0],
    "sum": METHODS["task_arithmetic"][0],
    "SLERP": METHODS["slerp"][0],
    "TIES": METHODS["ties"][0],
    "DARE": METHODS["dare_linear"][0],
}


def merged_by_each(
    first: Tensor, second: Tensor, density: float = 0.5, seed: int = 0
) -> dict[str, Tensor]:
    """What each method of the course makes of two task vectors of one shape, at its usual setting.

    The average (linear .5/.5), the sum (task arithmetic), SLERP at t = .5, TIES at `density`, and
    DARE: each keeps a random share `density`, enlarges it, and the two are added up.

    >>> import torch
    >>> merged = merged_by_each(torch.tensor([0.08]), torch.tensor([-0.05]), density=1.0)
    >>> {name: round(float(value), 3) for name, value in merged.items()}
    {'average': 0.015, 'sum': 0.03, 'SLERP': 0.015, 'TIES': 0.08, 'DARE': 0.03}
    """
    pair = [first.float(), second.float()]
    return {
        "average": linear(pair, [0.5, 0.5]),
        "sum": task_arithmetic(pair),
        "SLERP": slerp(*pair, 0.5),
        "TIES": ties(pair, density),
        "DARE": dare_linear(pair, density, seed=seed),
    }


@dataclass(frozen=True)
class View:
    """What the explorer shows: a patch of two task vectors, relations, shares and merges.

    `relation` numbers each entry of the patch by `KINDS`; `merged` maps a method to its patch.
    """

    names: Sequence[str]
    share: float
    seed: int
    first: Tensor
    second: Tensor
    relation: Tensor
    merged: Mapping[str, Tensor]
    shares: Shares


def look(
    first: Tensor,
    second: Tensor,
    share: float = 0.2,
    seed: int = 0,
    names: Sequence[str] = ("persona", "agentic"),
) -> View:
    """The top left patch of two matrices of one shape, all ranks and merges taken over the whole.

    >>> import torch
    >>> view = look(torch.tensor([[3.0, 1.0]]), torch.tensor([[-2.0, 0.5]]), share=0.5)
    >>> [KINDS[int(kind)] for kind in view.relation[0]]
    ['opposite', 'neither']
    """
    changed = [trim(matrix.float(), share).sign() for matrix in (first, second)]
    product = changed[0] * changed[1]
    one = (changed[0] != 0) ^ (changed[1] != 0)
    relation = one.int() + 2 * (product > 0).int() + 3 * (product < 0).int()
    pair = Changes(tuple(names), {"": first}, {"": [first, second]})
    merged = merged_by_each(first, second, share, seed)
    return View(
        names,
        share,
        seed,
        _patch(first).float(),
        _patch(second).float(),
        _patch(relation),
        {name: _patch(matrix) for name, matrix in merged.items()},
        overlap_curve(pair, [share])[share],
    )


def _patch(matrix: Tensor) -> Tensor:
    return matrix[:PATCH, :PATCH]


@styled
def explorer_figure(
    view: View, method: str = "average", entry: tuple[int, int] = (0, 0), title: str = ""
) -> Picture:
    """The patch, the relation of the two, the patch merged by one method; shares; one entry.

    `entry` is the row and column, from 0, that is outlined and followed through every method.
    """
    figure = new_figure(10.2, 6.3)
    upper, lower = figure.subfigures(2, 1, height_ratios=[1.0, 0.85])
    axes = upper.subplots(1, 4)
    patches = [view.first, view.second, view.merged[method]]
    limit = float(max(patch.abs().max() for patch in patches[:2])) or 1.0
    for axis, patch, name in zip(
        (axes[0], axes[1], axes[3]),
        patches,
        (f"change by {view.names[0]}", f"change by {view.names[1]}", f"merged: {method}"),
        strict=True,
    ):
        image = axis.imshow(patch.numpy(), cmap=SIGNED, vmin=-limit, vmax=limit, aspect="auto")
        axis.set_title(name, fontsize=11)
    _relation(axes[2], view)
    for axis in axes:
        axis.add_patch(
            Rectangle((entry[1] - 0.5, entry[0] - 0.5), 1, 1, fill=False, edgecolor=INK, lw=2.4)
        )
        axis.set_xticks([])
        axis.set_yticks([])
        axis.grid(False)
        for spine in axis.spines.values():
            spine.set_visible(True)
    bar = upper.colorbar(image, ax=axes.tolist(), shrink=0.8, pad=0.02, extend="both")
    bar.set_label("change of the weight")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    left, right = lower.subplots(1, 2, width_ratios=[0.85, 1.1])
    _shares(left, view)
    _entry(right, view, entry)
    return Picture(figure, f"{title}. {told(view, method, entry)}" if title else
                   told(view, method, entry))  # fmt: skip


def _relation(axis: Any, view: View) -> None:
    axis.imshow(view.relation.numpy(), cmap=ListedColormap(COLOURS), vmin=0, vmax=3, aspect="auto")
    for y, line in enumerate(view.relation.tolist()):
        for x, kind in enumerate(line):
            if kind >= 2:
                axis.text(
                    x, y, "=" if kind == 2 else "×", ha="center", va="center", color="white",
                    fontsize=10, fontweight="bold",
                )  # fmt: skip
    axis.set_title("= agree   × oppose", fontsize=11)
    axis.set_xlabel("grey: only one changed\nwhite: neither", fontsize=9)


def _shares(axis: Any, view: View) -> None:
    for row, shares in enumerate((view.shares, shares_by_chance(view.share))):
        left = 0.0
        parts = (shares.neither, shares.one_only, shares.same, shares.opposite)
        for kind, (share, colour) in enumerate(zip(parts, COLOURS, strict=True)):
            axis.barh(row, share, 0.55, left=left, facecolor=colour, edgecolor=FAINT)
            if share > 0.045:
                axis.text(
                    left + share / 2, row, f"{share:.0%}", ha="center", va="center",
                    color="white" if kind >= 2 else INK,
                )  # fmt: skip
            left += share
    axis.set_yticks([0, 1], ["here", "by chance"])
    axis.set_ylim(1.5, -1.15)
    axis.set_xlim(0, 1)
    axis.xaxis.set_major_formatter(lambda x, _: f"{x:.0%}")
    axis.set_xlabel(f"share of the whole matrix (changed: top {view.share:.0%})")
    axis.grid(False)
    handles = [axis.barh(0, 0, facecolor=c, edgecolor=FAINT) for c in COLOURS]
    axis.legend(handles, KINDS, loc="upper center", ncols=4, columnspacing=0.8,
                handlelength=1.0, handletextpad=0.4, fontsize=8.5)  # fmt: skip


def _entry(axis: Any, view: View, entry: tuple[int, int]) -> None:
    values = {
        view.names[0]: float(view.first[entry]),
        view.names[1]: float(view.second[entry]),
        **{name: float(patch[entry]) for name, patch in view.merged.items()},
    }
    limit = 1.45 * max(map(abs, values.values())) or 1.0
    for n, (name, value) in enumerate(values.items()):
        place = n + (0.35 if n >= 2 else 0)
        colour = LOOKS[name] if n >= 2 else source_colour(name, n)
        hatch = CONFLICT_HATCH if name == "DARE" else None
        axis.bar(place, value, 0.7, color=colour, hatch=hatch, edgecolor="white")
        axis.annotate(
            signed(float(f"{value:.2g}")),
            (place, value),
            (0, 3 if value >= 0 else -3),
            textcoords="offset points",
            ha="center",
            va="bottom" if value >= 0 else "top",
            fontsize=9,
        )
    axis.axhline(0, color=INK, linewidth=1)
    axis.axvline(1.675, color=FAINT, linewidth=0.8, linestyle=":")
    axis.set_xticks([n + (0.35 if n >= 2 else 0) for n in range(len(values))], values, fontsize=9)
    axis.tick_params(axis="x", length=0)
    axis.set_ylim(-limit, limit)
    axis.set_ylabel("change")
    axis.set_title(f"row {entry[0] + 1}, column {entry[1] + 1}", fontsize=11)
    axis.grid(axis="x", visible=False)


def told(view: View, method: str, entry: tuple[int, int]) -> str:
    """What the figure shows, in words.

    >>> import torch
    >>> view = look(torch.tensor([[0.08]]), torch.tensor([[-0.05]]), share=1.0)
    >>> print(told(view, "average", (0, 0)))
    Top 100% counts as changed. Whole matrix: neither 0%, one only 0%, same direction 0%, opposite
    100%; by chance 0%, 0%, 50%, 50%. In the patch 0 agree and 1 oppose. Row 1, column 1: persona
    +0.08, agentic −0.05 (opposite); average +0.015, sum +0.03, SLERP +0.015, TIES +0.08, DARE (seed
    0) +0.03. The fourth grid shows the average.
    """
    here, chance = (
        (s.neither, s.one_only, s.same, s.opposite)
        for s in (view.shares, shares_by_chance(view.share))
    )
    shares = ", ".join(f"{kind} {x:.0%}" for kind, x in zip(KINDS, here, strict=True))
    agree, oppose = (int((view.relation == kind).sum()) for kind in (2, 3))
    merged = ", ".join(
        f"{name}{f' (seed {view.seed})' if name == 'DARE' else ''} "
        f"{signed(float(f'{float(patch[entry]):.2g}'))}"
        for name, patch in view.merged.items()
    )
    one, two = (signed(float(f"{float(patch[entry]):.2g}")) for patch in (view.first, view.second))
    return (
        f"Top {view.share:.0%} counts as changed. Whole matrix: {shares}; by chance "
        f"{', '.join(f'{x:.0%}' for x in chance)}. In the patch {agree} agree and {oppose} oppose. "
        f"Row {entry[0] + 1}, column {entry[1] + 1}: {view.names[0]} {one}, {view.names[1]} {two} "
        f"({KINDS[int(view.relation[entry])]}); {merged}. The fourth grid shows the {method}."
    )
