"""Exercise `angle`: between two tensors seen as flat vectors, in radians or degrees."""

import math

import torch
from torch import Tensor

from autograder.cases import GRID, Draw
from autograder.equivalence import PLAIN_NUMBER
from autograder.exercise import Case, Exercise, Misconception, Points, Tolerance

CONTRACT = """
Write `angle(first, second, degrees=False)`: the angle between two tensors, each seen as one long
vector.

- `first` and `second` are tensors of the same shape (any shape, also empty) and the same dtype:
  float32, float16 or bfloat16.
- The cosine is the inner product divided by the product of the two norms, over *all* entries. The
  angle is its arc cosine: a number from 0 to pi, in radians, or in degrees (0 to 180) with
  `degrees=True`.
- Compute in float64. Near 0 and near pi the arc cosine magnifies every rounding error: in float32
  two tensors that are almost parallel get an angle of 0, or one that is several times too large.
- Even in float64 rounding can carry the cosine past 1 or -1, where the arc cosine does not exist:
  clamp it to the range from -1 to 1.
- A vector of zeros (and an empty tensor) has no direction: return `None` if one of the two is zero.
- Return a number: a Python float, or a tensor without dimensions. Do not change the inputs.
"""

HINTS = (
    "`first.double().flatten()` turns any shape into one vector of float64. What remains is the "
    "formula you know from school, for very long vectors.",
    "`x @ y` is the inner product and `x.norm()` the norm. Ask for the zero case before you "
    "divide, and clamp with `max(-1.0, min(1.0, cosine))` before `math.acos`.",
)


def angle(first: Tensor, second: Tensor, degrees: bool = False) -> float | None:
    x, y = flat(first), flat(second)
    lengths = float(x.norm()) * float(y.norm())
    if lengths == 0:
        return None
    return turned(math.acos(max(-1.0, min(1.0, float(x @ y) / lengths))), degrees)


def flat(tensor: Tensor) -> Tensor:
    return tensor.double().flatten()


def turned(radians: float, degrees: bool) -> float:
    return math.degrees(radians) if degrees else radians


# Wrong implementations ---------------------------------------------------------------------------


def returns_cosine(first: Tensor, second: Tensor, degrees: bool = False) -> float | None:
    found = angle(first, second)
    return None if found is None else math.cos(found)


def forgets_norms(first: Tensor, second: Tensor, degrees: bool = False) -> float:
    dot = max(-1.0, min(1.0, float(flat(first) @ flat(second))))
    return turned(math.acos(dot), degrees)


def absolute_cosine(first: Tensor, second: Tensor, degrees: bool = False) -> float | None:
    found = angle(first, second)
    return None if found is None else turned(min(found, math.pi - found), degrees)


def row_by_row(first: Tensor, second: Tensor, degrees: bool = False) -> Tensor:
    cosine = torch.nn.functional.cosine_similarity(first.double(), second.double(), dim=-1)
    found = cosine.clamp(-1, 1).acos()
    return torch.rad2deg(found) if degrees else found


def always_degrees(first: Tensor, second: Tensor, degrees: bool = False) -> float | None:
    return angle(first, second, True)


def never_degrees(first: Tensor, second: Tensor, degrees: bool = False) -> float | None:
    return angle(first, second, False)


def zero_is_right_angle(first: Tensor, second: Tensor, degrees: bool = False) -> float:
    found = angle(first, second, degrees)
    return turned(math.pi / 2, degrees) if found is None else found


def zero_is_parallel(first: Tensor, second: Tensor, degrees: bool = False) -> float:
    found = angle(first, second, degrees)
    return 0.0 if found is None else found


def nan_for_zero(first: Tensor, second: Tensor, degrees: bool = False) -> float:
    found = angle(first, second, degrees)
    return math.nan if found is None else found


def without_clamp(first: Tensor, second: Tensor, degrees: bool = False) -> float | None:
    x, y = flat(first), flat(second)
    lengths = float(x.norm() * y.norm())
    return turned(math.acos(float(x @ y) / lengths), degrees) if lengths else None


def in_32_bits(first: Tensor, second: Tensor, degrees: bool = False) -> float | None:
    x, y = first.float().flatten(), second.float().flatten()
    lengths = x.norm() * y.norm()
    if float(lengths) == 0:
        return None
    return turned(float((x @ y / lengths).clamp(-1, 1).acos()), degrees)


def in_16_bits(first: Tensor, second: Tensor, degrees: bool = False) -> float | None:
    if first.dtype == torch.float32:
        return angle(first, second, degrees)
    x, y = first.flatten(), second.flatten()
    lengths = (x * x).sum().sqrt() * (y * y).sum().sqrt()
    if float(lengths) == 0:
        return None
    return turned(float(((x * y).sum() / lengths).clamp(-1, 1).float().acos()), degrees)


def in_place(first: Tensor, second: Tensor, degrees: bool = False) -> float | None:
    found = angle(first, second, degrees)
    if found is not None:
        first.div_(first.double().norm())
    return found


WRONG = (
    Misconception(
        "returns the cosine",
        returns_cosine,
        "You returned the cosine: the angle is its arc cosine, `math.acos(cosine)`.",
    ),
    Misconception(
        "forgets the norms",
        forgets_norms,
        "You took the arc cosine of the inner product itself: divide it by the product of the two "
        "norms first.",
    ),
    Misconception(
        "no obtuse angles",
        absolute_cosine,
        "You dropped the sign of the cosine: vectors that point away from each other are more "
        "than 90 degrees apart.",
    ),
    Misconception(
        "row by row",
        row_by_row,
        "You took an angle for each row, or along one dimension: the whole tensor is one vector, "
        "so flatten it first.",
    ),
    Misconception(
        "always degrees",
        always_degrees,
        "You always return degrees: the default is radians.",
    ),
    Misconception(
        "never degrees",
        never_degrees,
        "You left `degrees` out: with `degrees=True` the angle is in degrees, `math.degrees(...)`.",
        (0.5, 0.95),
    ),
    Misconception(
        "a right angle to zero",
        zero_is_right_angle,
        "You gave a zero vector an angle of 90 degrees: it has no direction, so return `None`.",
        (0.7, 0.98),
    ),
    Misconception(
        "parallel to zero",
        zero_is_parallel,
        "You gave a zero vector an angle of 0: it has no direction, so return `None`.",
        (0.7, 0.98),
    ),
    Misconception(
        "NaN for zero",
        nan_for_zero,
        "With a zero vector you divide 0 by 0: ask for that case first and return `None`.",
        (0.7, 0.98),
    ),
    Misconception(
        "no clamp",
        without_clamp,
        "Rounding carried your cosine just past 1 or -1, where the arc cosine does not exist: "
        "clamp it first.",
        (0.7, 0.98),
    ),
    Misconception(
        "computes in 32 bits",
        in_32_bits,
        "You computed in float32, where the arc cosine of nearly 1 is mostly rounding error: "
        "convert to float64 first.",
        (0.7, 0.98),
    ),
    Misconception(
        "computes in 16 bits",
        in_16_bits,
        "You computed in the dtype of 16-bit inputs, where squares overflow and small terms are "
        "lost: convert to float64 first.",
        (0.7, 0.98),
    ),
    Misconception(
        "in place",
        in_place,
        "You normalised one of the inputs itself: the merge still needs its norm, so work on a "
        "copy.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_loop(first: Tensor, second: Tensor, degrees: bool = False) -> float | None:
    a, b = first.flatten().tolist(), second.flatten().tolist()
    lengths = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b))
    if lengths == 0:
        return None
    cosine = sum(x * y for x, y in zip(a, b, strict=True)) / lengths
    return turned(math.acos(max(-1.0, min(1.0, cosine))), degrees)


def by_unit_vectors(first: Tensor, second: Tensor, degrees: bool = False) -> Tensor | None:
    x, y = flat(first), flat(second)
    if not x.any() or not y.any():
        return None
    found = ((x / x.norm()) * (y / y.norm())).sum().clamp(-1, 1).acos()
    return torch.rad2deg(found) if degrees else found


def by_chord(first: Tensor, second: Tensor, degrees: bool = False) -> float | None:
    x, y = flat(first), flat(second)
    if not x.any() or not y.any():
        return None
    x, y = x / x.norm(), y / y.norm()
    return turned(2 * math.atan2(float((x - y).norm()), float((x + y).norm())), degrees)


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def parallel(rest: Draw | None = None) -> list[Case]:
    """Pairs of one direction; rounding carries some of their cosines past 1 or -1."""
    lines = [torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.3, 0.7, 0.9, 0.1])]
    lines += [torch.arange(1, n) / 10 for n in (4, 6, 7, 8, 9, 12)]
    if rest is not None:
        lines += [rest.distinct(n) / 3 for n in range(3, 9)]
    cases = [Case("two tensors of one direction", (line, line.clone())) for line in lines]
    return cases + [Case("two opposite tensors", (line, -line)) for line in lines]


VISIBLE = (
    Case("two vectors", (vector(1, 0), vector(0, 2)), core=True),
    Case("two vectors", (vector(1, 0), vector(3, 3)), core=True),
    Case("an obtuse angle", (vector(1, 0), vector(-2, 2)), core=True),
    Case(
        "a matrix",
        (torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[1.0, 1.0], [1.0, 1.0]])),
        core=True,
    ),
    Case("degrees", (vector(1, 0), vector(1, 1)), {"degrees": True}, weight=3),
    Case("degrees", (vector(1, 0), vector(-1, 0)), {"degrees": True}, weight=3),
    *parallel(),
    Case("a zero vector", (vector(0, 0), vector(1, 2))),
    Case("two nearly parallel tensors", (vector(1, 2), vector(1 + 2**-11, 2))),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"slerp/angle/{seed}")
    acute = draw.distinct(20)

    def near(size: int) -> Case:
        first = torch.tensor([draw.random.randint(3 * GRID, 4 * GRID) / GRID for _ in range(2)])
        first = torch.cat([first, torch.zeros(size - 2)])
        second = first.clone()
        second[0] += 2**-9
        return Case("two nearly parallel tensors", (first, second))

    line = draw.distinct(6)
    return [
        Case("two vectors", (draw.distinct(40), draw.distinct(40)), core=True),
        Case("two vectors", (acute, acute + draw.distinct(20)), core=True),
        Case("an obtuse angle", (acute, draw.distinct(20) - 2 * acute), core=True),
        Case("a matrix", (draw.distinct(5, 6), draw.distinct(5, 6)), core=True),
        Case("more than two dimensions", (draw.distinct(2, 3, 4), draw.distinct(2, 3, 4))),
        Case("degrees", (draw.distinct(12), draw.distinct(12)), {"degrees": True}, weight=3),
        Case("degrees", (line, line + draw.distinct(6)), {"degrees": True}, weight=3),
        Case("very different norms", (1000 * draw.distinct(12), draw.distinct(12) / 1000)),
        *parallel(draw),
        Case("a zero vector", (torch.zeros(8), draw.distinct(8))),
        Case("a zero vector", (draw.distinct(2, 3), torch.zeros(2, 3)), {"degrees": True}),
        *(near(size) for size in (2, 3, 5, 8)),
        Case("an empty tensor", (torch.zeros(0), torch.zeros(0))),
        Case("a single entry", (torch.tensor(0.5), torch.tensor(-0.25))),
        Case("a single entry", (torch.tensor([0.5]), torch.tensor([2.0]))),
        Case("float16", ((30 * draw.distinct(20)).half(), (30 * draw.distinct(20)).half())),
        Case("float16", (torch.full((9,), 300.0).half(), (100 * draw.distinct(9)).half())),
        Case("bfloat16", (draw.distinct(40).bfloat16(), draw.distinct(40).bfloat16())),
        Case("transposed matrices", (draw.distinct(4, 6).T, draw.distinct(4, 6).T)),
        Case("transposed matrices", (draw.distinct(4, 6).T, draw.distinct(6, 4))),
    ]


ANGLE = Exercise(
    id="slerp/angle",
    lesson="03_slerp",
    title="the angle between two tensors",
    signature="angle(first, second, degrees=False)",
    contract=CONTRACT,
    example="`angle(torch.tensor([1.0, 0.0]), torch.tensor([3.0, 3.0]), degrees=True)` is 45: only "
    "directions count, not lengths.",
    reference=angle,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 3),
    minutes=7,
    difficulty=1,
    misconceptions=WRONG,
    alternatives={"by loop": by_loop, "by unit vectors": by_unit_vectors, "by chord": by_chord},
    hints=HINTS,
    tolerance=Tolerance(absolute=1e-5),
    equivalent={
        "dd8827/forgotten/1": PLAIN_NUMBER,
        "dd8827/forgotten/3": PLAIN_NUMBER,
        "a9ab7f/forgotten/1": PLAIN_NUMBER,
        "a9ab7f/swapped/2": "Computes the same: the dot product is symmetric.",
    },
)
