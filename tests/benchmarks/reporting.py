"""Where these scripts write to, and the packages whose versions matter to them."""

from __future__ import annotations

from pathlib import Path

from mergelab.benchmarks import record
from mergelab.benchmarks.record import save, table

__all__ = ["FOLDER", "circumstances", "save", "table"]

FOLDER = Path(__file__).resolve().parents[2] / "data" / "benchmarks"
_PACKAGES = ("mergelab", "mergekit", "peft", "torch", "transformers", "safetensors", "numpy")


def circumstances(command: str) -> dict[str, object]:
    """What a reader needs to judge the numbers, and to make them again."""
    return record.circumstances(command, _PACKAGES)
