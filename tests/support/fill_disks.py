"""Runs `mergelab merge` onto disks that are too small, each for another part of the output.

Usage: python fill_disks.py RECIPE FOLDER SEED mount|limit

With `mount` each disk is a tmpfs of its own, which takes the right to mount (`unshare --mount`);
with `limit` it is a folder in a process that may not write larger files, which any process can do
to itself. The first merge has room enough and tells what is needed; the last has exactly that.

Prints one line of JSON: for each disk its label, its room in bytes, the exit status, the last words
on stderr and the names of whatever is left on it.
"""

import json
import os
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path

from die_while_merging import run_child

PAGE = os.sysconf("SC_PAGE_SIZE")
UNLIMITED = resource.RLIM_INFINITY


def pages(paths: list[Path]) -> int:
    return sum(-(-path.stat().st_size // PAGE) for path in paths)


def run(recipe: str, disk: Path, room: int, mount: bool, look) -> tuple[int, str, object]:
    """Merge onto a new disk; `look` is given the disk before it goes."""
    disk.mkdir()
    errors = disk.parent / "errors"
    if mount:
        options = f"size={room}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], check=True)
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, UNLIMITED))
    try:
        pid = run_child(recipe, disk / "out", errors, signal.SIGTERM)
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status), errors.read_text(), look(disk)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (UNLIMITED, UNLIMITED))
        if mount:
            subprocess.run(["umount", disk], check=True)


def rooms(files: list[Path], chance: random.Random) -> dict[str, int]:
    """Bytes of room for each part of the output to be the first that does not fit."""
    weights = [path for path in files if path.suffix == ".safetensors"]
    report = [path for path in files if path.name == "merge_report.json"]
    before, everything = pages(weights), pages(files)
    found = {
        "first header": 0,
        "last header": len(weights) - 1,
        "weights, early": chance.randrange(len(weights), before // 3),
        "weights, middle": chance.randrange(before // 3, 2 * before // 3),
        "weights, late": chance.randrange(2 * before // 3, before),
        "config": before,
        "tokenizer, card": chance.randrange(before + 2, everything - pages(report)),
        "report": everything - pages(report),
        "report, its end": everything - 1,
        "enough": everything,
    }
    return {part: max(count, 1) * PAGE for part, count in found.items()}


def limits(files: list[Path], chance: random.Random) -> dict[str, int]:
    """Sizes that no file may exceed, for weights to fail at their start, middle and end."""
    largest = max(path.stat().st_size for path in files)
    found = {
        "header": 1000,
        "weights, early": chance.randrange(PAGE, largest // 3),
        "weights, late": chance.randrange(2 * largest // 3, largest),
        "enough": largest,
    }
    return found


def main() -> None:
    recipe, folder, chance = sys.argv[1], Path(sys.argv[2]), random.Random(int(sys.argv[3]))
    mount = sys.argv[4] == "mount"
    import torch

    # imported before forking
    import mergelab.engine
    import mergelab.report_table  # noqa: F401

    torch.set_num_threads(1)
    which = rooms if mount else limits

    def needed(disk: Path) -> dict[str, int]:
        return which(sorted((disk / "out").iterdir()), chance)

    status, words, disks = run(recipe, folder / "large", 2**28, mount, needed)
    assert status == 0, words
    found = []
    for i, (part, room) in enumerate(disks.items()):
        left = run(recipe, folder / f"disk-{i}", room, mount, os.listdir)
        found.append([part, room, *left])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
