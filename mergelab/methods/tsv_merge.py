"""TSV-Merge: keep each task's strongest singular vectors and make them orthogonal across tasks.

Gargiulo et al. 2024, "Task Singular Vectors: reducing task interference in model merging",
arXiv 2412.00081. Two tasks interfere where their singular vectors overlap. So each task matrix is
cut to its top 1/N singular vectors, the cut ones are placed side by side, and U and V are replaced
by the nearest matrices with orthonormal columns before they are multiplied again.

The authors' code decomposes full fine-tunes and leaves two cases open, decided here so that the
result depends on the task vectors alone: directions without a singular value (any adapter has
them) take no part, and where vectors of two tasks coincide the orthogonal matrix is the one within
their span.
"""

import math
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
    are_matrices,
    dense,
    nonzero_svd,
    same_shape,
    shared_space,
)
from mergelab.methods.linear import task_arithmetic


def tsv_merge(
    deltas: Sequence[Delta] | Tensor,
    weights: Sequence[float] | None = None,
    lam: float = 1.0,
    rank_share: float | None = None,
    *,
    share_of: str = "matrix",
) -> Delta:
    """Merged task vector `lam * U' S V'`: top singular vectors of all tasks, made orthogonal.

    `deltas`: N task vectors of one shape, `Factors` or tensors. `weights`: N numbers, 1 each by
    default; task vector i is multiplied by its own first. `rank_share`: the fraction of its
    singular vectors that each keeps, in [0, 1]; 1/N by default. `share_of` says of what: "matrix"
    counts `min(m, n)` as the authors' code does, so that an adapter of a lower rank keeps them
    all; "task_vector" counts the nonzero singular values, so that N adapters of rank r give about
    one of rank r. The number is rounded down, but is at least 1.

    `U'` is the nearest matrix to `[U_1 ... U_N]` with orthonormal columns, `V'` likewise. `Factors`
    come back if all are `Factors`, else a dense tensor; fp32, or fp64 if an input is. A tensor that
    is not a matrix becomes `lam` times the mean of its `w_i * tau_i`, as in that code; one of three
    or more dimensions is seen as `[product of the leading ones, last]`, where that code takes the
    mean too.

    Raises `ValueError` if the shapes differ, the number of weights is not N, or a parameter is not
    allowed.

    Source: Gargiulo et al. 2024, TSV-Merge, and the authors' code (`TSVM_utils.py`).

    >>> one = torch.tensor([[2.0, 0.0], [0.0, 0.5]])
    >>> two = torch.tensor([[0.0, 0.0], [0.0, 3.0]])
    >>> tsv_merge([one, two])
    tensor([[2., 0.],
            [0., 3.]])
    """
    deltas = same_shape(deltas)
    weight = per_source(weights, len(deltas), 1.0)
    if rank_share is not None and not 0.0 <= rank_share <= 1.0:
        raise ValueError(f"rank_share must lie between 0 and 1, got {rank_share}")
    if share_of not in ("matrix", "task_vector"):
        raise ValueError(f"share_of must be matrix or task_vector, got {share_of!r}")
    if not are_matrices(deltas):
        return task_arithmetic([dense(delta) for delta in deltas], weight, lam / len(deltas))
    space = shared_space(deltas)
    parts = []
    for core, w in zip(space.cores, weight, strict=True):
        u, s, vt = nonzero_svd(core * w, space.dtype)
        count = _kept(
            space.smaller_side if share_of == "matrix" else len(s), rank_share, len(deltas)
        )
        parts.append((u[:, :count], s[:count], vt[:count]))
    us, ss, vts = zip(*parts, strict=True)
    u = _orthogonal(torch.cat(us, 1), space.dtype)
    vt = _orthogonal(torch.cat(vts, 0), space.dtype)
    return space.result(space.to_left(u * (lam * torch.cat(ss))), space.to_right(vt))


def _kept(size: int, share: float | None, tasks: int) -> int:
    # 100 * 0.29 is a little less than 29 in floating point, and 49 * (1/49) than 1.
    return max(1, size // tasks if share is None else math.floor(share * size + 1e-9))


def _orthogonal(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """The nearest matrix with orthonormal columns (or rows) within the matrix's own span."""
    u, _, vt = nonzero_svd(matrix, dtype)
    return u @ vt


METHODS = (
    Method(
        name="tsv_merge",
        function=tsv_merge,
        combine=tsv_merge,
        summary="keep each task's top singular vectors, make them orthogonal across tasks",
        paper="Gargiulo et al. 2024, arXiv 2412.00081",
        parameters=(
            WEIGHT,
            LAMBDA,
            Parameter(
                "rank_share",
                None,
                "fraction of its singular vectors each model keeps; 1/N without it",
                low=0.0,
                high=1.0,
                source="Gargiulo et al. 2024 and their code: 1/N",
            ),
            Parameter(
                "share_of",
                "matrix",
                "what rank_share counts: all singular values of the shape, or the nonzero ones",
                choices=("matrix", "task_vector"),
                source="the authors' code: min(m, n) of the full matrix",
            ),
        ),
        factored=True,
    ),
)
