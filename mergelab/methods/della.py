"""DELLA: drop at random as DARE does, but let large changes survive more often than small ones.

Deep et al. 2024, "DELLA-Merging: Reducing interference in model merging through magnitude-based
sampling", arXiv 2406.11617. Within each row entries are ranked by magnitude; the largest is kept
with probability `density + epsilon`, the smallest with `density - epsilon`, and each survivor is
divided by its own probability, so that its expected value is what it was. (In the paper epsilon is
the whole width of that window, here and in mergekit half of it: `window` says which. mergekit also
gives all survivors one common factor instead, `rescale: l1`.)
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
from mergelab.methods.linear import NORMALIZE_SUM, task_arithmetic
from mergelab.methods.philox import random_words
from mergelab.methods.ties import SIGN_PARAMETERS, elect_and_merge
from mergelab.methods.trimming import NORMS, norm_ratio

EPSILON_DEFAULT = 0.15
WINDOWS = ("each_side", "whole")


def keep_probability(
    delta: Tensor, density: float, epsilon: float = EPSILON_DEFAULT, window: str = "each_side"
) -> Tensor:
    """Probability with which each entry is kept: by the rank of its magnitude within its row.

    `delta`: a task vector of any shape; the last dimension is the row, a vector or a scalar is one
    row. Among equal magnitudes the earlier entry ranks lower. Returns probabilities of the same
    shape, rising linearly from `density - epsilon` to `density + epsilon`; a row of one entry has
    `density`. `density` 0 and 1 keep nothing and everything. `window`: "each_side" reads epsilon
    as above; "whole" as the width in all, so that half of it lies to each side.

    Raises `ValueError` if the window does not lie within 0 and 1, both excluded (unless `density`
    is 0 or 1), or if `window` is unknown.

    Source: Deep et al. 2024, section 3.1 (MAGPRUNE), with keep instead of drop probabilities, and
    steps of 1/(n-1) of the window as in their code, where the text has 1/n.

    >>> keep_probability(torch.tensor([0.3, -0.1, 0.2]), density=0.5, epsilon=0.2)
    tensor([0.7000, 0.3000, 0.5000])
    """
    if window not in WINDOWS:
        raise ValueError(f"window must be each_side or whole, got {window!r}")
    if density in (0, 1):
        return torch.full(delta.shape, float(density), device=delta.device)
    half = epsilon if window == "each_side" else epsilon / 2
    if half < 0 or density - half <= 0 or density + half >= 1:
        side = "epsilon" if window == "each_side" else "epsilon/2"
        raise ValueError(
            f"density - {side} must be above 0 and density + {side} below 1, "
            f"got density {density} and epsilon {epsilon}"
        )
    length = delta.shape[-1] if delta.dim() else 1
    if length < 2:
        return torch.full(delta.shape, density, device=delta.device)
    rows = delta.abs().reshape(-1, length)
    order = rows.argsort(dim=1, stable=True)
    steps = torch.linspace(-half, half, length, dtype=torch.float64, device=delta.device)
    probability = torch.empty(rows.shape, dtype=torch.float64, device=delta.device)
    probability.scatter_(1, order, (density + steps).expand_as(probability))
    return probability.reshape(delta.shape).float()


def magprune(
    delta: Tensor,
    density: float,
    epsilon: float = EPSILON_DEFAULT,
    *,
    window: str = "each_side",
    seed: int = 0,
    stream: int = 0,
    offset: int = 0,
    rescale: bool | str = True,
) -> Tensor:
    """Drop entries at random by rank of magnitude; divide survivors by their own probability.

    `delta`: a task vector of any shape. `seed`, `stream` and `offset` name the random numbers as
    in `drop`. `rescale`: True as above; False only drops; "l1", "l2" or "linf" multiplies all
    survivors by one `norm_ratio`, for which the whole tensor is needed (else any run of rows will
    do). Returns a new tensor of the same shape and dtype. Raises `ValueError` as
    `keep_probability` and `norm_ratio` do.

    Source: Deep et al. 2024, section 3.1 (MAGPRUNE); mergekit's `della_magprune` ("l1").

    >>> magprune(torch.tensor([0.3, -0.1, 0.2]), density=1.0)
    tensor([ 0.3000, -0.1000,  0.2000])
    """
    probability = keep_probability(delta, density, epsilon, window)
    words = random_words(
        delta.numel(), seed=seed, stream=stream, offset=offset, device=delta.device
    )
    mask = words < (probability.double() * 2**32).round().long().flatten()
    whole = computing(delta)
    value = whole / probability.clamp(min=2**-32) if rescale is True else whole
    kept = torch.where(mask.reshape(delta.shape), value, torch.zeros_like(value))
    if isinstance(rescale, str):
        kept = kept * norm_ratio(whole, kept, rescale)
    return kept.to(delta.dtype)


def della(
    deltas: Sequence[Tensor] | Tensor,
    density: float | Sequence[float] = 1.0,
    weights: Sequence[float] | None = None,
    lam: float = 1.0,
    epsilon: float | Sequence[float] = EPSILON_DEFAULT,
    *,
    window: str = "each_side",
    seed: int = 0,
    streams: Sequence[int] | None = None,
    rescale: bool | str = True,
    election: str = "mass",
    zero_sign: str = "zero",
    divisor: str = "weights",
) -> Tensor:
    """MAGPRUNE on each task vector, then sign election and the mean of what agrees, as in TIES.

    `deltas`: N task vectors of one shape; the result has their shape and dtype and is to be added
    to the base. `density` and `epsilon`: one number or one per source; `streams`: one random
    stream per source, 0 to N-1 by default; `window` and `rescale` as in `magprune`. Raises
    `ValueError` as `magprune` and `ties` do.

    Source: Deep et al. 2024, section 3 (drop, elect, fuse).

    >>> della([torch.tensor([1.0, -1.0]), torch.tensor([3.0, 2.0])])
    tensor([2., 2.])
    """
    sparse = _magprune_each(deltas, density, epsilon, window, seed, streams, rescale)
    merged = elect_and_merge(sparse, weights, lam, election, zero_sign, divisor)
    return merged.to(common_dtype(deltas))


def della_linear(
    deltas: Sequence[Tensor] | Tensor,
    density: float | Sequence[float] = 1.0,
    weights: Sequence[float] | None = None,
    lam: float = 1.0,
    epsilon: float | Sequence[float] = EPSILON_DEFAULT,
    *,
    window: str = "each_side",
    seed: int = 0,
    streams: Sequence[int] | None = None,
    rescale: bool | str = True,
    normalize: bool = False,
) -> Tensor:
    """MAGPRUNE on each task vector, then their weighted sum; parameters as in `della`.

    >>> della_linear([torch.tensor([1.0, -1.0]), torch.tensor([3.0, 2.0])])
    tensor([4., 1.])
    """
    sparse = _magprune_each(deltas, density, epsilon, window, seed, streams, rescale)
    return task_arithmetic(sparse, weights, lam, normalize=normalize).to(common_dtype(deltas))


def _magprune_each(
    deltas: Sequence[Tensor] | Tensor,
    density: float | Sequence[float],
    epsilon: float | Sequence[float],
    window: str,
    seed: int,
    streams: Sequence[int] | None,
    rescale: bool | str,
) -> list[Tensor]:
    tau = as_deltas(deltas)
    densities = per_source(density, len(tau), 1.0)
    epsilons = per_source(epsilon, len(tau), EPSILON_DEFAULT)
    numbers = range(len(tau)) if streams is None else streams
    return [
        magprune(t, d, e, window=window, seed=seed, stream=s, rescale=rescale)
        for t, d, e, s in zip(tau, densities, epsilons, numbers, strict=True)
    ]


EPSILON = Parameter(
    "epsilon",
    EPSILON_DEFAULT,
    "width of the window of keep probabilities around density: to each side, or in all (window)",
    low=0.0,
    high=1.0,
    per_source=True,
    source="Deep et al. 2024 (arXiv 2406.11617); mergekit's default",
)
WINDOW = Parameter(
    "window",
    "each_side",
    "epsilon is the window's width to each side of density, or its whole width",
    choices=WINDOWS,
    source="paper: whole; mergekit: each_side",
)
RESCALE = Parameter(
    "rescale",
    True,
    "divide each survivor by its own probability, so that the expected change is kept (true), "
    "or scale all back to the norm there was (l1, l2, linf)",
    choices=(True, False, *NORMS),
    source="Deep et al. 2024 (arXiv 2406.11617), section 3.1: true; mergekit: l1",
)

METHODS = (
    Method(
        name="della",
        function=della,
        prepare=magprune,
        combine=elect_and_merge,
        by_entry=True,
        summary="drop small changes more often than large ones, elect signs, average what agrees",
        paper="Deep et al. 2024, arXiv 2406.11617",
        parameters=(WEIGHT, DENSITY, EPSILON, WINDOW, LAMBDA, RESCALE, *SIGN_PARAMETERS),
        resolves_conflicts=True,
        random=True,
    ),
    Method(
        name="della_linear",
        function=della_linear,
        prepare=magprune,
        combine=task_arithmetic,
        by_entry=True,
        summary="drop small changes more often than large ones, add up",
        paper="Deep et al. 2024, arXiv 2406.11617",
        parameters=(WEIGHT, DENSITY, EPSILON, WINDOW, LAMBDA, NORMALIZE_SUM, RESCALE),
        random=True,
    ),
)
