"""Exercise `disjoint_merge`: the mean of what agrees with the elected sign."""

from collections.abc import Sequence

import torch
from torch import Tensor

from autograder.cases import Draw
from autograder.equivalence import ANY_OF_LIST, CANCELS, WIDER
from autograder.exercise import Case, Exercise, Misconception, Points
from mergelab.methods import disjoint_merge, elect_sign

Deltas = Sequence[Tensor]
Weights = Sequence[float] | None

CONTRACT = """
Write `disjoint_merge(deltas, sign, weights=None)`: average, entry by entry, the task vectors that
agree with the elected sign.

- `deltas` is a list of one or more tensors of the same shape (any shape, also empty) and the same
  dtype: float32, float16 or bfloat16. `sign` is a tensor of that shape and dtype with the values
  -1, 0 and +1. `weights` is a list with one number per task vector, possibly negative, or `None`,
  which means 1 for each.
- Task vector i takes part in an entry if `w_i * delta_i` has the elected sign there. An entry that
  is zero (trimmed) has no sign and takes no part.
- The merged entry is `sum(w_i * delta_i) / sum(|w_i|)`, both sums over those that take part: a
  weighted mean of what agrees, not of all N.
- Where none takes part, or the elected sign is 0, the merged entry is 0 (not NaN).
- Compute in float32 and return the dtype of the deltas, with their shape. Do not change the inputs.
"""

HINTS = (
    "Two sums per entry: the values that agree, and the weights that belong to them. Then divide, "
    "but only where the second sum is not zero.",
    "`agrees = (torch.sign(w * d) == sign) & (sign != 0)` is the mask of one task vector. "
    "`torch.where(share > 0, total / share, torch.zeros_like(total))` avoids 0 / 0.",
)


def ones(deltas: Deltas, weights: Weights) -> Tensor:
    values = [1.0] * len(deltas) if weights is None else weights
    return torch.tensor(values).reshape(-1, *[1] * deltas[0].dim())


def parts(deltas: Deltas, sign: Tensor, weights: Weights) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted task vectors, who agrees, and the weights, stacked: what a solution starts from."""
    w = ones(deltas, weights)
    terms = torch.stack([d.float() for d in deltas]) * w
    agrees = (terms.sign() == sign.float()) & (sign != 0)
    return terms, agrees, w.expand_as(terms)


def ratio(total: Tensor, share: Tensor, deltas: Deltas) -> Tensor:
    filled = torch.where(share != 0, total / share, torch.zeros_like(total))
    return filled.to(deltas[0].dtype)


# Wrong implementations ---------------------------------------------------------------------------


def divides_by_all(deltas: Deltas, sign: Tensor, weights: Weights = None) -> Tensor:
    terms, agrees, w = parts(deltas, sign, weights)
    return ratio((terms * agrees).sum(0), w.abs().sum(0), deltas)


def sum_not_mean(deltas: Deltas, sign: Tensor, weights: Weights = None) -> Tensor:
    terms, agrees, _ = parts(deltas, sign, weights)
    return (terms * agrees).sum(0).to(deltas[0].dtype)


def everyone_takes_part(deltas: Deltas, sign: Tensor, weights: Weights = None) -> Tensor:
    terms, _, w = parts(deltas, sign, weights)
    return (ratio(terms.sum(0), w.abs().sum(0), deltas) * (sign != 0)).to(deltas[0].dtype)


def magnitude_with_sign(deltas: Deltas, sign: Tensor, weights: Weights = None) -> Tensor:
    terms, _, w = parts(deltas, sign, weights)
    return (terms.abs().sum(0) / w.abs().sum(0) * sign).to(deltas[0].dtype)


def nan_where_none(deltas: Deltas, sign: Tensor, weights: Weights = None) -> Tensor:
    terms, agrees, w = parts(deltas, sign, weights)
    return ((terms * agrees).sum(0) / (w.abs() * agrees).sum(0)).to(deltas[0].dtype)


def forgets_weights(deltas: Deltas, sign: Tensor, weights: Weights = None) -> Tensor:
    return disjoint_merge(deltas, sign, None)


def counts_divisor(deltas: Deltas, sign: Tensor, weights: Weights = None) -> Tensor:
    terms, agrees, _ = parts(deltas, sign, weights)
    return ratio((terms * agrees).sum(0), agrees.sum(0).float(), deltas)


def zeros_take_part(deltas: Deltas, sign: Tensor, weights: Weights = None) -> Tensor:
    terms, _, w = parts(deltas, sign, weights)
    agrees = (terms * sign >= 0) & (sign != 0)
    return ratio((terms * agrees).sum(0), (w.abs() * agrees).sum(0), deltas)


def ignores_zero_sign(deltas: Deltas, sign: Tensor, weights: Weights = None) -> Tensor:
    terms, agrees, w = parts(deltas, sign, weights)
    agrees = agrees | ((sign == 0) & (terms != 0))
    return ratio((terms * agrees).sum(0), (w.abs() * agrees).sum(0), deltas)


def losing_side(deltas: Deltas, sign: Tensor, weights: Weights = None) -> Tensor:
    return disjoint_merge(deltas, -sign, weights)


def signed_divisor(deltas: Deltas, sign: Tensor, weights: Weights = None) -> Tensor:
    terms, agrees, w = parts(deltas, sign, weights)
    return ratio((terms * agrees).sum(0), (w * agrees).sum(0), deltas)


def sign_before_weight(deltas: Deltas, sign: Tensor, weights: Weights = None) -> Tensor:
    terms, _, w = parts(deltas, sign, weights)
    plain = torch.stack([d.float() for d in deltas])
    agrees = (plain.sign() == sign.float()) & (sign != 0)
    return ratio((terms * agrees).sum(0), (w.abs() * agrees).sum(0), deltas)


def two_models_only(deltas: Deltas, sign: Tensor, weights: Weights = None) -> Tensor:
    return disjoint_merge(deltas[:2], sign, None if weights is None else weights[:2])


def in_half_precision(deltas: Deltas, sign: Tensor, weights: Weights = None) -> Tensor:
    values = [1.0] * len(deltas) if weights is None else weights
    total, share = torch.zeros_like(deltas[0]), torch.zeros_like(deltas[0])
    for w, d in zip(values, deltas, strict=True):
        agrees = (torch.sign(w * d) == sign) & (sign != 0)
        total = total + torch.where(agrees, w * d, torch.zeros_like(d))
        share = share + agrees * abs(w)
    return ratio(total, share, deltas)


def in_place(deltas: Deltas, sign: Tensor, weights: Weights = None) -> Tensor:
    result = disjoint_merge(deltas, sign, weights)
    for delta in deltas:
        delta[delta.sign() != sign] = 0
    return result


WRONG = (
    Misconception(
        "divides by all",
        divides_by_all,
        "You divided by all the models: the mean is taken over those that agree, so an entry in "
        "which one of three agrees keeps that one's full value.",
    ),
    Misconception(
        "sum instead of mean",
        sum_not_mean,
        "You added what agrees without dividing: disjoint merge is a mean, so divide by the "
        "agreeing weights.",
    ),
    Misconception(
        "everyone takes part",
        everyone_takes_part,
        "You averaged all the models: those whose sign differs from the elected one must be left "
        "out, from the sum and from the divisor.",
    ),
    Misconception(
        "magnitudes with the elected sign",
        magnitude_with_sign,
        "You averaged all magnitudes and attached the elected sign: models that disagree take no "
        "part, their magnitude does not count either.",
    ),
    Misconception(
        "NaN where none agrees",
        nan_where_none,
        "You divided 0 by 0 where none agrees: there the merged entry is 0, so divide only where "
        "the agreeing weights do not sum to 0.",
    ),
    Misconception(
        "forgets the weights",
        forgets_weights,
        "You left the weights out: the merged entry is `sum(w_i * delta_i) / sum(|w_i|)` over "
        "those that agree.",
        (0.4, 0.8),
    ),
    Misconception(
        "divides by the count",
        counts_divisor,
        "You weighted the sum but divided by how many agree: divide by the sum of their weights, "
        "`sum(|w_i|)`, or the result grows with the weights.",
        (0.4, 0.9),
    ),
    Misconception(
        "zeros take part",
        zeros_take_part,
        "You counted zero entries as agreeing: a trimmed entry has no sign, so its weight must "
        "not enter the divisor.",
    ),
    Misconception(
        "a sign of 0 ignored",
        ignores_zero_sign,
        "You averaged where the elected sign is 0: no sign was elected there, so the merged entry "
        "is 0.",
        (0.8, 0.98),
    ),
    Misconception(
        "the losing side",
        losing_side,
        "You averaged the side that lost the election: keep the entries whose sign equals the "
        "elected one.",
    ),
    Misconception(
        "signed divisor",
        signed_divisor,
        "You divided by the sum of signed weights: with a negative weight that turns the result "
        "round, so divide by `sum(|w_i|)`.",
        (0.8, 0.98),
    ),
    Misconception(
        "agreement before weighting",
        sign_before_weight,
        "You compared the sign of `delta_i`, not of `w_i * delta_i`: a negative weight turns its "
        "task vector round before the vote.",
        (0.8, 0.98),
    ),
    Misconception(
        "two models only",
        two_models_only,
        "You merged only the first two models: the list may hold one, three or more.",
    ),
    Misconception(
        "computes in 16 bits",
        in_half_precision,
        "You computed in 16-bit precision, where sums overflow or lose small changes: convert to "
        "float32 first and round once, at the end.",
        (0.8, 0.98),
    ),
    Misconception(
        "in place",
        in_place,
        "You zeroed the losing entries in the inputs themselves: use a mask or a copy, the caller "
        "still needs its task vectors.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_loop(deltas: Deltas, sign: Tensor, weights: Weights = None) -> Tensor:
    flats = [d.flatten().tolist() for d in deltas]
    signs = sign.flatten().tolist()
    w = [1.0] * len(deltas) if weights is None else list(weights)
    merged = []
    for j, elected in enumerate(signs):
        agreeing = [i for i in range(len(flats)) if w[i] * flats[i][j] * elected > 0]
        total = sum(w[i] * flats[i][j] for i in agreeing)
        merged.append(total / sum(abs(w[i]) for i in agreeing) if agreeing else 0.0)
    return torch.tensor(merged, dtype=deltas[0].dtype).reshape(deltas[0].shape)


def stacked(deltas: Deltas, sign: Tensor, weights: Weights = None) -> Tensor:
    terms, agrees, w = parts(deltas, sign, weights)
    share = (w.abs() * agrees).sum(0).clamp(min=1e-30)
    return ((terms * agrees).sum(0) / share).to(deltas[0].dtype)


def on_copies(deltas: Deltas, sign: Tensor, weights: Weights = None) -> Tensor:
    total, share = torch.zeros(deltas[0].shape), torch.zeros(deltas[0].shape)
    for i in reversed(range(len(deltas))):
        w = 1.0 if weights is None else weights[i]
        copy = deltas[i].float().clone() * w
        copy[copy * sign <= 0] = 0
        total += copy
        share += abs(w) * (copy != 0)
    share[share == 0] = 1
    return (total / share).to(deltas[0].dtype)


def vectors(*rows: Sequence[float]) -> list[Tensor]:
    return [torch.tensor(row) for row in rows]


VISIBLE = (
    Case("three models", (vectors([0.08], [-0.05], [0.12]), torch.tensor([1.0])), core=True),
    Case(
        "three models",
        (
            vectors([0.5, -0.2, 0.3], [0.1, -0.4, -0.6], [-0.3, 0.5, -0.2]),
            torch.tensor([1.0, -1.0, -1.0]),
        ),
        core=True,
    ),
    Case(
        "trimmed entries",
        (vectors([0.5, 0.0, -0.25], [0.0, 0.0, -0.75]), torch.tensor([1.0, 0.0, -1.0])),
        core=True,
    ),
    Case(
        "an entry in which none agrees",
        (vectors([0.5, -0.25], [0.25, -0.5]), torch.tensor([1.0, 1.0])),
        core=True,
    ),
    Case(
        "a matrix",
        (
            vectors([[0.5, -1.0], [1.0, 2.0]], [[0.25, -0.5], [-1.5, -3.0]]),
            torch.tensor([[1.0, -1.0], [-1.0, -1.0]]),
        ),
        core=True,
    ),
    Case(
        "an elected sign of 0",
        (vectors([0.5, 0.25], [-0.25, 0.5]), torch.tensor([0.0, 1.0])),
        weight=2,
    ),
    Case(
        "weights",
        (vectors([0.5, 0.25], [1.0, -0.5]), torch.tensor([1.0, -1.0]), [0.25, 0.75]),
        weight=5,
    ),
    Case(
        "a negative weight",
        (vectors([0.5, 0.25], [-0.75, -0.5]), torch.tensor([1.0, 1.0]), [1.0, -0.5]),
    ),
    Case("a single model", (vectors([0.5, 0.0, -0.25]), torch.tensor([1.0, 0.0, -1.0]))),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"ties/disjoint_merge/{seed}")

    def case(
        kind: str,
        count: int,
        *shape: int,
        zeros: float = 0.3,
        weights: Weights = None,
        dtype: torch.dtype = torch.float32,
        core: bool = False,
        weight: int = 1,
    ) -> Case:
        deltas = [draw.grid(*shape, zeros=zeros, dtype=dtype) for _ in range(count)]
        sign = elect_sign(deltas, weights)
        args = (deltas, sign) if weights is None else (deltas, sign, weights)
        return Case(kind, args, core=core, weight=weight)

    lone = draw.grid(16, zeros=0.0).abs() + 0.25
    overflow = [torch.tensor([60000.0, 2.0]).half()] * 3
    swamped = [torch.tensor([256.0, -2.0]).bfloat16(), *[torch.tensor([1.0, -1.0]).bfloat16()] * 60]
    transposed = [draw.grid(4, 6).T for _ in range(3)]
    return [
        case("two models", 2, 40, core=True),
        case("three models", 3, 30, core=True),
        case("five models", 5, 30, core=True),
        case("trimmed entries", 3, 30, zeros=0.7, core=True),
        Case("an entry in which none agrees", ([lone, 2 * lone], -torch.ones(16)), core=True),
        case("a matrix", 3, 5, 6, core=True),
        case("more than two dimensions", 2, 2, 3, 4),
        Case("an elected sign of 0", ([lone, -lone, lone / 2], torch.zeros(16)), weight=2),
        Case("a sign given by hand", ([lone, -lone / 2, lone / 4], draw.few(16, levels=(1.0,)))),
        case("weights", 3, 30, weights=draw.weights(3), weight=8),
        case("weights", 4, 4, 5, weights=draw.weights(4), weight=8),
        case("a negative weight", 3, 30, weights=draw.weights(3, negative=True)),
        case("a single model", 1, 12),
        case("a single model", 1, 12, weights=[2.0]),
        case("an empty tensor", 2, 0),
        case("a single entry", 2, 1, zeros=0.0),
        case("bfloat16", 3, 20, dtype=torch.bfloat16),
        case("float16", 3, 20, dtype=torch.float16),
        Case("float16 values whose sum overflows", (overflow, torch.ones(2).half())),
        Case(
            "many small bfloat16 changes beside a large one",
            (swamped, torch.tensor([1.0, -1.0]).bfloat16()),
        ),
        Case("transposed matrices", (transposed, elect_sign(transposed))),
        Case(
            "float16",
            (
                [torch.tensor([40000.0, -2.0]).half(), torch.tensor([50000.0, -1.0]).half()],
                torch.tensor([1.0, -1.0]).half(),
                [3.0, 1.0],
            ),
        ),
    ]


DISJOINT_MERGE = Exercise(
    id="ties/disjoint_merge",
    lesson="04_ties",
    title="merge what agrees",
    signature="disjoint_merge(deltas, sign, weights=None)",
    contract=CONTRACT,
    example="For the entries +0.08, -0.05 and +0.12 with the elected sign +1 the second takes no "
    "part: `(0.08 + 0.12) / 2`, so `disjoint_merge` returns `tensor([0.1000])`.",
    reference=disjoint_merge,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(2, 3),
    minutes=7,
    difficulty=2,
    misconceptions=WRONG,
    alternatives={"by loop": by_loop, "stacked": stacked, "on copies": on_copies},
    hints=HINTS,
    equivalent={
        "3eb5ef/constant/1": CANCELS,
        "7b47e5/dropped/1": WIDER,
        "7b47e5/forgotten/1": WIDER,
        "989192/forgotten/1": "Computes the same: true times a number is that number.",
        "a916db/constant/2": ANY_OF_LIST,
    },
)
