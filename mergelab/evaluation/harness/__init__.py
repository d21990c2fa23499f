"""The suites as tasks of lm-evaluation-harness, which finds them by `--include_path`."""

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
