"""Results as JSON, and as Markdown to read: with machine, versions, date and command."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "data" / "benchmarks"
_PACKAGES = ("mergelab", "mergekit", "peft", "torch", "transformers", "safetensors", "numpy")


def circumstances(command: str) -> dict[str, object]:
    """What a reader needs to judge the numbers, and to make them again."""
    info = Path("/proc/cpuinfo").read_text()
    processor = re.search(r"model name\s*:\s*(.+)", info)
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    return {
        "command": command,
        "date": date.today().isoformat(),
        "machine": {
            "processor": processor[1] if processor else platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gb": round(int(memory[1]) * 1024 / 1e9, 1),
            "load_before": round(os.getloadavg()[0], 2),
        },
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in _PACKAGES},
    }


def save(
    folder: Path,
    name: str,
    title: str,
    about: dict[str, object],
    results: dict[str, object],
    parts: Sequence[str],
) -> None:
    """Write `NAME.json` and `NAME.md`; `parts` are the Markdown's paragraphs and tables."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(about | results, indent=1, allow_nan=False)
    (folder / f"{name}.json").write_text(text + "\n", "utf-8")
    machine, versions = about["machine"], about["versions"]
    setting = (
        f"{about['date']}, {machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_gb']} GB; load average before: {machine['load_before']}. "
        + ", ".join(f"{package} {number}" for package, number in versions.items())
        + f".\n\nMade by `{about['command']}`."
    )
    (folder / f"{name}.md").write_text("\n\n".join([f"# {title}", *parts, setting]) + "\n", "utf-8")


def table(header: Sequence[str], rows: Sequence[Sequence[str]], text: int = 1) -> str:
    """A Markdown table; the first `text` columns are words, the others numbers, set to the right.

    >>> print(table(["method", "time"], [["ties", "3.1"]]))
    | method | time |
    | :-- | --: |
    | ties | 3.1 |
    """
    lines = [header, [*[":--"] * text, *["--:"] * (len(header) - text)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
