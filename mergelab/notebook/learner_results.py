"""What a learner's function returns in a demonstration, made sure to be a number or a tensor."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from torch import Tensor

from mergelab.notebook.learner import attempt


def attempt_number(function: Callable[..., Any], *args: Any, **kwargs: Any) -> float | None:
    """The number that a learner's function returns, or None with a sentence shown as in `attempt`.

    >>> attempt_number(lambda x: 2 * x, 1.5)
    3.0
    """

    @wraps(function)
    def number(*args: Any, **kwargs: Any) -> float | None:
        found = function(*args, **kwargs)
        return None if found is None else float(found)

    return attempt(number, *args, **kwargs)


def attempt_like(
    like: Tensor, function: Callable[..., Any], *args: Any, **kwargs: Any
) -> Tensor | None:
    """The tensor, of the shape of `like`, that a learner's function returns; None as in `attempt`.

    >>> import torch
    >>> attempt_like(torch.ones(2), lambda x: x / 2, torch.ones(2))
    tensor([0.5000, 0.5000])
    """

    @wraps(function)
    def tensor(*args: Any, **kwargs: Any) -> Tensor | None:
        found = function(*args, **kwargs)
        if found is not None and (not isinstance(found, Tensor) or found.shape != like.shape):
            raise TypeError("not a tensor of the shape that is wanted")
        return found

    return attempt(tensor, *args, **kwargs)
