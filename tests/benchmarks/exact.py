"""What a merge should give: the methods in float64, and files read by the safetensors library.

Nothing here comes from the package that is measured.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

DENSITY = 0.5


class Model:
    """A checkpoint folder, in one file or in shards; tensors are read when asked for."""

    def __init__(self, folder: Path) -> None:
        files = [safe_open(path, "pt") for path in sorted(Path(folder).glob("*.safetensors"))]
        self._files = {name: file for file in files for name in file.keys()}  # noqa: SIM118

    @property
    def names(self) -> list[str]:
        return sorted(self._files)

    def __getitem__(self, name: str) -> Tensor:
        return self._files[name].get_tensor(name)


class Lora:
    """A LoRA adapter folder; its changes come in float64."""

    def __init__(self, folder: Path) -> None:
        config = json.loads((Path(folder) / "adapter_config.json").read_text("utf-8"))
        self.scaling = config["lora_alpha"] / config["r"]
        self._factors = Model(folder)

    @property
    def names(self) -> list[str]:
        """Names of the weights that it changes."""
        end = ".lora_A.weight"
        found = [name.removesuffix(end) for name in self._factors.names if name.endswith(end)]
        return [f"{name.removeprefix('base_model.model.')}.weight" for name in found]

    def delta(self, name: str) -> Tensor:
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        a, b = (self._factors[f"{stem}.lora_{factor}.weight"].double() for factor in "AB")
        return self.scaling * (b @ a)


def linear(base: Tensor, deltas: Sequence[Tensor]) -> Tensor:
    """The average of the changes."""
    return sum(deltas) / len(deltas)


def task_arithmetic(base: Tensor, deltas: Sequence[Tensor]) -> Tensor:
    """The sum of the changes."""
    return sum(deltas)


def trim(delta: Tensor) -> Tensor:
    """The larger half of the entries by magnitude; the others are 0."""
    size = delta.abs().flatten().numpy()
    first_kept = size.size - math.floor(DENSITY * size.size + 0.5)
    return torch.where(delta.abs() >= np.partition(size, first_kept)[first_kept], delta, 0.0)


def elect_and_average(deltas: Sequence[Tensor]) -> Tensor:
    """Per entry, the mean of the changes whose sign is that of the sum."""
    sign = sum(deltas).sign()
    total, count = torch.zeros_like(sign), torch.zeros_like(sign)
    for delta in deltas:
        agrees = (delta.sign() == sign) & (sign != 0)
        total += torch.where(agrees, delta, 0.0)
        count += agrees
    return total / count.clamp(min=1)


def ties(base: Tensor, deltas: Sequence[Tensor]) -> Tensor:
    """Trim, elect, average (Yadav et al. 2023, arXiv 2306.01708, algorithm 1)."""
    return elect_and_average([trim(delta) for delta in deltas])


def dare_ties_mean(base: Tensor, deltas: Sequence[Tensor]) -> Tensor:
    """What dare_ties gives on average over all masks: each combination of drops, times its odds."""
    total = torch.zeros_like(deltas[0])
    for kept in product((0.0, 1.0), repeat=len(deltas)):
        odds = math.prod(DENSITY if keep else 1 - DENSITY for keep in kept)
        survivors = [delta * (keep / DENSITY) for delta, keep in zip(deltas, kept, strict=True)]
        total += odds * elect_and_average(survivors)
    return total


def arc(a: Tensor, b: Tensor, t: float = 0.5) -> Tensor:
    """Shoemake's formula on two tensors as flat vectors; the angle by Kahan's formula."""
    x, y = a / a.norm(), b / b.norm()
    theta = 2 * math.atan2(float((x - y).norm()), float((x + y).norm()))
    return (math.sin((1 - t) * theta) * a + math.sin(t * theta) * b) / math.sin(theta)


def slerp_of_weights(base: Tensor, deltas: Sequence[Tensor]) -> Tensor:
    """The change that half way between the two full weights makes."""
    first, second = deltas
    return arc(base + first, base + second) - base


def slerp_of_task_vectors(base: Tensor, deltas: Sequence[Tensor]) -> Tensor:
    """Half way between the two changes."""
    return arc(*deltas)
