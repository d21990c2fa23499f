"""The figure of a search: every trial on dev, the front between the skills, and what test says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from mergelab.evaluation.tuning import Trial, best, front
from mergelab.notebook.picture import Picture
from mergelab.notebook.style import AGREE, DROPPED, FAINT, INK, METHODS, new_figure, styled


@styled
def tuning_plot(
    trials: Sequence[Trial], test: Mapping[str, Mapping[str, Sequence[float]]], *, method: str
) -> Picture:
    """Draw the trials of a search: a panel for each two skills, or one over the trials' numbers.

    `test`: for "as given" and "tuned" each skill's rate on test with its 95% limits. `method`
    gives the colour. Trials that could not be merged are left out.
    """
    shown = [trial for trial in trials if trial.scores]
    skills = list(shown[0].scores.skills)
    pairs = list(combinations(skills, 2)) or [(None, skills[0])]
    figure = new_figure(3.2 + 3.9 * len(pairs), 4.6)
    axes = figure.subplots(1, len(pairs), squeeze=False)[0]
    colour = METHODS.get(method, (AGREE, "o"))[0]
    for axis, pair in zip(axes, pairs, strict=True):
        _panel(axis, shown, pair, test, colour, with_line=len(skills) == 2)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper")
    tested = "the recipe as given" if len(test) == 1 else "two recipes"
    figure.suptitle(
        f"{method}: {len(trials) - 1} trials on dev, {tested} on test",
        x=0.01,
        ha="left",
        fontsize=12,
        fontweight="bold",
    )
    return Picture(figure, _alt(shown, test))


def _panel(
    axis: Any,
    shown: Sequence[Trial],
    pair: tuple[str | None, str],
    test: Mapping[str, Mapping[str, Sequence[float]]],
    colour: str,
    with_line: bool,
) -> None:
    chosen, given = best(shown), shown[0]
    ahead = front(shown)

    def points(some: Sequence[Trial]) -> tuple[list[float], list[float]]:
        return tuple([_place(trial, name) for trial in some] for name in pair)

    axis.plot(*points(shown), "o", color=DROPPED, markeredgecolor=FAINT, label="trial, on dev")
    if pair[0] is not None:
        ordered = sorted(ahead, key=lambda trial: _place(trial, pair[0]))
        style = {"drawstyle": "steps-pre", "linewidth": 1.2} if with_line else {"linestyle": "none"}
        axis.plot(*points(ordered), marker="o", color=colour, label="front, on dev", **style)
    axis.plot(*points([given]), "D", color=INK, markersize=9, label="as given, on dev")
    if chosen is not given:
        label = f"tuned (trial {chosen.number}), on dev"
        axis.plot(*points([chosen]), "*", color=colour, markersize=17, label=label)
    looks = {"as given": ("D", INK, given), "tuned": ("*", colour, chosen)}
    for name, rates in test.items():
        marker, ink, trial = looks[name]
        rate, low, high = rates[pair[1]]
        bars = {"yerr": _arms(rate, low, high)}
        x = float(trial.number)
        if pair[0] is not None:
            x, left, right = rates[pair[0]]
            bars["xerr"] = _arms(x, left, right)
        axis.errorbar(
            x,
            rate,
            **bars,
            fmt=marker,
            color=ink,
            markerfacecolor="white",
            markersize=9 if marker == "D" else 15,
            elinewidth=1.0,
            capsize=3,
            label=f"{name}, on test (95%)",
        )
    axis.set_xlabel("trial" if pair[0] is None else f"{pair[0]}: share of items right")
    axis.set_ylabel(f"{pair[1]}: share of items right")
    axis.margins(0.08)


def _arms(rate: float, low: float, high: float) -> list[list[float]]:
    return [[max(0.0, rate - low)], [max(0.0, high - rate)]]


def _place(trial: Trial, skill: str | None) -> float:
    return float(trial.number) if skill is None else trial.scores.skills[skill].estimate


def _alt(shown: Sequence[Trial], test: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    def rates(trial: Trial) -> str:
        return ", ".join(f"{s} {r.estimate:.3f}" for s, r in trial.scores.skills.items())

    said = [f"Trials on dev. As given: {rates(shown[0])}."]
    said += [f"Front: trial {t.number}: {rates(t)}." for t in front(shown) if t.number]
    for name, found in test.items():
        each = ", ".join(f"{s} {v[0]:.3f} [{v[1]:.3f}, {v[2]:.3f}]" for s, v in found.items())
        said.append(f"On test, {name}: {each}.")
    return " ".join(said)
