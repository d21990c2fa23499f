"""Exercise `trim`: keep the share of entries with the largest magnitude."""

import math

import torch
from torch import Tensor

from autograder.cases import Draw
from autograder.exercise import EXACT, Case, Exercise, Misconception, Points
from mergelab.methods import trim

CONTRACT = """
Write `trim(delta, density)`: keep the entries of the task vector `delta` with the largest
magnitude, and set all others to zero.

- `delta` is a tensor of any shape, also empty or with a single entry, of dtype float32, float16 or
  bfloat16. It is trimmed as one flat vector: a matrix is not trimmed row by row.
- `density` is the share that is **kept**, a number from 0 to 1. Of `n` entries, keep
  `k = floor(density * n + 0.5)`, but at least one when `density` is above 0, and none when it is 0.
  This rounds a half up. Python's `round` does not: `round(2.5)` is 2, to the even neighbour.
- The threshold is the k-th largest magnitude (absolute value). Every entry whose magnitude is at
  or above the threshold stays, so entries that tie with it stay too, even beyond k entries.
- Entries that stay keep their value and sign; nothing is rescaled.
- Return a new tensor with the shape and dtype of `delta`. Do not change `delta`.
"""

HINTS = (
    "Work on `delta.abs().flatten()`. Which element of it, once sorted, is the threshold?",
    "With `k` known, sort the magnitudes in descending order and take element `k - 1` as the "
    "threshold; `torch.where` then keeps `delta` where its magnitude is at least that, and "
    "`torch.zeros_like(delta)` elsewhere.",
)


def count(n: int, density: float) -> int:
    """k of the contract, written once more so that the wrong versions below can share it."""
    return 0 if density == 0 or n == 0 else max(1, math.floor(density * n + 0.5))


def threshold(magnitude: Tensor, k: int) -> Tensor:
    return magnitude.flatten().sort(descending=True).values[k - 1]


def keep(delta: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, delta, torch.zeros_like(delta))


# Wrong implementations ---------------------------------------------------------------------------


def keeps_smallest(delta: Tensor, density: float) -> Tensor:
    k = count(delta.numel(), density)
    if k == 0:
        return torch.zeros_like(delta)
    return keep(delta, delta.abs() <= delta.abs().flatten().sort().values[k - 1])


def density_as_drop_rate(delta: Tensor, density: float) -> Tensor:
    return trim(delta, 1 - density)


def signed_values(delta: Tensor, density: float) -> Tensor:
    k = count(delta.numel(), density)
    return keep(delta, delta >= threshold(delta, k)) if k else torch.zeros_like(delta)


def strict_inequality(delta: Tensor, density: float) -> Tensor:
    k = count(delta.numel(), density)
    return keep(delta, delta.abs() > threshold(delta.abs(), k)) if k else torch.zeros_like(delta)


def exactly_k(delta: Tensor, density: float) -> Tensor:
    flat = delta.flatten()
    kept = torch.zeros_like(flat)
    index = flat.abs().topk(count(delta.numel(), density)).indices
    kept[index] = flat[index]
    return kept.reshape(delta.shape)


def row_by_row(delta: Tensor, density: float) -> Tensor:
    if delta.dim() < 2:
        return trim(delta, density)
    return torch.stack([row_by_row(row, density) for row in delta])


def rounded_down(delta: Tensor, density: float) -> Tensor:
    k = 0 if density == 0 else max(1, int(density * delta.numel()))
    if k == 0 or delta.numel() == 0:
        return torch.zeros_like(delta)
    return keep(delta, delta.abs() >= threshold(delta.abs(), k))


def rounded_to_even(delta: Tensor, density: float) -> Tensor:
    k = 0 if density == 0 else max(1, round(density * delta.numel()))
    if k == 0 or delta.numel() == 0:
        return torch.zeros_like(delta)
    return keep(delta, delta.abs() >= threshold(delta.abs(), k))


def one_too_few(delta: Tensor, density: float) -> Tensor:
    k = count(delta.numel(), density)
    if k == 0:
        return torch.zeros_like(delta)
    return keep(delta, delta.abs() >= threshold(delta.abs(), max(1, k - 1)))


def one_too_many(delta: Tensor, density: float) -> Tensor:
    k = count(delta.numel(), density)
    if k == 0:
        return torch.zeros_like(delta)
    return keep(delta, delta.abs() >= threshold(delta.abs(), min(delta.numel(), k + 1)))


def never_empty(delta: Tensor, density: float) -> Tensor:
    if delta.numel() == 0:
        return torch.zeros_like(delta)
    return keep(delta, delta.abs() >= threshold(delta.abs(), max(1, count(delta.numel(), density))))


def may_keep_none(delta: Tensor, density: float) -> Tensor:
    k = math.floor(density * delta.numel() + 0.5)
    return keep(delta, delta.abs() >= threshold(delta.abs(), k)) if k else torch.zeros_like(delta)


def returns_mask(delta: Tensor, density: float) -> Tensor:
    return trim(delta, density) != 0


def returns_magnitudes(delta: Tensor, density: float) -> Tensor:
    return trim(delta, density).abs()


def returns_only_kept(delta: Tensor, density: float) -> Tensor:
    kept = trim(delta, density)
    return kept[kept != 0]


def rescales(delta: Tensor, density: float) -> Tensor:
    return (trim(delta, density) / density if density else trim(delta, density)).to(delta.dtype)


def density_as_threshold(delta: Tensor, density: float) -> Tensor:
    return keep(delta, delta.abs() >= density)


def in_place(delta: Tensor, density: float) -> Tensor:
    delta.copy_(trim(delta, density))
    return delta


WRONG = (
    Misconception(
        "keeps the smallest",
        keeps_smallest,
        "You kept the smallest entries: trim keeps the largest magnitudes and drops the rest.",
    ),
    Misconception(
        "density read as drop rate",
        density_as_drop_rate,
        "You dropped the share `density`: density is the share that stays, so 0.2 keeps 20%.",
    ),
    Misconception(
        "signed values",
        signed_values,
        "You ranked the signed values, so large negative entries are lost: rank the magnitudes, "
        "`delta.abs()`.",
    ),
    Misconception(
        "strict inequality",
        strict_inequality,
        "You kept only entries strictly above the threshold, so the k-th largest itself is lost: "
        "keep what is at or above it (`>=`).",
    ),
    Misconception(
        "exactly k",
        exactly_k,
        "You kept exactly k entries, so some that tie with the threshold are lost: every entry "
        "whose magnitude equals the threshold stays, even beyond k.",
        (0.8, 0.98),
    ),
    Misconception(
        "row by row",
        row_by_row,
        "You trimmed each row by itself: the tensor is one vector with one threshold, so flatten "
        "it to find the k-th largest.",
    ),
    Misconception(
        "rounded down",
        rounded_down,
        "Your count of kept entries is rounded down: k is `floor(density * n + 0.5)`, so 2.5 "
        "entries become 3.",
        (0.5, 0.95),
    ),
    Misconception(
        "rounded to even",
        rounded_to_even,
        "Python's `round` sends a half to the even number, so 2.5 entries become 2: the contract "
        "says `floor(density * n + 0.5)`, which gives 3.",
        (0.8, 0.98),
    ),
    Misconception(
        "one too few",
        one_too_few,
        "You kept one entry too few: in descending order the k-th largest is element `k - 1`, "
        "because counting starts at 0.",
    ),
    Misconception(
        "one too many",
        one_too_many,
        "You kept one entry too many: the threshold is the k-th largest magnitude, element "
        "`k - 1` in descending order, not element `k`.",
    ),
    Misconception(
        "never empty",
        never_empty,
        "At density 0 nothing stays: the rule of at least one entry holds only above 0.",
        (0.8, 0.98),
    ),
    Misconception(
        "may keep none",
        may_keep_none,
        "At a small density your count becomes 0: as long as density is above 0, at least one "
        "entry stays.",
        (0.8, 0.98),
    ),
    Misconception(
        "returns the mask",
        returns_mask,
        "You returned the mask of what stays: multiply it with `delta`, or use `torch.where`, so "
        "that the kept values come back.",
    ),
    Misconception(
        "returns magnitudes",
        returns_magnitudes,
        "You returned magnitudes, so negative entries lost their sign: magnitudes only decide "
        "what stays, the values come from `delta`.",
    ),
    Misconception(
        "returns only what is kept",
        returns_only_kept,
        "You returned the kept entries alone: the result has the shape of `delta`, with zeros "
        "where entries were dropped, or it could not be added to the base.",
    ),
    Misconception(
        "rescales",
        rescales,
        "You divided what stays by the density: that is DARE's rescaling of random drops; trim "
        "leaves the kept values as they are.",
    ),
    Misconception(
        "density as threshold",
        density_as_threshold,
        "You compared magnitudes with `density` itself: density is a share of the entries, and "
        "the threshold is the k-th largest magnitude.",
    ),
    Misconception(
        "in place",
        in_place,
        "You wrote into `delta` itself: the caller still needs the untrimmed task vector, so "
        "return a new tensor.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_loop(delta: Tensor, density: float) -> Tensor:
    values = [float(x) for x in delta.flatten()]
    k = count(len(values), density)
    if k == 0:
        return torch.zeros_like(delta)
    limit = sorted((abs(v) for v in values), reverse=True)[k - 1]
    kept = [v if abs(v) >= limit else 0.0 for v in values]
    return torch.tensor(kept, dtype=delta.dtype).reshape(delta.shape)


def on_a_copy(delta: Tensor, density: float) -> Tensor:
    result = delta.clone()
    k = count(delta.numel(), density)
    if k == 0:
        return result.zero_()
    result[result.abs() < threshold(delta.abs(), k)] = 0
    return result


def by_topk(delta: Tensor, density: float) -> Tensor:
    k = count(delta.numel(), density)
    if k == 0:
        return delta * 0
    smallest_kept = delta.abs().reshape(-1).topk(k).values.min()
    return delta * (delta.abs() >= smallest_kept)


def vector(*values: float) -> Tensor:
    return torch.tensor(values)


VISIBLE = (
    Case("a plain vector", (vector(0.002, -0.001, 0.150, -0.200), 0.5), core=True),
    Case("a plain vector", (vector(0.3, 0.1, 0.5, 0.2, 0.4, 0.6), 1 / 3), core=True),
    Case("large negative entries", (vector(0.5, -3.0, 1.0, -2.0, 0.25, 4.0), 0.5), core=True),
    Case(
        "a matrix",
        (torch.tensor([[4.0, 3.0, 2.5], [0.5, -1.0, 2.0]]), 0.5),
        core=True,
    ),
    Case("a count that is not whole", (vector(0.1, -0.2, 0.3, -0.4, 0.5), 0.5), weight=2),
    Case("a count that is not whole", (vector(0.7, 0.1, -0.6, 0.2, 0.5, 0.3, 0.4), 0.5), weight=2),
    Case("equal magnitudes at the threshold", (vector(0.5, -1.0, 1.0, 2.0, -1.0), 0.4), weight=3),
    Case("a very small density", (vector(0.1, -0.4, 0.2), 0.01)),
    Case("density 0", (vector(0.1, -0.4, 0.2), 0.0)),
    Case("density 1", (vector(0.1, -0.4, 0.0, 0.2), 1.0)),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"ties/trim/{seed}")
    share = draw.random.choice((0.2, 0.3, 0.7))
    return [
        Case("a plain vector", (draw.distinct(40), share), core=True),
        Case("a plain vector", (draw.distinct(20), 1 - share), core=True),
        Case("large negative entries", (-draw.distinct(30).abs(), share), core=True),
        Case("a matrix", (draw.distinct(5, 8), share), core=True),
        Case("more than two dimensions", (draw.distinct(2, 5, 4), share)),
        Case("more than two dimensions", (draw.distinct(2, 2, 3, 3), 0.5)),
        Case("a count that is not whole", (draw.distinct(9), 0.5), weight=3),
        Case("a count that is not whole", (draw.distinct(13), 0.5), weight=3),
        Case("a count that is not whole", (draw.distinct(15), 0.5), weight=3),
        Case("equal magnitudes at the threshold", (draw.few(20), share), weight=4),
        Case("equal magnitudes at the threshold", (draw.few(4, 6), 0.5), weight=4),
        Case("a vector of zeros", (torch.zeros(8), 0.5)),
        Case("a vector with many zeros", (draw.grid(20, zeros=0.8), 0.5)),
        Case("a very small density", (draw.distinct(12), 0.001)),
        Case("density 0", (draw.distinct(3, 4), 0.0)),
        Case("density 1", (draw.grid(3, 4), 1.0)),
        Case("a single entry", (draw.distinct(1), 0.5)),
        Case("a single entry", (torch.tensor(-0.5), 0.1)),
        Case("an empty tensor", (torch.zeros(0), 0.5)),
        Case("an empty tensor", (torch.zeros(0, 3), 1.0)),
        Case("float16", (draw.distinct(20, dtype=torch.float16), share)),
        Case("bfloat16", (draw.distinct(4, 5, dtype=torch.bfloat16), share)),
        Case("a transposed matrix", (draw.distinct(5, 8).T, share)),
        Case("a transposed matrix", (draw.distinct(24)[::2], 0.5)),
    ]


TRIM = Exercise(
    id="ties/trim",
    lesson="04_ties",
    title="trim",
    signature="trim(delta, density)",
    contract=CONTRACT,
    example="`trim(torch.tensor([0.002, -0.001, 0.150, -0.200]), 0.5)` keeps two of four entries "
    "and returns `tensor([0.0000, 0.0000, 0.1500, -0.2000])`.",
    reference=trim,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 3),
    minutes=6,
    difficulty=1,
    misconceptions=WRONG,
    alternatives={"by loop": by_loop, "on a copy": on_a_copy, "by topk": by_topk},
    hints=HINTS,
    tolerance=EXACT,
    equivalent={
        "94ba73/similar/3": (
            "Computes the same: floor and truncation differ for negative numbers only."
        ),
    },
)
