"""KnOTS-TIES: bring the adapters into one basis by a joint SVD, then resolve conflicts there.

Stoica et al. 2024, "Model merging with SVD to tie the KnOTS", arXiv 2410.19735. Entries of two
adapters' products say little about each other. The SVD of all of them side by side,
`[tau_1 ... tau_N] = U S [V_1 ... V_N]`, gives one common U, and entry (k, j) of each block speaks
of the same direction k.

The paper's text merges the blocks `V_i` and multiplies by `U S`; its code merges `S V_i` and
multiplies by `U`. The two differ only in what trim keeps (they are equal at density 1); this is
the code's. That code also trims one vector of all layers, this file each tensor by itself.
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
)
from mergelab.methods.factors import (
    Delta,
    are_matrices,
    dense,
    fix_signs,
    nonzero_svd,
    same_shape,
    shared_space,
)
from mergelab.methods.ties import SIGN_PARAMETERS, ties


def knots_ties(
    deltas: Sequence[Delta] | Tensor,
    density: float | Sequence[float] = 1.0,
    weights: Sequence[float] | None = None,
    lam: float = 1.0,
    *,
    election: str = "mass",
    zero_sign: str = "zero",
    divisor: str = "weights",
) -> Delta:
    """Merged task vector `U @ ties([S V_1, ..., S V_N])` in the basis U that the tasks share.

    `deltas`: N task vectors of one shape `[m, n]`, `Factors` or tensors. The aligned blocks have
    shape `[R, n]`, R the rank of all task vectors together; directions without a singular value
    are left out of them, so that trim counts entries that mean something. Other parameters: as in
    `ties`. U's largest entry in each column is positive, which matters for `zero_sign` alone.

    `Factors` come back if all are `Factors`, else a dense tensor; fp32, or fp64 if an input is. A
    tensor that is not a matrix is merged by `ties` itself; one of three or more dimensions is seen
    as `[product of the leading ones, last]`.

    Raises `ValueError` as `ties` does.

    Source: Stoica et al. 2024, KnOTS-TIES, and the authors' code (`task_merger.py`).

    >>> one = torch.tensor([[2.0, 1.0], [2.0, 1.0]])
    >>> two = torch.tensor([[4.0, -3.0], [4.0, -3.0]])
    >>> knots_ties([one, two])
    tensor([[ 3., -3.],
            [ 3., -3.]])
    """
    deltas = same_shape(deltas)
    switches = {"election": election, "zero_sign": zero_sign, "divisor": divisor}
    if not are_matrices(deltas):
        return ties([dense(delta) for delta in deltas], density, weights, lam, **switches)
    space = shared_space(deltas)
    u, _, _ = nonzero_svd(torch.cat(space.cores, 1), space.dtype)
    left, turned = fix_signs(space.to_left(u), u.T)
    blocks = [space.to_right(turned @ core) for core in space.cores]
    return space.result(left, ties(blocks, density, weights, lam, **switches))


METHODS = (
    Method(
        name="knots_ties",
        function=knots_ties,
        combine=knots_ties,
        summary="align the adapters by a joint SVD, then merge the aligned parts by TIES",
        paper="Stoica et al. 2024, arXiv 2410.19735",
        # One density for all: what is trimmed are parts of the joint SVD, not one model's entries.
        parameters=(WEIGHT, replace(DENSITY, per_source=False), LAMBDA, *SIGN_PARAMETERS),
        factored=True,
    ),
)
