"""Runs `mergelab merge` on what strangers made, each in a child that can only hurt itself.

Usage: python hostile_merges.py < JSON, a list of {"recipe", "out", "options"}

Each child may use two more gigabytes of memory than it starts with, and 20 seconds; two run at a
time. `options` are passed on to `mergelab.engine.merge`. Prints, as JSON, each child's exit status
(-9 where it took too long or too much), seconds, and last words on stderr. Forking after the
imports makes a hundred children a matter of seconds.
"""

import json
import os
import resource
import signal
import sys
import tempfile
import time

MEMORY, SECONDS = 2 * 10**9, 20
AT_ONCE = 2


def fork(case: dict, errors: str) -> int:
    import mergelab.cli
    import mergelab.engine

    pid = os.fork()
    if pid:
        return pid
    os.setpgid(0, 0)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    os.dup2(1, 0)
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(SECONDS)  # its default is to end the process
    sys.argv = ["mergelab", "merge", case["recipe"], case["out"]]
    mergelab.cli.entry_points = lambda **_: ()
    merge = mergelab.engine.merge
    mergelab.engine.merge = lambda *a, **options: merge(*a, **{**options, **case["options"]})
    status = 1
    try:
        mergelab.cli.main()
    except SystemExit as ended:
        status = ended.code or 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def main() -> None:
    import torch

    # imported before forking
    import mergelab.engine
    import mergelab.report_table  # noqa: F401

    torch.set_num_threads(1)
    cases = json.load(sys.stdin)
    found: list[dict] = [{} for _ in cases]
    running: dict[int, tuple[int, float]] = {}
    waiting = list(range(len(cases)))
    with tempfile.TemporaryDirectory() as folder:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                number = waiting.pop(0)
                began = time.monotonic()
                running[fork(cases[number], f"{folder}/{number}")] = number, began
            pid, status = os.wait()
            number, began = running.pop(pid)
            with open(f"{folder}/{number}", errors="replace") as file:
                found[number] = {
                    "status": os.waitstatus_to_exitcode(status),
                    "seconds": time.monotonic() - began,
                    "words": file.read(),
                }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
