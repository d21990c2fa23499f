"""Merging the factors of adapters instead of what they multiply out to, as PEFT does.

An adapter changes a weight by `scaling * B @ A`. PEFT's plain combination types (linear, ties,
dare_linear, dare_ties, magnitude_prune) merge the A's among themselves and the B's among
themselves. That keeps the rank, and is not the merge of the changes: the product of two sums also
has the cross terms `B_1 @ A_2` and `B_2 @ A_1`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from mergelab.methods.declaration import per_source

_OTHER_STREAM = 1 << 63


def merge_factors(
    function: Callable[..., Tensor],
    a_list: Sequence[Tensor],
    b_list: Sequence[Tensor],
    weights: Sequence[float] | None = None,
    scalings: Sequence[float] | None = None,
    lam: float = 1.0,
    *,
    streams: Sequence[int] | None = None,
    **settings: Any,
) -> tuple[Tensor, Tensor]:
    """The merged factors `(a, b)`; the merged change of the weight is `b @ a`.

    `function`: a method that merges task vectors, as `ties` or `linear`. `a_list`: N factors
    `[r, columns]`; `b_list`: N factors `[rows, r]`, of one rank. `weights` and `scalings`: N
    numbers, 1 each by default; the product of the two is shared evenly, its square root on either
    side, its sign on A's. `lam` scales B. `streams`: one random stream for each source; B draws
    from another one, derived from it. `settings` are the method's other parameters.

    Raises `ValueError` as the method does, among others if the ranks differ.

    Source: PEFT's `add_weighted_adapter`, `_generalized_task_arithmetic_weighted_adapter`.

    >>> import torch
    >>> from mergelab.methods import task_arithmetic
    >>> ones = [torch.ones(1, 2)] * 2
    >>> a, b = merge_factors(task_arithmetic, ones, [t.T for t in ones], weights=[1.0, 1.0])
    >>> b @ a  # twice the sum of the two changes, [[2, 2], [2, 2]]
    tensor([[4., 4.], [4., 4.]])
    """
    count = len(a_list)
    products = [
        weight * scaling
        for weight, scaling in zip(
            per_source(weights, count, 1.0), per_source(scalings, count, 1.0), strict=True
        )
    ]
    roots = [math.sqrt(abs(product)) for product in products]
    signed = [math.copysign(root, p) for root, p in zip(roots, products, strict=True)]
    draws = [{}, {}]
    if streams is not None:
        draws = [{"streams": streams}, {"streams": [s ^ _OTHER_STREAM for s in streams]}]
    a = function(a_list, weights=signed, **settings, **draws[0])
    b = function(b_list, weights=roots, **settings, **draws[1])
    return a, (b if lam == 1.0 else b * lam)
