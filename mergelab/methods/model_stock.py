"""Model Stock: how far to trust the average, judged by how much the fine-tunes agree.

Jang et al. 2024, "Model Stock: All we need is just a few fine-tuned models", arXiv 2403.19522.
The nearer to one another the task vectors point, the further the merge goes from the base towards
their average. Nearly orthogonal task vectors, as those of adapters for different skills, give a
ratio near 0: the merge is then almost the base.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mergelab.methods.declaration import Method, Parameter, as_deltas, common_dtype

SINGULAR = 1e-6


def interpolation_ratio(deltas: Sequence[Tensor] | Tensor) -> float:
    """How far to go from the base to the average: `t = N cos / (1 + (N - 1) cos)`.

    `deltas`: N task vectors of one shape; `cos` is the mean cosine over their pairs. One task
    vector gives 1. At the singularity, where the denominator vanishes, the ratio is 0.

    Source: Jang et al. 2024, equation 5 (N counts the fine-tuned models, without the base).

    >>> interpolation_ratio([torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])])
    0.8284...
    """
    flat = torch.stack([d.double().flatten() for d in as_deltas(deltas)])
    return float(_ratio(flat.unsqueeze(1))[0])


def _ratio(vectors: Tensor) -> Tensor:
    """The ratio for each of M groups: `vectors` is `[N, M, length]`, the result `[M]`."""
    count = vectors.shape[0]
    if count == 1:
        return torch.ones(vectors.shape[1], dtype=vectors.dtype)
    norms = vectors.norm(dim=2)
    units = vectors / norms.clamp(min=1e-300).unsqueeze(2)
    gram = torch.einsum("iml,jml->mij", units, units).clamp(-1, 1)
    pairs = torch.triu_indices(count, count, offset=1)
    cosine = gram[:, pairs[0], pairs[1]].mean(dim=1)
    denominator = 1 + (count - 1) * cosine
    safe = torch.where(denominator.abs() < SINGULAR, torch.ones_like(cosine), denominator)
    ratio = count * cosine / safe
    return torch.where(denominator.abs() < SINGULAR, torch.zeros_like(cosine), ratio)


def model_stock(deltas: Sequence[Tensor] | Tensor, *, filter_wise: bool = False) -> Tensor:
    """Merged task vector: the average of the task vectors times the interpolation ratio.

    `deltas`: N task vectors of one shape. `filter_wise` takes a ratio for each row (last dimension)
    instead of one for the tensor. The result has their shape and dtype and is to be added to the
    base. Raises `ValueError` if the shapes differ.

    Source: Jang et al. 2024, equation 5 and section 4.

    >>> model_stock([torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])])
    tensor([0., 0.])
    """
    tau = as_deltas(deltas)
    flat = torch.stack(tau)
    rows = flat.shape[-1] if filter_wise and flat.dim() > 2 else tau[0].numel()
    groups = flat.double().reshape(len(tau), -1, max(rows, 1))
    merged = groups.mean(dim=0) * _ratio(groups).unsqueeze(1)
    return merged.reshape(tau[0].shape).to(common_dtype(deltas))


METHODS = (
    Method(
        name="model_stock",
        function=model_stock,
        combine=model_stock,
        summary="the average, drawn back to the base where the models disagree",
        paper="Jang et al. 2024, arXiv 2403.19522",
        parameters=(
            Parameter(
                "filter_wise",
                False,
                "one ratio for each row instead of one for each tensor",
                source="Jang et al. 2024 (arXiv 2403.19522); mergekit's filter_wise",
            ),
        ),
        min_sources=2,
    ),
)
