"""The command that `make site` runs."""

import subprocess
import sys
from pathlib import Path

from server_process import REPOSITORY


def built(out: Path) -> subprocess.CompletedProcess[str]:
    """Build the site into a folder."""
    command = [sys.executable, str(REPOSITORY / ".site/build.py"), "--out", str(out)]
    return subprocess.run(command, capture_output=True, text=True)
