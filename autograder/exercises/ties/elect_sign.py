"""Exercise `elect_sign`: one sign per entry, by mass."""

from collections.abc import Sequence

import torch
from torch import Tensor

from autograder.cases import GRID, Draw
from autograder.equivalence import ANY_OF_LIST, SCALED_VOTE, WIDER
from autograder.exercise import Case, Exercise, Misconception, Points
from mergelab.methods import elect_sign

Deltas = Sequence[Tensor]
Weights = Sequence[float] | None

CONTRACT = """
Write `elect_sign(deltas, weights=None)`: elect one sign for every entry of the task vectors.

- `deltas` is a list of one or more tensors of the same shape (any shape, also empty) and the same
  dtype: float32, float16 or bfloat16. Often they are trimmed already, so many entries are zero.
- `weights` is a list with one number per task vector, or `None`, which means 1 for each. A weight
  may be negative (a model to forget).
- Entry by entry the sign with the greater **mass** wins: the elected sign is the sign of
  `sum(w_i * delta_i)`. It is not a count of votes: one large change outweighs two small ones.
- A sum of exactly zero elects no sign: 0.
- Convert to float32 before you add: in 16 bits a small change is lost beside a large one.
- Return a tensor of the same shape with the values -1, 0 and +1; any numeric dtype will do. Do not
  change the inputs.
"""

HINTS = (
    "One sum per entry, over the models, then `torch.sign`.",
    "`total = sum(w * d.float() for w, d in zip(weights, deltas))`, with `weights` replaced by "
    "ones when it is `None`.",
)


def ones(deltas: Deltas, weights: Weights) -> Sequence[float]:
    return [1.0] * len(deltas) if weights is None else weights


def weighted(deltas: Deltas, weights: Weights) -> Tensor:
    """w_i * delta_i in fp32, stacked."""
    pairs = zip(ones(deltas, weights), deltas, strict=True)
    return torch.stack([w * d.float() for w, d in pairs])


# Wrong implementations ---------------------------------------------------------------------------


def counts_votes(deltas: Deltas, weights: Weights = None) -> Tensor:
    return weighted(deltas, weights).sign().sum(0).sign()


def forgets_weights(deltas: Deltas, weights: Weights = None) -> Tensor:
    return weighted(deltas, None).sum(0).sign()


def zero_is_plus(deltas: Deltas, weights: Weights = None) -> Tensor:
    return torch.where(weighted(deltas, weights).sum(0) >= 0, 1.0, -1.0)


def zero_is_minus(deltas: Deltas, weights: Weights = None) -> Tensor:
    return torch.where(weighted(deltas, weights).sum(0) > 0, 1.0, -1.0)


def majority_for_zero(deltas: Deltas, weights: Weights = None) -> Tensor:
    sign = weighted(deltas, weights).sum(0).sign()
    return torch.where(sign == 0, sign.sum().sign(), sign)


def returns_sum(deltas: Deltas, weights: Weights = None) -> Tensor:
    return weighted(deltas, weights).sum(0)


def loudest_wins(deltas: Deltas, weights: Weights = None) -> Tensor:
    stacked = weighted(deltas, weights)
    return stacked.gather(0, stacked.abs().argmax(0, keepdim=True))[0].sign()


def first_model(deltas: Deltas, weights: Weights = None) -> Tensor:
    return weighted(deltas, weights)[0].sign()


def one_sign_for_all(deltas: Deltas, weights: Weights = None) -> Tensor:
    total = weighted(deltas, weights).sum(0)
    return torch.ones_like(total) * total.sum().sign()


def adds_magnitudes(deltas: Deltas, weights: Weights = None) -> Tensor:
    return weighted(deltas, weights).abs().sum(0).sign()


def two_models_only(deltas: Deltas, weights: Weights = None) -> Tensor:
    stacked = weighted(deltas, weights)
    return (stacked[0] + stacked[1 % len(stacked)] * (len(stacked) > 1)).sign()


def absolute_weights(deltas: Deltas, weights: Weights = None) -> Tensor:
    return weighted(deltas, [abs(w) for w in ones(deltas, weights)]).sum(0).sign()


def in_half_precision(deltas: Deltas, weights: Weights = None) -> Tensor:
    total = torch.zeros_like(deltas[0])
    for w, d in zip(ones(deltas, weights), deltas, strict=True):
        total = total + w * d
    return total.sign()


def flipped(deltas: Deltas, weights: Weights = None) -> Tensor:
    return -elect_sign(deltas, weights)


def in_place(deltas: Deltas, weights: Weights = None) -> Tensor:
    total = weighted(deltas, weights).sum(0)
    deltas[0].copy_(total)
    return total.sign()


WRONG = (
    Misconception(
        "count for mass",
        counts_votes,
        "You counted votes: TIES elects by mass, the sign of the sum, so one large change "
        "outweighs two small ones.",
    ),
    Misconception(
        "forgets the weights",
        forgets_weights,
        "You left the weights out: each task vector enters the sum as `w_i * delta_i`.",
        (0.5, 0.95),
    ),
    Misconception(
        "zero sum counted as plus",
        zero_is_plus,
        "You gave a sum of exactly zero the sign +1: a draw elects no sign, so the entry is 0.",
        (0.5, 0.95),
    ),
    Misconception(
        "zero sum counted as minus",
        zero_is_minus,
        "You gave a sum of exactly zero the sign -1: a draw elects no sign, so the entry is 0.",
        (0.5, 0.95),
    ),
    Misconception(
        "majority for a draw",
        majority_for_zero,
        "You filled draws with the majority sign of the tensor, as the paper's code does: in this "
        "course a sum of exactly zero elects 0.",
        (0.5, 0.95),
    ),
    Misconception(
        "returns the sum",
        returns_sum,
        "You returned the sum itself: only its sign is elected, so pass it through `torch.sign`.",
    ),
    Misconception(
        "the loudest wins",
        loudest_wins,
        "You took the sign of the single largest change: all changes count together, so two "
        "medium ones can outweigh a large one.",
    ),
    Misconception(
        "the first model wins",
        first_model,
        "You took the sign of the first model: every model enters the sum.",
    ),
    Misconception(
        "one sign for the whole tensor",
        one_sign_for_all,
        "You elected one sign for the whole tensor: every entry has an election of its own, so "
        "sum over the models only.",
    ),
    Misconception(
        "adds magnitudes",
        adds_magnitudes,
        "You added magnitudes, so nothing can ever be negative: add the signed changes.",
    ),
    Misconception(
        "two models only",
        two_models_only,
        "You added only the first two models: the list may hold one, three or more.",
    ),
    Misconception(
        "absolute weights",
        absolute_weights,
        "You dropped the sign of the weights: a negative weight turns its task vector round.",
        (0.8, 0.98),
    ),
    Misconception(
        "adds in 16 bits",
        in_half_precision,
        "You added in 16-bit precision, where a small change is lost beside a large one: convert "
        "to float32 first.",
        (0.8, 0.98),
    ),
    Misconception(
        "sign flipped",
        flipped,
        "Your signs are all turned round: positive mass elects +1.",
    ),
    Misconception(
        "in place",
        in_place,
        "You wrote the sum into one of the inputs: disjoint merge needs the task vectors as they "
        "were, so add into a new tensor.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_loop(deltas: Deltas, weights: Weights = None) -> Tensor:
    total = torch.zeros(deltas[0].shape)
    for i in range(len(deltas)):
        w = 1.0 if weights is None else weights[i]
        total = total + w * deltas[i].to(torch.float32)
    sign = torch.zeros(total.shape, dtype=torch.int8)
    sign[total > 0] = 1
    sign[total < 0] = -1
    return sign


def by_two_sums(deltas: Deltas, weights: Weights = None) -> Tensor:
    stacked = weighted(deltas, weights)
    plus, minus = stacked.clamp(min=0).sum(0), stacked.clamp(max=0).sum(0)
    return (plus > -minus).float() - (plus < -minus).float()


def last_first(deltas: Deltas, weights: Weights = None) -> Tensor:
    return weighted(deltas, weights).flip(0).sum(0).sign().to(deltas[0].dtype)


def vectors(*rows: Sequence[float]) -> list[Tensor]:
    return [torch.tensor(row) for row in rows]


VISIBLE = (
    Case("three models", (vectors([0.08], [-0.05], [0.12]),), core=True),
    Case(
        "one large change against two small ones",
        (vectors([0.30, 0.10], [-0.10, -0.50], [-0.10, 0.20]),),
        core=True,
    ),
    Case(
        "two medium changes against a large one",
        (vectors([0.50, -0.50], [-0.375, 0.375], [-0.375, 0.375]),),
        core=True,
    ),
    Case("a draw", (vectors([0.50, 0.25, 0.0], [-0.50, 0.50, 0.0]),), weight=3),
    Case("a matrix", (vectors([[0.5, -1.0], [0.0, 2.0]], [[0.25, 0.5], [-1.0, -3.0]]),), core=True),
    Case("weights", (vectors([0.50, -0.25], [-0.75, 0.50]), [2.0, 0.5]), weight=4),
    Case("a negative weight", (vectors([0.50, -0.25], [0.25, 0.75]), [1.0, -1.0])),
    Case("a single model", (vectors([0.5, 0.0, -0.25]),)),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"ties/elect_sign/{seed}")

    def deltas(count: int, *shape: int, zeros: float = 0.3) -> list[Tensor]:
        return [draw.grid(*shape, zeros=zeros) for _ in range(count)]

    def decided(count: int, *shape: int) -> list[Tensor]:
        """Task vectors of which no entry is a draw."""
        first, *others = deltas(count, *shape)
        first[sum(others, first) == 0] += 1 / GRID
        return [first, *others]

    loud = draw.distinct(24)
    quiet = [-0.4 * loud, -0.4 * loud]

    def lost(large: float) -> list[Tensor]:
        """A small change between two large ones that cancel."""
        return vectors([large, 1.0, -0.5], [0.5, 2.0, -0.5], [-large, -4.0, 3.0])

    return [
        Case("three models", (decided(3, 30),), core=True),
        Case("two models", (decided(2, 40),), core=True),
        Case("five models", (decided(5, 30),), core=True),
        Case("one large change against two small ones", ([loud, *quiet],), core=True),
        Case(
            "two medium changes against a large one",
            ([loud, -0.75 * loud, -0.75 * loud],),
            core=True,
        ),
        Case("a draw", ([loud, -loud],), weight=4),
        Case("a draw", ([loud, -0.5 * loud, -0.5 * loud, torch.zeros(24)],), weight=4),
        Case("a matrix", (decided(3, 5, 6),), core=True),
        Case("more than two dimensions", (deltas(2, 2, 3, 4),)),
        Case("weights", (deltas(3, 30), draw.weights(3)), weight=6),
        Case("weights", (deltas(2, 4, 5), draw.weights(2)), weight=6),
        Case("a negative weight", (deltas(3, 20), draw.weights(3, negative=True))),
        Case("a single model", (deltas(1, 12),)),
        Case("an empty tensor", ([torch.zeros(0), torch.zeros(0)],)),
        Case("a single entry", ([torch.tensor(0.5), torch.tensor(-0.25)],)),
        Case("task vectors that are all zero", ([torch.zeros(6)] * 3,)),
        Case("bfloat16", ([d.bfloat16() for d in lost(256.0)],)),
        Case("float16", ([d.half() for d in lost(2048.0)],)),
        Case("transposed matrices", ([d.T for d in deltas(3, 4, 6)],)),
        Case("float16", ([d.half() for d in vectors([4e4, 1.0], [-5e4, 2.0])], [2.0, 2.0])),
    ]


ELECT_SIGN = Exercise(
    id="ties/elect_sign",
    lesson="04_ties",
    title="elect one sign per entry",
    signature="elect_sign(deltas, weights=None)",
    contract=CONTRACT,
    example="For three task vectors with the single entries +0.08, -0.05 and +0.12 the sum is "
    "+0.15: `elect_sign` returns `tensor([1.])`.",
    reference=elect_sign,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 3),
    minutes=4,
    difficulty=1,
    misconceptions=WRONG,
    alternatives={"by loop": by_loop, "by two sums": by_two_sums, "last first": last_first},
    hints=HINTS,
    any_dtype=True,
    equivalent={
        "3eb5ef/constant/1": SCALED_VOTE,
        "eedc2b/keyword/1": WIDER,
        "eedc2b/constant/2": ANY_OF_LIST,
    },
)
