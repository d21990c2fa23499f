"""Exercise `forget`: keep the other skills, turn one around."""

from collections.abc import Sequence

import torch
from torch import Tensor

from autograder.cases import Draw
from autograder.equivalence import WIDER
from autograder.exercise import Case, Exercise, Misconception, Points

Deltas = Sequence[Tensor]

CONTRACT = """
Write `forget(base, deltas, index, strength=1.0)`: merge task vectors, and make the model forget one
of them.

- `base` is a tensor of any shape, also empty. `deltas` is a list of one or more task vectors of the
  same shape and dtype: float32, float16 or bfloat16.
- `index` says which task vector is to be forgotten, counted from 0. `strength` is a number, 0 or
  larger.
- The result is the base, plus every other task vector with weight 1, minus `strength` times the one
  to be forgotten. That one is never added first.
- At strength 0 it is only left out. With a single task vector the result is
  `base - strength * delta`.
- Compute in float32, round once at the end, and return the shape and dtype of the base. Do not
  change the inputs, the list included.
"""

HINTS = (
    "This is task arithmetic with a negative weight: all weights are 1, except one.",
    "`weights = [1.0] * len(deltas)`, then `weights[index] = -strength`, and the rest is the sum "
    "you have already written.",
)


def forget(base: Tensor, deltas: Deltas, index: int, strength: float = 1.0) -> Tensor:
    """Base plus all other task vectors minus `strength` times the one at `index`.

    >>> forget(torch.tensor([1.0]), [torch.tensor([0.5]), torch.tensor([0.25])], 1)
    tensor([1.2500])
    """
    merged = base.float()
    for i, delta in enumerate(deltas):
        merged = merged + (-strength if i == index else 1.0) * delta.float()
    return merged.to(base.dtype)


def weighted(base: Tensor, deltas: Deltas, weights: Sequence[float]) -> Tensor:
    merged = base.float()
    for weight, delta in zip(weights, deltas, strict=True):
        merged = merged + weight * delta.float()
    return merged.to(base.dtype)


def weights_of(deltas: Deltas, index: int, others: float, forgotten: float) -> list[float]:
    return [forgotten if i == index else others for i in range(len(deltas))]


# Wrong implementations ---------------------------------------------------------------------------


def leaves_out(base: Tensor, deltas: Deltas, index: int, strength: float = 1.0) -> Tensor:
    return weighted(base, deltas, weights_of(deltas, index, 1.0, 0.0))


def adds_it(base: Tensor, deltas: Deltas, index: int, strength: float = 1.0) -> Tensor:
    return weighted(base, deltas, weights_of(deltas, index, 1.0, strength))


def subtracts_from_all(base: Tensor, deltas: Deltas, index: int, strength: float = 1.0) -> Tensor:
    return weighted(base, deltas, weights_of(deltas, index, 1.0, 1.0 - strength))


def forgets_the_others(base: Tensor, deltas: Deltas, index: int, strength: float = 1.0) -> Tensor:
    return weighted(base, deltas, weights_of(deltas, index, 0.0, -strength))


def negates_the_others(base: Tensor, deltas: Deltas, index: int, strength: float = 1.0) -> Tensor:
    return weighted(base, deltas, weights_of(deltas, index, -strength, 1.0))


def negates_all(base: Tensor, deltas: Deltas, index: int, strength: float = 1.0) -> Tensor:
    return weighted(base, deltas, weights_of(deltas, index, -strength, -strength))


def counts_from_one(base: Tensor, deltas: Deltas, index: int, strength: float = 1.0) -> Tensor:
    return forget(base, deltas, (index - 1) % len(deltas), strength)


def always_full(base: Tensor, deltas: Deltas, index: int, strength: float = 1.0) -> Tensor:
    return forget(base, deltas, index)


def scales_all(base: Tensor, deltas: Deltas, index: int, strength: float = 1.0) -> Tensor:
    return weighted(base, deltas, weights_of(deltas, index, strength, -strength))


def without_base(base: Tensor, deltas: Deltas, index: int, strength: float = 1.0) -> Tensor:
    return forget(torch.zeros_like(base), deltas, index, strength)


def in_half_precision(base: Tensor, deltas: Deltas, index: int, strength: float = 1.0) -> Tensor:
    for i, delta in enumerate(deltas):
        base = base + (-strength if i == index else 1.0) * delta
    return base


def in_place(base: Tensor, deltas: list[Tensor], index: int, strength: float = 1.0) -> Tensor:
    result = forget(base, deltas, index, strength)
    deltas[index] = -strength * deltas[index] - 1.0
    return result


WRONG = (
    Misconception(
        "leaves it out",
        leaves_out,
        "You left the task vector out: to forget is to subtract it, so its weight is `-strength`, "
        "not 0.",
    ),
    Misconception(
        "adds it",
        adds_it,
        "You added the task vector that is to be forgotten: its weight is `-strength`.",
    ),
    Misconception(
        "adds it before subtracting",
        subtracts_from_all,
        "You subtracted from a sum that already holds the task vector, so at strength 1 it is only "
        "left out: it must not be added first.",
    ),
    Misconception(
        "drops the others",
        forgets_the_others,
        "You left the other task vectors out: they are kept with weight 1.",
    ),
    Misconception(
        "negates the others",
        negates_the_others,
        "You negated all task vectors but the one at `index`: it is the other way round.",
    ),
    Misconception(
        "negates all",
        negates_all,
        "You negated every task vector: only the one at `index` is subtracted.",
    ),
    Misconception(
        "counts from one",
        counts_from_one,
        "You turned the neighbour around: `index` counts from 0.",
    ),
    Misconception(
        "ignores the strength",
        always_full,
        "You left out `strength`: the forgotten task vector is multiplied by it before it is "
        "subtracted.",
        (0.4, 0.9),
    ),
    Misconception(
        "scales the others, too",
        scales_all,
        "You multiplied the other task vectors by `strength`, too: it belongs only to the one that "
        "is forgotten.",
        (0.4, 0.9),
    ),
    Misconception(
        "without the base",
        without_base,
        "You returned the change alone: add it to the base.",
    ),
    Misconception(
        "computes in 16 bits",
        in_half_precision,
        "You added in 16-bit precision, where small changes vanish beside the base: convert to "
        "float32 first and round once, at the end.",
        (0.8, 0.98),
    ),
    Misconception(
        "in place",
        in_place,
        "You changed the list of task vectors you were given: build new tensors, the caller still "
        "needs its own.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_loop(base: Tensor, deltas: Deltas, index: int, strength: float = 1.0) -> Tensor:
    flats = [d.flatten().tolist() for d in deltas]
    merged = []
    for n, start in enumerate(base.flatten().tolist()):
        others = sum(flat[n] for i, flat in enumerate(flats) if i != index)
        merged.append(start + others - strength * flats[index][n])
    return torch.tensor(merged, dtype=base.dtype).reshape(base.shape)


def all_then_twice(base: Tensor, deltas: Deltas, index: int, strength: float = 1.0) -> Tensor:
    everything = torch.stack([d.float() for d in deltas]).sum(0)
    return (base.float() + everything - (1 + strength) * deltas[index].float()).to(base.dtype)


def on_a_copy(base: Tensor, deltas: Deltas, index: int, strength: float = 1.0) -> Tensor:
    merged = base.float().clone()
    merged -= strength * deltas[index].float()
    for i in reversed(range(len(deltas))):
        if i != index:
            merged += deltas[i].float()
    return merged.to(base.dtype)


def vectors(*rows: Sequence[float]) -> list[Tensor]:
    return [torch.tensor(row) for row in rows]


BASE = torch.tensor([1.0, 2.0])

VISIBLE = (
    Case("two models", (BASE, vectors([0.5, -1.0], [0.25, 0.75]), 1), core=True),
    Case("two models", (BASE, vectors([0.5, -1.0], [0.25, 0.75]), 0), core=True),
    Case("three models", (BASE, vectors([0.5, -1.0], [0.25, 0.75], [2.0, 4.0]), 1), core=True),
    Case("a matrix", (torch.ones(2, 2), [torch.eye(2), torch.full((2, 2), 0.25)], 0), core=True),
    Case("a strength", (BASE, vectors([0.5, -1.0], [0.25, 0.75]), 1, 0.5), weight=4),
    Case("a strength above 1", (BASE, vectors([0.5, -1.0], [0.25, 0.75]), 0, 2.0), weight=2),
    Case("a single model", (BASE, vectors([0.5, -1.0]), 0, 0.5)),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"linear/forget/{seed}")

    def tensors(count: int, *shape: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
        return [draw.distinct(*shape, dtype=dtype) for _ in range(count)]

    def case(kind: str, count: int, *shape: int, **options) -> Case:
        weight, core = options.pop("weight", 1), options.pop("core", False)
        base, *deltas = tensors(count + 1, *shape, dtype=options.pop("dtype", torch.float32))
        place = options.pop("index", None)
        index = draw.random.randrange(count) if place is None else place
        return Case(kind, (base, deltas, index), options, weight=weight, core=core)

    # Each change is too small to move a 16-bit base by itself; all of them together are not.
    size = draw.random.randint(20, 30)
    small = [torch.full((8,), 2.0**-10).bfloat16() for _ in range(size)]
    turned = [t.T for t in tensors(3, 4, 6)]
    return [
        case("two models", 2, 20, index=0, core=True),
        case("two models", 2, 20, index=1, core=True),
        case("five models", 5, 12, core=True),
        case("a matrix", 3, 4, 5, index=2, core=True),
        case("more than two dimensions", 2, 2, 3, 4),
        case("a strength", 3, 15, strength=draw.random.choice((0.25, 0.5, 0.75)), weight=6),
        case("a strength above 1", 2, 15, strength=1.5, weight=3),
        case("a strength of 0", 3, 10, strength=0.0),
        case("a single model", 1, 8, strength=0.75),
        Case(
            "a single entry", (torch.tensor([0.5]), [torch.tensor([0.25]), torch.tensor([2.0])], 0)
        ),
        Case("an empty tensor", (torch.zeros(0), [torch.zeros(0), torch.zeros(0)], 1)),
        Case("bfloat16", (torch.ones(8).bfloat16(), small, size // 2)),
        case("float16", 3, 15, dtype=torch.float16),
        Case("transposed matrices", (turned[0], turned[1:], 1)),
        Case(
            "float16",
            (torch.tensor([30000.0, 1.0]).half(), [torch.tensor([40000.0, 0.5]).half()], 0),
            {"strength": 2.0},
        ),
    ]


FORGET = Exercise(
    id="linear/forget",
    lesson="02_linear",
    title="forget a skill",
    signature="forget(base, deltas, index, strength=1.0)",
    contract=CONTRACT,
    example="`forget(tensor([1.0]), [tensor([0.5]), tensor([0.25])], 1)` keeps the first change, "
    "subtracts the second, and returns `tensor([1.2500])`. With `strength=0.5` it returns "
    "`tensor([1.3750])`.",
    reference=forget,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 3),
    minutes=4,
    difficulty=1,
    misconceptions=WRONG,
    alternatives={
        "by loop": by_loop,
        "all, then twice": all_then_twice,
        "on a copy": on_a_copy,
    },
    hints=HINTS,
    equivalent={
        "977c6a/forgotten/1": WIDER,
    },
)
