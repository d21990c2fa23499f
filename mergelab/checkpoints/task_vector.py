"""What fine-tuning changed in one tensor, kept in the smallest form that gives it exactly.

A LoRA adapter's change is `scaling * B @ A`; multiplying it out for a whole model would cost as
much memory as the model. So a task vector is an operand of `mergelab.kernels`: it knows its shape
and gives any run of its rows in fp32, from factors or from two files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from mergelab.kernels.operands import LowRank, Operand, Rowwise, as_matrix

TaskVector = Operand

_RUN = 2**20  # entries held at once while the norms of columns are added up


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


def decomposed(
    base: Operand, product: LowRank, magnitude: Tensor, *, transposed: bool = False
) -> Rowwise:
    """The change made by a DoRA adapter, `m * (W + BA) / ||W + BA|| - W`, with `W` the base.

    `product` is `scaling * B @ A`; `magnitude` holds one number for each output of the layer,
    which is a row, or a column where the weight is stored the other way round (`transposed`).
    A change by columns reads the whole base once for their norms, when first asked for rows.
    Source: Liu et al. 2024 (arXiv 2402.09353), equation 5.

    >>> from mergelab.kernels.operands import InMemory
    >>> nothing = LowRank(torch.zeros(1, 1), torch.zeros(1, 2))
    >>> decomposed(InMemory(torch.tensor([[3.0, 4.0]])), nothing, torch.tensor([10.0])).rows(0, 1)
    tensor([[3., 4.]])
    """
    if transposed:
        ratios = _ColumnRatios(base, product, magnitude)
        return Rowwise(base.shape, (base, product), partial(_scale_columns, ratios))
    return Rowwise(base.shape, (base, product), partial(_scale_rows, magnitude.double()))


def _scale_rows(magnitude: Tensor, weight: Tensor, product: Tensor, first: int) -> Tensor:
    start = first // weight.shape[1]
    norms = (weight.double() + product.double()).norm(dim=1)
    ratio = _ratio(magnitude[start : start + len(weight)], norms)
    return _scaled(weight, product, ratio.unsqueeze(1))


def _scale_columns(ratios: _ColumnRatios, weight: Tensor, product: Tensor, _: int) -> Tensor:
    return _scaled(weight, product, ratios.values)


def _scaled(weight: Tensor, product: Tensor, ratio: Tensor) -> Tensor:
    """`ratio * (weight + product) - weight`, rounded only in its two terms."""
    return (ratio - 1).float() * weight + ratio.float() * product


def _ratio(magnitude: Tensor, norms: Tensor) -> Tensor:
    """Magnitude over norm; 1 where the norm is 0, for zeros stay zeros however they are scaled."""
    return torch.where(norms > 0, magnitude / norms, torch.ones_like(norms))


@dataclass(frozen=True)
class _ColumnRatios:
    """What DoRA multiplies each column by; the norms take one pass over the base."""

    base: Operand
    product: LowRank
    magnitude: Tensor

    @cached_property
    def values(self) -> Tensor:
        rows, columns = as_matrix(self.base.shape)
        squares = torch.zeros(columns, dtype=torch.float64)
        step = max(1, _RUN // columns)
        for start in range(0, rows, step):
            stop = min(rows, start + step)
            tuned = self.base.rows(start, stop).double() + self.product.rows(start, stop).double()
            squares += tuned.square().sum(0)
        return _ratio(self.magnitude.double(), squares.sqrt())


@dataclass(frozen=True)
class ReplacedRows:
    """The change that puts `values` `[k, columns]` in place of the base's rows `indices`.

    >>> from mergelab.kernels.operands import InMemory
    >>> ReplacedRows(InMemory(torch.ones(3, 2)), (1,), torch.full((1, 2), 5.0)).rows(0, 3)
    tensor([[0., 0.],
            [4., 4.],
            [0., 0.]])
    """

    base: Operand
    indices: Sequence[int]
    values: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return self.base.shape

    def rows(self, start: int, stop: int) -> Tensor:
        change = torch.zeros(stop - start, as_matrix(self.shape)[1])
        for value, index in zip(self.values, self.indices, strict=True):
            if start <= index < stop:
                change[index - start] = value.float() - self.base.rows(index, index + 1)[0]
        return change


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
