"""nuslerp, multislerp and karcher: points on the sphere, held against walks in plain numpy."""

import math

import naive
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergelab.methods import karcher, multislerp, nuslerp, slerp
from mergelab.methods.gram import gram
from mergelab.methods.spherical import (
    karcher_coefficients,
    multislerp_coefficients,
    nuslerp_coefficients,
)

numbers = st.integers(0, 10_000)


def vectors(number, count, shape, spread=1.0):
    """Around one direction, so that a mean is well defined; of different lengths."""
    chance = np.random.default_rng(number)
    around = chance.normal(size=shape)
    lengths = chance.uniform(0.5, 2.0, size=(count, *[1] * len(shape)))
    return list((around + spread * chance.normal(size=(count, *shape))) * lengths)


def tensors(arrays):
    return [torch.from_numpy(np.asarray(array)) for array in arrays]


def walk(arrays, steps):
    """The Karcher mean on the unit sphere by its definition, times the mean length."""
    lengths = [np.linalg.norm(a) for a in arrays]
    units = [a / n for a, n in zip(arrays, lengths, strict=True) if n > 0]
    mean = np.mean(units, axis=0)
    mean = mean / np.linalg.norm(mean)
    for _ in range(steps):
        tangents = []
        for unit in units:
            theta = naive.angle(mean, unit)
            off = unit - math.cos(theta) * mean
            size = np.linalg.norm(off)
            tangents.append(theta * off / size if size > 1e-12 else np.zeros_like(off))
        tangent = np.mean(tangents, axis=0)
        size = np.linalg.norm(tangent)
        if size < 1e-14:
            break
        mean = math.cos(size) * mean + math.sin(size) / size * tangent
        mean = mean / np.linalg.norm(mean)
    return mean * np.mean(lengths)


# nuslerp


@given(number=numbers, first=st.floats(0.1, 3.0), second=st.floats(0.1, 3.0))
def test_nuslerp_is_slerp_at_the_share_of_the_second_weight(number, first, second):
    a, b = vectors(number, 2, (7,))
    got = nuslerp(tensors([a, b]), [first, second]).numpy()
    assert got == pytest.approx(naive.slerp(a, b, second / (first + second)), rel=1e-7, abs=1e-9)


def test_weights_that_cancel_meet_half_way():
    a, b = tensors(vectors(1, 2, (5,)))
    assert nuslerp([a, b], [1.0, -1.0]).equal(slerp(a, b, 0.5))
    assert nuslerp([a, b]).equal(slerp(a, b, 0.5))


def test_weights_of_opposite_sign_leave_the_arc_and_are_refused():
    for row_wise in (False, True):
        with pytest.raises(ValueError, match="t must lie between 0 and 1"):
            nuslerp([torch.ones(2, 2)] * 2, [1.0, -0.5], row_wise=row_wise)


def test_two_models_are_needed():
    for function in (nuslerp, nuslerp_coefficients):
        with pytest.raises(ValueError, match=r"exactly two models, got 3|one value for each of 2"):
            function([torch.ones(2)] * 3, [1.0] * 3)


@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1.0, 1e30])
@given(number=numbers, t=st.floats(0.05, 0.95))
def test_row_wise_every_row_walks_its_own_arc_however_small(scale, number, t):
    a, b = (scale * v for v in vectors(number, 2, (3, 6)))
    got = nuslerp(tensors([a, b]), [1 - t, t], row_wise=True).numpy() / scale
    for row in range(3):
        expected = naive.slerp(a[row] / scale, b[row] / scale, t)
        assert got[row] == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_row_wise_rows_without_an_arc_go_straight():
    a = torch.tensor([[1.0, 0.0], [0.0, 0.0], [2.0, 2.0]])
    b = torch.tensor([[-1.0, 0.0], [4.0, 8.0], [4.0, 4.0]])
    got = nuslerp([a, b], [3.0, 1.0], row_wise=True)
    assert got.tolist() == [[0.5, 0.0], [1.0, 2.0], [2.5, 2.5]]


@pytest.mark.parametrize("shape", [(), (0,), (5,), (3, 0), (0, 3), (2, 0, 3)], ids=str)
def test_row_wise_any_shape_comes_back(shape):
    a, b = tensors(vectors(3, 2, shape))
    got = nuslerp([a, b], row_wise=True)
    assert got.shape == shape
    if len(shape) < 2:
        assert got.equal(slerp(a, b, 0.5))


# multislerp and karcher


@given(number=numbers, count=st.integers(2, 5))
def test_multislerp_is_the_mean_direction_times_the_mean_length(number, count):
    arrays = vectors(number, count, (6,))
    shares = np.random.default_rng(number).uniform(0.1, 1.0, count)
    shares /= shares.sum()
    lengths = np.array([np.linalg.norm(a) for a in arrays])
    mean = sum(s * a / n for s, a, n in zip(shares, arrays, lengths, strict=True))
    expected = mean / np.linalg.norm(mean) * (shares @ lengths)
    got = multislerp(tensors(arrays), (3 * shares).tolist()).numpy()
    assert got == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(number=numbers, count=st.integers(2, 6), steps=st.sampled_from([1, 3, 60]))
def test_karcher_walks_as_its_definition_does(number, count, steps):
    arrays = vectors(number, count, (2, 4), spread=0.6)
    got = karcher(tensors(arrays), max_iter=steps, tol=0.0).numpy()
    assert got == pytest.approx(walk(arrays, steps), rel=1e-6, abs=1e-6)


@given(number=numbers)
def test_of_two_models_all_three_meet_on_the_middle_of_the_arc(number):
    a, b = vectors(number, 2, (5,))
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    middle = naive.slerp(a, b, 0.5)
    for function in (nuslerp, multislerp, karcher):
        assert function(tensors([a, b])).numpy() == pytest.approx(middle, rel=1e-6, abs=1e-7)


@given(number=numbers, count=st.integers(3, 5))
def test_no_step_leads_away_from_the_karcher_mean(number, count):
    arrays = vectors(number, count, (5,), spread=0.5)
    mean = karcher(tensors(arrays), max_iter=200, tol=1e-12).numpy()

    def cost(point):
        return sum(naive.angle(point, a) ** 2 for a in arrays)

    chance = np.random.default_rng(number)
    least = cost(mean)
    for _ in range(5):
        step = chance.normal(size=5)
        moved = mean + 1e-3 * np.linalg.norm(mean) * step
        assert cost(moved) >= least - 1e-12


def test_a_zero_tensor_counts_for_the_length_only():
    x, nothing = torch.tensor([2.0, 0.0]), torch.zeros(2)
    assert karcher([x, nothing]).tolist() == [1.0, 0.0]
    assert multislerp([x, nothing]).tolist() == [1.0, 0.0]
    assert karcher([nothing, nothing]).tolist() == [0.0, 0.0]


def test_directions_that_cancel_out():
    x, y = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert multislerp([x, -x]).tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="the directions cancel out"):
        multislerp([x, -x, y, -y])
    with pytest.raises(ValueError, match="weights sum to 0"):
        multislerp([x, y], [1.0, -1.0])


def test_a_walk_that_has_arrived_ends_there():
    x = torch.tensor([3.0, 4.0], dtype=torch.float64)
    assert karcher([x, x, 2 * x], max_iter=50, tol=0.0).tolist() == pytest.approx([4.0, 16 / 3])


def test_one_model_is_itself():
    x = torch.tensor([3.0, -4.0])
    assert multislerp([x]).equal(x)
    assert karcher([x]).tolist() == pytest.approx([3.0, -4.0])


@given(number=numbers, count=st.integers(2, 4))
def test_the_factors_of_each_method_make_its_result(number, count):
    made = tensors(vectors(number, count, (3, 3)))
    products = gram(made)
    pairs = [(multislerp, multislerp_coefficients), (karcher, karcher_coefficients)]
    if count == 2:
        pairs.append((nuslerp, nuslerp_coefficients))
    for function, coefficients in pairs:
        factors = coefficients(products)
        summed = sum(factor * tensor for factor, tensor in zip(factors, made, strict=True))
        assert torch.allclose(function(made), summed, rtol=1e-12, atol=1e-12)
