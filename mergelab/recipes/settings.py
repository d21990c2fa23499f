"""From a recipe's parameters to one number per tensor and source.

A parameter may be a scalar, a list spread evenly over the layers and interpolated, or a list of
`{filter, value}` of which the first whose filter occurs in the tensor's name holds. What is said
for one model beats what is said for a slice, which beats what is said for the whole recipe.

Tensors outside the layers: a list's first value holds for the embeddings, which come before the
first layer, and its last value for the final norm and the head, which come after the last one.
(mergekit gives them all the first value; `compat: mergekit` does so too.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mergelab.errors import UserError
from mergelab.methods import Method, Parameter
from mergelab.recipes.compat import Preset
from mergelab.recipes.schema import IGNORED_PARAMETERS, suggestion

Scope = tuple[str, Mapping[str, Any]]  # where it is written, and the parameters written there


@dataclass(frozen=True)
class Position:
    """A tensor's name and how deep it sits: 0 at the first layer, 1 at the last."""

    name: str
    depth: float

    @classmethod
    def of(
        cls,
        name: str,
        layer: int | None,
        layers: int,
        preset: Preset = Preset(),
    ) -> Position:
        """Where `name` sits among `layers` layers; `layer` is None outside them.

        Under `compat: mergekit` all that is outside the layers sits at 0, and a single layer at 1.

        >>> Position.of("model.norm.weight", None, 4).depth
        1.0
        >>> Position.of("model.layers.1.mlp.up_proj.weight", 1, 3).depth
        0.5
        """
        first = preset.first_value_outside_layers
        if layer is None:
            return cls(name, 0.0 if first or is_before_layers(name) else 1.0)
        return cls(name, layer / (layers - 1) if layers > 1 else float(first))


def is_before_layers(name: str) -> bool:
    """Whether a tensor outside the layers comes before the first one: the embeddings do.

    >>> is_before_layers("model.embed_tokens.weight"), is_before_layers("lm_head.weight")
    (True, False)
    """
    return "embed" in name or "wte" in name


def check_parameters(method: Method, scopes: Sequence[Scope], per_source: bool) -> list[str]:
    """Refuse unknown keys and impossible values in each scope; return notes on ignored keys.

    `per_source`: whether the scopes belong to single models, where a parameter of the whole merge
    has no place. Raises `UserError`.
    """
    notes = []
    for where, parameters in scopes:
        for key, setting in parameters.items():
            if key in IGNORED_PARAMETERS:
                notes.append(f"{where}.{key}: {IGNORED_PARAMETERS[key]}")
                continue
            parameter = _declared(method, str(key))
            if parameter is None:
                allowed = [p.recipe_key for p in method.parameters]
                raise UserError(
                    f"{where}: unknown parameter '{key}' for {method.name}; "
                    + suggestion(str(key), allowed)
                )
            if per_source and not parameter.per_source:
                raise UserError(
                    f"{where}: '{key}' holds for the whole merge; "
                    "write it under the recipe's own 'parameters'"
                )
            _check_setting(parameter, setting, f"{where}.{key}")
    return notes


def _declared(method: Method, key: str) -> Parameter | None:
    """The parameter a key means; `normalize` is mergekit's word for TIES's divisor."""
    found = method.parameter(key)
    if found is None and key == "normalize" and method.parameter("divisor"):
        return Parameter("normalize", True, "divide by the agreeing weights")
    return found


def _check_setting(parameter: Parameter, setting: Any, where: str) -> None:
    for value in _leaves(setting, where):
        problem = parameter.problem(_number(value))
        if problem:
            raise UserError(f"{where}: {problem}")
        if isinstance(setting, list) and not _has_filters(setting) and not _interpolates(parameter):
            raise UserError(f"{where}: cannot be interpolated over the layers; give one value")


def _interpolates(parameter: Parameter) -> bool:
    return not parameter.choices and not isinstance(parameter.default, bool)


def _leaves(setting: Any, where: str) -> list[Any]:
    if isinstance(setting, dict):
        setting = [setting]
    if not isinstance(setting, list):
        return [setting]
    if not setting:
        raise UserError(f"{where}: the list is empty; give one value, or one per group of layers")
    if not _has_filters(setting):
        return setting
    values = []
    for entry in setting:
        if (
            not isinstance(entry, dict)
            or not set(entry) <= {"filter", "value"}
            or "value" not in entry
        ):
            raise UserError(
                f"{where}: mixes values and filters; each entry is 'filter: part of a name, "
                "value: number', the last one without a filter"
            )
        values += _leaves(entry["value"], where)
    return values


def _has_filters(setting: Any) -> bool:
    return isinstance(setting, list) and any(isinstance(entry, dict) for entry in setting)


def _number(value: Any) -> Any:
    """YAML reads `1e-3` as a word; it is meant as a number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def resolve(
    parameter: Parameter,
    scopes: Sequence[Mapping[str, Any]],
    at: Position,
    preset: Preset = Preset(),
) -> Any:
    """The value of a parameter for one tensor: the first scope that says something for it.

    `scopes`: from the most particular to the most general. Falls back to the preset's default.
    Raises `UserError` where the preset has none.

    >>> density = Parameter("density", 1.0, "", low=0, high=1, per_source=True)
    >>> resolve(density, [{"density": [0.2, 0.6]}], Position("model.layers.1.x", 0.5))
    0.4
    """
    keys = [parameter.recipe_key]
    if parameter.name == "divisor":
        keys.append("normalize")
    for scope in scopes:
        for key in keys:
            value = _evaluate(scope[key], at) if key in scope else None
            if value is not None:
                return preset.meaning(parameter, value)
    return preset.default(parameter)


def filters_in(parameters: Mapping[str, Any]) -> set[str]:
    """The filters written anywhere in a set of parameters; `*` and none match everything.

    >>> sorted(filters_in({"t": [{"filter": "mlp", "value": 0.2}, {"value": 0.5}], "weight": 1}))
    ['mlp']
    """
    found = set()
    for setting in parameters.values():
        for entry in setting if isinstance(setting, list) else [setting]:
            if isinstance(entry, dict) and entry.get("filter") not in (None, "*"):
                found.add(str(entry["filter"]))
    return found


def _evaluate(setting: Any, at: Position) -> Any:
    if isinstance(setting, dict):
        setting = [setting]
    if not isinstance(setting, list):
        return _number(setting)
    if _has_filters(setting):
        for entry in setting:
            pattern = entry.get("filter")
            if pattern in (None, "*") or str(pattern) in at.name:
                return _evaluate(entry["value"], at)
        return None
    values = [_number(value) for value in setting]
    scaled = at.depth * (len(values) - 1)
    low = min(int(scaled), max(len(values) - 2, 0))
    high = min(low + 1, len(values) - 1)
    part = scaled - low
    between = (1 - part) * values[low] + part * values[high]
    return min(max(between, min(values[low], values[high])), max(values[low], values[high]))
