"""TIES: trim the small changes, elect one sign per entry, average what agrees.

Yadav et al. 2023, "TIES-Merging: Resolving interference when merging models", arXiv 2306.01708,
algorithm 1. The three steps are three functions; `ties` is one after the other.

Where the paper's code, mergekit and PEFT differ, the defaults here are: trim each tensor by
itself, keep every tie at the threshold, elect by weighted mass, give an exact draw no sign.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mergelab.methods.declaration import (
    DENSITY,
    LAMBDA,
    WEIGHT,
    Method,
    Parameter,
    as_deltas,
    common_dtype,
    computing,
    per_source,
)
from mergelab.methods.linear import weighted_sum


def kept_count(size: int, density: float) -> int:
    """How many of `size` entries trim keeps.

    `floor(density * size + 0.5)`, and at least 1 if density > 0.

    Raises `ValueError` if `density` lies outside [0, 1].

    >>> kept_count(10, 0.25), kept_count(10, 0.01), kept_count(10, 0.0)
    (3, 1, 0)
    """
    if not 0.0 <= density <= 1.0:
        raise ValueError(f"density must lie between 0 and 1, got {density}")
    if density == 0 or size == 0:
        return 0
    return min(size, max(1, math.floor(density * size + 0.5)))


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


def trim(delta: Tensor, density: float) -> Tensor:
    """Keep the largest entries by magnitude, set the others to zero.

    `delta`: a task vector of any shape, trimmed as one flat vector. `density`: the fraction kept,
    in [0, 1]: `k = floor(density * n + 0.5)` entries, at least one if density > 0; the threshold
    is the k-th largest magnitude and every entry at or above it stays, ties too. Returns a new
    tensor of the same shape and dtype; nothing is rescaled.

    Raises `ValueError` if `density` lies outside [0, 1].

    Source: TIES-Merging, algorithm 1, step 1.

    >>> trim(torch.tensor([0.002, -0.001, 0.150, -0.200]), 0.5)
    tensor([ 0.0000,  0.0000,  0.1500, -0.2000])
    """
    k = kept_count(delta.numel(), density)
    if k == 0:
        return torch.zeros_like(delta)
    if k == delta.numel():
        return delta.clone()
    return keep_between(delta, kth_largest(delta.abs(), k))


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


def elect_sign(
    deltas: Sequence[Tensor] | Tensor,
    weights: Sequence[float] | None = None,
    *,
    election: str = "mass",
    zero_sign: str = "zero",
) -> Tensor:
    """Elect one sign per entry: the side with the greater total.

    `deltas`: N task vectors of one shape, usually trimmed. `weights`: N numbers, 1 each by
    default. Returns a tensor of that shape holding -1, 0 or +1.

    `election`: "mass" takes the sign of `sum(w_i * tau_i)`; "mass_unweighted" that of
    `sum(tau_i)`; "count" lets each source cast one vote, the sign of `w_i * tau_i`.
    `zero_sign` says what an exact draw elects: "zero" (no sign: the merged entry will be 0),
    "positive", or "majority" (the sign that most entries of this tensor elected).

    Raises `ValueError` if shapes differ, the number of weights is not N, or a choice is unknown.

    Source: TIES-Merging, algorithm 1, step 2 (elects by unweighted mass).

    >>> tau = [torch.tensor(t) for t in ([0.08, 0.30], [-0.05, -0.10], [0.12, -0.10])]
    >>> elect_sign(tau)
    tensor([1., 1.])
    >>> elect_sign(tau, election="count")
    tensor([ 1., -1.])
    """
    tau = as_deltas(deltas)
    weight = per_source(weights, len(tau), 1.0)
    if election == "mass":
        total = weighted_sum(tau, weight)
    elif election == "mass_unweighted":
        total = weighted_sum(tau, [1.0] * len(tau))
    elif election == "count":
        total = weighted_sum(
            [(d * w).sign() for d, w in zip(tau, weight, strict=True)], [1.0] * len(tau)
        )
    else:
        raise ValueError(f"election must be mass, mass_unweighted or count, got {election!r}")
    sign = total.sign()
    if zero_sign == "positive":
        sign = torch.where(sign == 0, torch.ones_like(sign), sign)
    elif zero_sign == "majority":
        majority = sign.sum().sign()
        sign = torch.where(sign == 0, majority.expand_as(sign), sign)
    elif zero_sign != "zero":
        raise ValueError(f"zero_sign must be zero, positive or majority, got {zero_sign!r}")
    return sign.to(common_dtype(deltas))


def disjoint_merge(
    deltas: Sequence[Tensor] | Tensor,
    sign: Tensor,
    weights: Sequence[float] | None = None,
    *,
    divisor: str = "weights",
) -> Tensor:
    """Weighted mean, entry by entry, of the sources that agree with the elected sign.

    `deltas`: N task vectors of one shape. `sign`: a tensor of that shape, of -1, 0 and +1.
    `weights`: N numbers, 1 each by default. A source takes part in an entry where
    `w_i * tau_i` has the elected sign; the entry becomes `sum(w_i * tau_i) / sum(|w_i|)` over
    those sources, and 0 where none takes part. The result has the deltas' shape and dtype.

    `divisor`: "weights" divides by the agreeing weights, "count" by how many agree, "none" not
    at all.

    Raises `ValueError` if shapes differ, the number of weights is not N, or `divisor` is unknown.

    Source: TIES-Merging, algorithm 1, step 3.

    >>> tau = [torch.tensor([0.08]), torch.tensor([-0.05]), torch.tensor([0.12])]
    >>> disjoint_merge(tau, torch.tensor([1.0]))
    tensor([0.1000])
    """
    tau = as_deltas(deltas)
    weight = per_source(weights, len(tau), 1.0)
    if sign.shape != tau[0].shape:
        raise ValueError(
            f"sign must have the task vectors' shape {tuple(tau[0].shape)}, got {tuple(sign.shape)}"
        )
    if divisor not in ("weights", "count", "none"):
        raise ValueError(f"divisor must be weights, count or none, got {divisor!r}")
    elected = computing(sign).sign()
    total = torch.zeros_like(tau[0])
    share = torch.zeros_like(tau[0])
    for delta, w in zip(tau, weight, strict=True):
        term = delta * w
        agrees = (term.sign() == elected) & (elected != 0)
        total = total + torch.where(agrees, term, torch.zeros_like(term))
        share = share + agrees * (abs(w) if divisor == "weights" else 1.0)
    if divisor != "none":
        total = torch.where(share > 0, total / share, torch.zeros_like(total))
    return total.to(common_dtype(deltas))


def ties(
    deltas: Sequence[Tensor] | Tensor,
    density: float | Sequence[float] = 1.0,
    weights: Sequence[float] | None = None,
    lam: float = 1.0,
    *,
    election: str = "mass",
    zero_sign: str = "zero",
    divisor: str = "weights",
) -> Tensor:
    """Merged task vector: trim each, elect a sign per entry, average what agrees, scale by `lam`.

    `deltas`: N task vectors of one shape. `density`: the fraction kept, one number or one per
    source. `weights`: N numbers, 1 each by default. The result has the deltas' shape and dtype
    and is to be added to the base. The other parameters are those of the steps.

    Raises `ValueError` as the steps do.

    Source: TIES-Merging, algorithm 1.

    >>> tau = [torch.tensor([0.08, 0.01, 0.30]), torch.tensor([-0.05, 0.20, -0.10])]
    >>> ties(tau, density=2 / 3)
    tensor([0.0800, 0.2000, 0.3000])
    """
    tau = as_deltas(deltas)
    densities = per_source(density, len(tau), 1.0)
    trimmed = [trim(d, fraction) for d, fraction in zip(tau, densities, strict=True)]
    merged = elect_and_merge(trimmed, weights, lam, election, zero_sign, divisor)
    return merged.to(common_dtype(deltas))


def elect_and_merge(
    deltas: Sequence[Tensor] | Tensor,
    weights: Sequence[float] | None = None,
    lam: float = 1.0,
    election: str = "mass",
    zero_sign: str = "zero",
    divisor: str = "weights",
) -> Tensor:
    """The second and third step of TIES, on task vectors already trimmed or dropped.

    Shapes, dtypes and errors as in `ties`.

    >>> elect_and_merge([torch.tensor([0.5, 0.0]), torch.tensor([-0.2, 0.1])], lam=2.0)
    tensor([1.0000, 0.2000])
    """
    sign = elect_sign(deltas, weights, election=election, zero_sign=zero_sign)
    return disjoint_merge(deltas, sign, weights, divisor=divisor) * lam


ELECTION = Parameter(
    "election",
    "mass",
    "how a sign is elected: by weighted mass, unweighted mass, or one vote per source",
    choices=("mass", "mass_unweighted", "count"),
    source="paper: unweighted mass; mergekit: weighted sum or count; PEFT: total or frequency",
)
ZERO_SIGN = Parameter(
    "zero_sign",
    "zero",
    "what an exact draw elects: no sign, the tensor's majority sign, or plus",
    choices=("zero", "majority", "positive"),
    source="paper: majority; mergekit and PEFT: positive",
)
DIVISOR = Parameter(
    "divisor",
    "weights",
    "what the agreeing sum is divided by: the agreeing weights, their count, or nothing",
    choices=("weights", "count", "none"),
    source="paper and PEFT: count; mergekit: weights, or none with normalize: false",
)
SIGN_PARAMETERS = (ELECTION, ZERO_SIGN, DIVISOR)

METHODS = (
    Method(
        name="ties",
        function=ties,
        prepare=trim,
        combine=elect_and_merge,
        by_entry=True,
        summary="trim small changes, elect a sign per entry, average what agrees",
        paper="Yadav et al. 2023, arXiv 2306.01708",
        parameters=(WEIGHT, DENSITY, LAMBDA, *SIGN_PARAMETERS),
        resolves_conflicts=True,
    ),
)
