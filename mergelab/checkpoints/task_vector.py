"""What fine-tuning changed in one tensor, kept in the smallest form that gives it exactly.

A LoRA adapter's change is `scaling * B @ A`; multiplying it out for a whole model would cost as
much memory as the model. So a task vector stays in factors until one tensor of it is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class TaskVector(Protocol):
    """The change of one tensor: it knows its shape and gives itself in fp32."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def dense(self) -> Tensor:
        """The whole change in fp32, shape `self.shape`."""
        ...


@dataclass(frozen=True)
class LowRankTaskVector:
    """`scaling * B @ A`, the change made by a LoRA adapter (Hu et al. 2021, arXiv 2106.09685).

    `a`: `[r, in]`, `b`: `[out, r]`; the change is `[out, in]`, or its transpose where the layer
    stores its weight the other way round (`fan_in_fan_out`, embeddings).

    >>> import torch
    >>> LowRankTaskVector(a=torch.ones(1, 3), b=torch.ones(2, 1), scaling=2.0).dense()
    tensor([[2., 2., 2.],
            [2., 2., 2.]])
    """

    a: Tensor
    b: Tensor
    scaling: float
    transposed: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        shape = (self.b.shape[0], self.a.shape[1])
        return shape[::-1] if self.transposed else shape

    def dense(self) -> Tensor:
        product = (self.b.float() @ self.a.float()) * self.scaling
        return product.T.contiguous() if self.transposed else product


@dataclass(frozen=True)
class DenseTaskVector:
    """Fine-tuned weight minus base weight, both read when asked for, subtracted in fp32."""

    shape: tuple[int, ...]
    tuned: Callable[[], Tensor]
    base: Callable[[], Tensor]

    def dense(self) -> Tensor:
        return self.tuned().float() - self.base().float()
