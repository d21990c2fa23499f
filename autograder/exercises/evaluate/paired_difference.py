"""Exercise `paired_difference`: two models on the same items, compared item by item."""

import math

import torch
from torch import Tensor

from autograder.cases import Draw
from autograder.equivalence import PLAIN_NUMBER
from autograder.exercise import Case, Exercise, Misconception, Points

Found = tuple[float, float]

CONTRACT = """
Write `paired_difference(first, second)`: how far two models are apart that answered the same items,
and how sure that is.

- `first` and `second` are float32 tensors of the same length n, at least 2: entry i is the score of
  the first and of the second model on item i, 0 or 1, or a partial score between them.
- Take the difference of each item, `first - second`. Return `(mean, error)`, two numbers: the mean
  of the n differences, and its standard error, which is the standard deviation of the differences,
  with the divisor n - 1, divided by the square root of n.
- Do not change the inputs.
"""

HINTS = (
    "Everything happens on one tensor: the differences. The two models' own spreads do not enter.",
    "`torch.std` has the divisor n - 1 by default. `len(differences) ** 0.5` is the square root.",
)


def paired_difference(first: Tensor, second: Tensor) -> Found:
    """Mean of the differences and its standard error."""
    differences = first - second
    return float(differences.mean()), float(differences.std() / math.sqrt(len(differences)))


# Wrong implementations ---------------------------------------------------------------------------


def not_paired(first: Tensor, second: Tensor) -> Found:
    error = torch.sqrt((first.var() + second.var()) / len(first))
    return float((first - second).mean()), float(error)


def divisor_n(first: Tensor, second: Tensor) -> Found:
    d = first - second
    return float(d.mean()), float(d.std(correction=0) / math.sqrt(len(d)))


def deviation_only(first: Tensor, second: Tensor) -> Found:
    d = first - second
    return float(d.mean()), float(d.std())


def divided_by_n(first: Tensor, second: Tensor) -> Found:
    d = first - second
    return float(d.mean()), float(d.std() / len(d))


def variance(first: Tensor, second: Tensor) -> Found:
    d = first - second
    return float(d.mean()), float(d.var() / len(d))


def turned_round(first: Tensor, second: Tensor) -> Found:
    return paired_difference(second, first)


def magnitudes(first: Tensor, second: Tensor) -> Found:
    mean, error = paired_difference(first, second)
    return abs(mean), error


def spread_of_magnitudes(first: Tensor, second: Tensor) -> Found:
    d = (first - second).abs()
    return float(d.mean()), float(d.std() / math.sqrt(len(d)))


def in_place(first: Tensor, second: Tensor) -> Found:
    d = first.sub_(second)
    return float(d.mean()), float(d.std() / math.sqrt(len(d)))


WRONG = (
    Misconception(
        "not paired",
        not_paired,
        "You added up the two models' own variances: on the same items they rise and fall "
        "together, so take the spread of the differences.",
    ),
    Misconception(
        "divisor n",
        divisor_n,
        "Your standard deviation divides by n: the contract says n - 1, which is what `torch.std` "
        "does by default.",
    ),
    Misconception(
        "standard deviation",
        deviation_only,
        "You returned the spread of single items: the mean of n of them is steadier, so divide by "
        "the square root of n.",
    ),
    Misconception(
        "divided by n",
        divided_by_n,
        "You divided by n: the standard error of a mean shrinks with the square root of n only.",
    ),
    Misconception(
        "squared error",
        variance,
        "You returned the squared error: take the square root of it.",
    ),
    Misconception(
        "second minus first",
        turned_round,
        "You subtracted the first from the second: positive means that the first model is ahead.",
    ),
    Misconception(
        "sign lost",
        magnitudes,
        "You took the magnitude of the mean: its sign says which model is ahead.",
    ),
    Misconception(
        "magnitudes item by item",
        spread_of_magnitudes,
        "You took magnitudes item by item: gains and losses must be able to cancel.",
    ),
    Misconception(
        "in place",
        in_place,
        "You wrote the differences into `first`: make a new tensor, the caller still needs its "
        "own.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_loop(first: Tensor, second: Tensor) -> list[float]:
    d = [a - b for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    n = len(d)
    mean = sum(d) / n
    return [mean, (sum((x - mean) ** 2 for x in d) / (n - 1) / n) ** 0.5]


def from_variances(first: Tensor, second: Tensor) -> Found:
    a, b = first.double(), second.double()
    covariance = ((a - a.mean()) * (b - b.mean())).sum() / (len(a) - 1)
    spread = (a.var() + b.var() - 2 * covariance).clamp(min=0) / len(a)
    return float(a.mean() - b.mean()), float(spread.sqrt())


def numbers(*values: float) -> Tensor:
    return torch.tensor([float(value) for value in values])


VISIBLE = (
    Case("scores of 0 and 1", (numbers(1, 1, 0, 1), numbers(0, 1, 0, 1)), core=True),
    Case("scores of 0 and 1", (numbers(1, 1, 0, 0, 1), numbers(0, 0, 0, 1, 0)), core=True),
    Case("a second model that is ahead", (numbers(0, 1, 0, 0), numbers(1, 1, 1, 0)), core=True),
    Case("two models that rise and fall together", (numbers(1, 0, 1, 0), numbers(1, 0, 1, 0))),
    Case("partial scores", (numbers(0.5, 1, 0.25, 0), numbers(0.25, 1, 0, 0.5))),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"evaluate/paired_difference/{seed}")

    def pair(n: int, rates: tuple[float, float]) -> tuple[Tensor, Tensor]:
        """Two models whose scores hang on one difficulty per item."""
        hard = [draw.random.random() for _ in range(n)]
        scores = [
            [float(h < rate + draw.random.uniform(-0.15, 0.15)) for h in hard] for rate in rates
        ]
        scores[0][:2], scores[1][:2] = [1.0, 0.0], [0.0, 0.0]
        return torch.tensor(scores[0]), torch.tensor(scores[1])

    return [
        Case("scores of 0 and 1", pair(50, (0.9, 0.6)), core=True),
        Case("scores of 0 and 1", pair(31, (0.8, 0.5)), core=True),
        Case("a second model that is ahead", pair(60, (0.3, 0.8)), core=True),
        Case("two models that rise and fall together", (pair(20, (0.5, 0.5))[0],) * 2),
        Case("partial scores", (draw.grid(24).abs(), draw.grid(24).abs())),
        Case("two items", (numbers(1, 0), numbers(0, 0))),
        Case("many items", pair(400, (0.7, 0.65))),
    ]


PAIRED_DIFFERENCE = Exercise(
    id="evaluate/paired_difference",
    lesson="06_evaluate_and_tune",
    title="paired difference",
    signature="paired_difference(first, second)",
    contract=CONTRACT,
    example="For the scores 1, 1, 0, 1 and 0, 1, 0, 1 the differences are 1, 0, 0, 0: mean .25, "
    "standard deviation .5, so the result is `(0.25, 0.25)`.",
    reference=paired_difference,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 2),
    minutes=4,
    difficulty=1,
    misconceptions=WRONG,
    alternatives={"by loop": by_loop, "from variances": from_variances},
    hints=HINTS,
    equivalent={
        "b92b97/forgotten/1": PLAIN_NUMBER,
        "b92b97/forgotten/2": PLAIN_NUMBER,
    },
)
