"""Measuring this machine: peak memory of a script in a process of its own, and times side by side.

Times and bytes differ from run to run, so what a lesson prints is a sentence made from ratios.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping

from mergelab.errors import UserError

# Read from /proc, for a child's ru_maxrss can hold its parent's size; elsewhere that must do.
_FRAME = """
import sys
def memory(what):
    try:
        with open("/proc/self/status") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))
    except OSError:
        import resource
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
imports, work, folder = sys.argv[1:]
names = {"folder": folder}
exec(imports, names)
before = memory("VmRSS")
exec(work, names)
print("peak", memory("VmHWM") - before)
"""


def peak_memory(work: str, folder: str, *, imports: str = "") -> int:
    """How many bytes a script needs at its peak, in a fresh process, beyond what it imports.

    `work` and `imports` are Python; both see `folder`. Pages of mapped files count, as they do for
    the system.

    Raises `UserError` with the script's last words if it fails.

    >>> kilobyte, megabyte = "x = bytes(10**3)", "x = bytes(range(250)) * 200_000"
    >>> peak_memory(megabyte, "") > 10 * peak_memory(kilobyte, "")
    True
    """
    command = [sys.executable, "-c", _FRAME, imports, work, folder]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no words"])[-1]
        raise UserError(f"the measured script stopped: {last}")
    return int(done.stdout.split()[-1])


def best_times(versions: Mapping[str, Callable[[], object]], rounds: int = 5) -> dict[str, float]:
    """The best time of each version in seconds: all take turns, so that a busy moment hits all.

    >>> times = best_times({"short": lambda: None, "long": lambda: time.sleep(0.01)}, rounds=2)
    >>> times["short"] < times["long"]
    True
    """
    best = dict.fromkeys(versions, float("inf"))
    for _ in range(rounds):
        for name, version in versions.items():
            began = time.perf_counter()
            version()
            best[name] = min(best[name], time.perf_counter() - began)
    return best


def about(ratio: float, predicted: float) -> str:
    """A measured ratio against a predicted one, in words that a repetition does not change.

    >>> about(4.6, 5), about(1.4, 2), about(9.0, 5)
    ('about as predicted', 'about as predicted', 'more than predicted')
    """
    if ratio > 1.6 * predicted:
        return "more than predicted"
    return "about as predicted" if ratio > predicted / 1.6 else "less than predicted"
