"""The sandbox's side of the wall: a server that has loaded torch, and its children.

The server never runs a learner's code. For each exercise it forks a child, which gives up its
rights and its share of the machine before it reads the first cell, and answers calls over a socket
of its own. `host` and `learner` are the other side.
"""

import ctypes
import gc
import linecache
import os
import resource
import signal
import socket
import sys
import time
import types
import warnings
from collections.abc import Callable
from typing import Any

import torch

from autograder.calling import call, first_line, learners_place
from autograder.essential import essential
from autograder.sandbox.wire import Closed, decode, encode, receive, send

READY, FORK, SWEEP = b"r", b"f", b"s"
PRINTED = 10_000
NOT_DUMPABLE = 4  # PR_SET_DUMPABLE


def main(control: int, user: int, memory: int, processor: int, processes: int) -> None:
    """Serve forks and sweeps until the host goes away.

    `control` is a socket's number; `user` the id that children take, or 0 to stay; `memory` in
    bytes beyond what torch takes, `processor` in seconds, `processes` at once.
    """
    torch.set_num_threads(1)
    torch.ones(2, 2).matmul(torch.ones(2, 2)).sum().item()  # loads what the first use loads
    gc.freeze()  # children share what is loaded, and their collector leaves it alone
    gc.enable()
    ctypes.CDLL(None).prctl(NOT_DUMPABLE, 0, 0, 0, 0)  # no child looks into the server
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended children are no zombies
    host = socket.socket(fileno=control)
    host.send(READY)
    while True:
        request, files, _, _ = socket.recv_fds(host, 1, 1)
        if request == FORK:
            if os.fork() == 0:
                host.close()
                _give_up_rights(user, memory, processor, processes)
                _serve(socket.socket(fileno=files[0]))
            os.close(files[0])
        elif request == SWEEP:
            _sweep()
            host.send(SWEEP)
        else:
            return


def _sweep() -> None:
    """End every process of the sandbox but the server and the sandbox's first."""
    mine = {"1", str(os.getpid())}
    for _ in range(200):
        try:
            os.kill(-1, signal.SIGKILL)
        except ProcessLookupError:
            return
        if not {each for each in os.listdir("/proc") if each.isdigit()} - mine:
            return
        time.sleep(0.005)


def _give_up_rights(user: int, memory: int, processor: int, processes: int) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    os.close(nothing)
    with open("/proc/self/statm") as file:
        present = int(file.read().split()[0]) * resource.getpagesize()
    for what, limit in {
        resource.RLIMIT_AS: present + memory,
        resource.RLIMIT_CPU: processor,
        resource.RLIMIT_NPROC: processes,
        resource.RLIMIT_FSIZE: 32_000_000,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }.items():
        resource.setrlimit(what, (limit, limit))
    if user:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)


def _serve(host: socket.socket) -> None:
    """Answer the host until it goes away; never returns into the server."""
    try:
        learner = Learner(host)
        while True:
            learner.answer(*receive(host))
    except Closed:
        pass
    finally:
        os._exit(0)


class Learner:
    """A learner's cells, run, and calls of what they define."""

    def __init__(self, host: socket.socket) -> None:
        self.host = host
        self.module = types.ModuleType("__main__")
        sys.modules["__main__"] = self.module
        warnings.simplefilter("ignore")

    def answer(self, message: dict[str, Any], payload: bytes) -> None:
        """Do what one message of the host asks for."""
        if "open" in message:
            send(self.host, self.open(message["open"], message["names"]))
        else:
            reply, tensors = self.call(message["call"], message, payload)
            try:
                send(self.host, reply, tensors)
            except ValueError:
                failure = ["ValueError", "the result is too large", None]
                send(self.host, {**reply, "value": None, "failure": failure})

    def open(self, sources: list[str], names: list[str]) -> dict[str, Any]:
        """Run what the named functions need; says what each name stands for, and what failed."""
        problems = []
        parts = essential([*sources, *names], [False] * len(sources) + [True] * len(names))
        for number, source in enumerate(parts[: len(sources)]):
            problem = self.run(number, source)
            if problem is not None:
                problems.append([number, *problem])
        return {"names": {name: self.state(name) for name in names}, "problems": problems}

    def run(self, number: int, source: str) -> list[Any] | None:
        """Run one cell; type, words and line of what stopped it, or None."""
        file = f"<cell {number}>"
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        try:
            exec(compile(source, file, "exec"), self.module.__dict__)
        except SyntaxError as error:
            return ["SyntaxError", str(error.msg)[:200], error.lineno]
        except BaseException as error:  # also sys.exit() in a cell
            place = learners_place(error.__traceback__)
            return [type(error).__name__[:40], first_line(error), place[1] if place else None]
        return None

    def state(self, name: str) -> str:
        found = self.module.__dict__.get(name, self)
        if found is self:
            return "missing"
        if found is None or found is Ellipsis:
            return "empty"
        return "function" if callable(found) else type(found).__name__

    def call(self, name: str, message: dict[str, Any], data: bytes) -> tuple[Any, list[bytes]]:
        """Call a function as the host asks; what happened, and the bytes of its tensors."""
        args, kwargs = decode(message["with"], data, self.lent)
        case = types.SimpleNamespace(args=args, kwargs=kwargs, largest=message["largest"])
        done = call(self.module.__dict__[name], case)
        value, tensors = encode(done.value)
        failure = done.failure
        reply = {
            "value": value,
            "mutated": done.mutated,
            "printed": done.printed[:PRINTED],
            "largest": done.largest,
            "failure": failure and [failure.kind, failure.message, failure.place],
        }
        return reply, tensors

    def lent(self, number: int) -> Callable[..., Any]:
        """A function of the host's, to be called from here."""

        def function(*args: Any, **kwargs: Any) -> Any:
            data, tensors = encode((list(args), kwargs))
            send(self.host, {"lent": number, "with": data}, tensors)
            reply, payload = receive(self.host)
            if "failure" in reply:
                raise RuntimeError(reply["failure"])
            return decode(reply["value"], payload)

        return function
