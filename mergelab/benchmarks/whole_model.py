"""TIES over every matrix of a model of a real shape, beside a copy of that model's base.

Matrix by matrix, with random weights made on the device, so that a model of any size fits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import prod
from statistics import median

import torch

from mergelab.benchmarks.cases import KERNELS, SEED, merge_of, random_tensors
from mergelab.benchmarks.kernels import WARM_UP, Setting, checked_merge, passes
from mergelab.benchmarks.stopwatch import Copy, Stopwatch
from mergelab.kernels.fused import FusedMerge
from mergelab.zoo.shapes import SHAPES

TIES = next(kernel for kernel in KERNELS if kernel.name == "ties")


@dataclass(frozen=True)
class ModelTiming:
    """Sums over a model, one for each repeat, in seconds.

    `seconds`: of merging the `matrices` that adapters change, thresholds included; `copy_seconds`:
    of copying the same matrices of the base; `rest_seconds`: of copying all its other tensors,
    which a merge does, too.
    """

    shape: str
    sources: int
    rank: int
    fused: bool
    matrices: int
    merged_values: int
    base_bytes: int
    seconds: tuple[float, ...]
    copy_seconds: tuple[float, ...]
    rest_seconds: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """How many times as long merging takes as copying the same matrices."""
        return median(self.seconds) / median(self.copy_seconds)

    @property
    def whole_ratio(self) -> float:
        """The same for the whole base, the tensors that are only copied on both sides."""
        rest = median(self.rest_seconds)
        return (median(self.seconds) + rest) / (median(self.copy_seconds) + rest)

    def to_dict(self) -> dict[str, object]:
        sums = ("seconds", "copy_seconds", "rest_seconds")
        return asdict(self) | {
            **{name: list(getattr(self, name)) for name in sums},
            **{f"median_{name}": median(getattr(self, name)) for name in sums},
            "ratio_to_copy": self.ratio,
            "whole_base_ratio_to_copy": self.whole_ratio,
        }


def time_model(
    shape: str,
    setting: Setting,
    watching: Callable[[int, int, str], object] = lambda done, total, name: None,
) -> ModelTiming:
    """Time TIES of two adapters over a model of `SHAPES`, in turns with copies of its base.

    The first matrix of each size is checked before it is timed; raises `WrongResult`, and no times.
    `setting.shape` and `setting.sources` are not used. `watching` as in `time_kernels`.
    """
    matrices = list(SHAPES[shape].linears())
    watch, fused = Stopwatch(setting.device), True
    merging, copying = [0.0] * setting.repeats, [0.0] * setting.repeats
    known: set[tuple[int, int]] = set()
    for number, (name, size) in enumerate(matrices):
        watching(number, len(matrices), name)
        tensors = random_tensors(
            "factors",
            size,
            2,
            dtype=setting.dtype,
            rank=setting.rank,
            device=setting.device,
            seed=SEED + number,
        )
        merge = merge_of(TIES, tensors, setting.backend)
        base = tensors.base.tensor
        out, target = torch.zeros_like(base), torch.zeros_like(base)
        unknown = size not in known
        if unknown:  # also the warm-up of its size
            checked_merge(merge, f"ties of a matrix of {size[0]} x {size[1]}")
            known.add(size)
        for repeat in range(-WARM_UP if unknown else 0, setting.repeats):
            run, seconds = passes(merge, out, watch, "whole")
            copied = watch.seconds(lambda t=target, b=base: t.copy_(b))
            fused = fused and isinstance(run, FusedMerge)
            if repeat >= 0:
                merging[repeat] += seconds
                copying[repeat] += copied
    merged = {f"{name}.weight" for name, _ in matrices}
    others = [prod(s) for n, s in SHAPES[shape].tensors().items() if n not in merged]
    width = setting.dtype.itemsize
    values = sum(prod(size) for _, size in matrices)
    return ModelTiming(
        shape=shape,
        sources=2,
        rank=setting.rank,
        fused=fused,
        matrices=len(matrices),
        merged_values=values,
        base_bytes=(values + sum(others)) * width,
        seconds=tuple(merging),
        copy_seconds=tuple(copying),
        rest_seconds=_rest(others, width, watch, setting),
    )


def _rest(
    others: Sequence[int], width: int, watch: Stopwatch, setting: Setting
) -> tuple[float, ...]:
    """The seconds of copying tensors of these sizes, in each repeat."""
    sums = [0.0] * setting.repeats
    for size in others:
        copy = Copy(2 * size * width, setting.device)
        for repeat in range(-1, setting.repeats):
            seconds = watch.seconds(copy)
            if repeat >= 0:
                sums[repeat] += seconds
    return tuple(sums)
