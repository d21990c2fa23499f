"""Beyond SLERP on the sphere: weights instead of t, rows instead of tensors, more than two models.

nuslerp is SLERP with its fraction given by two weights; karcher is the mean of N points on the
sphere, found by walking; multislerp takes the point where that walk starts. All three are
mergekit's.
"""

import math
from collections.abc import Sequence

import numpy as np
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
from mergelab.methods.gram import Gram, cosines, gram, norms
from mergelab.methods.linear import weighted_sum
from mergelab.methods.slerp import SIN_THRESHOLD, SPACE, slerp, slerp_coefficients


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
    t = fraction(weights)
    a, b = tensors
    if not row_wise or a.dim() < 2:
        return slerp(a, b, t)
    if not 0.0 <= t <= 1.0:
        raise ValueError(f"t must lie between 0 and 1, got {t}")
    x, y = (v.flatten(0, -2) for v in as_deltas([a, b]))
    wide = [x.double(), y.double()]
    lengths = wide[0].norm(dim=1) * wide[1].norm(dim=1)
    there = lengths > 0
    cosine = (wide[0] * wide[1]).sum(1) / torch.where(there, lengths, torch.ones_like(lengths))
    theta = torch.where(there, cosine.clamp(-1, 1).acos(), torch.zeros_like(cosine))
    sine = theta.sin()
    straight = sine < SIN_THRESHOLD
    divisor = torch.where(straight, torch.ones_like(sine), sine)
    at_x = torch.where(straight, 1 - t, ((1 - t) * theta).sin() / divisor).float().unsqueeze(1)
    at_y = torch.where(straight, t, (t * theta).sin() / divisor).float().unsqueeze(1)
    return (at_x * x + at_y * y).reshape(a.shape).to(common_dtype([a, b]))


def nuslerp_coefficients(gram: Gram, weights: Sequence[float] | None = None) -> tuple[float, float]:
    """The factors of two vectors at `t = w_2 / (w_1 + w_2)` of the arc between them.

    >>> [round(c, 4) for c in nuslerp_coefficients([[1.0, 0.0], [0.0, 1.0]], [1.0, 3.0])]
    [0.3827, 0.9239]
    """
    return slerp_coefficients(gram, fraction(weights))


def fraction(weights: Sequence[float] | None) -> float:
    """Where two weights put the merge between the first model (0) and the second (1)."""
    first, second = per_source(weights, 2, 1.0)
    return 0.5 if first + second == 0 else second / (first + second)


def multislerp(
    tensors: Sequence[Tensor] | Tensor, weights: Sequence[float] | None = None
) -> Tensor:
    """Weighted mean of N directions, put back on the sphere, times the weighted mean norm.

    `tensors`: N of one shape, task vectors or full weights. `weights`: N numbers, taken as shares
    of their sum. The result has the tensors' shape and dtype. With one model it is that model.
    Where two directions cancel out exactly the result is their weighted sum.

    mergekit goes on to average the directions in the tangent plane at this mean; that average is
    zero by the choice of the mean, so the step changes nothing and is left out.

    Raises `ValueError` if the weights sum to 0, or if three or more directions cancel out.

    Source: mergekit's `multislerp`.

    >>> multislerp([torch.tensor([1.0, 0.0]), torch.tensor([0.0, 3.0])])
    tensor([1.4142, 1.4142])
    """
    vectors = as_deltas(tensors)
    factors = multislerp_coefficients(gram(vectors), weights)
    return weighted_sum(vectors, factors).to(common_dtype(tensors))


def multislerp_coefficients(gram: Gram, weights: Sequence[float] | None = None) -> list[float]:
    """The factors of N vectors in `multislerp`, from their inner products; errors as there.

    >>> [round(c, 4) for c in multislerp_coefficients([[1.0, 0.0], [0.0, 9.0]])]
    [1.4142, 0.4714]
    """
    shares = np.array(_shares(weights, len(gram)))
    lengths = np.array(norms(gram))
    if len(gram) == 1:
        return [1.0]
    mean_length = math.sqrt(max(0.0, shares @ cosines(gram) @ shares))
    if mean_length < 1e-8:
        if len(gram) == 2:
            return shares.tolist()
        raise ValueError("the directions cancel out, so they have no mean; use other weights")
    units = np.where(lengths > 0, 1.0 / np.where(lengths > 0, lengths, 1.0), 0.0)
    return (shares * units * (shares @ lengths) / mean_length).tolist()


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
    factors = karcher_coefficients(gram(vectors), max_iter=max_iter, tol=tol)
    return weighted_sum(vectors, factors).to(common_dtype(tensors))


def karcher_coefficients(gram: Gram, *, max_iter: int = 10, tol: float = 1e-5) -> list[float]:
    """The factors of N vectors in `karcher`: the walk never leaves the space that they span.

    A point of that space is kept as its factors of the N directions, and inner products follow
    from their cosines.

    >>> [round(c, 4) for c in karcher_coefficients([[1.0, 0.0], [0.0, 9.0]])]
    [1.4142, 0.4714]
    """
    lengths = np.array(norms(gram))
    there = lengths > 0
    if not there.any():
        return [0.0] * len(lengths)
    cosine = cosines(gram)[np.ix_(there, there)]
    count = len(cosine)
    mean = np.full(count, 1.0 / count)
    size = _size(mean, cosine)
    mean = mean / size if size > tol else np.eye(count)[0]
    for _ in range(int(max_iter)):
        steps = [_logarithm(mean, unit, cosine) for unit in np.eye(count)]
        tangent = np.mean(steps, axis=0)
        length = _size(tangent, cosine)
        if length <= tol:
            break
        mean = math.cos(length) * mean + math.sin(length) / length * tangent
        mean = mean / _size(mean, cosine)
    factors = np.zeros(len(lengths))
    factors[there] = mean / lengths[there] * lengths.mean()
    return factors.tolist()


def _shares(weights: Sequence[float] | None, count: int) -> list[float]:
    values = per_source(weights, count, 1.0)
    total = sum(values)
    if total == 0:
        raise ValueError("the weights sum to 0; use other weights")
    return [value / total for value in values]


def _size(point: np.ndarray, cosine: np.ndarray) -> float:
    return math.sqrt(max(0.0, float(point @ cosine @ point)))


def _logarithm(point: np.ndarray, other: np.ndarray, cosine: np.ndarray) -> np.ndarray:
    """The tangent vector at `point` that leads to `other`, as long as the arc between them."""
    between = max(-1.0, min(1.0, float(point @ cosine @ other)))
    theta = math.acos(between)
    if math.sin(theta) < 1e-7:
        return np.zeros_like(point)
    return theta / math.sin(theta) * (other - between * point)


METHODS = (
    Method(
        name="nuslerp",
        function=nuslerp,
        combine=nuslerp,
        coefficients=nuslerp_coefficients,
        row_flag="row_wise",
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
        coefficients=multislerp_coefficients,
        summary="mean of N directions on the sphere, in one step",
        paper="mergekit",
        parameters=(WEIGHT, SPACE),
        needs_base=False,
    ),
    Method(
        name="karcher",
        function=karcher,
        combine=karcher,
        coefficients=karcher_coefficients,
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
