"""The site, built once by the command that `make site` runs."""

import subprocess
import sys
from pathlib import Path

import pytest
from lab_server import REPOSITORY


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("website") / "site"
    command = [sys.executable, str(REPOSITORY / ".site/build.py"), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"Open {out / 'index.html'}\n"
    assert [each.name for each in out.parent.iterdir()] == ["site"]  # nothing half done is left
    return out
