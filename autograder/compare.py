"""Holds a result against the expected tensor, and says in plain words what differs.

Types are read with `type()`, never with a method of the object: a result may be any object, and
only a plain tensor of the right kind is looked into.
"""

import math
from typing import Any

import torch
from torch import Tensor

from autograder.exercise import Exercise, Tolerance

SHOWN = 12


def problem_with(value: Any, expected: Tensor, exercise: Exercise) -> str | None:
    """What is wrong with `value`, as the rest of a sentence that starts with "it"; None if right.

    >>> from autograder.exercise import find
    >>> problem_with([1.0], torch.tensor([1.0]), find("ties/trim"))
    'returned a list, not a tensor'
    """
    what = type(value)
    if value is None:
        return "returned nothing (None): does it end with `return`?"
    if what is not Tensor:
        if what is torch.nn.Parameter:
            return "returned a Parameter: return a plain tensor, for example with `.detach()`"
        return f"returned {_article(what.__name__)}, not a tensor"
    if not _plain(value):
        return f"returned a tensor of another layout or device ({value.layout}, {value.device})"
    if value.shape != expected.shape:
        return f"returned shape {tuple(value.shape)} where {tuple(expected.shape)} is expected"
    if value.dtype == torch.bool:
        return "returned true/false values (a mask), not numbers"
    if value.is_complex():
        return "returned complex numbers"
    if not exercise.any_dtype and value.dtype != expected.dtype:
        return f"returned {_name(value.dtype)} where {_name(expected.dtype)} is expected"
    got = value.detach().to(torch.float64)
    want = expected.to(torch.float64)
    if torch.isnan(got).any():
        return "returned NaN (not a number) in some entries"
    if torch.isinf(got).any() and not torch.isinf(want).any():
        return "returned an infinite value in some entries"
    if not close(got, want, _name(expected.dtype), exercise.tolerance):
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
    if type(a) is not Tensor or type(b) is not Tensor:
        return type(a) is type(b) and a is None
    if a.shape != b.shape or (a.dtype == torch.bool) != (b.dtype == torch.bool):
        return False
    if not _plain(a) or a.is_complex():
        return False
    got, want = (x.detach().to(torch.float64) for x in (a, b))
    if not torch.equal(torch.isnan(got), torch.isnan(want)):
        return False
    got, want = (torch.nan_to_num(x, nan=0.0) for x in (got, want))
    return close(got, want, _name(b.dtype), tolerance)


def _plain(value: Tensor) -> bool:
    return value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized


def _near(got: Tensor, want: Tensor, dtype: str, tolerance: Tolerance) -> Tensor:
    relative = tolerance.relative.get(dtype, 0.0)
    difference = (got - want).abs()
    # The difference of two equal infinities is NaN; equal values are near whatever they are.
    return (got == want) | (difference <= tolerance.absolute + relative * want.abs())


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


def _article(name: str) -> str:
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
