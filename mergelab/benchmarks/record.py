"""Results as JSON, and as Markdown to read: with machine, versions, date and command."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from mergelab.errors import UserError


def circumstances(command: str, packages: Sequence[str]) -> dict[str, object]:
    """What a reader needs to judge the numbers, and to make them again.

    `packages`: whose versions matter; one that is not installed is left out.

    >>> sorted(circumstances("mergelab bench kernels", ["numpy"])["versions"])
    ['numpy', 'python']
    """
    return {
        "command": command,
        "date": date.today().isoformat(),
        "machine": {
            "processor": _processor(),
            "cores": len(psutil.Process().cpu_affinity()) if _LINUX else os.cpu_count(),
            "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
            "load_before": round(os.getloadavg()[0], 2),
        },
        "versions": {"python": platform.python_version()} | _versions(packages),
    }


_LINUX = platform.system() == "Linux"


def _processor() -> str:
    try:
        named = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        named = None
    return named[1] if named else platform.processor() or platform.machine()


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def device_named(device: str) -> dict[str, object]:
    """The name of a device of PyTorch's; of a GPU also its memory, driver and CUDA version.

    >>> device_named("cpu")["kind"]
    'cpu'
    """
    if not device.startswith("cuda"):
        return {"kind": "cpu", "name": _processor()}
    import torch

    found = torch.cuda.get_device_properties(device)
    return {
        "kind": "cuda",
        "name": found.name,
        "memory_gb": round(found.total_memory / 1e9, 1),
        "driver": _driver(),
        "cuda": torch.version.cuda,
    }


def _driver() -> str | None:
    """The version of NVIDIA's driver, None where nobody tells."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    asked = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(done.stdout.split()), None)


def setting_line(about: dict[str, object]) -> str:
    """Date, machine and versions in one sentence or two."""
    machine, versions, device = about["machine"], about["versions"], about.get("device")
    gpu = ""
    if device and device["kind"] == "cuda":
        driver = device["driver"] or "unknown"
        gpu = (
            f"{device['name']}, {device['memory_gb']} GB, driver {driver}, CUDA {device['cuda']}; "
        )
    return (
        f"{about['date']}, {gpu}{machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_gb']} GB; load average before: {machine['load_before']}. "
        + ", ".join(f"{package} {number}" for package, number in versions.items())
        + "."
    )


def save(
    folder: Path,
    name: str,
    title: str,
    about: dict[str, object],
    results: dict[str, object],
    parts: Sequence[str],
) -> None:
    """Write `NAME.json` and `NAME.md`, both whole or none; `parts` are the Markdown's paragraphs.

    Earlier ones of that name are replaced. Raises `UserError` where they cannot be written.
    """
    closing = f"{setting_line(about)}\n\nMade by `{about['command']}`."
    texts = {
        f"{name}.json": json.dumps(about | results, indent=1, allow_nan=False),
        f"{name}.md": "\n\n".join([f"# {title}", *parts, closing]),
    }
    aside = {file: folder / f".{file}.partial-{os.getpid()}" for file in texts}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            aside[file].write_text(text + "\n", "utf-8")
        for file, path in aside.items():
            path.replace(folder / file)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror})") from None
    finally:
        for path in aside.values():
            path.unlink(missing_ok=True)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], text: int = 1) -> str:
    """A Markdown table; the first `text` columns are words, the others numbers, set to the right.

    >>> print(table(["method", "time"], [["ties", "3.1"]]))
    | method | time |
    | :-- | --: |
    | ties | 3.1 |
    """
    lines = [header, [*[":--"] * text, *["--:"] * (len(header) - text)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
