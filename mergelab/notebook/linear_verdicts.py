"""Sentences that read the measurements of linear merges, written from the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mergelab.evaluation.results import Evaluation, compare
from mergelab.notebook.linear_loss import barrier
from mergelab.notebook.verdicts import beyond_noise
from mergelab.notebook.weights import Changes


def survives(
    measured: Mapping[float, Evaluation], skill: str, own: float, share: float = 0.5
) -> list[float]:
    """Places on a line where a skill keeps at least `share` of `own`, its adapter's own score."""
    return [x for x in sorted(measured) if measured[x].skills[skill].rate.estimate >= share * own]


def tenable_sentence(measured: Mapping[float, Evaluation]) -> str:
    """Where on the alpha line both skills keep at least half of what the adapters have alone.

    The two ends of the line are the adapters by themselves.
    """
    first, last = measured[min(measured)], measured[max(measured)]
    own = {
        skill: max(each.skills[skill].rate.estimate for each in (first, last))
        for skill in first.skills
    }
    both = set(measured)
    for skill, score in own.items():
        both &= set(survives(measured, skill, score))
    if not both:
        return "Nowhere on this line do both skills keep half of what they score alone."
    low, high = min(both), max(both)
    where = f"at {low:g}" if low == high else f"from {low:g} to {high:g}"
    return (
        f"Of the {len(measured)} places measured, both skills keep at least half of their own "
        f"adapter's score {where}."
    )


def dominated_sentence(measured: Mapping[float, Evaluation], at: float) -> str:
    """What is left of the weaker skill where one adapter has the weight `at`, and gained."""
    loser, winner = list(measured[at].skills)
    ends = measured[min(measured)], measured[max(measured)]
    left = measured[at].skills[loser].rate.estimate
    had = ends[0].skills[loser].rate.estimate
    pure, now = (each.skills[winner].rate.estimate for each in (ends[1], measured[at]))
    if left >= 0.5 * had:
        verdict = f"so {at:g} keeps most of {loser}"
    elif left >= 0.1 * had:
        verdict = f"so at {at:g} {loser} is badly hurt"
    else:
        verdict = f"so at {at:g} you may as well take the {winner} adapter alone"
    return (
        f"At alpha {at:g} {winner} scores {now:.2f} (its adapter alone {pure:.2f}), and "
        f"{loser} {left:.2f} of {had:.2f}: {verdict}."
    )


def plateau_sentence(measured: Mapping[float, Evaluation]) -> str:
    """The best place on a lambda line, and the places that are not worse by more than noise."""
    best = max(sorted(measured), key=lambda x: measured[x].combined.estimate)
    level = [
        f"{x:g}"
        for x in sorted(measured)
        if x != best and not beyond_noise(compare(measured[x], measured[best])["combined"])
    ]
    others = f"not worse by more than noise: {', '.join(level)}" if level else "the rest are worse"
    return f"Best of those tried is lambda {best:g}; {others}."


def one_skill(evaluation: Evaluation, skill: str) -> Evaluation:
    """An evaluation of one of its skills alone, to compare with what was asked nothing else."""
    return replace(evaluation, skills={skill: evaluation.skills[skill]})


def barrier_sentence(title: str, losses: Mapping[float, Mapping[str, float]]) -> str:
    """Whether the mean loss rises above the straight line between the ends of a line of merges.

    >>> print(barrier_sentence("a to b", {0.0: {"x": 1.0}, 0.5: {"x": 0.4}, 1.0: {"x": 1.0}}))
    a to b: no barrier. Half way the loss is 0.40, below both ends (1.00 and 1.00).
    """
    means = {x: sum(each.values()) / len(each) for x, each in losses.items()}
    at = sorted(means)
    first, last = means[at[0]], means[at[-1]]
    middle_at = min(at, key=lambda x: abs(x - (at[0] + at[-1]) / 2))
    middle = means[middle_at]
    side = (
        "below both ends"
        if middle < min(first, last)
        else "above both ends"
        if middle > max(first, last)
        else "between the ends"
    )
    rise = barrier(means)
    # Below a fiftieth of the ends' own loss a rise is not worth a name.
    none = rise <= 0.02 * max(first, last)
    # Two digits show nothing of losses as small as those of a skill that a model has learned.
    digits = 2 if min(first, middle, last) >= 0.02 else 3
    found = "no barrier" if none else f"a barrier of {rise:.{digits}f}"
    return (
        f"{title}: {found}. Half way the loss is {middle:.{digits}f}, {side} ({first:.{digits}f} "
        f"and {last:.{digits}f})."
    )


def cancelled(found: Changes) -> tuple[float, float]:
    """What adding two task vectors cancels: share of the entries with opposite signs, and of mass.

    Mass is the sum of magnitudes; what is cancelled counts once, on the smaller side, as does the
    conflict mass of lesson 1.

    >>> import torch
    >>> pair = [torch.tensor([1.0, 2.0]), torch.tensor([3.0, -1.0])]
    >>> cancelled(Changes(("a", "b"), {"w": torch.zeros(2)}, {"w": pair}))
    (0.5, 0.14285714285714285)
    """
    opposite = entries = 0
    mass = left = 0.0
    for first, second, *_ in found.deltas.values():
        opposite += int((first * second < 0).sum())
        entries += first.numel()
        mass += float(first.double().abs().sum() + second.double().abs().sum())
        left += float((first.double() + second.double()).abs().sum())
    return opposite / entries, (mass - left) / 2 / mass
