"""`zero_sign: majority` asks the whole tensor, however many parts it is merged in."""

import pytest
import torch

from mergelab.kernels.operands import InMemory, tiles
from mergelab.kernels.tiled import Merge, TiledMerge
from mergelab.methods import REGISTRY, ties


@pytest.mark.parametrize("majority", [1.0, -1.0])
def test_a_draw_in_any_part_gets_the_sign_that_most_entries_of_the_tensor_elect(majority):
    shape = (4000, 300)
    one = torch.full(shape, majority)
    one[:1500] *= -1  # the first parts by themselves would say the opposite
    two = one.clone()
    two[::7] *= -1  # draws
    parts = len(list(tiles(shape)))
    assert parts > 2
    run = TiledMerge(
        Merge(
            REGISTRY["ties"],
            [InMemory(one), InMemory(two)],
            {"zero_sign": "majority", "lam": 1.0},
            [{"density": 1.0, "weight": 1.0}] * 2,
        )
    )
    merged = torch.cat([part.weights for part in run.parts()])
    expected = one.clone()
    expected[::7] = majority
    assert merged.equal(expected)
    assert merged.equal(ties([one, two], zero_sign="majority"))
