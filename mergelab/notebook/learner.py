"""Calling the learner's own functions in a demonstration, without falling over them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from mergelab.notebook.predictions import Note
from mergelab.notebook.weights import Changes


def attempt(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The result of a learner's function, or None with a sentence shown if it is not done yet.

    >>> def trim(delta, density):
    ...     raise NotImplementedError()
    >>> attempt(trim, [0.5], 1.0)
    Your trim is still empty. Write it in the exercise above, then run this cell again; what follows
    does not depend on it.
    """
    name = getattr(function, "__name__", "function")
    try:
        result = function(*args, **kwargs)
    except NotImplementedError as error:
        # A function of the learner's that this one calls may be the empty one.
        _say(f"Your {_raised_in(error) or name} is still empty. Write it in the exercise above")
        return None
    except Exception as error:
        _say(
            f"Your {name} stops with {type(error).__name__} here. Look at its check above, "
            "repair it"
        )
        return None
    if result is None:
        _say(f"Your {name} returns nothing. Add a return, run its check")
    return result


def merge_with(function: Callable[..., Any], found: Changes, **settings: Any) -> Any:
    """Every weight merged by a learner's function: base plus what it makes of the task vectors.

    Returns the weights by tensor name, or None with a sentence shown if the function is not done.

    >>> import torch
    >>> found = Changes(("a", "b"), {"w": torch.ones(2)}, {"w": [torch.ones(2), torch.ones(2)]})
    >>> merge_with(lambda deltas, lam: lam * sum(deltas), found, lam=0.5)
    {'w': tensor([2., 2.])}
    """
    weights = {}
    for name, deltas in found.deltas.items():
        merged = attempt(function, deltas, **settings)
        if merged is None:
            return None
        if not isinstance(merged, Tensor) or merged.shape != deltas[0].shape:
            _say(
                f"Your {function.__name__} does not return a tensor of the deltas' shape. Repair it"
            )
            return None
        weights[name] = found.base[name] + merged
    return weights


def _raised_in(error: BaseException) -> str | None:
    trace, name = error.__traceback__, None
    while trace is not None:
        name, trace = trace.tb_frame.f_code.co_name, trace.tb_next
    return name


def _say(text: str) -> None:
    from IPython import get_ipython

    note = Note(f"{text}, then run this cell again; what follows does not depend on it.")
    if get_ipython() is None:
        print(note)
        return
    from IPython.display import display

    display(note)
