"""A trial merge for the judged exercise: is the recipe allowed, and what does its drop cost?

Merging and scoring take seconds, so every result is kept by what it depends on, and a trial ends
as soon as the rolls that are left could not change its outcome.
"""

import json
import math
from collections.abc import Mapping
from functools import cache
from typing import Any

from mergelab.errors import UserError
from mergelab.zoo.fresh import fresh_items

SKILLS = ("persona", "agentic")
ADAPTERS = tuple(f"task_api_{skill}" for skill in SKILLS)
METHODS = ("dare_linear", "dare_ties")
PARAMETERS = ("density", "lambda", "weight")
SEEDS = 5
ITEMS = 50
DROPPED = 0.70
LOST = 0.05  # of the score at density 1
USABLE = 0.75  # of the items of each skill: a merge below that is no use, whatever it retains
DEV = "dev"


def problem_with_recipe(recipe: Any) -> str | None:
    """What is not allowed in a recipe, as the rest of a sentence that starts with "it"."""
    if type(recipe) is not dict:
        return "does not return a recipe: return a dict like the one in the example"
    if set(recipe) - {"merge_method", "base_model", "models", "parameters", "dtype"}:
        return "has a key that this exercise does not know: use those of the example"
    if recipe.get("merge_method") not in METHODS:
        return "does not use dare_linear or dare_ties"
    models = recipe.get("models")
    if recipe.get("base_model", "base") != "base" or type(models) not in (list, tuple):
        return "does not list the two adapters on `base`"
    if not all(type(m) is dict and set(m) <= {"model", "parameters"} for m in models):
        return "lists its models in another form than the example"
    if sorted(str(m.get("model")) for m in models) != sorted(ADAPTERS):
        return f"must merge exactly {ADAPTERS[0]} and {ADAPTERS[1]}"
    settings = [recipe.get("parameters", {}), *(m.get("parameters", {}) for m in models)]
    if not all(type(each) is dict for each in settings):
        return "has `parameters` that are no dict"
    if any(set(each) - set(PARAMETERS) for each in settings):
        return f"sets something other than {', '.join(PARAMETERS)}: the rescaling stays as it is"
    values = [value for each in settings for value in each.values()]
    if not all(type(v) in (int, float) and math.isfinite(v) for v in values):
        return "has a parameter that is not a plain number"
    common = recipe.get("parameters", {}).get("density", 1.0)
    densities = [m.get("parameters", {}).get("density", common) for m in models]
    if not all(0 <= density <= 1 for density in densities):
        return "has a density outside 0 to 1"
    if max(densities) > 1 - DROPPED + 1e-9:
        return (
            f"keeps {max(densities):.0%} of an adapter: drop at least {DROPPED:.0%} of each "
            "(density is the share that is kept)"
        )
    return None


def whole(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The same recipe with nothing dropped: every density 1, all else alike."""

    def undropped(settings: Mapping[str, Any]) -> dict[str, Any]:
        return {**settings, "density": 1.0} if "density" in settings else dict(settings)

    return {
        **recipe,
        "parameters": undropped(recipe.get("parameters", {})),
        "models": [
            {**model, "parameters": undropped(model.get("parameters", {}))}
            for model in recipe["models"]
        ],
    }


@cache
def rates(recipe: str, seed: int, items: str) -> tuple[float, ...]:
    """Share of items right, for each skill: of a recipe (as JSON) merged with one seed.

    `items` is "dev" for the start of the shipped dev suites, else the seed of held-out items.
    """
    import mergelab
    from mergelab.evaluation.generation import generate_replies
    from mergelab.evaluation.results import score_replies
    from mergelab.evaluation.suites import load_suite

    merged = mergelab.merge({**json.loads(recipe), "dtype": "float32"}, seed=seed)
    model, tokenizer = merged.load()
    asked = [
        list(load_suite(skill, DEV)[:ITEMS] if items == DEV else fresh_items(skill, items, ITEMS))
        for skill in SKILLS
    ]
    replies = generate_replies(model, tokenizer, [*asked[0], *asked[1]])
    halves = (replies[:ITEMS], replies[ITEMS:])
    found = [
        score_replies(skill, mine, said).rate.estimate
        for skill, mine, said in zip(SKILLS, asked, halves, strict=True)
    ]
    return tuple(found)


def problem_with_drop(recipe: dict[str, Any], items: str) -> str | None:
    """What the drop costs too much, as the rest of a sentence that starts with "it", or None."""
    try:
        reference = rates(json.dumps(whole(recipe), sort_keys=True), 0, items)
        rolled: list[tuple[float, ...]] = []
        for seed in range(SEEDS):
            rolled.append(rates(json.dumps(recipe, sort_keys=True), seed, items))
            # The best that can still come of it: everything right in the rolls that are left.
            best = [_best(rolled, skill) for skill in range(len(SKILLS))]
            problem = _shortfall(best, reference, partial=seed + 1 < SEEDS)
            if problem:
                return problem
    except UserError as error:
        return f"cannot be merged ({error})"
    return None


def _best(rolled: list[tuple[float, ...]], skill: int) -> float:
    return (sum(each[skill] for each in rolled) + SEEDS - len(rolled)) / SEEDS


def _shortfall(mean: list[float], reference: tuple[float, ...], *, partial: bool) -> str | None:
    most = "at most " if partial else ""
    for skill, got, want in zip(SKILLS, mean, reference, strict=True):
        if got <= (1 - LOST) * want and want > 0:
            return (
                f"loses too much of {skill}: {want:.2f} with nothing dropped, {most}{got:.2f} as "
                f"the mean of {SEEDS} seeds; more than {(1 - LOST) * want:.2f} is asked for"
            )
    for skill, got in zip(SKILLS, mean, strict=True):
        if got < USABLE:
            return (
                f"retains enough, but is too weak a merge: {skill} {most}{got:.2f}, where "
                f"{USABLE:g} is asked for; mind the scale"
            )
    return None
