"""How a merge method declares itself: its functions and its parameters, once, beside the code.

Recipe validation, the command line's help and the documentation all read these records, so a
default, a range or a source is written in one place only.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Parameter:
    """One parameter of a method: its name in Python, its key in a recipe, what it may be.

    `low` and `high` are inclusive. `choices` lists the words or values allowed; a parameter
    with neither choices nor a range is a number of any size, or a flag if its default is a bool.
    `per_source` parameters take one value for each model, `whole` ones no fraction.

    >>> density = Parameter("density", 1.0, "fraction kept", low=0.0, high=1.0, per_source=True)
    >>> density.problem(0.5) is None
    True
    >>> density.problem(1.2)
    'must lie between 0 and 1, got 1.2'
    """

    name: str
    default: Any
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str | bool, ...] = ()
    per_source: bool = False
    whole: bool = False
    key: str = ""
    source: str = ""

    @property
    def recipe_key(self) -> str:
        """The key a recipe uses: `lambda` cannot be a Python name, so `lam` is written for it."""
        return self.key or self.name

    def problem(self, value: Any) -> str | None:
        """What is wrong with `value`, or None if it is allowed."""
        if self.choices:
            allowed = ", ".join(str(c).lower() for c in self.choices)
            found = any(
                value == c and type(value) is type(c) for c in self.choices
            )  # 1 is not true
            return None if found else f"must be one of {allowed}, got {value!r}"
        if isinstance(self.default, bool):
            return None if isinstance(value, bool) else f"must be true or false, got {value!r}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"must be a number, got {value!r}"
        if not abs(value) <= sys.float_info.max:  # NaN, infinity, a whole number beyond floats
            return f"must be a finite number, got {value!r}"
        if self.whole and value != int(value):
            return f"must be a whole number, got {value:g}"
        low = float("-inf") if self.low is None else self.low
        high = float("inf") if self.high is None else self.high
        if low <= value <= high:
            return None
        if self.high is None:
            return f"must be at least {self.low:g}, got {value:g}"
        if self.low is None:
            return f"must be at most {self.high:g}, got {value:g}"
        return f"must lie between {self.low:g} and {self.high:g}, got {value:g}"


Prepare = Callable[..., Tensor]
Combine = Callable[..., Any]  # a tensor, or `Factors` from a method that is `factored`


@dataclass(frozen=True)
class Method:
    """A merge method: prepare each task vector by itself, then combine what is left.

    `function` is the whole method as the papers write it. `prepare(delta, **settings)` and
    `combine(deltas, **settings)` are its two halves; whoever wants to count what happened in
    between (the report) calls them one after the other. `resolves_conflicts` says whether
    `combine` elects a sign where sources disagree.

    What lets a tensor be merged in parts: `by_entry` says that `combine` looks at one entry at a
    time; `row_flag` names the setting under which it looks at one row at a time;
    `coefficients(gram, **settings)` gives the factors with which the result is a combination of
    the inputs; `factored` says that `combine` works on the factors of task vectors
    (`mergelab.methods.factors.Factors`) and may return factors. A method with none of them is
    given whole tensors.
    """

    name: str
    function: Callable[..., Any]
    summary: str
    paper: str
    combine: Combine
    prepare: Prepare | None = None
    coefficients: Callable[..., Sequence[float]] | None = None
    by_entry: bool = False
    row_flag: str = ""
    parameters: tuple[Parameter, ...] = field(default=())
    min_sources: int = 1
    max_sources: int | None = None
    ordered: bool = False
    needs_base: bool = True
    resolves_conflicts: bool = False
    random: bool = False
    factored: bool = False

    def parameter(self, recipe_key: str) -> Parameter | None:
        """The parameter that a recipe calls `recipe_key`, or None."""
        return next((p for p in self.parameters if p.recipe_key == recipe_key), None)


WEIGHT = Parameter(
    "weight",
    1.0,
    "how much this model counts",
    per_source=True,
    source="Ilharco et al. 2023 (arXiv 2212.04089)",
)
DENSITY = Parameter(
    "density",
    1.0,
    "fraction of each task vector's entries that is kept",
    low=0.0,
    high=1.0,
    per_source=True,
    source="Yadav et al. 2023 (arXiv 2306.01708): the top-k% kept by trim",
)
LAMBDA = Parameter(
    "lam",
    1.0,
    "overall scale of the merged task vector",
    key="lambda",
    source="Ilharco et al. 2023 (arXiv 2212.04089), equation for the merged model",
)


def as_deltas(deltas: Sequence[Tensor] | Tensor) -> list[Tensor]:
    """The task vectors as a list in computing precision (fp32, or fp64 if one is fp64).

    Takes a sequence of same-shaped tensors or one stacked tensor `[N, ...]`. Raises `ValueError`
    if there are none or their shapes differ.

    >>> [d.dtype for d in as_deltas(torch.zeros(2, 3, dtype=torch.bfloat16))]
    [torch.float32, torch.float32]
    """
    tensors = list(deltas)
    if not tensors:
        raise ValueError("no task vectors were given; a merge needs at least one")
    shapes = {tuple(t.shape) for t in tensors}
    if len(shapes) > 1:
        raise ValueError(f"task vectors must share one shape, got {sorted(shapes)}")
    return [computing(t) for t in tensors]


def computing(tensor: Tensor) -> Tensor:
    """`tensor` in the precision that merges compute in: fp64 stays, anything else becomes fp32."""
    return tensor if tensor.dtype.itemsize == 8 and tensor.is_floating_point() else tensor.float()


def common_dtype(deltas: Sequence[Tensor] | Tensor) -> torch.dtype:
    """The dtype that a result is rounded to, once: the widest among the inputs."""
    dtypes = [t.dtype for t in deltas]
    result = dtypes[0]
    for dtype in dtypes[1:]:
        result = torch.promote_types(result, dtype)
    return result


def per_source(value: float | Sequence[float] | None, count: int, default: float) -> list[float]:
    """One number per source: a scalar is repeated, None becomes the default.

    >>> per_source(0.5, 2, 1.0), per_source(None, 2, 1.0), per_source([0.1, 0.9], 2, 1.0)
    ([0.5, 0.5], [1.0, 1.0], [0.1, 0.9])
    """
    if value is None:
        return [default] * count
    if isinstance(value, int | float):
        return [float(value)] * count
    values = [float(v) for v in value]
    if len(values) != count:
        raise ValueError(f"expected one value for each of {count} task vectors, got {len(values)}")
    return values
