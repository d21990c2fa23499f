"""Exercise `seventy_percent`: a merge that drops 70% and keeps both skills. Merged and measured."""

from dataclasses import dataclass
from typing import Any

from autograder.exercise import Case, Exercise, Misconception, Points
from autograder.exercises.dare.trial import (
    ADAPTERS,
    DEV,
    ITEMS,
    SEEDS,
    USABLE,
    problem_with_drop,
    problem_with_recipe,
)

CONTRACT = f"""
Write `seventy_percent()`: return a recipe for a DARE merge of the two adapters that drops at least
70% of each and still keeps both skills.

- Return a plain dict in the form of the example. `merge_method` is `dare_linear` or `dare_ties`.
  You may set `density` (the share that is **kept**), `lambda` (the overall scale) and, for each
  model, `weight` and `density`. Nothing else; the survivors are rescaled by `1/density` as always.
- The density of each adapter is at most .3.
- Your merge is compared **with itself at density 1**: the same method, weights and lambda, nothing
  dropped. On each skill it must lose **less than 5%** of that score, as the mean of {SEEDS} seeds.
- It must also be of use: at least {USABLE:g} on each skill.
- Both are measured on {ITEMS} items of each skill: here on the first of the dev suites, when you
  hand in on new items of the same kind, which nobody has seen. A recipe that is just inside the
  bar may fall outside it on other items: leave room.
- One check takes up to a minute, because it merges and asks six models.
"""

HINTS = (
    "The drop adds noise, and lambda scales the noise as well. The sizes in this lesson's tables "
    "show which scale each method needs. A merge is allowed to be a little smaller than you would "
    "choose without the drop.",
    "With dare_linear the sum of two rescaled adapters carries the noise of both. With dare_ties a "
    "drop also ends conflicts, so the dropped merge is larger than the whole one: try a lambda "
    "below 1.",
)


@dataclass(frozen=True)
class OnItems(Case):
    """A trial on some items: "dev", or the seed of held-out ones."""

    items: str = DEV


def judged(value: Any, case: Case) -> str | None:
    problem = problem_with_recipe(value)
    if problem:
        return problem
    return problem_with_drop(value, case.items if isinstance(case, OnItems) else DEV)


def recipe(
    method: str = "dare_ties", *, density: float = 0.3, scale: float = 0.8, **more: Any
) -> dict[str, Any]:
    """A recipe as a learner would write it down."""
    return {
        "merge_method": method,
        "base_model": "base",
        "models": [{"model": name} for name in ADAPTERS],
        "parameters": {"density": density, "lambda": scale, **more},
    }


def reference() -> dict[str, Any]:
    return recipe()


# Wrong recipes -----------------------------------------------------------------------------------


def keeps_seventy() -> dict[str, Any]:
    return recipe(density=0.7)


def drops_ninety() -> dict[str, Any]:
    return recipe("dare_linear", density=0.1, scale=1.0)


def half_each() -> dict[str, Any]:
    whole = recipe("dare_linear", density=0.3, scale=1.0)
    models = [{"model": name, "parameters": {"weight": 0.25}} for name in ADAPTERS]
    return {**whole, "models": models}


def without_rescale() -> dict[str, Any]:
    return recipe("dare_linear", rescale=False)


def one_adapter() -> dict[str, Any]:
    return {**recipe(), "models": [{"model": ADAPTERS[0]}]}


def no_density() -> dict[str, Any]:
    return {**recipe(), "parameters": {"lambda": 0.8}}


def trims_instead() -> dict[str, Any]:
    return recipe("ties")


WRONG = (
    Misconception(
        "density read as drop rate",
        keeps_seventy,
        "Your recipe keeps 70%: density is the share that stays, so to drop 70% write 0.3.",
    ),
    Misconception(
        "drops too much",
        drops_ninety,
        "Your recipe drops 90% of each adapter: here the noise of that costs far more than 5%; "
        "70% are enough.",
    ),
    Misconception(
        "too small",
        half_each,
        "Your recipe makes the merge so small that both skills are weak even with nothing dropped: "
        "mind weights and lambda.",
    ),
    Misconception(
        "without rescaling",
        without_rescale,
        "Your recipe turns the rescaling off: then only a third of each change is left, and the "
        "exercise does not allow it.",
    ),
    Misconception(
        "one adapter",
        one_adapter,
        "Your recipe holds one adapter: merge both, or there is only one skill to keep.",
    ),
    Misconception(
        "no density",
        no_density,
        "Your recipe sets no density, so nothing is dropped: the default is 1.",
    ),
    Misconception(
        "trim for drop",
        trims_instead,
        "Your recipe uses ties, which trims by magnitude: this exercise is about random drops.",
    ),
)

# Right in another way ----------------------------------------------------------------------------


def a_little_smaller() -> dict[str, Any]:
    return recipe(scale=0.75)


def density_per_model() -> dict[str, Any]:
    models = [{"model": n, "parameters": {"density": 0.3, "weight": 1.0}} for n in ADAPTERS]
    return {**recipe(scale=0.75), "models": models, "parameters": {"lambda": 0.75}}


SEVENTY_PERCENT = Exercise(
    id="dare/seventy_percent",
    lesson="05_dare",
    title="drop 70%, lose less than 5%",
    signature="seventy_percent()",
    contract=CONTRACT,
    example="The form of a recipe (this one drops nothing, so it does not pass): "
    '`{"merge_method": "dare_linear", "base_model": "base", "models": [{"model": '
    '"task_api_persona", "parameters": {"weight": 1.0}}, {"model": "task_api_agentic"}], '
    '"parameters": {"density": 1.0, "lambda": 1.0}}`.',
    reference=reference,
    visible=(OnItems("a merge scored on the dev items", ()),),
    hidden=lambda seed: [OnItems("a merge scored on new items", (), items=seed)],
    points=Points(2, 3),
    minutes=8,
    difficulty=3,
    misconceptions=WRONG,
    alternatives={"a little smaller": a_little_smaller, "density per model": density_per_model},
    hints=HINTS,
    judged=judged,
    equivalent={
        "dde441/entry/2": (
            "Computes the same: the adapters themselves name `base`, so a recipe may leave it out."
        ),
    },
)
