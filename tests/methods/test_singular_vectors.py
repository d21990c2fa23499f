"""The singular-vector methods, against the papers' equations written out on whole matrices.

The references below are numpy in float64 on dense matrices, as the papers state them; the package
works between small cores of factors instead.
"""

import naive
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from singular import METHODS, WEIGHTS, adapter, adapters, as_numpy, close, whole

from mergelab.methods import Factors, concat, core_space, iso_c, knots_ties, svd, tsv_merge

each_method = pytest.mark.parametrize("name", METHODS)


# What the papers say, on whole matrices


def reference_sum(matrices, weights, lam):
    return lam * sum(w * x for w, x in zip(weights, matrices, strict=True))


def reference_svd(matrices, weights, lam, rank):
    u, s, vt = np.linalg.svd(reference_sum(matrices, weights, lam), full_matrices=False)
    return u[:, :rank] @ np.diag(s[:rank]) @ vt[:rank]


def reference_tsv(matrices, weights, lam, count):
    """TSV-M with the polar factor by the inverse square root of the Gram matrix."""
    parts = []
    for w, matrix in zip(weights, matrices, strict=True):
        u, s, vt = np.linalg.svd(w * matrix, full_matrices=False)
        parts.append((u[:, :count], s[:count], vt[:count]))
    u = np.hstack([part[0] for part in parts])
    s = np.hstack([part[1] for part in parts])
    v = np.hstack([part[2].T for part in parts])
    return lam * whitened(u) @ np.diag(s) @ whitened(v).T


def whitened(x):
    values, vectors = np.linalg.eigh(x.T @ x)
    return x @ vectors @ np.diag(values**-0.5) @ vectors.T


def reference_iso(matrices, weights, lam, rank, count):
    u, s, vt = np.linalg.svd(reference_sum(matrices, weights, 1.0), full_matrices=False)
    return lam * s.sum() / count * u[:, :rank] @ vt[:rank]


def reference_ties(matrices, density, weights, lam):
    flat = naive.ties(
        [m.ravel().tolist() for m in matrices], [density] * len(weights), weights, lam
    )
    return np.reshape(flat, matrices[0].shape)


def reference_knots(matrices, density, weights, lam, rank):
    u, s, vt = np.linalg.svd(np.hstack(matrices), full_matrices=False)
    blocks = np.split(np.diag(s[:rank]) @ vt[:rank], len(matrices), axis=1)
    return u[:, :rank] @ reference_ties(blocks, density, weights, lam)


def reference_core_ties(factors, density, weights, lam):
    """Core Space with the bases as the paper builds them, from (B, A) pairs."""
    u = np.linalg.svd(np.hstack([b for b, _ in factors]), full_matrices=False)[0]
    vt = np.linalg.svd(np.vstack([a for _, a in factors]), full_matrices=False)[2]
    cores = [u.T @ b @ a @ vt.T for b, a in factors]
    return u @ reference_ties(cores, density, weights, lam) @ vt


class TestThePapersEquations:
    def test_concat_is_the_weighted_sum_and_its_rank_the_sum_of_ranks(self):
        deltas = adapters()
        merged = concat(deltas, WEIGHTS, 0.7)
        assert merged.rank == 9
        assert close(merged, reference_sum(as_numpy(deltas), WEIGHTS, 0.7))

    @pytest.mark.parametrize("rank", [1, 3, 8])
    def test_svd_is_the_best_approximation_of_the_weighted_sum(self, rank):
        deltas = adapters()
        merged = svd(deltas, WEIGHTS, 0.7, rank=rank)
        assert merged.rank == rank
        assert close(merged, reference_svd(as_numpy(deltas), WEIGHTS, 0.7, rank))

    @pytest.mark.parametrize("shape", [(12, 18), (18, 12), (12, 12)])
    def test_tsv_merge_on_full_fine_tunes_keeps_a_third_for_three_tasks(self, shape):
        deltas = [whole(d) for d in adapters(*shape, ranks=(12, 12, 12))]
        expected = reference_tsv(as_numpy(deltas), WEIGHTS, 0.7, count=4)
        assert close(tsv_merge(deltas, WEIGHTS, 0.7), expected)

    def test_tsv_merge_keeps_all_of_an_adapter_whose_rank_is_below_the_share(self):
        deltas = adapters(ranks=(3, 3, 3))
        assert close(tsv_merge(deltas, WEIGHTS), reference_tsv(as_numpy(deltas), WEIGHTS, 1.0, 3))

    def test_tsv_merge_can_share_out_the_adapters_own_rank(self):
        deltas = adapters(ranks=(6, 6, 6), m=30, n=20)
        merged = tsv_merge(deltas, WEIGHTS, share_of="task_vector")
        assert merged.rank == 6
        assert close(merged, reference_tsv(as_numpy(deltas), WEIGHTS, 1.0, 2))

    @pytest.mark.parametrize(("share", "count"), [(0.5, 5), (0.29, 2), (0.01, 1), (0.0, 1)])
    def test_tsv_merge_rounds_the_number_kept_down_but_keeps_one(self, share, count):
        deltas = [whole(d) for d in adapters(15, 10, ranks=(10, 10))]
        expected = reference_tsv(as_numpy(deltas), [1, 1], 1.0, count)
        assert close(tsv_merge(deltas, rank_share=share), expected)

    def test_tsv_merge_is_not_misled_by_fractions_in_floating_point(self):
        # there 100 * 0.29 lies below 29, and 49 * (1 / 49) below 1
        (matrix,) = (whole(d) for d in adapters(100, 100, ranks=(100,)))
        assert torch.linalg.matrix_rank(tsv_merge([matrix], rank_share=0.29)) == 29
        deltas = [whole(d) for d in adapters(98, 98, ranks=[98] * 49)]
        assert torch.linalg.matrix_rank(tsv_merge(deltas)) == 98

    @pytest.mark.parametrize("shape", [(9, 14), (14, 9)])
    def test_iso_c_on_full_fine_tunes_gives_all_directions_the_mean(self, shape):
        deltas = [whole(d) for d in adapters(*shape, ranks=(9, 9, 9))]
        expected = reference_iso(as_numpy(deltas), WEIGHTS, 0.7, rank=9, count=9)
        for mean_over in ("rank", "matrix"):
            assert close(iso_c(deltas, WEIGHTS, 0.7, mean_over=mean_over), expected)

    def test_iso_c_on_adapters_leaves_out_what_has_no_direction(self):
        deltas = adapters(m=20, n=14, ranks=(3, 2, 4))
        over_rank = reference_iso(as_numpy(deltas), WEIGHTS, 0.7, rank=9, count=9)
        over_matrix = reference_iso(as_numpy(deltas), WEIGHTS, 0.7, rank=9, count=14)
        assert close(iso_c(deltas, WEIGHTS, 0.7), over_rank)
        assert close(iso_c(deltas, WEIGHTS, 0.7, mean_over="matrix"), over_matrix)

    @pytest.mark.parametrize("density", [0.2, 0.7, 1.0])
    def test_knots_ties_merges_the_aligned_blocks(self, density):
        deltas = adapters()
        expected = reference_knots(as_numpy(deltas), density, WEIGHTS, 0.7, rank=9)
        assert close(knots_ties(deltas, density, WEIGHTS, 0.7), expected)

    @pytest.mark.parametrize("density", [0.3, 1.0])
    def test_core_space_merges_the_papers_cores(self, density):
        deltas = adapters()
        pairs = [(d.b.numpy(), d.a.numpy()) for d in deltas]
        expected = reference_core_ties(pairs, density, WEIGHTS, 0.7)
        merged = core_space(deltas, WEIGHTS, 0.7, "ties", density, basis="factors")
        assert close(merged, expected)

    @pytest.mark.parametrize("density", [0.3, 1.0])
    def test_core_space_balances_the_factors_first_by_default(self, density):
        deltas = adapters()
        pairs = []
        for delta, rank in zip(as_numpy(deltas), (3, 2, 4), strict=True):
            u, s, vt = np.linalg.svd(delta)
            root = np.diag(np.sqrt(s[:rank]))
            pairs.append((u[:, :rank] @ root, root @ vt[:rank]))
        expected = reference_core_ties(pairs, density, WEIGHTS, 0.7)
        assert close(core_space(deltas, WEIGHTS, 0.7, "ties", density), expected)

    def test_core_space_shares_out_the_core_for_tsv_merge(self):
        # the core of ranks 2 and 6 is 8 by 8, of which each of two tasks gets 4
        deltas = adapters(m=20, n=14, ranks=(2, 6))
        two, six = as_numpy(deltas)
        u, s, vt = np.linalg.svd(six)
        u4, v4 = np.linalg.svd(two)[0][:, :2], np.linalg.svd(two)[2][:2]
        columns = whitened(np.hstack([u4, u[:, :4]]))
        rows = whitened(np.hstack([v4.T, vt[:4].T])).T
        values = np.hstack([np.linalg.svd(two)[1][:2], s[:4]])
        assert close(core_space(deltas, method="tsv_merge"), columns @ np.diag(values) @ rows)

    def test_the_switches_of_ties_reach_the_blocks_and_the_cores(self):
        deltas = adapters(ranks=(3, 3))
        for divisor, factor in (("count", 1.0), ("none", 2.0)):
            same = [deltas[0], deltas[0]]
            assert close(knots_ties(same, divisor=divisor), factor * whole(deltas[0]))
            merged = core_space(same, method="ties", divisor=divisor)
            assert close(merged, factor * whole(deltas[0]))
        heavy = [0.1, 1.0]
        for method in (knots_ties, lambda d, **more: core_space(d, method="ties", **more)):
            by_mass = whole(method(deltas, weights=heavy))
            by_count = whole(method(deltas, weights=heavy, election="count"))
            assert not torch.allclose(by_mass, by_count)


class TestWhatEachMethodPromises:
    @each_method
    def test_the_order_of_the_models_does_not_matter(self, name):
        deltas = adapters(ranks=(3, 2, 4))
        merged = METHODS[name](deltas, WEIGHTS)
        turned = METHODS[name]([deltas[i] for i in (2, 0, 1)], [WEIGHTS[i] for i in (2, 0, 1)])
        assert close(turned, whole(merged))

    @pytest.mark.parametrize("name", ["concat", "tsv_merge", "core_space", "core_space, tsv_merge"])
    def test_one_model_alone_is_itself(self, name):
        (delta,) = adapters(ranks=(3,))
        assert close(METHODS[name]([delta]), whole(delta))
        assert close(knots_ties([delta]), whole(delta))
        assert close(core_space([delta], method="ties"), whole(delta))
        assert close(svd([delta], rank=3), whole(delta))

    def test_svd_alone_keeps_the_largest_rank_of_the_adapters(self):
        deltas = adapters(ranks=(3, 2, 4))
        assert svd(deltas).rank == 4
        assert close(svd(deltas), reference_svd(as_numpy(deltas), [1, 1, 1], 1.0, 4))

    def test_svd_without_a_rank_cuts_nothing_off_a_dense_sum(self):
        deltas = [whole(d) for d in adapters()]
        assert close(svd(deltas, WEIGHTS, 0.7), reference_sum(as_numpy(deltas), WEIGHTS, 0.7))

    @given(seed=st.integers(0, 30), lam=st.sampled_from([1.0, 0.3]))
    def test_core_space_with_task_arithmetic_is_the_plain_sum(self, seed, lam):
        deltas = adapters(ranks=(3, 5, 1), seed=seed)
        expected = reference_sum(as_numpy(deltas), WEIGHTS, lam)
        assert close(core_space(deltas, WEIGHTS, lam), expected)
        assert close(core_space(deltas, WEIGHTS, lam, basis="factors"), expected)

    @given(seed=st.integers(0, 30))
    def test_iso_c_makes_all_singular_values_one_and_keeps_their_sum(self, seed):
        deltas = adapters(seed=seed)
        before = np.linalg.svd(reference_sum(as_numpy(deltas), WEIGHTS, 1.0), compute_uv=False)
        after = np.linalg.svd(as_numpy([iso_c(deltas, WEIGHTS)])[0], compute_uv=False)
        assert np.allclose(after[:9], before.sum() / 9)
        assert np.allclose(after[9:], 0)

    def test_iso_c_does_not_raise_what_cancels_but_for_rounding(self):
        large, small = adapters(ranks=(3, 2), dtype=torch.float32)
        mix = torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.5, 3.0], [1.0, 0.0, 1.0]])
        again = Factors(large.b @ mix, torch.linalg.inv(mix) @ large.a)
        merged = iso_c([large, again, small], [1.0, -1.0, 0.01])
        assert merged.rank == 2
        assert close(merged, 0.01 * whole(iso_c([small])), 1e-4)

    @given(seed=st.integers(0, 30))
    def test_tsv_merge_keeps_the_singular_values_of_all_tasks(self, seed):
        deltas = adapters(seed=seed)
        apart = np.concatenate([np.linalg.svd(m, compute_uv=False)[:4] for m in as_numpy(deltas)])
        after = np.linalg.svd(as_numpy([tsv_merge(deltas)])[0], compute_uv=False)
        assert np.allclose(after[:9], np.sort(apart)[::-1][:9])

    def test_tsv_merge_of_tasks_that_do_not_overlap_is_their_sum(self):
        basis_u = np.linalg.qr(np.random.default_rng(1).normal(size=(12, 6)))[0]
        basis_v = np.linalg.qr(np.random.default_rng(2).normal(size=(15, 6)))[0]
        deltas = [
            Factors(torch.from_numpy(basis_u[:, at]), torch.from_numpy(basis_v[:, at].T))
            for at in (slice(0, 2), slice(2, 5), slice(5, 6))
        ]
        assert close(tsv_merge(deltas), reference_sum(as_numpy(deltas), [1, 1, 1], 1.0))

    @pytest.mark.parametrize("name", ["tsv_merge", "knots_ties", "core_space, tsv_merge"])
    def test_two_equal_adapters_give_that_adapter(self, name):
        (delta,) = adapters(ranks=(3,))
        method = knots_ties if name == "knots_ties" else METHODS[name]
        assert close(method([delta, delta]), whole(delta))
        assert close(method([whole(delta), whole(delta)]), whole(delta))

    @each_method
    def test_a_model_and_its_opposite_that_cancel_leave_nothing(self, name):
        delta = adapter(20, 14, 3, dtype=torch.float32)
        merged = METHODS[name]([delta, delta], [1.0, -1.0])
        assert close(merged, np.zeros((20, 14)), 1e-5)

    @each_method
    def test_lambda_scales_the_result(self, name):
        deltas = adapters()
        assert close(
            METHODS[name](deltas, WEIGHTS, 0.25), 0.25 * whole(METHODS[name](deltas, WEIGHTS))
        )

    @pytest.mark.parametrize("name", ["concat", "svd", "tsv_merge", "iso_c", "core_space"])
    def test_a_weight_is_a_factor_of_the_task_vector(self, name):
        deltas = adapters()
        scaled = [Factors(d.b * w, d.a) for d, w in zip(deltas, WEIGHTS, strict=True)]
        assert close(METHODS[name](deltas, WEIGHTS), whole(METHODS[name](scaled)))

    @each_method
    def test_turning_the_coordinates_turns_the_result_along(self, name):
        # an orthogonal change of coordinates on the left carries every singular vector along
        turn = torch.linalg.qr(
            torch.randn(20, 20, generator=torch.Generator().manual_seed(3)).double()
        ).Q
        deltas = adapters()
        turned = [Factors(turn @ d.b, d.a) for d in deltas]
        assert close(METHODS[name](turned, WEIGHTS), turn @ whole(METHODS[name](deltas, WEIGHTS)))
