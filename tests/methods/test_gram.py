"""Lengths and angles from inner products, held against numpy and Kahan's angle."""

import math

import naive
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergelab.methods.gram import angle_between, cosines, gram, norms

sizes = st.integers(0, 9)


def tensors(number, count, size):
    chance = np.random.default_rng(number)
    return list(torch.from_numpy(chance.normal(size=(count, size)).astype(np.float32)))


@given(number=st.integers(0, 1000), count=st.integers(0, 5), size=sizes)
def test_inner_products_are_numpys_in_float64(number, count, size):
    made = tensors(number, count, size)
    flat = np.array([t.numpy() for t in made], dtype=np.float64).reshape(count, size)
    got = gram(made)
    assert np.allclose(np.array(got).reshape(count, count), flat @ flat.T, rtol=1e-13, atol=1e-13)
    assert all(got[i][j] == got[j][i] for i in range(count) for j in range(count))
    assert norms(got) == pytest.approx(np.linalg.norm(flat, axis=1), rel=1e-12)


@given(number=st.integers(0, 1000), size=st.integers(2, 9))
def test_angles_are_kahans(number, size):
    a, b = tensors(number, 2, size)
    expected = naive.angle(a.numpy(), b.numpy())
    products = gram([a, b])
    assert angle_between(products) == pytest.approx(expected, abs=1e-7)
    assert angle_between(products, 1, 0) == angle_between(products)
    assert cosines(products)[0, 1] == pytest.approx(math.cos(expected), abs=1e-12)


def test_numbers_beyond_float32_have_lengths_and_angles():
    huge, tiny = torch.tensor([3e38, 0.0]), torch.tensor([1e-45, 1e-45])
    assert norms(gram([huge, tiny]))[0] == pytest.approx(3e38, rel=1e-6)
    assert angle_between(gram([huge, tiny])) == pytest.approx(math.pi / 4)


def test_nothing_has_no_direction():
    products = gram([torch.zeros(3), torch.ones(3)])
    assert math.isnan(angle_between(products))
    assert cosines(products).tolist() == [[0.0, 0.0], [0.0, 1.0]]
    assert norms(products) == pytest.approx([0.0, math.sqrt(3)])


def test_a_cosine_that_rounding_carries_beyond_1_is_1():
    assert cosines([[1.0, 1.0 + 1e-15], [1.0 + 1e-15, 1.0]]).max() == 1.0
    assert angle_between([[1.0, 1.0 + 1e-15], [1.0 + 1e-15, 1.0]]) == 0.0
    assert angle_between([[1.0, -1.0 - 1e-15], [-1.0 - 1e-15, 1.0]]) == math.pi
