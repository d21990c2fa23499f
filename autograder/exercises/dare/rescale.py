"""Exercise `rescale`: enlarge the survivors so that nothing is lost on average."""

import torch
from torch import Tensor

from autograder.cases import Draw
from autograder.exercise import Case, Exercise, Misconception, Points

CONTRACT = """
Write `rescale(kept, drop_rate)`: enlarge what a drop has left.

- `kept` is a task vector after a drop: a tensor of any shape, also empty or with a single entry, of
  dtype float32, float16 or bfloat16. Many entries are 0.
- `drop_rate` is the chance with which each entry was dropped, a number from 0 to 1. It is the
  chance that counts, not how many entries happen to be 0.
- Every entry is multiplied by `1 / (1 - drop_rate)`. At a drop rate of exactly 1 nothing was left,
  and the result is all 0 (not NaN).
- Compute in float32 and return a new tensor with the shape and dtype of `kept`. Do not change the
  input.
"""

HINTS = (
    "With a drop rate of .9, one in ten survives. By how much must it grow to stand for ten?",
    "Treat `drop_rate == 1` first, with `torch.zeros_like(kept)`. Then one division is left.",
)


def reference(kept: Tensor, drop_rate: float) -> Tensor:
    if drop_rate == 1:
        return torch.zeros_like(kept)
    return (kept.float() / (1 - drop_rate)).to(kept.dtype)


# Wrong implementations ---------------------------------------------------------------------------


def divides_by_rate(kept: Tensor, drop_rate: float) -> Tensor:
    return (kept.float() / drop_rate).to(kept.dtype) if drop_rate else kept.clone()


def multiplies_by_density(kept: Tensor, drop_rate: float) -> Tensor:
    return (kept.float() * (1 - drop_rate)).to(kept.dtype)


def one_plus_rate(kept: Tensor, drop_rate: float) -> Tensor:
    return (kept.float() * (1 + drop_rate)).to(kept.dtype) if drop_rate < 1 else kept * 0


def by_norm(kept: Tensor, drop_rate: float) -> Tensor:
    if drop_rate == 1:
        return torch.zeros_like(kept)
    return (kept.float() / (1 - drop_rate) ** 0.5).to(kept.dtype)


def by_count(kept: Tensor, drop_rate: float) -> Tensor:
    left = int((kept != 0).sum())
    return (kept.float() * kept.numel() / left).to(kept.dtype) if left else kept.clone()


def nan_at_one(kept: Tensor, drop_rate: float) -> Tensor:
    return (kept.float() / torch.tensor(1 - drop_rate)).to(kept.dtype)


def keeps_at_one(kept: Tensor, drop_rate: float) -> Tensor:
    return kept.clone() if drop_rate == 1 else reference(kept, drop_rate)


def twice(kept: Tensor, drop_rate: float) -> Tensor:
    return reference(reference(kept, drop_rate), drop_rate)


def widens(kept: Tensor, drop_rate: float) -> Tensor:
    return reference(kept.float(), drop_rate)


def in_place(kept: Tensor, drop_rate: float) -> Tensor:
    kept.copy_(reference(kept, drop_rate))
    return kept


WRONG = (
    Misconception(
        "divides by the drop rate",
        divides_by_rate,
        "You divided by the drop rate: divide by the chance to stay, `1 - drop_rate`.",
    ),
    Misconception(
        "multiplies instead",
        multiplies_by_density,
        "You made the survivors smaller: they stand in for the dropped entries, so divide by "
        "`1 - drop_rate`.",
    ),
    Misconception(
        "one plus the rate",
        one_plus_rate,
        "You multiplied by `1 + drop_rate`: at .9 one entry in ten must stand for ten, so the "
        "factor is 10, not 1.9.",
    ),
    Misconception(
        "keeps the norm",
        by_norm,
        "You divided by the square root of the chance to stay: that keeps the norm; DARE keeps the "
        "average of each entry, which takes the whole factor.",
    ),
    Misconception(
        "counts what is left",
        by_count,
        "You took the factor from the number of entries left: it comes from the drop rate alone, "
        "because an entry may have been 0 before, and because a count is luck.",
    ),
    Misconception(
        "NaN at 1",
        nan_at_one,
        "At a drop rate of 1 you divide 0 by 0: nothing is left there, so return zeros.",
        (0.6, 0.95),
    ),
    Misconception(
        "unchanged at 1",
        keeps_at_one,
        "At a drop rate of 1 you return the input: the contract asks for zeros, whatever is in it.",
        (0.6, 0.95),
    ),
    Misconception(
        "rescales twice",
        twice,
        "You rescaled twice: multiply once by `1 / (1 - drop_rate)`.",
    ),
    Misconception(
        "returns float32",
        widens,
        "You returned float32 for a 16-bit input: compute in float32, then go back to the input's "
        "dtype.",
        (0.6, 0.95),
    ),
    Misconception(
        "in place",
        in_place,
        "You wrote into the input: return a new tensor.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_loop(kept: Tensor, drop_rate: float) -> Tensor:
    factor = 0.0 if drop_rate == 1 else 1 / (1 - drop_rate)
    values = [factor * value for value in kept.flatten().tolist()]
    return torch.tensor(values, dtype=kept.dtype).reshape(kept.shape)


def by_factor(kept: Tensor, drop_rate: float) -> Tensor:
    factor = 1 / (1 - drop_rate) if drop_rate < 1 else 0.0
    return kept * factor


def on_a_copy(kept: Tensor, drop_rate: float) -> Tensor:
    wide = kept.to(torch.float32, copy=True)
    return (wide.zero_() if drop_rate >= 1 else wide.div_(1 - drop_rate)).to(kept.dtype)


def vector(*values: float) -> Tensor:
    return torch.tensor(values)


VISIBLE = (
    Case("a plain vector", (vector(0.15, 0.0, 0.0, 0.0), 0.9), core=True),
    Case("a plain vector", (vector(0.0, -0.2, 0.08, 0.0), 0.5), core=True),
    Case("a plain vector", (vector(0.3, 0.0, -0.6, 0.0, 0.9), 0.7), core=True),
    Case("a matrix", (torch.tensor([[4.0, 0.0], [0.0, -3.0]]), 0.75), core=True),
    Case("drop rate 0", (vector(0.1, 0.0, -0.4), 0.0)),
    Case("drop rate 1", (vector(0.0, -0.0), 1.0)),
    Case("drop rate 1", (vector(0.0, 0.5), 1.0)),
    Case("float16", (torch.tensor([0.0, 0.5, -0.25], dtype=torch.float16), 0.5)),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"dare/rescale/{seed}")
    rate = draw.random.choice((0.3, 0.6, 0.8))

    def sparse(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return draw.grid(*shape, zeros=rate, dtype=dtype)

    return [
        Case("a plain vector", (sparse(40), rate), core=True),
        Case("a plain vector", (draw.distinct(9), 0.9), core=True),
        Case("a matrix", (sparse(5, 8), 1 - rate), core=True),
        Case("a very high drop rate", (draw.distinct(12), 0.99)),
        Case("more than two dimensions", (sparse(2, 5, 4), rate)),
        Case("drop rate 0", (sparse(3, 4), 0.0)),
        Case("drop rate 1", (torch.zeros(3, 4), 1.0)),
        Case("drop rate 1", (draw.distinct(4), 1.0)),
        Case("a single entry", (draw.distinct(1), 0.5)),
        Case("an empty tensor", (torch.zeros(0, 3), 0.5)),
        Case("float16", (sparse(20, dtype=torch.float16), rate)),
        Case("bfloat16", (sparse(4, 5, dtype=torch.bfloat16), rate)),
        Case("a transposed matrix", (draw.distinct(5, 8).T, rate)),
    ]


RESCALE = Exercise(
    id="dare/rescale",
    lesson="05_dare",
    title="rescale",
    signature="rescale(kept, drop_rate)",
    contract=CONTRACT,
    example="`rescale(tensor([0.15, 0.00]), 0.9)` returns `tensor([1.5000, 0.0000])`.",
    reference=reference,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 2),
    minutes=3,
    difficulty=1,
    misconceptions=WRONG,
    alternatives={"by loop": by_loop, "by factor": by_factor, "on a copy": on_a_copy},
    hints=HINTS,
    equivalent={
        "223b47/forgotten/2": (
            "Computes the same: torch divides half precision by a number in float32, and "
            "rounds once."
        ),
    },
)
