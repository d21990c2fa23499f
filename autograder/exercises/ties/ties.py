"""Exercise `ties`: the three steps, one after the other."""

from collections.abc import Sequence

import torch
from torch import Tensor

from autograder.cases import Draw
from autograder.equivalence import ANY_OF_LIST
from autograder.exercise import Case, Exercise, Misconception, Points
from mergelab.methods import disjoint_merge, elect_sign, linear, ties, trim

Deltas = Sequence[Tensor]
Weights = Sequence[float] | None

CONTRACT = """
Write `ties(deltas, density=1.0, weights=None, lam=1.0)`: merge task vectors by TIES, with the three
functions you have written.

- `deltas` is a list of one or more tensors of the same shape (any shape, also empty) and the same
  dtype: float32, float16 or bfloat16. `density`, `weights` and `lam` are what they were above:
  the share that is kept, from 0 to 1; a list with one number per task vector, possibly negative, or
  `None` for 1 each; one number, the overall scale, also 0 or negative.
- First **trim** every task vector by itself to `density`. Then **elect** the signs from the trimmed
  vectors, with the weights. Then **merge** the trimmed vectors that agree, with the weights. At the
  end multiply by `lam`.
- Compute in float32 and return the merged task vector (not added to any base) in the shape and
  dtype of the deltas. Do not change the inputs.
"""

HINTS = (
    "Three lines: a list of trimmed task vectors, their sign, their disjoint merge times `lam`.",
    "`trimmed = [trim(d, density) for d in deltas]`, and from there on use `trimmed`, never "
    "`deltas`. For 16-bit inputs, convert with `.float()` before and back with `.to(...)` after.",
)


def merged(
    deltas: Deltas,
    density: float,
    weights: Weights,
    lam: float,
    *,
    election: str = "mass",
    divisor: str = "weights",
) -> Tensor:
    """TIES with one thing changed: the frame of several wrong versions."""
    return ties(deltas, density, weights, lam, election=election, divisor=divisor)


# Wrong implementations ---------------------------------------------------------------------------


def votes_before_trim(
    deltas: Deltas, density: float = 1.0, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    wide = [d.float() for d in deltas]
    sign = elect_sign(wide, weights)
    result = disjoint_merge([trim(d, density) for d in wide], sign, weights) * lam
    return result.to(deltas[0].dtype)


def merges_untrimmed(
    deltas: Deltas, density: float = 1.0, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    wide = [d.float() for d in deltas]
    sign = elect_sign([trim(d, density) for d in wide], weights)
    return (disjoint_merge(wide, sign, weights) * lam).to(deltas[0].dtype)


def forgets_lam(
    deltas: Deltas, density: float = 1.0, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    return ties(deltas, density, weights)


def forgets_weights(
    deltas: Deltas, density: float = 1.0, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    return ties(deltas, density, None, lam)


def weights_only_elect(
    deltas: Deltas, density: float = 1.0, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    trimmed = [trim(d.float(), density) for d in deltas]
    result = disjoint_merge(trimmed, elect_sign(trimmed, weights)) * lam
    return result.to(deltas[0].dtype)


def weights_only_merge(
    deltas: Deltas, density: float = 1.0, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    trimmed = [trim(d.float(), density) for d in deltas]
    result = disjoint_merge(trimmed, elect_sign(trimmed), weights) * lam
    return result.to(deltas[0].dtype)


def never_trims(
    deltas: Deltas, density: float = 1.0, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    return ties(deltas, 1.0, weights, lam)


def density_as_drop_rate(
    deltas: Deltas, density: float = 1.0, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    return ties(deltas, 1 - density, weights, lam)


def trims_at_the_end(
    deltas: Deltas, density: float = 1.0, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    return trim(ties(deltas, 1.0, weights, lam), density)


def trims_together(
    deltas: Deltas, density: float = 1.0, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    return ties(list(trim(torch.stack(list(deltas)), density)), 1.0, weights, lam)


def trims_after_weighting(
    deltas: Deltas, density: float = 1.0, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    values = [1.0] * len(deltas) if weights is None else weights
    scaled = torch.stack([w * d.float() for w, d in zip(values, deltas, strict=True)])
    kept = trim(scaled, density) != 0
    masked = [d.float() * m for d, m in zip(deltas, kept, strict=True)]
    return ties(masked, 1.0, weights, lam).to(deltas[0].dtype)


def no_election(
    deltas: Deltas, density: float = 1.0, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    values = [1.0] * len(deltas) if weights is None else weights
    trimmed = [trim(d.float(), density) for d in deltas]
    total = sum(w * d for w, d in zip(values, trimmed, strict=True))
    return (total / sum(abs(w) for w in values) * lam).to(deltas[0].dtype)


def plain_average(
    deltas: Deltas, density: float = 1.0, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    return linear(deltas) * lam


def counts_votes(
    deltas: Deltas, density: float = 1.0, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    return merged(deltas, density, weights, lam, election="count")


def sums(deltas: Deltas, density: float = 1.0, weights: Weights = None, lam: float = 1.0) -> Tensor:
    return merged(deltas, density, weights, lam, divisor="none")


def divides_by_all(
    deltas: Deltas, density: float = 1.0, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    values = [1.0] * len(deltas) if weights is None else weights
    total = merged([d.float() for d in deltas], density, weights, lam, divisor="none")
    return (total / sum(abs(w) for w in values)).to(deltas[0].dtype)


def two_models_only(
    deltas: Deltas, density: float = 1.0, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    return ties(deltas[:2], density, None if weights is None else weights[:2], lam)


def in_place(
    deltas: Deltas, density: float = 1.0, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    for delta in deltas:
        delta.copy_(trim(delta, density))
    return ties(deltas, 1.0, weights, lam)


WRONG = (
    Misconception(
        "sign vote before trim",
        votes_before_trim,
        "You elected the signs before trimming: small changes then vote on entries they do not "
        "survive in, so trim first and elect from the trimmed task vectors.",
    ),
    Misconception(
        "merges the untrimmed",
        merges_untrimmed,
        "You elected from the trimmed task vectors but merged the untrimmed ones: the merge, too, "
        "works on what trim has kept.",
    ),
    Misconception(
        "forgets lam",
        forgets_lam,
        "You left out `lam`: the merged task vector is multiplied by it at the end.",
        (0.5, 0.95),
    ),
    Misconception(
        "forgets the weights",
        forgets_weights,
        "You left the weights out: pass them to both, the election and the merge.",
        (0.3, 0.9),
    ),
    Misconception(
        "weights only in the election",
        weights_only_elect,
        "You used the weights for the election only: the merge is a weighted mean, so pass them "
        "there as well.",
        (0.3, 0.9),
    ),
    Misconception(
        "weights only in the merge",
        weights_only_merge,
        "You used the weights for the merge only: the election is by weighted mass, so pass them "
        "there as well.",
        (0.3, 0.9),
    ),
    Misconception(
        "never trims",
        never_trims,
        "You did not trim: `density` changes nothing in your version, yet TIES begins by keeping "
        "the largest share of each task vector.",
    ),
    Misconception(
        "density read as drop rate",
        density_as_drop_rate,
        "You dropped the share `density`: density is the share that stays, so 0.2 keeps 20%.",
    ),
    Misconception(
        "trims at the end",
        trims_at_the_end,
        "You trimmed the merged result: TIES trims each task vector before the election, so that "
        "small changes have no vote.",
    ),
    Misconception(
        "trims all together",
        trims_together,
        "You trimmed all task vectors with one common threshold: each is trimmed by itself, or a "
        "model with small changes loses all its entries.",
    ),
    Misconception(
        "trims after weighting",
        trims_after_weighting,
        "You applied the weights before a common trim: trim each task vector by itself, then "
        "weight it in the election and in the merge.",
    ),
    Misconception(
        "no election",
        no_election,
        "You averaged the trimmed task vectors without an election: entries of opposite sign still "
        "cancel, and that is what TIES prevents.",
    ),
    Misconception(
        "plain average",
        plain_average,
        "That is the plain average of the task vectors: trim each, elect the signs, and average "
        "only what agrees.",
    ),
    Misconception(
        "count for mass",
        counts_votes,
        "You elected by counting votes: TIES elects by mass, the sign of the weighted sum.",
    ),
    Misconception(
        "sum instead of mean",
        sums,
        "You added what agrees without dividing: the last step is a mean, so divide by the "
        "agreeing weights.",
    ),
    Misconception(
        "divides by all",
        divides_by_all,
        "You divided by all the models: the mean is taken over those that agree, entry by entry.",
    ),
    Misconception(
        "two models only",
        two_models_only,
        "You merged only the first two models: the list may hold one, three or more.",
    ),
    Misconception(
        "in place",
        in_place,
        "You trimmed the inputs themselves: the caller still needs the untrimmed task vectors, so "
        "build new tensors.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_loop(
    deltas: Deltas, density: float = 1.0, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    w = [1.0] * len(deltas) if weights is None else list(weights)
    trimmed = [trim(d, density).flatten().tolist() for d in deltas]
    result = []
    for column in zip(*trimmed, strict=True):
        terms = [a * x for a, x in zip(w, column, strict=True)]
        mass = sum(terms)
        agreeing = [i for i, term in enumerate(terms) if term * mass > 0]
        share = sum(abs(w[i]) for i in agreeing)
        result.append(lam * sum(terms[i] for i in agreeing) / share if share else 0.0)
    return torch.tensor(result, dtype=deltas[0].dtype).reshape(deltas[0].shape)


def stacked(
    deltas: Deltas, density: float = 1.0, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    kept = torch.stack([trim(d.float(), density) for d in deltas])
    values = [1.0] * len(deltas) if weights is None else weights
    w = torch.tensor(values).reshape(-1, *[1] * deltas[0].dim())
    terms = kept * w
    agrees = terms * terms.sum(0).sign() > 0
    share = (agrees * w.abs()).sum(0)
    total = lam * (terms * agrees).sum(0)
    return torch.where(share > 0, total / share, 0.0).to(deltas[0].dtype)


def last_first(
    deltas: Deltas, density: float = 1.0, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    reverse = None if weights is None else weights[::-1]
    trimmed = [trim(d.float(), density) for d in reversed(deltas)]
    sign = elect_sign(trimmed, reverse)
    return (lam * disjoint_merge(trimmed, sign, reverse)).to(deltas[0].dtype)


def vectors(*rows: Sequence[float]) -> list[Tensor]:
    return [torch.tensor(row) for row in rows]


FIRST = [0.08, -0.50, 0.30, 0.02, -0.25, 0.40]
SECOND = [-0.05, 0.20, -0.60, 0.07, -0.75, 0.01]
THIRD = [0.12, 0.25, -0.10, 0.09, 0.50, -0.60]

VISIBLE = (
    Case("two models", (vectors(FIRST, SECOND), 0.5), core=True),
    Case("three models", (vectors(FIRST, SECOND, THIRD), 2 / 3), core=True),
    Case("three models", (vectors(FIRST, SECOND, THIRD), 0.5), core=True),
    Case("density 1 by default", (vectors([0.08, -0.3], [-0.05, 0.1], [0.12, 0.1]),), core=True),
    Case(
        "models of different strength",
        (vectors([4.0, 3.0, -2.0, 1.0], [0.25, -0.5, 0.125, 0.375]), 0.5),
        core=True,
    ),
    Case(
        "a matrix",
        (vectors([[0.5, -1.0], [0.1, 2.0]], [[0.25, 0.5], [-1.0, -3.0]]), 0.5),
        core=True,
    ),
    Case(
        "small changes that have lost their vote",
        (vectors([0.30, 0.10, 0.05], [-0.20, 0.60, 0.10], [-0.20, 0.10, 0.50]), 1 / 3),
        core=True,
    ),
    Case("a scale `lam`", (vectors(FIRST, SECOND), 0.5), {"lam": 0.5}, weight=2),
    Case("weights", (vectors(FIRST, SECOND), 0.5, [0.25, 1.5]), weight=5),
    Case("weights", (vectors(FIRST, THIRD, SECOND), 0.5, [0.5, 0.25, 2.0]), weight=5),
    Case(
        "weights",
        (vectors([0.5, -0.5], [0.25, 0.375], [-0.25, 0.25]), 1.0, [1.0, 3.0, 0.5]),
        weight=5,
    ),
    Case("a single model", (vectors(THIRD), 0.5)),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"ties/ties/{seed}")
    density = draw.random.choice((0.2, 0.3, 0.4))

    def deltas(count: int, *shape: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
        return [draw.distinct(*shape, dtype=dtype) for _ in range(count)]

    weak = draw.distinct(24)
    return [
        Case("two models", (deltas(2, 60), 0.5), core=True),
        Case("three models", (deltas(3, 40), 0.6), core=True),
        Case("five models", (deltas(5, 40), 0.5), core=True),
        Case("density 1 by default", (deltas(3, 30),), core=True),
        Case("models of different strength", ([*deltas(2, 24), weak / 16], 0.5), core=True),
        Case("a matrix", (deltas(3, 6, 7), 0.5), core=True),
        Case("a low density", (deltas(3, 80), density)),
        Case("more than two dimensions", (deltas(2, 2, 3, 4), 0.5)),
        Case("weights", (deltas(3, 40), 0.5, draw.weights(3)), weight=9),
        Case("weights", (deltas(4, 40), 0.7, draw.weights(4)), weight=9),
        Case("a negative weight", (deltas(3, 40), 0.5, draw.weights(3, negative=True))),
        Case("a scale `lam`", (deltas(2, 20), 0.5), {"lam": 1.75}, weight=4),
        Case("a scale `lam`", (deltas(3, 20), 0.5, draw.weights(3), -0.5), weight=4),
        Case("a scale of 0", (deltas(2, 12), 0.5), {"lam": 0.0}),
        Case("density 0", (deltas(2, 12), 0.0)),
        Case("equal magnitudes at the threshold", ([draw.few(24) for _ in range(3)], 0.5)),
        Case("opposite task vectors", ([weak, -weak], 0.5)),
        Case("a single model", (deltas(1, 15), 0.4)),
        Case("a single entry", ([torch.tensor([0.5]), torch.tensor([-0.75])], 0.5)),
        Case("an empty tensor", ([torch.zeros(0), torch.zeros(0)], 0.5)),
        Case("task vectors that are all zero", ([torch.zeros(6)] * 2, 0.5)),
        Case("bfloat16", (deltas(3, 24, dtype=torch.bfloat16), 0.5)),
        Case("float16", (deltas(3, 24, dtype=torch.float16), 0.5, draw.weights(3))),
        Case("transposed matrices", ([d.T for d in deltas(3, 4, 6)], 0.5)),
        Case(
            "float16",
            ([torch.tensor([n * 2.0**-24, 0.5]).half() for n in (1, 2)],),
            {"lam": 4096.0},
        ),
    ]


TIES = Exercise(
    id="ties/ties",
    lesson="04_ties",
    title="TIES from the three",
    signature="ties(deltas, density=1.0, weights=None, lam=1.0)",
    contract=CONTRACT,
    example="`ties([tensor([0.08, 0.01, 0.30]), tensor([-0.05, 0.20, -0.10])], density=2/3)` trims "
    "0.01 from the first and -0.05 from the second, elects + everywhere, and returns "
    "`tensor([0.0800, 0.2000, 0.3000])`.",
    reference=ties,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(2, 5),
    minutes=5,
    difficulty=2,
    misconceptions=WRONG,
    alternatives={"by loop": by_loop, "stacked": stacked, "last first": last_first},
    hints=HINTS,
    uses=("ties/trim", "ties/elect_sign", "ties/disjoint_merge"),
    equivalent={
        "6efc13/constant/2": ANY_OF_LIST,
    },
)
