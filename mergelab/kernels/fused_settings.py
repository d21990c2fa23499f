"""A merge's settings as the numbers and switches that fused kernels take, on a CPU or a GPU."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mergelab.kernels.combining import options_of
from mergelab.kernels.operands import accepted
from mergelab.kernels.tiled import Merge
from mergelab.methods.dare import dare
from mergelab.methods.declaration import per_source
from mergelab.methods.linear import linear, sum_of, task_arithmetic
from mergelab.methods.pruning import band, band_ranks
from mergelab.methods.ties import DIVISORS, ELECTIONS, elect_and_merge, is_unweighted
from mergelab.methods.trimming import kept_count, trim

MOST_SOURCES = 16
ALL_WORDS = 1 << 32


def takes(merge: Merge) -> bool:
    """Whether the kernels can do this merge; what they cannot, `TiledMerge` does on any device."""
    method, settings = merge.method, merge.settings
    by_row = method.row_flag and settings.get(method.row_flag)
    summed = method.combine in (linear, task_arithmetic) or method.coefficients is not None
    return (
        merge.merged is None
        and 0 < len(merge.changes) <= MOST_SOURCES
        and math.prod(merge.changes[0].shape) > 0
        and not (method.factored or by_row)
        and (summed or method.combine is elect_and_merge)
        and (method.prepare is None or method.prepare in (trim, band, dare))
        and not (merge.in_weights and method.prepare)
        and not isinstance(settings.get("rescale"), str)  # a norm, of the whole tensor
        and settings.get("trim_scope") != "row"
    )


@dataclass(frozen=True)
class Preparation:
    """A source's first half: a drop, then a trim, and the factors after each.

    `words`: of 2**32 random words, how many keep; `low` and `high`: the magnitudes kept;
    `ranks`: for each of the two that is yet to be found, its rank.
    """

    words: int = ALL_WORDS
    drop_factor: float = 1.0
    low: float = 0.0
    high: float = math.inf
    factor: float = 1.0
    ranks: Mapping[str, int] = field(default_factory=dict)

    @property
    def trims(self) -> bool:
        """Whether anything happens after the drop."""
        return bool(self.ranks) or (self.low, self.high, self.factor) != (0.0, math.inf, 1.0)


def preparation(merge: Merge, source: int) -> Preparation:
    """What a method's first half does to a source. Raises `ValueError` as that does.

    >>> from mergelab.kernels.operands import Zeros
    >>> from mergelab.methods import REGISTRY
    >>> merge = Merge(REGISTRY["ties"], [Zeros((4, 5))], {}, [{"density": 0.3}])
    >>> preparation(merge, 0).ranks
    {'low': 6}
    """
    own = {**merge.settings, **merge.per_source[source]}
    size = math.prod(merge.changes[source].shape)
    settings = accepted(_PREPARATIONS.get(merge.method.prepare, _none), own)
    return _PREPARATIONS.get(merge.method.prepare, _none)(size, **settings)


def _none(size: int) -> Preparation:
    return Preparation()


def _trimmed(
    size: int,
    density: float,
    trim_count: str = "round",
    rescale: bool = False,
    threshold: float | None = None,
) -> Preparation:
    factor = _factor(density, rescale)
    if threshold is not None:
        return Preparation(low=threshold, factor=factor)
    kept = kept_count(size, density, trim_count)
    if kept == size:
        return Preparation()
    return Preparation(factor=factor, ranks={"low": kept}) if kept else Preparation(low=math.inf)


def _banded(
    size: int, density: float, gamma: float, trim_count: str = "round", rescale: bool = False
) -> Preparation:
    above, kept = band_ranks(size, density, gamma, trim_count)
    if not kept:
        return Preparation(low=math.inf)
    ranks = {"low": above + kept, "high": above + 1}
    return Preparation(factor=_factor(density, rescale), ranks=ranks)


def _dropped(
    size: int,
    density: float,
    rescale: bool = True,
    trim_after: float = 1.0,
    trim_count: str = "round",
    threshold: float | None = None,
) -> Preparation:
    if not 0.0 <= density <= 1.0:
        raise ValueError(f"density must lie between 0 and 1, got {density}")
    trimmed = Preparation()
    if trim_after != 1.0:
        trimmed = _trimmed(size, trim_after, trim_count, threshold=threshold)
    words = round(density * ALL_WORDS)
    return Preparation(words, _factor(density, rescale), trimmed.low, ranks=trimmed.ranks)


def _factor(density: float, rescale: bool) -> float:
    return 1.0 / density if rescale and density > 0 else 1.0


_PREPARATIONS = {trim: _trimmed, band: _banded, dare: _dropped}


@dataclass(frozen=True)
class Combination:
    """The second half: each source's weight and share of the divisor, the sum's divisor, `lam`, the
    sign of a draw (None: that of most entries, yet to be found), and the kernel's switches."""

    weights: Sequence[float]
    shares: Sequence[float]
    divisor: float = 1.0
    lam: float = 1.0
    draw: float | None = 0.0
    switches: Mapping[str, bool] = field(default_factory=dict)


_SUM = {"ELECTS": False, "BY_COUNT": False, "UNWEIGHTED": False, "DIVIDES": False}


def weighted(factors: Sequence[float], divisor: float = 1.0, lam: float = 1.0) -> Combination:
    """A sum of the sources, each times its factor."""
    return Combination(factors, factors, divisor, lam, switches=_SUM)


def combination(merge: Merge) -> Combination | None:
    """The second half as the settings give it; None where it takes inner products as well.

    Raises `ValueError` as the method's own `combine` does.

    >>> from mergelab.kernels.operands import Zeros
    >>> from mergelab.methods import REGISTRY
    >>> merge = Merge(REGISTRY["linear"], [Zeros((3,))] * 2, {}, [{"weight": 1.0}, {"weight": 3.0}])
    >>> combination(merge).weights, combination(merge).divisor
    ([1.0, 3.0], 4.0)
    """
    combine, count = merge.method.combine, len(merge.changes)
    given = accepted(combine, options_of(merge.settings, merge.per_source))
    bound = inspect.signature(combine).bind([], **given)
    bound.apply_defaults()
    options = bound.arguments
    if combine in (linear, task_arithmetic):
        weights = per_source(options["weights"], count, 1.0)
        divisor = sum_of(weights) if options["normalize"] else 1.0
        return weighted(weights, divisor, options.get("lam", 1.0))
    if combine is elect_and_merge:
        return _election(count, **{name: options[name] for name in accepted(_election, options)})
    return None


def _election(
    count: int,
    weights: Sequence[float] | None,
    lam: float,
    election: str,
    zero_sign: str,
    divisor: str,
    majority: float | None,
) -> Combination:
    draws = {"zero": 0.0, "positive": 1.0, "majority": majority}
    choices = {"election": ELECTIONS, "divisor": DIVISORS, "zero_sign": tuple(draws)}
    for name, value in (("election", election), ("divisor", divisor), ("zero_sign", zero_sign)):
        if value not in choices[name]:
            raise ValueError(f"{name} must be one of {', '.join(choices[name])}, got {value!r}")
    weight = per_source(weights, count, 1.0)
    shares = {"weights": [abs(w) for w in weight], "signed_weights": weight}
    switches = {
        "ELECTS": True,
        "BY_COUNT": election.startswith("count"),
        "UNWEIGHTED": is_unweighted(election),
        "DIVIDES": divisor != "none",
    }
    share = shares.get(divisor, [1.0] * count)
    return Combination(weight, share, lam=lam, draw=draws[zero_sign], switches=switches)
