"""What a planned tensor is merged from: its base and what each source changes, as operands."""

from __future__ import annotations

import torch

from mergelab.checkpoints import Checkpoint
from mergelab.checkpoints.gathered import Gathered, MeanRow
from mergelab.checkpoints.task_vector import difference
from mergelab.kernels.operands import Operand, Rowwise, Zeros
from mergelab.recipes.layout import TensorPlan, stored_name
from mergelab.recipes.plan import Plan


def base_operand(plan: Plan, tensor: TensorPlan) -> Operand | None:
    """The base's tensor, in the output's vocabulary; None where the merge has no base."""
    if plan.base is None:
        return None
    if tensor.by_token:
        return _by_token(plan, tensor, None)
    return plan.base.operand(tensor.base)


def change_operands(plan: Plan, tensor: TensorPlan) -> list[Operand | None]:
    """What each source changes in the base, in the order of `tensor.inputs`.

    None where a source changes nothing and the base's tensor can be copied as it is stored.
    Without a base, the sources' own weights.
    """
    return [_change(plan, tensor, number, name) for number, name in tensor.inputs]


def stored_tensor(plan: Plan, tensor: TensorPlan) -> tuple[Checkpoint, str]:
    """The model and the name of a tensor that is copied as it is stored: the base's, or the first
    source's where there is no base."""
    if plan.base is not None:
        return plan.base, tensor.base
    number, name = tensor.inputs[0]
    source = plan.sources[number]
    return source.model or source.base, name


def _change(plan: Plan, tensor: TensorPlan, number: int, name: str) -> Operand | None:
    source, base = plan.sources[number], plan.base
    if base is None:
        whole = _by_token(plan, tensor, number) if tensor.by_token else None
        return whole or _weights(plan, number, name)
    if tensor.by_token:
        return _change_by_token(plan, tensor, number, name)
    if source.model is base:
        return None
    if source.adapter is not None:
        return source.adapter.task_vector(name, base)
    return difference(source.model.operand(name), base.operand(tensor.base))


def _change_by_token(plan: Plan, tensor: TensorPlan, number: int, name: str) -> Operand:
    """What a source changes in the output's vocabulary: nothing where both take the same rows."""
    source, tokens = plan.sources[number], plan.vocabulary
    if source.adapter is None:
        return difference(_by_token(plan, tensor, number), _by_token(plan, tensor, None))
    delta = source.adapter.task_vector(name, plan.base)
    if delta is None:
        return Zeros(tensor.shape)
    own = tokens.own[tokens.models.index(number)].unsqueeze(0)
    return _padded(Gathered((delta,), own), tokens.padding)


def _weights(plan: Plan, number: int | None, name: str) -> Operand:
    """A source's own weights under the name `name`, an adapter's added to what it sits on."""
    if number is None:
        return plan.base.operand(name)
    source = plan.sources[number]
    if source.model is not None:
        return source.model.operand(name)
    base = plan.base or source.base
    whole, delta = base.operand(name), source.adapter.task_vector(name, base)
    return whole if delta is None else Rowwise(whole.shape, (whole, delta), _plus)


def _plus(base: torch.Tensor, change: torch.Tensor, _: int) -> torch.Tensor:
    return base + change


def _by_token(plan: Plan, tensor: TensorPlan, model: int | None) -> Operand:
    """One model's embeddings or head in the output's vocabulary."""
    parts = []
    for number in plan.vocabulary.models:
        source = plan.sources[number] if number is not None else None
        holder = plan.base if source is None else source.model or plan.base or source.base
        parts.append(_weights(plan, number, stored_name(holder, tensor.name)))
    return _padded(Gathered(tuple(parts), plan.vocabulary.index(model)), plan.vocabulary.padding)


def _padded(operand: Gathered, padding: int) -> Operand:
    """`operand` with rows added at its end, each the mean of its own."""
    if not padding:
        return operand
    rows = operand.shape[0]
    index = torch.full((2, rows + padding), -1, dtype=torch.int64)
    index[0, :rows] = torch.arange(rows)
    index[1, rows:] = 0
    return Gathered((operand, MeanRow(operand)), index)
