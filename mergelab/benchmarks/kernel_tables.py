"""What was measured of the kernels, as JSON, as tables for a terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from mergelab.benchmarks.cases import DENSITY
from mergelab.benchmarks.kernels import Setting, Timing, ranges
from mergelab.benchmarks.record import table
from mergelab.benchmarks.whole_model import ModelTiming

if TYPE_CHECKING:
    from rich.table import Table

HEADER = ("kernel", "sources", "MB", "time in ms", "GB/s", "copy, GB/s", "share of copy", "error")
MODEL_HEADER = ("model", "matrices", "10^9 values", "merge in s", "copy in s", "merge : copy",
                "whole base")  # fmt: skip
_WHO = {
    "torch": "Backend torch: plain PyTorch, in parts, with the inner products for a report",
    "cpu": "Backend cpu: loops compiled by numba",
    "triton": "Backend triton: one kernel for each pass",
}


def to_json(
    setting: Setting, timings: Sequence[Timing], model: ModelTiming | None
) -> dict[str, object]:
    """Everything measured, one entry for each kernel and kind of sources."""
    return {
        "setting": {
            "device": setting.device,
            "backend": setting.backend.name,
            "interpreted": setting.backend.interpreted,
            "dtype": str(setting.dtype).removeprefix("torch."),
            "size": list(setting.shape),
            "sources": setting.sources,
            "rank": setting.rank,
            "density": DENSITY,
            "repeats": setting.repeats,
        },
        "kernels": [timing.to_dict() for timing in timings],
        "model": None if model is None else model.to_dict(),
    }


def rich_tables(
    setting: Setting, timings: Sequence[Timing], model: ModelTiming | None
) -> list[Table]:
    """The tables for a terminal."""
    tables = [(HEADER, [_row(timing) for timing in timings], 2, "Times beside a plain copy")]
    if model is not None:
        tables.append((MODEL_HEADER, [_model_row(model)], 1, "TIES over a whole model"))
    return [_rich(*parts) for parts in tables if parts[1]]


def notes(setting: Setting, timings: Sequence[Timing], model: ModelTiming | None) -> list[str]:
    """What a reader must know of the numbers, as paragraphs."""
    rows, columns = setting.shape
    dtype = str(setting.dtype).removeprefix("torch.")
    found = [_where(setting)]
    if timings:
        found.append(
            f"{setting.sources} {'source' if setting.sources == 1 else 'sources'} of "
            f"{rows} x {columns} ({prod(setting.shape):,} values); base, dense task vectors "
            f"and output in {dtype}, factors in float32, of rank {setting.rank}. Density "
            f"{DENSITY:g}. Median (range) of {setting.repeats} runs, in turns with a copy on the "
            "same device that moves as many bytes: it reads half of them and writes half. MB, "
            "10^6 bytes: what must move at least, that is base, sources and output once each; for "
            "inner products and thresholds the sources alone, and the base where weights are "
            "joined. Share of copy: the kernel's rate in these bytes over the copy's."
        )
        found.append(
            "Every result was first held against the methods' pure functions in float64; error: "
            "the largest of the weights, in units of the last place ('ulp', 1 is allowed), or as "
            "a multiple of the error that the same functions make in fp32 ('x', 2 is allowed)."
        )
        parts = sorted({timing.kernel for timing in timings if not timing.fused})
        if parts and setting.backend.name != "torch":
            found.append(f"Done in parts, for the kernels do not take them: {', '.join(parts)}.")
        if setting.sources != 2:
            found.append("slerp is not there: it joins exactly two.")
    if model is not None:
        found.append(
            f"Model: TIES of two adapters of rank {model.rank} on every linear projection of a "
            f"Llama of shape {model.shape} in {dtype}, random weights, matrix by matrix, "
            "thresholds included; copy: of the same matrices of the base, in turns. Whole base: "
            "the same ratio with the copies of all other tensors on both sides."
        )
    return found


def _where(setting: Setting) -> str:
    who = _WHO[setting.backend.name]
    if setting.backend.interpreted:
        return f"{who}, run by Triton's interpreter on a CPU: the times say nothing about a GPU."
    if setting.device == "cpu":
        return (
            f"{who}, on a CPU, in one thread, as each worker of a merge runs; the copy, too. It "
            "says nothing about a GPU."
        )
    return f"{who}, on {setting.device}; the cache is emptied before each run."


def markdown(
    setting: Setting, timings: Sequence[Timing], model: ModelTiming | None
) -> tuple[str, list[str]]:
    """The title of a page and its parts."""
    parts = notes(setting, timings, model)
    if timings:
        parts.append(table(HEADER, [_row(timing) for timing in timings], text=2))
    if model is not None:
        parts.append(table(MODEL_HEADER, [_model_row(model)]))
    return f"Fused kernels: backend {setting.backend.name}, device {setting.device}", parts


def _row(timing: Timing) -> list[str]:
    unit = "ulp" if timing.checked.unit == "ulp" else "x"
    return [
        timing.kernel,
        timing.kind,
        f"{timing.bytes / 1e6:.4g}",
        _span([seconds * 1e3 for seconds in timing.seconds]),
        f"{timing.rate / 1e9:.3g}",
        f"{timing.copy_rate / 1e9:.3g}",
        f"{timing.fraction:.3g}",
        f"{timing.checked.error:.2f} {unit}",
    ]


def _model_row(model: ModelTiming) -> list[str]:
    return [
        model.shape,
        str(model.matrices),
        f"{model.merged_values / 1e9:.3g}",
        _span(model.seconds),
        _span(model.copy_seconds),
        f"{model.ratio:.3g}",
        f"{model.whole_ratio:.3g}",
    ]


def _span(values: Sequence[float]) -> str:
    middle, least, most = (f"{value:.3g}" for value in ranges(values))
    return f"{middle} ({least} to {most})" if len(values) > 1 else middle


def _rich(header: Sequence[str], rows: Sequence[Sequence[str]], text: int, caption: str) -> Table:
    from rich.table import Table

    made = Table(caption=caption)
    for place, name in enumerate(header):
        made.add_column(name, justify="left" if place < text else "right")
    for row in rows:
        made.add_row(*row)
    return made
