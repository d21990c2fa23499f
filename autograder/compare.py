"""Holds a result against the expected one, and says in plain words what differs.

Types are read with `type()`, never with a method of the object: a result may be any object, and
only a plain tensor of the right kind is looked into. What is said of a hidden case holds nothing
that a function could use to tell its author what it was given: no shape, no count, no name.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autograder.exercise import Exercise, Tolerance

SHOWN = 12
# Names that a message may repeat: a learner's own class may be called anything.
KNOWN_TYPES = (bool, bytes, complex, dict, float, int, list, range, set, str, tuple, np.ndarray)


def problem_with(
    value: Any, expected: Any, exercise: Exercise, *, hidden: bool = False
) -> str | None:
    """What is wrong with `value`, as the rest of a sentence that starts with "it"; None if right.

    Never names a value; with `hidden`, nothing else that depends on one. Numbers of any type do
    for a number, a list does for a tuple.

    >>> from autograder.exercise import find
    >>> problem_with([1.0], torch.tensor([1.0]), find("ties/trim"))
    'returned a list, not a tensor'
    >>> problem_with({"a": 1, "b": (2.0, "x")}, {"a": 1, "b": [2, "y"]}, find("ties/trim"))
    "returned a wrong text, in item 1 of item 'b'"
    """
    if value is None and expected is not None:
        return "returned nothing (None): does it end with `return`?"
    if type(expected) is Tensor:
        return _tensor_problem(value, expected, exercise, hidden)
    if type(expected) in (list, tuple, dict):
        return _container_problem(value, expected, exercise, hidden)
    what = _type_of(value, hidden)
    if type(expected) in (bool, int, float):
        number = _number(value)
        if number is None:
            return (
                f"returned {what}, not {'true or false' if type(expected) is bool else 'a number'}"
            )
        if type(expected) is bool and type(number) is not bool:
            return "returned a number, not true or false"
        if type(number) is bool and type(expected) is not bool:
            return "returned true or false, not a number"
        if math.isnan(number) and not math.isnan(expected):
            return "returned NaN (not a number)"
        near = number == expected or _close_numbers(number, expected, exercise.tolerance)
        return (
            None if near else f"returned a wrong {'answer' if type(number) is bool else 'number'}"
        )
    if type(value) is not type(expected):
        return f"returned {what}, not {_article(type(expected).__name__)}"
    return None if value == expected else "returned a wrong text"


def _container_problem(value: Any, expected: Any, exercise: Exercise, hidden: bool) -> str | None:
    keyed = type(expected) is dict
    if type(value) not in ((dict,) if keyed else (list, tuple)):
        return f"returned {_type_of(value, hidden)}, not {_article(type(expected).__name__)}"
    if keyed and value.keys() != expected.keys():
        return "returned a dict with other keys than expected"
    if len(value) != len(expected):
        if hidden:
            return "returned another number of items than expected"
        return f"returned {len(value)} items where {len(expected)} are expected"
    for key in expected if keyed else range(len(expected)):
        problem = problem_with(value[key], expected[key], exercise, hidden=hidden)
        if problem is not None:
            if hidden:
                return problem
            joint = " of" if ", in item" in problem else ", in"
            return f"{problem}{joint} item {key!r}"
    return None


def _number(value: Any) -> bool | int | float | None:
    """A number of Python's, NumPy's or a tensor's without dimensions, as Python's; else None."""
    if type(value) in (bool, int, float):
        return value
    if issubclass(type(value), np.generic) or (
        type(value) is Tensor and value.dim() == 0 and _plain(value)
    ):
        value = value.item()
        return value if type(value) in (bool, int, float) else None
    return None


def _close_numbers(a: float, b: float, tolerance: Tolerance) -> bool:
    relative = tolerance.relative.get("float32", 0.0)
    return math.isfinite(b) and abs(a - b) <= tolerance.absolute + relative * abs(b)


def _tensor_problem(value: Any, expected: Tensor, exercise: Exercise, hidden: bool) -> str | None:
    what = type(value)
    if what is not Tensor:
        if what is torch.nn.Parameter:
            return "returned a Parameter: return a plain tensor, for example with `.detach()`"
        return f"returned {_type_of(value, hidden)}, not a tensor"
    if not _plain(value):
        return f"returned a tensor of another layout or device ({value.layout}, {value.device})"
    if value.shape != expected.shape:
        if hidden:
            return "returned a tensor of another shape than expected"
        return f"returned shape {tuple(value.shape)} where {tuple(expected.shape)} is expected"
    if value.dtype == torch.bool != expected.dtype:
        return "returned true/false values (a mask), not numbers"
    if value.is_complex():
        return "returned complex numbers"
    if not exercise.any_dtype and value.dtype != expected.dtype:
        return f"returned {_name(value.dtype)} where {_name(expected.dtype)} is expected"
    got = value.detach().to(torch.float64)
    want = expected.to(torch.float64)
    if torch.isnan(got).any():
        return "returned NaN (not a number, often from 0 / 0) in some entries"
    if torch.isinf(got).any() and not torch.isinf(want).any():
        return "returned an infinite value in some entries"
    if not close(got, want, _name(expected.dtype), exercise.tolerance):
        if hidden:
            return "returned wrong values"
        wrong = int((~_near(got, want, _name(expected.dtype), exercise.tolerance)).sum())
        return f"returned wrong values in {wrong} of {want.numel()} entries"
    return None


def close(got: Tensor, want: Tensor, dtype: str, tolerance: Tolerance) -> bool:
    """Whether two fp64 tensors of one shape agree within the tolerance for `dtype`."""
    return bool(_near(got, want, dtype, tolerance).all())


def same_result(a: Any, b: Any, tolerance: Tolerance) -> bool:
    """Whether two results, right or wrong, are the same: type, shape and values.

    >>> same_result(torch.tensor([1.0]), torch.tensor([1.0]), Tolerance())
    True
    >>> same_result(None, torch.tensor([1.0]), Tolerance())
    False
    """
    if type(a) in (list, tuple) and type(b) in (list, tuple):
        return len(a) == len(b) and all(
            same_result(x, y, tolerance) for x, y in zip(a, b, strict=True)
        )
    if type(a) is dict and type(b) is dict:
        return a.keys() == b.keys() and all(same_result(a[key], b[key], tolerance) for key in a)
    if type(a) is not Tensor or type(b) is not Tensor:
        first, second = _number(a), _number(b)
        if first is not None and second is not None:
            return _same_numbers(first, second, tolerance)
        return type(a) is type(b) and type(a) in (str, type(None)) and a == b
    if a.shape != b.shape or (a.dtype == torch.bool) != (b.dtype == torch.bool):
        return False
    if not _plain(a) or a.is_complex():
        return False
    got, want = (x.detach().to(torch.float64) for x in (a, b))
    if not torch.equal(torch.isnan(got), torch.isnan(want)):
        return False
    got, want = (torch.nan_to_num(x, nan=0.0) for x in (got, want))
    return close(got, want, _name(b.dtype), tolerance)


def _same_numbers(a: float, b: float, tolerance: Tolerance) -> bool:
    if type(a) is bool or type(b) is bool:
        return type(a) is type(b) and a == b
    return a == b or (a != a and b != b) or _close_numbers(a, b, tolerance)


def _plain(value: Tensor) -> bool:
    return value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized


def _near(got: Tensor, want: Tensor, dtype: str, tolerance: Tolerance) -> Tensor:
    relative = tolerance.relative.get(dtype, 0.0)
    difference = (got - want).abs()
    # The difference of two equal infinities is NaN; equal values are near whatever they are.
    near = difference <= tolerance.absolute + relative * want.abs()
    return (got == want) | (near & want.isfinite())  # no finite number is near infinity


def shown(value: Any) -> str:
    """A value as a short text for people: few digits, few entries.

    >>> shown(torch.tensor([[0.1, -0.0], [1 / 3, 2.0]]))
    '[[0.1, 0], [0.3333, 2]]'
    >>> shown([torch.zeros(100)])
    '[tensor of shape (100,)]'
    """
    if type(value) is Tensor:
        if not _plain(value):
            return f"tensor of layout {value.layout} on {value.device}"
        if value.numel() > SHOWN or value.dim() > 2:
            return f"tensor of shape {tuple(value.shape)}"
        if value.dtype == torch.bool or value.is_complex():
            return str(value.tolist())
        return _numbers(value.detach().to(torch.float64).tolist())
    if type(value) in (list, tuple):
        return "[" + ", ".join(shown(item) for item in value) + "]"
    if type(value) is dict:
        return "{" + ", ".join(f"{shown(k)}: {shown(v)}" for k, v in value.items()) + "}"
    if type(value) in (int, float, bool, str, type(None)):
        return f"{value:.4g}" if type(value) is float else repr(value)
    return f"an object of type {type(value).__name__}"


def _numbers(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_numbers(item) for item in value) + "]"
    if math.isnan(value) or math.isinf(value):
        return str(value)
    return f"{value + 0.0:.4g}"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _type_of(value: Any, hidden: bool) -> str:
    if hidden and type(value) not in KNOWN_TYPES:
        return "an object of another type"
    return _article(type(value).__name__)


def _article(name: str) -> str:
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
