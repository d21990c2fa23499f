"""The grader's side of the wall: starts a sandbox, opens learners in it, asks their functions.

What comes back over the wall is the learner's word and nothing else: it is decoded as plain data,
held against time and memory limits, and judged here, by code that the learner's cannot touch.
"""

import os
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import psutil

from autograder.calling import SECONDS_PER_CALL, Call, Elsewhere, Failure, line_text
from autograder.exercise import Case
from autograder.sandbox import syscalls, walls
from autograder.sandbox.inside import FORK, READY, SWEEP
from autograder.sandbox.wire import Closed, Forged, Late, decode, encode, receive, send
from mergelab.errors import UserError

START_SECONDS = 120.0
POLL_SECONDS = 0.2
ENDED, OUT_OF_TIME, OUT_OF_MEMORY = "Ended", "OutOfTime", "OutOfMemory"
# Ids that no account has; within reach where only 65,536 ids exist.
FIRST_USER, USERS = 61_184, 4_000
BOOT = (
    "import sys; sys.path[:] = ['/grader', '/site', *sys.path]; "
    "from autograder.sandbox.inside import main; main(*map(int, sys.argv[1:]))"
)


@dataclass(frozen=True)
class Limits:
    """What a learner's code may use.

    `memory` in bytes, beyond what torch itself takes; wall time in seconds for the cells, one call,
    and all calls of an exercise; processes at once; fresh starts after it has brought itself down.
    """

    memory: int = 2_000_000_000
    cells: float = 30.0
    call: float = SECONDS_PER_CALL + 5.0
    exercise: float = 120.0
    processes: int = 32
    restarts: int = 3


class Sandbox:
    """One sandbox; use it as a context, for one submission.

    Raises `UserError` if it cannot be started.
    """

    def __init__(self, limits: Limits = Limits()) -> None:
        self.limits = limits

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start, without waiting until it is ready."""
        self.control, theirs = socket.socketpair()
        self.ready = False
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115, closed with the sandbox
        numbers = [theirs.fileno(), self._user(), self.limits.memory, self._processor_seconds()]
        numbers.append(self.limits.processes)
        words = walls.command("-c", BOOT, *map(str, numbers))
        passed = [theirs.fileno()]
        with tempfile.TemporaryFile() as filter:
            program = syscalls.program()
            if program is not None:
                filter.write(program)
                filter.seek(0)
                passed.append(filter.fileno())
                words[1:1] = ["--seccomp", str(filter.fileno())]
            self.process = subprocess.Popen(
                words,
                pass_fds=passed,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self.errors,
                env={},
                start_new_session=True,
            )
        theirs.close()

    def wait(self) -> None:
        """Wait until it is ready.

        Raises `UserError` if it does not come up.
        """
        if self.ready:
            return
        self.control.settimeout(START_SECONDS)
        try:
            answer = self.control.recv(1)
        except OSError:
            answer = b""
        if answer != READY:
            self.process.kill()
            self.process.wait()
            self.errors.seek(0)
            words = self.errors.read(4000).decode("utf-8", "replace").strip().splitlines()
            self.close()
            raise UserError(f"the sandbox does not start: {words[-1] if words else 'no answer'}")
        self.ready = True
        self.base = max((_private(each) for each in self._processes()), default=0)

    def close(self) -> None:
        """End it with every process inside."""
        self.process.kill()
        self.process.wait()
        self.control.close()
        self.errors.close()

    def connect(self) -> socket.socket:
        """A connection to a new child, after every process before it has been ended."""
        self.wait()
        for _ in range(2):
            ours, theirs = socket.socketpair()
            try:
                self.control.settimeout(START_SECONDS)
                self.control.send(SWEEP)
                if self.control.recv(1) != SWEEP:
                    raise OSError
                socket.send_fds(self.control, [FORK], [theirs.fileno()])
                return ours
            except OSError:  # a learner has brought it down: a fresh one takes its place
                ours.close()
                self.close()
                self.start()
                self.wait()
            finally:
                theirs.close()
        raise UserError("the sandbox does not stay up")

    def memory(self) -> int:
        """Bytes that the processes inside use, beyond what torch takes in each."""
        return sum(max(0, _private(each) - self.base) for each in self._processes())

    def _processes(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.Error:
            return []

    def _processor_seconds(self) -> int:
        return int(self.limits.exercise + self.limits.cells)

    @staticmethod
    def _user() -> int:
        return FIRST_USER + os.getpid() % USERS if os.getuid() == 0 else 0


def _private(process: psutil.Process) -> int:
    """Bytes of a process that no file holds; a fork has at first those of its parent."""
    try:
        memory = process.memory_info()
    except psutil.Error:
        return 0
    return memory.rss - memory.shared


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
            self.connection.settimeout(self.sandbox.limits.cells)
            send(self.connection, {"open": self.sources, "names": self.names})
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
            try:
                self.connection.settimeout(max(0.01, deadline - time.monotonic()))
                send(self.connection, message, tensors)
            except (Closed, Late):
                raise _Failed(ENDED) from None
            reply, payload = self._reply(deadline - time.monotonic())
            if "lent" not in reply:
                return self._call(reply, payload)
            message, tensors = _answer(lent, reply, payload)

    def _reply(self, seconds: float) -> tuple[dict[str, Any], bytes]:
        """The learner's next message, waited for with an eye on its memory."""
        deadline = time.monotonic() + seconds
        while not select.select([self.connection], [], [], POLL_SECONDS)[0]:
            if self.sandbox.memory() > self.sandbox.limits.memory:
                self.sandbox.close()
                self.sandbox.start()
                raise _Failed(OUT_OF_MEMORY, _gigabytes(self.sandbox.limits.memory))
            if time.monotonic() > deadline:
                raise _Failed(OUT_OF_TIME, f"no result after {seconds:.0f} s")
        try:
            return receive(self.connection, max(0.01, deadline - time.monotonic()))
        except Late:
            raise _Failed(OUT_OF_TIME, f"no result after {seconds:.0f} s") from None
        except (Closed, Forged):
            raise _Failed(ENDED) from None

    def _call(self, reply: Mapping[str, Any], payload: bytes) -> Call:
        try:
            value = decode(reply.get("value"), payload)
        except Forged:
            raise _Failed(ENDED) from None
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
            case [kind, message, [str(file), int(number)]] if file.startswith("<cell "):
                cell = file.removeprefix("<cell ").removesuffix(">")
                line = self._line(int(cell) if cell.isdecimal() else -1, number)
            case [kind, message, *_]:
                line = ""
            case _:
                kind, message, line = ENDED, "", ""
        return Failure(_text(kind, 40), _text(message, 200), line)

    def _line(self, cell: int, number: int) -> str:
        if not 0 <= cell < len(self.sources):
            return ""
        lines = self.sources[cell].splitlines()
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


@cache
def unavailable() -> str | None:
    """Why no sandbox can be had on this machine, in words; None if one can."""
    try:
        with Sandbox() as sandbox:
            sandbox.wait()
    except UserError as error:
        return str(error)
    except OSError as error:
        return f"the sandbox does not start: {error.strerror or error}"
    return None
