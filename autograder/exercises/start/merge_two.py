"""Exercise `merge_two`: base plus what two fine-tuned models changed in it."""

import torch
from torch import Tensor

from autograder.cases import Draw
from autograder.equivalence import WIDER
from autograder.exercise import Case, Exercise, Misconception, Points

State = dict[str, Tensor]

CONTRACT = """
Write `merge_two(base, first, second, scale=0.5)`: one model out of a base and two models that were
fine-tuned from it.

- All three are models as dicts: the name of each tensor, and its values. They have the same names,
  shapes and dtypes (float32, float16 or bfloat16).
- What a model *changed* is its values minus those of the base. The result is the base plus `scale`
  times the sum of what `first` and what `second` changed. With `scale` .5 this is the plain average
  of the two models; with `scale` 1 both changes count in full.
- `scale` is any number, also 0 or negative.
- Return a new dict with the names of `base`, each tensor in its dtype. Compute in float32, and
  round once, at the end. Do not change the three models.
"""

HINTS = (
    "For one tensor you need two task vectors: `first[name] - base[name]`, and the same for "
    "`second`. What do you do with their sum?",
    "Make the summed task vector as a dict, then the rest is what `add_task_vector` does. Or for "
    "one tensor: `b + scale * ((f - b) + (s - b))`, all three turned to float32 first.",
)


def merge_two(base: State, first: State, second: State, scale: float = 0.5) -> State:
    """The base plus `scale` times the sum of two task vectors.

    >>> models = ({"w": torch.tensor([value])} for value in (1.0, 1.5, 3.0))
    >>> merge_two(*models, scale=1.0)
    {'w': tensor([3.5000])}
    """
    merged = {}
    for name, values in base.items():
        b, f, s = (model[name].float() for model in (base, first, second))
        merged[name] = (b + scale * ((f - b) + (s - b))).to(values.dtype)
    return merged


def _each(base: State, first: State, second: State, rule) -> State:
    """`rule` on the three values of each tensor, in fp32; for the wrong versions below."""
    return {
        name: rule(*(model[name].float() for model in (base, first, second))).to(values.dtype)
        for name, values in base.items()
    }


# Wrong implementations ---------------------------------------------------------------------------


def adds_whole_models(base: State, first: State, second: State, scale: float = 0.5) -> State:
    return _each(base, first, second, lambda b, f, s: b + scale * (f + s))


def leaves_the_base_out(base: State, first: State, second: State, scale: float = 0.5) -> State:
    return _each(base, first, second, lambda b, f, s: scale * (f + s))


def always_the_average(base: State, first: State, second: State, scale: float = 0.5) -> State:
    return _each(base, first, second, lambda b, f, s: (f + s) / 2)


def average_of_three(base: State, first: State, second: State, scale: float = 0.5) -> State:
    return _each(base, first, second, lambda b, f, s: (b + f + s) / 3)


def halves_twice(base: State, first: State, second: State, scale: float = 0.5) -> State:
    return merge_two(base, first, second, scale / 2)


def scales_one_only(base: State, first: State, second: State, scale: float = 0.5) -> State:
    return _each(base, first, second, lambda b, f, s: f + scale * (s - b))


def subtracts_the_second(base: State, first: State, second: State, scale: float = 0.5) -> State:
    return _each(base, first, second, lambda b, f, s: b + scale * (f - s))


def returns_the_change(base: State, first: State, second: State, scale: float = 0.5) -> State:
    return _each(base, first, second, lambda b, f, s: scale * ((f - b) + (s - b)))


def in_place(base: State, first: State, second: State, scale: float = 0.5) -> State:
    for name, values in merge_two(base, first, second, scale).items():
        base[name].copy_(values)
    return base


WRONG = (
    Misconception(
        "adds whole models",
        adds_whole_models,
        "You added the two models whole: take the base away from each first, so that only its "
        "change is added.",
    ),
    Misconception(
        "leaves the base out",
        leaves_the_base_out,
        "`scale * (first + second)` is right only where scale is .5: scale the two changes, and "
        "add them to the base.",
    ),
    Misconception(
        "always the average",
        always_the_average,
        "You return the average of the two models whatever `scale` is: at scale 1 both changes "
        "count in full.",
    ),
    Misconception(
        "average of three",
        average_of_three,
        "You averaged the base in as a third model: it is what the changes are added to.",
    ),
    Misconception(
        "halves twice",
        halves_twice,
        "Your merge moves half as far as it should: scale the sum of the two changes, not their "
        "mean.",
    ),
    Misconception(
        "scales one only",
        scales_one_only,
        "You scaled the change of the second model only: `scale` applies to both.",
    ),
    Misconception(
        "subtracts the second",
        subtracts_the_second,
        "You took the second model away from the first: both changes are added.",
    ),
    Misconception(
        "returns the change",
        returns_the_change,
        "You returned the merged change alone: add it to the base.",
    ),
    Misconception(
        "in place",
        in_place,
        "You wrote into the tensors of `base`: the caller still needs the base, so make new ones.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_two_steps(base: State, first: State, second: State, scale: float = 0.5) -> State:
    merged = {name: values.float() for name, values in base.items()}
    for model in (first, second):
        for name, values in base.items():
            merged[name] = merged[name] + scale * (model[name].float() - values.float())
    return {name: merged[name].to(base[name].dtype) for name in base}


def as_a_weighted_sum(base: State, first: State, second: State, scale: float = 0.5) -> State:
    return _each(base, first, second, lambda b, f, s: (1 - 2 * scale) * b + scale * f + scale * s)


def vector(*values: float) -> Tensor:
    return torch.tensor(values)


VISIBLE = (
    Case(
        "changes counted in full",
        ({"w": vector(1.0, 2.0)}, {"w": vector(1.5, 2.0)}, {"w": vector(1.0, 1.0)}, 1.0),
        core=True,
    ),
    Case(
        "changes counted in part",
        ({"w": vector(1.0, 2.0)}, {"w": vector(1.5, 3.0)}, {"w": vector(2.0, -2.0)}, 0.25),
        core=True,
    ),
    Case(
        "no scale given",
        ({"w": vector(1.0, 2.0)}, {"w": vector(1.5, 2.0)}, {"w": vector(2.0, 1.0)}),
        weight=2,
    ),
    Case(
        "several tensors",
        (
            {"a": torch.eye(2), "b": vector(1.0, 1.0)},
            {"a": torch.eye(2) * 2, "b": vector(1.0, 2.0)},
            {"a": torch.zeros(2, 2), "b": vector(0.0, 1.0)},
            0.75,
        ),
    ),
    Case(
        "a negative scale",
        ({"w": vector(1.0, 2.0)}, {"w": vector(1.5, 2.0)}, {"w": vector(1.0, 1.0)}, -0.5),
    ),
    Case(
        "half precision",
        (*({"w": vector(*v).half()} for v in ((1.0, 2.0), (1.5, 2.0), (2.0, 1.0))), 0.5),
    ),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"start/merge_two/{seed}")
    scale = draw.random.choice((0.25, 0.75, 1.5))

    def models(*shape: int, names: str = "w", dtype: torch.dtype = torch.float32) -> tuple:
        return tuple({n: draw.distinct(*shape, dtype=dtype) for n in names} for _ in range(3))

    same = {"w": draw.distinct(6)}
    return [
        Case("changes counted in full", (*models(12), 1.0), core=True),
        Case("changes counted in full", (*models(3, 4), 1.0), core=True),
        Case("changes counted in part", (*models(10), scale), core=True),
        Case("no scale given", models(9), weight=2),
        Case("several tensors", (*models(2, 5, names="abc"), scale)),
        Case("several tensors", (*models(2, 3, 2, names="xy"), 1.0)),
        Case("a negative scale", (*models(7), -scale)),
        Case("a scale of 0", (*models(7), 0.0)),
        Case("a model that changed nothing", (same, {"w": same["w"].clone()}, *models(6)[:1], 1.0)),
        Case("half precision", (*models(8, dtype=torch.float16), 0.5)),
        Case("half precision", (*models(8, dtype=torch.bfloat16), 0.5)),
    ]


MERGE_TWO = Exercise(
    id="start/merge_two",
    lesson="00_start_here",
    title="merge two models",
    signature="merge_two(base, first, second, scale=0.5)",
    contract=CONTRACT,
    example='With `base = {"w": tensor([1., 2.])}`, `first = {"w": tensor([1.5, 2.])}` and '
    '`second = {"w": tensor([1., 1.])}`, the changes are +.5, 0 and 0, −1. '
    '`merge_two(base, first, second, 1.0)` returns `{"w": tensor([1.5000, 1.0000])}`.',
    reference=merge_two,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 3),
    minutes=6,
    difficulty=1,
    misconceptions=WRONG,
    alternatives={"by two steps": by_two_steps, "as a weighted sum": as_a_weighted_sum},
    hints=HINTS,
    equivalent={
        "bd36be/forgotten/1": WIDER,
        "f77206/forgotten/1": WIDER,
        "f77206/forgotten/2": WIDER,
    },
)
