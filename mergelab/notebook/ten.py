"""The ten parameters that every lesson carries through its method by hand.

Two adapters, persona and agentic, and a third model for the methods that take more than two.
They were chosen so that every situation occurs: agreement, opposition, one large and one small
change, a change by one model only, noise, an exact draw, and votes that mass and count decide
differently.
"""

from __future__ import annotations

import torch
from torch import Tensor

NAMES = ("persona", "agentic", "third")

PERSONA = (0.08, 0.002, 0.15, -0.20, 0.06, -0.07, -0.001, 0.004, -0.04, 0.005)
AGENTIC = (-0.05, -0.001, 0.02, -0.11, -0.06, -0.06, 0.02, 0.17, 0.03, -0.006)
THIRD = (0.12, 0.003, -0.01, -0.05, 0.001, 0.21, 0.14, 0.002, 0.09, -0.004)


def ten_parameters(models: int = 2) -> list[Tensor]:
    """The task vectors of the first two or of all three models, fp32, shape [10].

    >>> persona, agentic = ten_parameters()
    >>> (persona + agentic)[:2]
    tensor([0.0300, 0.0010])
    >>> len(ten_parameters(3))
    3
    """
    if models not in (2, 3):
        raise ValueError(f"models must be 2 or 3, got {models}")
    return [torch.tensor(values) for values in (PERSONA, AGENTIC, THIRD)[:models]]
