"""SCE: select the entries that vary most between models, calculate weights, erase minority signs.

Wan et al. 2024, "FuseChat: Knowledge fusion of chat models", arXiv 2408.07990. Unlike trim the
selection is made over all models together, by variance; and nobody sets the weights, they are each
task vector's share of the total energy.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mergelab.methods.declaration import Method, Parameter, as_deltas, common_dtype
from mergelab.methods.linear import weighted_sum


def select(deltas: Sequence[Tensor] | Tensor, select_topk: float) -> list[Tensor]:
    """Keep the entries whose variance between the models is largest, in all models alike.

    `deltas`: N task vectors of one shape. `select_topk`: the fraction kept, of the entries that
    vary at all: `floor(select_topk * m)`; entries that vary as much as the last one stay too.
    Raises `ValueError` if it lies outside [0, 1].

    Source: Wan et al. 2024, section 3.3, step S.

    >>> select([torch.tensor([1.0, 0.5]), torch.tensor([-1.0, 0.4])], 0.5)
    [tensor([1., 0.]), tensor([-1.,  0.])]
    """
    if not 0.0 <= select_topk <= 1.0:
        raise ValueError(f"select_topk must lie between 0 and 1, got {select_topk}")
    tau = as_deltas(deltas)
    if select_topk == 1.0 or tau[0].numel() == 0:
        return [t.clone() for t in tau]
    variance = torch.stack(tau).double().var(dim=0, unbiased=False)
    count = math.floor(int(torch.count_nonzero(variance)) * select_topk)
    if count == 0:
        return [torch.zeros_like(t) for t in tau]
    threshold = variance.flatten().topk(count).values[-1]
    return [torch.where(variance >= threshold, t, torch.zeros_like(t)) for t in tau]


def energy_weights(deltas: Sequence[Tensor], energy_floor: float = 0.0) -> list[float]:
    """Each task vector's share of the sum of their mean squares.

    Alike where that sum is 0 or below `energy_floor`.

    Source: Wan et al. 2024, section 3.3, step C.

    >>> energy_weights([torch.tensor([3.0, 0.0]), torch.tensor([0.0, 1.0])])
    [0.9, 0.1]
    """
    energy = [float(t.double().square().sum()) / max(t.numel(), 1) for t in deltas]
    total = sum(energy)
    if total == 0 or total < energy_floor:
        return [1 / len(energy)] * len(energy)
    return [e / total for e in energy]


def sce(
    deltas: Sequence[Tensor] | Tensor, *, select_topk: float = 1.0, energy_floor: float = 0.0
) -> Tensor:
    """Merged task vector: select, weight by energy, erase the minority sign, average.

    `deltas`: N task vectors of one shape; the result has their shape and dtype and is to be added
    to the base. Weights are each selected task vector's `energy_weights`; the sign of the
    unweighted sum is kept (an exact draw counts as plus, as in mergekit); the mean is over the
    weights of what agrees, taken for no less than `energy_floor`.

    Raises `ValueError` as `select` does.

    Source: Wan et al. 2024, section 3.3; mergekit's `sce`.

    >>> sce([torch.tensor([1.0, 0.5]), torch.tensor([1.0, -0.2])])
    tensor([1.0000, 0.5000])
    """
    tau = select(deltas, select_topk)
    weights = energy_weights(tau, energy_floor)
    sign = weighted_sum(tau, [1.0] * len(tau)).sign()
    sign = torch.where(sign == 0, torch.ones_like(sign), sign)
    merged, share = torch.zeros_like(tau[0]), torch.zeros_like(tau[0])
    for delta, weight in zip(tau, weights, strict=True):
        agrees = delta.sign() == sign
        merged = merged + torch.where(agrees, delta * weight, torch.zeros_like(delta))
        share = share + agrees * weight
    share = share.clamp(min=energy_floor)
    merged = torch.where(share > 0, merged / share, torch.zeros_like(merged))
    return merged.to(common_dtype(deltas))


METHODS = (
    Method(
        name="sce",
        function=sce,
        combine=sce,
        summary="keep what varies most, weight by energy, erase minority signs",
        paper="Wan et al. 2024, arXiv 2408.07990",
        parameters=(
            Parameter(
                "select_topk",
                1.0,
                "fraction of entries kept, those that vary most between the models",
                low=0.0,
                high=1.0,
                source="Wan et al. 2024 (arXiv 2408.07990), step S",
            ),
            Parameter(
                "energy_floor",
                0.0,
                "mean squares that sum to less than this count as equal, and no share of them "
                "that is divided by counts for less",
                low=0.0,
                source="paper: none; mergekit: 1e-6, which the small changes of usual fine-tunes "
                "do not reach",
            ),
        ),
        resolves_conflicts=True,
    ),
)
