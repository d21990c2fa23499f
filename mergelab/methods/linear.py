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
from mergelab.methods.gram import Gram


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
    total = weighted_sum(deltas, weight) / (sum_of(weight) if normalize else 1.0)
    return total.to(common_dtype(tensors))


def sum_of(weights: Sequence[float]) -> float:
    """The sum that an average divides by. Raises `ValueError` where it is 0.

    >>> sum_of([0.5, 1.5])
    2.0
    """
    total = sum(weights)
    # Weights such as .1, .2 and -.3 miss 0 by a rounding; dividing by that is never meant.
    if abs(total) <= 1e-9 * sum(map(abs, weights)):
        raise ValueError(
            "the weights sum to 0, so their average is undefined; "
            "use normalize=False (in a recipe `normalize: false`) or other weights"
        )
    return total


def linear_coefficients(
    gram: Gram,
    weights: Sequence[float] | None = None,
    lam: float = 1.0,
    *,
    normalize: bool = True,
) -> list[float]:
    """The factor of each model in the weighted average or sum: `lam * w_i`, or its share.

    >>> linear_coefficients([[1.0, 0.0], [0.0, 1.0]], [1.0, 3.0])
    [0.25, 0.75]
    """
    weight = per_source(weights, len(gram), 1.0)
    divisor = sum_of(weight) if normalize else 1.0
    return [lam * w / divisor for w in weight]


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


def sum_coefficients(
    gram: Gram,
    weights: Sequence[float] | None = None,
    lam: float = 1.0,
    *,
    normalize: bool = False,
) -> list[float]:
    """The factor of each task vector in task arithmetic: `lam * w_i`.

    >>> sum_coefficients([[1.0, 0.0], [0.0, 1.0]], [1.0, 3.0], lam=0.5)
    [0.5, 1.5]
    """
    return linear_coefficients(gram, weights, lam, normalize=normalize)


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
SPACE = Parameter(
    "space",
    "auto",
    "what is averaged: full weights, the changes made to the base, or the adapters' factors A and "
    "B each by itself (auto: changes where there is a base)",
    choices=("auto", "weights", "task_vectors", "factors"),
    source="mergekit: weights; PEFT: factors",
)

METHODS = (
    Method(
        name="linear",
        function=linear,
        combine=linear,
        coefficients=linear_coefficients,
        by_entry=True,
        summary="weighted average; a quick baseline that ignores conflicts",
        paper="Wortsman et al. 2022, arXiv 2203.05482",
        parameters=(WEIGHT, NORMALIZE, SPACE),
        needs_base=False,
    ),
    Method(
        name="task_arithmetic",
        function=task_arithmetic,
        combine=task_arithmetic,
        coefficients=sum_coefficients,
        by_entry=True,
        summary="base plus the scaled sum of the task vectors; negative weights forget",
        paper="Ilharco et al. 2023, arXiv 2212.04089",
        parameters=(WEIGHT, LAMBDA, NORMALIZE_SUM),
    ),
)
