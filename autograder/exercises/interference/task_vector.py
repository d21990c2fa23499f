"""Exercise `task_vector`: what fine-tuning changed, tensor by tensor."""

from collections.abc import Mapping

import torch
from torch import Tensor

from autograder.cases import GRID, Draw
from autograder.equivalence import WIDER
from autograder.exercise import Case, Exercise, Misconception, Points

Weights = Mapping[str, Tensor]

CONTRACT = """
Write `task_vector(finetuned, base)`: what training changed in a model's weights.

- `finetuned` and `base` are dicts that map a tensor's name to its values, as `state_dict()` gives
  them. Tensors of one name have the same shape. Their dtype is float32, float16 or bfloat16, and
  the two models need not have the same one.
- Return a dict that maps names to `finetuned - base`. Convert both to float32 **before** you
  subtract, and return float32: in half precision, small changes are lost in the rounding.
- Leave out a name if nothing changed there, that is, if both tensors are equal in every entry. An
  adapter touches few of a model's tensors; those that are not in the dict count as zero.
- Leave out a name that only one of the two models has: there is nothing to subtract.
- The order of the names does not matter. Do not change the inputs.
"""

HINTS = (
    "Go through the names of one dict, and skip those that the other one lacks. Subtract, and keep "
    "the difference if any entry of it is not zero.",
    "`change = finetuned[name].float() - base[name].float()`; then `if change.any():` decides "
    "whether it goes into the result.",
)


def task_vector(finetuned: Weights, base: Weights) -> dict[str, Tensor]:
    """Fine-tuned minus base in fp32, for the names that both have and that differ.

    >>> task_vector({"w": torch.tensor([0.23])}, {"w": torch.tensor([0.15])})
    {'w': tensor([0.0800])}
    """
    result = {}
    for name in finetuned.keys() & base.keys():
        change = finetuned[name].float() - base[name].float()
        if change.any():
            result[name] = change
    return result


# Wrong implementations ---------------------------------------------------------------------------


def reversed_order(finetuned: Weights, base: Weights) -> dict[str, Tensor]:
    return task_vector(base, finetuned)


def magnitudes(finetuned: Weights, base: Weights) -> dict[str, Tensor]:
    return {name: change.abs() for name, change in task_vector(finetuned, base).items()}


def relative(finetuned: Weights, base: Weights) -> dict[str, Tensor]:
    return {n: change / base[n].float() for n, change in task_vector(finetuned, base).items()}


def one_tensor(finetuned: Weights, base: Weights) -> Tensor:
    found = task_vector(finetuned, base)
    return torch.cat([found[name].flatten() for name in sorted(found)])


def subtracts_first(finetuned: Weights, base: Weights) -> dict[str, Tensor]:
    found = task_vector(finetuned, base)
    return {name: (finetuned[name] - base[name]).float() for name in found}


def in_the_bases_dtype(finetuned: Weights, base: Weights) -> dict[str, Tensor]:
    return task_vector({n: w.to(base[n].dtype) for n, w in finetuned.items() if n in base}, base)


def keeps_unchanged(finetuned: Weights, base: Weights) -> dict[str, Tensor]:
    names = [name for name in finetuned if name in base]
    return {name: finetuned[name].float() - base[name].float() for name in names}


def needs_the_same_names(finetuned: Weights, base: Weights) -> dict[str, Tensor]:
    changes = {name: w.float() - base[name].float() for name, w in finetuned.items()}
    changes |= {name: finetuned[name].float() - w.float() for name, w in base.items()}
    return {name: change for name, change in changes.items() if change.any()}


def missing_is_zero(finetuned: Weights, base: Weights) -> dict[str, Tensor]:
    names = {**finetuned, **base}
    whole = [
        {name: side.get(name, torch.zeros_like(names[name])) for name in names}
        for side in (finetuned, base)
    ]
    return task_vector(*whole)


def sum_tells_change(finetuned: Weights, base: Weights) -> dict[str, Tensor]:
    return {n: change for n, change in task_vector(finetuned, base).items() if change.sum() != 0}


def every_entry_must_change(finetuned: Weights, base: Weights) -> dict[str, Tensor]:
    return {n: change for n, change in task_vector(finetuned, base).items() if change.all()}


def in_place(finetuned: Weights, base: Weights) -> dict[str, Tensor]:
    found = task_vector(finetuned, base)
    for name in found:
        if finetuned[name].dtype == torch.float32:
            finetuned[name].sub_(base[name].float())
    return found


WRONG = (
    Misconception(
        "the wrong way round",
        reversed_order,
        "You subtracted the fine-tuned weights from the base: a task vector is what has to be "
        "added to the base to get the fine-tuned model, so it is fine-tuned minus base.",
    ),
    Misconception(
        "magnitudes",
        magnitudes,
        "You returned how far each weight moved, without the direction: the signs decide whether "
        "two models agree, so keep them.",
    ),
    Misconception(
        "relative change",
        relative,
        "You divided by the base: a task vector is a plain difference, so that base plus task "
        "vector is the fine-tuned model.",
    ),
    Misconception(
        "one long tensor",
        one_tensor,
        "You joined everything into one tensor: return a dict from names to changes, or nobody "
        "knows which change belongs to which layer.",
    ),
    Misconception(
        "subtracts in half precision",
        subtracts_first,
        "Your change was rounded to half precision: call `.float()` on both tensors before you "
        "subtract, and return float32.",
        (0.6, 0.97),
    ),
    Misconception(
        "converts to the base's dtype",
        in_the_bases_dtype,
        "You converted the fine-tuned weights to the dtype of the base: that rounds away part of "
        "what was learned; convert both to float32.",
        (0.7, 0.97),
    ),
    Misconception(
        "keeps what did not change",
        keeps_unchanged,
        "You kept tensors in which nothing changed: leave out a name if all of its differences are "
        "zero.",
        (0.5, 0.95),
    ),
    Misconception(
        "needs the same names",
        needs_the_same_names,
        "You look up a name that one of the two models does not have: skip a name unless both "
        "dicts hold it.",
        (0.5, 0.95),
    ),
    Misconception(
        "a missing tensor counts as zero",
        missing_is_zero,
        "You treated a missing tensor as zeros: then a whole weight looks like a change; leave out "
        "a name that only one model has.",
        (0.5, 0.95),
    ),
    Misconception(
        "looks at the sum of the changes",
        sum_tells_change,
        "You asked whether the sum of the changes is zero: +.1 and -.1 add up to zero, and yet "
        "both weights changed; ask whether any entry differs.",
        (0.5, 0.97),
    ),
    Misconception(
        "asks for a change in every entry",
        every_entry_must_change,
        "You left out a tensor because some of its entries did not change: it stays if at least "
        "one entry did.",
        (0.0, 0.95),
    ),
    Misconception(
        "in place",
        in_place,
        "You wrote into the fine-tuned weights: the caller still needs the model; build new "
        "tensors.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_comprehension(finetuned: Weights, base: Weights) -> dict[str, Tensor]:
    both = [name for name in base if name in finetuned]
    return {
        name: finetuned[name].to(torch.float32) - base[name].to(torch.float32)
        for name in both
        if not torch.equal(finetuned[name].float(), base[name].float())
    }


def in_place_on_a_copy(finetuned: Weights, base: Weights) -> dict[str, Tensor]:
    result = {name: weight.clone().float() for name, weight in finetuned.items()}
    for name in list(result):
        if name not in base:
            del result[name]
            continue
        result[name] -= base[name].float()
        if not bool((result[name] != 0).any()):
            del result[name]
    return result


def t(*values: float, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.tensor(values, dtype=dtype)


BF16, FP16 = torch.bfloat16, torch.float16

VISIBLE = (
    Case("one tensor", ({"w": t(0.23, 0.5)}, {"w": t(0.15, 0.75)}), core=True),
    Case(
        "several tensors",
        (
            {"q": t(1.0, 2.0, -1.0), "k": torch.tensor([[0.5, 0.25], [1.0, -2.0]])},
            {"q": t(0.5, 4.0, -2.0), "k": torch.tensor([[1.5, 1.0], [3.0, -1.0]])},
        ),
        core=True,
    ),
    Case(
        "a tensor that did not change",
        ({"w": t(1.0), "v": t(2.0)}, {"w": t(1.0), "v": t(3.0)}),
        weight=3,
    ),
    Case(
        "a name that the base lacks",
        ({"w": t(1.0, 2.0), "head": t(5.0)}, {"w": t(2.0, 0.5)}),
    ),
    Case(
        "a name that the fine-tuned model lacks",
        ({"w": t(1.0, 2.0)}, {"w": t(2.0, 0.5), "head": t(5.0)}),
    ),
    Case("a change in one entry only", ({"w": t(1.0, 2.0, 3.0)}, {"w": t(1.0, 2.5, 3.0)})),
    Case("changes that add up to zero", ({"w": t(1.5, 2.5)}, {"w": t(2.0, 2.0)})),
    Case(
        "half precision", ({"w": t(2.015625, dtype=BF16)}, {"w": t(-2.03125, dtype=BF16)}), weight=3
    ),
    Case("models of two dtypes", ({"w": t(1.001, 3.0)}, {"w": t(1.0, 2.0, dtype=BF16)})),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"interference/task_vector/{seed}")

    def pair(*shape: int) -> tuple[Tensor, Tensor]:
        """Two tensors that differ in every entry."""
        return draw.distinct(*shape), draw.distinct(*shape) / 1024

    def far_apart(dtype: torch.dtype, bits: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Values that fit the dtype, and differences that need one bit more than it has."""
        top = 2**bits
        odd = [draw.random.randrange(top // 2 + 1, top, 2) for _ in range(12)]
        even = [draw.random.randrange(top // 2 + 2, top, 2) for _ in range(12)]
        tuned, base = torch.tensor(odd) / GRID, -torch.tensor(even) / GRID
        return {"w": tuned.to(dtype)}, {"w": base.to(dtype)}

    a, b = pair(4, 6)
    c, d = pair(9)
    e, f = pair(2, 3, 4)
    g, h = pair(5, 7)
    few = b.clone()
    few[0, 0] += 1
    balanced = d.clone()
    balanced[1:3] += torch.tensor([0.5, -0.5])
    return [
        Case("one tensor", ({"layer.weight": a}, {"layer.weight": b}), core=True),
        Case("one tensor", ({"bias": -c}, {"bias": d}), core=True),
        Case("several tensors", ({"x": a, "y": c, "z": e}, {"x": b, "y": d, "z": f}), core=True),
        Case("names in another order", ({"x": a, "y": g}, {"y": h, "x": b})),
        Case(
            "a tensor that did not change", ({"x": a, "y": h}, {"x": b, "y": h.clone()}), weight=4
        ),
        Case("two equal models", ({"x": a}, {"x": a.clone()})),
        Case("a name that the base lacks", ({"x": a, "new": c}, {"x": b})),
        Case("a name that the fine-tuned model lacks", ({"x": a}, {"x": b, "gone": d})),
        Case("a change in one entry only", ({"x": few, "y": c}, {"x": b, "y": d})),
        Case("changes that add up to zero", ({"x": balanced}, {"x": d})),
        Case("half precision", far_apart(BF16, 8), weight=4),
        Case("half precision", far_apart(FP16, 11), weight=4),
        Case("models of two dtypes", ({"x": g}, {"x": draw.distinct(5, 7, dtype=BF16)})),
        Case("models of two dtypes", ({"x": 1 + c / 4096}, {"x": torch.ones(9, dtype=FP16)})),
        Case("transposed matrices", ({"x": a.T}, {"x": b.T})),
        Case("empty models", ({}, {})),
    ]


TASK_VECTOR = Exercise(
    id="interference/task_vector",
    lesson="01_interference",
    title="task vector",
    signature="task_vector(finetuned, base)",
    contract=CONTRACT,
    example='`task_vector({"w": tensor([0.23]), "v": tensor([1.0])}, {"w": tensor([0.15]), '
    '"v": tensor([1.0])})` returns `{"w": tensor([0.0800])}`: nothing changed in `v`.',
    reference=task_vector,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 3),
    minutes=5,
    difficulty=1,
    misconceptions=WRONG,
    alternatives={"by comprehension": by_comprehension, "in place on a copy": in_place_on_a_copy},
    hints=HINTS,
    equivalent={
        "4a3e03/forgotten/1": WIDER,
        "4a3e03/forgotten/2": WIDER,
    },
)
