"""Exercise `merge_rows`: some rows of a merge of adapters; no task vector is multiplied out."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from autograder.cases import Draw
from autograder.exercise import Case, Exercise, Misconception, Points

Factors = Sequence[tuple[Tensor, Tensor, float]]

CONTRACT = """
Write `merge_rows(base_rows, start, factors, weights, lam=1.0)`: a weighted sum of adapters for some
rows of one weight matrix, as a tool would do it that holds only these rows in memory.

- `base_rows` is a matrix of shape (rows, in): the rows `start`, `start + 1`, ... of the base's
  matrix, which has `out` rows in all. It is float32, float16 or bfloat16, and may have no rows.
- `factors` is a list of one or more adapters, each a tuple `(A, B, scaling)` with `A` of shape
  (rank, in) and `B` of shape (out, rank), both float32. Ranks may differ. The task vector of an
  adapter is `scaling * B @ A`, of which you need only the same rows.
- `weights` is a list with one number per adapter, possibly negative or 0; `lam` a number.
- Return `base_rows + lam * sum(w_i * task vector i)` for these rows: computed in float32, then
  returned in the dtype of `base_rows`. Do not change the inputs.
- **Memory.** No tensor that the call makes may be larger than the larger of these two: `base_rows`
  in float32, or the largest `B`. A whole task vector is larger than that.
"""

HINTS = (
    "Row k of `B @ A` is row k of `B` times `A`. So which rows of `B` do you need?",
    "`B[start : start + len(base_rows)] @ A` has the shape of `base_rows`. Add one adapter after "
    "the other to a running sum; stacking all three would make a tensor three times as large.",
)


def merge_rows(
    base_rows: Tensor, start: int, factors: Factors, weights: Sequence[float], lam: float = 1.0
) -> Tensor:
    total = base_rows.float().clone()
    stop = start + len(base_rows)
    for (a, b, scaling), weight in zip(factors, weights, strict=True):
        total += (lam * weight * scaling) * (b[start:stop] @ a)
    return total.to(base_rows.dtype)


# Wrong implementations ---------------------------------------------------------------------------


def multiplies_out(
    base_rows: Tensor, start: int, factors: Factors, weights: Sequence[float], lam: float = 1.0
) -> Tensor:
    whole = sum(w * s * (b @ a) for (a, b, s), w in zip(factors, weights, strict=True))
    rows = whole[start : start + len(base_rows)]  # type: ignore[index]
    return (base_rows.float() + lam * rows).to(base_rows.dtype)


def first_rows(
    base_rows: Tensor, start: int, factors: Factors, weights: Sequence[float], lam: float = 1.0
) -> Tensor:
    return merge_rows(base_rows, 0, factors, weights, lam)


def forgets_scaling(
    base_rows: Tensor, start: int, factors: Factors, weights: Sequence[float], lam: float = 1.0
) -> Tensor:
    return merge_rows(base_rows, start, [(a, b, 1.0) for a, b, _ in factors], weights, lam)


def sums_factors(
    base_rows: Tensor, start: int, factors: Factors, weights: Sequence[float], lam: float = 1.0
) -> Tensor:
    a = sum(w * a for (a, _, _), w in zip(factors, weights, strict=True))
    b = sum(w * s * b for (_, b, s), w in zip(factors, weights, strict=True))
    return merge_rows(base_rows, start, [(a, b, 1.0)], [1.0], lam)  # type: ignore[list-item]


def normalised(
    base_rows: Tensor, start: int, factors: Factors, weights: Sequence[float], lam: float = 1.0
) -> Tensor:
    return merge_rows(base_rows, start, factors, [w / sum(weights) for w in weights], lam)


def forgets_base(
    base_rows: Tensor, start: int, factors: Factors, weights: Sequence[float], lam: float = 1.0
) -> Tensor:
    return merge_rows(base_rows * 0, start, factors, weights, lam)


def lam_on_base(
    base_rows: Tensor, start: int, factors: Factors, weights: Sequence[float], lam: float = 1.0
) -> Tensor:
    change = merge_rows(base_rows.float() * 0, start, factors, weights)
    return (lam * (base_rows.float() + change)).to(base_rows.dtype)


def two_only(
    base_rows: Tensor, start: int, factors: Factors, weights: Sequence[float], lam: float = 1.0
) -> Tensor:
    return merge_rows(base_rows, start, factors[:2], weights[:2], lam)


def returns_float32(
    base_rows: Tensor, start: int, factors: Factors, weights: Sequence[float], lam: float = 1.0
) -> Tensor:
    return merge_rows(base_rows.float(), start, factors, weights, lam)


def in_place(
    base_rows: Tensor, start: int, factors: Factors, weights: Sequence[float], lam: float = 1.0
) -> Tensor:
    return base_rows.copy_(merge_rows(base_rows, start, factors, weights, lam))


WRONG = (
    Misconception(
        "multiplies out",
        multiplies_out,
        "You made a whole task vector and then took its rows: the memory is gone before you cut. "
        "Take the rows of B first.",
    ),
    Misconception(
        "the first rows",
        first_rows,
        "You took the first rows of B: the rows you are given begin at `start`.",
    ),
    Misconception(
        "forgets the scaling",
        forgets_scaling,
        "You left out the adapters' own scaling: a task vector is scaling * B @ A.",
    ),
    Misconception(
        "sums the factors",
        sums_factors,
        "You added up the A's and the B's before multiplying: that brings in products of one "
        "adapter's B with another's A.",
    ),
    Misconception(
        "normalises",
        normalised,
        "You divided the weights by their sum: this is a weighted sum, not an average.",
    ),
    Misconception(
        "forgets the base",
        forgets_base,
        "You returned the change alone: add it to the base's rows.",
    ),
    Misconception(
        "lambda on the base",
        lam_on_base,
        "You scaled the base as well: lambda belongs to the sum of the task vectors only.",
        (0.0, 0.95),
    ),
    Misconception(
        "two only",
        two_only,
        "You merged the first two adapters: the list may hold any number of them.",
    ),
    Misconception(
        "returns float32",
        returns_float32,
        "You returned float32: compute in float32, then go back to the dtype of the base's rows.",
        (0.6, 0.98),
    ),
    Misconception(
        "in place",
        in_place,
        "You wrote into the base's rows: return a new tensor, the caller may still need them.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def row_by_row(
    base_rows: Tensor, start: int, factors: Factors, weights: Sequence[float], lam: float = 1.0
) -> Tensor:
    result = base_rows.clone()
    for n in range(len(base_rows)):
        row = base_rows[n].float()
        for (a, b, scaling), weight in zip(factors, weights, strict=True):
            row = row + lam * weight * scaling * (b[start + n] @ a)
        result[n] = row.to(base_rows.dtype)
    return result


def last_first(
    base_rows: Tensor, start: int, factors: Factors, weights: Sequence[float], lam: float = 1.0
) -> Tensor:
    change = torch.zeros(base_rows.shape)
    for (a, b, scaling), weight in reversed(list(zip(factors, weights, strict=True))):
        change = change + weight * scaling * (b.narrow(0, start, len(base_rows)) @ a)
    return (base_rows.float() + lam * change).to(base_rows.dtype)


def limit(base_rows: Tensor, factors: Factors) -> int:
    return 4 * max(base_rows.numel(), *(b.numel() for _, b, _ in factors))


def case(
    kind: str,
    base_rows: Tensor,
    start: int,
    factors: Factors,
    weights: Sequence[float],
    *,
    lam: float | None = None,
    core: bool = False,
) -> Case:
    settings: dict[str, Any] = {} if lam is None else {"lam": lam}
    return Case(
        kind,
        (base_rows, start, list(factors), list(weights)),
        settings,
        core=core,
        largest=limit(base_rows, factors),
    )


def column(*values: float) -> Tensor:
    return torch.tensor(values).reshape(-1, 1)


ONE = (torch.tensor([[1.0, 2.0, 0.0]]), column(1.0, 0.0, 2.0, -1.0), 1.0)
TWO = (torch.tensor([[0.0, 1.0, -1.0]]), column(0.0, 1.0, 1.0, 3.0), 2.0)
TRE = (torch.tensor([[2.0, 0.0, 1.0]]), column(1.0, 1.0, 0.0, 0.5), 0.5)
ROWS = torch.tensor([[0.5, 0.0, 1.0], [1.0, 1.0, 1.0]])
VISIBLE = (
    case("three adapters", ROWS[:1], 2, [ONE, TWO, TRE], [1.0, 1.0, 1.0], core=True),
    case("three adapters", ROWS[1:], 3, [ONE, TWO, TRE], [0.5, 1.0, 2.0], core=True),
    case("one adapter", ROWS, 1, [TWO], [0.5]),
    case("a scale", ROWS[:1], 3, [ONE, TWO, TRE], [1.0, 1.0, 1.0], lam=0.5),
    case("a negative weight", ROWS[:1], 2, [ONE, TWO, TRE], [1.0, -1.0, 0.5]),
    case("bfloat16", ROWS.bfloat16(), 2, [ONE, TWO, TRE], [1.0, 0.5, 1.0]),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"capstone/merge_rows/{seed}")
    width, out = draw.random.choice((10, 12, 14)), draw.random.choice((40, 48, 56))

    def adapters(ranks: Sequence[int]) -> Factors:
        return [
            (
                draw.grid(r, width, zeros=0.1),
                draw.grid(out, r, zeros=0.1),
                draw.random.choice((0.5, 2.0, 4.0)),
            )
            for r in ranks
        ]

    def rows(count: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return draw.grid(count, width, dtype=dtype)

    three, start = adapters((2, 2, 2)), draw.random.randint(3, 20)
    return [
        case("three adapters", rows(8), start, three, draw.weights(3), core=True),
        case("three adapters", rows(1), out - 1, three, draw.weights(3), core=True),
        case("adapters of different ranks", rows(6), start, adapters((1, 4, 2)), draw.weights(3)),
        case("one adapter", rows(4), start, adapters((3,)), draw.weights(1)),
        case("five adapters", rows(4), start, adapters((1, 2, 1, 2, 1)), draw.weights(5)),
        case("a scale", rows(5), start, three, draw.weights(3), lam=0.75),
        case("a negative weight", rows(5), start, three, draw.weights(3, negative=True)),
        case("a weight of 0", rows(5), start, three, [1.0, 0.0, 0.5]),
        case("no rows", rows(0), start, three, draw.weights(3)),
        case("bfloat16", rows(6, torch.bfloat16), start, three, draw.weights(3)),
        case("float16", rows(6, torch.float16), start, three, draw.weights(3)),
        case("rows that are not contiguous", rows(12)[::2], start, three, draw.weights(3)),
    ]


MERGE_ROWS = Exercise(
    id="capstone/merge_rows",
    lesson="08_capstone",
    title="three adapters, some rows at a time",
    signature="merge_rows(base_rows, start, factors, weights, lam=1.0)",
    contract=CONTRACT,
    example="With `A = [[1, 2, 0]]`, `B = [[1], [0], [2], [-1]]`, scaling 1 and weight 1, row 2 of "
    "the task vector is 2 · [1, 2, 0], so `merge_rows(tensor([[0.5, 0.0, 1.0]]), 2, [(A, B, 1.0)], "
    "[1.0])` returns `tensor([[2.5, 4.0, 1.0]])`.",
    reference=merge_rows,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 4),
    minutes=8,
    difficulty=2,
    misconceptions=WRONG,
    alternatives={"row by row": row_by_row, "last first": last_first},
    hints=HINTS,
)
