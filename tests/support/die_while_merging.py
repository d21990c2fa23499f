"""Runs `mergelab merge` many times in forked children and ends each at a random moment.

Usage: python die_while_merging.py RECIPE FOLDER SIGNAL HOW COUNT SEED

The first child runs undisturbed into FOLDER/whole. Then COUNT children merge into FOLDER/out-0,
out-1 and so on, and each gets SIGNAL: with HOW `clock` after a random part of the time that a merge
takes, with HOW `steps` at a random one of the things that a merge asks of the file system (to
open, create, write, sync, rename), each kind of them in turn; a write is then cut in half.
Three workers write shards of 400 kB.

Prints one line of JSON: for each child its moment, its exit status, -N where signal N ended it,
and its last words on stderr. Forking after the imports makes a run short, so that the moments fall
inside the merge and not into the interpreter's start.
"""

import contextlib
import json
import os
import random
import signal
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path

OPTIONS = {"workers": 3, "max_shard_bytes": 400_000}


class Steps:
    """Counts what this process asks of files below `folders`; step `last` is its last.

    `kinds` holds the kind of each step so far.
    """

    def __init__(self, folders: list[str], number: int, last: int | None = None) -> None:
        self.folders, self.number, self.last = folders, number, last
        self.kinds: list[str] = []
        self._lock = threading.Lock()
        self._pwrite, self._fsync = os.pwrite, os.fsync
        os.pwrite, os.fsync = self.pwrite, self.fsync
        sys.addaudithook(self.hear)

    def is_last(self, kind: str) -> bool:
        with self._lock:
            self.kinds.append(kind)
            return len(self.kinds) - 1 == self.last

    def end(self) -> None:
        os.kill(os.getpid(), self.number)

    def hear(self, event: str, arguments: tuple) -> None:
        if event not in ("open", "os.mkdir", "os.rename") or not isinstance(
            arguments[0], str | os.PathLike
        ):
            return
        path = os.fspath(arguments[0])
        if isinstance(path, str) and path.startswith(tuple(self.folders)):
            kind = event
            if event == "open":
                kind = "create" if arguments[2] & os.O_CREAT else "read"
            if self.is_last(kind):
                self.end()

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        if self.is_last("header" if offset == 0 else "write"):
            self._pwrite(descriptor, data[: len(data) // 2], offset)
            self.end()
        return self._pwrite(descriptor, data, offset)

    def fsync(self, descriptor: int) -> None:
        if self.is_last("fsync"):
            self.end()
        self._fsync(descriptor)


def run_child(recipe: str, out: Path, errors: Path, number: int, last: int | None = None) -> int:
    """Fork a child that merges; an undisturbed one leaves its steps in `errors`."""
    import mergelab.cli
    import mergelab.engine

    pid = os.fork()
    if pid:
        return pid
    os.setpgid(0, 0)
    descriptor = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["mergelab", "merge", recipe, str(out)]
    mergelab.cli.entry_points = lambda **_: ()
    merge = mergelab.engine.merge
    mergelab.engine.merge = lambda *a, **options: merge(*a, **{**options, **OPTIONS})
    steps = Steps([str(Path(recipe).parent), str(out.parent)], number, last)
    status = 1
    try:
        mergelab.cli.main()
    except SystemExit as ended:
        status = ended.code or 0
        if number == 0:
            os.write(2, json.dumps(steps.kinds).encode())
    finally:
        sys.stderr.flush()
        os._exit(status)


def choose(kinds: list[str], count: int, chance: random.Random) -> list[int]:
    """Random steps, of each kind as many as of any other."""
    by_kind = defaultdict(list)
    for step, kind in enumerate(kinds):
        by_kind[kind].append(step)
    order = sorted(by_kind)
    return [chance.choice(by_kind[order[i % len(order)]]) for i in range(count)]


def main() -> None:
    recipe, folder, number = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    how, count, chance = sys.argv[4], int(sys.argv[5]), random.Random(int(sys.argv[6]))
    import torch

    # imported before forking
    import mergelab.engine
    import mergelab.report_table  # noqa: F401

    torch.set_num_threads(1)
    start = time.perf_counter()
    errors = folder / "errors"
    pid = run_child(recipe, folder / "whole", errors, 0)
    _, status = os.waitpid(pid, 0)
    length = time.perf_counter() - start
    found = {"whole": os.waitstatus_to_exitcode(status), "kinds": [], "runs": []}
    found["kinds"] = kinds = json.loads(errors.read_text())
    steps = choose(kinds, count, chance) if how == "steps" else [None] * count
    for i, step in enumerate(steps):
        moment = kinds[step] if how == "steps" else round((i + chance.random()) / count * 1.15, 3)
        pid = run_child(recipe, folder / f"out-{i}", errors, number, step)
        if how == "clock":
            time.sleep(moment * length)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        _, status = os.waitpid(pid, 0)
        found["runs"].append([moment, os.waitstatus_to_exitcode(status), errors.read_text()])
    errors.unlink()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
