"""NaN and infinity never pass through a merge: they are refused, and whose they are is said.

Trim and election would lose track of them: a NaN is in no top share and has no sign.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mergelab.errors import UserError
from mergelab.kernels.operands import LowRank, Operand


def is_finite(tensor: Tensor) -> bool:
    """Whether all entries are finite; a finite sum says so in one pass, without a mask.

    >>> is_finite(torch.tensor([1.0, 2.0])), is_finite(torch.tensor([1.0, float("nan")]))
    (True, False)
    """
    values = tensor.float() if tensor.dtype.itemsize == 1 else tensor
    return math.isfinite(float(values.sum())) or bool(torch.isfinite(values).all())


@dataclass(frozen=True)
class Checked:
    """Another operand whose rows are looked at as they are read; `where` names it in complaints."""

    operand: Operand
    where: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.operand.shape

    def rows(self, start: int, stop: int) -> Tensor:
        return check(self.operand.rows(start, stop), self.where)


def check(values: Tensor, where: str) -> Tensor:
    """The same values. Raises `UserError` if one of them is NaN or infinite."""
    if not is_finite(values):
        raise UserError(f"{where} holds NaN or infinity; it cannot be merged")
    return values


def checked(operand: Operand, where: str) -> Operand:
    """An operand that refuses NaN and infinity.

    Factors are looked at once, and stay factors where their product cannot overflow.
    """
    if not isinstance(operand, LowRank):
        return Checked(operand, where)
    check(operand.b, where)
    check(operand.a, where)
    if operand.rank == 0:
        return operand
    largest = float(operand.b.abs().max()) * float(operand.a.abs().max()) * operand.rank
    return operand if largest < torch.finfo(torch.float32).max else Checked(operand, where)


def rounded(values: Tensor, dtype: torch.dtype, name: str) -> Tensor:
    """The one rounding of a merge, on the CPU. Raises `UserError` where a value does not fit."""
    result = values.to("cpu", dtype)
    if dtype.is_floating_point and not is_finite(result):
        narrow = dtype == torch.float16 and is_finite(values)
        advice = "use bfloat16 or float32" if narrow else "use smaller weights"
        raise UserError(f"{name}: values do not fit {str(dtype).removeprefix('torch.')}; {advice}")
    return result
