"""Two models only, the second into the first: nearswap and Arcee Fusion.

Both decide entry by entry how much of a change to take over into the base, without averaging.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mergelab.methods.declaration import Method, Parameter, as_deltas, common_dtype


def nearswap(deltas: Sequence[Tensor] | Tensor, *, t: float) -> Tensor:
    """Take over small changes whole and cut large ones off at `t`: `clip(tau, -t, t)`.

    mergekit blends with weight `min(1, t / |difference|)`, which is this. `deltas`: exactly one
    task vector; `t` in the unit of the weights. The result has its shape and dtype and is to be
    added to the base. Raises `ValueError` unless there is one task vector and `t >= 0`.

    Source: alchemonaut's QuartetAnemoi, as mergekit's `nearswap`.

    >>> nearswap([torch.tensor([0.5, -0.01, 0.02])], t=0.1)
    tensor([ 0.1000, -0.0100,  0.0200])
    """
    (delta,) = _one(deltas, "nearswap")
    if t < 0:
        raise ValueError(f"t must be at least 0, got {t}")
    return delta.clamp(-t, t).to(common_dtype(deltas))


def arcee_fusion(deltas: Sequence[Tensor] | Tensor, base: Tensor) -> Tensor:
    """Take over only the changes that matter most, by size times how much the row's softmax moves.

    `deltas`: exactly one task vector; `base`: the base's tensor, of the same shape. Importance is
    `|tau| * KL(softmax(base + tau) || softmax(base))` per row (last dimension); entries at or above
    the median plus 1.5 interquartile ranges are taken over. The result has the delta's shape and
    dtype and is to be added to the base. Raises `ValueError` unless there is one task vector.

    Source: Arcee Fusion, as mergekit's `arcee_fusion` (which samples a million entries of larger
    tensors for the quartiles; here all count).

    >>> arcee_fusion([torch.tensor([0.0, 0.1, 0.2, 0.3, 2.0])], torch.zeros(5))
    tensor([0., 0., 0., 0., 2.])
    """
    (delta,) = _one(deltas, "arcee_fusion")
    if delta.numel() == 0:
        return delta.to(common_dtype(deltas)).clone()
    start = base.float()
    after, before = (torch.softmax(x, dim=-1) + 1e-8 for x in (start + delta, start))
    divergence = (after * torch.log(after / before)).sum(dim=-1, keepdim=True)
    importance = delta.abs() * divergence
    ordered = importance.flatten().sort().values
    last = ordered.numel() - 1
    q1, median, q3 = (ordered[int(q * last)] for q in (0.25, 0.5, 0.75))
    chosen = importance >= median + 1.5 * (q3 - q1)
    return torch.where(chosen, delta, torch.zeros_like(delta)).to(common_dtype(deltas))


def _one(deltas: Sequence[Tensor] | Tensor, name: str) -> list[Tensor]:
    if len(deltas) != 1:
        raise ValueError(f"{name} merges one model into its base, got {len(deltas)} task vectors")
    return as_deltas(deltas)


METHODS = (
    Method(
        name="nearswap",
        function=nearswap,
        combine=nearswap,
        by_entry=True,
        summary="take over small changes, cut large ones off",
        paper="mergekit",
        parameters=(
            Parameter("t", 1e-4, "where changes are cut off, in the unit of the weights", low=0.0),
        ),
        max_sources=1,
    ),
    Method(
        name="arcee_fusion",
        function=arcee_fusion,
        combine=arcee_fusion,
        summary="take over only the changes that matter most",
        paper="mergekit",
        max_sources=1,
    ),
)
