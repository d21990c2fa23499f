"""Linear merging and task arithmetic: worked numbers and an independent sum."""

import naive
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergelab.methods import linear, task_arithmetic

numbers = st.integers(-64, 64).map(lambda n: n / 32)


@st.composite
def weighted(draw):
    count, size = draw(st.integers(1, 5)), draw(st.integers(0, 9))
    row = st.lists(numbers, min_size=size, max_size=size)
    deltas = draw(st.lists(row, min_size=count, max_size=count))
    weights = draw(st.lists(st.floats(-2, 2), min_size=count, max_size=count))
    return deltas, weights


def test_worked_example_the_average_serves_neither():
    merged = linear([torch.tensor([0.23]), torch.tensor([0.10])])
    assert merged.tolist() == pytest.approx([0.165])


def test_weights_act_as_shares_when_normalised_and_overshoot_when_not():
    ones = [torch.ones(1), torch.ones(1)]
    apart = [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])]
    assert linear(apart, [0.1, 1.0]).tolist() == pytest.approx([0.1 / 1.1, 1.0 / 1.1])
    assert linear(ones, [0.1, 1.0]).tolist() == pytest.approx([1.0])
    assert linear(ones, [0.1, 1.0], normalize=False).tolist() == pytest.approx([1.1])


@given(weighted())
def test_linear_agrees_with_plain_loops(case):
    deltas, weights = case
    total = sum(weights)
    if abs(total) < 1e-2:
        weights = [*weights[:-1], weights[-1] + 1]
        total = sum(weights)
    got = linear([torch.tensor(d, dtype=torch.float64) for d in deltas], weights)
    expected = [x / total for x in naive.weighted_sum(deltas, weights)]
    assert got.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(weighted(), st.floats(-3, 3))
def test_task_arithmetic_agrees_with_plain_loops(case, lam):
    deltas, weights = case
    got = task_arithmetic([torch.tensor(d, dtype=torch.float64) for d in deltas], weights, lam)
    expected = [lam * x for x in naive.weighted_sum(deltas, weights)]
    assert got.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_negative_weight_forgets_what_was_added():
    tau = torch.tensor([0.5, -0.25, 3.0])
    assert task_arithmetic([tau, tau], [1.0, -1.0]).tolist() == [0.0, 0.0, 0.0]
    assert task_arithmetic([tau], [-1.0]).equal(-tau)


def test_linear_of_task_vectors_and_of_weights_is_one_model_when_all_share_the_base():
    generator = torch.Generator().manual_seed(5)
    base, one, two = torch.randn(3, 40, generator=generator, dtype=torch.float64)
    of_weights = linear([base + one, base + two], [0.3, 0.9])
    of_changes = base + linear([one, two], [0.3, 0.9])
    assert torch.allclose(of_weights, of_changes, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("weights", [[1.0, -1.0], [0.1, 0.2, -0.3], [0.0]])
def test_weights_that_sum_to_0_are_refused_and_allowed_without_normalising(weights):
    # .1 + .2 - .3 is 5.6e-17 in floating point, which would enlarge the result 10**16 times
    tensors = [torch.ones(2)] * len(weights)
    with pytest.raises(ValueError, match="sum to 0"):
        linear(tensors, weights)
    expected = pytest.approx([0.0, 0.0], abs=1e-7)
    assert linear(tensors, weights, normalize=False).tolist() == expected


@given(weighted())
def test_the_order_of_the_models_does_not_matter(case):
    deltas, weights = case
    tau = [torch.tensor(d, dtype=torch.float64) for d in deltas]
    forwards = task_arithmetic(tau, weights)
    backwards = task_arithmetic(tau[::-1], weights[::-1])
    assert torch.allclose(forwards, backwards, rtol=1e-12, atol=1e-12)
