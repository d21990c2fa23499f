"""A server of ours as a process that runs for as long as a block lasts."""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# What is started must find the package under test, wherever it starts.
PYTHONPATH = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))


@contextmanager
def running(
    line: Sequence[str], log: Path, *, env: Mapping[str, str], cwd: Path | str, patience: float = 30
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server that writes into `log`; it is asked to end, and killed `patience` s later."""
    with log.open("w") as output:
        server = subprocess.Popen(line, env=env, cwd=cwd, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield server
    finally:
        server.terminate()
        try:
            server.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
