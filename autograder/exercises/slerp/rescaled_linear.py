"""Exercise `rescaled_linear`: the straight line, given back the length it lost."""

import torch
from torch import Tensor

from autograder.cases import GRID, Draw
from autograder.exercise import Case, Exercise, Misconception, Points, Tolerance

CONTRACT = """
Write `rescaled_linear(first, second, t)`: the linear merge, stretched to the length it should have.

- `first` and `second` are tensors of the same shape (any shape, also empty) and the same dtype:
  float32, float16 or bfloat16. `t` is a number from 0 to 1; `t = 0` gives `first`.
- The direction is that of `(1 - t) * first + t * second`.
- The norm is interpolated, too: `(1 - t) * |first| + t * |second|`, Euclidean norms over the whole
  tensor.
- Where `(1 - t) * first + t * second` is zero in every entry, as you compute it and before you
  round to the dtype of the inputs, no direction is left to stretch: the result is zero (not NaN).
- Compute in float32 or better, round once at the end, and return the shape and dtype of the inputs.
  Do not change the inputs.
"""

HINTS = (
    "Two numbers are enough: the norm that the straight line has, and the norm it should have. "
    "Their quotient is the factor.",
    "`line = (1 - t) * first.float() + t * second.float()`, then "
    "`line * wanted / line.norm()`, but only where `line.norm()` is not 0.",
)


def between(first: Tensor, second: Tensor, t: float) -> Tensor:
    return (1 - t) * first.double() + t * second.double()


def stretched(line: Tensor, wanted: float, like: Tensor) -> Tensor:
    size = float(line.norm())
    return (line * (wanted / size) if size > 0 else torch.zeros_like(line)).to(like.dtype)


def lengths(first: Tensor, second: Tensor) -> tuple[float, float]:
    return float(first.double().norm()), float(second.double().norm())


def rescaled_linear(first: Tensor, second: Tensor, t: float) -> Tensor:
    a, b = lengths(first, second)
    return stretched(between(first, second, t), (1 - t) * a + t * b, first)


# Wrong implementations ---------------------------------------------------------------------------


def plain_line(first: Tensor, second: Tensor, t: float) -> Tensor:
    return between(first, second, t).to(first.dtype)


def length_one(first: Tensor, second: Tensor, t: float) -> Tensor:
    return stretched(between(first, second, t), 1.0, first)


def backwards(first: Tensor, second: Tensor, t: float) -> Tensor:
    return rescaled_linear(second, first, t)


def mean_length(first: Tensor, second: Tensor, t: float) -> Tensor:
    return stretched(between(first, second, t), sum(lengths(first, second)) / 2, first)


def directions_first(first: Tensor, second: Tensor, t: float) -> Tensor:
    a, b = lengths(first, second)
    units = first.double() / (a or 1.0), second.double() / (b or 1.0)
    return stretched(between(*units, t), (1 - t) * a + t * b, first)


def root_two(first: Tensor, second: Tensor, t: float) -> Tensor:
    return (between(first, second, t) * 2**0.5).to(first.dtype)


def row_by_row(first: Tensor, second: Tensor, t: float) -> Tensor:
    if first.dim() < 2 or first.numel() == 0:
        return rescaled_linear(first, second, t)
    return torch.stack([row_by_row(a, b, t) for a, b in zip(first, second, strict=True)])


def sums_of_magnitudes(first: Tensor, second: Tensor, t: float) -> Tensor:
    line = between(first, second, t)
    wanted = between(first.double().abs().sum(), second.double().abs().sum(), t)
    size = line.abs().sum()
    return (line * (wanted / size) if size > 0 else torch.zeros_like(line)).to(first.dtype)


def nan_where_cancelled(first: Tensor, second: Tensor, t: float) -> Tensor:
    a, b = lengths(first, second)
    line = between(first, second, t)
    return (line / line.norm() * ((1 - t) * a + t * b)).to(first.dtype)


def wider_type(first: Tensor, second: Tensor, t: float) -> Tensor:
    return rescaled_linear(first.float(), second.float(), t)


def in_16_bits(first: Tensor, second: Tensor, t: float) -> Tensor:
    if first.dtype == torch.float32:
        return rescaled_linear(first, second, t)
    line = (1 - t) * first + t * second
    a, b, size = ((x * x).sum().sqrt() for x in (first, second, line))
    return line * (((1 - t) * a + t * b) / size)


def in_place(first: Tensor, second: Tensor, t: float) -> Tensor:
    merged = rescaled_linear(first, second, t)
    first.copy_(merged)
    return merged


WRONG = (
    Misconception(
        "the plain line",
        plain_line,
        "You return the plain linear merge: stretch it until its norm is "
        "`(1 - t) * |first| + t * |second|`.",
    ),
    Misconception(
        "length one",
        length_one,
        "You gave the result the norm 1: it should have the interpolated norm of the two tensors.",
    ),
    Misconception(
        "t turned round",
        backwards,
        "Your t runs the wrong way: t = 0 gives `first`.",
    ),
    Misconception(
        "mean length",
        mean_length,
        "You used the plain mean of the norms: interpolate them with t, as the tensors.",
    ),
    Misconception(
        "directions first",
        directions_first,
        "You normalised the tensors before you averaged: the direction is that of the plain linear "
        "merge, in which the longer tensor counts for more.",
    ),
    Misconception(
        "always root two",
        root_two,
        "You multiplied by the root of two: that is right only at a right angle, half way, with "
        "equal norms. Measure the norm of the line.",
    ),
    Misconception(
        "row by row",
        row_by_row,
        "You stretched each row by itself: there is one factor for the whole tensor.",
    ),
    Misconception(
        "sums of magnitudes",
        sums_of_magnitudes,
        "You compared sums of magnitudes: a norm here is the root of the sum of squares.",
    ),
    Misconception(
        "NaN where all cancels",
        nan_where_cancelled,
        "You divided 0 by 0 where the two cancel out: there the result is zero.",
        (0.5, 0.98),
    ),
    Misconception(
        "another dtype",
        wider_type,
        "You return float32 for 16-bit inputs: round once at the end, with `.to(first.dtype)`.",
        (0.6, 0.98),
    ),
    Misconception(
        "computes in 16 bits",
        in_16_bits,
        "You computed in 16 bits, where squares overflow or are rounded: convert to float32 first.",
        (0.6, 0.98),
    ),
    Misconception(
        "in place",
        in_place,
        "You wrote the result into `first`: the next t needs it as it was, so return a new tensor.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_loop(first: Tensor, second: Tensor, t: float) -> Tensor:
    a, b = first.flatten().tolist(), second.flatten().tolist()
    line = [(1 - t) * x + t * y for x, y in zip(a, b, strict=True)]

    def norm(values: list[float]) -> float:
        return sum(v * v for v in values) ** 0.5

    size = norm(line)
    factor = ((1 - t) * norm(a) + t * norm(b)) / size if size else 0.0
    return torch.tensor([factor * x for x in line], dtype=first.dtype).reshape(first.shape)


def by_two_weights(first: Tensor, second: Tensor, t: float) -> Tensor:
    a, b = lengths(first, second)
    size = float(between(first, second, t).norm())
    factor = ((1 - t) * a + t * b) / max(size, 1e-300)
    at_first, at_second = factor * (1 - t), factor * t
    if size == 0:
        return torch.zeros(first.shape, dtype=first.dtype)
    return (at_first * first.double() + at_second * second.double()).to(first.dtype)


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


VISIBLE = (
    Case("a right angle", (vector(1, 0), vector(0, 1), 0.5), core=True),
    Case("a right angle", (vector(3, 0), vector(0, 4), 0.5), core=True),
    Case("another t", (vector(4, 0), vector(0, 2), 0.25), core=True),
    Case("another t", (vector(3, 4), vector(8, -6), 0.25), core=True),
    Case(
        "a matrix",
        (torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, 0.0], [3.0, 1.0]]), 0.5),
        core=True,
    ),
    Case("tensors that cancel out", (vector(1, -2), vector(-1, 2), 0.5)),
    Case("parallel tensors", (vector(1, 2), vector(3, 6), 0.5)),
    Case("the ends, t = 0 and t = 1", (vector(1, 2), vector(3, -1), 0.0)),
    Case("the ends, t = 0 and t = 1", (vector(1, 2), vector(3, -1), 1.0)),
    Case("float16", (vector(300, 0).half(), vector(0, 400).half(), 0.5)),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"slerp/rescaled_linear/{seed}")
    t = draw.random.choice((0.2, 0.3, 0.7))
    line = draw.distinct(12)

    def two(*shape: int) -> tuple[Tensor, Tensor]:
        return draw.distinct(*shape), 3 * draw.distinct(*shape)

    # Half of the entries nearly cancel, and half precision would lose what is left of them.
    near, far = draw.distinct(24), draw.distinct(24)
    nearly = (torch.cat([near, far]).half(), torch.cat([1 / GRID - 1.5 * near, far]).half())

    return [
        Case("a right angle", (2 * torch.eye(4)[0], torch.eye(4)[2], 0.5), core=True),
        Case("two vectors", (*two(20), 0.5), core=True),
        Case("another t", (*two(20), t), core=True),
        Case("a matrix", (*two(4, 5), t), core=True),
        Case("more than two dimensions", (*two(2, 3, 4), t)),
        Case("tensors that cancel out", (line, -line, 0.5)),
        Case("two zero vectors", (torch.zeros(5), torch.zeros(5), t)),
        Case("a zero vector", (torch.zeros(6), draw.distinct(6), t)),
        Case("parallel tensors", (line, 2 * line, t)),
        Case("opposite tensors", (line, -2 * line, 0.5)),
        Case("the ends, t = 0 and t = 1", (*two(7), 0.0)),
        Case("the ends, t = 0 and t = 1", (*two(7), 1.0)),
        Case("an empty tensor", (torch.zeros(0), torch.zeros(0), t)),
        Case("a single entry", (torch.tensor(0.5), torch.tensor(-0.25), t)),
        Case("a single entry", (torch.tensor([0.5]), torch.tensor([2.0]), t)),
        Case("float16", (torch.full((9,), 300.0).half(), (60 * draw.distinct(9)).half(), t)),
        Case("bfloat16", (*(v.bfloat16() for v in two(40)), t)),
        Case("transposed matrices", (*(v.T for v in two(4, 6)), t)),
        Case("float16", (*nearly, 0.4)),
        Case(
            "float16",
            (torch.full((4,), 4e4).half(), torch.tensor([4e4, 4e4, -4e4, -4e4]).half(), 0.5),
        ),
    ]


RESCALED_LINEAR = Exercise(
    id="slerp/rescaled_linear",
    lesson="03_slerp",
    title="the straight line at full length",
    signature="rescaled_linear(first, second, t)",
    contract=CONTRACT,
    example="`[3, 0]` and `[0, 4]` at t = 0.5: the line gives `[1.5, 2]` with norm 2.5, but the "
    "norm should be 3.5, so the result is `tensor([2.1, 2.8])`.",
    reference=rescaled_linear,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 3),
    minutes=5,
    difficulty=1,
    misconceptions=WRONG,
    alternatives={"by loop": by_loop, "by two weights": by_two_weights},
    hints=HINTS,
    tolerance=Tolerance(absolute=1e-5),
)
