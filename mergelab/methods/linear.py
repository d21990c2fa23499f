"""Linear merging and task arithmetic: add the models up, and ignore that they may disagree.

Linear averages weights (model soups: Wortsman et al. 2022, arXiv 2203.05482). Task arithmetic
adds task vectors (Ilharco et al. 2023, arXiv 2212.04089): a positive weight adds a skill, a
negative one forgets it. On task vectors of one base the two differ only in the division by the
sum of the weights.
"""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from mergelab.methods.declaration import (
    LAMBDA,
    WEIGHT,
    Method,
    Parameter,
    as_deltas,
    common_dtype,
    per_source,
)


def linear(
    tensors: Sequence[Tensor] | Tensor,
    weights: Sequence[float] | None = None,
    *,
    normalize: bool = True,
) -> Tensor:
    """Weighted average `sum(w_i * x_i) / sum(w_i)`, entry by entry.

    `tensors`: N tensors of one shape, either full weights or task vectors of one base (for those
    the base plus the result is the same model). `weights`: N numbers, 1 each by default. With
    `normalize=False` the weighted sum is not divided. The result has the inputs' shape and dtype;
    sums are taken in fp32 in the order given.

    Raises `ValueError` if the shapes differ, if the number of weights is not N, or if the weights
    sum to 0 while normalising.

    Source: Wortsman et al. 2022, "Model soups", the uniform soup, with weights.

    >>> import torch
    >>> persona, agentic = torch.tensor([0.23, -0.05]), torch.tensor([0.10, 0.05])
    >>> linear([persona, agentic])
    tensor([0.1650, 0.0000])
    """
    deltas = as_deltas(tensors)
    weight = per_source(weights, len(deltas), 1.0)
    total = weighted_sum(deltas, weight)
    if normalize:
        divisor = sum(weight)
        # Weights such as .1, .2 and -.3 miss 0 by a rounding; dividing by that is never meant.
        if abs(divisor) <= 1e-9 * sum(map(abs, weight)):
            raise ValueError(
                "the weights sum to 0, so their average is undefined; "
                "use normalize=False or other weights"
            )
        total = total / divisor
    return total.to(common_dtype(tensors))


def task_arithmetic(
    deltas: Sequence[Tensor] | Tensor,
    weights: Sequence[float] | None = None,
    lam: float = 1.0,
    *,
    normalize: bool = False,
) -> Tensor:
    """Merged task vector `lam * sum(w_i * tau_i)`; a negative weight forgets.

    `deltas`: N task vectors of one shape. `weights`: N numbers, 1 each by default; with
    `normalize` the sum is divided by theirs. The result has the inputs' shape and dtype and is to
    be added to the base.

    Raises `ValueError` as `linear` does.

    Source: Ilharco et al. 2023, "Editing models with task arithmetic", section 2.

    >>> import torch
    >>> task_arithmetic([torch.tensor([0.5, 0.5]), torch.tensor([1.0, -0.5])], lam=0.5)
    tensor([0.7500, 0.0000])
    """
    total = linear(as_deltas(deltas), weights, normalize=normalize)
    return (total * lam).to(common_dtype(deltas))


def weighted_sum(deltas: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """`sum(w_i * tau_i)`, added one after the other so that the order of addition is fixed."""
    total = deltas[0] * weights[0]
    for delta, weight in zip(deltas[1:], weights[1:], strict=True):
        total = total + delta * weight
    return total


NORMALIZE = Parameter(
    "normalize",
    True,
    "divide by the sum of the weights, so that they act as shares",
    source="Wortsman et al. 2022 (arXiv 2203.05482): a soup is an average",
)
NORMALIZE_SUM = replace(
    NORMALIZE, default=False, source="mergekit's normalize; Ilharco et al. 2023 only add"
)

METHODS = (
    Method(
        name="linear",
        function=linear,
        combine=linear,
        summary="weighted average; a quick baseline that ignores conflicts",
        paper="Wortsman et al. 2022, arXiv 2203.05482",
        parameters=(WEIGHT, NORMALIZE),
        needs_base=False,
    ),
    Method(
        name="task_arithmetic",
        function=task_arithmetic,
        combine=task_arithmetic,
        summary="base plus the scaled sum of the task vectors; negative weights forget",
        paper="Ilharco et al. 2023, arXiv 2212.04089",
        parameters=(WEIGHT, LAMBDA, NORMALIZE_SUM),
    ),
)
