"""One tensor of a merge once more, whole, with all that lies between base and result."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mergelab.engine import streams_of
from mergelab.errors import UserError
from mergelab.kernels.operands import dense
from mergelab.recipes import Plan, TensorPlan
from mergelab.recipes.inputs import base_operand, change_operands


@dataclass(frozen=True)
class Rerun:
    """The stages of one tensor, in fp32 and in the order of `tensor.inputs`.

    `changes`: what each source changes in the base (its own weights where there is no base), None
    where nothing. `inputs`: what the method is given; `prepared`: what its first half leaves;
    `combined`: what it returns; `value`: the tensor before rounding. `options` are the numbers in
    effect, of the whole merge and for each source.
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
    settings: dict[str, Any]

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
    """The stages of one tensor; None where it was copied. Raises `UserError` as the merge does."""
    base = base_operand(plan, tensor)
    operands = change_operands(plan, tensor)
    if not tensor.dtype.is_floating_point or all(operand is None for operand in operands):
        return None
    origin = None if base is None else dense(base)
    changes = [None if operand is None else dense(operand) for operand in operands]
    inputs = [torch.zeros_like(origin) if change is None else change for change in changes]
    if origin is not None and plan.space == "weights":
        inputs = [origin + change for change in inputs]
    method = plan.method
    streams = streams_of(plan, tensor) if method.random else [0] * len(inputs)
    options = [
        {**tensor.settings, **own, "seed": seed, "stream": stream}
        for own, stream in zip(tensor.per_source, streams, strict=True)
    ]
    settings = {**tensor.settings, "base": origin}
    if any("weight" in own for own in tensor.per_source):
        settings["weights"] = [own["weight"] for own in tensor.per_source]
    try:
        prepared = inputs
        if method.prepare is not None:
            prepared = [
                method.prepare(given, **accepted(method.prepare, own))
                for given, own in zip(inputs, options, strict=True)
            ]
        combined = method.combine(prepared, **accepted(method.combine, settings))
    except ValueError as error:
        raise UserError(f"{tensor.name}: {error}") from None
    value = combined if origin is None or plan.space == "weights" else origin + combined
    return Rerun(
        plan, tensor, origin, changes, inputs, prepared, combined, value, options, settings
    )


def accepted(function: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a function has a parameter for."""
    names = inspect.signature(function).parameters
    return {name: value for name, value in values.items() if name in names}
