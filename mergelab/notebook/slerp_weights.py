"""SLERP of full weights against the straight line, for changes of any size.

Between two fine-tunes of one base the arc is so flat that it is nearly its chord. How nearly
depends on the size of the changes alone, so shrinking two real adapters shows every case.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mergelab.methods.gram import Gram, angle_between, gram
from mergelab.methods.slerp import coefficients, is_linear, sine_of
from mergelab.notebook.tables import Table
from mergelab.notebook.weights import Changes

MERGEKIT = 0.9995


@dataclass(frozen=True)
class WeightSlerp:
    """SLERP of two full models half way, beside their plain average.

    `size`: mean `|dW| / |W|` of the two; `angle` in degrees, over all weights as one vector;
    `cosines` the smallest and the largest of any tensor; `straight` of `tensors` exceed the
    cosine from which mergekit takes the straight line; `differs`: the norm of (slerp - average)
    over that of the average's change, by the formula and with mergekit's rule; `kept`: the norm of
    the averaged *weights* over the mean norm of the two models.
    """

    size: float
    angle: float
    cosines: tuple[float, float]
    straight: int
    tensors: int
    differs: float
    differs_mergekit: float
    kept: float


def relative_size(pair: Changes) -> float:
    """Mean `|dW| / |W|` of the models of a pair, over the weights that they change."""
    base = math.sqrt(sum(float(w.double().square().sum()) for w in pair.base.values()))
    sizes = [
        math.sqrt(sum(float(d[n].double().square().sum()) for d in pair.deltas.values()))
        for n in range(len(pair.names))
    ]
    return sum(sizes) / len(sizes) / base


def weight_slerp(pair: Changes, sizes: Sequence[float | None]) -> list[WeightSlerp]:
    """What SLERP of full weights does when both changes are multiplied to each of these sizes.

    `sizes` are values of `|dW| / |W|`; None leaves the models as they are.
    """
    now = relative_size(pair)
    grams = [gram([pair.base[name], *deltas]) for name, deltas in pair.deltas.items()]
    return [_at(now if size is None else size, (size or now) / now, grams) for size in sizes]


def _at(size: float, factor: float, grams: Sequence[Gram]) -> WeightSlerp:
    models = [_models(products, factor) for products in grams]
    whole = [[math.fsum(m[i][j] for m in models) for j in (0, 1)] for i in (0, 1)]
    thetas = [angle_between(m) for m in models]
    near = sine_of(MERGEKIT)
    by_rule = [0.0 if is_linear(theta, near) else 1.0 for theta in thetas]
    squares = [
        _gap(theta) ** 2 * _square_of_sum(m) for theta, m in zip(thetas, models, strict=True)
    ]
    change = math.sqrt(math.fsum(factor**2 * (g[1][1] + 2 * g[1][2] + g[2][2]) / 4 for g in grams))
    kept = math.sqrt(_square_of_sum(whole)) / 2
    return WeightSlerp(
        size=size,
        angle=math.degrees(angle_between(whole)),
        cosines=(math.cos(max(thetas)), math.cos(min(thetas))),
        straight=by_rule.count(0.0),
        tensors=len(grams),
        differs=math.sqrt(math.fsum(squares)) / change,
        differs_mergekit=math.sqrt(
            math.fsum(s * on for s, on in zip(squares, by_rule, strict=True))
        )
        / change,
        kept=kept / ((math.sqrt(whole[0][0]) + math.sqrt(whole[1][1])) / 2),
    )


def _models(products: Gram, factor: float) -> Gram:
    """Inner products of `base + factor * tau_i` from those of base and task vectors."""
    base = products[0][0]

    def inner(i: int, j: int) -> float:
        cross = products[0][i] + products[0][j]
        return base + factor * cross + factor**2 * products[i][j]

    return ((inner(1, 1), inner(1, 2)), (inner(1, 2), inner(2, 2)))


def _gap(theta: float) -> float:
    """By how much both factors of the arc exceed one half, half way."""
    return coefficients(theta, 0.5)[0] - 0.5


def _square_of_sum(products: Gram) -> float:
    return products[0][0] + 2 * products[0][1] + products[1][1]


def weight_slerp_table(found: Sequence[WeightSlerp], *, as_it_is: float | None = None) -> Table:
    """A row for each size; the row of `as_it_is` is set in bold."""
    rows = [
        [
            f"{each.size:.2%}" if each.size < 0.0099 else f"{each.size:.0%}",
            f"{each.angle:.2f}°",
            f"{each.cosines[0]:.5f} to {each.cosines[1]:.5f}",
            f"{each.differs:.2%}",
            f"{each.straight} of {each.tensors}",
            f"{each.differs_mergekit:.2%}" if each.differs_mergekit else "0, exactly",
        ]
        for each in found
    ]
    strong = {n for n, each in enumerate(found) if each.size == as_it_is}
    return Table(
        [
            "|ΔW| / |W|",
            "angle",
            "cosines of the tensors",
            "slerp differs by",
            "cosine above .9995",
            "then slerp differs by",
        ],
        rows,
        caption="SLERP of full weights, t = .5 (bold: the adapters as they ship)",
        strong=strong,
    )
