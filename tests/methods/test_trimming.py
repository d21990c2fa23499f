"""The ways to count what trim keeps, and to scale up what is left."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergelab.methods import kept_count, norm_ratio, trim
from mergelab.methods.trimming import NORMS, TRIM_COUNTS, norm_of, ratio_of


@pytest.mark.parametrize(
    ("size", "density", "round", "floor", "floor_min_1", "floor_plus_1", "ceil_plus_1"),
    [
        (10, 0.25, 3, 2, 2, 3, 4),
        (10, 0.24, 2, 2, 2, 3, 4),
        (10, 0.2, 2, 2, 2, 3, 3),
        (10007, 0.2, 2001, 2001, 2001, 2002, 2003),
        (100, 0.29, 29, 28, 28, 29, 30),  # .29 * 100 falls short of 29, as floats do
        (3, 0.1, 1, 0, 1, 1, 2),
        (10, 0.0, 0, 0, 0, 1, 1),
        (10, 1.0, 10, 10, 10, 10, 10),
        (0, 0.5, 0, 0, 0, 0, 0),
    ],
)
def test_each_way_of_counting(size, density, round, floor, floor_min_1, floor_plus_1, ceil_plus_1):
    wanted = [round, floor, floor_min_1, floor_plus_1, ceil_plus_1]
    assert [kept_count(size, density, how) for how in TRIM_COUNTS] == wanted


@given(st.integers(0, 60), st.floats(0, 1), st.sampled_from(TRIM_COUNTS))
def test_trim_keeps_as_many_of_different_magnitudes_as_the_count_says(size, density, how):
    delta = torch.arange(1, size + 1, dtype=torch.float32)
    kept = trim(delta, density, trim_count=how)
    count = kept_count(size, density, how)
    assert kept.tolist() == [float(i + 1) if i >= size - count else 0.0 for i in range(size)]


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_a_matched_norm_is_the_one_there_was(norm):
    delta = torch.randn(9, 11, generator=torch.Generator().manual_seed(0))
    order = int(norm[1])
    kept = trim(delta, 0.2, rescale=norm)
    assert int((kept != 0).sum()) == 20
    assert float(kept.norm(p=order)) == pytest.approx(float(delta.norm(p=order)), rel=1e-6)


def test_trim_keeps_the_greatest_magnitude_so_that_linf_changes_nothing():
    delta = torch.tensor([3.0, -4.0, 1.0])
    assert trim(delta, 0.34, rescale="linf").tolist() == [0.0, -4.0, 0.0]


def test_rescale_true_multiplies_by_one_over_density():
    assert trim(torch.tensor([3.0, -4.0]), 0.5, rescale=True).tolist() == [0.0, -8.0]


def test_norms_by_hand():
    before, after = torch.tensor([3.0, -4.0, 0.0]), torch.tensor([0.0, 2.0, 0.0])
    assert [norm_of(before, norm) for norm in NORMS] == [7.0, 5.0, 4.0]
    assert [norm_ratio(before, after, norm) for norm in NORMS] == [3.5, 2.5, 2.0]


def test_norms_of_parts_add_up_to_the_norm_of_the_whole():
    whole = torch.randn(1000, generator=torch.Generator().manual_seed(3))
    parts = whole.split(137)
    assert sum(norm_of(p, "l1") for p in parts) == pytest.approx(norm_of(whole, "l1"), rel=1e-12)
    squares = sum(norm_of(p, "l2") ** 2 for p in parts)
    assert math.sqrt(squares) == pytest.approx(norm_of(whole, "l2"), rel=1e-12)
    assert max(norm_of(p, "linf") for p in parts) == norm_of(whole, "linf")


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.0), (1.0, 0.0), (1.0, 5e-8), (5e-8, 1.0)])
def test_next_to_nothing_is_not_scaled(before, after):
    assert ratio_of(before, after) == 1.0


def test_half_precision_norms_do_not_overflow():
    assert (
        norm_of(torch.full((2000,), 60000.0, dtype=torch.float16), "l1") == 2000 * 59968.0 + 64000
    )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: kept_count(3, 0.5, "ceil"), "trim_count must be one of round, floor"),
        (lambda: trim(torch.ones(2), 0.5, rescale="l3"), "rescale must be true, false, l1"),
    ],
)
def test_an_unknown_word_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
