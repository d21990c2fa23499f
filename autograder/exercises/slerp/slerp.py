"""Exercise `slerp`: a point on the arc between two tensors, and what to do where there is none."""

import math

import torch
from torch import Tensor

from autograder.cases import GRID, Draw
from autograder.exercise import Case, Exercise, Misconception, Points, Tolerance
from autograder.exercises.slerp.angle import angle
from mergelab.methods import slerp as along_arc

CONTRACT = """
Write `slerp(first, second, t)`: the point at fraction `t` of the arc from `first` to `second`.

- `first` and `second` are tensors of the same shape (any shape, also empty) and the same dtype:
  float32, float16 or bfloat16. `t` is a number from 0 to 1; `t = 0` gives `first`, `t = 1` gives
  `second`.
- With `theta` the angle between the two, each seen as one long vector, the result is
  `sin((1 - t) * theta) / sin(theta) * first + sin(t * theta) / sin(theta) * second`. The two
  factors act on the tensors as they are: nothing is normalised.
- Where there is no arc the result is the straight line `(1 - t) * first + t * second`: when
  `sin(theta) < 1e-4` (parallel or opposite tensors), or when one of the two is zero or empty.
- Compute the angle in float64 and clamp the cosine. Combine the tensors in float32 or better, round
  once at the end, and return the shape and dtype of the inputs. Do not change the inputs.
"""

HINTS = (
    "Your `angle` does half of the work, in radians. It returns `None` for a zero vector: that is "
    "one of the cases without an arc.",
    "Find two numbers, `at_first` and `at_second`, in an `if` with two branches: the straight "
    "line, or the two sines. The last line is the same for both: "
    "`(at_first * first.float() + at_second * second.float()).to(first.dtype)`.",
)


def slerp(first: Tensor, second: Tensor, t: float) -> Tensor:
    return along_arc(first, second, t)


def combined(first: Tensor, second: Tensor, factors: tuple[float, float]) -> Tensor:
    return (factors[0] * first.double() + factors[1] * second.double()).to(first.dtype)


def arc(theta: float, t: float) -> tuple[float, float]:
    return math.sin((1 - t) * theta) / math.sin(theta), math.sin(t * theta) / math.sin(theta)


# Wrong implementations ---------------------------------------------------------------------------


def straight(first: Tensor, second: Tensor, t: float) -> Tensor:
    return combined(first, second, (1 - t, t))


def backwards(first: Tensor, second: Tensor, t: float) -> Tensor:
    return slerp(second, first, t)


def half_way(first: Tensor, second: Tensor, t: float) -> Tensor:
    return slerp(first, second, 0.5)


def of_unit_vectors(first: Tensor, second: Tensor, t: float) -> Tensor:
    def unit(tensor: Tensor) -> Tensor:
        size = tensor.double().norm()
        return tensor.double() / (size if size else 1.0)

    return along_arc(unit(first), unit(second), t).to(first.dtype)


def norms_apart(first: Tensor, second: Tensor, t: float) -> Tensor:
    return along_arc(first, second, t, norm="interpolate")


def in_degrees(first: Tensor, second: Tensor, t: float) -> Tensor:
    theta = angle(first, second, degrees=True)
    if theta is None or math.sin(math.radians(theta)) < 1e-4:
        return straight(first, second, t)
    return combined(first, second, arc(theta, t))


def row_by_row(first: Tensor, second: Tensor, t: float) -> Tensor:
    if first.dim() < 2:
        return slerp(first, second, t)
    rows = [row_by_row(a, b, t) for a, b in zip(first, second, strict=True)]
    return torch.stack(rows) if rows else first.clone()


def no_divisor(first: Tensor, second: Tensor, t: float) -> Tensor:
    theta = angle(first, second)
    if theta is None or math.sin(theta) < 1e-4:
        return straight(first, second, t)
    return combined(first, second, (math.sin((1 - t) * theta), math.sin(t * theta)))


def no_line_for_parallel(first: Tensor, second: Tensor, t: float) -> Tensor:
    theta = angle(first, second)
    if theta is not None and math.sin(theta) < 1e-4:
        return torch.full_like(first, math.nan)
    return slerp(first, second, t)


def no_line_for_opposite(first: Tensor, second: Tensor, t: float) -> Tensor:
    theta = angle(first, second)
    if theta is None or theta < 1e-4:
        return straight(first, second, t)
    return combined(first, second, arc(min(theta, math.pi - 1e-9), t))


def no_line_for_zero(first: Tensor, second: Tensor, t: float) -> Tensor:
    if angle(first, second) is None:
        return torch.full_like(first, math.nan)
    return slerp(first, second, t)


def line_too_early(first: Tensor, second: Tensor, t: float) -> Tensor:
    return along_arc(first, second, t, dot_threshold=0.9995)


def wider_type(first: Tensor, second: Tensor, t: float) -> Tensor:
    return slerp(first.float(), second.float(), t)


def in_16_bits(first: Tensor, second: Tensor, t: float) -> Tensor:
    if first.dtype == torch.float32:
        return slerp(first, second, t)
    x, y = first.flatten(), second.flatten()
    lengths = float((x * x).sum().sqrt() * (y * y).sum().sqrt())
    if not lengths > 0:
        return straight(first, second, t)
    theta = math.acos(max(-1.0, min(1.0, float((x * y).sum()) / lengths)))
    if math.sin(theta) < 1e-4:
        return straight(first, second, t)
    factors = arc(theta, t)
    return factors[0] * first + factors[1] * second


def in_place(first: Tensor, second: Tensor, t: float) -> Tensor:
    merged = slerp(first, second, t)
    first.copy_(merged)
    return merged


WRONG = (
    Misconception(
        "the straight line",
        straight,
        "You walked along the straight line: that is the linear merge, and it loses length on the "
        "way. The factors of the arc are quotients of sines.",
    ),
    Misconception(
        "t turned round",
        backwards,
        "Your t runs the wrong way: t = 0 gives `first`, so `first` has the factor with (1 - t).",
    ),
    Misconception(
        "always half way",
        half_way,
        "You left t out: the result must move from `first` to `second` as t goes from 0 to 1.",
    ),
    Misconception(
        "unit vectors",
        of_unit_vectors,
        "You normalised the tensors, so their lengths are lost: the factors act on `first` and "
        "`second` as they are.",
    ),
    Misconception(
        "norms apart",
        norms_apart,
        "You took the arc between the directions and gave it an interpolated norm: that is a "
        "variant, but here the factors act on the tensors as they are.",
    ),
    Misconception(
        "sine of degrees",
        in_degrees,
        "You took the sine of an angle in degrees: `math.sin` wants radians.",
    ),
    Misconception(
        "row by row",
        row_by_row,
        "You walked an arc for each row: the whole tensor is one vector and has one angle.",
    ),
    Misconception(
        "no divisor",
        no_divisor,
        "You forgot to divide by `sin(theta)`: without it t = 0 does not give `first`.",
    ),
    Misconception(
        "no line for parallel tensors",
        no_line_for_parallel,
        "Where `sin(theta)` is 0 you divide by zero: below 1e-4 take the straight line.",
        (0.5, 0.98),
    ),
    Misconception(
        "no line for opposite tensors",
        no_line_for_opposite,
        "You ask whether theta is small, but opposite tensors have theta near pi, and its sine is "
        "small, too: ask for `sin(theta) < 1e-4`.",
        (0.6, 0.98),
    ),
    Misconception(
        "no line for zero",
        no_line_for_zero,
        "A zero vector has no direction, so there is no angle and no arc: take the straight line.",
        (0.6, 0.98),
    ),
    Misconception(
        "the line too early",
        line_too_early,
        "You take the straight line as soon as the cosine exceeds .9995, as mergekit does: here it "
        "is taken when `sin(theta) < 1e-4`.",
        (0.6, 0.98),
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
        "You computed in 16 bits, where norms overflow and angles are coarse: take the angle in "
        "float64 and combine in float32.",
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
    lengths = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b))
    factors = (1 - t, t)
    if lengths > 0:
        cosine = sum(x * y for x, y in zip(a, b, strict=True)) / lengths
        theta = math.acos(max(-1.0, min(1.0, cosine)))
        if math.sin(theta) >= 1e-4:
            factors = arc(theta, t)
    merged = [factors[0] * x + factors[1] * y for x, y in zip(a, b, strict=True)]
    return torch.tensor(merged, dtype=first.dtype).reshape(first.shape)


def from_angle(first: Tensor, second: Tensor, t: float) -> Tensor:
    theta = angle(first, second)
    no_arc = theta is None or math.sin(theta) < 1e-4
    at_first, at_second = (1 - t, t) if no_arc else arc(theta, t)
    return (at_first * first.float() + at_second * second.float()).to(first.dtype)


def by_turning(first: Tensor, second: Tensor, t: float) -> Tensor:
    """Turn the first unit vector towards the second, and undo what that did to the lengths."""
    theta = angle(first, second)
    if theta is None or math.sin(theta) < 1e-4:
        return straight(first, second, t)
    x, y = first.double(), second.double()
    start, end = x / x.norm(), y / y.norm()
    side = (end - math.cos(theta) * start) / math.sin(theta)
    towards = math.sin(t * theta) / math.sin(theta)
    point = math.cos(t * theta) * start + math.sin(t * theta) * side
    point = (point - towards * end) * x.norm() + towards * y
    return point.to(first.dtype)


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


VISIBLE = (
    Case("a right angle", (vector(1, 0), vector(0, 1), 0.5), core=True),
    Case("a right angle", (vector(1, 0), vector(0, 1), 1 / 3), core=True),
    Case("another angle", (vector(1, 0), vector(0.5, 3**0.5 / 2), 0.25), core=True),
    Case("different norms", (vector(2, 0), vector(0, 1), 0.5), core=True),
    Case(
        "a matrix",
        (torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [1.0, 0.0]]), 0.5),
        core=True,
    ),
    Case("parallel tensors", (vector(1, 2), vector(3, 6), 0.5), weight=3),
    Case("opposite tensors", (vector(1, 2), vector(-3, -6), 0.25), weight=2),
    Case("a zero vector", (vector(0, 0), vector(1, 2), 0.25), weight=2),
    Case("a small angle", (vector(1, 0), vector(1, 0.03), 0.5)),
    Case("the ends, t = 0 and t = 1", (vector(1, 2), vector(3, -1), 0.0)),
    Case("the ends, t = 0 and t = 1", (vector(1, 2), vector(3, -1), 1.0)),
    Case("bfloat16", (vector(1, 2).bfloat16(), vector(3, -1).bfloat16(), 0.5)),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"slerp/slerp/{seed}")
    t = draw.random.choice((0.2, 0.3, 0.7))
    line, small = draw.distinct(12), draw.distinct(12)
    beside = small.clone()
    place = int(small.abs().argmin())
    beside[place] += float(0.03 * small.norm())

    def two(*shape: int) -> tuple[Tensor, Tensor]:
        return draw.distinct(*shape), draw.distinct(*shape)

    # Half of the entries nearly cancel, and half precision would lose what is left of them.
    near, far = draw.distinct(24), draw.distinct(24)
    nearly = (torch.cat([near, far]).half(), torch.cat([1 / GRID - near, far]).half())

    return [
        Case("a right angle", (torch.eye(4)[0], torch.eye(4)[2], t), core=True),
        Case("another angle", (*two(20), t), core=True),
        Case("another angle", (*two(20), 0.5), core=True),
        Case("another angle", (line, draw.distinct(12) - 2 * line, t), core=True),
        Case("different norms", (8 * draw.distinct(9), draw.distinct(9), t), core=True),
        Case("different norms", (draw.distinct(9) / 8, draw.distinct(9), 0.5), core=True),
        Case("a matrix", (*two(4, 5), t), core=True),
        Case("more than two dimensions", (*two(2, 3, 4), t)),
        Case("parallel tensors", (line, 2 * line, t), weight=3),
        Case("parallel tensors", (line, line.clone(), 0.5), weight=3),
        Case("opposite tensors", (line, -line, t), weight=2),
        Case("opposite tensors", (line, -0.5 * line, 0.5), weight=2),
        Case("a zero vector", (torch.zeros(6), draw.distinct(6), t), weight=2),
        Case("a zero vector", (draw.distinct(2, 3), torch.zeros(2, 3), t), weight=2),
        Case("two zero vectors", (torch.zeros(5), torch.zeros(5), t)),
        Case("a small angle", (small, beside, 0.5)),
        Case("the ends, t = 0 and t = 1", (*two(7), 0.0)),
        Case("the ends, t = 0 and t = 1", (*two(7), 1.0)),
        Case("an empty tensor", (torch.zeros(0), torch.zeros(0), t)),
        Case("an empty tensor", (torch.zeros(0, 3), torch.zeros(0, 3), t)),
        Case("a single entry", (torch.tensor(0.5), torch.tensor(-0.25), t)),
        Case("a single entry", (torch.tensor([0.5]), torch.tensor([2.0]), t)),
        Case("float16", (*(100 * v.half() for v in two(20)), t)),
        Case("bfloat16", (*(v.bfloat16() for v in two(40)), t)),
        Case("transposed matrices", (*(v.T for v in two(4, 6)), t)),
        Case("float16", (*nearly, 0.5)),
    ]


SLERP = Exercise(
    id="slerp/slerp",
    lesson="03_slerp",
    title="slerp, with its edge cases",
    signature="slerp(first, second, t)",
    contract=CONTRACT,
    example="`slerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), 0.5)` is "
    "`tensor([0.7071, 0.7071])`, half way along a quarter of a circle.",
    reference=slerp,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(2, 5),
    minutes=10,
    difficulty=2,
    misconceptions=WRONG,
    alternatives={"by loop": by_loop, "from angle": from_angle, "by turning": by_turning},
    hints=HINTS,
    tolerance=Tolerance(absolute=1e-5),
    uses=("slerp/angle",),
    equivalent={
        "4d4454/swapped/1": "Computes the same: the angle is symmetric.",
        "38d8a9/compare/2": (
            "Outside the contract: whether a sine is exactly 1e-4 hangs on rounding, and the "
            "two formulas meet there."
        ),
    },
)
