"""Exercise `effective_weights`: the factors that a tool really multiplies the task vectors by."""

import math
from collections.abc import Sequence

from autograder.cases import Draw
from autograder.exercise import Case, Exercise, Misconception, Points

Weights = Sequence[float]

CONTRACT = """
Write `effective_weights(weights, normalize=True, lam=1.0)`: by which factor will each task vector
really be multiplied?

- `weights` is a list of one or more numbers, possibly negative or 0, as they stand in a recipe.
  `lam` is one number, the recipe's `lambda`, also 0 or negative.
- With `normalize=True` the factor of model i is `lam * w_i / sum(w)`. `lam` comes after the
  division, so it does not cancel.
- With `normalize=False` the factor is `lam * w_i`.
- If `normalize` is true and the weights sum to exactly 0, there is no average: return `None`. (A
  tool stops with an error there. In the cases such sums are exact, without rounding.)
- Return a new list with one number per model, in the order of `weights`. Do not change `weights`.
"""

HINTS = (
    "First find the divisor: `sum(weights)` or 1. Check it for 0 before you divide.",
    "`return [lam * w / divisor for w in weights]`, after the check.",
)


def effective_weights(
    weights: Weights, normalize: bool = True, lam: float = 1.0
) -> list[float] | None:
    """The factor of each task vector; None where the weights have no average.

    >>> effective_weights([0.1, 1.0], normalize=False)
    [0.1, 1.0]
    """
    divisor = sum(weights) if normalize else 1.0
    return None if divisor == 0 else [lam * w / divisor for w in weights]


# Wrong implementations ---------------------------------------------------------------------------


def as_written(weights: Weights, normalize: bool = True, lam: float = 1.0) -> list[float] | None:
    return [lam * w for w in weights]


def always_shares(weights: Weights, normalize: bool = True, lam: float = 1.0) -> list[float] | None:
    return effective_weights(weights, True, lam)


def other_way_round(
    weights: Weights, normalize: bool = True, lam: float = 1.0
) -> list[float] | None:
    return effective_weights(weights, not normalize, lam)


def by_count(weights: Weights, normalize: bool = True, lam: float = 1.0) -> list[float] | None:
    return [lam * w / (len(weights) if normalize else 1) for w in weights]


def by_largest(weights: Weights, normalize: bool = True, lam: float = 1.0) -> list[float] | None:
    return [lam * w / (max(weights) if normalize else 1) for w in weights]


def by_sizes(weights: Weights, normalize: bool = True, lam: float = 1.0) -> list[float] | None:
    divisor = sum(abs(w) for w in weights) if normalize else 1.0
    return None if sum(weights) == 0 and normalize else [lam * w / divisor for w in weights]


def softmax(weights: Weights, normalize: bool = True, lam: float = 1.0) -> list[float] | None:
    if not normalize:
        return [lam * w for w in weights]
    powers = [math.exp(w) for w in weights]
    return None if sum(weights) == 0 else [lam * p / sum(powers) for p in powers]


def forgets_lam(weights: Weights, normalize: bool = True, lam: float = 1.0) -> list[float] | None:
    return effective_weights(weights, normalize)


def lam_cancels(weights: Weights, normalize: bool = True, lam: float = 1.0) -> list[float] | None:
    return effective_weights(weights, normalize, 1.0 if normalize else lam)


def zeros_for_none(
    weights: Weights, normalize: bool = True, lam: float = 1.0
) -> list[float] | None:
    return effective_weights(weights, normalize, lam) or [0.0] * len(weights)


def none_when_plain(
    weights: Weights, normalize: bool = True, lam: float = 1.0
) -> list[float] | None:
    return None if sum(weights) == 0 else effective_weights(weights, normalize, lam)


def in_place(weights: list[float], normalize: bool = True, lam: float = 1.0) -> list[float] | None:
    result = effective_weights(weights, normalize, lam)
    if result is not None:
        weights[:] = [w + 1.0 for w in result]
    return result


WRONG = (
    Misconception(
        "never divides",
        as_written,
        "You returned the weights as they are written: with `normalize=True` they are divided by "
        "their sum.",
    ),
    Misconception(
        "always divides",
        always_shares,
        "You divided although `normalize` is false: then the factor is `lam * w_i`, whatever the "
        "weights add up to.",
        (0.3, 0.8),
    ),
    Misconception(
        "the other way round",
        other_way_round,
        "You divided when `normalize` is false and did not when it is true: it is the other way "
        "round.",
    ),
    Misconception(
        "divides by the count",
        by_count,
        "You divided by the number of models: divide by the sum of the weights.",
    ),
    Misconception(
        "divides by the largest",
        by_largest,
        "You divided by the largest weight: divide by the sum of the weights, so that the factors "
        "add up to 1 (times `lam`).",
    ),
    Misconception(
        "divides by the sizes of the weights",
        by_sizes,
        "You divided by the sum of `|w_i|`: normalising divides by the sum of the weights with "
        "their signs.",
        (0.6, 0.98),
    ),
    Misconception(
        "softmax",
        softmax,
        "You used a softmax: normalised weights are `w_i / sum(w)`, without an exponential.",
    ),
    Misconception(
        "forgets lam",
        forgets_lam,
        "You left out `lam`: every factor is multiplied by it.",
        (0.5, 0.95),
    ),
    Misconception(
        "lam cancels",
        lam_cancels,
        "You multiplied by `lam` before you divided, so it cancels: divide first, then multiply by "
        "`lam`.",
        (0.5, 0.95),
    ),
    Misconception(
        "zeros where there is no average",
        zeros_for_none,
        "You returned zeros where the weights sum to 0: no average exists there, so return `None`.",
        (0.7, 0.98),
    ),
    Misconception(
        "None without need",
        none_when_plain,
        "You returned `None` for plain weights that sum to 0: without a division there is nothing "
        "wrong with them.",
        (0.7, 0.98),
    ),
    Misconception(
        "in place",
        in_place,
        "You changed the list you were given: return a new list, the caller still needs the old.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_loop(weights: Weights, normalize: bool = True, lam: float = 1.0) -> list[float] | None:
    total = 0.0
    for weight in weights:
        total += weight
    if normalize and total == 0:
        return None
    factors = []
    for weight in weights:
        factors.append(weight / total * lam if normalize else weight * lam)
    return factors


def lam_inside(weights: Weights, normalize: bool = True, lam: float = 1.0) -> list[float] | None:
    if not normalize:
        return [lam * w for w in weights]
    total = sum(weights)
    return [w * (lam / total) for w in weights] if total else None


VISIBLE = (
    Case("normalised weights", ([0.1, 1.0],), core=True),
    Case("normalised weights", ([2.0, 1.0, 1.0],), core=True),
    Case("normalised weights", ([0.5, 0.5],), core=True),
    Case("plain weights", ([0.1, 1.0],), {"normalize": False}, weight=4),
    Case("a scale `lam`, normalised", ([1.0, 3.0],), {"lam": 2.0}, weight=3),
    Case(
        "a scale `lam`, not normalised", ([1.0, 3.0],), {"normalize": False, "lam": 0.5}, weight=2
    ),
    Case("a negative weight", ([2.0, -1.0],), weight=2),
    Case("weights that sum to 0, normalised", ([1.0, -1.0],), weight=2),
    Case("weights that sum to 0, not normalised", ([1.0, -1.0],), {"normalize": False}, weight=2),
    Case("a single model", ([0.25],)),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"linear/effective_weights/{seed}")
    balance = draw.random.choice((0.5, 0.75, 1.5))
    three = draw.weights(3)
    return [
        Case("normalised weights", ([0.25, *draw.weights(2)],), core=True),
        Case("normalised weights", (draw.weights(4),), core=True),
        Case("plain weights", (draw.weights(3),), {"normalize": False}, weight=6),
        Case("a scale `lam`, normalised", (draw.weights(3),), {"lam": 0.75}, weight=4),
        Case(
            "a scale `lam`, not normalised",
            (draw.weights(3),),
            {"normalize": False, "lam": 1.5},
            weight=2,
        ),
        Case("a negative weight", ([*three, -0.125],), weight=3),
        Case("weights that sum to a negative number", ([0.25, -balance],), weight=2),
        Case("weights that sum to 0, normalised", ([balance, 0.25, -balance - 0.25],), weight=3),
        Case(
            "weights that sum to 0, not normalised",
            ([balance, -balance],),
            {"normalize": False, "lam": 2.0},
            weight=3,
        ),
        Case("a weight of 0", ([0.0, balance],)),
        Case("a scale of 0", (draw.weights(2),), {"lam": 0.0}),
        Case("a negative scale", (draw.weights(2), False, -1.0)),
        Case("a single model", ([balance],)),
    ]


EFFECTIVE_WEIGHTS = Exercise(
    id="linear/effective_weights",
    lesson="02_linear",
    title="what the tool will really use",
    signature="effective_weights(weights, normalize=True, lam=1.0)",
    contract=CONTRACT,
    example="`effective_weights([0.1, 1.0])` returns `[0.0909, 0.9091]`; with `normalize=False` it "
    "returns `[0.1, 1.0]`, which add up to 1.1.",
    reference=effective_weights,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 3),
    minutes=4,
    difficulty=1,
    misconceptions=WRONG,
    alternatives={"by loop": by_loop, "lam inside": lam_inside},
    hints=HINTS,
)
