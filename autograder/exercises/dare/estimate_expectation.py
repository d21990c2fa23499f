"""Exercise `estimate_expectation`: the mean over many rolls, and how sure one can be of it."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from autograder.cases import Draw
from autograder.exercise import Case, Exercise, Misconception, Points

Estimate = tuple[Tensor, Tensor]

CONTRACT = """
Write `estimate_expectation(samples)`: from the results of several rolls, estimate what a roll gives
on average, and how far off that estimate may be.

- `samples` is a list of one or more float32 tensors of the same shape (any shape, also empty): the
  same quantity measured with different seeds.
- Return a tuple of two float32 tensors of that shape, `(mean, standard_error)`, both entry by entry
  over the samples.
- The standard error is `s / sqrt(n)` for `n` samples, where `s` is their sample standard deviation,
  `sqrt(sum((x - mean)^2) / (n - 1))`.
- A single sample says nothing about its spread: its standard error is infinite (`math.inf`) in
  every entry.
- Do not change the inputs.
"""

HINTS = (
    "`torch.stack` makes one tensor of the samples, with the samples along dimension 0.",
    "`stacked.std(0)` divides by n - 1 by default. For one sample, fill with "
    "`torch.full_like(mean, math.inf)`.",
)


def parts(samples: Sequence[Tensor]) -> tuple[Tensor, Tensor, int]:
    """The samples stacked, their mean, their number."""
    stacked = torch.stack(list(samples))
    return stacked, stacked.mean(0), len(samples)


def spread(samples: Sequence[Tensor], divisor: float, power: float = 0.5) -> Tensor:
    """The squared deviations added up, divided, and raised to a power; infinite for one sample."""
    stacked, mean, n = parts(samples)
    if n == 1:
        return torch.full_like(mean, math.inf)
    return (((stacked - mean) ** 2).sum(0) / divisor) ** power


def reference(samples: Sequence[Tensor]) -> Estimate:
    n = len(samples)
    return parts(samples)[1], spread(samples, (n - 1) * n)


# Wrong implementations ---------------------------------------------------------------------------


def standard_deviation(samples: Sequence[Tensor]) -> Estimate:
    return parts(samples)[1], spread(samples, len(samples) - 1)


def population(samples: Sequence[Tensor]) -> Estimate:
    return parts(samples)[1], spread(samples, len(samples) ** 2)


def divides_by_n(samples: Sequence[Tensor]) -> Estimate:
    mean = parts(samples)[1]
    return mean, spread(samples, len(samples) - 1) / len(samples)


def variance(samples: Sequence[Tensor]) -> Estimate:
    n = len(samples)
    return parts(samples)[1], spread(samples, (n - 1) * n, power=1.0)


def sums(samples: Sequence[Tensor]) -> Estimate:
    return torch.stack(list(samples)).sum(0), reference(samples)[1]


def over_entries(samples: Sequence[Tensor]) -> Estimate:
    stacked = torch.stack(list(samples)).reshape(len(samples), -1)
    return stacked.mean(1), stacked.std(1) / stacked.shape[1] ** 0.5


def first_only(samples: Sequence[Tensor]) -> Estimate:
    return samples[0].clone(), reference(samples)[1]


def zero_for_one(samples: Sequence[Tensor]) -> Estimate:
    mean, error = reference(samples)
    return mean, torch.where(error == math.inf, 0.0, error)


def nan_for_one(samples: Sequence[Tensor]) -> Estimate:
    mean, error = reference(samples)
    return mean, torch.where(error == math.inf, math.nan, error)


def only_the_mean(samples: Sequence[Tensor]) -> Tensor:
    return parts(samples)[1]


def in_place(samples: Sequence[Tensor]) -> Estimate:
    result = reference(samples)
    samples[0].copy_(result[0])
    return result


WRONG = (
    Misconception(
        "standard deviation",
        standard_deviation,
        "Your second result is the standard deviation of one roll: the error of the mean is "
        "smaller, by the square root of the number of rolls.",
    ),
    Misconception(
        "divides by n",
        population,
        "You divided the squares by n: with the mean taken from the same samples it is n - 1, or "
        "the spread comes out too small.",
    ),
    Misconception(
        "divides by n, not its root",
        divides_by_n,
        "You divided the standard deviation by n: the error of a mean shrinks only with the "
        "square root of n.",
    ),
    Misconception(
        "forgets the root",
        variance,
        "Your second result is a squared quantity: take the square root.",
    ),
    Misconception(
        "sum for mean",
        sums,
        "You added the samples up: divide by their number.",
    ),
    Misconception(
        "over the entries",
        over_entries,
        "You averaged over the entries of each sample: average over the samples, entry by entry.",
    ),
    Misconception(
        "first sample only",
        first_only,
        "You returned the first sample for the mean: all of them count.",
    ),
    Misconception(
        "zero for one sample",
        zero_for_one,
        "From one sample you claim an error of 0, that is, certainty: one roll says nothing about "
        "the spread, so it is infinite.",
        (0.6, 0.95),
    ),
    Misconception(
        "NaN for one sample",
        nan_for_one,
        "For one sample your error is NaN: the contract asks for infinity.",
        (0.6, 0.95),
    ),
    Misconception(
        "only the mean",
        only_the_mean,
        "You returned the mean alone: return the pair `(mean, standard_error)`.",
    ),
    Misconception(
        "in place",
        in_place,
        "You changed the samples: they are still needed.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_loop(samples: Sequence[Tensor]) -> Estimate:
    n = len(samples)
    mean = sum(sample / n for sample in samples)
    if n == 1:
        return mean, torch.full_like(mean, math.inf)
    square = sum((sample - mean) ** 2 for sample in samples)
    return mean, (square / (n - 1)).sqrt() / math.sqrt(n)


def by_std(samples: Sequence[Tensor]) -> Estimate:
    stacked, mean, n = parts(samples)
    error = stacked.std(0) / n**0.5 if n > 1 else mean * 0 + math.inf
    return mean, error


def as_a_list(samples: Sequence[Tensor]) -> list[Tensor]:
    return list(reference(samples))


def vectors(*rows: Sequence[float]) -> list[Tensor]:
    return [torch.tensor(row) for row in rows]


VISIBLE = (
    Case("two samples", (vectors([1.0, 5.0], [3.0, 5.0]),), core=True),
    Case("several samples", (vectors([0.0], [1.5], [0.0], [0.0], [1.5]),), core=True),
    Case("several samples", (vectors([1.0, 2.0], [2.0, 4.0], [3.0, 9.0]),), core=True),
    Case("a matrix", (vectors([[0.0, 2.0], [4.0, 6.0]], [[2.0, 2.0], [0.0, 1.0]]),), core=True),
    Case("a single sample", (vectors([0.5, -1.5]),)),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"dare/estimate_expectation/{seed}")

    def case(kind: str, count: int, *shape: int, core: bool = False) -> Case:
        return Case(kind, ([draw.distinct(*shape) for _ in range(count)],), core=core)

    columns = [draw.distinct(5, 4).T for _ in range(3)]
    return [
        case("two samples", 2, 7, core=True),
        case("several samples", 5, 9, core=True),
        case("several samples", 20, 4, core=True),
        case("a matrix", 4, 3, 5, core=True),
        case("more than two dimensions", 3, 2, 3, 4),
        case("a single sample", 1, 6),
        case("a single sample", 1, 2, 3),
        Case("samples that are all alike", ([torch.full((3,), 0.5)] * 4,)),
        case("a single entry", 6, 1),
        Case("an empty tensor", ([torch.zeros(0)] * 3,)),
        Case("transposed matrices", (columns,)),
    ]


ESTIMATE_EXPECTATION = Exercise(
    id="dare/estimate_expectation",
    lesson="05_dare",
    title="estimate the expectation",
    signature="estimate_expectation(samples)",
    contract=CONTRACT,
    example="`estimate_expectation([tensor([1.]), tensor([3.])])` returns "
    "`(tensor([2.]), tensor([1.]))`: the standard deviation is the root of 2, divided by the root "
    "of 2.",
    reference=reference,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 2),
    minutes=4,
    difficulty=1,
    misconceptions=WRONG,
    alternatives={"by loop": by_loop, "by std": by_std, "as a list": as_a_list},
    hints=HINTS,
    equivalent={
        "17c4bd/forgotten/1": "Computes the same: `samples` is a list already.",
    },
)
