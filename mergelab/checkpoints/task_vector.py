"""What fine-tuning changed in one tensor, kept in the smallest form that gives it exactly.

A LoRA adapter's change is `scaling * B @ A`; multiplying it out for a whole model would cost as
much memory as the model. So a task vector is an operand of `mergelab.kernels`: it knows its shape
and gives any run of its rows in fp32, from factors or from two files.
"""

from __future__ import annotations

from torch import Tensor

from mergelab.kernels.operands import LowRank, Operand, Rowwise

TaskVector = Operand


def low_rank(a: Tensor, b: Tensor, scaling: float, *, transposed: bool = False) -> LowRank:
    """`scaling * B @ A`, the change made by a LoRA adapter (Hu et al. 2021, arXiv 2106.09685).

    `a`: `[r, in]`, `b`: `[out, r]`; the change is `[out, in]`, or its transpose where the layer
    stores its weight the other way round (`fan_in_fan_out`, embeddings).

    >>> import torch
    >>> low_rank(a=torch.ones(1, 3), b=torch.ones(2, 1), scaling=2.0).rows(0, 2)
    tensor([[2., 2., 2.],
            [2., 2., 2.]])
    """
    scaled = b.float() * scaling
    if transposed:
        return LowRank(a.float().T.contiguous(), scaled.T.contiguous())
    return LowRank(scaled, a.float())


def difference(tuned: Operand, base: Operand) -> Rowwise:
    """Fine-tuned weight minus base weight, both read as rows are asked for, subtracted in fp32.

    >>> import torch
    >>> from mergelab.kernels.operands import InMemory
    >>> difference(InMemory(torch.tensor([3.0])), InMemory(torch.tensor([1.0]))).rows(0, 1)
    tensor([[2.]])
    """
    return Rowwise(base.shape, (tuned, base), _minus)


def _minus(tuned: Tensor, base: Tensor, _: int) -> Tensor:
    return tuned - base
