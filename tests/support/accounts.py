"""Accounts of this machine that exist for as long as a block lasts, and what others may enter.

Only root can make accounts. They are removed at the end, with their homes and processes.
"""

from __future__ import annotations

import os
import pwd
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def accounts(names: Sequence[str], homes: Path, group: str, members: Sequence[str]) -> Iterator:
    """Make accounts whose password is their name, and a group of some of them."""
    made = []
    _run("groupadd", group)
    try:
        for name in names:
            _run("useradd", "--create-home", "--base-dir", homes, "--shell", "/bin/bash", name)
            made.append(name)
            if name in members:
                _run("usermod", "--append", "--groups", group, name)
        _run("chpasswd", text="".join(f"{name}:{name}\n" for name in names))
        yield
    finally:
        for name in made:
            _end_processes_of(pwd.getpwnam(name).pw_uid)
            _run("userdel", "--remove", name)
        _run("groupdel", group)


def _run(*words: object, text: str = "") -> None:
    done = subprocess.run(
        [str(word) for word in words], input=text, capture_output=True, text=True, timeout=60
    )
    if done.returncode:
        raise AssertionError(f"{words}: {done.stderr}")


def _end_processes_of(user: int) -> None:
    """Whatever an account has left running: it cannot be removed before."""
    end = time.monotonic() + 20
    while (left := _processes_of(user)) and time.monotonic() < end:
        for process in left:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.1)


def _processes_of(user: int) -> list[int]:
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if place.stat().st_uid == user:
                found.append(int(place.name))
    return found


def opened_to_others(paths: Sequence[Path], place: Path) -> list[str]:
    """Words before a command that runs it where every account can enter these folders.

    A checkout or a Python may lie in a folder for its owner alone, such as /root. The command then
    sees an open folder there that holds nothing else; nothing changes outside it. `place` is an
    empty folder to work in.
    """
    closed: dict[Path, list[Path]] = {}
    for path in dict.fromkeys(each.resolve() for each in paths):
        outer = [each for each in (*path.parents, path) if not each.stat().st_mode & 0o001]
        if outer:
            closed.setdefault(min(outer, key=lambda each: len(each.parts)), []).append(path)
    if not closed:
        return []
    lines = []
    inside = [path for paths in closed.values() for path in paths]
    inner = [(place / str(n), path) for n, path in enumerate(inside)]
    for aside, path in inner:
        lines.append(f"mkdir {_quoted(aside)} && mount --bind {_quoted(path)} {_quoted(aside)}")
    for folder in closed:
        lines.append(f"mount -t tmpfs -o mode=0755 none {_quoted(folder)}")
    for aside, path in inner:
        lines.append(f"mkdir -p {_quoted(path)} && mount --bind {_quoted(aside)} {_quoted(path)}")
    return ["unshare", "--mount", "sh", "-c", " && ".join([*lines, 'exec "$@"']), "sh"]


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
