"""What a finished merge of one tensor tells the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mergelab.kernels import TiledMerge
from mergelab.methods.gram import angle_between
from mergelab.methods.slerp import SIN_THRESHOLD, is_linear, sine_of
from mergelab.recipes import Plan, TensorPlan
from mergelab.report import TensorReport


def tensor_report(
    plan: Plan, tensor: TensorPlan, run: TiledMerge, truncation_error: float | None = None
) -> TensorReport:
    """The report of one merged tensor, with its sources in the order of the plan's.

    All parts of `run` must have been taken. `truncation_error`: that of an adapter's factors.
    """
    order = sorted(range(len(tensor.inputs)), key=lambda i: tensor.inputs[i][0])
    counts, in_weights = run.counts, plan.space == "weights"
    counted = plan.space != "factors"  # what a trim or a drop does to factors is not in entries
    straight = plan.method.ordered and _is_straight(run.weight_gram, tensor.settings)
    return TensorReport(
        name=tensor.name,
        layer=tensor.layer,
        entries=counts.entries,
        removed=tuple(counts.removed[i] for i in order),
        conflicts=None if plan.base is None else counts.conflicts,
        resolved=counts.resolved,
        weights=tuple(tensor.per_source[i].get("weight", 1.0) for i in order),
        gram=_reordered(run.gram, order),
        merged_square=counts.merged_square,
        weight_gram=_reordered(run.weight_gram, order) if in_weights else None,
        linear_fallback=straight,
        rescale=tuple(run.rescale[i] for i in order) if counted and plan.method.random else (),
        sources=tuple(tensor.inputs[i][0] for i in order),
        truncation_error=truncation_error,
    )


def labels(plan: Plan) -> list[str]:
    """The sources' names, or what the recipe calls them where two names are the same."""
    names = [source.name for source in plan.sources]
    return [
        source.reference if names.count(name) > 1 else name
        for source, name in zip(plan.sources, names, strict=True)
    ]


def _is_straight(gram: Sequence[Sequence[float]], settings: Mapping[str, Any]) -> bool:
    """Whether a slerp of two tensors took the straight line."""
    threshold = settings.get("dot_threshold")
    sine = SIN_THRESHOLD if threshold is None else sine_of(threshold)
    return is_linear(angle_between(gram), sine)


def _reordered(matrix: Sequence[Sequence[float]], order: Sequence[int]) -> tuple:
    return tuple(tuple(matrix[i][j] for j in order) for i in order)
