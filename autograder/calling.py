"""Calls a learner's function once and reports what happened, whatever happened.

A function of this process runs on copies of the inputs; one that lives in another process, an
`Elsewhere`, is asked there. The sandbox uses this file, too, without the rest of the package.
"""

from __future__ import annotations

import contextlib
import io
import linecache
import signal
import sysconfig
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from autograder.exercise import Case, Function

SECONDS_PER_CALL = 10.0
LIBRARY = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))
LIBRARY += (str(Path(torch.__file__).parents[1]),)


@dataclass
class Failure:
    """An exception inside the learner's function: its type, its words, the learner's own line.

    `place` is that line as file and number.
    """

    kind: str
    message: str
    line: str
    place: tuple[str, int] | None = None


@dataclass
class Call:
    """What one call did: its value or its failure, whether it changed its inputs, what it printed.

    `largest` is the size in bytes of the largest tensor it made, where the case limits that.
    """

    value: Any = None
    failure: Failure | None = None
    mutated: bool = False
    printed: str = ""
    largest: int = 0


class Elsewhere:
    """A function that lives in another process: judged like any other, never called here."""

    def __init__(self, ask: Callable[[Case], Call], siblings: Mapping[str, Elsewhere]) -> None:
        self.ask = ask
        self.siblings = siblings

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("this function lives in another process: use `call`")


class OutOfTime(BaseException):
    """Raised inside a call that does not end; no `except Exception` of the learner's stops it."""


def call(function: Function, case: Case) -> Call:
    """Call `function` on a copy of the case's inputs, here or where it lives.

    >>> from autograder.exercise import Case
    >>> call(lambda x: x / 0, Case("a number", (1,))).failure.kind
    'ZeroDivisionError'
    >>> call(lambda x: x.zero_(), Case("a tensor", (torch.ones(2),))).mutated
    True
    >>> call(lambda x: x.double(), Case("a tensor", (torch.ones(2),), largest=8)).largest
    16
    """
    if isinstance(function, Elsewhere):
        return function.ask(case)
    args, kwargs = copied(case.args), copied(case.kwargs)
    result = Call()
    output = io.StringIO()
    # A warning or a print must not reach the notebook: nbgrader gives 0 for any text on stderr.
    with (
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        try:
            with _time_limit(SECONDS_PER_CALL), _sizes(case, result):
                result.value = function(*args, **kwargs)
        except OutOfTime:
            result.failure = Failure("OutOfTime", f"no result after {SECONDS_PER_CALL:.0f} s", "")
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit and the like are the learner's, too
            place = learners_place(error.__traceback__)
            line = "" if place is None else line_text(place[1], linecache.getline(*place))
            result.failure = Failure(type(error).__name__, first_line(error), line, place)
    result.mutated = not (same(args, case.args) and same(kwargs, case.kwargs))
    result.printed = output.getvalue()
    return result


def copied(value: Any) -> Any:
    """A deep copy that keeps strides, so that a non-contiguous input stays non-contiguous."""
    if isinstance(value, Tensor):
        copy = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype)
        return copy.copy_(value)
    if isinstance(value, (list, tuple)):
        return type(value)(copied(item) for item in value)
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    return value


def same(a: Any, b: Any) -> bool:
    """Whether an input is, after a call, what it was before."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and bool(((a == b) | (a != a)).all())
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return bool(a == b)


def first_line(error: BaseException) -> str:
    """The first line of an exception's words, cut where it is long."""
    try:
        text = str(error).strip()
    except Exception:
        return ""
    return text.splitlines()[0][:200] if text else ""


def learners_place(traceback: TracebackType | None) -> tuple[str, int] | None:
    """File and line, deepest in a traceback, that is neither ours nor a library's."""
    found = None
    while traceback is not None:
        path = traceback.tb_frame.f_code.co_filename
        if not path.startswith((*LIBRARY, "<frozen")) and path != __file__:
            found = path, traceback.tb_lineno
        traceback = traceback.tb_next
    return found


def line_text(number: int, source: str) -> str:
    """A line as feedback names it."""
    return f"line {number}" + (f", `{source.strip()}`" if source.strip() else "")


class _Sizes(TorchDispatchMode):
    """Notes the largest tensor that any operation inside makes; views make none."""

    def __init__(self, result: Call) -> None:
        super().__init__()
        self.result = result

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and torch takes seconds to prepare for it

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = {_storage(each) for each in _tensors([*args, *(kwargs or {}).values()])}
        out = operation(*args, **(kwargs or {}))
        for each in _tensors(out):
            if _storage(each) not in given:
                self.result.largest = max(self.result.largest, each.untyped_storage().nbytes())
        return out


def _sizes(case: Case, result: Call) -> contextlib.AbstractContextManager[Any]:
    return contextlib.nullcontext() if case.largest is None else _Sizes(result)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """End the block with `OutOfTime` after so many seconds, where the system can."""
    if not hasattr(signal, "setitimer") or (
        threading.current_thread() is not threading.main_thread()
    ):
        yield
        return

    def stop(*_: object) -> None:
        raise OutOfTime

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
