"""The first half of every method on operands: what trim or drop leaves of each source.

What comes back are operands again, whose rows the methods' own functions make when they are asked
for. Computed here are only the few numbers that belong to a whole tensor: thresholds and norms. A
function that is not known here is given whole tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mergelab.kernels.backends import TORCH, Backend
from mergelab.kernels.operands import (
    InMemory,
    Operand,
    Remembered,
    Rowwise,
    accepted,
    dense,
    tiles,
)
from mergelab.kernels.selection import Selection, select
from mergelab.methods.dare import dare
from mergelab.methods.declaration import Method
from mergelab.methods.della import magprune
from mergelab.methods.pruning import band, band_ranks
from mergelab.methods.trimming import kept_count, norm_of, ratio_of, trim

Rescale = bool | str


def prepare(
    method: Method,
    inputs: Sequence[Operand],
    settings: Mapping[str, Any],
    per_source: Sequence[Mapping[str, Any]],
    seed: int = 0,
    streams: Sequence[int] = (),
    backend: Backend = TORCH,
) -> list[Operand]:
    """Each source after the method's first half; the sources themselves where it has none.

    A source's own settings may hold a `threshold`, if its magnitudes were compared with those of
    other tensors; otherwise it is found among the tensor's own.
    """
    if method.prepare is None:
        return list(inputs)
    random = [{"seed": seed, "stream": stream} for stream in streams] or [{}] * len(inputs)
    tiled = _TILED.get(method.prepare)
    prepared = []
    for operand, own, numbers in zip(inputs, per_source, random, strict=True):
        options = {**settings, **own, **numbers, "backend": backend}
        if tiled is None:
            whole = method.prepare(dense(operand), **accepted(method.prepare, options))
            prepared.append(InMemory(whole))
        else:
            prepared.append(Remembered(tiled(operand, **accepted(tiled, options))))
    return prepared


def _trimmed(
    operand: Operand,
    density: float,
    trim_count: str = "round",
    rescale: Rescale = False,
    threshold: float | None = None,
    backend: Backend = TORCH,
) -> Operand:
    if threshold is None:
        size = math.prod(operand.shape)
        kept = kept_count(size, density, trim_count)
        if kept == size:
            return operand
        threshold = kth_largest(operand, kept, backend=backend)[0] if kept else math.inf
    return _rescaled(operand, _kept(operand, threshold, math.inf, backend), density, rescale)


def _banded(
    operand: Operand,
    density: float,
    gamma: float,
    trim_count: str = "round",
    trim_scope: str = "tensor",
    rescale: Rescale = False,
    backend: Backend = TORCH,
) -> Operand:
    if trim_scope == "row":
        settings = {"trim_count": trim_count, "trim_scope": trim_scope}
        kept = _by_part(operand, lambda part, _: band(part, density, gamma, **settings))
        return _rescaled(operand, kept, density, rescale)
    above, count = band_ranks(math.prod(operand.shape), density, gamma, trim_count)
    low = high = math.inf
    if count:
        low, high = kth_largest(operand, above + count, above + 1, backend=backend)
    return _rescaled(operand, _kept(operand, low, high, backend), density, rescale)


def _dropped(
    operand: Operand,
    density: float,
    seed: int,
    stream: int,
    rescale: Rescale = True,
    trim_after: float = 1.0,
    trim_count: str = "round",
    threshold: float | None = None,
    backend: Backend = TORCH,
) -> Operand:
    kept = _survivors(operand, density, seed, stream, rescale, backend)
    if trim_after == 1.0:
        return kept
    return _trimmed(kept, trim_after, trim_count, threshold=threshold, backend=backend)


def _survivors(
    operand: Operand,
    density: float,
    seed: int,
    stream: int,
    rescale: Rescale = True,
    backend: Backend = TORCH,
) -> Operand:
    """What DARE leaves, before any trim."""

    def rows(part: Tensor, first: int) -> Tensor:
        return backend.drop(part, density, seed=seed, stream=stream, offset=first)

    return _rescaled(operand, _by_part(operand, rows), density, rescale)


def _magpruned(
    operand: Operand,
    density: float,
    epsilon: float,
    seed: int,
    stream: int,
    window: str = "each_side",
    rescale: Rescale = True,
) -> Operand:
    own = rescale is True  # each survivor by its own probability

    def rows(part: Tensor, first: int) -> Tensor:
        options = {"window": window, "seed": seed, "stream": stream, "offset": first}
        return magprune(part, density, epsilon, rescale=own, **options)

    if own:  # on average by 1 / density
        return Rowwise(operand.shape, (operand,), rows, 1.0 / density if density > 0 else 1.0)
    return _rescaled(operand, _by_part(operand, rows), density, rescale)


_TILED: dict[Callable[..., Tensor], Callable[..., Operand]] = {
    trim: _trimmed,
    band: _banded,
    dare: _dropped,
    magprune: _magpruned,
}


def before_trim(method: Method, operand: Operand, **options: Any) -> Operand:
    """What a method's trim chooses among: the source itself, or what a drop left of it."""
    if method.prepare is dare:
        return _survivors(operand, **accepted(_survivors, options))
    return operand


def _by_part(operand: Operand, function: Callable[[Tensor, int], Tensor]) -> Operand:
    return Rowwise(operand.shape, (operand,), function)


def _kept(operand: Operand, low: float, high: float, backend: Backend) -> Operand:
    return _by_part(operand, lambda part, _: backend.keep_between(part, low, high))


def _rescaled(before: Operand, after: Operand, density: float, rescale: Rescale) -> Operand:
    """`rescaled` on operands: the norms are summed over all parts first."""
    if rescale is False:
        return after
    if rescale is True:
        factor = 1.0 / density if density > 0 else 1.0
    else:
        factor = ratio_of(_norm(before, rescale), _norm(after, rescale))
    return Rowwise(after.shape, (after,), lambda part, _: part * factor, factor)


def factor_of(prepared: Operand) -> float:
    """The factor that what a source kept was multiplied by: 1 where it was left as it was.

    >>> ones = InMemory(torch.ones(4))
    >>> factor_of(Remembered(_rescaled(ones, ones, density=0.5, rescale=True)))
    2.0
    """
    while isinstance(prepared, Remembered | Rowwise):
        if isinstance(prepared, Remembered):
            prepared = prepared.operand
        elif prepared.factor is not None or len(prepared.operands) != 1:
            return 1.0 if prepared.factor is None else prepared.factor
        else:
            (prepared,) = prepared.operands
    return 1.0


def _norm(operand: Operand, norm: str) -> float:
    parts = [norm_of(operand.rows(*tile), norm) for tile in tiles(operand.shape)]
    return norm_of(torch.tensor(parts, dtype=torch.float64), norm)


def kth_largest(operand: Operand, *ranks: int, backend: Backend = TORCH) -> list[float]:
    """The magnitudes of an operand at several ranks, 1 being the largest.

    >>> kth_largest(InMemory(torch.tensor([[3.0, -1.0], [2.0, -5.0]])), 2, 3)
    [3.0, 2.0]
    """
    return select(
        [Selection(rank) for rank in ranks],
        lambda: ([operand.rows(*tile)] * len(ranks) for tile in tiles(operand.shape)),
        backend.digits,
    )
