"""Beyond SLERP on the sphere: weights instead of t, rows instead of tensors, more than two models.

nuslerp is SLERP with its fraction given by two weights; karcher is the mean of N points on the
sphere, found by walking; multislerp reaches almost the same point in one step. All three are
mergekit's, and all three scale a direction by the weighted mean of the norms or act on the vectors
as they are.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mergelab.methods.declaration import (
    WEIGHT,
    Method,
    Parameter,
    as_deltas,
    common_dtype,
    per_source,
)
from mergelab.methods.linear import weighted_sum
from mergelab.methods.slerp import SIN_THRESHOLD, SPACE, slerp

TINY = 1e-12


def nuslerp(
    tensors: Sequence[Tensor] | Tensor,
    weights: Sequence[float] | None = None,
    *,
    row_wise: bool = False,
) -> Tensor:
    """SLERP between two tensors at `t = w_2 / (w_1 + w_2)`.

    `tensors`: exactly two of one shape, task vectors or full weights. `row_wise` takes each row
    (last dimension) as a vector of its own instead of the whole tensor. Weights that sum to 0 give
    `t = 0.5`. The result has the tensors' shape and dtype.

    Raises `ValueError` if there are not two tensors, or if `t` lies outside [0, 1].

    Source: mergekit's `nuslerp` (its default `nuslerp_flatten: true`); Shoemake 1985.

    >>> nuslerp([torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])], weights=[1.0, 1.0])
    tensor([0.7071, 0.7071])
    """
    if len(tensors) != 2:
        raise ValueError(f"nuslerp merges exactly two models, got {len(tensors)}")
    first, second = per_source(weights, 2, 1.0)
    t = 0.5 if first + second == 0 else second / (first + second)
    a, b = tensors
    if not row_wise or a.dim() < 2:
        return slerp(a, b, t)
    if not 0.0 <= t <= 1.0:
        raise ValueError(f"t must lie between 0 and 1, got {t}")
    x, y = (v.reshape(-1, v.shape[-1]) for v in as_deltas([a, b]))
    wide = [x.double(), y.double()]
    norms = wide[0].norm(dim=1) * wide[1].norm(dim=1)
    cosine = ((wide[0] * wide[1]).sum(1) / norms.clamp(min=TINY)).clamp(-1, 1)
    theta = torch.where(norms > 0, cosine.acos(), torch.zeros_like(cosine))
    sine = theta.sin()
    straight = sine < SIN_THRESHOLD
    divisor = torch.where(straight, torch.ones_like(sine), sine)
    at_x = torch.where(straight, 1 - t, ((1 - t) * theta).sin() / divisor).float().unsqueeze(1)
    at_y = torch.where(straight, t, (t * theta).sin() / divisor).float().unsqueeze(1)
    return (at_x * x + at_y * y).reshape(a.shape).to(common_dtype([a, b]))


def multislerp(
    tensors: Sequence[Tensor] | Tensor, weights: Sequence[float] | None = None
) -> Tensor:
    """Weighted mean of N directions in the tangent plane at their mean, times the mean norm.

    `tensors`: N of one shape, task vectors or full weights. `weights`: N numbers, taken as shares
    of their sum. The result has the tensors' shape and dtype. With one model it is that model.
    Where two directions cancel out exactly the result is their weighted sum.

    Raises `ValueError` if the weights sum to 0, or if three or more directions cancel out.

    Source: mergekit's `multislerp`.

    >>> multislerp([torch.tensor([1.0, 0.0]), torch.tensor([0.0, 3.0])])
    tensor([1.4142, 1.4142])
    """
    vectors = as_deltas(tensors)
    shares = _shares(weights, len(vectors))
    dtype = common_dtype(tensors)
    if len(vectors) == 1:
        return vectors[0].to(dtype).clone()
    norms = [_norm(v) for v in vectors]
    units = [v / max(n, TINY) for v, n in zip(vectors, norms, strict=True)]
    mean = weighted_sum(units, shares)
    length = _norm(mean)
    if length < 1e-8:
        if len(vectors) == 2:
            return weighted_sum(vectors, shares).to(dtype)
        raise ValueError("the directions cancel out, so they have no mean; use other weights")
    mean = mean / length
    tangent = weighted_sum([u - _dot(u, mean) * mean for u in units], shares)
    moved = _exponential(mean, tangent)
    return (moved * sum(s * n for s, n in zip(shares, norms, strict=True))).to(dtype)


def karcher(
    tensors: Sequence[Tensor] | Tensor,
    *,
    max_iter: int = 10,
    tol: float = 1e-5,
) -> Tensor:
    """The point of the sphere with the least sum of squared arcs to N directions, times mean norm.

    `tensors`: N of one shape, task vectors or full weights; all count alike. Walks from the
    normalised mean, at most `max_iter` steps, until a step is shorter than `tol` radians. A zero
    tensor has no direction and counts for the norm only. The result has the tensors' shape and
    dtype.

    Raises `ValueError` if the shapes differ.

    Source: Karcher 1977; mergekit's `karcher`.

    >>> karcher([torch.tensor([1.0, 0.0]), torch.tensor([0.0, 3.0])])
    tensor([1.4142, 1.4142])
    """
    vectors = as_deltas(tensors)
    norms = [_norm(v) for v in vectors]
    units = [v / n for v, n in zip(vectors, norms, strict=True) if n > 0]
    if not units:
        return torch.zeros_like(vectors[0]).to(common_dtype(tensors))
    shares = [1 / len(units)] * len(units)
    mean = weighted_sum(units, shares)
    length = _norm(mean)
    mean = mean / length if length > tol else units[0]
    for _ in range(int(max_iter)):
        tangent = weighted_sum([_logarithm(mean, unit) for unit in units], shares)
        if _norm(tangent) < tol:
            break
        mean = _exponential(mean, tangent)
        mean = mean / _norm(mean)
    return (mean * (sum(norms) / len(norms))).to(common_dtype(tensors))


def _dot(a: Tensor, b: Tensor) -> float:
    return float(a.double().flatten() @ b.double().flatten())


def _norm(a: Tensor) -> float:
    return math.sqrt(_dot(a, a))


def _shares(weights: Sequence[float] | None, count: int) -> list[float]:
    values = per_source(weights, count, 1.0)
    total = sum(values)
    if total == 0:
        raise ValueError("the weights sum to 0; use other weights")
    return [value / total for value in values]


def _exponential(point: Tensor, tangent: Tensor) -> Tensor:
    """Walk from a point of the unit sphere along a tangent vector, as far as it is long."""
    length = _norm(tangent)
    if length == 0:
        return point
    return math.cos(length) * point + math.sin(length) / length * tangent


def _logarithm(point: Tensor, other: Tensor) -> Tensor:
    """The tangent vector at `point` that leads to `other`, as long as the arc between them."""
    cosine = max(-1.0, min(1.0, _dot(point, other)))
    theta = math.acos(cosine)
    if theta < 1e-7 or math.sin(theta) < 1e-7:
        return torch.zeros_like(point)
    return theta / math.sin(theta) * (other - cosine * point)


METHODS = (
    Method(
        name="nuslerp",
        function=nuslerp,
        combine=nuslerp,
        summary="SLERP whose fraction is given by two weights",
        paper="mergekit; Shoemake 1985",
        parameters=(
            WEIGHT,
            Parameter(
                "row_wise",
                False,
                "take each row as a vector of its own instead of the whole tensor",
                key="nuslerp_row_wise",
                source="mergekit's nuslerp_row_wise",
            ),
            SPACE,
        ),
        min_sources=2,
        max_sources=2,
        ordered=True,
        needs_base=False,
    ),
    Method(
        name="multislerp",
        function=multislerp,
        combine=multislerp,
        summary="mean of N directions on the sphere, in one step",
        paper="mergekit",
        parameters=(WEIGHT, SPACE),
        needs_base=False,
    ),
    Method(
        name="karcher",
        function=karcher,
        combine=karcher,
        summary="mean of N directions on the sphere, walked to",
        paper="Karcher 1977; mergekit",
        parameters=(
            Parameter("max_iter", 10, "most steps of the walk", low=1, high=10_000, whole=True),
            Parameter("tol", 1e-5, "stop when a step is shorter, in radians", low=0.0),
            SPACE,
        ),
        needs_base=False,
    ),
)
