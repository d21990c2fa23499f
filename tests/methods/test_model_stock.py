"""Model Stock's ratio, worked out by hand and held against numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergelab.methods import interpolation_ratio, model_stock
from mergelab.methods.model_stock import model_stock_coefficients, ratio_of


def by_numpy(flat):
    """The merge of task vectors `[N, entries]`, after equation 5."""
    count = len(flat)
    lengths = np.linalg.norm(flat, axis=1)
    units = flat / np.where(lengths > 0, lengths, 1)[:, None]
    pairs = [units[i] @ units[j] for i in range(count) for j in range(i)]
    cosine = np.mean(pairs)
    return flat.mean(0) * count * cosine / (1 + (count - 1) * cosine)


def task_vectors(number, count, shape):
    chance = np.random.default_rng(number)
    common = chance.normal(size=shape)  # so that none of the denominators is near 0
    return common + 0.8 * chance.normal(size=(count, *shape))


def test_worked_examples():
    x, y = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert model_stock([x, x]).tolist() == [1.0, 0.0]  # all agree: their average
    assert model_stock([x, y]).tolist() == [0.0, 0.0]  # at right angles: the base
    # 60 degrees: 2 * .5 / 1.5 of the way
    z = torch.tensor([0.5, 3**0.5 / 2], dtype=torch.float64)
    assert interpolation_ratio([x.double(), z]) == pytest.approx(2 / 3)
    assert interpolation_ratio([x]) == 1.0


def test_at_the_singularity_the_base_stays():
    x = torch.tensor([1.0, 0.0])
    assert interpolation_ratio([x, -x]) == 0.0
    assert model_stock([x, -x]).tolist() == [0.0, 0.0]


@given(number=st.integers(0, 10_000), count=st.integers(2, 6), size=st.integers(3, 30))
def test_one_ratio_for_the_tensor(number, count, size):
    flat = task_vectors(number, count, (size,))
    merged = model_stock(list(torch.from_numpy(flat))).numpy()
    assert merged == pytest.approx(by_numpy(flat), rel=1e-8, abs=1e-8)


@given(number=st.integers(0, 10_000), count=st.integers(2, 4), rows=st.integers(1, 5))
def test_filter_wise_each_row_has_its_own_ratio(number, count, rows):
    stacked = task_vectors(number, count, (rows, 12))
    merged = model_stock(list(torch.from_numpy(stacked)), filter_wise=True).numpy()
    for row in range(rows):
        assert merged[row] == pytest.approx(by_numpy(stacked[:, row]), rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("shape", [(), (0,), (5,), (3, 0), (0, 3)], ids=str)
def test_without_rows_of_their_own_filter_wise_is_the_whole(shape):
    generator = torch.Generator().manual_seed(1)
    tau = [torch.randn(shape, generator=generator) for _ in range(3)]
    assert model_stock(tau, filter_wise=True).equal(model_stock(tau))
    assert model_stock(tau, filter_wise=True).shape == shape


def test_rows_of_zeros_count_as_at_right_angles():
    one = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    other = torch.tensor([[1.0, 2.0], [1.0, 1.0]])
    assert model_stock([one, other], filter_wise=True).tolist() == [[0.0, 0.0], [1.0, 1.0]]


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_the_ratio_does_not_depend_on_how_large_the_changes_are(scale):
    tau = [scale * torch.tensor([[1.0, 0.5]]), scale * torch.tensor([[1.0, -0.25]])]
    one = [t / scale for t in tau]
    for filter_wise in (False, True):
        got = model_stock(tau, filter_wise=filter_wise) / scale
        assert torch.allclose(got, model_stock(one, filter_wise=filter_wise), rtol=1e-5)


def test_the_coefficients_share_the_ratio_out():
    gram = [[1.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, 1.0]]
    assert ratio_of(gram) == pytest.approx(3 * 0.5 / 2)
    assert model_stock_coefficients(gram) == pytest.approx([0.25] * 3)
