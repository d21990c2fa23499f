"""Exercise `misfits`: the tensors that keep two models from being merged."""

import torch
from torch import Tensor

from autograder.cases import Draw
from autograder.exercise import EXACT, Case, Exercise, Misconception, Points

State = dict[str, Tensor]

CONTRACT = """
Write `misfits(base, model)`: the names of the tensors because of which two models cannot be added.

- Both are models as dicts: the name of each tensor, and its values.
- A name is a misfit if only one of the two models has it, or if both have it with different shapes.
  `[2, 3]` and `[3, 2]` are different shapes, although they hold the same number of entries.
- Values and dtypes do not matter: tensors of one shape in float32, float16 or bfloat16 do fit.
- Return the misfits as a list of names in alphabetical order, each once; an empty list if
  everything fits. Do not change the two models.
"""

HINTS = (
    "A set of all names helps: `base.keys() | model.keys()`. Which question do you ask about each?",
    "`name not in base or name not in model or base[name].shape != model[name].shape`, in a loop "
    "over `sorted(...)` of all names.",
)


def misfits(base: State, model: State) -> list[str]:
    """Names that only one of two models has, or that have two shapes, sorted.

    >>> misfits({"a": torch.ones(2), "b": torch.ones(3)}, {"a": torch.ones(2), "b": torch.ones(4)})
    ['b']
    """
    return [
        name
        for name in sorted(base.keys() | model.keys())
        if name not in base or name not in model or base[name].shape != model[name].shape
    ]


# Wrong implementations ---------------------------------------------------------------------------


def what_fits(base: State, model: State) -> list[str]:
    wrong = misfits(base, model)
    return [name for name in sorted(base.keys() | model.keys()) if name not in wrong]


def shapes_only(base: State, model: State) -> list[str]:
    return [name for name in misfits(base, model) if name in base and name in model]


def names_only(base: State, model: State) -> list[str]:
    return sorted(base.keys() ^ model.keys())


def from_the_base_only(base: State, model: State) -> list[str]:
    return [name for name in misfits(base, model) if name in base]


def counts_entries(base: State, model: State) -> list[str]:
    return [
        name
        for name in misfits(base, model)
        if name not in base or name not in model or base[name].numel() != model[name].numel()
    ]


def compares_values(base: State, model: State) -> list[str]:
    return [
        name
        for name in sorted(base.keys() | model.keys())
        if name not in base or name not in model or not torch.equal(base[name], model[name])
    ]


def compares_dtypes(base: State, model: State) -> list[str]:
    wrong = misfits(base, model)
    for name in base.keys() & model.keys():
        if base[name].dtype != model[name].dtype and name not in wrong:
            wrong.append(name)
    return sorted(wrong)


def as_listed(base: State, model: State) -> list[str]:
    wrong = misfits(base, model)
    return [name for name in {**base, **model} if name in wrong]


def yes_or_no(base: State, model: State) -> bool:
    return bool(misfits(base, model))


def takes_them_out(base: State, model: State) -> list[str]:
    wrong = misfits(base, model)
    for name in wrong:
        base.pop(name, None)
    return wrong


WRONG = (
    Misconception(
        "what fits",
        what_fits,
        "You listed the tensors that do fit: asked for are those that do not.",
    ),
    Misconception(
        "shapes only",
        shapes_only,
        "You compared only tensors that both models have: a tensor that one of them lacks is a "
        "misfit, too.",
    ),
    Misconception(
        "names only",
        names_only,
        "You compared the names only: tensors of one name can have different shapes.",
    ),
    Misconception(
        "from the base only",
        from_the_base_only,
        "You went through the names of `base` only: a tensor that only `model` has is a misfit, "
        "too.",
    ),
    Misconception(
        "counts entries",
        counts_entries,
        "You compared how many entries there are: [2, 3] and [3, 2] are different shapes.",
        (0.6, 0.9),
    ),
    Misconception(
        "compares values",
        compares_values,
        "You compared the values: fine-tuned models differ there, that is what one wants to merge. "
        "Compare the shapes.",
    ),
    Misconception(
        "compares dtypes",
        compares_dtypes,
        "You compared the dtypes as well: values of another precision can be converted, so they "
        "fit.",
        (0.6, 0.9),
    ),
    Misconception(
        "as listed",
        as_listed,
        "The right names, in the order of the models: return them sorted by the alphabet.",
        (0.6, 0.9),
    ),
    Misconception(
        "yes or no",
        yes_or_no,
        "You returned only whether something does not fit: return the list of names.",
    ),
    Misconception(
        "takes them out",
        takes_them_out,
        "You took names out of `base`: the caller still needs it whole, so only look.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_loop(base: State, model: State) -> list[str]:
    found = []
    for name in base:
        if name not in model or tuple(base[name].shape) != tuple(model[name].shape):
            found.append(name)
    for name in model:
        if name not in base:
            found.append(name)
    found.sort()
    return found


def by_shapes_as_sets(base: State, model: State) -> list[str]:
    first, second = ({(n, tuple(t.shape)) for n, t in m.items()} for m in (base, model))
    return sorted({name for name, _ in first ^ second})


def ones(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.ones(shape, dtype=dtype)


VISIBLE = (
    Case(
        "a tensor of another shape",
        (
            {"embed": ones(5, 2), "norm": ones(2)},
            {"embed": ones(6, 2), "norm": torch.zeros(2)},
        ),
        core=True,
    ),
    Case(
        "a tensor that one of them lacks",
        ({"head": ones(3), "norm": ones(2)}, {"norm": ones(2)}),
        core=True,
    ),
    Case(
        "a tensor that one of them lacks",
        ({"norm": ones(2)}, {"extra": ones(1), "norm": ones(2)}),
        core=True,
    ),
    Case("models that fit", ({"w": ones(2, 3)}, {"w": torch.zeros(2, 3)}), core=True),
    Case("a transposed matrix", ({"w": ones(2, 3)}, {"w": ones(3, 2)})),
    Case(
        "another dtype",
        ({"a": ones(2), "b": ones(1)}, {"a": ones(2, dtype=torch.bfloat16), "b": ones(3)}),
    ),
    Case(
        "several misfits",
        ({"z": ones(2), "m": ones(1), "a": ones(2)}, {"z": ones(3), "m": ones(1), "a": ones(4)}),
    ),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"start/misfits/{seed}")
    names = draw.random.sample([f"layer.{n}.w" for n in range(9)] + ["embed", "norm", "head"], 6)
    wide = draw.random.randint(3, 6)

    def model(dtype: torch.dtype = torch.float32, **shapes: tuple[int, ...]) -> State:
        sizes = {name: (2, wide) for name in names} | shapes
        return {name: draw.grid(*size, dtype=dtype) for name, size in sizes.items()}

    def without(state: State, *gone: str) -> State:
        return {name: values for name, values in state.items() if name not in gone}

    mixed = {**model(**{names[3]: (1,), names[1]: (4, 4)}), "zz": ones(1)}
    return [
        Case("a tensor of another shape", (model(), model(**{names[2]: (3, wide)})), core=True),
        Case("a tensor of another shape", (model(**{names[4]: (2,)}), model()), core=True),
        Case("a tensor that one of them lacks", (model(), without(model(), names[1])), core=True),
        Case("a tensor that one of them lacks", (without(model(), names[5]), model()), core=True),
        Case("models that fit", (model(), model()), core=True),
        Case(
            "a transposed matrix",
            (model(**{names[0]: (2, 5)}), model(**{names[0]: (5, 2)})),
        ),
        Case(
            "another dtype",
            (model(), model(torch.float16, **{names[3]: (7,)})),
        ),
        Case("another dtype", (model(), model(torch.bfloat16))),
        Case("several misfits", (without(model(), names[0], names[2]), mixed)),
        # All seven: an order that is right by chance is then very unlikely.
        Case("several misfits", (model(), mixed | {name: ones(9) for name in names})),
        Case("several misfits", (mixed, without(model(), names[5]))),
        Case("a model without tensors", (model(), {})),
    ]


MISFITS = Exercise(
    id="start/misfits",
    lesson="00_start_here",
    title="what does not fit",
    signature="misfits(base, model)",
    contract=CONTRACT,
    example='`misfits({"embed": torch.ones(5, 2), "norm": torch.ones(2)}, {"embed": '
    'torch.ones(6, 2)})` returns `["embed", "norm"]`: one has another shape, the other is missing.',
    reference=misfits,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 2),
    minutes=5,
    difficulty=1,
    misconceptions=WRONG,
    alternatives={"by loop": by_loop, "by shapes as sets": by_shapes_as_sets},
    hints=HINTS,
    tolerance=EXACT,
)
