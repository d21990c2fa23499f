"""Core Space: merge adapters in the smallest space that holds all of them.

Panariello et al. 2025, "Accurate and efficient low-rank model merging in core space",
arXiv 2509.17786. The right singular vectors of all A's stacked and the left ones of all B's span
everything the adapters do; between those two reference bases each adapter is a small core matrix,
and the cores are merged instead of the adapters.

The bases hold every adapter entirely, so projecting and coming back loses nothing, and a merge
that is linear gives exactly what it gives outside: with task arithmetic the result *is* the
weighted sum. Only what looks at single entries (TIES) or counts singular values (TSV-Merge) gives
something new.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mergelab.methods.declaration import (
    DENSITY,
    LAMBDA,
    WEIGHT,
    Method,
    Parameter,
    per_source,
)
from mergelab.methods.factors import (
    Delta,
    SharedSpace,
    are_matrices,
    dense,
    fix_signs,
    nonzero_svd,
    same_shape,
    shared_space,
)
from mergelab.methods.linear import task_arithmetic
from mergelab.methods.ties import SIGN_PARAMETERS, ties
from mergelab.methods.tsv_merge import tsv_merge


def core_space(
    deltas: Sequence[Delta] | Tensor,
    weights: Sequence[float] | None = None,
    lam: float = 1.0,
    method: str = "task_arithmetic",
    density: float | Sequence[float] = 1.0,
    *,
    basis: str = "balanced",
    election: str = "mass",
    zero_sign: str = "zero",
    divisor: str = "weights",
) -> Delta:
    """Merged task vector `U @ merge([M_1, ..., M_N]) @ V`, where `tau_i = U @ M_i @ V`.

    `deltas`: N task vectors of one shape, `Factors` of any ranks or tensors. `method` merges the
    cores: "task_arithmetic" (equal to the plain weighted sum), "ties" (with `density` and the
    switches of `ties`), or "tsv_merge". `weights`: N numbers, 1 each by default.

    `basis`: the paper takes singular vectors of the factors as they were trained, so that the same
    task vector factored otherwise (or with its scaling in A instead of B) has another core:
    "factors". With "balanced", the default, each task vector is first refactored by its own SVD,
    half of each singular value on either side; dense ones always are. Only "ties" can tell.

    `Factors` come back if all are `Factors`, else a dense tensor; fp32, or fp64 if an input is. A
    tensor that is not a matrix has no core and is merged by the method itself; one of three or more
    dimensions is seen as `[product of the leading ones, last]`.

    Raises `ValueError` as the method does, or if `method` or `basis` is unknown.

    Source: Panariello et al. 2025 and the authors' code (`task_merger.py`). As there, cores are as
    large as the ranks add up to, at most `[m, n]`, also where the adapters overlap.

    >>> from mergelab.methods.factors import Factors
    >>> one = Factors(torch.tensor([[1.0], [0.0]]), torch.tensor([[2.0, 0.0]]))
    >>> two = Factors(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0, 5.0]]))
    >>> core_space([one, two]).dense().abs()
    tensor([[2., 0.],
            [0., 5.]])
    """
    deltas = same_shape(deltas)
    weight = per_source(weights, len(deltas), 1.0)
    if basis not in ("balanced", "factors"):
        raise ValueError(f"basis must be balanced or factors, got {basis!r}")

    def merge(matrices: Sequence[Tensor]) -> Tensor:
        if method == "task_arithmetic":
            return task_arithmetic(matrices, weight, lam)
        if method == "ties":
            switches = {"election": election, "zero_sign": zero_sign, "divisor": divisor}
            return ties(matrices, density, weight, lam, **switches)
        if method == "tsv_merge":
            return tsv_merge(matrices, weight, lam)
        raise ValueError(f"method must be task_arithmetic, ties or tsv_merge, got {method!r}")

    if not are_matrices(deltas):
        return merge([dense(delta) for delta in deltas])
    space = _core_space(deltas, basis)
    return space.result(space.to_left(merge(space.cores)), space.right)


def _core_space(deltas: Sequence[Delta], basis: str) -> SharedSpace:
    """The space between the reference bases, found inside the one that all factors span."""
    space = shared_space(deltas)
    halves = []
    for delta, core in zip(deltas, space.cores, strict=True):
        if basis == "factors" and space.factored:
            halves.append((space.left.T @ delta.b.double(), delta.a.double() @ space.right.T))
        else:
            u, s, vt = nonzero_svd(core, space.dtype)
            halves.append((u * s.sqrt(), s.sqrt().unsqueeze(1) * vt))
    bs, as_ = zip(*halves, strict=True)
    u = torch.linalg.svd(torch.cat(bs, 1), full_matrices=False).U
    vt = torch.linalg.svd(torch.cat(as_, 0), full_matrices=False).Vh
    left, u_rows = fix_signs(space.to_left(u), u.T)
    right_columns, v_rows = fix_signs(space.to_right(vt).T, vt)
    cores = [(u_rows @ b) @ (a @ v_rows.T) for b, a in halves]
    return replace(space, cores=cores, left=left, right=right_columns.T)


METHODS = (
    Method(
        name="core_space",
        function=core_space,
        combine=core_space,
        summary="merge adapters as small cores between bases that all of them share",
        paper="Panariello et al. 2025, arXiv 2509.17786",
        parameters=(
            WEIGHT,
            LAMBDA,
            Parameter(
                "method",
                "task_arithmetic",
                "how the cores are merged; task_arithmetic gives the plain sum",
                choices=("task_arithmetic", "ties", "tsv_merge"),
                source="paper: any method; its code has these three and more",
            ),
            # One density for all: what is trimmed are cores, not one model's own entries.
            replace(DENSITY, per_source=False),
            Parameter(
                "basis",
                "balanced",
                "reference bases from refactored task vectors, or from the factors as they are",
                choices=("balanced", "factors"),
                source="paper and its code: the factors as they are",
            ),
            *SIGN_PARAMETERS,
        ),
        factored=True,
    ),
)
