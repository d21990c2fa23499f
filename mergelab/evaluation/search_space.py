"""What a search over a recipe may change: the numbers of its method, each with a range.

A dimension is one number: the density, the scale (`lambda`), `t`, how two models share the weight.
With groups of layers each of them has one dimension for every group. Defaults for the ranges are
here, what a number may be at all is declared beside the method. `recipe_with` writes chosen values
into the recipe as a person would: a number, or a list with one number for each layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from mergelab.errors import UserError
from mergelab.evaluation.ranges import SHARE, Ranges, given_weights, is_number, tunable
from mergelab.recipes import Plan, Recipe
from mergelab.recipes.members import entries_of


@dataclass(frozen=True)
class Dimension:
    """One number to choose between `low` and `high`, both included.

    `key` is the recipe's key (or "share"), `model` the place of the one model that it holds for,
    `group` that of the one group of layers; None where it holds for all.
    """

    name: str
    key: str
    low: float
    high: float
    log: bool = False
    whole: bool = False
    model: int | None = None
    group: int | None = None

    def rounded(self, value: float) -> float:
        """The value with as many digits as matter over this range, so that recipes stay readable.

        >>> Dimension("density", "density", 0.1, 1.0).rounded(0.3728461)
        0.373
        """
        if self.whole:
            return round(value)
        if self.log:
            return min(self.high, max(self.low, float(f"{value:.3g}")))
        digits = 2 - math.floor(math.log10(self.high - self.low))
        return min(self.high, max(self.low, round(value, max(0, digits))))

    def points(self, count: int) -> list[float]:
        """So many values from `low` to `high`, evenly spaced (evenly in the logarithm with `log`).

        >>> Dimension("t", "t", 0.0, 1.0).points(3)
        [0.0, 0.5, 1.0]
        """
        if count == 1:
            return [self.rounded((self.low * self.high) ** 0.5 if self.log else self._at(0.5))]
        found = [self.rounded(self._at(n / (count - 1))) for n in range(count)]
        return list(dict.fromkeys(found))  # a whole number may have fewer

    def _at(self, part: float) -> float:
        if self.log:
            return self.low ** (1 - part) * self.high**part
        return self.low + part * (self.high - self.low)


@dataclass(frozen=True)
class SearchSpace:
    """A recipe and what may be changed in it; `held` has the numbers that were set to one value.

    `models`: how the recipe calls the models that are merged; `weights`: how much each counts in
    it; `layers`: how many layers the groups share.
    """

    recipe: Recipe
    dimensions: tuple[Dimension, ...]
    held: tuple[Dimension, ...]
    models: tuple[str, ...]
    weights: tuple[float, ...]
    layers: int
    groups: int = 1

    def recipe_with(self, values: Mapping[str, float]) -> Recipe:
        """The recipe with these values, by the dimensions' names, in place of its own.

        What the recipe says about the same number in any other place (for one model, for one
        slice, in a filter) is taken out.
        """
        recipe = self.recipe.model_copy(deep=True)
        scopes = [(None, part.parameters) for part in recipe.slices or []]
        scopes += [(entry.model, entry.parameters) for entry in entries_of(recipe)]
        chosen: dict[tuple[str, int | None], list[Dimension]] = {}
        for dimension in (*self.dimensions, *self.held):
            chosen.setdefault((dimension.key, dimension.model), []).append(dimension)
        values = {**{d.name: d.low for d in self.held}, **values}
        for (key, model), parts in chosen.items():
            written = [values[part.name] for part in parts]
            if key == SHARE.name:
                total = sum(self.weights)
                shares = [[total * w for w in written], [total * (1 - w) for w in written]]
                for number, share in enumerate(shares):
                    self._write_for(recipe, scopes, number, [round(w, 6) for w in share])
            elif model is not None:
                self._write_for(recipe, scopes, model, written)
            else:
                for _, parameters in scopes:
                    parameters.pop(key, None)
                recipe.parameters[key] = self._spread(written)
                recipe.rank = None if key == "rank" else recipe.rank
        return recipe

    def _write_for(
        self, recipe: Recipe, scopes: Sequence[Any], model: int, written: Sequence[float]
    ) -> None:
        """Write the weight of one model wherever the recipe lists it."""
        for name, parameters in scopes:
            if name == self.models[model]:
                parameters["weight"] = self._spread(written)

    def _spread(self, values: Sequence[float]) -> Any:
        """One value as it is; one for each group as a list with the value of each layer."""
        if len(values) == 1:
            return values[0]
        return [values[layer * len(values) // self.layers] for layer in range(self.layers)]

    def grid(self, trials: int) -> list[dict[str, float]]:
        """The points of the finest even grid that has at most so many.

        Raises `UserError` where not even two values for each dimension are possible.
        """
        count = len(self.dimensions)
        steps = max(n for n in range(1, trials + 1) if n**count <= trials)
        if count > 1 and steps == 1:
            raise UserError(
                f"--search grid: two values for each of {count} numbers are {2**count} trials; "
                f"write --trials {2**count}, or --search random"
            )
        axes = [dimension.points(steps) for dimension in self.dimensions]
        names = [dimension.name for dimension in self.dimensions]
        return [dict(zip(names, point, strict=True)) for point in product(*axes)]


def search_space(
    recipe: Recipe, plan: Plan, ranges: Ranges | None = None, groups: int = 1
) -> SearchSpace:
    """What to search for a recipe: the defaults of its method, changed by `ranges`.

    Raises `UserError` for a method without a number to tune, for a range that does not fit it, and
    for more groups than there are layers.

    >>> from mergelab.paths import data_path
    >>> from mergelab.recipes import make_plan, read_recipe
    >>> recipe = read_recipe(data_path("recipes", "ties.yaml"))
    >>> space = search_space(recipe, make_plan(recipe))
    >>> [(d.name, d.low, d.high) for d in space.dimensions]
    [('share', 0.2, 0.8), ('density', 0.1, 1.0), ('lambda', 0.3, 2.0)]
    """
    ranges = ranges or Ranges({})
    _check_groups(recipe, plan, groups)
    ranges.check(plan.method, len(plan.sources))
    names = _names(plan)
    found = []
    for parameter, model, bounds in tunable(plan, ranges):
        key, whole = parameter.recipe_key, parameter.whole
        name = key if model is None else f"{key}.{names[model]}"
        for group in range(groups) if groups > 1 and not whole else [None]:
            full = name if group is None else f"{name}.{group + 1}"
            found.append(
                Dimension(full, key, bounds.low, bounds.high, bounds.log, whole, model, group)
            )
    free = tuple(dimension for dimension in found if dimension.low < dimension.high)
    if not free:
        raise UserError(_nothing_to_tune(plan, held=bool(found)))
    return SearchSpace(
        recipe=recipe,
        dimensions=free,
        held=tuple(dimension for dimension in found if dimension not in free),
        models=tuple(source.reference for source in plan.sources),
        weights=tuple(given_weights(plan)),
        layers=plan.layers,
        groups=groups,
    )


def _names(plan: Plan) -> list[str]:
    """Short names for the models; numbers where two read the same."""
    names = [source.name for source in plan.sources]
    return [name if names.count(name) == 1 else str(n + 1) for n, name in enumerate(names)]


def _check_groups(recipe: Recipe, plan: Plan, groups: int) -> None:
    if groups == 1:
        return
    if len(recipe.slices or []) > 1:
        raise UserError(
            f"--groups {groups}: a recipe of several slices has its layers split already; "
            "leave --groups out"
        )
    if groups > plan.layers:
        raise UserError(
            f"--groups {groups}: the model has {plan.layers} layers; ask for {plan.layers} groups "
            "at most"
        )
    if any(tensor.settings.get("trim_scope") == "global" for tensor in plan.tensors):
        raise UserError(
            f"--groups {groups}: 'trim_scope: global' trims all layers together; leave --groups "
            "out, or write 'trim_scope: tensor' in the recipe"
        )


def _nothing_to_tune(plan: Plan, held: bool) -> str:
    name = plan.method.name
    if held:
        return f"{name}: every number is held at one value; give one of them a range"
    numbers = [p.recipe_key for p in plan.method.parameters if is_number(p)]
    if not numbers:
        return f"{name}: has no number to tune; tune a recipe of ties, slerp or task_arithmetic"
    return (
        f"{name}: has nothing to tune here by itself; name a number and its range, "
        f"such as --range {numbers[0]}=LOW:HIGH (it has {', '.join(numbers)})"
    )
