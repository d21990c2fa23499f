"""Factors, the nearest matrix of a lower rank, and what counts as a singular value of zero."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from singular import adapter

from mergelab.methods import Factors, truncate
from mergelab.methods.factors import nonzero_svd


def random(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


class TestFactors:
    def test_shape_rank_and_product(self):
        delta = Factors(
            torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 1.0]])
        )
        assert delta.shape == (1, 3)
        assert delta.rank == 2
        assert delta.dense().tolist() == [[1.0, 2.0, 4.0]]

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
    def test_half_precision_factors_are_multiplied_in_float32(self, dtype):
        delta = adapter(5, 4, 3, dtype=dtype)
        assert delta.dense().equal(delta.b.float() @ delta.a.float())

    @pytest.mark.parametrize("b", [torch.ones(3), torch.ones(3, 3), torch.ones(1, 3, 2)])
    def test_factors_that_do_not_fit_are_refused_with_their_shapes(self, b):
        with pytest.raises(ValueError, match=r"must be \[m, r\] and \[r, n\], got .*\(2, 5\)"):
            Factors(b, torch.ones(2, 5))

    def test_a_factorization_of_rank_zero_is_the_zero_matrix(self):
        delta = Factors(torch.ones(3, 0), torch.ones(0, 2))
        assert delta.dense().equal(torch.zeros(3, 2))


class TestTruncate:
    @given(
        m=st.integers(1, 12),
        n=st.integers(1, 12),
        own=st.integers(1, 14),
        rank=st.integers(1, 14),
        seed=st.integers(0, 20),
    )
    def test_is_the_best_approximation_and_says_its_error(self, m, n, own, rank, seed):
        delta = adapter(m, n, own, seed)
        u, s, vt = np.linalg.svd(delta.dense().numpy(), full_matrices=False)
        best = u[:, :rank] @ np.diag(s[:rank]) @ vt[:rank]
        left_out = np.sqrt((s[rank:] ** 2).sum() / (s**2).sum())
        for given_ in (delta, delta.dense()):
            nearest, error = truncate(given_, rank)
            assert nearest.rank <= min(rank, m, n)
            assert np.allclose(nearest.dense().numpy(), best, atol=1e-7 * s[0])
            assert error == pytest.approx(left_out, abs=1e-7)

    def test_a_rank_that_suffices_loses_nothing(self):
        delta = adapter(40, 30, 4)
        nearest, error = truncate(delta, 6)
        assert error < 1e-14
        assert torch.allclose(nearest.dense(), delta.dense(), rtol=0, atol=1e-12)

    def test_both_factors_carry_half_of_each_singular_value(self):
        nearest, _ = truncate(adapter(40, 30, 6), 4)
        assert torch.allclose(nearest.b.T @ nearest.b, nearest.a @ nearest.a.T, atol=1e-10)
        sizes = nearest.b.norm(dim=0)
        assert sizes.equal(sizes.sort(descending=True).values)

    def test_signs_are_fixed_by_the_product_alone(self):
        delta = adapter(40, 30, 6)
        nearest, _ = truncate(delta, 4)
        for other in (Factors(-delta.b, -delta.a), delta.dense()):
            same, _ = truncate(other, 4)
            assert torch.allclose(same.b, nearest.b, atol=1e-9)
            assert torch.allclose(same.a, nearest.a, atol=1e-9)
        assert bool((nearest.b.gather(0, nearest.b.abs().argmax(0, keepdim=True)) > 0).all())

    @pytest.mark.parametrize("shape", [(8, 3), (3, 8), (1, 5), (5, 1)])
    def test_a_rank_larger_than_possible_is_clipped(self, shape):
        matrix = random(*shape)
        nearest, error = truncate(matrix, 100)
        assert nearest.rank == min(shape)
        assert error < 1e-14
        assert torch.allclose(nearest.dense(), matrix)

    def test_a_tensor_of_more_dimensions_is_seen_as_a_matrix(self):
        kernel = random(4, 3, 5)
        nearest, error = truncate(kernel, 2)
        flat, same = truncate(kernel.reshape(12, 5), 2)
        assert nearest.shape == (12, 5)
        assert nearest.dense().equal(flat.dense())
        assert error == same

    @pytest.mark.parametrize(
        "zero", [torch.zeros(4, 3), Factors(torch.zeros(4, 2), torch.ones(2, 3))]
    )
    def test_nothing_is_lost_of_a_zero_matrix(self, zero):
        nearest, error = truncate(zero, 2)
        assert error == 0.0
        assert nearest.dense().equal(torch.zeros(4, 3))

    def test_float32_comes_back_within_its_rounding(self):
        matrix = random(50, 40, dtype=torch.float32)
        nearest, error = truncate(matrix, 40)
        assert nearest.b.dtype == nearest.a.dtype == torch.float32
        assert error < 1e-7
        assert torch.allclose(nearest.dense(), matrix, atol=1e-5)

    def test_a_steep_spectrum_keeps_its_small_directions(self):
        # in the Gram matrix the fourth direction is 1e-12 of the first, near fp64's rounding
        u, v = torch.linalg.qr(random(30, 5)).Q, torch.linalg.qr(random(20, 5, seed=1)).Q
        sizes = torch.tensor([1.0, 1e-2, 1e-4, 1e-6, 1e-7]).double()
        nearest, _ = truncate((u * sizes) @ v.T, 4)
        expected = (u[:, :4] * sizes[:4]) @ v[:, :4].T
        assert torch.allclose(nearest.dense(), expected, rtol=0, atol=1e-10)

    @pytest.mark.parametrize("rank", [0, -3])
    def test_a_rank_below_one_is_refused(self, rank):
        with pytest.raises(ValueError, match=f"rank must be at least 1, got {rank}"):
            truncate(torch.ones(3, 3), rank)

    def test_a_vector_is_refused(self):
        with pytest.raises(ValueError, match=r"shape \(3,\) has no rank"):
            truncate(torch.ones(3), 1)


class TestWhatCountsAsZero:
    @pytest.mark.parametrize("shape", [(6, 5), (40, 300), (300, 40), (1000, 800)], ids=str)
    @pytest.mark.parametrize("rank", [1, 4])
    def test_the_rounding_of_a_product_to_float32_adds_no_direction(self, shape, rank):
        for seed in range(3):
            product = adapter(*shape, rank, seed, dtype=torch.float32).dense()
            _, s, _ = nonzero_svd(product.double(), torch.float32)
            assert len(s) == rank

    def test_in_float64_a_direction_of_a_ten_billionth_still_counts(self):
        matrix = torch.diag(torch.tensor([1.0, 1e-10]).double())
        assert len(nonzero_svd(matrix, torch.float64)[1]) == 2
        assert len(nonzero_svd(matrix, torch.float32)[1]) == 1

    def test_a_sum_is_measured_against_its_terms(self):
        # 1e-9 is a direction of its own, but only rounding in a difference of terms of size 1
        matrix = torch.diag(torch.tensor([1e-9, 0.0]).double())
        assert len(nonzero_svd(matrix, torch.float32)[1]) == 1
        assert len(nonzero_svd(matrix, torch.float32, 2.0)[1]) == 0
