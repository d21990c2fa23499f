"""Run a command and measure it: time, peak memory, what it leaves and what it needs on disk.

Needs Linux. A new process starts with its parent's resident set on its account, so a parent that
has loaded torch would be measured in every child. A small process of its own therefore starts the
command: this file, which imports only the standard library.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_INTERVAL = 0.05  # seconds between two looks


@dataclass(frozen=True)
class Measurement:
    """`peak_bytes`: the maximum resident set, mapped pages included. `scratch_bytes`: the most
    that lay on disk at any time beside the output."""

    seconds: float
    peak_bytes: int
    scratch_bytes: int
    output_bytes: int


def measure(command: Sequence[str], folder: Path, models: Path) -> Measurement:
    """Run `command` in the folder `models`; it writes `folder/out`, and all else into `folder`.

    `folder` is made afresh. Everything in `models` is read first, so that the page cache is warm,
    and what earlier runs wrote is brought to disk. Raises `RuntimeError` with the command's last
    words if it fails.
    """
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "scratch").mkdir(parents=True)
    read_all(models)
    os.sync()
    starter = [sys.executable, "-I", __file__, str(folder), str(models), *command]
    with subprocess.Popen(
        starter, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            printed, complaint = process.communicate()
        except BaseException:  # interrupted: take the command along
            process.terminate()
            raise
    if process.returncode != 0:
        raise RuntimeError(complaint)
    return Measurement(**json.loads(printed))


def _run(folder: Path, models: Path, command: Sequence[str]) -> Measurement:
    scratch = folder / "scratch"
    places = {"TMPDIR": scratch, "HF_HOME": scratch / "hf", "XDG_CACHE_HOME": scratch / "cache"}
    environment = {**os.environ, **{name: str(place) for name, place in places.items()}}
    environment["HF_HUB_OFFLINE"] = "1"
    log = folder.with_suffix(".log")
    with log.open("wb") as words:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=models, env=environment, stdout=words, stderr=subprocess.STDOUT
        )
        watch = _Watch(process.pid, folder, scratch)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.terminate()
            raise
        seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    watch.stop()
    if process.returncode != 0:
        tail = log.read_text("utf-8", "replace").strip()[-2000:]
        raise SystemExit(f"{' '.join(command)}: exit status {process.returncode}\n{tail}")
    output = size_of(folder / "out")
    return Measurement(
        seconds=seconds,
        peak_bytes=max(watch.peak_resident, usage.ru_maxrss * 1024),
        scratch_bytes=max(watch.peak_scratch, watch.peak_disk - output, 0),
        output_bytes=output,
    )


class _Watch:
    """Looks at the process tree's memory and the folder's size until told to stop.

    The resident sets of a tree are added up, so pages that two processes share count twice: a
    tool that spreads over processes is never flattered.
    """

    def __init__(self, process: int, folder: Path, scratch: Path) -> None:
        self.peak_resident = self.peak_disk = self.peak_scratch = 0
        self._process, self._folder, self._scratch = process, folder, scratch
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._done.wait(_INTERVAL):
            self._look()

    def _look(self) -> None:
        resident = sum(_resident(number) for number in _tree(self._process))
        self.peak_resident = max(self.peak_resident, resident)
        self.peak_scratch = max(self.peak_scratch, size_of(self._scratch))
        self.peak_disk = max(self.peak_disk, size_of(self._folder))

    def stop(self) -> None:
        self._done.set()
        self._thread.join()
        self._look()  # the disk as the process left it


def _tree(process: int) -> list[int]:
    """The process and all its descendants."""
    found = [process]
    for number in found:
        for children in Path(f"/proc/{number}/task").glob("*/children"):
            try:
                found += [int(word) for word in children.read_text().split()]
            except OSError:
                continue  # it has just ended
    return found


def _resident(process: int) -> int:
    try:
        pages = Path(f"/proc/{process}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder; files that vanish meanwhile count as nothing."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except OSError:
                continue
    return total


def read_all(folder: Path) -> None:
    """Read every file below a folder once."""
    buffer = bytearray(1 << 24)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    measured = _run(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
    print(json.dumps(asdict(measured)))
