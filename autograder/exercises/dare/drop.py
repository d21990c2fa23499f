"""Exercise `drop`: delete entries by dice that are handed in."""

import torch
from torch import Tensor

from autograder.cases import Draw
from autograder.exercise import EXACT, Case, Exercise, Misconception, Points
from mergelab.methods import trim

CONTRACT = """
Write `drop(delta, drop_rate, dice)`: delete entries of the task vector `delta` at random. The
random numbers are handed in, so that the result is exact.

- `delta` is a tensor of any shape, also empty or with a single entry, of dtype float32, float16 or
  bfloat16. `dice` is a float32 tensor of the same shape with numbers from 0 up to, but not
  including, 1.
- `drop_rate` is the chance that an entry is **dropped**, a number from 0 to 1.
- An entry **stays where `dice >= drop_rate`**; everywhere else it becomes 0. So at rate 0
  everything stays, and at rate 1 nothing does.
- Entries that stay keep their value; nothing is rescaled here.
- Return a new tensor with the shape and dtype of `delta`. Do not change the inputs.
"""

HINTS = (
    "One comparison gives a mask with true where an entry stays.",
    "`torch.where(mask, delta, torch.zeros_like(delta))` keeps the values where the mask is true.",
)


def reference(delta: Tensor, drop_rate: float, dice: Tensor) -> Tensor:
    return torch.where(dice >= drop_rate, delta, torch.zeros_like(delta))


# Wrong implementations ---------------------------------------------------------------------------


def drops_the_others(delta: Tensor, drop_rate: float, dice: Tensor) -> Tensor:
    return torch.where(dice < drop_rate, delta, torch.zeros_like(delta))


def rate_as_density(delta: Tensor, drop_rate: float, dice: Tensor) -> Tensor:
    return reference(delta, 1 - drop_rate, dice)


def strict(delta: Tensor, drop_rate: float, dice: Tensor) -> Tensor:
    return torch.where(dice > drop_rate, delta, torch.zeros_like(delta))


def exact_count(delta: Tensor, drop_rate: float, dice: Tensor) -> Tensor:
    gone = dice.flatten().argsort()[: round(drop_rate * delta.numel())]
    kept = delta.clone().flatten()
    kept[gone] = 0
    return kept.reshape(delta.shape)


def by_magnitude(delta: Tensor, drop_rate: float, dice: Tensor) -> Tensor:
    return trim(delta, 1 - drop_rate)


def rescales(delta: Tensor, drop_rate: float, dice: Tensor) -> Tensor:
    kept = reference(delta, drop_rate, dice)
    return (kept.float() / (1 - drop_rate)).to(delta.dtype) if drop_rate < 1 else kept


def returns_mask(delta: Tensor, drop_rate: float, dice: Tensor) -> Tensor:
    return dice >= drop_rate


def returns_only_kept(delta: Tensor, drop_rate: float, dice: Tensor) -> Tensor:
    return delta[dice >= drop_rate]


def multiplies_by_dice(delta: Tensor, drop_rate: float, dice: Tensor) -> Tensor:
    return reference(delta, drop_rate, dice) * dice.to(delta.dtype)


def in_place(delta: Tensor, drop_rate: float, dice: Tensor) -> Tensor:
    delta[dice < drop_rate] = 0
    return delta


WRONG = (
    Misconception(
        "drops the others",
        drops_the_others,
        "You kept what should go: an entry stays where its dice are at or above the drop rate.",
    ),
    Misconception(
        "rate read as density",
        rate_as_density,
        "You kept the share `drop_rate`: it is the share that goes, so at .9 about one entry in "
        "ten stays.",
    ),
    Misconception(
        "strict inequality",
        strict,
        "You dropped entries whose dice equal the drop rate: the contract says they stay (`>=`).",
        (0.6, 0.95),
    ),
    Misconception(
        "an exact count",
        exact_count,
        "You dropped an exact number of entries: every entry is decided by its own dice alone, so "
        "the number that stays varies from roll to roll.",
    ),
    Misconception(
        "by magnitude",
        by_magnitude,
        "You dropped the smallest entries, and that is trim of lesson 4: DARE does not look at the "
        "values, only at the dice.",
    ),
    Misconception(
        "rescales already",
        rescales,
        "You rescaled what stays: that is the next function's work; drop only sets entries to 0.",
    ),
    Misconception(
        "returns the mask",
        returns_mask,
        "You returned the mask: use it to pick the values of `delta`, with zeros elsewhere.",
    ),
    Misconception(
        "returns only what is kept",
        returns_only_kept,
        "You returned the kept entries alone: the result has the shape of `delta`, with zeros "
        "where entries were dropped.",
    ),
    Misconception(
        "multiplies by the dice",
        multiplies_by_dice,
        "You multiplied what stays by its dice: the dice only decide who stays.",
    ),
    Misconception(
        "in place",
        in_place,
        "You wrote into `delta` itself: the next roll needs it whole, so return a new tensor.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_loop(delta: Tensor, drop_rate: float, dice: Tensor) -> Tensor:
    rolled = zip(delta.flatten().tolist(), dice.flatten().tolist(), strict=True)
    kept = [value if roll >= drop_rate else 0.0 for value, roll in rolled]
    return torch.tensor(kept, dtype=delta.dtype).reshape(delta.shape)


def on_a_copy(delta: Tensor, drop_rate: float, dice: Tensor) -> Tensor:
    kept = delta.clone()
    kept[dice < drop_rate] = 0
    return kept


def by_product(delta: Tensor, drop_rate: float, dice: Tensor) -> Tensor:
    return delta * (dice >= drop_rate).to(delta.dtype)


def vector(*values: float) -> Tensor:
    return torch.tensor(values)


def rolls(draw: Draw, *shape: int) -> Tensor:
    """Dice on a grid of 64, so that some equal a drop rate such as .5 or .75 exactly."""
    return draw.grid(*shape, span=63, zeros=0.0).abs()


VISIBLE = (
    Case(
        "a plain vector",
        (vector(0.15, -0.2, 0.08, 0.002), 0.5, vector(0.9, 0.3, 0.6, 0.1)),
        core=True,
    ),
    Case(
        "a plain vector",
        (vector(1.0, -2.0, 3.0, -4.0, 5.0), 0.7, vector(0.2, 0.95, 0.6, 0.8, 0.65)),
        core=True,
    ),
    Case(
        "a matrix",
        (
            torch.tensor([[4.0, -3.0], [2.5, 0.5]]),
            0.25,
            torch.tensor([[0.1, 0.3], [0.9, 0.2]]),
        ),
        core=True,
    ),
    Case("more luck than the rate says", (vector(1.0, 2.0), 0.5, vector(0.9, 0.8)), core=True),
    Case("dice equal to the drop rate", (vector(1.0, -2.0, 3.0), 0.5, vector(0.5, 0.25, 0.75))),
    Case("drop rate 0", (vector(0.1, -0.4), 0.0, vector(0.0, 0.6))),
    Case("drop rate 1", (vector(0.1, -0.4), 1.0, vector(0.999, 0.6))),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"dare/drop/{seed}")
    rate = draw.random.choice((0.3, 0.6, 0.7))

    def case(kind: str, delta: Tensor, p: float, **options: bool) -> Case:
        return Case(kind, (delta, p, rolls(draw, *delta.shape)), **options)

    transposed = draw.distinct(5, 8).T
    low = Draw(f"dare/drop/unlucky/{seed}")
    unlucky = rolls(low, 12) * 0.25
    return [
        case("a plain vector", draw.distinct(40), rate, core=True),
        case("a plain vector", draw.distinct(30), 1 - rate, core=True),
        case("a matrix", draw.distinct(5, 8), rate, core=True),
        Case("less luck than the rate says", (draw.distinct(12), 0.2, unlucky), core=True),
        case("more than two dimensions", draw.distinct(2, 5, 4), rate),
        Case(
            "dice equal to the drop rate",
            (draw.distinct(16), 0.75, vector(*[0.75, 0.5, 0.25, 1 - 1 / 64] * 4)),
        ),
        case("drop rate 0", draw.distinct(3, 4), 0.0),
        case("drop rate 1", draw.distinct(3, 4), 1.0),
        case("a single entry", draw.distinct(1), 0.5),
        Case("an empty tensor", (torch.zeros(0, 3), 0.5, torch.zeros(0, 3))),
        case("float16", draw.distinct(20, dtype=torch.float16), rate),
        case("bfloat16", draw.distinct(4, 5, dtype=torch.bfloat16), rate),
        Case("a transposed matrix", (transposed, rate, rolls(draw, 5, 8).T)),
    ]


DROP = Exercise(
    id="dare/drop",
    lesson="05_dare",
    title="drop",
    signature="drop(delta, drop_rate, dice)",
    contract=CONTRACT,
    example="`drop(tensor([0.15, -0.20, 0.08]), 0.5, dice=tensor([0.9, 0.3, 0.6]))` returns "
    "`tensor([0.1500, 0.0000, 0.0800])`: only the second roll is below .5.",
    reference=reference,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 2),
    minutes=3,
    difficulty=1,
    misconceptions=WRONG,
    alternatives={"by loop": by_loop, "on a copy": on_a_copy, "by product": by_product},
    hints=HINTS,
    tolerance=EXACT,
)
