"""The report of the end-to-end benchmark: costs side by side, and ratios where they are due."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from measuring import Measurement
from reporting import table

OURS, MERGEKIT = "mergelab", "mergekit"
GB = 1e9


@dataclass(frozen=True)
class Cost:
    """What a tool needed in each of its runs."""

    command: str
    runs: list[Measurement]

    @property
    def seconds(self) -> float:
        """The median time."""
        return statistics.median(run.seconds for run in self.runs)

    @property
    def peak_bytes(self) -> int:
        """The highest peak."""
        return max(run.peak_bytes for run in self.runs)

    def row(self) -> list[str]:
        times = [run.seconds for run in self.runs]
        spread = f" ({min(times):.1f} to {max(times):.1f})" if len(times) > 1 else ""
        worst = [
            max(getattr(run, f"{what}_bytes") for run in self.runs) / GB
            for what in ("peak", "scratch", "output")
        ]
        return [f"{self.seconds:.1f}{spread}", *(f"{size:.2f}" for size in worst)]

    def to_dict(self) -> dict[str, object]:
        return {"command": self.command, "runs": [asdict(run) for run in self.runs]}


def ratios(costs: dict[str, Cost]) -> dict[str, float]:
    """How many times as much: mergekit beside ours, ours beside a copy."""
    ours = costs[OURS]
    found = {"time_ours_to_copy": ours.seconds / costs["copy"].seconds}
    if MERGEKIT in costs:
        theirs = costs[MERGEKIT]
        found["time_mergekit_to_ours"] = theirs.seconds / ours.seconds
        found["peak_mergekit_to_ours"] = theirs.peak_bytes / ours.peak_bytes
    return found


def growth(results: Sequence[dict]) -> list[dict]:
    """Our peak at each shape, and its ratio to the first shape's, method by method."""
    found, first = [], {}
    for result in results:
        peak = result["costs"][OURS].peak_bytes
        start = first.setdefault(result["method"], peak)
        found.append(
            {
                "method": result["method"],
                "shape": result["shape"],
                "peak_bytes": peak,
                "to_first": peak / start,
            }
        )
    return found


def markdown(results: Sequence[dict]) -> list[str]:
    """The paragraphs and tables of the report."""
    costs, compared, seen = [], [], set()
    for result in results:
        for name, cost in result["costs"].items():
            label = "" if name == "copy" else result["method"]
            if (result["shape"], label, name) not in seen:
                costs.append([result["shape"], label, name, *cost.row()])
            seen.add((result["shape"], label, name))
        compared.append(
            [result["shape"], result["method"], *_compared(result["ratios"], result["agreement"])]
        )
    header = ["shape", "method", "tool", "time in s", "peak memory in GB"]
    parts = [
        "Two adapters (LoRA, rank 16, every linear layer) merged into a base in bf16. Time: median "
        "(range) of fresh processes, page cache warm. Peak memory: maximum resident set, mapped "
        "pages included. Scratch: the most that lay on disk beside the output. GB: 10^9 bytes. "
        "Copy: `cp` of the base and fsync.",
        table([*header, "scratch in GB", "output in GB"], costs, text=3),
        "Ratios, given only where the outputs agree. Error: relative distance of the merged "
        "change to its float64 computation on a sample of tensors; floor: what one rounding to "
        "bf16 costs. For dare_ties, whose masks differ: slope of the change on its average over "
        "all masks.",
        table(
            [
                "shape",
                "method",
                "time, mergekit : ours",
                "memory, mergekit : ours",
                "time, ours : copy",
                "floor",
                "our error",
                "mergekit's error",
            ],
            compared,
            text=2,
        ),
    ]
    if len({result["shape"] for result in results}) > 1:
        rows = [
            [g["method"], g["shape"], f"{g['peak_bytes'] / GB:.2f}", f"{g['to_first']:.2f}"]
            for g in growth(results)
        ]
        parts.append("Our peak memory by shape:")
        parts.append(
            table(["method", "shape", "peak memory in GB", "to the first shape"], rows, text=2)
        )
    return parts


def _compared(found: dict[str, float] | None, agreement: dict) -> list[str]:
    keys = ("time_mergekit_to_ours", "peak_mergekit_to_ours", "time_ours_to_copy")
    if found is None:
        cells = ["outputs differ"] * len(keys)
    else:
        cells = [f"{found[key]:.1f}" if key in found else "" for key in keys]
    cells.append(f"{agreement['floor']:.2%}" if "floor" in agreement else "")
    for who in ("ours", "theirs"):
        if f"slope_{who}" in agreement:
            cells.append(f"slope {agreement[f'slope_{who}']:.3f}")
        else:
            key = f"error_{who}"
            cells.append(f"{agreement[key]:.2%}" if key in agreement else "")
    return cells
