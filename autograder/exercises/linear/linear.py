"""Exercise `linear`: the weighted average of tensors."""

from collections.abc import Sequence

import torch
from torch import Tensor

from autograder.cases import Draw
from autograder.equivalence import ANY_OF_LIST, WIDER
from autograder.exercise import Case, Exercise, Misconception, Points
from mergelab.methods import linear

Tensors = Sequence[Tensor]
Weights = Sequence[float] | None

CONTRACT = """
Write `linear(tensors, weights=None, normalize=True)`: the weighted average of N tensors, entry by
entry. The tensors may be whole weights or task vectors: the arithmetic is the same.

- `tensors` is a list of one or more tensors of the same shape (any shape, also empty) and the same
  dtype: float32, float16 or bfloat16. `weights` is a list with one number per tensor, possibly
  negative or 0, or `None`, which means 1 for each.
- With `normalize=True` the result is `sum(w_i * x_i) / sum(w_i)`. Divide by the sum of the weights
  as they are, with their signs.
- With `normalize=False` the result is `sum(w_i * x_i)`, not divided by anything.
- Weights that sum to 0 together with `normalize=True` do not occur in the cases. (A good tool stops
  there with an error. You will meet it below.)
- Compute in float32 and return the dtype of the tensors, with their shape. Do not change the
  inputs.
"""

HINTS = (
    "A loop adds up `weight * tensor.float()`. After the loop, and only if `normalize` is true, "
    "divide by `sum(weights)`.",
    "Start with `weights = [1.0] * len(tensors)` if there are none, and with "
    "`total = torch.zeros_like(tensors[0], dtype=torch.float32)`. At the end, "
    "`.to(tensors[0].dtype)`.",
)


def filled(weights: Weights, tensors: Tensors) -> list[float]:
    return [1.0] * len(tensors) if weights is None else list(weights)


def added(tensors: Tensors, weights: Sequence[float]) -> Tensor:
    """The weighted sum in fp32."""
    stack = torch.stack([t.float() for t in tensors])
    return (stack * torch.tensor(weights).reshape(-1, *[1] * tensors[0].dim())).sum(0)


# Wrong implementations ---------------------------------------------------------------------------


def never_divides(tensors: Tensors, weights: Weights = None, normalize: bool = True) -> Tensor:
    return added(tensors, filled(weights, tensors)).to(tensors[0].dtype)


def divides_by_count(tensors: Tensors, weights: Weights = None, normalize: bool = True) -> Tensor:
    total = added(tensors, filled(weights, tensors))
    return (total / (len(tensors) if normalize else 1)).to(tensors[0].dtype)


def forgets_weights(tensors: Tensors, weights: Weights = None, normalize: bool = True) -> Tensor:
    return linear(tensors, None, normalize=normalize)


def always_divides(tensors: Tensors, weights: Weights = None, normalize: bool = True) -> Tensor:
    total = added(tensors, filled(weights, tensors))
    return (total / sum(filled(weights, tensors))).to(tensors[0].dtype)


def divides_by_sizes(tensors: Tensors, weights: Weights = None, normalize: bool = True) -> Tensor:
    values = filled(weights, tensors)
    divisor = sum(abs(w) for w in values) if normalize else 1.0
    return (added(tensors, values) / divisor).to(tensors[0].dtype)


def divides_twice(tensors: Tensors, weights: Weights = None, normalize: bool = True) -> Tensor:
    values = filled(weights, tensors)
    shares = [w / sum(values) for w in values] if normalize else values
    divisor = len(values) if normalize else 1
    return (added(tensors, shares) / divisor).to(tensors[0].dtype)


def two_models_only(tensors: Tensors, weights: Weights = None, normalize: bool = True) -> Tensor:
    return linear(tensors[:2], None if weights is None else weights[:2], normalize=normalize)


def means_everything(tensors: Tensors, weights: Weights = None, normalize: bool = True) -> Tensor:
    result = linear(tensors, weights, normalize=normalize)
    return torch.full_like(result, float(result.float().mean()))


def in_half_precision(tensors: Tensors, weights: Weights = None, normalize: bool = True) -> Tensor:
    values = filled(weights, tensors)
    total = torch.zeros_like(tensors[0])
    for weight, tensor in zip(values, tensors, strict=True):
        total = total + weight * tensor
    return total / sum(values) if normalize else total


def in_place(tensors: Tensors, weights: Weights = None, normalize: bool = True) -> Tensor:
    result = linear(tensors, weights, normalize=normalize)
    for weight, tensor in zip(filled(weights, tensors), tensors, strict=True):
        tensor.mul_(weight + 1)
    return result


WRONG = (
    Misconception(
        "never divides",
        never_divides,
        "You added the tensors up without dividing: with `normalize=True` the sum is divided by "
        "the sum of the weights.",
    ),
    Misconception(
        "divides by the count",
        divides_by_count,
        "You divided by the number of tensors: divide by the sum of the weights, so that weights "
        "1 and 3 act as one quarter and three quarters.",
    ),
    Misconception(
        "forgets the weights",
        forgets_weights,
        "You left the weights out: each tensor is multiplied by its weight before the sum.",
    ),
    Misconception(
        "always divides",
        always_divides,
        "You divided although `normalize` is false: then the weighted sum is returned as it is.",
        (0.4, 0.9),
    ),
    Misconception(
        "divides by the sizes of the weights",
        divides_by_sizes,
        "You divided by the sum of `|w_i|`: a weighted average divides by the sum of the weights "
        "with their signs.",
        (0.6, 0.98),
    ),
    Misconception(
        "divides twice",
        divides_twice,
        "You turned the weights into shares and then divided by the number of tensors again: shares"
        " already add up to 1.",
    ),
    Misconception(
        "two tensors only",
        two_models_only,
        "You used only the first two tensors: the list may hold one, three or more.",
    ),
    Misconception(
        "one number for the whole tensor",
        means_everything,
        "You averaged over the entries as well: the average runs over the models, so each entry "
        "keeps a value of its own.",
    ),
    Misconception(
        "computes in 16 bits",
        in_half_precision,
        "You computed in 16-bit precision, where a sum overflows or loses digits: convert to "
        "float32 first and round once, at the end.",
        (0.7, 0.98),
    ),
    Misconception(
        "in place",
        in_place,
        "You multiplied the inputs themselves by their weights: build new tensors, the caller "
        "still needs its own.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_loop(tensors: Tensors, weights: Weights = None, normalize: bool = True) -> Tensor:
    values = filled(weights, tensors)
    divisor = sum(values) if normalize else 1
    columns = zip(*(t.flatten().tolist() for t in tensors), strict=True)
    merged = [sum(w * x for w, x in zip(values, c, strict=True)) / divisor for c in columns]
    return torch.tensor(merged, dtype=tensors[0].dtype).reshape(tensors[0].shape)


def stacked(tensors: Tensors, weights: Weights = None, normalize: bool = True) -> Tensor:
    values = filled(weights, tensors)
    return (added(tensors, values) / (sum(values) if normalize else 1)).to(tensors[0].dtype)


def shares_first(tensors: Tensors, weights: Weights = None, normalize: bool = True) -> Tensor:
    values = filled(weights, tensors)
    shares = [w / sum(values) for w in values] if normalize else values
    total = tensors[-1].float().clone() * shares[-1]
    for share, tensor in zip(shares[:-1], tensors[:-1], strict=True):
        total += share * tensor.float()
    return total.to(tensors[0].dtype)


def vectors(*rows: Sequence[float]) -> list[Tensor]:
    return [torch.tensor(row) for row in rows]


VISIBLE = (
    Case("two models", (vectors([0.23, 0.5, -1.0], [0.10, 0.25, 2.0]),), core=True),
    Case("three models", (vectors([0.3, 1.0], [0.6, -1.0], [0.9, 3.0]),), core=True),
    Case("weights", (vectors([1.0, -2.0], [2.0, 6.0]), [1.0, 3.0]), core=True),
    Case("weights", (vectors([1.0, -2.0], [2.0, 6.0]), [0.25, 0.75]), core=True),
    Case(
        "a matrix",
        (vectors([[0.5, -1.0], [1.0, 2.0]], [[1.5, 0.0], [-1.0, 4.0]]), [3.0, 1.0]),
        core=True,
    ),
    Case(
        "`normalize=False`",
        (vectors([1.0, -2.0], [2.0, 6.0]), [0.5, 1.0]),
        {"normalize": False},
        weight=4,
    ),
    Case("a negative weight", (vectors([1.0, -2.0], [2.0, 6.0]), [2.0, -1.0]), weight=2),
    Case("float16", ([torch.tensor([40000.0, 2.0]).half(), torch.tensor([50000.0, 4.0]).half()],)),
    Case("a single model", (vectors([0.5, -0.25]), [2.0])),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"linear/linear/{seed}")

    def tensors(count: int, *shape: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
        return [draw.distinct(*shape, dtype=dtype) for _ in range(count)]

    scale = draw.random.randint(30, 50) * 1000.0
    return [
        Case("two models", (tensors(2, 20),), core=True),
        Case("five models", (tensors(5, 12),), core=True),
        Case("weights", (tensors(3, 20), [1.5, 0.25, 3.0]), core=True),
        Case("weights", (tensors(2, 20), [0.25, 0.5]), core=True),
        Case("a matrix", (tensors(3, 4, 5), [2.0, 0.5, 1.0]), core=True),
        Case("more than two dimensions", (tensors(2, 2, 3, 4), [3.0, 0.5])),
        Case(
            "`normalize=False`", (tensors(3, 15), draw.weights(3)), {"normalize": False}, weight=8
        ),
        Case("a negative weight", (tensors(3, 15), [2.0, -0.5, 1.0]), weight=3),
        Case("weights that sum to a negative number", (tensors(2, 10), [0.5, -2.0]), weight=2),
        Case("a weight of 0", (tensors(2, 10), [0.0, 2.0])),
        Case(
            "weights that sum to 0, not normalised",
            (tensors(2, 10), [1.5, -1.5]),
            {"normalize": False},
        ),
        Case("a single model", (tensors(1, 8), [3.0])),
        Case("a single entry", ([torch.tensor([0.5]), torch.tensor([-0.75])], [3.0, 1.0])),
        Case("an empty tensor", ([torch.zeros(0), torch.zeros(0)],)),
        Case("bfloat16", (tensors(4, 40, dtype=torch.bfloat16), [1.5, 0.75, 3.0, 0.25])),
        Case("float16", ([torch.tensor([scale, -scale, 1.0]).half()] * 2,), weight=2),
        Case("transposed matrices", ([t.T for t in tensors(3, 4, 6)], [1.0, 0.5, 2.0])),
        Case("`normalize=False`", (tensors(3, 15),), {"normalize": False}, weight=8),
        Case(
            "float16",
            (
                [
                    torch.tensor([scale, -scale, 1.0]).half(),
                    torch.tensor([-scale, scale / 2, 2.0]).half(),
                ],
                [3.0, 1.0],
            ),
            weight=2,
        ),
    ]


LINEAR = Exercise(
    id="linear/linear",
    lesson="02_linear",
    title="the weighted average",
    signature="linear(tensors, weights=None, normalize=True)",
    contract=CONTRACT,
    example="`linear([tensor([1., -2.]), tensor([2., 6.])], [1.0, 3.0])` takes one quarter of the "
    "first and three quarters of the second and returns `tensor([1.7500, 4.0000])`. With "
    "`normalize=False` it returns `tensor([7., 16.])`.",
    reference=linear,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(2, 3),
    minutes=6,
    difficulty=1,
    misconceptions=WRONG,
    alternatives={"by loop": by_loop, "stacked": stacked, "shares first": shares_first},
    hints=HINTS,
    equivalent={
        "0fbbbb/keyword/1": WIDER,
        "0fbbbb/constant/2": ANY_OF_LIST,
        "b9b987/constant/2": ANY_OF_LIST,
    },
)
