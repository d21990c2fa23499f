"""Who does the inner loops: plain PyTorch anywhere, compiled loops on the CPU, Triton on a GPU.

All give the same bits (sums of squares for the report and products of factors apart), so which one
runs is a matter of speed only. This is the one place where it is chosen. Triton's kernels take
whole tensors and not parts; `mergelab.kernels.dispatch` hands them over.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any

from torch import Tensor

from mergelab.kernels import counting, selection
from mergelab.kernels.counting import Counts
from mergelab.methods.dare import drop
from mergelab.methods.linear import weighted_sum
from mergelab.methods.trimming import keep_between

BACKENDS = ("auto", "torch", "cpu", "triton")
WORTH_COMPILING = 1 << 25  # entries; below, loading compiled code takes longer than it saves


@dataclass(frozen=True)
class Backend:
    """The inner loops of merging, each as the function of that name in plain PyTorch does it.

    `entrywise` holds what stands in for a method's `combine` where it looks at single entries.
    `interpreted`: by Triton's interpreter, which bears only one merge at a time.
    """

    name: str
    keep_between: Callable[..., Tensor] = keep_between
    drop: Callable[..., Tensor] = drop
    weighted_sum: Callable[[Sequence[Tensor], Sequence[float]], Tensor] = weighted_sum
    count: Callable[..., Counts] = counting.count
    digits: selection.Digits = selection.digits
    entrywise: Mapping[Callable[..., Any], Callable[..., Tensor]] = field(default_factory=dict)
    interpreted: bool = False


TORCH = Backend("torch")
TRITON = Backend("triton")  # in parts, where a merge is none that its kernels take, as PyTorch


def choose(name: str = "auto", *, device: str = "cpu", entries: int = 0) -> Backend:
    """The backend to merge `entries` entries with on a device.

    `name`: "torch", "cpu", "triton", or "auto", which takes loops compiled for the CPU where they
    are there and worth loading, and PyTorch elsewhere. Raises `ValueError` if the name is unknown
    or what it names is not there.

    >>> choose("torch").name, choose("auto", entries=1000).name
    ('torch', 'torch')
    """
    if name not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {name!r}")
    if name == "triton" and find_spec("triton") is None:
        raise ValueError(
            "backend triton needs triton; pip install 'mergelab[kernels]', or use torch"
        )
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if name == "triton" and not device.startswith("cuda") and not interpreted:
        raise ValueError(f"backend triton does not run on {device}; use torch")
    if name == "triton":  # by name only, until its tests have run on a GPU
        return replace(TRITON, interpreted=interpreted)
    if name == "cpu" and device != "cpu":
        raise ValueError(f"backend cpu does not run on {device}; use torch")
    if name == "torch" or (name == "auto" and (device != "cpu" or entries < WORTH_COMPILING)):
        return TORCH
    try:
        return _compiled()
    except ImportError as error:  # numba is not there, or does not get on with this NumPy
        if name == "auto":
            return TORCH
        raise ValueError(
            f"backend cpu needs numba ({error}); pip install 'mergelab[kernels]', or use torch"
        ) from None


def _compiled() -> Backend:
    from mergelab.kernels import cpu
    from mergelab.methods.linear import linear, task_arithmetic
    from mergelab.methods.ties import elect_and_merge

    return Backend(
        "cpu",
        cpu.keep_between,
        cpu.drop,
        cpu.weighted_sum,
        cpu.count,
        cpu.digits,
        {
            linear: cpu.linear,
            task_arithmetic: cpu.task_arithmetic,
            elect_and_merge: cpu.elect_and_merge,
        },
    )
