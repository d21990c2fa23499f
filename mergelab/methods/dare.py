"""DARE: drop most changes at random, enlarge the survivors so that the expected change is the same.

Yu et al. 2024, "Language models are super Mario", arXiv 2311.03099. A preprocessor, not a merge:
what is left of each task vector is then added up (dare_linear) or goes through sign election
(dare_ties). `density` is the fraction kept, one minus the paper's drop rate p.
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
from mergelab.methods.ties import SIGN_PARAMETERS, SPACE, elect_and_merge
from mergelab.methods.trimming import NORMS, TRIM_COUNT, TRIM_SCOPE, rescaled, trim


def keep_mask(
    shape: Sequence[int], density: float, *, seed: int, stream: int, offset: int = 0, device=None
) -> Tensor:
    """Which entries survive: each independently with probability `density`, to within 2**-32.

    `shape`: of the task vector; entry i in row-major order uses random word `offset + i`, so that
    a part of a tensor, given the place it starts at, gets its part of the mask. Returns a bool
    tensor. Raises `ValueError` if `density` lies outside [0, 1].

    >>> keep_mask((4,), 0.5, seed=0, stream=0)
    tensor([ True, False, False, False])
    """
    if not 0.0 <= density <= 1.0:
        raise ValueError(f"density must lie between 0 and 1, got {density}")
    size = torch.Size(shape)
    words = random_words(size.numel(), seed=seed, stream=stream, offset=offset, device=device)
    return (words < round(density * 2**32)).reshape(size)


def drop(
    delta: Tensor, density: float, *, seed: int = 0, stream: int = 0, offset: int = 0
) -> Tensor:
    """Set entries to zero at random, each kept with probability `density`; no rescaling.

    `delta`: a task vector of any shape, or a part of one that starts at entry `offset`. `seed` and
    `stream` name the random sequence: one seed for a merge, one stream for each source and
    tensor. Returns a new tensor of the same shape and dtype. Raises `ValueError` if `density`
    lies outside [0, 1].

    Source: Yu et al. 2024, equation 1 (m_t ~ Bernoulli(p) marks the dropped entries).

    >>> drop(torch.tensor([1.0, 2.0, 3.0, 4.0]), 0.5)
    tensor([1., 0., 0., 0.])
    """
    mask = keep_mask(
        delta.shape, density, seed=seed, stream=stream, offset=offset, device=delta.device
    )
    return torch.where(mask, delta, torch.zeros_like(delta))


def dare(
    delta: Tensor,
    density: float,
    *,
    seed: int = 0,
    stream: int = 0,
    offset: int = 0,
    rescale: bool | str = True,
    trim_after: float = 1.0,
    trim_count: str = "round",
) -> Tensor:
    """Drop at random, then multiply the survivors by `1 / density`: drop and rescale.

    With drop rate `p = 1 - density` the survivors are divided by `1 - p`, so that each entry's
    expected value is what it was. `density = 0` leaves nothing and gives zeros. Shapes, dtypes
    and errors as in `drop`.

    `rescale`: as in `rescaled`; False only drops, a norm matches that of the whole task vector.
    `trim_after`: the fraction of all entries that `trim` then keeps, counted as `trim_count` says.
    A norm and a trim need the whole tensor, everything else works on a part that starts at
    `offset`.

    Source: Yu et al. 2024, equations 1 and 2; their code trims before a TIES merge.

    >>> dare(torch.tensor([0.15, 2.0, 3.0, 4.0]), 0.5)
    tensor([0.3000, 0.0000, 0.0000, 0.0000])
    """
    whole = computing(delta)
    kept = drop(whole, density, seed=seed, stream=stream, offset=offset)
    kept = rescaled(whole, kept, density, rescale)
    if trim_after < 1.0:
        kept = trim(kept, trim_after, trim_count=trim_count)
    return kept.to(delta.dtype)


def dare_linear(
    deltas: Sequence[Tensor] | Tensor,
    density: float | Sequence[float] = 1.0,
    weights: Sequence[float] | None = None,
    lam: float = 1.0,
    *,
    seed: int = 0,
    streams: Sequence[int] | None = None,
    rescale: bool | str = True,
    trim_after: float = 1.0,
    trim_count: str = "round",
    normalize: bool = False,
) -> Tensor:
    """DARE on each task vector, then their weighted sum as in task arithmetic.

    `deltas`: N task vectors of one shape. `density`: one number or one per source. `streams`: one
    random stream per source, 0 to N-1 by default. The result has the deltas' shape and dtype and
    is to be added to the base. The other parameters, and `ValueError`, as in `dare` and
    `task_arithmetic`.

    Source: Yu et al. 2024, section 3.2 (DARE with task arithmetic).

    >>> dare_linear([torch.tensor([1.0, 1.0]), torch.tensor([2.0, 2.0])], density=1.0)
    tensor([3., 3.])
    """
    sparse = _dare_each(deltas, density, seed, streams, rescale, trim_after, trim_count)
    return task_arithmetic(sparse, weights, lam, normalize=normalize).to(common_dtype(deltas))


def dare_ties(
    deltas: Sequence[Tensor] | Tensor,
    density: float | Sequence[float] = 1.0,
    weights: Sequence[float] | None = None,
    lam: float = 1.0,
    *,
    seed: int = 0,
    streams: Sequence[int] | None = None,
    rescale: bool | str = True,
    trim_after: float = 1.0,
    trim_count: str = "round",
    election: str = "mass",
    zero_sign: str = "zero",
    divisor: str = "weights",
) -> Tensor:
    """DARE on each task vector, then sign election and the mean of what agrees, as in TIES.

    There is no second trim unless `trim_after` asks for one. Parameters, shapes, dtypes and errors
    as in `dare_linear` and `ties`.

    Source: Yu et al. 2024, section 3.2 (DARE with TIES; the paper's own code also trims after
    dropping).

    >>> dare_ties([torch.tensor([1.0, -1.0]), torch.tensor([3.0, 2.0])], density=1.0)
    tensor([2., 2.])
    """
    sparse = _dare_each(deltas, density, seed, streams, rescale, trim_after, trim_count)
    merged = elect_and_merge(sparse, weights, lam, election, zero_sign, divisor)
    return merged.to(common_dtype(deltas))


def _dare_each(
    deltas: Sequence[Tensor] | Tensor,
    density: float | Sequence[float],
    seed: int,
    streams: Sequence[int] | None,
    rescale: bool | str,
    trim_after: float,
    trim_count: str,
) -> list[Tensor]:
    tau = as_deltas(deltas)
    densities = per_source(density, len(tau), 1.0)
    numbers = range(len(tau)) if streams is None else streams
    how = {"rescale": rescale, "trim_after": trim_after, "trim_count": trim_count}
    return [
        dare(delta, fraction, seed=seed, stream=stream, **how)
        for delta, fraction, stream in zip(tau, densities, numbers, strict=True)
    ]


RESCALE = Parameter(
    "rescale",
    True,
    "scale the survivors up: by 1/density, so that the expected change is kept (true), "
    "or back to the norm there was (l1, l2, linf)",
    choices=(True, False, *NORMS),
    source="Yu et al. 2024 (arXiv 2311.03099), equation 2: true; mergekit: l1",
)
TRIM_AFTER = Parameter(
    "trim_after",
    1.0,
    "fraction of all entries kept by a trim after the drop; 1 is none",
    low=0.0,
    high=1.0,
    source="paper's code: .2 before a TIES merge; mergekit and PEFT: none",
)
_PARAMETERS = (RESCALE, TRIM_AFTER, TRIM_COUNT, TRIM_SCOPE)

METHODS = (
    Method(
        name="dare_linear",
        function=dare_linear,
        prepare=dare,
        combine=task_arithmetic,
        by_entry=True,
        summary="drop changes at random, rescale the rest, add up",
        paper="Yu et al. 2024, arXiv 2311.03099",
        parameters=(WEIGHT, DENSITY, LAMBDA, NORMALIZE_SUM, *_PARAMETERS, SPACE),
        random=True,
    ),
    Method(
        name="dare_ties",
        function=dare_ties,
        prepare=dare,
        combine=elect_and_merge,
        by_entry=True,
        summary="drop changes at random, rescale the rest, elect signs, average what agrees",
        paper="Yu et al. 2024, arXiv 2311.03099",
        parameters=(WEIGHT, DENSITY, LAMBDA, *_PARAMETERS, *SIGN_PARAMETERS, SPACE),
        resolves_conflicts=True,
        random=True,
    ),
)
