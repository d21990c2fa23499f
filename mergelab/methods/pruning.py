"""Pruning by magnitude before adding up: magnitude_prune and Model Breadcrumbs.

Trim keeps the largest changes. Breadcrumbs (Davari and Belilovsky 2023, arXiv 2312.06795) also
throws away the very largest, taken for outliers, and keeps a band between the two.
"""

import math
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
    per_source,
)
from mergelab.methods.linear import NORMALIZE_SUM, task_arithmetic
from mergelab.methods.ties import SIGN_PARAMETERS, SPACE, elect_and_merge
from mergelab.methods.trimming import (
    RESCALE_KEPT,
    TRIM_COUNT,
    TRIM_PARAMETERS,
    keep_between,
    kept_count,
    kth_largest,
    rescaled,
    trim,
)

GAMMA_DEFAULT = 0.01


def band(
    delta: Tensor,
    density: float,
    gamma: float = GAMMA_DEFAULT,
    *,
    trim_count: str = "round",
    trim_scope: str = "tensor",
    rescale: bool | str = False,
) -> Tensor:
    """Keep a band of magnitudes: without the largest and without the smallest entries.

    `delta`: a task vector of any shape. `density`: the fraction kept, counted as in `trim`.
    `gamma`: the fraction of the largest entries removed first, `floor(gamma * n + 0.5)` of them;
    fewer where density and gamma together exceed 1. Entries as large as the band's ends stay, ties
    too. `trim_count`: as in `kept_count`; all but "round" also cut the number removed off.
    `trim_scope`: "tensor", or "row": a band in each row (last dimension). `rescale`: as in
    `rescaled`. Returns a new tensor of the same shape and dtype.

    Raises `ValueError` if `density` or `gamma` lies outside [0, 1] or a choice is unknown.

    Source: Davari and Belilovsky 2023, section 3.2 (their masks are per layer in the text, per row
    in the code).

    >>> band(torch.tensor([9.0, 0.1, -2.0, 1.0, 0.2]), density=0.4, gamma=0.2)
    tensor([ 0.,  0., -2.,  1.,  0.])
    """
    if trim_scope not in ("tensor", "row"):
        raise ValueError(f"trim_scope must be tensor or row, got {trim_scope!r}")
    by_row = trim_scope == "row" and delta.dim() > 1
    size = delta.shape[-1] if by_row else delta.numel()
    above, kept = band_ranks(size, density, gamma, trim_count)
    if kept == 0 or delta.numel() == 0:
        return torch.zeros_like(delta)
    magnitude = delta.abs()
    if by_row:
        ordered = magnitude.sort(dim=-1, descending=True).values
        low, high = ordered[..., above + kept - 1, None], ordered[..., above, None]
        inside = (magnitude >= low) & (magnitude <= high)
        band = torch.where(inside, delta, torch.zeros_like(delta))
    else:
        low, high = kth_largest(magnitude, above + kept), kth_largest(magnitude, above + 1)
        band = keep_between(delta, low, high)
    return rescaled(delta, band, density, rescale)


def band_ranks(
    size: int, density: float, gamma: float, trim_count: str = "round"
) -> tuple[int, int]:
    """How many of `size` entries `band` removes as too large, and how many it keeps after them.

    Raises `ValueError` if `density` or `gamma` lies outside [0, 1] or `trim_count` is unknown.

    >>> band_ranks(10, density=0.5, gamma=0.2), band_ranks(10, density=0.5, gamma=0.8)
    ((2, 5), (5, 5))
    """
    if not 0.0 <= gamma <= 1.0:
        raise ValueError(f"gamma must lie between 0 and 1, got {gamma}")
    kept = kept_count(size, density, trim_count)
    removed = math.floor(gamma * size + 0.5) if trim_count == "round" else int(gamma * size)
    return min(removed, size - kept), kept


def magnitude_prune(
    deltas: Sequence[Tensor] | Tensor,
    density: float | Sequence[float] = 1.0,
    weights: Sequence[float] | None = None,
    lam: float = 1.0,
    *,
    trim_count: str = "round",
    rescale: bool | str = False,
    normalize: bool = False,
) -> Tensor:
    """Trim each task vector, then add them up as in task arithmetic.

    `deltas`: N task vectors of one shape; the result has their shape and dtype and is to be added
    to the base. Parameters, and `ValueError`, as in `trim` and `task_arithmetic`.

    Source: PEFT's `magnitude_prune`.

    >>> magnitude_prune([torch.tensor([1.0, 0.1]), torch.tensor([0.2, -2.0])], density=0.5)
    tensor([ 1., -2.])
    """
    tau = as_deltas(deltas)
    densities = per_source(density, len(tau), 1.0)
    trimmed = [
        trim(delta, d, trim_count=trim_count, rescale=rescale)
        for delta, d in zip(tau, densities, strict=True)
    ]
    return task_arithmetic(trimmed, weights, lam, normalize=normalize).to(common_dtype(deltas))


def breadcrumbs(
    deltas: Sequence[Tensor] | Tensor,
    density: float | Sequence[float] = 1.0,
    weights: Sequence[float] | None = None,
    lam: float = 1.0,
    gamma: float | Sequence[float] = GAMMA_DEFAULT,
    *,
    trim_count: str = "round",
    trim_scope: str = "tensor",
    rescale: bool | str = False,
    normalize: bool = False,
) -> Tensor:
    """Keep a band of magnitudes of each task vector, then add them up.

    Shapes and dtypes as in `magnitude_prune`; the parameters as in `band`, `density` and `gamma`
    one number or one per source. Raises `ValueError` as `band` does.

    Source: Davari and Belilovsky 2023, equation 2.

    >>> breadcrumbs([torch.tensor([9.0, 0.1, 2.0])], density=1 / 3, gamma=1 / 3)
    tensor([0., 0., 2.])
    """
    kept = _bands(deltas, density, gamma, trim_count, trim_scope, rescale)
    return task_arithmetic(kept, weights, lam, normalize=normalize).to(common_dtype(deltas))


def breadcrumbs_ties(
    deltas: Sequence[Tensor] | Tensor,
    density: float | Sequence[float] = 1.0,
    weights: Sequence[float] | None = None,
    lam: float = 1.0,
    gamma: float | Sequence[float] = GAMMA_DEFAULT,
    *,
    trim_count: str = "round",
    trim_scope: str = "tensor",
    rescale: bool | str = False,
    election: str = "mass",
    zero_sign: str = "zero",
    divisor: str = "weights",
) -> Tensor:
    """Keep a band of magnitudes of each task vector, then elect signs and merge as TIES does.

    Parameters as in `breadcrumbs` and `ties`. Source: mergekit's `breadcrumbs_ties`.

    >>> tau = [torch.tensor([9.0, 0.1, 2.0]), torch.tensor([0.1, 8.0, -1.0])]
    >>> breadcrumbs_ties(tau, density=1 / 3, gamma=1 / 3)
    tensor([0., 0., 2.])
    """
    kept = _bands(deltas, density, gamma, trim_count, trim_scope, rescale)
    merged = elect_and_merge(kept, weights, lam, election, zero_sign, divisor)
    return merged.to(common_dtype(deltas))


def _bands(
    deltas: Sequence[Tensor] | Tensor,
    density: float | Sequence[float],
    gamma: float | Sequence[float],
    trim_count: str,
    trim_scope: str,
    rescale: bool | str,
) -> list[Tensor]:
    tau = as_deltas(deltas)
    densities = per_source(density, len(tau), 1.0)
    gammas = per_source(gamma, len(tau), GAMMA_DEFAULT)
    how = {"trim_count": trim_count, "trim_scope": trim_scope, "rescale": rescale}
    return [band(t, d, g, **how) for t, d, g in zip(tau, densities, gammas, strict=True)]


GAMMA = Parameter(
    "gamma",
    GAMMA_DEFAULT,
    "fraction of the largest changes that is removed as outliers",
    low=0.0,
    high=1.0,
    per_source=True,
    source="Davari and Belilovsky 2023 (arXiv 2312.06795)",
)
BAND_SCOPE = Parameter(
    "trim_scope",
    "tensor",
    "where the band is taken: in each tensor, or in each of its rows",
    choices=("tensor", "row"),
    source="paper's code: row; mergekit: tensor",
)
_BAND = (TRIM_COUNT, BAND_SCOPE, RESCALE_KEPT)

METHODS = (
    Method(
        name="magnitude_prune",
        function=magnitude_prune,
        prepare=trim,
        combine=task_arithmetic,
        by_entry=True,
        summary="trim small changes, add up",
        paper="PEFT's magnitude_prune",
        parameters=(WEIGHT, DENSITY, LAMBDA, NORMALIZE_SUM, *TRIM_PARAMETERS, SPACE),
    ),
    Method(
        name="breadcrumbs",
        function=breadcrumbs,
        prepare=band,
        combine=task_arithmetic,
        by_entry=True,
        summary="remove the largest and the smallest changes, add up",
        paper="Davari and Belilovsky 2023, arXiv 2312.06795",
        parameters=(WEIGHT, DENSITY, GAMMA, LAMBDA, NORMALIZE_SUM, *_BAND),
    ),
    Method(
        name="breadcrumbs_ties",
        function=breadcrumbs_ties,
        prepare=band,
        combine=elect_and_merge,
        by_entry=True,
        summary="remove the largest and the smallest changes, elect signs, average what agrees",
        paper="Davari and Belilovsky 2023, arXiv 2312.06795; mergekit",
        parameters=(WEIGHT, DENSITY, GAMMA, LAMBDA, *_BAND, *SIGN_PARAMETERS),
        resolves_conflicts=True,
    ),
)
