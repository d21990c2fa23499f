"""Exercise `tuned`: a recipe that keeps both skills of a pair that is in each other's way.

What a learner returns is merged and evaluated, so a recipe may name the two adapters only, and
every evaluation is kept by the recipe's content.
"""

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import mergelab
from autograder.exercise import Case, Exercise, Misconception, Points
from mergelab.errors import UserError
from mergelab.evaluation.generation import generate_replies
from mergelab.evaluation.results import score_replies
from mergelab.evaluation.suites import load_suite
from mergelab.zoo.fresh import fresh_items

Recipe = dict[str, Any]

MODELS = {
    "persona": "task_api_persona_conflict",
    "agentic": "task_api_agentic_conflict",
}
METHODS = ("linear", "task_arithmetic", "slerp", "ties", "dare_linear", "dare_ties")
KEYS = ("merge_method", "base_model", "models", "parameters", "dtype")
SHARE = 0.65
ITEMS = 120

CONTRACT = """
Write `tuned()`: return a recipe that merges the conflict pair and keeps **both** skills.

- The recipe is a dict, as `nb.recipe` makes it. Its `models` are
  `task_api_persona_conflict` and `task_api_agentic_conflict`, each once, in any order;
  `base_model` is `base`. `merge_method` is linear, task_arithmetic, slerp, ties, dare_linear (a sum
  of what DARE leaves, without an election) or dare_ties; weights, density, t and lambda are yours
  to choose. It has no keys but `merge_method`,
  `base_model`, `models`, `parameters` and `dtype`.
- The merge must keep at least **65%** of each skill: its score on the persona items is at least .65
  of what the persona adapter alone scores on them, and the same for agentic.
- The visible part takes the first 120 items of each **dev** suite. The hidden part draws 120 new
  items for each skill, from templates and values that occur neither in training nor on dev. So
  choose on dev, and leave a margin: what is just enough on dev may miss by chance on new items.
- Return the same recipe at every call. Random drops are made with seed 0.
"""

HINTS = (
    "Look at the scores that you measure: which methods keep one skill and lose the other, which "
    "lose a little of both? A dial moves the first kind, the scale moves the second.",
    "`task_arithmetic` with one lambda has a single dial. Try .5, .7, .85 and 1.0 on dev. Or give "
    "TIES weights that speak for the skill that loses its elections.",
)


@dataclass(frozen=True)
class Drawn(Case):
    """A case judged on items drawn for `seed`; an empty one stands for the dev suites."""

    seed: str = ""


def recipe(method: str, weights: tuple[float, ...] | None = None, **parameters: Any) -> Recipe:
    models: list[Recipe] = [{"model": name} for name in MODELS.values()]
    for model, weight in zip(models, weights or (), strict=False):
        model["parameters"] = {"weight": weight}
    return {
        "merge_method": method,
        "base_model": "base",
        "models": models,
        "parameters": parameters,
        "dtype": "float32",
    }


def tuned() -> Recipe:
    """The sum of both task vectors, times .85."""
    return recipe("task_arithmetic", **{"lambda": 0.85})


# Judging -----------------------------------------------------------------------------------------


def form_problem(value: Any) -> str | None:
    """What makes a value no recipe of this exercise, before anything is merged."""
    if type(value) is not dict:
        return "did not return a dict: a recipe is what `nb.recipe(...)` returns"
    unknown = [key for key in value if key not in KEYS]
    if unknown:
        return "has a key that this exercise does not allow"
    if value.get("merge_method") not in METHODS:
        return f"names no method of {', '.join(METHODS)}"
    if value.get("base_model", "base") != "base":
        return "must have `base` as its base_model"
    if value.get("dtype", "float32") not in ("float32", "bfloat16", "float16"):
        return "must have float32, bfloat16 or float16 as its dtype"
    models = value.get("models")
    if type(models) not in (list, tuple) or not all(type(each) is dict for each in models):
        return "must list its models as dicts, each with `model` and perhaps `parameters`"
    if any(set(each) - {"model", "parameters"} for each in models):
        return "has a model with a key other than `model` and `parameters`"
    names = [each.get("model") for each in models]
    if any(type(name) is not str for name in names) or sorted(names) != sorted(MODELS.values()):
        return "must merge the persona and the agentic adapter of the conflict pair, each once"
    return None


@cache
def rates(text: str, seed: str) -> dict[str, float]:
    """Scores on both skills of the merge that a recipe, as JSON, makes; or of one adapter."""
    source = json.loads(text)
    if type(source) is str:
        skills = [skill for skill, name in MODELS.items() if name == source]
        model, tokenizer = mergelab.load_model(source)
    else:
        skills = list(MODELS)
        model, tokenizer = mergelab.merge({**source, "dtype": "float32"}).load()
    found = {}
    for skill in skills:
        items = fresh_items(skill, seed, ITEMS) if seed else load_suite(skill, "dev")[:ITEMS]
        result = score_replies(skill, items, generate_replies(model, tokenizer, items))
        found[skill] = result.rate.estimate
    return found


def judged(value: Any, case: Case) -> str | None:
    problem = form_problem(value)
    if problem is not None:
        return problem
    try:
        kept = shares_kept(value, case)
    except UserError as error:
        return f"cannot be merged ({error})"
    except (TypeError, ValueError):
        return "holds something that a recipe cannot hold"
    if min(kept.values()) >= SHARE:
        return None
    return f"keeps {in_words(kept)}, where at least {SHARE:.0%} of each is needed,"


def shares_kept(value: Recipe, case: Case) -> dict[str, float]:
    """What a recipe's merge scores on each skill, over what that skill's adapter alone scores."""
    seed = case.seed if isinstance(case, Drawn) else ""
    merged = rates(json.dumps({"base_model": "base", **value}, sort_keys=True), seed)
    return {
        skill: merged[skill] / rates(json.dumps(name), seed)[skill]
        for skill, name in MODELS.items()
    }


def in_words(kept: dict[str, float]) -> str:
    return " and ".join(f"{share:.0%} of {skill}" for skill, share in kept.items())


def remark(value: Recipe, case: Case) -> str:
    """How much a right recipe keeps, so that one sees the margin."""
    return (
        f"Your merge keeps {in_words(shares_kept(value, case))} on these items; {SHARE:.0%} of "
        "each is needed, also on the hidden ones."
    )


# Wrong implementations ---------------------------------------------------------------------------


def plain_average() -> Recipe:
    return recipe("linear", (0.5, 0.5))


def default_ties() -> Recipe:
    return recipe("ties", density=0.5)


def lower_density() -> Recipe:
    return recipe("ties", density=0.3)


def best_combined_alone() -> Recipe:
    return recipe("linear", (1.0, 0.0))


def first_pair() -> Recipe:
    made = recipe("task_arithmetic", **{"lambda": 0.85})
    models = [{"model": model["model"].removesuffix("_conflict")} for model in made["models"]]
    return {**made, "models": models}


def method_only() -> str:
    return "ties"


def from_a_path() -> Recipe:
    made = tuned()
    return {**made, "models": [{"model": "./persona"}, {"model": "./agentic"}]}


WRONG = (
    Misconception(
        "plain average",
        plain_average,
        "You returned the plain average: it halves each adapter, and on this pair half is too "
        "little for both skills.",
    ),
    Misconception(
        "TIES as it comes",
        default_ties,
        "You returned TIES at its defaults: on this pair the louder adapter wins the elections and "
        "the other skill is lost.",
    ),
    Misconception(
        "density only",
        lower_density,
        "You turned the density: that trims both adapters alike and does not change who wins the "
        "elections. Look at the weights, or at another method.",
    ),
    Misconception(
        "one adapter",
        best_combined_alone,
        "You gave one adapter all the weight: one skill is whole and the other is gone. Look at "
        "each skill, not at one of them.",
    ),
    Misconception(
        "another pair",
        first_pair,
        "You merged the first pair: this exercise is about the conflict pair, `nb.CONFLICT`.",
    ),
    Misconception(
        "a method's name",
        method_only,
        "You returned the name of a method: return the whole recipe, a dict.",
    ),
    Misconception(
        "a path",
        from_a_path,
        "You named a folder: name the adapters as they ship, `task_api_persona_conflict` and "
        "`task_api_agentic_conflict`.",
    ),
)

# Right in another way ----------------------------------------------------------------------------


def weighted_sum() -> Recipe:
    return recipe("task_arithmetic", (0.8, 0.85))


def plain_weights() -> Recipe:
    made = recipe("linear", (0.85, 0.85), normalize=False)
    made["models"].reverse()
    return made


VISIBLE = (Drawn("the first 120 items of each dev suite", ()),)


def hidden(seed: str) -> list[Case]:
    return [Drawn("120 new items for each skill", (), seed=seed)]


TUNED = Exercise(
    id="evaluate/tuned",
    lesson="06_evaluate_and_tune",
    title="a merge that keeps both skills",
    signature="tuned()",
    contract=CONTRACT,
    example='`return nb.recipe("ties", nb.CONFLICT, density=0.5)` has the right form, and keeps '
    "one skill only.",
    reference=tuned,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 4),
    minutes=8,
    difficulty=2,
    misconceptions=WRONG,
    alternatives={"weighted sum": weighted_sum, "plain weights": plain_weights},
    hints=HINTS,
    judged=judged,
    remark=remark,
    equivalent={
        "778931/constant/4": (
            "Outside the contract: any scale that keeps both skills is right, and 1.0 does."
        ),
    },
)
