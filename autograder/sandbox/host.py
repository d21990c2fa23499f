"""The grader's side of the wall: starts a sandbox, watches its memory, connects to new children.

`learner` is what is done with a connection; `inside` is the other side.
"""

import os
import re
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import cache
from typing import Self

import psutil

from autograder.calling import SECONDS_PER_CALL
from autograder.sandbox import syscalls, walls
from autograder.sandbox.inside import FORK, READY, SWEEP
from mergelab.errors import UserError

START_SECONDS = 120.0
POLL_SECONDS = 0.2
# Ids that no account has; within reach where only 65,536 ids exist.
FIRST_USER, USERS = 61_184, 4_000
# Loading torch makes many objects and no garbage: without the collector it takes a tenth less.
BOOT = (
    "import gc, sys; gc.disable(); sys.path[:] = ['/grader', '/site', *sys.path]; "
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
        self.ready = self.overfull = False
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
        threading.Thread(target=self._watch, args=(self.process,), daemon=True).start()

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """End it when it takes too much memory, whatever the host is waiting for meanwhile."""
        while process.poll() is None:
            if self.memory() > self.limits.memory:
                self.overfull = True
                process.kill()
                return
            time.sleep(POLL_SECONDS)

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
    """Bytes of a process that no library's file holds; a fork starts with those of its parent."""
    try:
        with open(f"/proc/{process.pid}/status", encoding="ascii", errors="replace") as file:
            found = re.findall(r"^Rss(?:Anon|Shmem):\s+(\d+) kB", file.read(), re.MULTILINE)
    except OSError:
        return 0
    return 1024 * sum(map(int, found))


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
