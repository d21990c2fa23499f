"""The fenced blocks of a Markdown file, and a reader who works through them from top to bottom.

A comment directly above a block says how it is run, where that is not "as it stands":

    <!-- not run by the tests: REASON -->    only its syntax and its command lines are checked
    <!-- started by the tests -->            a server: stopped again once it answers
    <!-- ends with status 1 -->              what a command that finds something ends with
    <!-- file: PATH -->                      the reader writes the block to this file

A `text` block is what the block above it prints. A line of dots in it stands for any lines;
seconds may differ, and the folder of the clone is `~/mergelab`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
COMMENT = re.compile(r"<!--\s*(.*?)\s*-->", re.DOTALL)
NOT_RUN, STARTED, FILE = "not run by the tests: ", "started by the tests", "file: "
STATUS = re.compile(r"ends with status (\d+)")
SECONDS = re.compile(r"\b\d+\.\d s\b")
ADDRESS = re.compile(r"http://(?:127\.0\.0\.1|localhost):\d+/")
LIMIT = 600
NOT_COPIED = (".git", ".venv", ".hypothesis", ".*_cache", "__pycache__", "*.partial-*")
# Only at the top, or only in one place: nobody's own work is taken along.
OWN = {"work", "merged", "build", "dist", "autograder/course"}


@dataclass(frozen=True)
class Block:
    """One fenced block: where it stands, its language, its text, and the comment above it."""

    path: Path
    line: int
    language: str
    text: str
    comment: str = ""

    @property
    def place(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"

    @property
    def not_run(self) -> bool:
        return self.comment.startswith(NOT_RUN)

    @property
    def status(self) -> int:
        found = STATUS.fullmatch(self.comment)
        return int(found[1]) if found else 0


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a file in order; raises `ValueError` for a comment nobody knows."""
    found, comment = [], ""
    for token in MarkdownIt().parse(path.read_text("utf-8")):
        if token.type == "html_block":
            words = COMMENT.fullmatch(token.content.strip())
            comment = words[1] if words else ""
        elif token.type == "fence":
            line = token.map[0] + 1
            if comment and not (
                comment.startswith((NOT_RUN, FILE))
                or comment == STARTED
                or STATUS.fullmatch(comment)
            ):
                raise ValueError(f"{path}:{line}: what does <!-- {comment} --> mean?")
            found.append(Block(path, line, token.info.strip(), token.content, comment))
            comment = ""
        elif token.type != "inline":
            comment = ""
    return found


def spans(path: Path) -> Iterator[str]:
    """The pieces of code inside a file's sentences and tables."""
    for token in MarkdownIt().enable("table").parse(path.read_text("utf-8")):
        for child in token.children or ():
            if child.type == "code_inline":
                yield child.content


def links(path: Path) -> Iterator[str]:
    """The files that a Markdown file points to, as it writes them."""
    for token in MarkdownIt().enable("table").parse(path.read_text("utf-8")):
        for child in token.children or ():
            target = child.attrGet("href") or child.attrGet("src")
            if target and not target.startswith(("http://", "https://", "#")):
                yield str(target).partition("#")[0]


class Reader:
    """Somebody with a copy of the repository, a shell in it, and nothing else.

    What a block exports, and the folder that it changes to, hold for the blocks after it.
    """

    def __init__(self, folder: Path) -> None:
        self.clone = folder / "mergelab"
        self.state = folder / "shell"
        self.log = folder / "printed"
        home = folder / "home"
        home.mkdir()
        _copy(self.clone)
        _environment_of(self.clone / ".venv")
        beside = str(Path(sys.executable).parent)
        path = [p for p in os.environ["PATH"].split(os.pathsep) if p != beside]
        self.folder = str(self.clone)
        self.sessions: list[int] = []
        self.variables = {
            "PATH": os.pathsep.join(path),
            "HOME": str(home),
            "USER": "reader",
            "LANG": "C.UTF-8",
            "COLUMNS": "120",
            "BROWSER": "true",  # the command that does nothing
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": str(self.clone),  # the environment knows the checkout, not its copy
        }

    def follow(self, block: Block) -> str:
        """Do what a block says; returns what it printed, as the guides would show it."""
        if block.comment.startswith(FILE):
            path = self.clone / block.comment.removeprefix(FILE)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, "utf-8")
            return ""
        if block.language == "python":
            return self._run(block, [str(self.clone / ".venv/bin/python"), "-c", block.text])
        keep = f"env -0 > {self.state}.env; pwd > {self.state}.cwd"
        script = f"trap '{keep}' EXIT\n{block.text}"
        line = ["bash", "-euo", "pipefail", "-c", script]
        if block.comment == STARTED:
            return self._start(block, line)
        printed = self._run(block, line)
        self.variables = dict(
            each.split("=", 1)
            for each in Path(f"{self.state}.env").read_text().split("\0")
            if "=" in each
        )
        self.folder = Path(f"{self.state}.cwd").read_text().strip()
        return printed

    def _run(self, block: Block, line: list[str]) -> str:
        # A file, not a pipe: what a block starts in the background may hold it open.
        process = self._open(line)
        try:
            status = process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            status = f"nothing in {LIMIT} s"
            _end(process)
        if _is_there(process.pid):  # what it started in the background
            self.sessions.append(process.pid)
        printed = self.log.read_text("utf-8", errors="replace")
        if status != block.status:
            raise AssertionError(f"{block.place}: ended with {status}:\n{block.text}\n{printed}")
        return self.masked(printed)

    def _start(self, block: Block, line: list[str]) -> str:
        process = self._open(line)
        try:
            end = time.monotonic() + LIMIT
            while time.monotonic() < end and process.poll() is None:
                found = ADDRESS.search(self.log.read_text("utf-8", errors="replace"))
                if found and _answers(found[0]):
                    return self.masked(self.log.read_text("utf-8", errors="replace"))
                time.sleep(0.2)
        finally:
            _end(process)
        raise AssertionError(f"{block.place}: does not answer:\n{self.log.read_text('utf-8')}")

    def _open(self, line: list[str]) -> subprocess.Popen[bytes]:
        with self.log.open("wb") as output:
            return subprocess.Popen(
                line,
                cwd=self.folder,
                env=self.variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def masked(self, text: str) -> str:
        """Text without what differs from run to run."""
        return SECONDS.sub("_ s", text.replace(str(self.clone), "~/mergelab"))

    def leave(self) -> None:
        """End whatever the blocks left running."""
        for session in self.sessions:
            if _is_there(session):
                os.killpg(session, signal.SIGTERM)


def differs(shown: str, printed: str) -> str:
    """The first line of a `text` block that is not in what was printed, in order; "" if all are."""
    lines = [line.rstrip() for line in printed.strip().splitlines()]
    at, gap = 0, False
    wanted = [SECONDS.sub("_ s", line.rstrip()) for line in shown.strip().splitlines()]
    for line in wanted:
        if line.strip() == "...":
            gap = True
            continue
        places = [n for n in range(at, len(lines)) if lines[n] == line]
        if not places or not (gap or places[0] == at):
            return line
        at, gap = places[0] + 1, False
    return "" if gap or at == len(lines) else f"after the end: {lines[at]}"


def _copy(target: Path) -> None:
    def left_out(folder: str, names: list[str]) -> set[str]:
        inside = Path(folder).relative_to(ROOT)
        return {
            *shutil.ignore_patterns(*NOT_COPIED)(folder, names),
            *(name for name in names if (inside / name).as_posix() in OWN),
        }

    shutil.copytree(ROOT, target, ignore=left_out)


def _environment_of(target: Path) -> None:
    """The environment that the tests run in, where the guides have it; `make` finds it complete."""
    target.mkdir()
    for part in Path(sys.prefix).iterdir():
        (target / part.name).symlink_to(part)
    for name in ("installed", "installed-test"):
        stamp = target / name
        stamp.unlink(missing_ok=True)
        stamp.touch()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}api", timeout=10):
            return True
    except (urllib.error.URLError, TimeoutError):
        return False


def _is_there(session: int) -> bool:
    try:
        os.killpg(session, 0)
    except ProcessLookupError:
        return False
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    if not _is_there(process.pid):
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
