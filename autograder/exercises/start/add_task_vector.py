"""Exercise `add_task_vector`: base plus a scaled change, tensor by tensor."""

import torch
from torch import Tensor

from autograder.cases import Draw
from autograder.equivalence import WIDER
from autograder.exercise import Case, Exercise, Misconception, Points

State = dict[str, Tensor]

CONTRACT = """
Write `add_task_vector(base, delta, scale=1.0)`: the model that you get when you add `scale` times
a task vector to a base.

- `base` is a model as a dict: the name of each tensor, and its values, of any shape and of dtype
  float32, float16 or bfloat16. `delta` is a task vector as such a dict, always in float32. Its
  names are among those of `base`, and the shapes are the same; it may leave tensors out, or be
  empty.
- For a name in both, the result is `base + scale * delta`. A tensor that `delta` leaves out comes
  into the result with the values it has in `base`: the very tensor of `base` or a copy, both are
  right.
- `scale` is any number, also 0 or negative.
- Return a new dict with all names of `base`, each tensor in the dtype it has in `base`. Compute in
  float32, and round once, at the end. Do not change `base` or `delta`.
"""

HINTS = (
    "Start with an empty dict and go through `base.items()`. What do you put in for a name that is "
    "not in `delta`?",
    "For one tensor: `(values.float() + scale * delta[name]).to(values.dtype)`.",
)


def add_task_vector(base: State, delta: State, scale: float = 1.0) -> State:
    """The base with `scale` times the task vector added, each tensor in the base's dtype.

    >>> add_task_vector({"w": torch.tensor([0.5])}, {"w": torch.tensor([0.25])}, -1.0)
    {'w': tensor([0.2500])}
    """
    return {
        name: (values.float() + scale * delta[name]).to(values.dtype) if name in delta else values
        for name, values in base.items()
    }


# Wrong implementations ---------------------------------------------------------------------------


def subtracts(base: State, delta: State, scale: float = 1.0) -> State:
    return add_task_vector(base, delta, -scale)


def forgets_the_scale(base: State, delta: State, scale: float = 1.0) -> State:
    return add_task_vector(base, delta)


def scales_the_sum(base: State, delta: State, scale: float = 1.0) -> State:
    return {
        name: (scale * values.float()).to(values.dtype) if name in delta else values
        for name, values in add_task_vector(base, delta).items()
    }


def blends(base: State, delta: State, scale: float = 1.0) -> State:
    """Takes the task vector for a whole model and goes from the base to it."""
    change = {name: delta[name] - base[name].float() for name in delta}
    return add_task_vector(base, change, scale)


def returns_the_change(base: State, delta: State, scale: float = 1.0) -> State:
    return {
        name: (scale * delta[name]).to(values.dtype) if name in delta else torch.zeros_like(values)
        for name, values in base.items()
    }


def loses_the_rest(base: State, delta: State, scale: float = 1.0) -> State:
    merged = add_task_vector(base, delta, scale)
    return {name: merged[name] for name in base if name in delta}


def never_negative(base: State, delta: State, scale: float = 1.0) -> State:
    return add_task_vector(base, delta, abs(scale))


def dtype_of_the_delta(base: State, delta: State, scale: float = 1.0) -> State:
    return {
        name: values.float() + scale * delta[name] if name in delta else values
        for name, values in base.items()
    }


def in_place(base: State, delta: State, scale: float = 1.0) -> State:
    for name, values in add_task_vector(base, delta, scale).items():
        base[name].copy_(values)
    return base


WRONG = (
    Misconception(
        "subtracts",
        subtracts,
        "Your change goes the wrong way: a positive scale adds the task vector to the base.",
    ),
    Misconception(
        "forgets the scale",
        forgets_the_scale,
        "You added the task vector whole: multiply it by `scale` first.",
    ),
    Misconception(
        "scales the sum",
        scales_the_sum,
        "You multiplied the base by `scale` as well: only the task vector is scaled.",
    ),
    Misconception(
        "blends",
        blends,
        "You went from the base towards `delta` as if it were a model. It is a change: add it, and "
        "take nothing away from the base.",
    ),
    Misconception(
        "returns the change",
        returns_the_change,
        "You returned the change alone: the result is a whole model, the base plus the change.",
    ),
    Misconception(
        "loses the rest",
        loses_the_rest,
        "Tensors that the task vector leaves out are missing from your result: copy them from the "
        "base as they are.",
        (0.7, 0.9),
    ),
    Misconception(
        "never negative",
        never_negative,
        "A negative scale must take the task vector away, that is how a model forgets: use `scale` "
        "with its sign.",
        (0.7, 0.95),
    ),
    Misconception(
        "dtype of the delta",
        dtype_of_the_delta,
        "Your tensors come back in float32: give each one the dtype it has in the base, with "
        "`.to(values.dtype)`.",
        (0.8, 0.95),
    ),
    Misconception(
        "in place",
        in_place,
        "You wrote into the tensors of `base`: the caller still needs the base, so make new ones.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_copying_first(base: State, delta: State, scale: float = 1.0) -> State:
    merged = {name: values.clone() for name, values in base.items()}
    for name, change in delta.items():
        merged[name] = merged[name].float().add(change, alpha=scale).to(base[name].dtype)
    return merged


def with_zeros(base: State, delta: State, scale: float = 1.0) -> State:
    merged = {}
    for name in sorted(base):
        change = delta.get(name, torch.zeros(base[name].shape))
        merged[name] = torch.add(base[name].float(), scale * change).to(base[name].dtype)
    return merged


def vector(*values: float) -> Tensor:
    return torch.tensor(values)


VISIBLE = (
    Case(
        "a plain task vector",
        ({"w": vector(0.5, 1.0, -2.0)}, {"w": vector(0.25, -0.5, 1.0)}, 0.5),
        core=True,
    ),
    Case(
        "a plain task vector",
        (
            {"a": vector(1.0, 2.0), "b": torch.tensor([[1.0, 0.0], [0.0, 1.0]])},
            {"a": vector(0.5, -0.5), "b": torch.tensor([[0.0, 1.0], [2.0, 0.0]])},
            2.0,
        ),
        core=True,
    ),
    Case(
        "a tensor that the task vector leaves out",
        ({"norm": vector(1.0, 3.0), "w": vector(0.5, 1.0)}, {"w": vector(0.5, 0.5)}, 2.0),
        weight=2,
    ),
    Case("a negative scale", ({"w": vector(0.5, 1.0)}, {"w": vector(0.5, -0.25)}, -1.0), weight=2),
    Case("a scale of 0", ({"w": vector(0.5, 1.0)}, {"w": vector(0.5, -0.25)}, 0.0)),
    Case("no scale given", ({"w": vector(0.5, 1.0)}, {"w": vector(0.5, -0.25)})),
    Case(
        "a base in half precision",
        ({"w": vector(0.5, 1.0).bfloat16()}, {"w": vector(0.5, -0.25)}, 0.5),
    ),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"start/add_task_vector/{seed}")
    scale = draw.random.choice((0.25, 0.75, 1.5))

    def one(*shape: int, dtype: torch.dtype = torch.float32, by: float = scale) -> tuple:
        return ({"w": draw.distinct(*shape, dtype=dtype)}, {"w": draw.distinct(*shape)}, by)

    def partial(by: float) -> tuple:
        base = {name: draw.distinct(3, 4) for name in ("embed", "layer.0", "layer.1", "norm")}
        changed = draw.random.sample(sorted(base), 2)
        return (base, {name: draw.distinct(3, 4) for name in changed}, by)

    base, delta, _ = partial(scale)
    transposed = ({"w": draw.distinct(4, 6).T}, {"w": draw.distinct(6, 4)}, scale)
    return [
        Case("a plain task vector", one(12), core=True),
        Case("a plain task vector", one(3, 5, by=2.0), core=True),
        Case("a tensor that the task vector leaves out", partial(scale), weight=2),
        Case("a tensor that the task vector leaves out", partial(0.5), weight=2),
        Case("an empty task vector", ({"w": draw.distinct(4)}, {}, scale)),
        Case("a negative scale", one(8, by=-scale), weight=2),
        Case("a negative scale", one(2, 3, by=-1.0), weight=2),
        Case("a scale of 0", one(5, by=0.0)),
        Case("no scale given", (base, {name: -values for name, values in delta.items()})),
        Case("a base in half precision", one(10, dtype=torch.bfloat16, by=0.5)),
        Case("a base in half precision", one(10, dtype=torch.float16, by=0.5)),
        Case("three dimensions, a transposed matrix, one entry or none", one(2, 3, 4)),
        Case("three dimensions, a transposed matrix, one entry or none", transposed),
        Case("three dimensions, a transposed matrix, one entry or none", one(1)),
        Case("three dimensions, a transposed matrix, one entry or none", one(0)),
    ]


ADD_TASK_VECTOR = Exercise(
    id="start/add_task_vector",
    lesson="00_start_here",
    title="add a task vector to a model",
    signature="add_task_vector(base, delta, scale=1.0)",
    contract=CONTRACT,
    example='`add_task_vector({"w": torch.tensor([0.5, 1.0])}, {"w": torch.tensor([0.5, -0.25])}, '
    '-1.0)` takes the change away and returns `{"w": tensor([0.0000, 1.2500])}`.',
    reference=add_task_vector,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 2),
    minutes=5,
    difficulty=1,
    misconceptions=WRONG,
    alternatives={"by copying first": by_copying_first, "with zeros": with_zeros},
    hints=HINTS,
    equivalent={
        "b12b87/forgotten/2": WIDER,
    },
)
