"""One tensor of a merge once more, with all that lies between base and result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mergelab.engine.tensor_merges import Setting, factorwise, one_thread_each, streams_of
from mergelab.errors import UserError
from mergelab.kernels.combining import combine, factors_of
from mergelab.kernels.operands import Operand, Rowwise, Zeros, as_matrix, tiles
from mergelab.kernels.preparing import prepare
from mergelab.recipes import Plan, TensorPlan
from mergelab.recipes.inputs import base_operand, change_operands


@dataclass(frozen=True)
class Rerun:
    """The stages of one tensor, in fp32 and in the order of `tensor.inputs`.

    `changes`: what each source changes in the base (its own weights where there is no base), None
    where nothing. `inputs`: what the method is given; `prepared`: what its first half leaves;
    `combined`: what it returns; `value`: the tensor before rounding. `options` are the numbers in
    effect for each source, `weights` theirs, `factors` those of a method that only adds its inputs
    up. `apart`: `combined` is the product of factors that were merged apart.
    """

    plan: Plan
    tensor: TensorPlan
    base: Tensor | None
    changes: list[Tensor | None]
    inputs: list[Tensor]
    prepared: list[Tensor]
    combined: Tensor
    value: Tensor
    options: list[dict[str, Any]]
    weights: list[float]
    factors: Sequence[float] | None
    apart: bool = False

    @property
    def in_weights(self) -> bool:
        """Whether full weights were combined, and not changes of them."""
        return self.base is None or self.plan.space == "weights"

    @property
    def merged(self) -> Tensor | None:
        """The change that the merge makes to the base; None where there is no base."""
        if self.base is None:
            return None
        return self.combined - self.base if self.in_weights else self.combined


def rerun(plan: Plan, tensor: TensorPlan, seed: int) -> Rerun | None:
    """The stages of one tensor; None where it was copied.

    `plan` must have its global numbers (`with_global_numbers`). Raises `UserError` as the merge
    does.
    """
    changes = change_operands(plan, tensor)
    copied = plan.base is not None and all(change is None for change in changes)
    if copied or not tensor.dtype.is_floating_point:
        return None
    try:
        with one_thread_each():
            return _run(plan, tensor, seed, changes)
    except ValueError as error:
        raise UserError(f"{tensor.name}: {error}") from None


def _run(plan: Plan, tensor: TensorPlan, seed: int, changes: Sequence[Operand | None]) -> Rerun:
    method, settings, per_source = plan.method, tensor.settings, tensor.per_source
    base = base_operand(plan, tensor)
    operands = [Zeros(tensor.shape) if change is None else change for change in changes]
    if base is not None and plan.space == "weights":
        operands = [Rowwise(c.shape, (base, c), lambda b, c, _: b + c) for c in operands]
    streams = streams_of(plan, tensor) if method.random else [0] * len(operands)
    merged = factorwise(plan, tensor, Setting(seed)) if plan.space == "factors" else None
    prepared = operands
    if merged is None:
        prepared = prepare(method, operands, settings, per_source, seed, streams)
    combined = whole(merged or combine(method, prepared, settings, per_source, base))
    origin = None if base is None else whole(base)
    row_wise = bool(method.row_flag and settings.get(method.row_flag))
    adds_up = method.coefficients is not None and not row_wise and merged is None
    return Rerun(
        plan=plan,
        tensor=tensor,
        base=origin,
        changes=[None if change is None else whole(change) for change in changes],
        inputs=[whole(operand) for operand in operands],
        prepared=[whole(operand) for operand in prepared],
        combined=combined,
        value=combined if origin is None or plan.space == "weights" else origin + combined,
        options=[
            {**settings, **own, "seed": seed, "stream": stream}
            for own, stream in zip(per_source, streams, strict=True)
        ],
        weights=[own.get("weight", 1.0) for own in per_source],
        factors=factors_of(method, prepared, settings, per_source) if adds_up else None,
        apart=merged is not None,
    )


def whole(operand: Operand) -> Tensor:
    """An operand's values, in the runs of rows in which a merge takes them.

    A product of factors may differ in the last bit where it is taken in other runs.
    """
    parts = [operand.rows(*tile) for tile in tiles(operand.shape)]
    if not parts:
        return torch.zeros(operand.shape)
    return torch.cat([part.reshape(-1, as_matrix(operand.shape)[1]) for part in parts]).reshape(
        operand.shape
    )
