"""What the tests of all kernels share."""

import math

import pytest
import torch


@pytest.fixture
def unwritten_is_nan(monkeypatch):
    """What no kernel writes to is NaN, and not by chance what it should be."""
    empty = torch.empty

    def filled(*shape, **options):
        made = empty(*shape, **options)
        return made.fill_(math.nan) if made.is_floating_point() else made

    monkeypatch.setattr(torch, "empty", filled)
