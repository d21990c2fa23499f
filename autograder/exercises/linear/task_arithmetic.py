"""Exercise `task_arithmetic`: base plus the scaled sum of the task vectors."""

from collections.abc import Sequence

import torch
from torch import Tensor

from autograder.cases import Draw
from autograder.equivalence import WIDER
from autograder.exercise import Case, Exercise, Misconception, Points

Deltas = Sequence[Tensor]
Weights = Sequence[float] | None

CONTRACT = """
Write `task_arithmetic(base, deltas, weights=None, lam=1.0)`: the merged weights
`base + lam * sum(w_i * delta_i)`.

- `base` is a tensor of any shape, also empty. `deltas` is a list of one or more task vectors of the
  same shape and dtype: float32, float16 or bfloat16. They are changes, already without the base.
- `weights` is a list with one number per task vector, possibly negative or 0, or `None`, which
  means 1 for each. `lam` is one number, also 0 or negative.
- Nothing is divided by the number of models or by the sum of the weights.
- `lam` scales the change only, never the base.
- Compute in float32, round once at the end, and return the merged weights in the shape and dtype of
  the base. Do not change the inputs.
"""

HINTS = (
    "First add up the changes, each with its weight. Then one line: the base plus `lam` times that "
    "sum.",
    "`merged = base.float() + lam * change`, and at the end `.to(base.dtype)`. Adding in 16 bits "
    "would round away small changes.",
)


def task_arithmetic(
    base: Tensor, deltas: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    """`base + lam * sum(w_i * delta_i)` in fp32, rounded once to the base's dtype.

    >>> task_arithmetic(torch.tensor([1.0]), [torch.tensor([0.5]), torch.tensor([0.25])], lam=2.0)
    tensor([2.5000])
    """
    values = [1.0] * len(deltas) if weights is None else weights
    change = torch.zeros_like(base, dtype=torch.float32)
    for weight, delta in zip(values, deltas, strict=True):
        change = change + weight * delta.float()
    return (base.float() + lam * change).to(base.dtype)


# Wrong implementations ---------------------------------------------------------------------------


def without_base(base: Tensor, deltas: Deltas, weights: Weights = None, lam: float = 1.0) -> Tensor:
    return task_arithmetic(torch.zeros_like(base), deltas, weights, lam)


def averages(base: Tensor, deltas: Deltas, weights: Weights = None, lam: float = 1.0) -> Tensor:
    values = [1.0] * len(deltas) if weights is None else weights
    return task_arithmetic(base, deltas, [w / len(values) for w in values], lam)


def normalises(base: Tensor, deltas: Deltas, weights: Weights = None, lam: float = 1.0) -> Tensor:
    values = [1.0] * len(deltas) if weights is None else weights
    # Where the sum is 0 this version divides by 1, so that it gives numbers everywhere.
    return task_arithmetic(base, deltas, [w / (sum(values) or 1.0) for w in values], lam)


def scales_base(base: Tensor, deltas: Deltas, weights: Weights = None, lam: float = 1.0) -> Tensor:
    merged = task_arithmetic(base.float(), [d.float() for d in deltas], weights)
    return (lam * merged).to(base.dtype)


def forgets_lam(base: Tensor, deltas: Deltas, weights: Weights = None, lam: float = 1.0) -> Tensor:
    return task_arithmetic(base, deltas, weights)


def forgets_weights(
    base: Tensor, deltas: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    return task_arithmetic(base, deltas, None, lam)


def takes_deltas_for_models(
    base: Tensor, deltas: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    return task_arithmetic(base, [d - base for d in deltas], weights, lam)


def adds_base_each_time(
    base: Tensor, deltas: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    more = task_arithmetic(base, deltas, weights, lam).float()
    return (more + (len(deltas) - 1) * base.float()).to(base.dtype)


def two_models_only(
    base: Tensor, deltas: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    return task_arithmetic(base, deltas[:2], None if weights is None else weights[:2], lam)


def only_positive(
    base: Tensor, deltas: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    values = None if weights is None else [abs(w) for w in weights]
    return task_arithmetic(base, deltas, values, abs(lam))


def in_half_precision(
    base: Tensor, deltas: Deltas, weights: Weights = None, lam: float = 1.0
) -> Tensor:
    values = [1.0] * len(deltas) if weights is None else weights
    for weight, delta in zip(values, deltas, strict=True):
        base = base + lam * weight * delta
    return base


def in_place(base: Tensor, deltas: Deltas, weights: Weights = None, lam: float = 1.0) -> Tensor:
    base.copy_(task_arithmetic(base, deltas, weights, lam))
    return base


WRONG = (
    Misconception(
        "without the base",
        without_base,
        "You returned the change alone: task arithmetic adds it to the base.",
    ),
    Misconception(
        "averages",
        averages,
        "You divided by the number of models: task arithmetic adds the task vectors up, the scale "
        "is `lam` alone.",
    ),
    Misconception(
        "normalises the weights",
        normalises,
        "You divided by the sum of the weights: that is the linear merge, task arithmetic uses the "
        "weights as they are.",
    ),
    Misconception(
        "scales the base, too",
        scales_base,
        "You multiplied the base by `lam` as well: only the change is scaled, or at `lam=0` there "
        "would be no model left.",
        (0.4, 0.9),
    ),
    Misconception(
        "forgets lam",
        forgets_lam,
        "You left out `lam`: the sum of the changes is multiplied by it.",
        (0.4, 0.9),
    ),
    Misconception(
        "forgets the weights",
        forgets_weights,
        "You left the weights out: each task vector is multiplied by its weight.",
        (0.4, 0.9),
    ),
    Misconception(
        "takes task vectors for models",
        takes_deltas_for_models,
        "You subtracted the base from the deltas: they are task vectors, the base is already "
        "subtracted.",
    ),
    Misconception(
        "the base once for each model",
        adds_base_each_time,
        "You added the base once for each task vector: it belongs into the result once.",
    ),
    Misconception(
        "two models only",
        two_models_only,
        "You added only the first two task vectors: the list may hold one, three or more.",
    ),
    Misconception(
        "no negative weights",
        only_positive,
        "You used the sizes of the weights: a negative weight subtracts a task vector, and that is "
        "how a model is made to forget.",
        (0.5, 0.95),
    ),
    Misconception(
        "computes in 16 bits",
        in_half_precision,
        "You added in 16-bit precision, where small changes vanish beside the base: convert to "
        "float32 first and round once, at the end.",
        (0.8, 0.99),
    ),
    Misconception(
        "in place",
        in_place,
        "You wrote the result into the base: the caller still needs it, so build a new tensor.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_loop(base: Tensor, deltas: Deltas, weights: Weights = None, lam: float = 1.0) -> Tensor:
    values = [1.0] * len(deltas) if weights is None else list(weights)
    rows = zip(base.flatten().tolist(), *(d.flatten().tolist() for d in deltas), strict=True)
    merged = [
        start + lam * sum(w * x for w, x in zip(values, changes, strict=True))
        for start, *changes in rows
    ]
    return torch.tensor(merged, dtype=base.dtype).reshape(base.shape)


def stacked(base: Tensor, deltas: Deltas, weights: Weights = None, lam: float = 1.0) -> Tensor:
    values = torch.tensor([1.0] * len(deltas) if weights is None else weights)
    change = torch.einsum("n,n...->...", values, torch.stack([d.float() for d in deltas]))
    return base.float().add(change, alpha=lam).to(base.dtype)


def on_a_copy(base: Tensor, deltas: Deltas, weights: Weights = None, lam: float = 1.0) -> Tensor:
    merged = base.float().clone()
    for i in reversed(range(len(deltas))):
        merged += lam * (1.0 if weights is None else weights[i]) * deltas[i].float()
    return merged.to(base.dtype)


def vectors(*rows: Sequence[float]) -> list[Tensor]:
    return [torch.tensor(row) for row in rows]


BASE = torch.tensor([0.15, 1.0, -2.0])

VISIBLE = (
    Case("two models", (BASE, vectors([0.08, 0.5, 1.0], [-0.05, 0.25, 0.5])), core=True),
    Case(
        "three models",
        (BASE, vectors([0.08, 0.5, 1.0], [-0.05, 0.25, 0.5], [0.12, -1.0, 2.0])),
        core=True,
    ),
    Case(
        "a matrix",
        (
            torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
            vectors([[0.5, -1.0], [0.0, 2.0]], [[0.25, 1.0], [1.0, -4.0]]),
        ),
        core=True,
    ),
    Case("weights", (BASE, vectors([0.5, 1.0, 2.0], [1.0, 2.0, -1.0]), [2.0, 0.5]), weight=4),
    Case("a scale `lam`", (BASE, vectors([0.5, 1.0, 2.0], [1.0, 2.0, -1.0])), {"lam": 0.5},
         weight=4),
    Case(
        "weights and a scale",
        (BASE, vectors([0.5, 1.0, 2.0], [1.0, 2.0, -1.0]), [2.0, 1.0], 0.25),
        weight=2,
    ),
    Case("a negative weight", (BASE, vectors([0.5, 1.0, 2.0], [1.0, 2.0, -1.0]), [1.0, -0.5]),
         weight=3),
    Case("a single model", (BASE, vectors([0.5, 1.0, 2.0]))),
)  # fmt: skip


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"linear/task_arithmetic/{seed}")

    def tensors(count: int, *shape: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
        return [draw.distinct(*shape, dtype=dtype) for _ in range(count)]

    def case(kind: str, count: int, *shape: int, **options) -> Case:
        weight, core = options.pop("weight", 1), options.pop("core", False)
        dtype = options.pop("dtype", torch.float32)
        base, *deltas = tensors(count + 1, *shape, dtype=dtype)
        return Case(kind, (base, deltas), options, weight=weight, core=core)

    # Each change is too small to move a 16-bit base by itself; all of them together are not.
    size = draw.random.randint(20, 30)
    small = [torch.full((8,), 2.0**-10).bfloat16() for _ in range(size)]
    turned = [t.T for t in tensors(3, 4, 6)]
    return [
        case("two models", 2, 20, core=True),
        case("five models", 5, 12, core=True),
        case("a matrix", 3, 4, 5, core=True),
        case("more than two dimensions", 2, 2, 3, 4),
        case("weights", 3, 15, weights=draw.weights(3), weight=6),
        case("a scale `lam`", 2, 15, lam=draw.random.choice((0.25, 0.75, 1.5)), weight=6),
        case("weights and a scale", 3, 15, weights=draw.weights(3), lam=0.5, weight=2),
        case("a negative weight", 3, 15, weights=draw.weights(3, negative=True), weight=3),
        case("weights that sum to 0", 2, 10, weights=[1.5, -1.5], weight=2),
        case("a negative scale", 2, 10, lam=-0.5),
        case("a scale of 0", 2, 10, lam=0.0),
        case("a single model", 1, 8),
        Case("a single entry", (torch.tensor([0.5]), [torch.tensor([0.25]), torch.tensor([2.0])])),
        Case("an empty tensor", (torch.zeros(0), [torch.zeros(0), torch.zeros(0)])),
        Case("bfloat16", (torch.ones(8).bfloat16(), small), weight=3),
        case("float16", 3, 15, weights=[0.5, 1.5, 0.25], dtype=torch.float16),
        Case("transposed matrices", (turned[0], turned[1:])),
        Case(
            "float16",
            (
                torch.ones(2).half(),
                [torch.tensor([40000.0, -30000.0]).half(), torch.tensor([30000.0, 2.0]).half()],
            ),
            {"weights": [3.0, -3.0], "lam": 0.5},
        ),
    ]


TASK_ARITHMETIC = Exercise(
    id="linear/task_arithmetic",
    lesson="02_linear",
    title="task arithmetic",
    signature="task_arithmetic(base, deltas, weights=None, lam=1.0)",
    contract=CONTRACT,
    example="`task_arithmetic(tensor([0.15]), [tensor([0.08]), tensor([-0.05])])` returns "
    "`tensor([0.1800])`; with `lam=0.5` it returns `tensor([0.1650])`, which is the average of the "
    "two models .23 and .10.",
    reference=task_arithmetic,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(2, 3),
    minutes=5,
    difficulty=1,
    misconceptions=WRONG,
    alternatives={"by loop": by_loop, "stacked": stacked, "on a copy": on_a_copy},
    hints=HINTS,
    equivalent={
        "afb925/keyword/1": WIDER,
        "d22bf9/forgotten/2": WIDER,
    },
)
