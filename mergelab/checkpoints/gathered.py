"""Rows picked from other tensors, one output row at a time: embeddings in another vocabulary."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mergelab.kernels.operands import Operand, as_matrix

_BLOCK = 4096


@dataclass(frozen=True)
class Gathered:
    """An operand whose every row is the mean of rows picked from `parts`.

    `index` is `[parts, rows]`, int64: which row of each part goes into a row of this operand, -1
    for none. A row that picks nothing is zero. Only the rows asked for are read.

    >>> from mergelab.kernels.operands import InMemory
    >>> part = InMemory(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    >>> Gathered((part,), torch.tensor([[1, -1, 0]])).rows(0, 3)
    tensor([[3., 4.],
            [0., 0.],
            [1., 2.]])
    """

    parts: tuple[Operand, ...]
    index: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.index.shape[1], *self.parts[0].shape[1:])

    def rows(self, start: int, stop: int) -> Tensor:
        picked = self.index[:, start:stop]
        total = torch.zeros(stop - start, as_matrix(self.shape)[1])
        for part, wanted in zip(self.parts, picked, strict=True):
            where = (wanted >= 0).nonzero().flatten()
            if where.numel():
                total[where] += _read(part, wanted[where])
        return total / (picked >= 0).sum(0).clamp(min=1).unsqueeze(1)


def _read(part: Operand, wanted: Tensor) -> Tensor:
    """The rows `wanted` of an operand, in any order, those that lie side by side read at once."""
    order = wanted.argsort()
    ascending = wanted[order]
    rows = torch.empty(len(wanted), as_matrix(part.shape)[1])
    breaks = ((ascending[1:] - ascending[:-1]) > 1).nonzero().flatten() + 1
    ends = [0, *breaks.tolist(), len(wanted)]
    for begin, end in itertools.pairwise(ends):
        first = int(ascending[begin])
        run = part.rows(first, int(ascending[end - 1]) + 1)
        rows[order[begin:end]] = run[ascending[begin:end] - first]
    return rows


@dataclass
class MeanRow:
    """The mean of an operand's rows as an operand of one row, computed when it is asked for."""

    operand: Operand
    _mean: Tensor | None = field(default=None, init=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, *self.operand.shape[1:])

    def rows(self, start: int, stop: int) -> Tensor:
        if self._mean is None:
            count, columns = as_matrix(self.operand.shape)
            total = torch.zeros(columns, dtype=torch.float64)
            for first in range(0, count, _BLOCK):
                block = self.operand.rows(first, min(first + _BLOCK, count))
                total += block.double().sum(0)
            self._mean = (total / max(count, 1)).float().unsqueeze(0)
        return self._mean[start:stop]
