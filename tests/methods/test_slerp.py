"""SLERP: points on the arc, held against Kahan's angle, and what happens where there is no arc."""

import math

import naive
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergelab.methods import angle, slerp

entries = st.lists(st.integers(-50, 50).map(lambda n: n / 8), min_size=2, max_size=8)


@st.composite
def pairs(draw):
    a = draw(entries)
    b = draw(st.lists(st.integers(-50, 50).map(lambda n: n / 8), min_size=len(a), max_size=len(a)))
    return np.array(a), np.array(b)


def test_worked_example_the_midpoint_of_a_right_angle_keeps_its_length():
    x, y = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    middle = slerp(x, y, 0.5)
    assert middle.tolist() == pytest.approx([math.sqrt(0.5), math.sqrt(0.5)])
    assert float(middle.norm()) == pytest.approx(1.0)


def test_a_third_of_the_way_along_60_degrees_is_20_degrees():
    x = torch.tensor([1.0, 0.0], dtype=torch.float64)
    y = torch.tensor([math.cos(math.pi / 3), math.sin(math.pi / 3)], dtype=torch.float64)
    point = slerp(x, y, 1 / 3)
    assert point.tolist() == pytest.approx([math.cos(math.pi / 9), math.sin(math.pi / 9)])


@given(pairs(), st.floats(0, 1))
def test_agrees_with_the_formula_at_an_independent_angle(pair, t):
    a, b = pair
    if not a.any() or not b.any() or math.sin(naive.angle(a, b)) < 1e-3:
        return
    got = slerp(torch.tensor(a), torch.tensor(b), t)
    assert got.numpy() == pytest.approx(naive.slerp(a, b, t), rel=1e-9, abs=1e-9)


@given(pairs())
def test_the_ends_of_the_arc_are_the_two_vectors(pair):
    a, b = map(torch.tensor, pair)
    assert torch.allclose(slerp(a, b, 0.0), a, rtol=1e-12, atol=1e-12)
    assert torch.allclose(slerp(a, b, 1.0), b, rtol=1e-12, atol=1e-12)


@given(pairs(), st.floats(0, 1))
def test_walking_back_from_the_second_vector_gives_the_same_point(pair, t):
    a, b = map(torch.tensor, pair)
    assert torch.allclose(slerp(a, b, t), slerp(b, a, 1 - t), rtol=1e-6, atol=1e-6)


@given(st.floats(0.01, 3.13), st.floats(0, 1))
def test_between_equally_long_vectors_the_length_stays(theta, t):
    x = torch.tensor([2.0, 0.0], dtype=torch.float64)
    y = 2 * torch.tensor([math.cos(theta), math.sin(theta)], dtype=torch.float64)
    assert float(slerp(x, y, t).norm()) == pytest.approx(2.0, rel=1e-9)


def test_different_norms_enter_as_they_are():
    x, y = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 3.0])
    assert slerp(x, y, 0.5).tolist() == pytest.approx([math.sqrt(0.5), 3 * math.sqrt(0.5)])


def test_parallel_vectors_are_interpolated_along_their_line():
    x = torch.tensor([1.0, -2.0, 0.5])
    assert slerp(x, 3 * x, 0.25).tolist() == pytest.approx((1.5 * x).tolist())


def test_antiparallel_vectors_pass_through_zero():
    x = torch.tensor([1.0, -2.0, 0.5])
    assert slerp(x, -x, 0.5).tolist() == [0.0, 0.0, 0.0]
    assert slerp(x, -x, 0.25).tolist() == pytest.approx((0.5 * x).tolist())


def test_a_zero_vector_has_no_direction_and_is_interpolated():
    x, nothing = torch.tensor([4.0, -8.0]), torch.zeros(2)
    assert slerp(nothing, x, 0.25).tolist() == [1.0, -2.0]
    assert slerp(x, nothing, 0.25).tolist() == [3.0, -6.0]
    assert slerp(nothing, nothing, 0.3).tolist() == [0.0, 0.0]


def test_the_straight_line_takes_over_below_the_threshold_and_only_there():
    x = torch.tensor([1.0, 0.0], dtype=torch.float64)
    for theta, straight in ((0.9e-4, True), (1.1e-4, False), (0.2, False)):
        y = torch.tensor([math.cos(theta), math.sin(theta)], dtype=torch.float64)
        chord = 0.5 * x + 0.5 * y
        assert slerp(x, y, 0.5).equal(chord) == straight
    assert slerp(x, y, 0.5, dot_threshold=0.9).equal(chord)


@pytest.mark.parametrize("shape", [(), (1,), (0,), (2, 0), (3, 5, 2)])
def test_any_shape_is_one_vector(shape):
    generator = torch.Generator().manual_seed(9)
    a, b = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    got = slerp(a, b, 0.3)
    assert got.shape == a.shape
    if a.numel() <= 1:
        assert torch.allclose(got, 0.7 * a + 0.3 * b)
    else:
        assert got.numpy() == pytest.approx(naive.slerp(a.numpy(), b.numpy(), 0.3))


@pytest.mark.parametrize("t", [-0.1, 1.1, float("nan")])
def test_a_t_outside_0_to_1_is_refused(t):
    with pytest.raises(ValueError, match="t must lie between 0 and 1"):
        slerp(torch.ones(2), torch.ones(2), t)


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match="shape"):
        slerp(torch.ones(2), torch.ones(3), 0.5)
    with pytest.raises(ValueError, match="shape"):
        angle(torch.ones(2), torch.ones(3))


@pytest.mark.parametrize("theta", [1e-6, 1e-4, 0.01, 0.5, math.pi / 2, 3.0, math.pi - 1e-4])
@pytest.mark.parametrize("length", [1e-30, 1.0, 1e30])
def test_the_angle_is_accurate_from_nearly_parallel_to_nearly_opposite(theta, length):
    x = torch.tensor([length, 0.0, 0.0], dtype=torch.float64)
    y = torch.tensor([math.cos(theta), 0.0, math.sin(theta)], dtype=torch.float64) / length
    # a cosine rounded to 2**-53 shifts its angle by that over the sine
    assert angle(x, y) == pytest.approx(theta, rel=1e-15, abs=1e-15 / math.sin(theta))


@given(pairs())
def test_the_angle_is_kahans(pair):
    a, b = pair
    if a.any() and b.any():
        expected = naive.angle(a, b)
        assert angle(torch.tensor(a), torch.tensor(b)) == pytest.approx(expected, abs=1e-7)


def test_the_angle_with_nothing_or_with_nan_is_undefined():
    assert math.isnan(angle(torch.zeros(3), torch.ones(3)))
    assert math.isnan(angle(torch.zeros(0), torch.zeros(0)))
    assert math.isnan(angle(torch.tensor([math.nan, 1.0]), torch.ones(2)))


def test_fine_tunes_in_half_precision_are_told_apart_by_their_angle():
    generator = torch.Generator().manual_seed(4)
    base = torch.randn(1000, generator=generator)
    near = base + 0.01 * torch.randn(1000, generator=generator)
    for dtype, close in ((torch.float32, 1e-6), (torch.bfloat16, 1e-6)):
        a, b = base.to(dtype), near.to(dtype)
        expected = naive.angle(a.double().numpy(), b.double().numpy())
        assert angle(a, b) == pytest.approx(expected, rel=close)


@given(pairs(), st.floats(0, 1))
def test_interpolated_norms_lie_on_a_line_and_directions_on_the_arc(pair, t):
    a, b = pair
    if not a.any() or not b.any() or math.sin(naive.angle(a, b)) < 1e-3:
        return
    lengths = [float(np.linalg.norm(v)) for v in pair]
    got = slerp(torch.tensor(a), torch.tensor(b), t, norm="interpolate").numpy()
    direction = naive.slerp(a / lengths[0], b / lengths[1], t)
    expected = direction * ((1 - t) * lengths[0] + t * lengths[1])
    assert got == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(st.floats(0, 1))
def test_interpolated_norms_where_there_is_no_arc(t):
    x, nothing = torch.tensor([3.0, 4.0], dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    how = {"norm": "interpolate"}
    assert torch.allclose(slerp(x, 2 * x, t, **how), (1 + t) * x)
    assert torch.allclose(slerp(x, nothing, t, **how), (1 - t) * x)
    assert slerp(x, -x, 0.5, **how).tolist() == [0.0, 0.0]
    assert torch.allclose(slerp(x, -x, 0.25, **how), x)


@pytest.mark.parametrize(("cosine", "straight"), [(0.94, False), (0.96, True), (-0.96, True)])
def test_the_straight_line_is_taken_where_the_size_of_the_cosine_exceeds_the_threshold(
    cosine, straight
):
    x = torch.tensor([1.0, 0.0], dtype=torch.float64)
    y = torch.tensor([cosine, math.sqrt(1 - cosine**2)], dtype=torch.float64)
    chord = 0.7 * x + 0.3 * y
    assert torch.allclose(slerp(x, y, 0.3, dot_threshold=0.95), chord, rtol=1e-12) == straight
    assert not torch.allclose(slerp(x, y, 0.3), chord, rtol=1e-4)


def test_an_unknown_norm_is_refused():
    with pytest.raises(ValueError, match="norm must be formula or interpolate, got 'both'"):
        slerp(torch.ones(2), torch.ones(2), 0.5, norm="both")
