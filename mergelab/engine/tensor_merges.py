"""From the plan of one tensor to its merge: operands on the device, checked, and random streams."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mergelab.checkpoints.hub import short_name
from mergelab.checkpoints.task_vector import low_rank
from mergelab.errors import UserError
from mergelab.finite import checked
from mergelab.kernels import Backend, Merge
from mergelab.kernels.backends import TORCH
from mergelab.kernels.operands import Operand, Zeros, accepted, dense, on_device
from mergelab.methods import merge_factors
from mergelab.recipes import Plan, TensorPlan
from mergelab.recipes.inputs import base_operand, change_operands

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Setting:
    """How a plan is carried out: the seed, where, and by which inner loops."""

    seed: int = 0
    device: torch.device = CPU
    backend: Backend = TORCH


def planned_merge(plan: Plan, tensor: TensorPlan, setting: Setting) -> Merge | None:
    """The merge of one tensor, ready to run; None for a tensor that is copied as it is stored.

    Raises `UserError` where a source's change cannot be read.
    """
    if not tensor.dtype.is_floating_point:  # positions, masks: nothing to average
        return None
    changes = change_operands(plan, tensor)
    if plan.base is not None and all(change is None for change in changes):
        return None
    base = base_operand(plan, tensor)

    def ready(operand: Operand | None, source: str) -> Operand:
        if operand is None:
            return Zeros(tensor.shape, setting.device)
        return on_device(checked(operand, f"{source}: '{tensor.name}'"), setting.device)

    return Merge(
        plan.method,
        [
            ready(change, plan.sources[number].name)
            for change, (number, _) in zip(changes, tensor.inputs, strict=True)
        ],
        tensor.settings,
        tensor.per_source,
        base=None if base is None else ready(base, short_name(plan.base.path)),
        in_weights=base is not None and plan.space == "weights",
        merged=factorwise(plan, tensor, setting) if plan.space == "factors" else None,
        seed=setting.seed,
        streams=streams_of(plan, tensor) if plan.method.random else (),
        backend=setting.backend,
    )


def factorwise(plan: Plan, tensor: TensorPlan, setting: Setting) -> Operand | None:
    """The product of factors that were merged apart; None where a change is more than factors.

    As in PEFT, an adapter that leaves this tensor alone takes no part.
    """
    streams = streams_of(plan, tensor) if plan.method.random else [0] * len(tensor.inputs)
    taking_part = []
    for (number, name), own, stream in zip(tensor.inputs, tensor.per_source, streams, strict=True):
        adapter = plan.sources[number].adapter
        factors = adapter.factors(name)
        if factors is not None:
            taking_part.append((*factors, own, stream))
        elif name in adapter.names:
            return None
    function = plan.method.function
    a_list, b_list, scalings, own, streams = zip(*taking_part, strict=True)
    ranks = sorted({a.shape[0] for a in a_list})
    if len(ranks) > 1:
        raise UserError(
            f"{tensor.name}: factors of ranks {' and '.join(map(str, ranks))} cannot be merged "
            "apart; write 'space: task_vectors'"
        )
    settings = {**tensor.settings, "seed": setting.seed}
    if "density" in own[0]:
        settings["density"] = [each["density"] for each in own]
    a, b = merge_factors(
        function,
        a_list,
        b_list,
        [each.get("weight", 1.0) for each in own],
        scalings,
        settings.pop("lam", 1.0),
        streams=streams if plan.method.random else None,
        **accepted(function, settings),
    )
    number, name = tensor.inputs[0]
    transposed = plan.sources[number].adapter.is_transposed(name, plan.base, tensor.base)
    return on_device(low_rank(a, b, 1.0, transposed=transposed), setting.device)


def streams_of(plan: Plan, tensor: TensorPlan) -> list[int]:
    """The random stream of each input of a tensor: from the source's content and the name only.

    Sources of one content get different streams, numbered in the canonical order of the inputs.
    """
    seen: Counter[str] = Counter()
    streams = []
    for number, _ in tensor.inputs:
        fingerprint = plan.sources[number].fingerprint
        text = f"{fingerprint}#{seen[fingerprint]}|{tensor.name}"
        seen[fingerprint] += 1
        streams.append(
            int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
        )
    return streams


def task_vectors(plan: Plan) -> Iterator[tuple[TensorPlan, Tensor, list[Tensor]]]:
    """Every tensor that a source changes: its plan, the base's values and the changes, in fp32.

    The changes are in the order of the plan's sources; a source that leaves a tensor alone gives
    zeros.
    """
    for tensor in plan.tensors:
        ordered = replace(tensor, inputs=tuple(sorted(tensor.inputs)))
        changes = change_operands(plan, ordered)
        if not tensor.dtype.is_floating_point or all(change is None for change in changes):
            continue
        origin = dense(base_operand(plan, tensor))
        yield tensor, origin, [torch.zeros_like(origin) if c is None else dense(c) for c in changes]


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let each worker compute in one thread: workers share the processors already.

    It also fixes the order in which a product or a sum of one part is added up.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def in_words(tensor: TensorPlan, error: ValueError) -> UserError:
    """A method's complaint about its numbers, with the tensor that it is about."""
    return UserError(f"{tensor.name}: {error}")
