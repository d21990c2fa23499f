"""Plots of interference: one weight, ten parameters, overlap against its definition, a ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.ticker import MultipleLocator
from torch import Tensor

from mergelab.notebook.interference_views import Ledger, Shares, shares_by_chance
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
    PUBLISHED,
    new_figure,
    source_colour,
    styled,
)

AVERAGE = METHODS["linear"][0]


@styled
def one_weight_plot(base: float, changes: Mapping[str, float], *, title: str = "") -> Picture:
    """One weight on a line: the base's value, where each model moves it, and their average.

    `changes` maps a model's name to its change.
    """
    targets = {name: base + change for name, change in changes.items()}
    average = sum(targets.values()) / len(targets)
    figure = new_figure(8.6, 2.9)
    axis = figure.subplots()
    rows = len(changes)
    for row, (name, target) in enumerate(targets.items()):
        y = rows - row
        colour = source_colour(name, row)
        axis.annotate(
            "",
            (target, y),
            (base, y),
            arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 3, "mutation_scale": 20},
        )
        axis.plot([target], [y], marker="|", markersize=18, markeredgewidth=3, color=colour)
        side = 1 if target >= base else -1
        axis.annotate(
            f"{name} wants {_plain(target)}  ({signed(changes[name])})",
            (target, y),
            (8 * side, 0),
            textcoords="offset points",
            ha="left" if side > 0 else "right",
            va="center",
        )
    axis.plot([average], [0], marker="o", markersize=11, color=AVERAGE)
    axis.annotate(
        f"the average: {_plain(average)}",
        (average, 0),
        (11, 0),
        textcoords="offset points",
        va="center",
    )
    axis.axvline(base, color=INK, linewidth=1.2, linestyle=":")
    axis.text(base, rows + 0.55, f"base {_plain(base)}", ha="center", va="bottom")
    low, high = min(base, *targets.values()), max(base, *targets.values())
    margin = 0.7 * (high - low)
    axis.set_xlim(low - margin, high + margin)
    axis.set_ylim(-0.6, rows + 0.6)
    axis.set_yticks([])
    axis.spines["left"].set_visible(False)
    axis.set_xlabel("value of the weight")
    axis.grid(axis="y", visible=False)
    if title:
        axis.set_title(title, pad=22)
    said = ", ".join(f"{name} wants {_plain(target)}" for name, target in targets.items())
    return Picture(
        figure,
        f"One weight. The base has {_plain(base)}; {said}; the average is {_plain(average)}.",
    )


def _plain(value: float) -> str:
    return signed(round(value, 6)).lstrip("+")


@styled
def pair_plot(
    first: Tensor, second: Tensor, *, names: Sequence[str] = ("persona", "agentic"), title: str = ""
) -> Picture:
    """Two task vectors entry by entry as bars, and their average as a line across each pair."""
    figure = new_figure(9.4, 3.6)
    axis = figure.subplots()
    count = len(first)
    opposing = [n for n in range(count) if float(first[n] * second[n]) < 0]
    for n in opposing:
        axis.axvspan(n + 0.5, n + 1.5, facecolor="#FBE9DF", edgecolor="none", zorder=0)
        axis.text(n + 1, 1.0, "×", transform=axis.get_xaxis_transform(), ha="center", va="top",
                  color=CONFLICT, fontsize=13, fontweight="bold")  # fmt: skip
    for side, (values, name) in enumerate(zip((first, second), names, strict=True)):
        places = [n + 1 + (side - 0.5) * 0.38 for n in range(count)]
        axis.bar(places, values.tolist(), 0.36, color=source_colour(name, side), label=name)
    average = ((first + second) / 2).tolist()
    axis.hlines(
        average,
        [n + 0.58 for n in range(count)],
        [n + 1.42 for n in range(count)],
        color=INK,
        linewidth=2.5,
        label="average of the two",
    )
    axis.axhline(0, color=FAINT, linewidth=1)
    axis.set_xticks(range(1, count + 1))
    axis.set_xlim(0.4, count + 0.6)
    axis.set_xlabel("entry   (× = opposite signs)")
    axis.set_ylabel("change of the parameter")
    axis.grid(axis="x", visible=False)
    figure.legend(loc="outside upper right", ncols=3)
    if title:
        axis.set_title(title)
    said = ", ".join(
        f"{n + 1}: {signed(round(a, 4))} and {signed(round(b, 4))}"
        for n, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True))
    )
    return Picture(
        figure,
        f"Changes by {names[0]} and {names[1]} at {count} entries. {said}. Opposite signs at "
        f"{', '.join(str(n + 1) for n in opposing) or 'none'}.",
    )


@styled
def overlap_plot(
    curve: Mapping[float, Shares],
    layers: Mapping[str, Mapping[float, Shares]] | None = None,
    published: tuple[float, float, float] | None = (0.70, 0.15, 0.15),
    *,
    title: str = "",
) -> Picture:
    """Overlap against what counts as changed, beside chance and the published shares.

    `curve` and each of `layers` as from `overlap_curve`; `published`: no overlap, same direction,
    opposite.
    """
    figure = new_figure(9.8, 3.9)
    axes = figure.subplots(1, 3)
    shares = sorted(curve)
    panels = ("no_overlap", "same", "opposite")
    titles = ("no overlap\n(neither, or one only)", "both, same direction", "both, opposite")
    looks = ((FAINT, "o"), (AGREE, "s"), (CONFLICT, "D"))
    for n, (axis, panel, name, (colour, marker)) in enumerate(
        zip(axes, panels, titles, looks, strict=True)
    ):
        for m, each in enumerate((layers or {}).values()):
            axis.plot(
                shares,
                [getattr(each[q], panel) for q in shares],
                color=DROPPED,
                linewidth=1.2,
                label="each layer" if m == 0 else None,
            )
        axis.plot(
            shares,
            [getattr(curve[q], panel) for q in shares],
            color=colour,
            marker=marker,
            markevery=max(1, len(shares) // 11),
            label="all layers",
        )
        axis.plot(
            shares,
            [getattr(shares_by_chance(q), panel) for q in shares],
            color=INK,
            linestyle=(0, (1, 1.5)),
            linewidth=2.2,
            label="by chance",
        )
        if published:
            axis.axhline(published[n], color=PUBLISHED, linewidth=1.2, linestyle="--")
            axis.text(shares[0], published[n], f"published {published[n]:.0%}", va="bottom")
        axis.set_title(name, fontsize=11)
        axis.set_xlabel("top share that counts\nas changed")
        axis.xaxis.set_major_formatter(lambda x, _: f"{x:.0%}")
        axis.yaxis.set_major_formatter(lambda y, _: f"{y:.0%}")
    axes[0].set_ylim(0, 1.02)
    for axis in axes[1:]:
        axis.set_ylim(0, max(0.2, *(max(s.same, s.opposite) for s in curve.values())) * 1.08)
        axis.yaxis.set_major_locator(MultipleLocator(0.05))
    axes[0].set_ylabel("share of all entries")
    axes[0].legend(loc="lower left")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    marks = [shares[0], shares[len(shares) // 2], shares[-1]]
    said = "; ".join(
        f"top {q:.0%}: no overlap {curve[q].no_overlap:.1%}, same {curve[q].same:.1%}, opposite "
        f"{curve[q].opposite:.1%} (by chance {shares_by_chance(q).no_overlap:.1%} and twice "
        f"{shares_by_chance(q).same:.1%})"
        for q in marks
    )
    return Picture(figure, f"Three plots against the share that counts as changed. {said}.")


@styled
def ledger_plot(accounts: Mapping[str, Ledger], *, title: str = "") -> Picture:
    """For each pair: what opposite signs take from the squared norm of a sum, and equal ones give.

    The outlined bars beside them are what signs thrown by a coin would take and give.
    """
    figure = new_figure(9.0, 1.5 + 1.15 * len(accounts))
    axis = figure.subplots()
    labels, said = [], []
    for row, (name, each) in enumerate(accounts.items()):
        labels.append(name)
        for value, place, look in (
            (-each.taken, row - 0.18, {"facecolor": "white", "edgecolor": CONFLICT}),
            (each.given, row - 0.18, {"facecolor": AGREE, "edgecolor": AGREE}),
        ):
            hatch = CONFLICT_HATCH if value < 0 else None
            axis.barh(place, value, 0.34, hatch=hatch, **look)
            axis.annotate(
                _percent(value),
                (value, place),
                (6 if value > 0 else -6, 0),
                textcoords="offset points",
                ha="left" if value > 0 else "right",
                va="center",
            )
        for value in (-each.by_coin, each.by_coin):
            axis.barh(row + 0.2, value, 0.2, facecolor="white", edgecolor=FAINT, linestyle="--")
        axis.text(
            0.995,
            row,
            f"left in the sum: {each.left:.0%}",
            transform=axis.get_yaxis_transform(),
            ha="right",
            va="center",
            fontweight="bold",
        )
        said.append(
            f"{name}: opposite signs take {each.taken:.0%}, equal signs give {each.given:.0%}, "
            f"left {each.left:.0%}, by a coin {each.by_coin:.0%} each way"
        )
    widest = max(max(e.taken, e.given, e.by_coin) for e in accounts.values()) or 1.0
    axis.set_xlim(-1.35 * widest, 2.3 * widest)
    axis.set_ylim(len(accounts) - 0.4, -0.6)
    axis.set_yticks(range(len(labels)), labels)
    axis.axvline(0, color=INK, linewidth=1)
    axis.set_xlabel("part of the two squared norms together")
    axis.xaxis.set_major_formatter(lambda x, _: _percent(x))
    axis.grid(axis="y", visible=False)
    handles = [
        axis.barh(0, 0, facecolor="white", edgecolor=CONFLICT, hatch=CONFLICT_HATCH),
        axis.barh(0, 0, facecolor=AGREE),
        axis.barh(0, 0, facecolor="white", edgecolor=FAINT, linestyle="--"),
    ]
    figure.legend(
        handles,
        ["opposite signs take", "equal signs give", "signs thrown by a coin"],
        loc="outside upper right",
        ncols=3,
    )
    if title:
        axis.set_title(title)
    return Picture(figure, f"{title or 'What a sum loses and gains'}. {'; '.join(said)}.")


def _percent(value: float) -> str:
    return f"{value:+.0%}".replace("-", "−") if round(value, 2) else "0"
