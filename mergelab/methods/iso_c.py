"""Iso-C: add the task vectors up, then make all directions of the sum equally strong.

Marczak et al. 2025, "No task left behind: isotropic model merging with common and task-specific
subspaces", arXiv 2502.04959. A sum of task matrices is dominated by the few directions that tasks
share; Iso-C keeps its singular vectors and gives each the mean of the singular values.

The authors' code takes the mean over all `min(m, n)` singular values of a full fine-tune's sum and
gives it to as many directions. A sum of adapters has only R of them: the others have no direction
of their own (their singular vectors are whatever the library returns), so they stay zero here, and
`mean_over` says whether they count in the mean.
"""

from collections.abc import Sequence

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
    are_matrices,
    dense,
    nonzero_svd,
    same_shape,
    shared_space,
)
from mergelab.methods.linear import task_arithmetic, weighted_sum


def iso_c(
    deltas: Sequence[Delta] | Tensor,
    weights: Sequence[float] | None = None,
    lam: float = 1.0,
    *,
    mean_over: str = "rank",
) -> Delta:
    """Merged task vector `lam * s * U V`, where `U S V` is the weighted sum and s the mean of S.

    `deltas`: N task vectors of one shape, `Factors` or tensors. `weights`: N numbers, 1 each by
    default. `mean_over`: "rank" takes the mean of the R nonzero singular values, so that their sum
    stays what it was; "matrix" divides that sum by `min(m, n)`, as the authors' code does. Where
    the sum has full rank the two are one.

    `Factors` come back if all are `Factors`, else a dense tensor; fp32, or fp64 if an input is. A
    tensor that is not a matrix becomes `lam` times the mean of its `w_i * tau_i`, as in that code;
    one of three or more dimensions is seen as `[product of the leading ones, last]`, where that
    code takes the mean too.

    Raises `ValueError` if the shapes differ, the number of weights is not N, or `mean_over` is
    unknown.

    Source: Marczak et al. 2025, Iso-C, and the authors' code (`iso.py`).

    >>> import torch
    >>> iso_c([torch.tensor([[5.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 1.0]])])
    tensor([[3., 0.],
            [0., 3.]])
    """
    deltas = same_shape(deltas)
    weight = per_source(weights, len(deltas), 1.0)
    if mean_over not in ("rank", "matrix"):
        raise ValueError(f"mean_over must be rank or matrix, got {mean_over!r}")
    if not are_matrices(deltas):
        return task_arithmetic([dense(delta) for delta in deltas], weight, lam / len(deltas))
    space = shared_space(deltas)
    # What cancels in the sum leaves rounding as large as the terms': measured against those, it
    # counts as zero instead of being raised to the mean.
    terms = sum(abs(w) * core.norm() for core, w in zip(space.cores, weight, strict=True))
    u, s, vt = nonzero_svd(weighted_sum(space.cores, weight), space.dtype, terms)
    count = len(s) if mean_over == "rank" else space.smaller_side
    mean = float(s.sum()) / max(count, 1)
    return space.result(space.to_left(u * (lam * mean)), space.to_right(vt))


METHODS = (
    Method(
        name="iso_c",
        function=iso_c,
        combine=iso_c,
        summary="add up, then give every singular direction of the sum the same strength",
        paper="Marczak et al. 2025, arXiv 2502.04959",
        parameters=(
            WEIGHT,
            LAMBDA,
            Parameter(
                "mean_over",
                "rank",
                "singular values averaged: the nonzero ones, or all that the shape has",
                choices=("rank", "matrix"),
                source="the authors' code: all min(m, n) of a full matrix",
            ),
        ),
        factored=True,
    ),
)
