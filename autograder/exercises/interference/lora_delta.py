"""Exercise `lora_delta`: the change that a LoRA adapter makes, from its two factors."""

import torch
from torch import Tensor

from autograder.cases import GRID, Draw
from autograder.exercise import Case, Exercise, Misconception, Points, Tolerance

CONTRACT = """
Write `lora_delta(a, b, alpha, use_rslora=False, fan_in_fan_out=False)`: the change of one weight
matrix, from the two factors that a LoRA adapter stores. (The last two arguments have the names
that they have in an adapter's `adapter_config.json`.)

- `a` has shape `(r, in)`, `b` has shape `(out, r)`; the change is `scaling * B @ A`, with shape
  `(out, in)`. The rank `r` may be any number from 1.
- `alpha` is a number, and the scaling is `alpha / r`. With `use_rslora=True` it is
  `alpha / sqrt(r)`.
- With `fan_in_fan_out=True` the layer stores its weight as `(in, out)`: return the transpose of
  the change.
- The factors are float32, float16 or bfloat16. Convert them to float32 **before** you
  multiply, and return float32. Do not change the inputs.
"""

HINTS = (
    "Which factor must stand on the left, so that the inner sizes match and the result has shape "
    "`(out, in)`? And which size of `a` is the rank?",
    "`r = a.shape[0]`; the product is `b.float() @ a.float()`; `.T` transposes a matrix.",
)


def lora_delta(
    a: Tensor, b: Tensor, alpha: float, use_rslora: bool = False, fan_in_fan_out: bool = False
) -> Tensor:
    """`scaling * B @ A` in fp32 (Hu et al. 2021, arXiv 2106.09685), shape (out, in).

    >>> lora_delta(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0], [-1.0]]), alpha=2)
    tensor([[ 2.,  4.,  6.],
            [-2., -4., -6.]])
    """
    r = a.shape[0]
    scaling = alpha / r**0.5 if use_rslora else alpha / r
    change = scaling * (b.float() @ a.float())
    return change.T if fan_in_fan_out else change


# Wrong implementations ---------------------------------------------------------------------------


def no_scaling(a, b, alpha, use_rslora=False, fan_in_fan_out=False):
    return lora_delta(a, b, a.shape[0], False, fan_in_fan_out)


def alpha_alone(a, b, alpha, use_rslora=False, fan_in_fan_out=False):
    return lora_delta(a, b, alpha * a.shape[0], False, fan_in_fan_out)


def scaled_twice(a, b, alpha, use_rslora=False, fan_in_fan_out=False):
    once = alpha / (a.shape[0] ** 0.5 if use_rslora else a.shape[0])
    return once * lora_delta(a, b, alpha, use_rslora, fan_in_fan_out)


def rank_from_the_wrong_axis(a, b, alpha, use_rslora=False, fan_in_fan_out=False):
    size = a.shape[1] / a.shape[0]
    return lora_delta(a, b, alpha / (size**0.5 if use_rslora else size), use_rslora, fan_in_fan_out)


def scaling_upside_down(a, b, alpha, use_rslora=False, fan_in_fan_out=False):
    r = a.shape[0] ** 0.5 if use_rslora else a.shape[0]
    return lora_delta(a, b, r / alpha * r, use_rslora, fan_in_fan_out)


def whole_division(a, b, alpha, use_rslora=False, fan_in_fan_out=False):
    scaling = alpha / a.shape[0] ** 0.5 if use_rslora else alpha // a.shape[0]
    change = scaling * (b.float() @ a.float())
    return change.T if fan_in_fan_out else change


def transposed_product(a, b, alpha, use_rslora=False, fan_in_fan_out=False):
    return lora_delta(a, b, alpha, use_rslora, not fan_in_fan_out)


def wrong_order(a, b, alpha, use_rslora=False, fan_in_fan_out=False):
    r = a.shape[0]
    change = (alpha / r**0.5 if use_rslora else alpha / r) * (a.float() @ b.float())
    return change.T if fan_in_fan_out else change


def ignores_rslora(a, b, alpha, use_rslora=False, fan_in_fan_out=False):
    return lora_delta(a, b, alpha, False, fan_in_fan_out)


def ignores_fan_in_fan_out(a, b, alpha, use_rslora=False, fan_in_fan_out=False):
    return lora_delta(a, b, alpha, use_rslora, False)


def in_half_precision(a, b, alpha, use_rslora=False, fan_in_fan_out=False):
    r = a.shape[0]
    change = (b @ a).float() * (alpha / r**0.5 if use_rslora else alpha / r)
    return change.T if fan_in_fan_out else change


def in_place(a, b, alpha, use_rslora=False, fan_in_fan_out=False):
    change = lora_delta(a, b, alpha, use_rslora, fan_in_fan_out)
    b.mul_(alpha / a.shape[0] + 1)
    return change


WRONG = (
    Misconception(
        "no scaling",
        no_scaling,
        "You left out the scaling: the adapter was trained with its product multiplied by "
        "`alpha / r`, so that is part of the change.",
    ),
    Misconception(
        "alpha alone",
        alpha_alone,
        "You multiplied by `alpha` without dividing by the rank: the scaling is `alpha / r`.",
    ),
    Misconception(
        "scaled twice",
        scaled_twice,
        "You applied the scaling twice, perhaps to both factors: it belongs to the product, once.",
    ),
    Misconception(
        "rank from the wrong axis",
        rank_from_the_wrong_axis,
        "You took the number of inputs for the rank: `a` has shape (r, in), so the rank is "
        "`a.shape[0]`.",
    ),
    Misconception(
        "scaling upside down",
        scaling_upside_down,
        "Your scaling is upside down: it is alpha over the rank, not the rank over alpha.",
    ),
    Misconception(
        "whole division",
        whole_division,
        "You divided with `//`, which rounds down: with alpha 1 and rank 2 the scaling becomes 0 "
        "instead of one half; use `/`.",
        (0.15, 0.9),
    ),
    Misconception(
        "transposed",
        transposed_product,
        "Your result is the transpose of the change: a weight has shape (out, in) unless "
        "`fan_in_fan_out` says that it is stored the other way round.",
    ),
    Misconception(
        "A @ B",
        wrong_order,
        "You multiplied `a @ b`: the inner sizes have to be the rank, so `b` (out, r) stands on "
        "the left and `a` (r, in) on the right.",
    ),
    Misconception(
        "ignores use_rslora",
        ignores_rslora,
        "You ignored `use_rslora`: such an adapter was trained with `alpha / sqrt(r)`, and read "
        "with `alpha / r` it is too weak.",
        (0.5, 0.9),
    ),
    Misconception(
        "ignores fan_in_fan_out",
        ignores_fan_in_fan_out,
        "You ignored `fan_in_fan_out`: where the layer stores (in, out), the change has to be "
        "transposed, or it does not fit the weight.",
        (0.5, 0.9),
    ),
    Misconception(
        "multiplies in half precision",
        in_half_precision,
        "Your change was rounded to half precision: call `.float()` on both factors before you "
        "multiply, and return float32.",
        (0.5, 0.9),
    ),
    Misconception(
        "in place",
        in_place,
        "You wrote into a factor: the caller still needs the adapter; multiply into a new tensor.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_loop(a, b, alpha, use_rslora=False, fan_in_fan_out=False):
    a, b = a.float(), b.float()
    change = torch.zeros(b.shape[0], a.shape[1])
    for k in range(a.shape[0]):
        change += torch.outer(b[:, k], a[k])
    change *= alpha / len(a) ** (0.5 if use_rslora else 1)
    return change.T.contiguous() if fan_in_fan_out else change


def by_einsum(a, b, alpha, use_rslora=False, fan_in_fan_out=False):
    scaling = alpha / (a.size(0) ** 0.5 if use_rslora else a.size(0))
    form = "ri,or->io" if fan_in_fan_out else "ri,or->oi"
    return torch.einsum(form, a.float() * scaling, b.float())


def m(*rows: list[float], dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.tensor(rows, dtype=dtype)


A, B = m([1.0, 2.0, 0.0], [0.0, -1.0, 3.0]), m([1.0, 1.0], [0.0, 2.0], [2.0, 0.0], [1.0, -1.0])
BF16 = torch.bfloat16

VISIBLE = (
    Case("rank 2", (A, B, 6), core=True),
    Case("rank 2", (m([1.0, -1.0], [2.0, 0.5]), m([1.0, 3.0], [2.0, 1.0]), 8), core=True),
    Case("rank 1", (m([1.0, 2.0, 3.0]), m([1.0], [-1.0]), 3), core=True),
    Case("a scaling below 1", (A, B, 1)),
    Case("use_rslora", (torch.ones(4, 2), torch.ones(3, 4), 2), {"use_rslora": True}),
    Case("fan_in_fan_out", (A, B, 6), {"fan_in_fan_out": True}),
    Case(
        "half precision",
        (m([1.0078125, 2.0], [1.0, 0.5], dtype=BF16), m([1.0078125, 1.0], dtype=BF16), 4),
    ),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"interference/lora_delta/{seed}")
    rank = draw.random.choice((3, 5, 6))

    def factors(r: int, out: int, into: int, dtype=torch.float32) -> tuple[Tensor, Tensor]:
        return draw.distinct(r, into, dtype=dtype), draw.distinct(out, r, dtype=dtype)

    exact = [draw.random.randrange(129, 256, 2) for _ in range(24)]
    wide = (torch.tensor(exact) / GRID).to(BF16)
    return [
        Case("rank 2", (*factors(2, 5, 7), 4), core=True),
        Case("rank 1", (*factors(1, 4, 6), 2), core=True),
        Case("a higher rank", (*factors(rank, 8, 10), 16), core=True),
        Case("a square matrix", (*factors(4, 9, 9), 12), core=True),
        Case("more inputs than outputs", (*factors(3, 2, 12), 6)),
        Case("a rank above the sizes", (*factors(6, 4, 3), 9)),
        Case("a scaling below 1", (*factors(4, 5, 3), 2), weight=2),
        Case("a scaling below 1", (*factors(2, 5, 3), 0.5), weight=2),
        Case("use_rslora", (*factors(4, 5, 7), 8), {"use_rslora": True}, weight=2),
        Case("use_rslora", (*factors(rank, 4, 5), 16, True), weight=2),
        Case("fan_in_fan_out", (*factors(3, 5, 8), 6), {"fan_in_fan_out": True}, weight=2),
        Case("fan_in_fan_out", (*factors(4, 6, 6), 8, False, True), weight=2),
        Case("both options", (*factors(4, 6, 3), 8, True, True)),
        Case("half precision", (*(f.half() for f in factors(3, 4, 5)), 6), weight=3),
        Case("half precision", (wide[:12].reshape(2, 6), wide[12:].reshape(6, 2), 4), weight=3),
        Case("an adapter that was never trained", (draw.distinct(2, 5), torch.zeros(4, 2), 4)),
        Case("transposed factors", (draw.distinct(6, 3).T, draw.distinct(3, 5).T, 6)),
    ]


LORA_DELTA = Exercise(
    id="interference/lora_delta",
    lesson="01_interference",
    title="the change from LoRA factors",
    signature="lora_delta(a, b, alpha, use_rslora=False, fan_in_fan_out=False)",
    contract=CONTRACT,
    example="With `a = tensor([[1., 2., 3.]])`, `b = tensor([[1.], [-1.]])` and `alpha=2`, the "
    "rank is 1, the scaling 2, and the result `tensor([[2., 4., 6.], [-2., -4., -6.]])`.",
    reference=lora_delta,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 3),
    minutes=6,
    difficulty=1,
    misconceptions=WRONG,
    alternatives={"by loop": by_loop, "by einsum": by_einsum},
    hints=HINTS,
    tolerance=Tolerance(absolute=1e-5),
)
