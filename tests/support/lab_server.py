"""`mergelab lab`, running on a free port for as long as a block lasts."""

import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server_process import PYTHONPATH, running

from autograder.courses import Course

TOKEN = "open-sesame"


@contextmanager
def lab_server(course: Course, log: Path, *, instructor: bool = False) -> Iterator[str]:
    """Serve a course; gives the address, and stops the server and its kernels at the end."""
    line = [sys.executable, "-m", "mergelab", "lab", "--no-browser", "--port=0"]
    variables = {
        **os.environ,
        "PYTHONPATH": PYTHONPATH,
        "MERGELAB_ROOT": str(course.root),
        "MERGELAB_COURSE": str(course.state),
        "JUPYTER_TOKEN": TOKEN,
        "SHELL": "/bin/sh",
    }
    line += ["--instructor"] if instructor else []
    with running(line, log, env=variables, cwd=course.root) as server:
        yield _address(server, log)


def _address(server: subprocess.Popen, log: Path, patience: float = 180) -> str:
    """The address that the server prints, once it answers there."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if server.poll() is not None:
            raise AssertionError(f"the server stopped:\n{log.read_text()}")
        found = re.search(r"http://127\.0\.0\.1:\d+/", log.read_text())
        if found and _answers(found[0]):
            return found[0]
        time.sleep(0.1)
    raise AssertionError(f"the server does not answer:\n{log.read_text()}")


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}api", timeout=10):
            return True
    except urllib.error.URLError:
        return False
