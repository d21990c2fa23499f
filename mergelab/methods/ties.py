"""TIES: trim the small changes, elect one sign per entry, average what agrees.

Yadav et al. 2023, "TIES-Merging: Resolving interference when merging models", arXiv 2306.01708,
algorithm 1. The three steps are three functions; `ties` is one after the other. (The first is in
`trimming`, because other methods start with it too.)

Where the paper's code, mergekit and PEFT differ, the defaults here are: trim each tensor by
itself, keep every tie at the threshold, elect by weighted mass, give an exact draw no sign.
"""

from collections.abc import Sequence

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
from mergelab.methods.trimming import TRIM_PARAMETERS, trim

ELECTIONS = ("mass", "mass_unweighted", "count", "count_unweighted")
DIVISORS = ("weights", "signed_weights", "count", "none")


def elect_sign(
    deltas: Sequence[Tensor] | Tensor,
    weights: Sequence[float] | None = None,
    *,
    election: str = "mass",
    zero_sign: str = "zero",
    majority: float | None = None,
) -> Tensor:
    """Elect one sign per entry: the side with the greater total.

    `deltas`: N task vectors of one shape, usually trimmed. `weights`: N numbers, 1 each by
    default. Returns a tensor of that shape holding -1, 0 or +1.

    `election`: "mass" takes the sign of `sum(w_i * tau_i)`; "mass_unweighted" that of
    `sum(tau_i)`; "count" lets each source cast one vote, the sign of `w_i * tau_i`;
    "count_unweighted" that of `tau_i`. `zero_sign` says what an exact draw elects: "zero" (no
    sign: the merged entry will be 0), "positive", or "majority" (the sign that most entries
    elected: `majority` where it is given, because these are parts of something larger, else that
    of these entries).

    Raises `ValueError` if shapes differ, the number of weights is not N, or a choice is unknown.

    Source: TIES-Merging, algorithm 1, step 2 (elects by unweighted mass).

    >>> tau = [torch.tensor(t) for t in ([0.08, 0.30], [-0.05, -0.10], [0.12, -0.10])]
    >>> elect_sign(tau)
    tensor([1., 1.])
    >>> elect_sign(tau, election="count")
    tensor([ 1., -1.])
    """
    if election not in ELECTIONS:
        raise ValueError(f"election must be one of {', '.join(ELECTIONS)}, got {election!r}")
    tau = as_deltas(deltas)
    weight = per_source(weights, len(tau), 1.0)
    if is_unweighted(election):
        weight = [1.0] * len(tau)
    if election.startswith("count"):
        tau, weight = [(d * w).sign() for d, w in zip(tau, weight, strict=True)], [1.0] * len(tau)
    sign = weighted_sum(tau, weight).sign()
    if zero_sign == "positive":
        sign = torch.where(sign == 0, torch.ones_like(sign), sign)
    elif zero_sign == "majority":
        most = sign.sum().sign() if majority is None else torch.full_like(sign, majority)
        sign = torch.where(sign == 0, most.expand_as(sign), sign)
    elif zero_sign != "zero":
        raise ValueError(f"zero_sign must be zero, positive or majority, got {zero_sign!r}")
    return sign.to(common_dtype(deltas))


def is_unweighted(election: str) -> bool:
    """Whether sources vote by the sign of `tau_i`, whatever their weight.

    >>> is_unweighted("mass"), is_unweighted("mass_unweighted")
    (False, True)
    """
    return election.endswith("_unweighted")


def disjoint_merge(
    deltas: Sequence[Tensor] | Tensor,
    sign: Tensor,
    weights: Sequence[float] | None = None,
    *,
    divisor: str = "weights",
    unweighted: bool = False,
) -> Tensor:
    """Weighted mean, entry by entry, of the sources that agree with the elected sign.

    `deltas`: N task vectors of one shape. `sign`: a tensor of that shape, of -1, 0 and +1.
    `weights`: N numbers, 1 each by default. A source takes part in an entry where
    `w_i * tau_i` has the elected sign; the entry becomes `sum(w_i * tau_i) / sum(|w_i|)` over
    those sources, and 0 where none takes part. The result has the deltas' shape and dtype.

    `divisor`: "weights" divides by the agreeing weights, "signed_weights" by their sum as it is
    (not at all where that is 0), "count" by how many agree, "none" not at all. `unweighted`: a
    source takes part where `tau_i` has the elected sign, for elections without weights; the two
    differ for negative weights only.

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
    if divisor not in DIVISORS:
        raise ValueError(f"divisor must be one of {', '.join(DIVISORS)}, got {divisor!r}")
    elected = computing(sign).sign()
    total = torch.zeros_like(tau[0])
    share = torch.zeros_like(tau[0])
    for delta, w in zip(tau, weight, strict=True):
        term = delta * w
        shares = {"weights": abs(w), "signed_weights": w}
        agrees = ((delta if unweighted else term).sign() == elected) & (elected != 0)
        total = total + torch.where(agrees, term, torch.zeros_like(term))
        share = share + agrees.to(total.dtype) * shares.get(divisor, 1.0)
    if divisor != "none":
        total = total / torch.where(share != 0, share, torch.ones_like(share))
    return total.to(common_dtype(deltas))


def ties(
    deltas: Sequence[Tensor] | Tensor,
    density: float | Sequence[float] = 1.0,
    weights: Sequence[float] | None = None,
    lam: float = 1.0,
    *,
    trim_count: str = "round",
    rescale: bool | str = False,
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
    trimmed = [
        trim(d, fraction, trim_count=trim_count, rescale=rescale)
        for d, fraction in zip(tau, densities, strict=True)
    ]
    merged = elect_and_merge(trimmed, weights, lam, election, zero_sign, divisor)
    return merged.to(common_dtype(deltas))


def elect_and_merge(
    deltas: Sequence[Tensor] | Tensor,
    weights: Sequence[float] | None = None,
    lam: float = 1.0,
    election: str = "mass",
    zero_sign: str = "zero",
    divisor: str = "weights",
    majority: float | None = None,
) -> Tensor:
    """The second and third step of TIES, on task vectors already trimmed or dropped.

    Sources vote and agree by the sign of `w_i * tau_i`, or of `tau_i` in an unweighted election.
    Shapes, dtypes and errors as in `ties`, `majority` as in `elect_sign`.

    >>> elect_and_merge([torch.tensor([0.5, 0.0]), torch.tensor([-0.2, 0.1])], lam=2.0)
    tensor([1.0000, 0.2000])
    """
    sign = elect_sign(deltas, weights, election=election, zero_sign=zero_sign, majority=majority)
    merged = disjoint_merge(
        deltas, sign, weights, divisor=divisor, unweighted=is_unweighted(election)
    )
    return merged * lam


ELECTION = Parameter(
    "election",
    "mass",
    "how a sign is elected: by weighted mass, unweighted mass, or one vote per source",
    choices=ELECTIONS,
    source="paper: mass_unweighted; mergekit: mass; PEFT: mass_unweighted (its total) "
    "or count_unweighted (its frequency)",
)
ZERO_SIGN = Parameter(
    "zero_sign",
    "zero",
    "what an exact draw elects: no sign, the majority sign of what is trimmed together, or plus",
    choices=("zero", "majority", "positive"),
    source="paper: majority; mergekit and PEFT: positive",
)
DIVISOR = Parameter(
    "divisor",
    "weights",
    "what the agreeing sum is divided by: the agreeing weights, without or with their signs, "
    "their count, or nothing",
    choices=DIVISORS,
    source="paper and PEFT: count; mergekit: signed_weights, or none with normalize: false",
)
SIGN_PARAMETERS = (ELECTION, ZERO_SIGN, DIVISOR)
SPACE = Parameter(
    "space",
    "task_vectors",
    "what is merged: the changes to the weights, or the adapters' factors A and B each by itself",
    choices=("task_vectors", "factors"),
    source="PEFT: factors; its kinds that end in _svd: task_vectors",
)

METHODS = (
    Method(
        name="ties",
        function=ties,
        prepare=trim,
        combine=elect_and_merge,
        by_entry=True,
        summary="trim small changes, elect a sign per entry, average what agrees",
        paper="Yadav et al. 2023, arXiv 2306.01708",
        parameters=(WEIGHT, DENSITY, LAMBDA, *TRIM_PARAMETERS, *SIGN_PARAMETERS, SPACE),
        resolves_conflicts=True,
    ),
)
