"""The k-th largest magnitude, found part by part, is the one that sorting gives."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiled_merges import tiles_of

from mergelab.kernels import BACKENDS, choose
from mergelab.kernels.operands import InMemory
from mergelab.kernels.preparing import kth_largest
from mergelab.kernels.selection import Selection, select

BOTH = [choose(name) for name in BACKENDS if name != "auto"]
each_backend = pytest.mark.parametrize("backend", BOTH, ids=lambda backend: backend.name)

# Ties, zeros of both signs, subnormals, neighbours in the last bit, the largest, and infinity.
SPECIAL = [0.0, -0.0, 1e-45, -1e-45, 1e-38, 1.0, -1.0, 1.0000001, 2.0, 3.4028235e38, -3.4e38]
numbers = st.one_of(
    st.sampled_from(SPECIAL), st.floats(width=32, allow_nan=False, allow_infinity=True)
)
lists = st.lists(numbers, min_size=1, max_size=40).map(lambda x: np.array(x, dtype=np.float32))


def by_sorting(values, k):
    return float(np.sort(np.abs(values))[len(values) - k])


def in_parts(values, cuts, order):
    parts = [p for p in np.split(values, sorted(c % (len(values) + 1) for c in cuts))]
    return [torch.from_numpy(parts[i]) for i in sorted(range(len(parts)), key=lambda i: order[i])]


@each_backend
@settings(max_examples=150)
@given(
    values=lists,
    cuts=st.lists(st.integers(0, 100), max_size=4),
    order=st.permutations(range(5)),
    data=st.data(),
)
def test_any_rank_in_any_parts_in_any_order(backend, values, cuts, order, data):
    parts = in_parts(values, cuts, order)
    ranks = data.draw(st.lists(st.integers(1, len(values)), min_size=1, max_size=3))
    searches = [Selection(k) for k in ranks]
    got = select(searches, lambda: ([part] * len(ranks) for part in parts), backend.digits)
    assert got == [by_sorting(values, k) for k in ranks]


@each_backend
def test_every_rank_of_many_values_that_share_their_upper_bits(backend):
    chance = np.random.default_rng(4)
    bits = np.uint32(0x3F800000) + chance.integers(0, 400, 300, dtype=np.uint32)
    values = bits.view(np.float32) * chance.choice(np.float32([-1, 1]), 300)
    for k in range(1, 301):
        (got,) = select([Selection(k)], lambda: [[torch.from_numpy(values)]], backend.digits)
        assert got == by_sorting(values, k)


@each_backend
@pytest.mark.parametrize("tile", [1, 64, 4096])
def test_an_operand_is_searched_tile_by_tile(backend, tile):
    values = np.random.default_rng(1).normal(size=(37, 50)).astype(np.float32)
    with tiles_of(tile):
        got = kth_largest(InMemory(torch.from_numpy(values)), 1, 925, 1850, backend=backend)
    assert got == [by_sorting(values.ravel(), k) for k in (1, 925, 1850)]


@each_backend
def test_different_tensors_are_searched_side_by_side(backend):
    chance = np.random.default_rng(2)
    one, other = chance.normal(size=(2, 100)).astype(np.float32)
    pairs = [
        list(map(torch.from_numpy, (one[i : i + 9], other[i : i + 9]))) for i in range(0, 100, 9)
    ]
    got = select([Selection(3), Selection(70)], lambda: pairs, backend.digits)
    assert got == [by_sorting(one, 3), by_sorting(other, 70)]


@each_backend
def test_a_rank_that_is_not_there_is_refused(backend):
    values = torch.tensor([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="fewer than 4 values"):
        select([Selection(4)], lambda: [[values]], backend.digits)
    with pytest.raises(ValueError, match="fewer than 1 values"):
        select([Selection(1)], lambda: [], backend.digits)
    for k in (0, -1):
        with pytest.raises(ValueError, match=f"rank must be at least 1, got {k}"):
            Selection(k)


@each_backend
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_ranks_above_all_else(backend, value):
    values = torch.tensor([value, 3.0, -2.0])
    first, second = select([Selection(1), Selection(2)], lambda: [[values] * 2], backend.digits)
    assert second == 3.0
    assert first == abs(value) or (np.isnan(first) and np.isnan(value))
