"""Exercise `dare_linear`: drop and rescale each task vector, then add them up."""

from collections.abc import Sequence

import torch
from torch import Tensor

from autograder.cases import Draw
from autograder.equivalence import ANY_OF_LIST, WIDER
from autograder.exercise import Case, Exercise, Misconception, Points

Deltas = Sequence[Tensor]
Weights = Sequence[float] | None

CONTRACT = """
Write `dare_linear(deltas, drop_rate, dice, weights=None, lam=1.0)`: DARE on each task vector, then
their weighted sum.

- `deltas` is a list of one or more tensors of the same shape (any shape, also empty) and the same
  dtype: float32, float16 or bfloat16. `dice` is a list with one tensor of rolls for each task
  vector: every model has dice of its own. `drop_rate` is one number, at least 0 and below 1.
- `weights` is a list with one number per task vector, possibly negative, or `None`, which means 1
  for each. `lam` is one number, the overall scale.
- **Drop** each task vector by its own dice and **rescale** it, as in the two exercises above. Then
  **add**: the result is `lam * sum(w_i * dropped_and_rescaled_i)`. The weights are used as they
  are; they are not divided by their sum.
- Compute in float32 and return the merged task vector (not added to any base) in the shape and
  dtype of the deltas. Do not change the inputs.
"""

HINTS = (
    "Go through `zip(deltas, dice)` and drop and rescale each pair. Then it is task arithmetic.",
    "`rescale(drop(delta.float(), drop_rate, rolls), drop_rate)` is one prepared task vector. "
    "Convert the sum back with `.to(deltas[0].dtype)`.",
)


def ones(deltas: Deltas, weights: Weights) -> Sequence[float]:
    return [1.0] * len(deltas) if weights is None else weights


def dropped(deltas: Deltas, drop_rate: float, dice: Deltas) -> list[Tensor]:
    """Each task vector in fp32 after its drop, not yet rescaled."""
    return [d.float() * (r >= drop_rate) for d, r in zip(deltas, dice, strict=True)]


def summed(parts: Deltas, weights: Weights, factor: float, deltas: Deltas) -> Tensor:
    terms = [w * part for w, part in zip(ones(deltas, weights), parts, strict=True)]
    return (factor * torch.stack(terms).sum(0)).to(deltas[0].dtype)


def reference(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    parts = dropped(deltas, drop_rate, dice)
    return summed(parts, weights, lam / (1 - drop_rate), deltas)


# Wrong implementations ---------------------------------------------------------------------------


def never_rescales(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    return summed(dropped(deltas, drop_rate, dice), weights, lam, deltas)


def divides_by_rate(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    factor = lam / drop_rate if drop_rate else lam
    return summed(dropped(deltas, drop_rate, dice), weights, factor, deltas)


def keeps_the_dropped(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    parts = [d.float() * (r < drop_rate) for d, r in zip(deltas, dice, strict=True)]
    return summed(parts, weights, lam / (1 - drop_rate), deltas)


def never_drops(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    return summed([d.float() for d in deltas], weights, lam, deltas)


def averages(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    factor = lam / (1 - drop_rate) / len(deltas)
    return summed(dropped(deltas, drop_rate, dice), weights, factor, deltas)


def normalises(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    total = sum(ones(deltas, weights)) or 1.0
    return reference(deltas, drop_rate, dice, weights, lam / total)


def one_set_of_dice(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    return reference(deltas, drop_rate, [dice[0]] * len(deltas), weights, lam)


def drops_the_sum(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    total = never_drops(deltas, drop_rate, dice, weights, lam).float()
    kept = total * (dice[-1] >= drop_rate) / (1 - drop_rate)
    return kept.to(deltas[0].dtype)


def forgets_lam(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    return reference(deltas, drop_rate, dice, weights)


def forgets_weights(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    return reference(deltas, drop_rate, dice, None, lam)


def two_models_only(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    two = None if weights is None else weights[:2]
    return reference(deltas[:2], drop_rate, dice[:2], two, lam)


def in_place(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    merged = reference(deltas, drop_rate, dice, weights, lam)
    for delta, rolls in zip(deltas, dice, strict=True):
        delta[rolls < drop_rate] = 0
    return merged


WRONG = (
    Misconception(
        "never rescales",
        never_rescales,
        "You dropped without rescaling: the merge then shrinks to the share that stays, so divide "
        "by `1 - drop_rate`.",
    ),
    Misconception(
        "divides by the drop rate",
        divides_by_rate,
        "You divided by the drop rate: divide by the chance to stay, `1 - drop_rate`.",
    ),
    Misconception(
        "keeps the dropped",
        keeps_the_dropped,
        "You kept what should go: an entry stays where its dice are at or above the drop rate.",
    ),
    Misconception(
        "never drops",
        never_drops,
        "You added the task vectors whole: drop and rescale each of them first.",
    ),
    Misconception(
        "mean instead of sum",
        averages,
        "You averaged: dare_linear adds the task vectors up, as task arithmetic does; `lam` sets "
        "the size.",
    ),
    Misconception(
        "normalises the weights",
        normalises,
        "You divided by the sum of the weights: here they are used as they are.",
    ),
    Misconception(
        "one set of dice",
        one_set_of_dice,
        "You used the first model's dice for all: each task vector has its own, or all of them "
        "lose the same entries.",
    ),
    Misconception(
        "drops the sum",
        drops_the_sum,
        "You added first and dropped the sum: DARE drops each task vector by its own dice, before "
        "they meet.",
    ),
    Misconception(
        "forgets lam",
        forgets_lam,
        "You left out `lam`: the sum is multiplied by it at the end.",
        (0.5, 0.95),
    ),
    Misconception(
        "forgets the weights",
        forgets_weights,
        "You left the weights out: each task vector enters the sum as `w_i` times what is left of "
        "it.",
        (0.5, 0.95),
    ),
    Misconception(
        "two models only",
        two_models_only,
        "You merged only the first two models: the list may hold one, three or more.",
    ),
    Misconception(
        "in place",
        in_place,
        "You dropped entries of the inputs themselves: the next roll needs them whole.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_loop(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    total = torch.zeros(deltas[0].shape)
    for weight, delta, rolls in zip(ones(deltas, weights), deltas, dice, strict=True):
        kept = torch.where(rolls >= drop_rate, delta.float(), 0.0)
        total = total + weight * kept / (1 - drop_rate)
    return (lam * total).to(deltas[0].dtype)


def stacked(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    mask = torch.stack(list(dice)) >= drop_rate
    w = torch.tensor(list(ones(deltas, weights))).reshape(-1, *[1] * deltas[0].dim())
    whole = torch.stack([d.float() for d in deltas]) * mask
    return ((whole * w).sum(0) / (1 - drop_rate) * lam).to(deltas[0].dtype)


def last_first(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    reverse = None if weights is None else list(weights)[::-1]
    return reference(list(deltas)[::-1], drop_rate, list(dice)[::-1], reverse, lam)


def vectors(*rows: Sequence[float]) -> list[Tensor]:
    return [torch.tensor(row) for row in rows]


def rolls(draw: Draw, deltas: Deltas) -> list[Tensor]:
    """Dice on a grid of 64 for each task vector."""
    return [draw.grid(*d.shape, span=63, zeros=0.0).abs() for d in deltas]


FIRST = [0.08, -0.50, 0.30, 0.02]
SECOND = [-0.05, 0.20, -0.60, 0.07]
THIRD = [0.12, 0.25, -0.10, 0.09]
DICE = [[0.9, 0.1, 0.6, 0.8], [0.2, 0.7, 0.55, 0.95], [0.6, 0.3, 0.99, 0.4]]

VISIBLE = (
    Case("two models", (vectors(FIRST, SECOND), 0.5, vectors(*DICE[:2])), core=True),
    Case("two models", (vectors(FIRST, SECOND), 0.75, vectors(*DICE[:2])), core=True),
    Case("three models", (vectors(FIRST, SECOND, THIRD), 0.6, vectors(*DICE)), core=True),
    Case(
        "a matrix",
        (
            vectors([[1.0, 2.0], [3.0, 4.0]], [[-1.0, 1.0], [2.0, -2.0]]),
            0.5,
            vectors([[0.9, 0.2], [0.6, 0.7]], [[0.1, 0.8], [0.7, 0.3]]),
        ),
        core=True,
    ),
    Case("a scale `lam`", (vectors(FIRST, SECOND), 0.5, vectors(*DICE[:2])), {"lam": 0.5}),
    Case("weights", (vectors(FIRST, SECOND), 0.5, vectors(*DICE[:2]), [0.25, 2.0])),
    Case("a single model", (vectors(THIRD), 0.5, vectors(DICE[2]))),
    Case("drop rate 0", (vectors(FIRST, SECOND), 0.0, vectors(*DICE[:2]))),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"dare/dare_linear/{seed}")
    rate = draw.random.choice((0.3, 0.6, 0.7))

    def case(
        kind: str,
        count: int,
        shape: Sequence[int],
        p: float = rate,
        weights: Weights = None,
        *,
        lam: float = 1.0,
        dtype: torch.dtype = torch.float32,
        core: bool = False,
    ) -> Case:
        deltas = [draw.distinct(*shape, dtype=dtype) for _ in range(count)]
        return Case(kind, (deltas, p, rolls(draw, deltas), weights), {"lam": lam}, core=core)

    columns = [draw.distinct(5, 4).T, draw.distinct(5, 4).T]
    return [
        case("two models", 2, [40], core=True),
        case("three models", 3, [30], core=True),
        case("five models", 5, [24], 0.75, core=True),
        case("a matrix", 2, [5, 8], core=True),
        case("more than two dimensions", 2, [2, 3, 4]),
        case("a high drop rate", 2, [60], 0.9),
        case("weights", 3, [20], rate, draw.weights(3)),
        case("weights", 2, [20], 0.5, draw.weights(2)),
        case("a negative weight", 3, [20], 0.5, draw.weights(3, negative=True)),
        case("a scale `lam`", 2, [20], lam=0.75),
        case("a scale `lam`", 3, [20], rate, draw.weights(3), lam=-0.5),
        case("drop rate 0", 2, [12], 0.0),
        case("a single model", 1, [15]),
        case("a single entry", 2, [1], 0.5),
        case("an empty tensor", 2, [0]),
        case("bfloat16", 3, [24], dtype=torch.bfloat16),
        case("float16", 3, [24], rate, draw.weights(3), dtype=torch.float16),
        Case("transposed matrices", (columns, rate, rolls(draw, columns))),
        Case(
            "float16",
            (
                [torch.tensor([40000.0, 1.0]).half(), torch.tensor([-50000.0, 2.0]).half()],
                0.5,
                [torch.tensor([0.75, 0.25]), torch.tensor([0.5, 0.75])],
                [0.25, 0.125],
            ),
        ),
    ]


DARE_LINEAR = Exercise(
    id="dare/dare_linear",
    lesson="05_dare",
    title="DARE, then add",
    signature="dare_linear(deltas, drop_rate, dice, weights=None, lam=1.0)",
    contract=CONTRACT,
    example="`dare_linear([tensor([1., 2.]), tensor([4., 8.])], 0.5, [tensor([.9, .1]), "
    "tensor([.2, .7])])` keeps 1 of the first and 8 of the second, doubles both, and returns "
    "`tensor([ 2., 16.])`.",
    reference=reference,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 3),
    minutes=5,
    difficulty=2,
    misconceptions=WRONG,
    alternatives={"by loop": by_loop, "stacked": stacked, "last first": last_first},
    hints=HINTS,
    uses=("dare/drop", "dare/rescale"),
    equivalent={
        "eedc2b/keyword/1": WIDER,
        "eedc2b/constant/2": ANY_OF_LIST,
        "faf30e/constant/2": ANY_OF_LIST,
    },
)
