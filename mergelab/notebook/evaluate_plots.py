"""Plots of uncertainty: rates with their intervals, suite size, bootstrap, and luck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mergelab.notebook.evaluate_numbers import items_needed, luckiest, standard_error
from mergelab.notebook.picture import Picture
from mergelab.notebook.plots import _look
from mergelab.notebook.style import AGREE, CONFLICT, FAINT, INK, METHODS, new_figure, styled

SIZES = (25, 50, 100, 200, 400, 1000, 2000)


@styled
def rates_plot(
    panels: Mapping[str, Mapping[str, tuple[float, float, float]]], *, title: str = ""
) -> Picture:
    """A row for each model and a panel for each table: rates with their limits, (rate, low, high).

    Panels may hold different tables of the same models, such as a published one and one's own.
    """
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    figure = new_figure(9.4, 1.5 + 0.42 * len(names))
    axes = figure.subplots(1, len(panels), sharey=True, sharex=True, squeeze=False)[0]
    said = []
    for axis, (label, panel) in zip(axes, panels.items(), strict=True):
        best = max(panel, key=lambda name: panel[name][0])
        for row, name in enumerate(names):
            if name not in panel:
                continue
            rate, low, high = panel[name]
            colour, marker = _look(name)
            limits = [[max(0.0, rate - low)], [max(0.0, high - rate)]]
            axis.errorbar(rate, row, xerr=limits, color=colour, marker=marker, capsize=3)
        axis.axvspan(*panel[best][1:], color=FAINT, alpha=0.12, linewidth=0)
        axis.set_title(label)
        axis.set_xlabel("share of items right")
        axis.grid(axis="y", visible=False)
        said.append(
            f"{label}: "
            + ", ".join(f"{n} {v[0]:.2f} [{v[1]:.2f}, {v[2]:.2f}]" for n, v in panel.items())
        )
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return Picture(
        figure,
        f"{title or 'Rates'} with 95% intervals; the grey band is the best one's. "
        + "; ".join(said)
        + ".",
    )


@styled
def suite_size_figure(
    first: float, second: float, items: int, *, per_template: float = 1, alike: float = 0
) -> Picture:
    """Two true rates, and how far chance moves their scores on suites of growing size.

    Left: the 95% ranges of both scores for each size; right: the chance to tell the two apart.
    """
    from statistics import NormalDist

    normal = NormalDist()
    figure = new_figure(9.4, 3.6)
    ranges, chance = figure.subplots(1, 2)
    places = range(len(SIZES))
    setting = {"per_template": per_template, "alike": alike}
    for shift, (name, rate, look) in enumerate(
        (("first", first, METHODS["ties"]), ("second", second, METHODS["linear"]))
    ):
        half = [1.96 * standard_error(rate, size, **setting) for size in SIZES]
        ranges.errorbar(
            [place + 0.2 * shift - 0.1 for place in places],
            [rate] * len(SIZES),
            yerr=[[min(h, rate) for h in half], [min(h, 1 - rate) for h in half]],
            color=look[0],
            marker=look[1],
            linestyle="none",
            capsize=3,
            label=f"{name} model, true rate {rate:.2f}",
        )
    ranges.set_xticks(places, [str(size) for size in SIZES])
    ranges.set_ylabel("score (share of items right)")
    ranges.set_title("Where 95 of 100 scores fall")
    ranges.legend(loc="lower right")
    powers = []
    for size in SIZES:
        errors = [standard_error(rate, size, **setting) for rate in (first, second)]
        error = sum(e * e for e in errors) ** 0.5
        shift = abs(first - second) / error if error else 0.0
        powers.append(normal.cdf(shift - 1.96) + normal.cdf(-shift - 1.96))
    chance.plot(places, powers, color=INK, marker="o")
    chance.axhline(0.8, color=AGREE, linestyle="--", linewidth=1.2)
    chance.text(-0.2, 0.82, "4 times out of 5", ha="left", va="bottom", fontsize=10)
    chance.set_xticks(places, [str(size) for size in SIZES])
    chance.set_ylim(0, 1.03)
    chance.set_ylabel("chance to tell them apart")
    chance.set_title("How often the difference shows")
    for axis in (ranges, chance):
        axis.set_xlabel("items per suite")
        near = min(places, key=lambda place: abs(SIZES[place] - items))
        axis.axvspan(near - 0.4, near + 0.4, color=FAINT, alpha=0.12, linewidth=0)
    said = ", ".join(f"{size}: {power:.0%}" for size, power in zip(SIZES, powers, strict=True))
    return Picture(
        figure,
        f"Two models with true rates {first:.2f} and {second:.2f}. Chance to tell them apart by "
        f"items per suite: {said}.",
    )


def suite_size_sentence(
    first: float, second: float, items: int, *, per_template: float = 1, alike: float = 0
) -> str:
    """What the figure says for one suite size, in words.

    >>> print(suite_size_sentence(0.9, 0.85, 50))
    With 50 items chance alone moves a score by about .042 (one standard error) at a rate of .90. To
    tell .90 from .85 four times out of five takes about 683 items per suite.
    """
    error = standard_error(first, items, per_template=per_template, alike=alike)
    text = (
        f"With {items} items chance alone moves a score by about {_plain(error, 3)} (one standard "
        f"error) at a rate of {_plain(first)}."
    )
    effect = 1 + (per_template - 1) * alike
    if effect > 1:
        text += (
            f" {per_template:g} items per template that are this much alike make them worth "
            f"{items / effect:.0f} independent ones."
        )
    needed = items_needed(first, second, per_template=per_template, alike=alike)
    if needed is None:
        return text + " The two rates are equal: no number of items can tell them apart."
    return text + (
        f" To tell {_plain(first)} from {_plain(second)} four times out of five takes about "
        f"{needed:,} items per suite."
    )


@styled
def bootstrap_plot(
    draws: Mapping[str, Sequence[float]],
    limits: Mapping[str, tuple[float, float]],
    *,
    title: str = "",
) -> Picture:
    """Scores of imagined suites, one panel for each way of drawing, with the limits marked."""
    figure = new_figure(8.6, 1.0 + 1.5 * len(draws))
    axes = figure.subplots(len(draws), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    values = [value for scores in draws.values() for value in scores]
    width = max(max(values) - min(values), 1e-6) / 18
    bins = [min(values) + width * n for n in range(19)]
    bins[-1] = max(values) + 1e-9
    said = []
    for axis, (name, scores) in zip(axes, draws.items(), strict=True):
        axis.hist(scores, bins=bins, color=AGREE, edgecolor="white", linewidth=0.6)
        for place, limit in enumerate(limits[name]):
            axis.axvline(limit, color=CONFLICT, linestyle=("--", "-.")[place], linewidth=1.8)
        low, high = limits[name]
        axis.set_title(f"{name}: {low:.3f} to {high:.3f}, {high - low:.3f} wide")
        axis.set_ylabel("suites")
        said.append(f"{name}: {low:.3f} to {high:.3f}")
    axes[-1].set_xlabel("score of an imagined suite")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return Picture(figure, f"{title or 'Bootstrap'}. 95% limits, {'; '.join(said)}.")


@styled
def luck_plot(
    items: Sequence[int] = (50, 150, 1000),
    candidates: Sequence[int] = (1, 2, 5, 10, 20, 50),
    *,
    rate: float = 0.85,
) -> Picture:
    """What the best of several equal candidates scores, on the items it was picked on.

    The dashed line is the true rate of all of them; there they fall back on new items.
    """
    figure = new_figure(8.2, 3.8)
    axis = figure.subplots()
    said = []
    for size, (colour, marker) in zip(items, list(METHODS.values())[1:], strict=False):
        means = []
        for count in candidates:
            picked, _ = luckiest(count, size, rate=rate)
            means.append(sum(picked) / len(picked))
        axis.plot(candidates, means, color=colour, marker=marker, label=f"{size} items")
        said.append(f"{size} items, best of {candidates[-1]}: {means[-1]:.2f}")
    axis.axhline(rate, color=INK, linestyle="--", linewidth=1.4, label=f"true rate, {rate:.2f}")
    axis.set_xscale("log")
    axis.set_xticks(candidates, [str(count) for count in candidates])
    axis.minorticks_off()
    axis.set_xlabel("equal candidates tried")
    axis.set_ylabel("mean score of the best one")
    axis.set_title("The best of many equal merges, scored on the items it was picked on")
    axis.legend(loc="upper left")
    return Picture(figure, f"The winner's score grows with the number tried. {'; '.join(said)}.")


def _plain(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}".removeprefix("0")
