"""The second half of every method on operands: the combination of what is left of the sources.

What comes back is an operand again, whose rows the method's own function makes when they are asked
for. Computed here are only the few numbers that belong to a whole tensor: inner products, and the
sign that most entries elect. A method that says nothing about how it can be parted is given whole
tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mergelab.kernels.backends import TORCH, Backend
from mergelab.kernels.operands import (
    InMemory,
    LowRank,
    Operand,
    Remembered,
    Rowwise,
    Zeros,
    accepted,
    dense,
    tiles,
)
from mergelab.methods.declaration import Method
from mergelab.methods.factors import Factors
from mergelab.methods.ties import elect_sign


def combine(
    method: Method,
    prepared: Sequence[Operand],
    settings: Mapping[str, Any],
    per_source: Sequence[Mapping[str, Any]],
    base: Operand | None = None,
    backend: Backend = TORCH,
    sums: GramSum | None = None,
) -> Operand:
    """The merged tensor as an operand: the change where the inputs are changes.

    `sums`: inner products of `prepared`; if the method needs them, they are completed. A
    `combine` with a parameter `base` is given the base's values too. Raises `ValueError` as the
    method does, and, perhaps only when rows are asked for, if it returns another shape.
    """
    options = options_of(settings, per_source)
    if method.factored:
        deltas = [_as_delta(operand) for operand in prepared]
        return _as_operand(method.combine(deltas, **accepted(method.combine, options)))
    if method.by_entry or is_by_row(method, settings):
        if settings.get("zero_sign") == "majority" and settings.get("majority") is None:
            options["majority"] = majority_of(sign_total(prepared, options))
        return _by_part(method, prepared, options, base, backend)
    if method.coefficients is not None:
        factors = factors_of(method, prepared, settings, per_source, sums)
        return combination(prepared, factors, backend)
    if base is not None:
        options["base"] = dense(base)
    wholes = [dense(operand) for operand in prepared]
    merged = method.combine(wholes, **accepted(method.combine, options))
    return InMemory(_of_shape(wholes[0].shape, merged, method))


def is_by_row(method: Method, settings: Mapping[str, Any]) -> bool:
    """Whether a method is asked to look at one row at a time instead of at the whole tensor."""
    return bool(method.row_flag and settings.get(method.row_flag))


def factors_of(
    method: Method,
    operands: Sequence[Operand],
    settings: Mapping[str, Any],
    per_source: Sequence[Mapping[str, Any]],
    sums: GramSum | None = None,
) -> Sequence[float]:
    """The factors with which a method that declares `coefficients` adds its inputs up."""
    sums = sums or GramSum(operands)
    sums.finish(operands)
    options = options_of(settings, per_source)
    return method.coefficients(sums.matrix, **accepted(method.coefficients, options))


def options_of(
    settings: Mapping[str, Any], per_source: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """A method's own names for its settings: what each source has its own of is one list."""
    options = dict(settings)
    for name in per_source[0] if per_source else ():
        values = [own[name] for own in per_source]
        options["weights" if name == "weight" else name] = values
    return options


def _as_delta(operand: Operand) -> Factors | Tensor:
    """A source as the methods on factors take it: factors where there are some."""
    if isinstance(operand, Remembered):
        operand = operand.operand
    if isinstance(operand, Zeros) and len(operand.shape) == 2:
        rows, columns = operand.shape
        b = torch.zeros(rows, 1, device=operand.device)
        return Factors(b, torch.zeros(1, columns, device=operand.device))
    return operand if isinstance(operand, Factors) else dense(operand)


def _as_operand(merged: Factors | Tensor) -> Operand:
    if isinstance(merged, Factors):
        return LowRank(merged.b.float(), merged.a.float())
    return InMemory(merged)


def _by_part(
    method: Method,
    prepared: Sequence[Operand],
    options: Mapping[str, Any],
    base: Operand | None,
    backend: Backend,
) -> Operand:
    settings, count = accepted(method.combine, options), len(prepared)
    function = backend.entrywise.get(method.combine, method.combine)
    bases = () if base is None else tuple(accepted(method.combine, {"base": base}).values())

    def rows(*parts: Any) -> Tensor:
        own = {**settings, "base": parts[count]} if bases else settings
        return _of_shape(parts[0].shape, function(list(parts[:count]), **own), method)

    return Rowwise(prepared[0].shape, (*prepared, *bases), rows)


def _of_shape(shape: torch.Size, merged: Tensor, method: Method) -> Tensor:
    if merged.shape != shape:
        raise ValueError(
            f"{method.name} makes a tensor of shape {tuple(merged.shape)} "
            f"of task vectors of shape {tuple(shape)}; it must keep their shape"
        )
    return merged


def combination(
    operands: Sequence[Operand], factors: Sequence[float], backend: Backend = TORCH
) -> Operand:
    """The sum of operands, each times its factor, added one after the other."""

    def rows(*parts: Any) -> Tensor:
        return backend.weighted_sum(parts[:-1], factors)

    return Rowwise(operands[0].shape, tuple(operands), rows)


def sign_total(prepared: Sequence[Operand], options: Mapping[str, Any]) -> float:
    """Of all entries, how many more elect plus than minus."""
    settings = accepted(elect_sign, {**options, "zero_sign": "zero"})
    total = 0.0
    for tile in tiles(prepared[0].shape):
        signs = elect_sign([operand.rows(*tile) for operand in prepared], **settings)
        total += float(signs.sum(dtype=torch.float64))
    return total


def majority_of(total: float) -> float:
    """The sign that most entries elect; 0 where it is a draw."""
    return float((total > 0) - (total < 0))


class GramSum:
    """Inner products of all pairs of operands in fp64; of low-rank ones from their factors.

    What does not follow from factors is summed as parts are added, in the order they come.
    `<B1 A1, B2 A2>` is the sum of `B1^T B2 * A1 A2^T`, entry by entry.
    """

    def __init__(self, operands: Sequence[Operand]) -> None:
        self._products = {}
        self._open = []
        for i in range(len(operands)):
            for j in range(i + 1):
                known = _inner(operands[i], operands[j])
                self._products[i, j] = known or 0.0
                if known is None:
                    self._open.append((i, j))

    @property
    def complete(self) -> bool:
        """Whether nothing is left to be added."""
        return not self._open

    def finish(self, operands: Sequence[Operand]) -> None:
        """Add all parts of the operands, in a pass over them, unless the sums are complete."""
        if not self.complete:
            for tile in tiles(operands[0].shape):
                self.add([operand.rows(*tile) for operand in operands])
            self.close()

    def close(self) -> None:
        """Note that all parts have been added."""
        self._open = []

    def add(self, parts: Sequence[Tensor]) -> None:
        """Add the same part of all operands."""
        if self._open:
            flat = [part.double().flatten() for part in parts]
            for i, j in self._open:
                self._products[i, j] += float(flat[i] @ flat[j])

    @property
    def matrix(self) -> tuple[tuple[float, ...], ...]:
        """The sums so far, N x N."""
        count = max((i for i, _ in self._products), default=-1) + 1
        return tuple(
            tuple(self._products[max(i, j), min(i, j)] for j in range(count)) for i in range(count)
        )


def gram(operands: Sequence[Operand]) -> tuple[tuple[float, ...], ...]:
    """Inner products of all pairs of operands in fp64, as an N x N tuple.

    >>> gram([InMemory(torch.tensor([1.0, 2.0])), InMemory(torch.tensor([3.0, -1.0]))])
    ((5.0, 1.0), (1.0, 10.0))
    """
    sums = GramSum(operands)
    sums.finish(operands)
    return sums.matrix


def _inner(one: Operand, other: Operand) -> float | None:
    """The inner product of two operands where it follows from factors; None where it does not."""
    one, other = (o.operand if isinstance(o, Remembered) else o for o in (one, other))
    if isinstance(one, Zeros) or isinstance(other, Zeros):
        return 0.0
    if not (isinstance(one, LowRank) and isinstance(other, LowRank)):
        return None
    left = one.b.double().T @ other.b.double()
    right = one.a.double() @ other.a.double().T
    product = float((left * right).sum())
    return max(product, 0.0) if one is other else product  # what cancels may round below 0
