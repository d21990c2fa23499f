"""Exercise `conflict_mass`: how much of two task vectors is lost against each other."""

import torch
from torch import Tensor

from autograder.cases import Draw
from autograder.equivalence import PLAIN_NUMBER
from autograder.exercise import Case, Exercise, Misconception, Points

CONTRACT = """
Write `conflict_mass(first, second)`: of everything that two task vectors want, the share that a
sum cancels because the other one wants the opposite.

- `first` and `second` are tensors of the same shape (any shape, also empty) and the same dtype:
  float32, float16 or bfloat16. Compute in float32.
- Where the two have opposite signs, the **smaller** of the two magnitudes is cancelled by the
  larger one. Everywhere else, nothing is cancelled.
- Return one number, a Python float or a tensor without dimensions: the sum of what is cancelled,
  over all entries, divided by the sum of all magnitudes, `|first| + |second|`, over all entries. So
  it lies between 0 (no conflict) and .5 (each is the negative of the other).
- If both task vectors are zero everywhere, or empty, return 0.
- Do not change the inputs.
"""

HINTS = (
    "Two sums. The one below: all magnitudes of both. The one above: at entries with opposite "
    "signs, the smaller magnitude. Do not forget the case of 0 / 0.",
    "`opposing = first * second < 0` is the mask; `torch.minimum(first.abs(), second.abs())` is "
    "the smaller magnitude at every entry.",
)


def conflict_mass(first: Tensor, second: Tensor) -> float:
    """Share of the total magnitude that stands against a larger change of the opposite sign.

    >>> round(conflict_mass(torch.tensor([0.08, 0.07]), torch.tensor([-0.05, 0.05])), 2)
    0.2
    """
    a, b = first.float(), second.float()
    return ratio(torch.minimum(a.abs(), b.abs())[a * b < 0], total(a, b))


def total(a: Tensor, b: Tensor) -> Tensor:
    return a.float().abs().sum() + b.float().abs().sum()


def ratio(above: Tensor, below: Tensor) -> float:
    return float(above.sum() / below) if below > 0 else 0.0


def opposing(a: Tensor, b: Tensor) -> Tensor:
    return a * b < 0


# Wrong implementations ---------------------------------------------------------------------------


def counts_entries(first: Tensor, second: Tensor) -> float:
    mask = opposing(first, second)
    return float(mask.float().mean()) if mask.numel() else 0.0


def counts_both_sides(first: Tensor, second: Tensor) -> float:
    return 2 * conflict_mass(first, second)


def everything_in_conflict(first: Tensor, second: Tensor) -> float:
    a, b = first.float(), second.float()
    return ratio((a.abs() + b.abs())[opposing(a, b)], total(a, b))


def only_conflicts_below(first: Tensor, second: Tensor) -> float:
    a, b = first.float(), second.float()
    mask = opposing(a, b)
    return ratio(torch.minimum(a.abs(), b.abs())[mask], total(a[mask], b[mask]))


def larger_side(first: Tensor, second: Tensor) -> float:
    a, b = first.float(), second.float()
    return ratio(torch.maximum(a.abs(), b.abs())[opposing(a, b)], total(a, b))


def smaller_everywhere(first: Tensor, second: Tensor) -> float:
    a, b = first.float(), second.float()
    return ratio(torch.minimum(a.abs(), b.abs()), total(a, b))


def agreement(first: Tensor, second: Tensor) -> float:
    return conflict_mass(first, -second)


def without_magnitudes_below(first: Tensor, second: Tensor) -> float:
    a, b = first.float(), second.float()
    below = a.sum() + b.sum()
    above = torch.minimum(a.abs(), b.abs())[opposing(a, b)].sum()
    return float(above / below) if below != 0 else 0.0


def of_the_sum(first: Tensor, second: Tensor) -> float:
    a, b = first.float(), second.float()
    return ratio(torch.minimum(a.abs(), b.abs())[opposing(a, b)], (a + b).abs().sum())


def squares(first: Tensor, second: Tensor) -> float:
    a, b = first.float(), second.float()
    above = torch.minimum(a.square(), b.square())[opposing(a, b)]
    return ratio(above, a.square().sum() + b.square().sum())


def products(first: Tensor, second: Tensor) -> float:
    a, b = first.float(), second.float()
    return ratio((a * b).abs()[opposing(a, b)], total(a, b))


def smaller_value(first: Tensor, second: Tensor) -> float:
    a, b = first.float(), second.float()
    above = torch.minimum(a, b)[opposing(a, b)].sum()
    below = total(a, b)
    return float(above / below) if below > 0 else 0.0


def nan_for_nothing(first: Tensor, second: Tensor) -> float:
    a, b = first.float(), second.float()
    above = torch.minimum(a.abs(), b.abs())[opposing(a, b)].sum()
    return float(above / total(a, b))


def mean_of_ratios(first: Tensor, second: Tensor) -> float:
    a, b = first.float(), second.float()
    mask = opposing(a, b)
    if not mask.numel():
        return 0.0
    share = torch.minimum(a.abs(), b.abs()) / (a.abs() + b.abs())
    return float(torch.where(mask, share, 0.0).mean())


def sums_in_half_precision(first: Tensor, second: Tensor) -> float:
    above = torch.minimum(first.abs(), second.abs())[opposing(first, second)].cumsum(0)
    below = (first.abs() + second.abs()).flatten().cumsum(0)
    if not below.numel() or below[-1] == 0:
        return 0.0
    return float(above[-1] / below[-1]) if above.numel() else 0.0


def in_place(first: Tensor, second: Tensor) -> float:
    result = conflict_mass(first, second)
    first.add_(second)
    return result


WRONG = (
    Misconception(
        "counts entries",
        counts_entries,
        "You counted the entries in conflict: mass asks how much is lost there, not how often; add "
        "up magnitudes.",
    ),
    Misconception(
        "counts both sides",
        counts_both_sides,
        "You counted what both sides lose, which is exactly twice as much: take the smaller "
        "magnitude once.",
    ),
    Misconception(
        "everything in conflict",
        everything_in_conflict,
        "You added up both magnitudes at every conflict: the larger change survives in part; only "
        "the smaller one is cancelled.",
    ),
    Misconception(
        "divides by the conflicts alone",
        only_conflicts_below,
        "You divided by the magnitudes of the entries in conflict: divide by those of all entries.",
    ),
    Misconception(
        "the larger side",
        larger_side,
        "You took the larger magnitude: what is cancelled is the smaller one.",
    ),
    Misconception(
        "the smaller one everywhere",
        smaller_everywhere,
        "You took the smaller magnitude at every entry: where the signs are equal, nothing is "
        "cancelled.",
    ),
    Misconception(
        "agreement",
        agreement,
        "You measured where the two agree: opposite signs have a product below zero.",
    ),
    Misconception(
        "a total that cancels itself",
        without_magnitudes_below,
        "You divided by a sum of signed values, in which plus and minus cancel: add up magnitudes "
        "(absolute values).",
    ),
    Misconception(
        "divides by what is left",
        of_the_sum,
        "You divided by the magnitude of the merged sum: the question is what share of the "
        "original magnitudes is lost.",
    ),
    Misconception(
        "squares",
        squares,
        "You added up squares: mass is a sum of magnitudes.",
    ),
    Misconception(
        "products",
        products,
        "You added up products of the two changes: the smaller of the two magnitudes is what "
        "cancels.",
    ),
    Misconception(
        "the smaller value",
        smaller_value,
        "You took the smaller of the two values, which is the negative one: compare magnitudes "
        "(absolute values).",
    ),
    Misconception(
        "a mean of ratios",
        mean_of_ratios,
        "You took a ratio at every entry and then their mean, so that tiny changes count as much "
        "as large ones: add up first, divide once.",
    ),
    Misconception(
        "0 / 0",
        nan_for_nothing,
        "You divided zero by zero: two task vectors without any change have no conflict, so return "
        "0.",
        (0.5, 0.95),
    ),
    Misconception(
        "sums in half precision",
        sums_in_half_precision,
        "You added up in half precision, where small terms vanish beside a large sum: convert to "
        "float32 first.",
        (0.5, 0.95),
    ),
    Misconception(
        "in place",
        in_place,
        "You wrote into a task vector: the caller still needs it; compute with new tensors.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_loop(first: Tensor, second: Tensor) -> float:
    lost = whole = 0.0
    for x, y in zip(first.flatten().tolist(), second.flatten().tolist(), strict=True):
        whole += abs(x) + abs(y)
        if (x < 0 < y) or (y < 0 < x):
            lost += min(abs(x), abs(y))
    return lost / whole if whole else 0.0


def from_the_sum(first: Tensor, second: Tensor) -> Tensor:
    a, b = first.double(), second.double()
    whole = a.abs().sum() + b.abs().sum()
    missing = whole - (a + b).abs().sum()
    return missing / 2 / whole if whole > 0 else torch.tensor(0.0)


def by_sides(first: Tensor, second: Tensor) -> float:
    both = torch.stack([first.float(), second.float()])
    plus, minus = both.clamp(min=0).sum(0), (-both).clamp(min=0).sum(0)
    whole = float((plus + minus).sum())
    return float(torch.minimum(plus, minus).sum()) / whole if whole else 0.0


def t(*values: float, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.tensor(values, dtype=dtype)


VISIBLE = (
    Case("a conflict and an agreement", (t(0.5, 0.25), t(-0.25, 0.75)), core=True),
    Case("a conflict and an agreement", (t(-3.0, 2.0, 1.0), t(1.0, 2.0, 1.0)), core=True),
    Case(
        "several conflicts",
        (t(0.08, -0.50, 0.30, 0.02, -0.25), t(-0.05, 0.20, -0.60, 0.07, -0.75)),
        core=True,
    ),
    Case(
        "a matrix",
        (torch.tensor([[1.0, -2.0], [0.5, 4.0]]), torch.tensor([[2.0, 1.0], [-3.0, 0.5]])),
        core=True,
    ),
    Case("no conflict", (t(1.0, -2.0), t(0.5, -0.25))),
    Case("zeros everywhere", (t(0.0, 0.0), t(0.0, 0.0))),
    Case(
        "half precision",
        (
            torch.tensor([[2.0] * 8, [0.0078125] * 8], dtype=torch.bfloat16).flatten(),
            torch.tensor([[-1.0] * 8, [0.0078125] * 8], dtype=torch.bfloat16).flatten(),
        ),
    ),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"interference/conflict_mass/{seed}")

    def pair(*shape: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        return draw.distinct(*shape, dtype=dtype), draw.distinct(*shape, dtype=dtype)

    first, _ = pair(20)
    large = torch.full((40,), 2.0)
    small = torch.full((40,), 2**-7)
    return [
        Case("a conflict and an agreement", (t(0.5, 0.75), t(-0.25, 1.0)), core=True),
        Case("several conflicts", pair(40), core=True),
        Case("several conflicts", (draw.distinct(30) * 4, draw.distinct(30)), core=True),
        Case("a matrix", pair(6, 7), core=True),
        Case("more than two dimensions", pair(2, 3, 5)),
        Case("entries that are zero", (draw.grid(40, zeros=0.5), draw.grid(40, zeros=0.5))),
        Case("no conflict", (first, 2 * first)),
        Case("opposite task vectors", (first, -first)),
        Case("one task vector of zeros", (first, torch.zeros(20))),
        Case("zeros everywhere", (torch.zeros(3, 4), torch.zeros(3, 4)), weight=2),
        Case("an empty tensor", (torch.zeros(0), torch.zeros(0)), weight=2),
        Case("a single entry", (t(0.5), t(-0.75))),
        Case("half precision", pair(30, dtype=torch.float16), weight=2),
        Case(
            "half precision",
            (
                torch.cat([large, small]).bfloat16(),
                torch.cat([-large / 2, small]).bfloat16(),
            ),
            weight=2,
        ),
        Case("transposed matrices", tuple(delta.T for delta in pair(4, 9))),
    ]


CONFLICT_MASS = Exercise(
    id="interference/conflict_mass",
    lesson="01_interference",
    title="mass of the conflict",
    signature="conflict_mass(first, second)",
    contract=CONTRACT,
    example="`conflict_mass(tensor([0.08, 0.07]), tensor([-0.05, 0.05]))`: the first entry is a "
    "conflict and cancels .05, all magnitudes together are .25, so the result is `0.2`.",
    reference=conflict_mass,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 3),
    minutes=6,
    difficulty=2,
    misconceptions=WRONG,
    alternatives={"by loop": by_loop, "from the sum": from_the_sum, "by sides": by_sides},
    hints=HINTS,
    equivalent={
        "a4c0b7/forgotten/1": PLAIN_NUMBER,
        "b3efa5/forgotten/1": PLAIN_NUMBER,
        "b3efa5/compare/1": (
            "Computes the same: where one entry is 0 the smaller magnitude is 0, too."
        ),
        "b3efa5/arithmetic/2": (
            "Computes the same: a quotient has the sign of the product, and a division by 0 adds 0."
        ),
    },
)
