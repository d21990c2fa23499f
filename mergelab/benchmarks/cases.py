"""What is measured: the passes of the fused kernels, and random tensors for them to work on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mergelab.kernels import Backend, Merge
from mergelab.kernels.operands import InMemory, LowRank, Operand
from mergelab.methods import REGISTRY

WEIGHT_SIZE, CHANGE_SIZE = 0.02, 0.0004  # standard deviations of an entry
# Powers of 2, so that of two dense sources no product is rounded, and every mask is exact.
WEIGHTS, DENSITY = (1.0, 0.5), 0.5
LAMBDA, T, SEED = 0.75, 0.25, 0
KINDS = ("dense", "factors")


@dataclass(frozen=True)
class Kernel:
    """One line of the table: the passes of a method that are timed together.

    `passes`: "first" is what must be known of the whole tensor before (inner products,
    thresholds), "merge" the pass that does all the rest, "whole" both. `in_weights`: full weights
    are combined, base plus change.
    """

    name: str
    method: str
    passes: str = "merge"
    in_weights: bool = False


# DELLA is not among them: the kernels leave it to `TiledMerge`.
KERNELS = (
    Kernel("linear", "linear"),
    Kernel("task_arithmetic", "task_arithmetic"),
    Kernel("slerp, inner products", "slerp", "first"),
    Kernel("slerp, merge", "slerp"),
    Kernel("slerp of weights, inner products", "slerp", "first", in_weights=True),
    Kernel("slerp of weights, merge", "slerp", in_weights=True),
    Kernel("ties, thresholds", "ties", "first"),
    Kernel("ties, thresholds given", "ties"),
    Kernel("ties", "ties", "whole"),
    Kernel("dare_linear", "dare_linear"),
    Kernel("dare_ties", "dare_ties"),
)
METHODS = tuple(dict.fromkeys(kernel.method for kernel in KERNELS))


@dataclass(frozen=True)
class Tensors:
    """A base and the sources that change it, all of one shape and on one device."""

    base: InMemory
    changes: Sequence[Operand]

    @property
    def dtype(self) -> torch.dtype:
        """That of the base, and of what a merge writes."""
        return self.base.tensor.dtype


def random_tensors(
    kind: str,
    shape: tuple[int, int],
    sources: int,
    *,
    dtype: torch.dtype = torch.float32,
    rank: int = 16,
    device: str = "cpu",
    seed: int = SEED,
) -> Tensors:
    """A base `[rows, columns]` and sources that change it by 2% of its norm, normal and repeatable.

    `kind`: "dense" gives task vectors in `dtype`, as the base; "factors" fp32 factors of `rank`,
    as adapters are kept.

    >>> random_tensors("factors", (6, 4), 2, rank=3).changes[1].shape
    torch.Size([6, 4])
    """
    generator = torch.Generator(device).manual_seed(seed)

    def normal(*dims: int, spread: float) -> Tensor:
        return torch.randn(*dims, generator=generator, device=device).mul_(spread)

    def source() -> Operand:
        if kind == "dense":
            return InMemory(normal(*shape, spread=CHANGE_SIZE).to(dtype))
        in_a = 1 / math.sqrt(shape[1])
        in_b = CHANGE_SIZE / (math.sqrt(rank) * in_a)
        return LowRank(normal(shape[0], rank, spread=in_b), normal(rank, shape[1], spread=in_a))

    base = InMemory(normal(*shape, spread=WEIGHT_SIZE).to(dtype))
    return Tensors(base, [source() for _ in range(sources)])


def merge_of(kernel: Kernel, tensors: Tensors, backend: Backend) -> Merge:
    """The merge whose passes `kernel` names, with settings that make every step of it do something.

    >>> merge_of(KERNELS[0], random_tensors("dense", (2, 2), 3), Backend("torch")).per_source
    [{'weight': 1.0}, {'weight': 0.5}, {'weight': 1.0}]
    """
    method = REGISTRY[kernel.method]
    settings = {"task_arithmetic": {"lam": LAMBDA}, "slerp": {"t": T}}.get(kernel.method, {})
    sources = range(len(tensors.changes))
    own = {"density": DENSITY} if method.prepare else {}
    each = [{"weight": WEIGHTS[i % 2], **own} for i in sources]
    return Merge(
        method,
        tensors.changes,
        settings,
        [{} for _ in sources] if kernel.method == "slerp" else each,
        tensors.base,
        kernel.in_weights,
        seed=SEED,
        streams=sources if method.random else (),
        backend=backend,
    )


def bytes_moved(kernel: Kernel, tensors: Tensors) -> int:
    """Bytes that must move at least: each input read once, the output, if there is one, written.

    >>> tensors = random_tensors("factors", (6, 4), 2, dtype=torch.bfloat16, rank=3)
    >>> bytes_moved(Kernel("ties", "ties", "whole"), tensors)  # 2 * 3 * (6 + 4) * 4 + 2 * 24 * 2
    336
    """
    sources = sum(_size(change) for change in tensors.changes)
    base = _size(tensors.base)
    if kernel.passes == "first":
        return sources + (base if kernel.in_weights else 0)
    return sources + 2 * base  # the output has the base's shape and dtype


def _size(operand: Operand) -> int:
    tensors = (operand.b, operand.a) if isinstance(operand, LowRank) else (operand.tensor,)
    return sum(tensor.nbytes for tensor in tensors)
