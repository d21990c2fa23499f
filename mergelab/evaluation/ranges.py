"""Between which values a search looks: what people write, and the defaults of each method.

The declarations beside the methods say what a number may be; here stands where it is worth
looking. A density below 0.1 keeps next to nothing, a scale above 2 leaves the models that were
merged far behind. Numbers without a default range are tuned only where a range is given for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mergelab.errors import UserError
from mergelab.methods import Method, Parameter
from mergelab.recipes import Plan
from mergelab.recipes.suggestions import suggestion

SHARE = Parameter(
    "share", 0.5, "share of the weight that the first of two models gets", low=0.0, high=1.0
)


@dataclass(frozen=True)
class Bounds:
    """The lowest and the highest value, both included; `log`: searched on a logarithmic scale."""

    low: float
    high: float
    log: bool = False


_DEFAULTS = {
    "share": Bounds(0.2, 0.8),
    "density": Bounds(0.1, 1.0),
    "lambda": Bounds(0.3, 2.0),
    "t": Bounds(0.0, 1.0),
    "select_topk": Bounds(0.1, 1.0),
    "rank_share": Bounds(0.1, 1.0),
}
# Here `t` is a distance between weights, and any size of it may be the right one.
_OF_METHOD = {("nearswap", "t"): Bounds(1e-5, 1e-2, log=True)}
_WRITE = "write NAME=LOW:HIGH, such as density=0.1:0.9, or NAME=VALUE to hold it at one value"


@dataclass(frozen=True)
class Ranges:
    """Ranges that somebody asked for, by the recipe's key or "share".

    >>> Ranges.parse(["density=0.2:0.8", "lambda=1"]).given["density"]
    Bounds(low=0.2, high=0.8, log=False)
    """

    given: Mapping[str, Bounds]

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Ranges:
        """Read ranges as people write them. Raises `UserError` for what is no range."""
        given: dict[str, Bounds] = {}
        for text in texts:
            name, _, span = (part.strip() for part in text.partition("="))
            ends = re.split(r"\s*:\s*", span)
            try:
                low, high = float(ends[0]), float(ends[-1])
            except ValueError:
                raise UserError(f"--range {text}: {_WRITE}") from None
            if not name or len(ends) > 2:
                raise UserError(f"--range {text}: {_WRITE}")
            if low > high or (low == high and len(ends) == 2):
                raise UserError(f"--range {text}: the first number must be below the second")
            if name in given:
                raise UserError(f"--range {text}: {name} is given twice; keep one of them")
            given[name] = Bounds(low, high)
        return cls(given)

    def check(self, method: Method, models: int) -> None:
        """Refuse names that the method does not have and values that it does not allow.

        Raises `UserError`.
        """
        known = {parameter.recipe_key: parameter for parameter in method.parameters}
        numbers = {name: p for name, p in known.items() if is_number(p)}
        if "weight" in numbers:
            numbers["share"] = SHARE
        for name, bounds in self.given.items():
            where = f"--range {name}"
            if name in known and name not in numbers:
                raise UserError(f"{where}: is no number; write it in the recipe instead")
            if name not in numbers:
                hint = suggestion(name, numbers) if numbers else "it has no numbers to tune"
                raise UserError(f"{where}: unknown parameter for {method.name}; {hint}")
            for value in (bounds.low, bounds.high):
                problem = numbers[name].problem(value)
                if problem:
                    raise UserError(f"{where}: {problem}")
        if "share" in self.given and "weight" in self.given:
            raise UserError("--range share: says the same as the range of weight; keep one of them")
        if "share" in self.given and models != 2:
            raise UserError(
                f"--range share: is for two models, the recipe merges {models}; "
                "write weight=LOW:HIGH, which holds for each of them"
            )


def is_number(parameter: Parameter) -> bool:
    """Whether a parameter is a number, not a word or a flag.

    >>> is_number(SHARE), is_number(Parameter("rescale", True, "keep the size"))
    (True, False)
    """
    return not parameter.choices and not isinstance(parameter.default, bool)


def given_weights(plan: Plan) -> list[float]:
    """How much each source counts in the recipe, on average over the layers.

    >>> from mergelab.paths import data_path
    >>> from mergelab.recipes import make_plan, read_recipe
    >>> given_weights(make_plan(read_recipe(data_path("recipes", "linear.yaml"))))
    [0.5, 0.5]
    """
    found: list[list[float]] = [[] for _ in plan.sources]
    for tensor in plan.tensors:
        for (number, _), own in zip(tensor.inputs, tensor.per_source, strict=True):
            if "weight" in own and tensor.layer is not None:
                found[number].append(own["weight"])
    return [sum(each) / len(each) if each else 1.0 for each in found]


def tunable(plan: Plan, ranges: Ranges) -> Iterator[tuple[Parameter, int | None, Bounds]]:
    """The numbers to search for, each with its range: (parameter, place of its one model, range).

    Two models share the weight, unless a range for `weight` asks for one weight each.
    """
    for parameter in plan.method.parameters:
        key = parameter.recipe_key
        asked = ranges.given.get(key)
        if key == "weight":
            yield from _weights(parameter, plan, ranges)
        elif asked or (is_number(parameter) and _matters(key, plan)):
            bounds = asked or _default(key, plan)
            if bounds:
                yield parameter, None, bounds


def _weights(
    parameter: Parameter, plan: Plan, ranges: Ranges
) -> Iterator[tuple[Parameter, int | None, Bounds]]:
    weights, asked = given_weights(plan), ranges.given.get("weight")
    share = ranges.given.get("share")
    if share or (len(weights) == 2 and min(weights) >= 0 < sum(weights) and not asked):
        if sum(weights) == 0:
            raise UserError(
                "--range share: the recipe's weights sum to 0, so there is nothing to share; "
                "write weight=LOW:HIGH"
            )
        yield SHARE, None, share or _DEFAULTS["share"]
    elif asked or len(weights) > 1:  # one model alone is scaled by lambda
        for number, weight in enumerate(weights):
            ends = sorted((0.0, 2 * weight)) if weight else [0.0, 1.0]
            yield parameter, number, asked or Bounds(*ends)


def _matters(key: str, plan: Plan) -> bool:
    """Whether a number does anything in this recipe."""
    inner = plan.recipe.parameters.get("method")
    return not (plan.method.name == "core_space" and key == "density" and inner != "ties")


def _default(key: str, plan: Plan) -> Bounds | None:
    bounds = _OF_METHOD.get((plan.method.name, key)) or _DEFAULTS.get(key)
    if key == "density" and plan.method.parameter("epsilon"):  # DELLA needs room on either side
        first = next(tensor for tensor in plan.tensors if tensor.per_source)
        half = max(own["epsilon"] for own in first.per_source)
        half /= 1 if first.settings["window"] == "each_side" else 2
        return Bounds(max(bounds.low, half), min(bounds.high, 1 - half))
    return bounds
