"""What a merge reads: tensors that give any run of their rows in fp32, and are never whole twice.

Every tensor is seen as a matrix: its last dimension is the row, a vector is one row. An operand
knows its shape and gives rows `start` to `stop`; whether they come from memory, from a file or
from a product of LoRA factors is its own business.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from mergelab.methods.factors import Factors

TILE_ENTRIES = 1 << 18  # 1 MiB of fp32: a few of these stay in a core's cache


class Operand(Protocol):
    """A tensor of `shape` that gives rows `[start, stop)` of itself as fp32 `[rows, columns]`."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def rows(self, start: int, stop: int) -> Tensor: ...


def as_matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """Number of rows and length of a row of a tensor seen as a matrix.

    >>> as_matrix((4, 3)), as_matrix((5,)), as_matrix(()), as_matrix((2, 3, 7))
    ((4, 3), (1, 5), (1, 1), (6, 7))
    """
    return (math.prod(shape[:-1]), shape[-1]) if shape else (1, 1)


def tiles(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """The runs of rows in which a tensor of this shape is merged; they depend on nothing else.

    >>> list(tiles((5, 2**17)))
    [(0, 2), (2, 4), (4, 5)]
    """
    rows, columns = as_matrix(shape)
    step = max(1, TILE_ENTRIES // max(columns, 1))
    for start in range(0, rows if columns else 0, step):
        yield start, min(start + step, rows)


def dense(operand: Operand) -> Tensor:
    """The whole operand in fp32, in its own shape.

    >>> dense(InMemory(torch.ones(2, 2, dtype=torch.bfloat16))).dtype
    torch.float32
    """
    return operand.rows(0, as_matrix(operand.shape)[0]).reshape(operand.shape)


@dataclass(frozen=True)
class InMemory:
    """A tensor that is there already, of any dtype.

    >>> InMemory(torch.tensor([[1.0, 2.0], [3.0, 4.0]])).rows(1, 2)
    tensor([[3., 4.]])
    """

    tensor: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    def rows(self, start: int, stop: int) -> Tensor:
        return self.tensor.reshape(as_matrix(self.shape))[start:stop].float()


class LowRank(Factors):
    """`b @ a`, never multiplied out whole: `b` is `[rows, r]`, `a` `[r, columns]`, both fp32.

    >>> LowRank(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0, 4.0]])).rows(1, 2)
    tensor([[6., 8.]])
    """

    def rows(self, start: int, stop: int) -> Tensor:
        return self.b[start:stop] @ self.a


@dataclass(frozen=True)
class Zeros:
    """A source that changes nothing in this tensor."""

    shape: tuple[int, ...]
    device: torch.device | str = "cpu"

    def rows(self, start: int, stop: int) -> Tensor:
        return torch.zeros(stop - start, as_matrix(self.shape)[1], device=self.device)


@dataclass(frozen=True)
class Rowwise:
    """What a function makes of the same rows of other operands.

    `function` takes one tensor for each operand and the number of the first entry in them.
    `factor`: what it multiplies entries by, for the report.

    >>> whole = InMemory(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    >>> Rowwise(whole.shape, (whole, whole), lambda a, b, first: a + b + first).rows(1, 2)
    tensor([[ 8., 10.]])
    """

    shape: tuple[int, ...]
    operands: tuple[Operand, ...]
    function: Callable[..., Tensor]
    factor: float | None = None

    def rows(self, start: int, stop: int) -> Tensor:
        parts = [operand.rows(start, stop) for operand in self.operands]
        return self.function(*parts, start * as_matrix(self.shape)[1])


@dataclass
class Remembered:
    """Another operand whose last rows are kept, for the several who ask for the same ones."""

    operand: Operand
    _last: tuple[int, int, Tensor] | None = field(default=None, init=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.operand.shape

    def rows(self, start: int, stop: int) -> Tensor:
        if self._last is None or self._last[:2] != (start, stop):
            self._last = None  # let go of the old rows before the new ones are made
            self._last = (start, stop, self.operand.rows(start, stop))
        return self._last[2]


def on_device(operand: Operand, device: torch.device) -> Operand:
    """The same operand with its rows on `device`; factors are moved once.

    >>> factors = LowRank(torch.ones(2, 1), torch.ones(1, 2))
    >>> on_device(factors, torch.device("cpu")) is factors
    True
    """
    if device.type == "cpu":
        return operand
    if isinstance(operand, LowRank):
        return LowRank(operand.b.to(device), operand.a.to(device))
    return Rowwise(operand.shape, (operand,), lambda values, _: values.to(device))


def accepted(function: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some named values that a function has a parameter for.

    >>> accepted(as_matrix, {"shape": (2, 3), "density": 0.5})
    {'shape': (2, 3)}
    """
    names = inspect.signature(function).parameters
    return {name: value for name, value in values.items() if name in names}
