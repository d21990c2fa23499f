"""How long work takes on a device, and how long a plain copy of as many bytes takes there."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

_CACHE = 256 << 20  # bytes: more than any GPU keeps in its cache


class Stopwatch:
    """Times work on a device: by events on a GPU, by the clock on a CPU.

    On a GPU the cache is emptied before, so that inputs are read from memory.

    >>> Stopwatch("cpu").seconds(lambda: time.sleep(0.01)) >= 0.01
    True
    """

    def __init__(self, device: str) -> None:
        self._on_gpu = device.startswith("cuda")
        self._device = device
        if self._on_gpu:
            self._flush = torch.empty(_CACHE, dtype=torch.uint8, device=device)

    def seconds(self, work: Callable[[], object]) -> float:
        """The seconds that one call of `work` takes, to the end of all that it starts."""
        if not self._on_gpu:
            start = time.perf_counter()
            work()
            return time.perf_counter() - start
        with torch.cuda.device(self._device):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            self._flush.zero_()
            start.record()
            work()
            end.record()
            end.synchronize()
            return start.elapsed_time(end) / 1000


class Copy:
    """A copy on the device that moves `nbytes` in all: it reads half of them and writes half."""

    def __init__(self, nbytes: int, device: str) -> None:
        half = max(1, nbytes // 2)
        self._source = torch.ones(half, dtype=torch.uint8, device=device)
        self._target = torch.zeros_like(self._source)
        self.moved = 2 * half

    def __call__(self) -> None:
        self._target.copy_(self._source)
