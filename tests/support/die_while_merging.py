"""Runs `mergelab merge` many times in forked children and ends each at a given moment.

Usage: python die_while_merging.py RECIPE FOLDER SIGNAL MOMENT [MOMENT ...]

The first child runs undisturbed into FOLDER/whole and gives the time that a merge takes; then a
child for each MOMENT, a fraction of that time, merges into FOLDER/out-MOMENT and gets SIGNAL.
Prints one line of JSON: for each moment the exit status, -N where signal N ended the child, and
the children's last words on stderr. Forking after the imports makes a run short, so that the
moments fall inside the merge and not into the interpreter's start.
"""

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path


def run_child(recipe: str, out: Path, errors: Path) -> int:
    import mergelab.cli

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
    status = 1
    try:
        mergelab.cli.main()
    except SystemExit as ended:
        status = ended.code or 0
    finally:
        sys.stderr.flush()
        os._exit(status)


def main() -> None:
    recipe, folder, number = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    moments = [float(text) for text in sys.argv[4:]]
    import torch

    import mergelab.engine  # noqa: F401  (imported before forking)

    torch.set_num_threads(1)
    start = time.perf_counter()
    pid = run_child(recipe, folder / "whole", folder / "errors-whole")
    _, status = os.waitpid(pid, 0)
    length = time.perf_counter() - start
    found = {"whole": os.waitstatus_to_exitcode(status), "seconds": length, "runs": []}
    for moment in moments:
        errors = folder / f"errors-{moment}"
        pid = run_child(recipe, folder / f"out-{moment}", errors)
        time.sleep(moment * length)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        _, status = os.waitpid(pid, 0)
        found["runs"].append([moment, os.waitstatus_to_exitcode(status), errors.read_text()])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
