"""The time of every fused kernel, as a share of what a plain copy of the same bytes takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median

import torch
from torch import Tensor

from mergelab.benchmarks.cases import (
    KERNELS,
    KINDS,
    METHODS,
    Kernel,
    Tensors,
    bytes_moved,
    merge_of,
    random_tensors,
)
from mergelab.benchmarks.checking import Checked, WrongResult, check
from mergelab.benchmarks.stopwatch import Copy, Stopwatch
from mergelab.kernels import Backend, Merge, TiledMerge, open_merge
from mergelab.kernels.backends import TORCH
from mergelab.kernels.fused import FusedMerge

WARM_UP = 2  # runs that are not counted
Run = TiledMerge | FusedMerge


@dataclass(frozen=True)
class Setting:
    """What the kernels work on, and how often. `dtype`: of base, dense sources and output."""

    shape: tuple[int, int]
    dtype: torch.dtype = torch.bfloat16
    sources: int = 2
    rank: int = 16
    device: str = "cpu"
    backend: Backend = TORCH
    repeats: int = 9


@dataclass(frozen=True)
class Timing:
    """One kernel on one kind of sources.

    `seconds` and `copy_seconds`: one for each repeat, taken in turns. `fused`: whether a kernel of
    the backend did it, or `TiledMerge` in plain steps. `copied`: bytes that the copy moved.
    """

    kernel: str
    kind: str
    fused: bool
    bytes: int
    copied: int
    seconds: tuple[float, ...]
    copy_seconds: tuple[float, ...]
    checked: Checked

    @property
    def rate(self) -> float:
        """Bytes that must move, per second of the median run."""
        return self.bytes / median(self.seconds)

    @property
    def copy_rate(self) -> float:
        """Bytes that the copy moves, per second of its median run."""
        return self.copied / median(self.copy_seconds)

    @property
    def fraction(self) -> float:
        """The kernel's rate as a fraction of the copy's."""
        return self.rate / self.copy_rate

    def to_dict(self) -> dict[str, object]:
        return asdict(self) | {
            "seconds": list(self.seconds),
            "copy_seconds": list(self.copy_seconds),
            "median_seconds": median(self.seconds),
            "median_copy_seconds": median(self.copy_seconds),
            "bytes_per_second": self.rate,
            "copy_bytes_per_second": self.copy_rate,
            "fraction_of_copy": self.fraction,
        }


def kernels_of(methods: Sequence[str], sources: int) -> list[Kernel]:
    """The kernels of these methods that take so many sources: slerp joins exactly two.

    >>> [kernel.name for kernel in kernels_of(["linear", "slerp"], 3)]
    ['linear']
    """
    return [k for k in KERNELS if k.method in methods and (k.method != "slerp" or sources == 2)]


def time_kernels(
    setting: Setting,
    methods: Sequence[str] = METHODS,
    watching: Callable[[int, int, str], object] = lambda done, total, name: None,
) -> list[Timing]:
    """Check every kernel, then time it in turns with a copy; raises `WrongResult` and no times.

    `watching` is told how many are done, of how many, and which is next.
    """
    chosen = kernels_of(methods, setting.sources)
    total = len(chosen) * len(KINDS)
    watch, found = Stopwatch(setting.device), []
    for kind in KINDS:
        options = {"dtype": setting.dtype, "rank": setting.rank, "device": setting.device}
        tensors = random_tensors(kind, setting.shape, setting.sources, **options)
        checked: dict[tuple[str, bool], Checked] = {}
        for kernel in chosen:
            watching(len(found), total, f"{kernel.name}, {kind}")
            merge = merge_of(kernel, tensors, setting.backend)
            passes = kernel.method, kernel.in_weights
            if passes not in checked:  # one check of a method is one of all its passes
                checked[passes] = checked_merge(merge, f"{kernel.method} of {kind} sources")
            found.append(_timed(kernel, kind, merge, tensors, watch, setting, checked[passes]))
    return found


def checked_merge(merge: Merge, name: str) -> Checked:
    """Run a merge once and hold it against the reference; raises `WrongResult`, with the name."""
    base = merge.base.tensor
    run = open_merge(merge, base.dtype)
    weights = merged_into(run, torch.full_like(base, torch.nan))
    try:
        return check(run, weights, merge)
    except WrongResult as wrong:
        raise WrongResult(f"{name}, backend {merge.backend.name}: {wrong}") from None


def merged_into(run: Run, out: Tensor) -> Tensor:
    """The merged tensor, in `out`; or the run's own where it made one whole, of that dtype."""
    whole = None
    for part in run.parts():
        if part.weights.shape == out.shape and part.weights.dtype == out.dtype:
            whole = part.weights
        else:
            out[part.start : part.stop] = part.weights
    return out if whole is None else whole


def _timed(
    kernel: Kernel,
    kind: str,
    merge: Merge,
    tensors: Tensors,
    watch: Stopwatch,
    setting: Setting,
    checked: Checked,
) -> Timing:
    out = torch.zeros_like(tensors.base.tensor)
    nbytes = bytes_moved(kernel, tensors)
    copy = Copy(nbytes, setting.device)
    seconds, copy_seconds = [], []
    for _ in range(WARM_UP + setting.repeats):
        run, taken = passes(merge, out, watch, kernel.passes)
        seconds.append(taken)
        copy_seconds.append(watch.seconds(copy))
    return Timing(
        kernel=kernel.name,
        kind=kind,
        fused=isinstance(run, FusedMerge),
        bytes=nbytes,
        copied=copy.moved,
        seconds=tuple(seconds[WARM_UP:]),
        copy_seconds=tuple(copy_seconds[WARM_UP:]),
        checked=checked,
    )


def passes(merge: Merge, out: Tensor, watch: Stopwatch, which: str) -> tuple[Run, float]:
    """Run a merge anew; the seconds of its "first" passes, of the "merge" pass, or of the "whole".

    Inner products that only a report asks for are made between the two, and not timed.
    """
    opened: list[Run] = []
    first = watch.seconds(lambda: opened.append(open_merge(merge, out.dtype)))
    (run,) = opened
    if which == "first":
        return run, first
    if isinstance(run, FusedMerge):
        _ = run.weight_gram
    last = watch.seconds(lambda: merged_into(run, out))
    return run, first + last if which == "whole" else last


def ranges(values: Sequence[float]) -> Iterator[float]:
    """Median, least and most."""
    yield from (median(values), min(values), max(values))
