"""A simple symmetric quantisation of weights, for seeing what is left of a change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

GROUP = 64  # neighbours that share a step


def codes(weights: Tensor, bits: int, group: int = GROUP) -> tuple[Tensor, Tensor]:
    """Whole numbers and the step of each group: weights are about number times step.

    `weights`: any shape whose size `group` divides, `bits` from 2 to 8. The numbers are int8
    `[groups, group]`, between -(2**(bits-1)-1) and its opposite; steps are `[groups, 1]`: the
    group's largest magnitude over the largest number.

    >>> numbers, step = codes(torch.tensor([0.6, -1.27, 0.004, 0.006]), 8, group=4)
    >>> numbers.tolist(), round(step.item(), 4)
    ([[60, -127, 0, 1]], 0.01)
    """
    top = 2 ** (bits - 1) - 1
    groups = weights.reshape(-1, group)
    step = groups.abs().amax(1, keepdim=True) / top
    step = torch.where(step == 0, torch.ones_like(step), step)
    return (groups / step).round().clamp(-top, top).to(torch.int8), step


def round_trip(weights: Tensor, bits: int, group: int = GROUP) -> Tensor:
    """Weights as they come back from `bits` bits: of their shape, fp32."""
    numbers, step = codes(weights.float(), bits, group)
    return (numbers * step).reshape(weights.shape)


def errors_of_change(
    base: Mapping[str, Tensor],
    change: Mapping[str, Tensor],
    stores: Mapping[str, Callable[[Tensor], Tensor]],
    scales: Sequence[float],
) -> tuple[list[float], dict[str, list[float]]]:
    """What storing merged weights does to a change, made smaller and larger by `scales`.

    `stores`: for each way to store weights, a function that gives them back. Base and merge are
    both stored that way. Returns the sizes of the changes (over the base's norm) and, for each
    way, the errors: the norm of what came back less the change, over the change's norm.

    >>> tensors = {"w": torch.tensor([4.0])}, {"w": torch.tensor([1.0])}
    >>> errors_of_change(*tensors, {"whole numbers": torch.round}, [1.0, 0.25])
    ([0.25, 0.0625], {'whole numbers': [0.0, 1.0]})
    """
    norm_of_base, norm_of_change = _norm(base.values()), _norm(change.values())
    errors: dict[str, list[float]] = {name: [] for name in stores}
    for way, store in stores.items():
        for scale in scales:
            lost = []
            for name, delta in change.items():
                kept = store(base[name])
                lost.append(store(kept + scale * delta) - kept - scale * delta)
            errors[way].append(_norm(lost) / (scale * norm_of_change))
    return [scale * norm_of_change / norm_of_base for scale in scales], errors


def shares_left(
    base: Mapping[str, Tensor],
    change: Mapping[str, Tensor],
    stores: Mapping[str, Callable[[Tensor], Tensor]],
    scale: float,
) -> dict[str, float]:
    """What share of a change, made `scale` times as large, comes back along its own direction.

    Arguments as for `errors_of_change`. 1 is all of it and 0 nothing, whatever the noise beside it:
    the product of what came back and the change, over the change's square.

    >>> tensors = {"w": torch.tensor([4.0, 4.0])}, {"w": torch.tensor([1.0, 0.25])}
    >>> round(shares_left(*tensors, {"whole numbers": torch.round}, 1.0)["whole numbers"], 3)
    0.941
    """
    shares = {}
    for way, store in stores.items():
        along = squares = 0.0
        for name, delta in change.items():
            kept = store(base[name])
            wanted = (scale * delta).double()
            along += float(((store(kept + scale * delta) - kept).double() * wanted).sum())
            squares += float(wanted.square().sum())
        shares[way] = along / squares
    return shares


def _norm(tensors: Iterable[Tensor]) -> float:
    return sum(float(tensor.double().square().sum()) for tensor in tensors) ** 0.5
