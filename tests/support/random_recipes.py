"""Random merges of small tensors, for comparing one implementation with another.

Magnitudes within one task vector are all different, because implementations break ties in
different ways; weights are sixteenths, which every dtype holds exactly.
"""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mergelab.methods import REGISTRY
from mergelab.recipes.compat import preset
from mergelab.recipes.settings import Position, resolve

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# How far one rounding to nearest may be off, relative to the number.
ROUNDING = {torch.float32: 2.0**-24, torch.bfloat16: 2.0**-9, torch.float16: 2.0**-12}
DENSITIES = (0.006, 0.02, 0.13, 0.25, 0.37, 0.5, 0.66, 0.9, 1.0)
_SHAPES = ((7,), (40,), (6, 5), (9, 16), (5, 37), (16, 24))


@dataclass(frozen=True)
class Draw:
    """One random merge: task vectors of one dtype, weights, densities and drop masks."""

    dtype: torch.dtype
    deltas: list[Tensor]
    weights: list[float]
    densities: list[float]
    masks: list[Tensor]
    chance: np.random.Generator

    def flag(self) -> bool:
        return bool(self.chance.integers(2))

    def one_of(self, *choices: Any) -> Any:
        return choices[self.chance.integers(len(choices))]


def draw(
    number: int,
    dtype: torch.dtype,
    *,
    count: int | None = None,
    positive: bool = False,
    shapes: Sequence[tuple[int, ...]] = _SHAPES,
) -> Draw:
    """The merge that a number names. `count` sources, 2 to 4 by default."""
    chance = np.random.default_rng([number, 2026])
    shape = shapes[chance.integers(len(shapes))]
    count = count or int(chance.integers(2, 5))
    deltas = [distinct(chance, shape, dtype) for _ in range(count)]
    _plant_draws(deltas)
    sixteenths = chance.integers(1 if positive else -12, 33, count)
    weights = [float(w or 1) / 16 for w in sixteenths]
    if chance.integers(3) == 0:
        weights = [weights[0]] * count
    densities = [float(d) for d in chance.choice(DENSITIES, count)]
    if chance.integers(3) == 0:
        densities = [densities[0]] * count
    masks = [torch.from_numpy(chance.random(shape) < d) for d in densities]
    for i, mask in enumerate(masks):
        mask.view(-1)[:2] = i < 2  # what was planted survives, and nothing beside it
    return Draw(dtype, deltas, weights, densities, masks, chance)


def distinct(chance: np.random.Generator, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Numbers of different magnitudes between 1/64 and 4, every one of them held by the dtype."""
    bits = torch.finfo(dtype).eps
    per_octave = round(1 / bits)
    places = chance.choice(8 * per_octave, math.prod(shape), replace=False)
    magnitude = (1 + (places % per_octave) * bits) * 2.0 ** (places // per_octave - 6)
    signs = chance.choice([-1.0, 1.0], math.prod(shape))
    return torch.tensor(magnitude * signs, dtype=dtype).reshape(shape)


def _plant_draws(deltas: Sequence[Tensor]) -> None:
    """At two places the first two face each other with equal large changes, the rest have small.

    Where weights are alike and the small ones are dropped these are exact draws. Entries change
    places for it, so that magnitudes stay different.
    """
    first, second, *rest = (delta.view(-1) for delta in deltas)
    for place in range(2):
        _swap(first, place, int(first[place:].abs().argmax()) + place)
        wanted = -first[place].clone()
        known = (second.abs() == wanted.abs()).nonzero()
        if len(known):
            _swap(second, place, int(known[0]))
        second[place] = wanted
        for other in rest:
            _swap(other, place, int(other[place:].abs().argmin()) + place)


def _swap(values: Tensor, i: int, j: int) -> None:
    values[[i, j]] = values[[j, i]]


def merged(
    party: str, method: str, deltas: Sequence[Tensor], parameters: dict[str, Any], **more: Any
) -> Tensor:
    """What the method's function makes of task vectors under a preset.

    `parameters` are a recipe's, by its keys; a list holds one value for each source. `more` goes
    to the function as it is.
    """
    declared = REGISTRY[method]
    accepted = inspect.signature(declared.function).parameters
    settings = dict(more)
    for parameter in declared.parameters:
        name = "weights" if parameter.name == "weight" else parameter.name
        if name not in accepted:
            continue
        values = []
        for i in range(len(deltas)):
            scope = {k: v[i] if isinstance(v, list) else v for k, v in parameters.items()}
            values.append(resolve(parameter, [scope], Position("w", 0), preset(party, method)))
        settings[name] = values if parameter.per_source else values[0]
    return declared.function(deltas, **settings)


def inject(
    monkeypatch: pytest.MonkeyPatch,
    draw: Draw,
    *,
    streams: Sequence[int] | None = None,
    words: Sequence[Tensor] | None = None,
) -> list[Tensor]:
    """Make torch's Bernoulli draws and ours give the masks of `draw`, source by source.

    A source of density 1 draws nothing elsewhere and keeps all here. `streams`: the random stream
    of each mask, by default its number. `words`: random words to use instead of the masks.
    Returns a list that fills with the probabilities torch is asked to draw with.
    """
    words = words or [torch.where(mask, 0, 2**32 - 1) for mask in draw.masks]
    by_stream = dict(zip(streams or range(len(words)), words, strict=True))
    asked = iter([mask for mask, d in zip(draw.masks, draw.densities, strict=True) if d < 1])
    probabilities: list[Tensor] = []

    def bernoulli(p: Tensor) -> Tensor:
        probabilities.append(p)
        return next(asked).reshape(p.shape).to(p.dtype)

    monkeypatch.setattr(torch, "bernoulli", bernoulli)

    def random_words(size: int, *, stream: int, **_: Any) -> Tensor:
        return by_stream[stream].flatten()

    for name in ("dare", "della"):  # the package has functions of the modules' names
        module = importlib.import_module(f"mergelab.methods.{name}")
        monkeypatch.setattr(module, "random_words", random_words)
    return probabilities


def undecided(votes: Sequence[Tensor], before: Sequence[Tensor], unit: float) -> Tensor:
    """Entries whose votes sum to no more than a rounding of them, `unit`: either side may win.

    `before`: the same before anything was scaled and rounded. Two votes that were equal and against
    each other there, and still are, are a draw in any precision, and decided.
    """
    cast = torch.stack([vote.double() for vote in votes])
    exact = torch.stack([tensor.double() for tensor in before]) * (cast != 0)
    draw = (cast.sum(0) == 0) & (exact.sum(0) == 0) & ((cast != 0).sum(0) <= 2)
    return (cast.sum(0).abs() <= unit * cast.abs().sum(0)) & ~draw


def assert_within(ours: Tensor, theirs: Tensor, allowed: Tensor, but: Tensor | None = None) -> None:
    """Entries differ by no more than `allowed`; `but` marks the ones that are not compared."""
    assert ours.shape == theirs.shape
    apart = (ours.double() - theirs.double()).abs() > allowed
    if but is not None:
        apart &= ~but
        assert int(but.sum()) <= 2 + 0.05 * but.numel()
    assert not bool(apart.any()), (ours[apart], theirs[apart])
