"""The exact sum of adapters, and the best adapter of a given rank.

`concat` stacks the factors, so that the rank adds up and nothing is lost: the baseline that every
method with an adapter as output is measured against (PEFT calls it `cat`). `truncate` finds the
nearest matrix of a lower rank and says how far it is; `svd` is one after the other (PEFT's `svd`).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mergelab.methods.declaration import (
    LAMBDA,
    WEIGHT,
    Method,
    Parameter,
    per_source,
)
from mergelab.methods.factors import (
    Delta,
    Factors,
    all_factors,
    are_matrices,
    dense,
    fix_signs,
    result_dtype,
    same_shape,
    shared_space,
)
from mergelab.methods.linear import task_arithmetic


def concat(
    deltas: Sequence[Delta] | Tensor, weights: Sequence[float] | None = None, lam: float = 1.0
) -> Delta:
    """Exact weighted sum `lam * sum(w_i * tau_i)`; of factors by stacking them.

    `deltas`: N task vectors of one shape, `Factors` or tensors. `weights`: N numbers, 1 each by
    default. If all are `Factors` so is the result, and its rank is the sum of theirs; else it is a
    dense tensor. fp32, or fp64 if an input is.

    Raises `ValueError` if the shapes differ or the number of weights is not N.

    Source: PEFT's `add_weighted_adapter`, combination type `cat`; Ilharco et al. 2023 for the sum.

    >>> one = Factors(torch.tensor([[1.0], [0.0]]), torch.tensor([[1.0, 1.0]]))
    >>> two = Factors(torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0, 0.0]]))
    >>> merged = concat([one, two], weights=[1.0, 0.5])
    >>> merged.rank, merged.dense().tolist()
    (2, [[1.0, 1.0], [1.0, 0.0]])
    """
    deltas = same_shape(deltas)
    weight = per_source(weights, len(deltas), 1.0)
    if not all_factors(deltas):
        return task_arithmetic([dense(delta) for delta in deltas], weight, lam)
    dtype = result_dtype(deltas)
    columns = [delta.b.double() * (w * lam) for delta, w in zip(deltas, weight, strict=True)]
    return Factors(
        torch.cat(columns, 1).to(dtype), torch.cat([delta.a.to(dtype) for delta in deltas], 0)
    )


def truncate(delta: Delta, rank: int) -> tuple[Factors, float]:
    """The nearest matrix of rank `rank` and its relative error `|delta - result| / |delta|`.

    `delta`: a matrix, `Factors` or a tensor of two or more dimensions, which is seen as
    `[product of the leading ones, last]`. The singular values are shared evenly between the two
    factors, and the largest entry of each column of `b` is positive. A rank larger than the matrix
    or its factors can have is clipped. Norms are Frobenius norms; the error of a zero matrix is 0.

    Raises `ValueError` if `rank` is below 1 or `delta` has fewer than two dimensions.

    Source: Eckart and Young 1936.

    >>> nearest, error = truncate(torch.tensor([[4.0, 0.0], [0.0, 3.0]]), rank=1)
    >>> nearest.dense(), round(error, 4)
    (tensor([[4., 0.],
            [0., 0.]]), 0.6)
    """
    if rank < 1:
        raise ValueError(f"rank must be at least 1, got {rank}")
    if not are_matrices([delta]):
        raise ValueError(f"a tensor of shape {tuple(delta.shape)} has no rank; it is not a matrix")
    space = shared_space([delta])
    core = space.cores[0]
    u, s, vt = _leading(core, int(rank))
    norm = float(core.norm())
    error = float((core - (u * s) @ vt).norm()) / norm if norm else 0.0
    root = s.sqrt()
    b, a = fix_signs(space.to_left(u * root), space.to_right(vt * root.unsqueeze(1)))
    return Factors(b.to(space.dtype), a.to(space.dtype)), error


def svd(
    deltas: Sequence[Delta] | Tensor,
    weights: Sequence[float] | None = None,
    lam: float = 1.0,
    rank: int | None = None,
) -> Delta:
    """Weighted sum of the task vectors, cut to its best approximation of rank `rank`.

    `deltas`, `weights`, `lam` and what comes back: as in `concat`. `rank`: a whole number of 1 or
    more; without it the largest rank among the `Factors`, and if a task vector is dense, which has
    no rank of its own to go by, nothing is cut. A tensor that is not a matrix is summed exactly.

    Raises `ValueError` as `concat` and `truncate` do.

    Source: PEFT's `add_weighted_adapter`, combination type `svd`, `svd_rank`.

    >>> one = Factors(torch.tensor([[4.0], [0.0]]), torch.tensor([[1.0, 0.0]]))
    >>> two = Factors(torch.tensor([[0.0], [3.0]]), torch.tensor([[0.0, 1.0]]))
    >>> svd([one, two]).dense()
    tensor([[4., 0.],
            [0., 0.]])
    """
    deltas = same_shape(deltas)
    total = concat(deltas, weights, lam)
    if rank is None and all_factors(deltas):
        rank = max(1, *(delta.rank for delta in deltas))
    if rank is None or not are_matrices(deltas):
        return total
    nearest, _ = truncate(total, rank)
    return nearest if all_factors(deltas) else nearest.dense().reshape(total.shape)


def _leading(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `rank` largest singular values and their vectors, of an fp64 matrix.

    From the eigenvectors of the smaller Gram matrix, several times faster than a full SVD where
    only the leading ones are wanted; the other side's come from the matrix itself, so that
    squaring costs no accuracy in the product.
    """
    if matrix.shape[0] > matrix.shape[1]:
        v, s, ut = _leading(matrix.T, rank)
        return ut.T, s, v.T
    u = torch.linalg.eigh(matrix @ matrix.T).eigenvectors.flip(1)[:, :rank]
    rows = u.T @ matrix
    s = rows.norm(dim=1)
    return u, s, rows / torch.where(s > 0, s, torch.ones_like(s)).unsqueeze(1)


RANK = Parameter(
    "rank",
    None,
    "rank of the result; without it the largest rank among the adapters",
    low=1,
    whole=True,
    source="PEFT's svd_rank",
)

METHODS = (
    Method(
        name="concat",
        function=concat,
        combine=concat,
        summary="exact sum of adapters by stacking their factors; the rank adds up",
        paper="PEFT (cat)",
        parameters=(WEIGHT, LAMBDA),
        factored=True,
    ),
    Method(
        name="svd",
        function=svd,
        combine=svd,
        summary="sum of adapters, cut to the best adapter of a given rank",
        paper="PEFT (svd); Eckart and Young 1936",
        parameters=(WEIGHT, LAMBDA, RANK),
        factored=True,
    ),
)
