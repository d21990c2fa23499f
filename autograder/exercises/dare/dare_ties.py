"""Exercise `dare_ties`: drop and rescale each task vector, elect signs, average what agrees."""

from collections.abc import Sequence

import torch
from torch import Tensor

from autograder.cases import Draw
from autograder.equivalence import ANY_OF_LIST, CANCELS
from autograder.exercise import Case, Exercise, Misconception, Points
from autograder.exercises.dare.dare_linear import dropped, ones, rolls, vectors
from mergelab.methods import disjoint_merge, elect_sign, trim

Deltas = Sequence[Tensor]
Weights = Sequence[float] | None

CONTRACT = """
Write `dare_ties(deltas, drop_rate, dice, weights=None, lam=1.0)`: DARE on each task vector, then
sign election and the mean of what agrees, as in lesson 4. There is no trim.

- `deltas`, `drop_rate`, `dice`, `weights` and `lam` are what they are for `dare_linear`: one or
  more task vectors of one shape (any shape, also empty) and one dtype (float32, float16 or
  bfloat16), a rate at least 0 and below 1, dice for each, weights or `None` for 1 each, one overall
  scale.
- **Drop** each task vector by its own dice and **rescale** it.
- **Elect** one sign per entry from what is left: the sign of `sum(w_i * left_i)`. A sum of exactly
  zero elects no sign, and the entry is 0.
- **Merge**: the entry is `sum(w_i * left_i) / sum(|w_i|)`, both sums over the models whose
  `w_i * left_i` has the elected sign. A dropped entry is 0 and takes no part. At the end multiply
  by `lam`.
- Compute in float32 and return the merged task vector in the shape and dtype of the deltas. Do not
  change the inputs.

You may copy your `elect_sign` and `disjoint_merge` from lesson 4 into the cell, or write these few
lines anew.
"""

HINTS = (
    "Stack the prepared task vectors, each times its weight. The sign of their sum over the models "
    "is the elected sign; a mask says who has it.",
    "`terms = torch.stack(...)`, `agrees = (terms.sign() == terms.sum(0).sign()) & (terms != 0)`. "
    "Then divide the sum of the agreeing terms by the sum of their |weights|, but only where that "
    "is not zero (`torch.where`).",
)


def merged(left: Deltas, weights: Weights, lam: float, deltas: Deltas) -> Tensor:
    """Election and mean of prepared task vectors."""
    sign = elect_sign(left, weights)
    return (disjoint_merge(left, sign, weights) * lam).to(deltas[0].dtype)


def prepared(deltas: Deltas, drop_rate: float, dice: Deltas) -> list[Tensor]:
    return [part / (1 - drop_rate) for part in dropped(deltas, drop_rate, dice)]


def reference(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    return merged(prepared(deltas, drop_rate, dice), weights, lam, deltas)


# Wrong implementations ---------------------------------------------------------------------------


def never_rescales(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    return merged(dropped(deltas, drop_rate, dice), weights, lam, deltas)


def votes_before_drop(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    sign = elect_sign([d.float() for d in deltas], weights)
    left = prepared(deltas, drop_rate, dice)
    return (disjoint_merge(left, sign, weights) * lam).to(deltas[0].dtype)


def drops_the_merge(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    whole = merged([d.float() for d in deltas], weights, lam, deltas).float()
    return (whole * (dice[-1] >= drop_rate) / (1 - drop_rate)).to(deltas[0].dtype)


def sums(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    terms, agrees = _votes(deltas, drop_rate, dice, weights)
    return ((terms * agrees).sum(0) * lam).to(deltas[0].dtype)


def divides_by_all(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    terms, agrees = _votes(deltas, drop_rate, dice, weights)
    total = sum(abs(w) for w in ones(deltas, weights))
    return ((terms * agrees).sum(0) * lam / total).to(deltas[0].dtype)


def _votes(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights
) -> tuple[Tensor, Tensor]:
    left = prepared(deltas, drop_rate, dice)
    terms = torch.stack([w * x for w, x in zip(ones(deltas, weights), left, strict=True)])
    return terms, (terms.sign() == terms.sum(0).sign()) & (terms != 0)


def no_election(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    terms, _ = _votes(deltas, drop_rate, dice, weights)
    return (terms.sum(0) * lam).to(deltas[0].dtype)


def counts_votes(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    left = prepared(deltas, drop_rate, dice)
    sign = elect_sign(left, weights, election="count")
    return (disjoint_merge(left, sign, weights) * lam).to(deltas[0].dtype)


def trims_too(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    left = [trim(x, 1 - drop_rate) for x in prepared(deltas, drop_rate, dice)]
    left = [trim(x, 0.2) for x in left]
    return merged(left, weights, lam, deltas)


def one_set_of_dice(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    return reference(deltas, drop_rate, [dice[0]] * len(deltas), weights, lam)


def keeps_the_dropped(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    left = [
        d.float() * (r < drop_rate) / (1 - drop_rate) for d, r in zip(deltas, dice, strict=True)
    ]
    return merged(left, weights, lam, deltas)


def forgets_lam(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    return reference(deltas, drop_rate, dice, weights)


def forgets_weights(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    return reference(deltas, drop_rate, dice, None, lam)


def nan_where_none(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    terms, agrees = _votes(deltas, drop_rate, dice, weights)
    w = torch.tensor(list(ones(deltas, weights))).reshape(-1, *[1] * deltas[0].dim())
    return ((terms * agrees).sum(0) / (w.abs() * agrees).sum(0) * lam).to(deltas[0].dtype)


def in_place(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    result = reference(deltas, drop_rate, dice, weights, lam)
    for delta, rolled in zip(deltas, dice, strict=True):
        delta[rolled < drop_rate] = 0
    return result


WRONG = (
    Misconception(
        "never rescales",
        never_rescales,
        "You dropped without rescaling: the merge then shrinks, so divide what stays by "
        "`1 - drop_rate` before the vote.",
    ),
    Misconception(
        "votes before the drop",
        votes_before_drop,
        "You elected signs from the whole task vectors: DARE comes first, and only what it leaves "
        "may vote.",
    ),
    Misconception(
        "drops the merge",
        drops_the_merge,
        "You merged first and dropped afterwards: each task vector is dropped by its own dice, "
        "before they meet.",
    ),
    Misconception(
        "sum instead of mean",
        sums,
        "You added what agrees without dividing, as mergekit does: here the merge is a mean, so "
        "divide by the agreeing weights.",
    ),
    Misconception(
        "divides by all",
        divides_by_all,
        "You divided by all the models: the mean is taken over those that agree, entry by entry.",
    ),
    Misconception(
        "no election",
        no_election,
        "You added everything up: that is dare_linear; here opposite signs first hold a vote.",
    ),
    Misconception(
        "count for mass",
        counts_votes,
        "You elected by counting votes: the sign of the weighted sum decides, so one large change "
        "outweighs two small ones.",
    ),
    Misconception(
        "trims as well",
        trims_too,
        "You trimmed what the drop left: the paper's code does that, this contract does not.",
    ),
    Misconception(
        "one set of dice",
        one_set_of_dice,
        "You used the first model's dice for all: each task vector has its own, or all of them "
        "lose the same entries.",
    ),
    Misconception(
        "keeps the dropped",
        keeps_the_dropped,
        "You kept what should go: an entry stays where its dice are at or above the drop rate.",
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
        "You left the weights out: they count in the vote and in the mean.",
        (0.5, 0.95),
    ),
    Misconception(
        "NaN where none is left",
        nan_where_none,
        "Where every model was dropped you divide 0 by 0: such an entry is 0, not NaN.",
    ),
    Misconception(
        "in place",
        in_place,
        "You dropped entries of the inputs themselves: the next roll needs them whole.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_loop(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    w = list(ones(deltas, weights))
    left = [part.flatten().tolist() for part in dropped(deltas, drop_rate, dice)]
    result = []
    for column in zip(*left, strict=True):
        terms = [a * x for a, x in zip(w, column, strict=True)]
        mass = sum(terms)
        agreeing = [i for i, term in enumerate(terms) if term * mass > 0]
        share = sum(abs(w[i]) for i in agreeing)
        mean = sum(terms[i] for i in agreeing) / share if share else 0.0
        result.append(lam * mean / (1 - drop_rate))
    return torch.tensor(result, dtype=deltas[0].dtype).reshape(deltas[0].shape)


def rescaled_at_the_end(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    return merged(dropped(deltas, drop_rate, dice), weights, lam / (1 - drop_rate), deltas)


def last_first(
    deltas: Deltas, drop_rate: float, dice: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    reverse = None if weights is None else list(weights)[::-1]
    return reference(list(deltas)[::-1], drop_rate, list(dice)[::-1], reverse, lam)


FIRST = [0.08, -0.50, 0.30, 0.02, -0.25, 0.40]
SECOND = [-0.05, 0.20, -0.60, 0.07, -0.75, 0.01]
THIRD = [-0.06, 0.25, -0.10, 0.09, 0.50, 0.60]
DICE = [
    [0.9, 0.8, 0.6, 0.8, 0.1, 0.7],
    [0.7, 0.7, 0.2, 0.95, 0.3, 0.6],
    [0.6, 0.9, 0.99, 0.4, 0.2, 0.8],
]

VISIBLE = (
    Case("two models", (vectors(FIRST, SECOND), 0.5, vectors(*DICE[:2])), core=True),
    Case("three models", (vectors(FIRST, SECOND, THIRD), 0.5, vectors(*DICE)), core=True),
    Case("three models", (vectors(FIRST, SECOND, THIRD), 0.75, vectors(*DICE)), core=True),
    Case(
        "one large change against two small ones",
        (
            vectors([0.9, 0.5], [-0.3, -0.1], [-0.2, -0.1]),
            0.5,
            vectors([0.9, 0.9], [0.6, 0.7], [0.8, 0.8]),
        ),
        core=True,
    ),
    Case(
        "a conflict that the drop has ended",
        (vectors([0.5, -1.0], [-0.75, 0.25]), 0.5, vectors([0.9, 0.2], [0.1, 0.8])),
        core=True,
    ),
    Case("a scale `lam`", (vectors(FIRST, SECOND), 0.5, vectors(*DICE[:2])), {"lam": 0.5}),
    Case("weights", (vectors(FIRST, SECOND), 0.5, vectors(*DICE[:2]), [0.25, 2.0])),
    Case("a single model", (vectors(THIRD), 0.5, vectors(DICE[2]))),
    Case("drop rate 0", (vectors(FIRST, SECOND), 0.0, vectors(*DICE[:2]))),
    Case("an exact draw", (vectors([0.5, 1.0], [-0.5, 1.0]), 0.5, vectors([0.9] * 2, [0.8] * 2))),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"dare/dare_ties/{seed}")
    rate = draw.random.choice((0.3, 0.4, 0.6))

    def case(
        kind: str,
        count: int,
        shape: Sequence[int],
        p: float = 0.5,  # halves and quarters are exact, so that a draw of weighted changes is one
        weights: Weights = None,
        *,
        lam: float = 1.0,
        dtype: torch.dtype = torch.float32,
        core: bool = False,
    ) -> Case:
        deltas = [draw.distinct(*shape, dtype=dtype) for _ in range(count)]
        return Case(kind, (deltas, p, rolls(draw, deltas), weights), {"lam": lam}, core=core)

    weak = draw.distinct(24)
    columns = [draw.distinct(5, 4).T, draw.distinct(5, 4).T]
    return [
        case("two models", 2, [40], rate, core=True),
        case("three models", 3, [40], rate, core=True),
        case("five models", 5, [40], rate, core=True),
        case("a matrix", 3, [5, 8], core=True),
        case("more than two dimensions", 2, [2, 3, 4]),
        case("a high drop rate", 2, [60], 0.875),
        case("weights", 3, [40], 0.5, draw.weights(3)),
        case("weights", 4, [40], 0.25, draw.weights(4)),
        case("a negative weight", 3, [40], 0.5, draw.weights(3, negative=True)),
        case("a scale `lam`", 2, [20], lam=0.75),
        case("a scale `lam`", 3, [20], 0.5, draw.weights(3), lam=-0.5),
        case("drop rate 0", 3, [12], 0.0),
        Case("exact draws", ([weak, -weak], 0.25, rolls(draw, [weak, weak]))),
        case("a single model", 1, [15]),
        case("a single entry", 2, [1]),
        case("an empty tensor", 2, [0]),
        case("bfloat16", 3, [24], dtype=torch.bfloat16),
        case("float16", 3, [24], 0.5, draw.weights(3), dtype=torch.float16),
        Case("transposed matrices", (columns, 0.5, rolls(draw, columns))),
        Case(
            "float16",
            (
                [torch.tensor([40000.0, 1.0]).half(), torch.tensor([50000.0, 2.0]).half()],
                0.5,
                [torch.tensor([0.75, 0.25]), torch.tensor([0.5, 0.75])],
            ),
            {"lam": 0.5},
        ),
    ]


DARE_TIES = Exercise(
    id="dare/dare_ties",
    lesson="05_dare",
    title="DARE, then vote",
    signature="dare_ties(deltas, drop_rate, dice, weights=None, lam=1.0)",
    contract=CONTRACT,
    example="`dare_ties([tensor([1., 2.]), tensor([-4., 8.])], 0.5, [tensor([.9, .9]), "
    "tensor([.2, .7])])` loses the -4, doubles the rest, and returns `tensor([ 2., 10.])`.",
    reference=reference,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(2, 3),
    minutes=7,
    difficulty=2,
    misconceptions=WRONG,
    alternatives={
        "by loop": by_loop,
        "rescaled at the end": rescaled_at_the_end,
        "last first": last_first,
    },
    hints=HINTS,
    uses=("dare/drop", "dare/rescale"),
    equivalent={
        "e277a5/constant/1": CANCELS,
        "e5af08/constant/2": ANY_OF_LIST,
        "8fcd66/similar/1": "Computes the same: a mean has the sign of its sum.",
        "5bc59e/constant/2": ANY_OF_LIST,
    },
)
