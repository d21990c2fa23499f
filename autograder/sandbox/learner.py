"""A learner's cells in a sandbox: opens them, and asks their functions.

What comes back is the learner's word and nothing else: it is decoded as plain data and held against
limits of time and size. Whatever the learner's process does, a `Call` comes of it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from autograder.calling import SECONDS_PER_CALL, Call, Elsewhere, Failure, line_text
from autograder.exercise import Case
from autograder.sandbox.host import Sandbox
from autograder.sandbox.wire import (
    PAYLOAD_LIMIT,
    Closed,
    Forged,
    Late,
    decode,
    encode,
    receive,
    send,
)

ENDED, OUT_OF_TIME, OUT_OF_MEMORY = "Ended", "OutOfTime", "OutOfMemory"


class Learner:
    """A learner's cells in a sandbox, and the functions that they define.

    `names` are the functions of interest. `problems` says what stopped which cell: number, type of
    the error, its words, its line.
    """

    def __init__(self, sandbox: Sandbox, sources: Sequence[str], names: Sequence[str]) -> None:
        self.sandbox = sandbox
        self.sources = list(sources)
        self.names = list(names)
        self.restarts = 0
        self.seconds_left = sandbox.limits.exercise
        self.bytes_left = PAYLOAD_LIMIT
        self.failure: Failure | None = None
        self.connection: socket.socket | None = None
        self.problems: list[tuple[int, str, str, int | None]] = []
        self.states: dict[str, str] = {}
        self.open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()

    def hang_up(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def open(self) -> None:
        """Run the cells in a new child."""
        self.hang_up()
        self.connection = self.sandbox.connect()
        try:
            self._send({"open": self.sources, "names": self.names}, [], self.sandbox.limits.cells)
            reply, _ = self._reply(self.sandbox.limits.cells)
            self.states = _states(reply.get("names"), self.names)
            self.problems = _problems(reply.get("problems"), self.sources)
        except _Failed as error:
            self.hang_up()
            self.failure = error.failure
            self.states = {name: "missing" for name in self.names}
        except ValueError:
            self.hang_up()
            self.failure = Failure(ENDED, "the notebook's code is too large", "")
            self.states = {name: "missing" for name in self.names}

    def function(self, name: str) -> Elsewhere | None:
        """A function of the learner's as `judge` takes it; None if it is none."""
        if self.states.get(name) != "function":
            return None
        siblings = {
            other: Elsewhere(self._asker(other), {})
            for other in self.names
            if other != name and self.states.get(other) == "function"
        }
        return Elsewhere(self._asker(name), siblings)

    def _asker(self, name: str) -> Callable[[Case], Call]:
        return lambda case: self.ask(name, case)

    def ask(self, name: str, case: Case) -> Call:
        """Call a function on a case's inputs; whatever it does, a `Call` comes back."""
        if self.connection is None:
            if self.restarts == self.sandbox.limits.restarts:
                return Call(failure=self.failure)
            self.restarts += 1
            self.open()
            if self.states.get(name) != "function":
                return Call(failure=self.failure or Failure(ENDED, "", ""))
        began = time.monotonic()
        try:
            return self._ask(name, case)
        except _Failed as error:
            self.hang_up()
            self.failure = error.failure
            return Call(failure=error.failure)
        finally:
            self.seconds_left -= time.monotonic() - began

    def _ask(self, name: str, case: Case) -> Call:
        if self.seconds_left <= 0:
            raise _Failed(OUT_OF_TIME, "the time for this exercise is over")
        lent: list[Callable[..., Any]] = []

        def offer(function: Callable[..., Any]) -> int:
            lent.append(function)
            return len(lent) - 1

        data, tensors = encode((list(case.args), dict(case.kwargs)), offer)
        seconds = min(self.sandbox.limits.call, self.seconds_left)
        deadline = time.monotonic() + seconds
        message = {"call": name, "with": data, "largest": case.largest}
        while True:
            self._send(message, tensors, deadline - time.monotonic())
            reply, payload = self._reply(deadline - time.monotonic())
            if "lent" not in reply:
                return self._call(reply, payload)
            message, tensors = _answer(lent, reply, payload)

    def _send(self, message: dict[str, Any], tensors: list[bytes], seconds: float) -> None:
        try:
            self.connection.settimeout(max(0.01, seconds))
            send(self.connection, message, tensors)
        except (Closed, Late):
            raise self._ended() from None

    def _reply(self, seconds: float) -> tuple[dict[str, Any], bytes]:
        """The learner's next message."""
        if seconds <= 0:  # one who asks back without end is out of time, too
            raise _Failed(OUT_OF_TIME, "no result in time")
        try:
            return receive(self.connection, seconds)
        except Late:
            raise _Failed(OUT_OF_TIME, f"no result after {seconds:.0f} s") from None
        except (Closed, Forged):
            raise self._ended() from None

    def _ended(self) -> _Failed:
        """Why the learner's process is gone."""
        if self.sandbox.overfull:
            return _Failed(OUT_OF_MEMORY, _gigabytes(self.sandbox.limits.memory))
        return _Failed(ENDED)

    def _call(self, reply: Mapping[str, Any], payload: bytes) -> Call:
        try:
            value = decode(reply.get("value"), payload)
        except Forged:
            raise _Failed(ENDED) from None
        # The results of all calls are held until the verdict.
        self.bytes_left -= len(payload)
        if self.bytes_left < 0:
            raise _Failed("ValueError", "the results are too large")
        printed, largest = reply.get("printed"), reply.get("largest")
        return Call(
            value=value,
            failure=self._told(reply.get("failure")),
            mutated=reply.get("mutated") is True,
            printed=_text(printed, 10_000),
            largest=largest if type(largest) is int else 0,
        )

    def _told(self, failure: Any) -> Failure | None:
        """A failure as the learner's process tells it; the line's text is taken from our copy."""
        match failure:
            case None:
                return None
            case [kind, message, [str(file), int(number)]]:
                line = self._line(file, number)
            case [kind, message, *_]:
                line = ""
            case _:
                kind, message, line = ENDED, "", ""
        kind, message = _text(kind, 40), _text(message, 200)
        if kind == OUT_OF_TIME:
            # Feedback repeats these words for hidden cases, too, so they are ours.
            message = f"no result after {SECONDS_PER_CALL:.0f} s"
        elif kind == OUT_OF_MEMORY:  # that is for the host to say
            kind = "MemoryError"
        return Failure(kind, message, line)

    def _line(self, file: str, number: int) -> str:
        """The line as feedback names it, from our copy of the cell that is called `file`."""
        found = [source for n, source in enumerate(self.sources) if file == f"<cell {n}>"]
        if not found:
            return ""
        lines = found[0].splitlines()
        return line_text(number, lines[number - 1]) if 0 < number <= len(lines) else ""


class _Failed(Exception):
    """A call or a run of cells that came to no end of its own."""

    def __init__(self, kind: str, message: str = "") -> None:
        self.failure = Failure(kind, message, "")


def _answer(
    lent: Sequence[Callable[..., Any]], reply: Mapping[str, Any], payload: bytes
) -> tuple[dict[str, Any], list[bytes]]:
    """What a function of ours says to a learner who calls it."""
    number = reply["lent"]
    if type(number) is not int or not 0 <= number < len(lent):
        raise _Failed(ENDED)
    try:
        args, kwargs = decode(reply.get("with"), payload)
        data, tensors = encode(lent[number](*args, **kwargs))
    except Exception as error:  # whatever a learner's arguments bring about
        return {"failure": type(error).__name__}, []
    return {"value": data}, tensors


def _states(told: Any, names: Sequence[str]) -> dict[str, str]:
    told = told if type(told) is dict else {}
    return {name: _text(told.get(name), 40) or "missing" for name in names}


def _problems(told: Any, sources: Sequence[str]) -> list[tuple[int, str, str, int | None]]:
    found = []
    for each in told if type(told) is list else []:
        match each:
            case [int(cell), str(kind), str(words), line] if 0 <= cell < len(sources):
                number = line if type(line) is int else None
                found.append((cell, _text(kind, 40), _text(words, 200), number))
    return found[:100]


def _text(told: Any, limit: int) -> str:
    """A text of the learner's, cut, without what no file can hold."""
    return told[:limit].encode("utf-8", "replace").decode() if type(told) is str else ""


def _gigabytes(count: int) -> str:
    return f"more than {count / 1e9:g} GB"
