"""Pictures of kernels: who works on which entries, a tile of `B @ A`, and the bytes that move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.patches import Rectangle

from mergelab.notebook.picture import Picture
from mergelab.notebook.style import (
    CONFLICT,
    FAINT,
    INK,
    METHODS,
    SOURCES,
    new_figure,
    styled,
)


@styled
def tiles_plot(entries: int = 10, tile: int = 4, *, title: str = "") -> Picture:
    """The entries of a flat tensor, the programs that share them, and the lanes that are masked."""
    programs = -(-entries // tile)
    figure = new_figure(9.4, 2.5)
    axis = _canvas(figure, (-0.1, programs * tile + 0.1), (-1.15, 1.75))
    for lane in range(programs * tile):
        inside = lane < entries
        colour = SOURCES[(lane // tile) % len(SOURCES)]
        _box(axis, lane, 0, 1, 1, colour if inside else "white", not inside)
        text = {"fontsize": 12, "fontweight": "bold", "color": "white" if inside else FAINT}
        if lane // tile % len(SOURCES) == 1 and inside:
            text["color"] = INK
        if not inside:
            text["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 2}
        axis.text(lane + 0.5, 0.5, str(lane), ha="center", va="center", **text)
        axis.text(lane + 0.5, -0.25, "yes" if inside else "no", ha="center", va="center")
    for program in range(programs):
        start = program * tile
        axis.plot([start + 0.08, start + tile - 0.08], [1.15, 1.15], color=INK, linewidth=1.5)
        axis.text(start + tile / 2, 1.42, f"program {program}", ha="center", va="center")
    axis.text(0, -0.82, "mask: is there such an entry?", va="center", color=FAINT)
    if title:
        axis.set_title(title)
    masked = programs * tile - entries
    return Picture(
        figure,
        f"{title}. {entries} entries, numbered from 0, in tiles of {tile}: {programs} programs, "
        f"each with one tile. In the last tile {masked} lanes lie beyond the end and are masked.",
    )


def _canvas(figure: Any, x: tuple[float, float], y: tuple[float, float]) -> Any:
    axis = figure.subplots()
    axis.set_xlim(*x)
    axis.set_ylim(*y)
    axis.axis("off")
    return axis


def _box(axis: Any, x: float, y: float, width: float, height: float, colour: str, empty=False):
    look: dict[str, Any] = {"facecolor": colour, "edgecolor": "white", "linewidth": 2}
    if empty:
        look = {"facecolor": "white", "edgecolor": FAINT, "linestyle": "--", "hatch": "////"}
    axis.add_patch(Rectangle((x, y), width, height, **look))


@styled
def factor_tile_plot(*, title: str = "") -> Picture:
    """How one tile of a LoRA delta comes from a strip of B and a strip of A."""
    figure = new_figure(9.4, 3.6)
    axis = _canvas(figure, (-1.4, 13.4), (-1.3, 7.6))
    axis.set_aspect("equal")
    red = METHODS["ties"][0]
    axis.add_patch(Rectangle((0, -1.2), 1, 6, facecolor="#DCE9F5", edgecolor=INK))
    axis.add_patch(Rectangle((2.5, 5.6), 6, 1, facecolor="#FBE9CC", edgecolor=INK))
    axis.add_patch(Rectangle((2.5, -1.2), 6, 6, facecolor="white", edgecolor=FAINT, linestyle="--"))
    axis.add_patch(Rectangle((0, 1.3), 1, 1.5, facecolor=SOURCES[0], edgecolor=INK))
    axis.add_patch(Rectangle((5.5, 5.6), 1.5, 1, facecolor=SOURCES[1], edgecolor=INK))
    axis.add_patch(Rectangle((5.5, 1.3), 1.5, 1.5, facecolor=red, edgecolor=INK))
    axis.annotate("", (5.4, 2.05), (1.1, 2.05), arrowprops={"arrowstyle": "->", "color": INK})
    axis.annotate("", (6.25, 2.9), (6.25, 5.5), arrowprops={"arrowstyle": "->", "color": INK})
    axis.text(0.5, 5.0, "B", ha="center", va="bottom", fontsize=13, fontweight="bold")
    axis.text(2.3, 6.1, "A", ha="right", va="center", fontsize=13, fontweight="bold")
    words = [
        (6.1, "A: r rows"),
        (3.4, "the full delta B @ A is never written;"),
        (2.6, "one program makes one tile of it,"),
        (1.8, "from a strip of B and a strip of A,"),
        (1.0, "uses it up and forgets it"),
    ]
    for y, text in words:
        axis.text(8.8, y, text, va="center")
    axis.text(-0.2, 2.05, "B:\nr columns", ha="right", va="center")
    if title:
        axis.set_title(title)
    return Picture(
        figure,
        f"{title}. A tall, narrow matrix B, a wide, low matrix A, and the square of their product, "
        "drawn in dashes. One tile of the square is filled: it needs a strip of B and one of A.",
    )


@styled
def passes_plot(versions: Mapping[str, Sequence[tuple[str, int]]], *, title: str = "") -> Picture:
    """The numbers that each version of a merge moves for one entry, pass by pass.

    `versions` maps a name to its passes, each a label and how many numbers it reads and writes.
    """
    figure = new_figure(9.4, 1.5 + 0.6 * len(versions))
    axis = figure.subplots()
    for row, passes in enumerate(versions.values()):
        left = 0
        for n, (label, moved) in enumerate(passes):
            colour, hatch = ((SOURCES[0], ""), (SOURCES[1], "////"))[n % 2]
            look = {"facecolor": colour, "edgecolor": "white", "linewidth": 2, "hatch": hatch}
            axis.barh(row, moved, 0.66, left, **look)
            axis.text(
                left + moved / 2,
                row,
                f"{label}\n{moved}",
                ha="center",
                va="center",
                fontsize=9,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.2, "alpha": 0.9},
            )
            left += moved
    axis.set_yticks(range(len(versions)), list(versions))
    axis.set_ylim(len(versions) - 0.45, -0.55)
    axis.set_xlabel("numbers read and written for each entry")
    axis.grid(axis="y", visible=False)
    if title:
        axis.set_title(title)
    said = "; ".join(f"{name} {sum(m for _, m in each)}" for name, each in versions.items())
    return Picture(figure, f"{title or 'Numbers moved for each entry'}: {said}.")


@styled
def rounding_plot(
    sizes: Sequence[float], errors: Mapping[str, Sequence[float]], *, title: str = ""
) -> Picture:
    """Error of a merged change after it is stored, against its size; both axes logarithmic.

    `sizes`: norm of the change over that of the base. `errors`: for each way to store the merged
    weights, relative errors at those sizes; 1 means that as much noise was added as change.
    """
    figure = new_figure(9.4, 3.9)
    axis = figure.subplots()
    looks = [("o", SOURCES[0]), ("s", SOURCES[1]), ("^", SOURCES[2]), ("D", SOURCES[3])]
    for (name, values), (marker, colour) in zip(errors.items(), looks, strict=False):
        axis.plot(sizes, values, marker=marker, color=colour, label=name)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.axhline(1.0, color=CONFLICT, linestyle="--", linewidth=1.5)
    axis.text(max(sizes), 1.25, "as large as the change itself", ha="right", va="bottom")
    axis.set_ylim(top=2.2)
    axis.set_xticks(sizes, [f"{size:.1%}" for size in sizes])
    axis.minorticks_off()
    ticks = (0.01, 0.1, 1.0)
    axis.set_yticks(ticks, [f"{tick:.0%}" for tick in ticks])
    axis.set_xlabel("size of the merged change, in percent of the base's weights")
    axis.set_ylabel("error of the change")
    axis.legend(title="stored in")
    if title:
        axis.set_title(title)
    said = "; ".join(
        f"{name}: {', '.join(f'{v:.0%}' for v in values)}" for name, values in errors.items()
    )
    shown = ", ".join(f"{size:.1%}" for size in sizes)
    return Picture(figure, f"{title}. At changes of {shown} the errors are {said}.")
