"""Merge, then score: the experiment that every lesson repeats, in three calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mergelab.errors import UserError

if TYPE_CHECKING:
    from mergelab.evaluation.results import Evaluation

LOW = ("task_api_persona", "task_api_agentic")
CONFLICT = ("task_api_persona_conflict", "task_api_agentic_conflict")
# Enough to see a difference of ten points, quick enough to wait for.
ITEMS = 150


def recipe(
    method: str,
    models: Sequence[str] = LOW,
    weights: Sequence[float] | None = None,
    **parameters: Any,
) -> dict[str, Any]:
    """A recipe that merges adapters of the base, as the YAML file would hold it.

    `weights` has one number per model; left out, none are written down, and a method that takes
    weights takes 1 each. `parameters` are the method's own.

    Raises `UserError` if there is not one weight for each model.

    >>> recipe("ties", weights=(1.0, 0.5), density=0.2)["models"][1]
    {'model': 'task_api_agentic', 'parameters': {'weight': 0.5}}
    """
    sources: list[dict[str, Any]] = [{"model": name} for name in models]
    if weights is not None:
        if len(weights) != len(models):
            raise UserError(f"{len(weights)} weights for {len(models)} models: give one for each")
        for source, weight in zip(sources, weights, strict=True):
            source["parameters"] = {"weight": weight}
    return {
        "merge_method": method,
        "base_model": "base",
        "models": sources,
        "parameters": parameters,
        "dtype": "float32",
    }


def measure(
    name: str, recipe: Mapping[str, Any], *, split: str = "dev", items: int = ITEMS, **options: Any
) -> tuple[Evaluation, float]:
    """Merge in memory and score the result; returns its evaluation and its size.

    `items` per suite; the size is the report's `magnitude kept`: the norm of the merged change
    over the mean norm of the task vectors. `options` go to `mergelab.evaluation.evaluate`.
    """
    import mergelab
    from mergelab.evaluation.results import evaluate

    merged = mergelab.merge(dict(recipe))
    scores = evaluate(*merged.load(), split=split, limit=items, name=name, **options)
    return scores, merged.report.total().magnitude_kept


def measure_alone(
    model: str, *, name: str = "", split: str = "dev", items: int = ITEMS, **options: Any
) -> Evaluation:
    """Score one model or adapter on its own; `name` is what tables call it."""
    import mergelab
    from mergelab.evaluation.results import evaluate

    return evaluate(*mergelab.load_model(model), split=split, limit=items, name=name, **options)


def sized(size: float, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe with `lambda` set so that the merged change has this size (magnitude kept)."""
    import mergelab

    plain = mergelab.merge({**recipe, "parameters": {**recipe["parameters"], "lambda": 1.0}})
    factor = size / plain.report.total().magnitude_kept
    return {**recipe, "parameters": {**recipe["parameters"], "lambda": factor}}
