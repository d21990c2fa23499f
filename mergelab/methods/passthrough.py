"""Passthrough: hand one model's weights on, so that slices can stack or repeat layers.

A model of stacked layers ("frankenmerge") is made by its recipe: each slice takes its layers from
one model. mergekit's `passthrough` may scale tensors on the way; scaling `o_proj` and `down_proj`
by 0 makes a repeated block an identity, a common start for further training.
"""

from collections.abc import Sequence

from torch import Tensor

from mergelab.methods.declaration import (
    Method,
    Parameter,
    as_deltas,
    common_dtype,
    per_source,
)


def passthrough(
    tensors: Sequence[Tensor] | Tensor, weights: Sequence[float] | None = None
) -> Tensor:
    """The one tensor given, times its scale.

    `tensors`: exactly one tensor of any shape; `weights`: its scale as one number, 1 by default.
    The result has the tensor's shape and dtype. Raises `ValueError` unless there is one tensor.

    Source: mergekit's `passthrough`.

    >>> import torch
    >>> passthrough([torch.tensor([1.0, -2.0])], [0.5])
    tensor([ 0.5000, -1.0000])
    """
    if len(tensors) != 1:
        raise ValueError(f"passthrough hands one model on, got {len(tensors)} tensors")
    (tensor,) = as_deltas(tensors)
    (scale,) = per_source(weights, 1, 1.0)
    return (tensor * scale).to(common_dtype(tensors))


METHODS = (
    Method(
        name="passthrough",
        function=passthrough,
        combine=passthrough,
        by_entry=True,
        summary="one model's layers as they are; slices of it stack or repeat layers",
        paper="mergekit",
        parameters=(
            Parameter(
                "weight",
                1.0,
                "the factor that tensors are multiplied by",
                per_source=True,
                key="scale",
                source="mergekit's passthrough",
            ),
        ),
        max_sources=1,
        needs_base=False,
    ),
)
