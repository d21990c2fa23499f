"""What a planned tensor is merged from, as operands: base, and what each source changes."""

from __future__ import annotations

from mergelab.checkpoints.task_vector import difference
from mergelab.kernels.operands import Operand
from mergelab.recipes.plan import Plan, TensorPlan


def base_operand(plan: Plan, tensor: TensorPlan) -> Operand | None:
    """The base's tensor; None where the merge has no base."""
    return None if plan.base is None else plan.base.operand(tensor.base)


def change_operands(plan: Plan, tensor: TensorPlan) -> list[Operand | None]:
    """What each source changes in the base, in the order of `tensor.inputs`.

    None where a source changes nothing. Without a base, the sources' own weights.
    """
    return [_change(plan, tensor, number, name) for number, name in tensor.inputs]


def _change(plan: Plan, tensor: TensorPlan, number: int, name: str) -> Operand | None:
    source, base = plan.sources[number], plan.base
    if source.adapter is not None:
        return source.adapter.task_vector(name, base)
    if base is None:
        return source.model.operand(name)
    if source.model is base:
        return None
    return difference(source.model.operand(name), base.operand(tensor.base))
