"""The figures of the result tables, drawn from their rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from mergelab.evaluation.statistics import Interval
from mergelab.notebook.style import (
    AGREE,
    CONFLICT,
    FAINT,
    METHODS,
    PUBLISHED,
    SOURCE_OF,
    new_figure,
    styled,
)
from mergelab.tables.strategies import BASELINE, PAIRS
from mergelab.tables.table import Table

COMBINED = "combined score on test items"
PAIR_STYLE = {"low conflict": ("#3A9BD9", "o"), "conflict": ("#882255", "D")}
PATH_STYLE = {
    "linear": METHODS["linear"],
    "slerp of weights": METHODS["slerp"],
    "slerp of task vectors": ("#44AA99", "v"),
}


@styled
def strategies_plot(table: Table) -> Figure:
    """A panel per pair: hollow marks at the default scale, filled ones at the chosen scale."""
    rows = _rows(table)
    names = list(dict.fromkeys(row["model"] for row in rows if row["setting"] != "alone"))
    figure = new_figure(10, 4.8)
    panels = figure.subplots(1, len(PAIRS), sharey=True)
    for panel, pair in zip(panels, PAIRS, strict=True):
        for shift, setting, filled in ((-0.14, "default", False), (0.14, "best on dev", True)):
            shown = [row for row in rows if (row["pair"], row["setting"]) == (pair, setting)]
            _bars(
                panel,
                [row["combined"] for row in shown],
                [names.index(row["model"]) + shift for row in shown],
                color=METHODS["ties"][0] if filled else AGREE,
                mfc=METHODS["ties"][0] if filled else "white",
                fmt="D" if filled else "o",
                label="scale chosen on dev" if filled else "default scale",
            )
        average = next(
            row["combined"].estimate
            for row in rows
            if (row["pair"], row["model"]) == (pair, BASELINE)
        )
        panel.axvline(average, color=FAINT, linestyle=":", linewidth=1.2)
        panel.set_yticks(range(len(names)), names)
        panel.set_ylim(len(names) - 0.5, -0.5)
        panel.set_xlim(0, 1)
        panel.set_title(f"{pair} pair")
        panel.set_xlabel(COMBINED)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, numpoints=1
    )
    return figure


@styled
def density_plot(table: Table) -> Figure:
    """Both pairs' curves and the five published points."""
    rows = _rows(table)
    figure = new_figure(6.4, 4)
    axes = figure.subplots()
    for pair in PAIRS:
        shown = [row for row in rows if row["pair"] == pair]
        color, marker = PAIR_STYLE[pair]
        _curve(axes, [row["density"] for row in shown], shown, color, marker, f"{pair} pair")
    published = {row["density"]: row["published"] for row in rows if row["published"] is not None}
    axes.plot(*zip(*published.items(), strict=True), "x--", color=PUBLISHED, label="published, 3B")
    axes.set_xlabel("density")
    axes.set_ylabel(COMBINED)
    axes.set_ylim(0, 1)
    axes.legend(loc="lower right")
    return figure


@styled
def path_plot(table: Table) -> Figure:
    """Three ways from one adapter to the other."""
    rows = _rows(table)
    figure = new_figure(6.4, 4)
    axes = figure.subplots()
    for name, (color, marker) in PATH_STYLE.items():
        shown = [row for row in rows if row["path"] == name]
        _curve(axes, [row["t"] for row in shown], shown, color, marker, name)
    axes.set_xlabel("t, from the persona adapter (0) to the agentic one (1)")
    axes.set_ylabel(COMBINED)
    axes.set_ylim(0, 1)
    axes.legend(loc="lower center")
    return figure


@styled
def scale_plot(table: Table) -> Figure:
    """A panel per pair: task arithmetic and TIES against lambda."""
    rows = _rows(table)
    figure = new_figure(10, 3.8)
    panels = figure.subplots(1, len(PAIRS), sharey=True)
    for panel, pair in zip(panels, PAIRS, strict=True):
        for name in dict.fromkeys(row["method"] for row in rows):
            shown = [row for row in rows if (row["pair"], row["method"]) == (pair, name)]
            color, marker = METHODS[name.replace(" ", "_")]
            _curve(panel, [row["lambda"] for row in shown], shown, color, marker, name)
        panel.set_title(f"{pair} pair")
        panel.set_xlabel("lambda")
        panel.set_ylim(0, 1)
    panels[0].set_ylabel("combined score on dev items")
    panels[0].legend(loc="lower right")
    return figure


@styled
def interference_plot(table: Table) -> Figure:
    """A panel per pair: same and opposite signs by layer, and what chance gives."""
    rows = [row for row in _rows(table) if row["layer"] != "total"]
    tops = list(dict.fromkeys(row["top"] for row in rows))
    top = tops[len(tops) // 2]
    figure = new_figure(10, 3.6)
    panels = figure.subplots(1, len(PAIRS), sharey=True)
    for panel, pair in zip(panels, PAIRS, strict=True):
        shown = [row for row in rows if (row["pair"], row["top"]) == (pair, top)]
        places = range(len(shown))
        for shift, column, color, hatch in (
            (-0.2, "same sign", AGREE, ""),
            (0.2, "opposite sign", CONFLICT, "////"),
        ):
            panel.bar(
                [place + shift for place in places],
                [100 * row[column] for row in shown],
                width=0.36,
                color=color,
                hatch=hatch,
                edgecolor="white",
                label=column,
            )
        chance = 100 * top**2 / 2
        panel.axhline(chance, color=FAINT, linestyle=":", linewidth=1.2, label="chance alone")
        panel.set_xticks(places, [row["layer"] for row in shown])
        panel.set_title(f"{pair} pair")
        panel.grid(axis="x", visible=False)
    panels[0].set_ylabel(f"% of entries\n(top {top:.0%} counts as changed)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


@styled
def three_plot(table: Table) -> Figure:
    """Each method's rates on the three skills, the first seed of each."""
    rows = [row for row in _rows(table) if row["seed"] == 0]
    figure = new_figure(7.2, 4.4)
    axes = figure.subplots()
    markers = {"persona": "o", "agentic": "s", "digest": "^"}
    for shift, (skill, marker) in zip((-0.2, 0, 0.2), markers.items(), strict=True):
        _bars(
            axes,
            [row[skill] for row in rows],
            [place + shift for place in range(len(rows))],
            color=SOURCE_OF[skill],
            fmt=marker,
            label=skill,
        )
    axes.set_yticks(range(len(rows)), [row["method"] for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of test items answered right")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _rows(table: Table) -> list[dict[str, Any]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def _bars(panel: Any, intervals: Sequence[Interval], places: Sequence[float], **look: Any) -> None:
    middle = [each.estimate for each in intervals]
    below = [each.estimate - each.low for each in intervals]
    above = [each.high - each.estimate for each in intervals]
    panel.errorbar(
        middle, places, xerr=[below, above], capsize=2, linewidth=1.2, linestyle="none",
        clip_on=False, **look,
    )  # fmt: skip


def _curve(
    panel: Any, xs: Sequence[float], rows: Sequence[dict[str, Any]], color: str, marker: str,
    label: str,
) -> None:  # fmt: skip
    found = [row["combined"] for row in rows]
    panel.plot(xs, [each.estimate for each in found], color=color, marker=marker, label=label)
    low, high = [each.low for each in found], [each.high for each in found]
    panel.fill_between(xs, low, high, color=color, alpha=0.15, linewidth=0)
