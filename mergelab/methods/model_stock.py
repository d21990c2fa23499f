"""Model Stock: how far to trust the average, judged by how much the fine-tunes agree.

Jang et al. 2024, "Model Stock: All we need is just a few fine-tuned models", arXiv 2403.19522.
The nearer to one another the task vectors point, the further the merge goes from the base towards
their average. Nearly orthogonal task vectors, as those of adapters for different skills, give a
ratio near 0: the merge is then almost the base.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mergelab.methods.declaration import Method, Parameter, as_deltas, common_dtype
from mergelab.methods.gram import Gram, cosines, gram
from mergelab.methods.linear import weighted_sum

SINGULAR = 1e-6


def interpolation_ratio(deltas: Sequence[Tensor] | Tensor) -> float:
    """How far to go from the base to the average: `t = N cos / (1 + (N - 1) cos)`.

    `deltas`: N task vectors of one shape; `cos` is the mean cosine over their pairs. One task
    vector gives 1. At the singularity, where the denominator vanishes, the ratio is 0.

    Source: Jang et al. 2024, equation 5 (N counts the fine-tuned models, without the base).

    >>> interpolation_ratio([torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])])
    0.8284...
    """
    return ratio_of(gram(as_deltas(deltas)))


def ratio_of(gram: Gram) -> float:
    """The interpolation ratio from the task vectors' inner products.

    >>> ratio_of([[1.0, 1.0], [1.0, 2.0]])
    0.8284...
    """
    count = len(gram)
    if count == 1:
        return 1.0
    cosine = float(cosines(gram)[np.triu_indices(count, 1)].mean())
    denominator = 1 + (count - 1) * cosine
    return 0.0 if abs(denominator) < SINGULAR else count * cosine / denominator


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
    if not filter_wise or tau[0].dim() < 2 or not tau[0].numel():
        merged = weighted_sum(tau, model_stock_coefficients(gram(tau)))
        return merged.to(common_dtype(deltas))
    rows = torch.stack(tau).double().flatten(1, -2)  # [N, rows, columns]
    units = rows / rows.norm(dim=2, keepdim=True).clamp(min=1e-300)
    grams = torch.einsum("irc,jrc->rij", units, units).tolist()
    ratios = torch.tensor([ratio_of(g) for g in grams], dtype=rows.dtype, device=rows.device)
    merged = rows.mean(dim=0) * ratios.unsqueeze(1)
    return merged.reshape(tau[0].shape).to(common_dtype(deltas))


def model_stock_coefficients(gram: Gram) -> list[float]:
    """The factor of each task vector: the ratio, shared out evenly.

    >>> model_stock_coefficients([[1.0, 1.0], [1.0, 1.0]])
    [0.5, 0.5]
    """
    return [ratio_of(gram) / len(gram)] * len(gram)


METHODS = (
    Method(
        name="model_stock",
        function=model_stock,
        combine=model_stock,
        coefficients=model_stock_coefficients,
        row_flag="filter_wise",
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
