"""Exercise `magnitude_kept`: the size of a merge against the mean size of its sources."""

from collections.abc import Sequence

import torch
from torch import Tensor

from autograder.cases import Draw
from autograder.equivalence import CANCELS, PLAIN_NUMBER, SYMMETRIC
from autograder.exercise import Case, Exercise, Misconception, Points

Sources = Sequence[Tensor]
Weights = Sequence[float] | None

CONTRACT = """
Write `magnitude_kept(merged, sources, weights=None)`: how large a merge is, compared with what went
into it. It is the figure of that name in the merge report.

- `sources` is a list of one or more tensors of the same shape (any shape, also empty) and the same
  dtype: float32, float16 or bfloat16. `merged` has this shape and dtype. `weights` is a list with
  one number per source, possibly negative, or `None`, which means 1 for each.
- The result is the norm of `merged` divided by the *weighted mean of the norms* of the sources:
  each norm counts with its share `|w_i| / sum(|w_j|)`.
- A norm is the root of the sum of all squares (Euclidean), over the whole tensor.
- Compute in float64 and return a number.
- If that mean is 0 (all sources are zero or empty, or all weights are 0), there is nothing to
  compare with: return `None`.
- Do not change the inputs.
"""

HINTS = (
    "First the norms, then their mean. The norm of the mean of the sources is something else: it "
    "has already lost what you want to measure.",
    "`lengths = [float(s.double().norm()) for s in sources]`, then "
    "`sum(abs(w) * n for ...) / sum(abs(w) for ...)`. Mind the division by zero.",
)


def norm(tensor: Tensor) -> float:
    return float(tensor.double().norm())


def magnitude_kept(merged: Tensor, sources: Sources, weights: Weights = None) -> float | None:
    sizes = [1.0] * len(sources) if weights is None else [abs(w) for w in weights]
    mean = sum(w * norm(s) for w, s in zip(sizes, sources, strict=True))
    return norm(merged) / (mean / sum(sizes)) if mean > 0 else None


# Wrong implementations ---------------------------------------------------------------------------


def norm_of_mean(merged: Tensor, sources: Sources, weights: Weights = None) -> float | None:
    values = [1.0] * len(sources) if weights is None else weights
    total = sum(abs(w) for w in values)
    if not total:
        return None
    mean = norm(sum(abs(w) / total * s.double() for w, s in zip(values, sources, strict=True)))
    return norm(merged) / mean if mean else None


def sum_of_norms(merged: Tensor, sources: Sources, weights: Weights = None) -> float | None:
    values = [1.0] * len(sources) if weights is None else weights
    total = sum(abs(w) * norm(s) for w, s in zip(values, sources, strict=True))
    return norm(merged) / total if total else None


def forgets_weights(merged: Tensor, sources: Sources, weights: Weights = None) -> float | None:
    return magnitude_kept(merged, sources)


def signed_weights(merged: Tensor, sources: Sources, weights: Weights = None) -> float | None:
    values = [1.0] * len(sources) if weights is None else weights
    mean = sum(w * norm(s) for w, s in zip(values, sources, strict=True))
    return norm(merged) * sum(values) / mean if mean else None


def squared(merged: Tensor, sources: Sources, weights: Weights = None) -> float | None:
    kept = magnitude_kept(merged, sources, weights)
    return None if kept is None else kept**2


def sums_of_magnitudes(merged: Tensor, sources: Sources, weights: Weights = None) -> float | None:
    values = [1.0] * len(sources) if weights is None else [abs(w) for w in weights]
    mean = sum(w * float(s.double().abs().sum()) for w, s in zip(values, sources, strict=True))
    return float(merged.double().abs().sum()) * sum(values) / mean if mean else None


def first_two(merged: Tensor, sources: Sources, weights: Weights = None) -> float | None:
    return magnitude_kept(merged, sources[:2], None if weights is None else weights[:2])


def turned_over(merged: Tensor, sources: Sources, weights: Weights = None) -> float | None:
    kept = magnitude_kept(merged, sources, weights)
    return None if not kept else 1 / kept


def divides_by_zero(merged: Tensor, sources: Sources, weights: Weights = None) -> float:
    kept = magnitude_kept(merged, sources, weights)
    return float("nan") if kept is None else kept


def zero_of_nothing(merged: Tensor, sources: Sources, weights: Weights = None) -> float:
    kept = magnitude_kept(merged, sources, weights)
    return 0.0 if kept is None else kept


def in_16_bits(merged: Tensor, sources: Sources, weights: Weights = None) -> float | None:
    if merged.dtype == torch.float32:
        return magnitude_kept(merged, sources, weights)
    lengths = [(s * s).sum().sqrt() for s in (merged, *sources)]
    values = [1.0] * len(sources) if weights is None else [abs(w) for w in weights]
    mean = sum(w * n for w, n in zip(values, lengths[1:], strict=True)) / sum(values)
    return float(lengths[0] / mean) if float(mean) else None


def in_place(merged: Tensor, sources: Sources, weights: Weights = None) -> float | None:
    kept = magnitude_kept(merged, sources, weights)
    merged.mul_(2)
    return kept


WRONG = (
    Misconception(
        "norm of the mean",
        norm_of_mean,
        "You divided by the norm of the averaged sources: average their norms instead, because the "
        "average itself has already lost length.",
    ),
    Misconception(
        "sum instead of mean",
        sum_of_norms,
        "You divided by the sum of the norms: it is their mean, so each counts with the share "
        "`|w_i| / sum(|w_j|)`.",
    ),
    Misconception(
        "forgets the weights",
        forgets_weights,
        "You left the weights out: each norm counts with the share `|w_i| / sum(|w_j|)`.",
        (0.5, 0.95),
    ),
    Misconception(
        "signed weights",
        signed_weights,
        "You let a negative weight make a norm negative: shares are taken from `|w_i|`.",
        (0.7, 0.98),
    ),
    Misconception(
        "squared",
        squared,
        "You compared squared norms: take the square roots before you divide.",
    ),
    Misconception(
        "sums of magnitudes",
        sums_of_magnitudes,
        "You added magnitudes: the norm here is Euclidean, the root of the sum of squares.",
    ),
    Misconception(
        "two sources only",
        first_two,
        "You used only the first two sources: the list may hold one, three or more.",
        (0.5, 0.98),
    ),
    Misconception(
        "turned over",
        turned_over,
        "Your ratio is upside down: the norm of the merge is divided by that of its sources.",
    ),
    Misconception(
        "NaN for nothing",
        divides_by_zero,
        "You divided by a mean norm of 0: there is nothing to compare with, so return `None`.",
        (0.7, 0.98),
    ),
    Misconception(
        "zero for nothing",
        zero_of_nothing,
        "You returned 0 where all sources are zero: nothing was lost there, the ratio just does "
        "not exist, so return `None`.",
        (0.7, 0.98),
    ),
    Misconception(
        "computes in 16 bits",
        in_16_bits,
        "You took norms in the dtype of 16-bit inputs, where squares overflow or are rounded: "
        "convert to float64 first.",
        (0.7, 0.98),
    ),
    Misconception(
        "in place",
        in_place,
        "You wrote into `merged`: measuring a merge must not change it.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_loop(merged: Tensor, sources: Sources, weights: Weights = None) -> float | None:
    def length(tensor: Tensor) -> float:
        return sum(x * x for x in tensor.flatten().tolist()) ** 0.5

    total = mean = 0.0
    for i, source in enumerate(sources):
        size = 1.0 if weights is None else abs(weights[i])
        total += size
        mean += size * length(source)
    return length(merged) * total / mean if mean else None


def stacked(merged: Tensor, sources: Sources, weights: Weights = None) -> Tensor | None:
    values = torch.ones(len(sources)) if weights is None else torch.tensor(weights).abs()
    shares = values.double() / values.double().sum()
    mean = shares @ torch.stack([s.double().flatten().norm() for s in sources])
    return merged.double().norm() / mean if mean > 0 else None


def vectors(*rows: Sequence[float]) -> list[Tensor]:
    return [torch.tensor(row) for row in rows]


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


VISIBLE = (
    Case("two sources", (vector(0.5, 0.5), vectors([1.0, 0.0], [0.0, 1.0])), core=True),
    Case("two sources", (vector(3.0, 4.0), vectors([2.0, 0.0], [0.0, 8.0])), core=True),
    Case(
        "a matrix",
        (torch.tensor([[3.0, 0.0], [0.0, 4.0]]), [torch.ones(2, 2), -torch.ones(2, 2)]),
        core=True,
    ),
    Case("three sources", (vector(2.0, 0.0), vectors([3.0, 4.0], [0.0, 1.0], [6.0, 0.0]))),
    Case("weights", (vector(3.0, 4.0), vectors([2.0, 0.0], [0.0, 8.0]), [0.75, 0.25]), weight=4),
    Case("a negative weight", (vector(3.0, 4.0), vectors([2.0, 0.0], [0.0, 8.0]), [3.0, -1.0])),
    Case("sources of zero", (vector(0.0, 0.0), vectors([0.0, 0.0], [0.0, 0.0]))),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"slerp/magnitude_kept/{seed}")

    def case(kind: str, count: int, *shape: int, core: bool = False, **settings) -> Case:
        sources = [(n + 1) * draw.distinct(*shape) for n in range(count)]
        return Case(kind, (draw.distinct(*shape), sources), settings, core=core)

    def weighted(kind: str, count: int, weight: int, negative: bool = False) -> Case:
        plain = case(kind, count, 12, weights=draw.weights(count, negative=negative))
        return Case(kind, plain.args, plain.kwargs, weight=weight)

    overflow = [torch.full((5,), 300.0).half(), (60 * draw.distinct(5)).half()]
    rounded = [(n + 1) * draw.distinct(60).bfloat16() for n in range(3)]
    twisted = [draw.distinct(4, 6).T, 3 * draw.distinct(4, 6).T]
    return [
        case("two sources", 2, 20, core=True),
        case("two sources", 2, 7, core=True),
        case("a matrix", 2, 4, 5, core=True),
        case("more than two dimensions", 2, 2, 3, 4),
        case("a single source", 1, 9),
        case("three sources", 3, 12),
        case("five sources", 5, 12),
        weighted("weights", 2, 5),
        weighted("weights", 3, 5),
        weighted("a negative weight", 3, 1, negative=True),
        Case("weights of zero", (draw.distinct(4), [draw.distinct(4)] * 2, [0.0, 0.0])),
        Case("sources of zero", (draw.distinct(4), [torch.zeros(4)] * 2)),
        Case("one source of zero", (draw.distinct(4), [torch.zeros(4), draw.distinct(4)])),
        Case("a merge of zero", (torch.zeros(4), [draw.distinct(4), draw.distinct(4)])),
        Case("an empty tensor", (torch.zeros(0), [torch.zeros(0)] * 2)),
        case("a single entry", 2, 1),
        Case("float16", (overflow[1] / 2, overflow)),
        Case("bfloat16", (rounded[0], rounded[1:])),
        Case("transposed matrices", (twisted[0], twisted)),
    ]


MAGNITUDE_KEPT = Exercise(
    id="slerp/magnitude_kept",
    lesson="03_slerp",
    title="magnitude kept",
    signature="magnitude_kept(merged, sources, weights=None)",
    contract=CONTRACT,
    example="Two sources `[1, 0]` and `[0, 1]` have norm 1 each, their average `[0.5, 0.5]` has "
    "norm 0.7071: its `magnitude_kept` is 0.7071.",
    reference=magnitude_kept,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 3),
    minutes=6,
    difficulty=1,
    misconceptions=WRONG,
    alternatives={"by loop": by_loop, "stacked": stacked},
    hints=HINTS,
    equivalent={
        "63a726/constant/1": CANCELS,
        "63a726/constant/3": CANCELS,
        "aa8bde/forgotten/1": PLAIN_NUMBER,
        "17f315/swapped/1": SYMMETRIC,
        "7292bd/forgotten/1": PLAIN_NUMBER,
    },
)
