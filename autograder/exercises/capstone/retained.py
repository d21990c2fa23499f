"""Exercise `retained`: what a merge kept of each skill, the worst one, and the warning sign."""

from collections.abc import Callable
from typing import Any

from autograder.cases import Draw
from autograder.exercise import Case, Exercise, Misconception, Points

Scores = dict[str, float]

CONTRACT = """
Write `retained(merged, alone)`: what a merge kept of each skill, which skill fared worst, and
whether the merge is below all of its sources.

- `merged` maps each skill to the merge's score, a number from 0 to 1. There are one or more skills.
- `alone` maps each source's name to such scores of that source alone, for the same skills. There
  are one or more sources.
- Return a dict with exactly three keys:
  - `"kept"`: a dict with, for each skill, the merge's score divided by the **best** score that any
    source alone has there. It may be above 1. Where that best score is 0, the value is `None`.
  - `"worst"`: the skill with the smallest share kept; of several equally small ones the first in
    alphabetical order; skills whose share is `None` do not count, and if there are no others,
    `"worst"` is `None`.
  - `"below_all"`: true if the merge's mean over the skills is lower than the mean of **every**
    source (lower than, not equal to), else false.
- Do not change the inputs.
"""

HINTS = (
    "One skill at a time: `best = max(scores[skill] for scores in alone.values())`. Then the "
    "worst among those that have a share.",
    "`min(sorted(known), key=kept.get)` is the first of the smallest in alphabetical order. "
    "`all(mean(merged) < mean(scores) for scores in alone.values())` is the warning sign.",
)


def mean(scores: Scores) -> float:
    return sum(scores.values()) / len(scores)


def build(
    merged: Scores,
    alone: dict[str, Scores],
    *,
    reference: Callable[[list[float]], float] = max,
    choose: Callable[..., Any] = min,
    every: Callable[..., bool] = all,
    empty: float | None = None,
) -> dict[str, Any]:
    """The exercise with its decisions as parameters, for right and wrong versions alike."""
    kept: dict[str, float | None] = {}
    for skill, score in merged.items():
        best = reference([scores[skill] for scores in alone.values()])
        kept[skill] = score / best if best else empty
    known = sorted(skill for skill, share in kept.items() if share is not None)
    return {
        "kept": kept,
        "worst": choose(known, key=lambda skill: kept[skill]) if known else None,
        "below_all": every(mean(merged) < mean(scores) for scores in alone.values()),
    }


def retained(merged: Scores, alone: dict[str, Scores]) -> dict[str, Any]:
    return build(merged, alone)


# Wrong implementations ---------------------------------------------------------------------------


def of_the_mean_source(merged: Scores, alone: dict[str, Scores]) -> dict[str, Any]:
    return build(merged, alone, reference=lambda scores: sum(scores) / len(scores))


def of_the_first_source(merged: Scores, alone: dict[str, Scores]) -> dict[str, Any]:
    return build(merged, alone, reference=lambda scores: scores[0])


def best_as_worst(merged: Scores, alone: dict[str, Scores]) -> dict[str, Any]:
    return build(merged, alone, choose=max)


def below_any(merged: Scores, alone: dict[str, Scores]) -> dict[str, Any]:
    return build(merged, alone, every=any)


def points_lost(merged: Scores, alone: dict[str, Scores]) -> dict[str, Any]:
    found = build(merged, alone)
    best = {s: max(scores[s] for scores in alone.values()) for s in merged}
    return {**found, "kept": {s: best[s] - merged[s] for s in merged}}


def zero_counts(merged: Scores, alone: dict[str, Scores]) -> dict[str, Any]:
    return build(merged, alone, empty=0.0)


def divides_by_zero(merged: Scores, alone: dict[str, Scores]) -> dict[str, Any]:
    if any(not max(scores[s] for scores in alone.values()) for s in merged):
        raise ZeroDivisionError
    return build(merged, alone)


def capped(merged: Scores, alone: dict[str, Scores]) -> dict[str, Any]:
    found = build(merged, alone)
    shares = {s: share if share is None else min(1.0, share) for s, share in found["kept"].items()}
    return {**found, "kept": shares}


def lowest_score(merged: Scores, alone: dict[str, Scores]) -> dict[str, Any]:
    return {**build(merged, alone), "worst": min(sorted(merged), key=lambda s: merged[s])}


def last_of_equals(merged: Scores, alone: dict[str, Scores]) -> dict[str, Any]:
    found = build(merged, alone)
    known = sorted((s for s in merged if found["kept"][s] is not None), reverse=True)
    worst = min(known, key=lambda s: found["kept"][s]) if known else None
    return {**found, "worst": worst}


WRONG = (
    Misconception(
        "of the mean source",
        of_the_mean_source,
        "You divided by the mean of the sources: most of them never had the skill, so compare with "
        "the best one.",
    ),
    Misconception(
        "of the first source",
        of_the_first_source,
        "You divided by the first source's score: the owner of a skill is the source with the best "
        "score in it.",
    ),
    Misconception(
        "best as worst",
        best_as_worst,
        "You named the skill that kept most: the worst is the one with the smallest share.",
    ),
    Misconception(
        "below any source",
        below_any,
        "You warn as soon as one source is better: the sign is a merge whose mean is below that of "
        "every source.",
        (0.0, 0.6),
    ),
    Misconception(
        "points lost",
        points_lost,
        "You returned how many points were lost: `kept` is a share, the merge's score divided by "
        "the best score alone.",
    ),
    Misconception(
        "no share as zero",
        zero_counts,
        "Where no source can do a skill there is no share to speak of: the value is None, not 0, "
        "and the skill cannot be the worst.",
        (0.6, 0.98),
    ),
    Misconception(
        "divides by zero",
        divides_by_zero,
        "Your division fails where no source can do a skill: the value is None there.",
        (0.6, 0.98),
    ),
    Misconception(
        "capped at 1",
        capped,
        "You cut shares at 1: a merge can be better than its sources, and a reader should see it.",
        (0.6, 0.98),
    ),
    Misconception(
        "lowest score as worst",
        lowest_score,
        "You named the skill with the lowest score: a hard skill may be low and still whole, so go "
        "by the share that was kept.",
        (0.3, 0.98),
    ),
    Misconception(
        "last of equals",
        last_of_equals,
        "Of several equally small shares you took the last: the contract says the first in "
        "alphabetical order.",
        (0.6, 0.98),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_loop(merged: Scores, alone: dict[str, Scores]) -> dict[str, Any]:
    kept: dict[str, float | None] = {}
    worst, low, below = None, float("inf"), True
    for skill in sorted(merged):
        best = 0.0
        for scores in alone.values():
            best = scores[skill] if scores[skill] > best else best
        kept[skill] = None if best == 0 else merged[skill] / best
        if kept[skill] is not None and kept[skill] < low:
            worst, low = skill, kept[skill]
    for scores in alone.values():
        below = below and sum(merged[s] for s in scores) < sum(scores.values())
    return {"below_all": below, "kept": kept, "worst": worst}


def by_sorting(merged: Scores, alone: dict[str, Scores]) -> dict[str, Any]:
    best = {s: max(scores[s] for scores in alone.values()) for s in merged}
    kept = {s: merged[s] / best[s] if best[s] > 0 else None for s in merged}
    order = sorted((share, s) for s, share in kept.items() if share is not None)
    lowest = min(mean(scores) for scores in alone.values())
    return {
        "kept": kept,
        "worst": order[0][1] if order else None,
        "below_all": mean(merged) < lowest,
    }


PAIR = {
    "persona adapter": {"persona": 1.0, "agentic": 0.0},
    "agentic adapter": {"persona": 0.0, "agentic": 0.5},
}
HALF = {"a": {"x": 0.5, "y": 0.25}, "b": {"x": 0.0, "y": 0.5}}
VISIBLE = (
    Case("two skills", ({"persona": 0.25, "agentic": 0.375}, PAIR), core=True),
    Case("a low score that is whole", ({"persona": 0.75, "agentic": 0.5}, PAIR)),
    Case("equal shares", ({"persona": 0.5, "agentic": 0.25}, PAIR)),
    Case("a merge below all sources", ({"persona": 0.125, "agentic": 0.125}, PAIR)),
    Case("a merge between its sources", ({"x": 0.25, "y": 0.375}, {**HALF, "c": {"x": 1, "y": 1}})),
    Case("a skill that no source has", ({"x": 0.5, "y": 0.25}, {"a": {"x": 1.0, "y": 0.0}})),
    Case("a merge better than its sources", ({"x": 0.75, "y": 0.25}, HALF)),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"capstone/retained/{seed}")

    def some(low: int, high: int) -> float:
        return draw.random.randint(low, high) / 64

    def trio(best: list[float]) -> dict[str, Scores]:
        skills = ("persona", "agentic", "digest")
        return {
            f"{owner} adapter": {
                s: b if s == owner else some(0, 4) for s, b in zip(skills, best, strict=True)
            }
            for owner in draw.random.sample(skills, 3)
        }

    alone = trio([some(60, 64), some(50, 59), some(36, 44)])
    kept = draw.random.sample((0.25, 0.5, 0.75), 3)
    owners = {s: max(x[s] for x in alone.values()) for s in ("persona", "agentic", "digest")}
    pair = {"a": {"z": 1.0, "y": 0.0}, "b": {"z": 0.0, "y": 0.5}}
    none = {"a": {"x": 0.0}, "b": {"x": 0.0}}
    return [
        Case(
            "three skills",
            ({s: owners[s] * k for s, k in zip(owners, kept, strict=True)}, alone),
            core=True,
        ),
        Case("two skills", ({"z": some(8, 20), "y": some(22, 30)}, pair), core=True),
        Case("a low score that is whole", ({"z": some(40, 60), "y": 0.5}, pair)),
        Case("equal shares", ({"z": 0.75, "y": 0.375}, pair)),
        Case("equal shares", ({s: b * 0.5 for s, b in owners.items()}, alone)),
        Case("a merge below all sources", ({"z": some(1, 8), "y": some(9, 12)}, pair)),
        Case("a merge as good as its weakest source", ({"z": 0.125, "y": 0.375}, pair)),
        Case("a merge between its sources", ({"z": some(24, 30), "y": some(10, 14)}, pair)),
        Case(
            "a skill that no source has", ({"x": some(1, 9), "z": 0.5}, {"a": {"x": 0.0, "z": 1.0}})
        ),
        Case("only skills that no source has", ({"x": some(0, 9)}, none)),
        Case("a merge better than its sources", ({"z": some(50, 60), "y": some(40, 50)}, pair)),
        Case("a single source", ({"z": some(2, 40)}, {"only": {"z": 0.75}})),
    ]


RETAINED = Exercise(
    id="capstone/retained",
    lesson="08_capstone",
    title="what was kept",
    signature="retained(merged, alone)",
    contract=CONTRACT,
    example='`retained({"chat": 0.5, "tools": 0.25}, {"a": {"chat": 1.0, "tools": 0.0}, "b": '
    '{"chat": 0.0, "tools": 0.5}})` returns `{"kept": {"chat": 0.5, "tools": 0.5}, "worst": '
    '"chat", "below_all": False}`.',
    reference=retained,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 3),
    minutes=6,
    difficulty=1,
    misconceptions=WRONG,
    alternatives={"by loop": by_loop, "by sorting": by_sorting},
    hints=HINTS,
    equivalent={
        "4b347a/arithmetic/1": (
            "Computes the same comparison: all sources and the merge have the same skills, so "
            "their sums compare as their means do."
        ),
    },
)
