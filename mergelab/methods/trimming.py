"""Trim: keep the largest changes, drop the rest; and what is left to scale up afterwards.

The first step of TIES, and what magnitude_prune and Model Breadcrumbs are made of. Everybody trims,
and everybody counts differently: `trim_count` names the ways.
"""

import math

import numpy as np
import torch
from torch import Tensor

from mergelab.methods.declaration import Parameter, computing

TRIM_COUNTS = ("round", "floor", "floor_min_1", "floor_plus_1", "ceil_plus_1")
NORMS = ("l1", "l2", "linf")
NOTHING = 1e-7  # a norm below this is taken for 0, as in mergekit


def kept_count(size: int, density: float, trim_count: str = "round") -> int:
    """How many of `size` entries trim keeps.

    `trim_count`: "round" is `floor(density * size + 0.5)`, at least 1 if density > 0; "floor" is
    `int(density * size)`, which may be 0; "floor_min_1" is that, at least 1 if density > 0;
    "floor_plus_1" is one more than "floor"; "ceil_plus_1" is one more than what
    `int((1 - density) * size)` dropped entries leave.

    Raises `ValueError` if `density` lies outside [0, 1] or `trim_count` is unknown.

    Source: PEFT ("floor"), mergekit ("floor_min_1"), the code of Yadav et al. 2023
    ("floor_plus_1") and of Yu et al. 2024 ("ceil_plus_1").

    >>> kept_count(10, 0.25), kept_count(10, 0.01), kept_count(10, 0.0)
    (3, 1, 0)
    >>> [kept_count(9, 0.25, how) for how in TRIM_COUNTS]
    [2, 2, 2, 3, 4]
    """
    if not 0.0 <= density <= 1.0:
        raise ValueError(f"density must lie between 0 and 1, got {density}")
    if trim_count not in TRIM_COUNTS:
        raise ValueError(f"trim_count must be one of {', '.join(TRIM_COUNTS)}, got {trim_count!r}")
    if trim_count == "ceil_plus_1":
        return min(size, size - int((1.0 - density) * size) + 1)
    if trim_count == "floor_plus_1":
        return min(size, int(density * size) + 1)
    kept = math.floor(density * size + 0.5) if trim_count == "round" else int(density * size)
    if trim_count != "floor" and density > 0:
        kept = max(kept, 1)
    return min(size, kept)


def kth_largest(values: Tensor, k: int) -> float:
    """The k-th largest of all entries, `1 <= k <= n`, found by selection rather than sorting.

    NumPy's partition uses the processor's vector instructions and is many times faster than
    `torch.kthvalue` on a CPU; elsewhere `kthvalue` saves the way back.

    >>> kth_largest(torch.tensor([[3.0, 1.0], [2.0, 5.0]]), 2)
    3.0
    """
    flat = values.flatten()
    place = flat.numel() - k
    if flat.device.type != "cpu":
        return float(flat.kthvalue(place + 1).values)
    return float(np.partition(computing(flat).detach().numpy(), place)[place])


def trim(
    delta: Tensor, density: float, *, trim_count: str = "round", rescale: bool | str = False
) -> Tensor:
    """Keep the largest entries by magnitude, set the others to zero.

    `delta`: a task vector of any shape, trimmed as one flat vector. `density`: the fraction kept,
    in [0, 1]: `k = floor(density * n + 0.5)` entries, at least one if density > 0; the threshold
    is the k-th largest magnitude and every entry at or above it stays, ties too. `trim_count`:
    other ways to count, as in `kept_count`. `rescale`: as in `rescaled`. Returns a new tensor of
    the same shape and dtype.

    Raises `ValueError` if `density` lies outside [0, 1] or a choice is unknown.

    Source: TIES-Merging, algorithm 1, step 1.

    >>> trim(torch.tensor([0.002, -0.001, 0.150, -0.200]), 0.5)
    tensor([ 0.0000,  0.0000,  0.1500, -0.2000])
    """
    k = kept_count(delta.numel(), density, trim_count)
    if k == 0:
        return torch.zeros_like(delta)
    if k == delta.numel():
        return delta.clone()
    kept = keep_between(delta, kth_largest(delta.abs(), k))
    return rescaled(delta, kept, density, rescale)


def keep_between(delta: Tensor, low: float, high: float = math.inf) -> Tensor:
    """Keep the entries whose magnitude lies between `low` and `high`, both included.

    `delta`: a tensor of any shape, or a part of one: the bounds are those of the whole. Returns a
    new tensor of the same shape and dtype, zero elsewhere.

    >>> keep_between(torch.tensor([0.002, -0.001, 0.150, -0.200]), 0.150)
    tensor([ 0.0000,  0.0000,  0.1500, -0.2000])
    """
    magnitude = delta.abs()
    inside = magnitude >= low
    if high < math.inf:
        inside &= magnitude <= high
    return torch.where(inside, delta, torch.zeros_like(delta))


def rescaled(before: Tensor, after: Tensor, density: float, rescale: bool | str) -> Tensor:
    """Scale up what is left of a task vector, to make good for what was set to zero.

    `before` and `after`: the task vector and what is left of it, of one shape. `rescale`: False
    leaves it as it is; True multiplies by `1 / density`; "l1", "l2" and "linf" by `norm_ratio`.
    Returns a tensor of the same shape and of `after`'s dtype.

    Raises `ValueError` if `rescale` is unknown.

    Source: Yu et al. 2024, equation 2 (True); mergekit's `rescale`, which is "l1".

    >>> rescaled(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 3.0]), density=0.5, rescale="l1")
    tensor([0., 4.])
    """
    if rescale is False:
        return after
    if rescale is True:
        factor = 1.0 / density if density > 0 else 1.0
    else:
        factor = norm_ratio(before, after, rescale)
    return (computing(after) * factor).to(after.dtype)


def norm_ratio(before: Tensor, after: Tensor, norm: str) -> float:
    """What to multiply `after` by, so that its norm is that of `before`.

    `norm`: "l1", "l2" or "linf", of the flattened tensors, summed in fp64. 1 where one of the two
    norms is below 1e-7, for want of anything to scale.

    Raises `ValueError` if `norm` is unknown.

    Source: mergekit's `rescale_norm`.

    >>> norm_ratio(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 2.0]), "l1")
    2.0
    """
    return ratio_of(norm_of(before, norm), norm_of(after, norm))


def norm_of(values: Tensor, norm: str) -> float:
    """The l1, l2 or linf norm of all entries, in fp64. Raises `ValueError` for any other name.

    >>> [norm_of(torch.tensor([[3.0, -4.0]]), norm) for norm in NORMS]
    [7.0, 5.0, 4.0]
    """
    if norm not in NORMS:
        raise ValueError(f"rescale must be true, false, l1, l2 or linf, got {norm!r}")
    if values.numel() == 0:
        return 0.0
    order = {"l1": 1, "l2": 2, "linf": math.inf}[norm]
    return float(torch.linalg.vector_norm(values, order, dtype=torch.float64))


def ratio_of(before: float, after: float) -> float:
    """The quotient of two norms; 1 where one of them is next to nothing.

    >>> ratio_of(6.0, 2.0), ratio_of(6.0, 0.0)
    (3.0, 1.0)
    """
    return 1.0 if before < NOTHING or after < NOTHING else before / after


TRIM_COUNT = Parameter(
    "trim_count",
    "round",
    "how the number of entries kept is counted: rounded, cut off, or one more than that",
    choices=TRIM_COUNTS,
    source="paper: floor_plus_1 (DARE's code: ceil_plus_1); mergekit: floor_min_1; PEFT: floor",
)
TRIM_SCOPE = Parameter(
    "trim_scope",
    "tensor",
    "among what the largest are chosen: each tensor's entries, or those of all changed tensors",
    choices=("tensor", "global"),
    source="paper: global; mergekit and PEFT: tensor",
)
RESCALE_KEPT = Parameter(
    "rescale",
    False,
    "scale up what is kept: by 1/density (true), or back to the norm it had (l1, l2, linf)",
    choices=(False, True, *NORMS),
    source="mergekit: false by default, true is l1",
)
TRIM_PARAMETERS = (TRIM_COUNT, TRIM_SCOPE, RESCALE_KEPT)
