"""The singular-vector methods, against the papers' equations written out on whole matrices.

The references below are numpy in float64 on dense matrices, as the papers state them; the package
works between small cores of factors instead.
"""

import inspect

import naive
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergelab.methods import (
    REGISTRY,
    Factors,
    concat,
    core_space,
    iso_c,
    knots_ties,
    svd,
    tsv_merge,
)

METHODS = {
    "concat": concat,
    "svd": lambda deltas, *rest, **more: svd(deltas, *rest, rank=2, **more),
    "tsv_merge": tsv_merge,
    "tsv_merge, share of rank": lambda deltas, *rest, **more: tsv_merge(
        deltas, *rest, share_of="task_vector", **more
    ),
    "iso_c": iso_c,
    "iso_c over matrix": lambda deltas, *rest, **more: iso_c(
        deltas, *rest, mean_over="matrix", **more
    ),
    "knots_ties": lambda deltas, *rest, **more: knots_ties(deltas, 0.6, *rest, **more),
    "core_space": core_space,
    "core_space, ties": lambda deltas, *rest, **more: core_space(
        deltas, *rest, method="ties", density=0.6, **more
    ),
    "core_space, tsv_merge": lambda deltas, *rest, **more: core_space(
        deltas, *rest, method="tsv_merge", **more
    ),
}
each_method = pytest.mark.parametrize("name", METHODS)


def adapter(m, n, rank, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return Factors(
        torch.randn(m, rank, generator=generator, dtype=torch.float64).to(dtype),
        torch.randn(rank, n, generator=generator, dtype=torch.float64).to(dtype),
    )


def adapters(m=20, n=14, ranks=(3, 2, 4), seed=0, dtype=torch.float64):
    return [adapter(m, n, rank, 100 * seed + i, dtype) for i, rank in enumerate(ranks)]


def whole(delta):
    return delta.dense() if isinstance(delta, Factors) else delta


def close(ours, expected, tolerance=1e-9):
    ours = np.asarray(whole(ours).double())
    expected = np.asarray(expected)
    size = max(1.0, np.abs(expected).max(initial=0.0))
    return ours.shape == expected.shape and np.allclose(
        ours, expected, rtol=0, atol=tolerance * size
    )


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


def as_numpy(deltas):
    return [np.asarray(whole(delta).double()) for delta in deltas]


WEIGHTS = [1.0, 0.5, -0.75]


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


class TestFactorsAndWholeMatricesAgree:
    @each_method
    @given(data=st.data())
    def test_for_any_shapes_ranks_and_weights(self, name, data):
        m, n = data.draw(st.integers(1, 9), "m"), data.draw(st.integers(1, 9), "n")
        ranks = data.draw(st.lists(st.integers(0, 11), min_size=1, max_size=4), "ranks")
        size = len(ranks)
        weights = data.draw(
            st.lists(st.sampled_from([-1.5, 0.0, 0.3, 1.0]), min_size=size, max_size=size)
        )
        deltas = adapters(m, n, ranks, seed=data.draw(st.integers(0, 50), "seed"))
        lam = data.draw(st.sampled_from([1.0, 0.4, -2.0]), "lam")
        merged = METHODS[name](deltas, weights, lam)
        dense = METHODS[name]([whole(d) for d in deltas], weights, lam)
        assert isinstance(merged, Factors)
        assert isinstance(dense, torch.Tensor)
        assert merged.shape == dense.shape == (m, n)
        assert close(merged, dense, 1e-7)

    @each_method
    def test_in_float32_to_the_rounding_of_the_dense_one(self, name):
        deltas = adapters(60, 45, ranks=(4, 6, 4), dtype=torch.float32)
        merged = METHODS[name](deltas, WEIGHTS)
        assert merged.b.dtype == merged.a.dtype == torch.float32
        assert close(merged, METHODS[name]([d.dense() for d in deltas], WEIGHTS), 1e-5)

    @each_method
    def test_when_only_one_of_them_is_dense(self, name):
        deltas = adapters()
        mixed = METHODS[name]([deltas[0], whole(deltas[1]), deltas[2]], WEIGHTS)
        assert isinstance(mixed, torch.Tensor)
        assert close(mixed, whole(METHODS[name](deltas, WEIGHTS)))

    @each_method
    def test_however_a_task_vector_is_factored(self, name):
        deltas = adapters()
        mix = torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.5, 3.0], [1.0, 0.0, 1.0]]).double()
        other = Factors(deltas[0].b @ mix, torch.linalg.inv(mix) @ deltas[0].a)
        padded = Factors(
            torch.cat([deltas[1].b, torch.zeros(20, 2).double()], 1),
            torch.cat([deltas[1].a, torch.ones(2, 14).double()], 0),
        )
        refactored = METHODS[name]([other, padded, deltas[2]], WEIGHTS)
        assert close(refactored, whole(METHODS[name](deltas, WEIGHTS)))

    @each_method
    def test_a_matrix_too_large_to_be_multiplied_out_is_merged_by_its_factors(self, name):
        # the product would take 80 GB
        deltas = adapters(100_000, 200_000, ranks=(1, 1), dtype=torch.float32)
        merged = METHODS[name](deltas)
        assert merged.shape == (100_000, 200_000)
        assert merged.rank <= 2
        assert bool(torch.isfinite(merged.b).all() and torch.isfinite(merged.a).all())


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
    def test_a_base_of_other_units_turns_the_result_along(self, name):
        # an orthogonal change of coordinates on the left carries every singular vector along
        turn = torch.linalg.qr(
            torch.randn(20, 20, generator=torch.Generator().manual_seed(3)).double()
        ).Q
        deltas = adapters()
        turned = [Factors(turn @ d.b, d.a) for d in deltas]
        assert close(METHODS[name](turned, WEIGHTS), turn @ whole(METHODS[name](deltas, WEIGHTS)))


class TestOddInputs:
    @each_method
    @pytest.mark.parametrize("shape", [(1, 7), (7, 1), (1, 1), (3, 5)], ids=str)
    def test_thin_matrices_and_ranks_beyond_them_come_back_finite(self, name, shape):
        for ranks in ((1, 1), (8, 9), (1, 8), (2, 1, 3, 1, 2)):
            deltas = adapters(*shape, ranks=ranks)
            merged = METHODS[name](deltas)
            assert merged.shape == shape
            assert bool(torch.isfinite(whole(merged)).all())
            assert close(merged, METHODS[name]([whole(d) for d in deltas]), 1e-7)

    @each_method
    def test_zero_task_vectors_merge_to_zero(self, name):
        fresh = Factors(torch.zeros(6, 2), torch.randn(2, 4))
        for deltas in ([fresh, fresh], [torch.zeros(6, 4)] * 2, [torch.zeros(2, 3, 4)] * 2):
            merged = METHODS[name](deltas)
            assert whole(merged).equal(torch.zeros(deltas[0].shape))

    @each_method
    def test_a_zero_task_vector_beside_others_is_no_obstacle(self, name):
        first, second = adapters(ranks=(3, 2))
        zero = Factors(torch.zeros(20, 2).double(), second.a)
        merged = METHODS[name]([first, zero])
        assert bool(torch.isfinite(whole(merged)).all())
        assert close(merged, METHODS[name]([whole(first), torch.zeros(20, 14).double()]))

    @each_method
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
    def test_half_precision_is_computed_exactly_and_given_back_in_float32(self, name, dtype):
        halves = adapters(dtype=dtype)
        wide = [Factors(d.b.float(), d.a.float()) for d in halves]
        merged, expected = METHODS[name](halves), METHODS[name](wide)
        assert merged.b.dtype == merged.a.dtype == torch.float32
        assert merged.b.equal(expected.b)
        assert merged.a.equal(expected.a)
        dense = [whole(d).to(dtype) for d in halves]
        assert METHODS[name](dense).dtype == torch.float32
        assert METHODS[name](dense).equal(METHODS[name]([d.float() for d in dense]))

    @each_method
    def test_float64_anywhere_gives_float64(self, name):
        one, two = adapters(ranks=(2, 2))
        half = Factors(two.b.half(), two.a.float())
        assert METHODS[name]([one, half]).dtype == torch.float64
        assert METHODS[name]([whole(one), whole(half)]).dtype == torch.float64

    @each_method
    def test_inputs_stay_as_they_were_and_share_no_memory_with_the_result(self, name):
        deltas = adapters(ranks=(3, 2), dtype=torch.float32)
        for given_ in (deltas, [whole(d) for d in deltas], [torch.ones(4), torch.ones(4)]):
            before = [whole(d).clone() for d in given_]
            merged = METHODS[name](given_)
            for tensor in (merged.b, merged.a) if isinstance(merged, Factors) else (merged,):
                tensor.fill_(7.0)
            assert all(whole(d).equal(b) for d, b in zip(given_, before, strict=True))

    @each_method
    def test_a_stacked_tensor_is_a_sequence_of_models(self, name):
        stack = torch.stack([whole(d) for d in adapters()])
        assert METHODS[name](stack).equal(METHODS[name](list(stack)))

    @each_method
    def test_twice_the_same_call_gives_the_same_bits(self, name):
        one, two = METHODS[name](adapters()), METHODS[name](adapters())
        assert one.b.equal(two.b)
        assert one.a.equal(two.a)

    @each_method
    def test_a_convolution_is_the_matrix_of_its_leading_dimensions(self, name):
        flat = [whole(d) for d in adapters(12, 10)]
        merged = METHODS[name]([d.reshape(3, 2, 2, 10) for d in flat], WEIGHTS)
        assert merged.shape == (3, 2, 2, 10)
        assert close(merged.reshape(12, 10), METHODS[name](flat, WEIGHTS))

    @each_method
    @pytest.mark.parametrize("shape", [(), (0,), (6,)], ids=str)
    def test_norms_biases_and_scalars_are_merged_as_vectors(self, name, shape):
        generator = torch.Generator().manual_seed(5)
        deltas = [torch.randn(shape, generator=generator) for _ in WEIGHTS]
        total = reference_sum(as_numpy(deltas), WEIGHTS, 0.5)
        flat = [d.flatten().double().tolist() for d in deltas]
        if "ties" in name:
            resolved = naive.ties(flat, [0.6] * 3, WEIGHTS, 0.5)
            expected = np.reshape(resolved, shape)
        else:
            mean = "tsv" in name or "iso" in name
            expected = total / 3 if mean else total
        merged = METHODS[name](deltas, WEIGHTS, 0.5)
        assert merged.dtype == torch.float32
        assert close(merged, expected, 1e-6)

    @each_method
    @pytest.mark.parametrize("shape", [(0, 4), (4, 0), (2, 0, 3)], ids=str)
    def test_empty_matrices_come_back_empty(self, name, shape):
        assert METHODS[name]([torch.zeros(shape), torch.zeros(shape)]).shape == shape
        if len(shape) == 2:
            empty = Factors(torch.zeros(shape[0], 2), torch.zeros(2, shape[1]))
            assert METHODS[name]([empty, empty]).shape == shape

    @each_method
    def test_different_shapes_are_refused_with_both(self, name):
        with pytest.raises(ValueError, match=r"\(20, 13\).*\(20, 14\)"):
            METHODS[name]([adapter(20, 14, 2), adapter(20, 13, 2)])

    @each_method
    def test_no_model_and_too_many_weights_are_refused(self, name):
        with pytest.raises(ValueError, match="at least one"):
            METHODS[name]([])
        for deltas in (adapters(), [torch.ones(3)] * 3):
            with pytest.raises(ValueError, match="3 task vectors, got 2"):
                METHODS[name](deltas, [1.0, 1.0])

    @pytest.mark.parametrize(
        ("call", "complaint"),
        [
            (
                lambda d: tsv_merge(d, rank_share=1.5),
                "rank_share must lie between 0 and 1, got 1.5",
            ),
            (lambda d: tsv_merge(d, share_of="rows"), "share_of must be matrix or task_vector"),
            (lambda d: iso_c(d, mean_over="rows"), "mean_over must be rank or matrix, got 'rows'"),
            (lambda d: core_space(d, method="slerp"), "method must be .*, got 'slerp'"),
            (lambda d: core_space(d, basis="any"), "basis must be balanced or factors"),
            (lambda d: knots_ties(d, 1.5), "density must lie between 0 and 1"),
            (lambda d: svd(d, rank=0), "rank must be at least 1, got 0"),
        ],
    )
    def test_a_value_that_is_not_allowed_is_refused(self, call, complaint):
        for deltas in (adapters(), [whole(d) for d in adapters()]):
            with pytest.raises(ValueError, match=complaint):
                call(deltas)


class TestDeclarations:
    NAMES = ("concat", "svd", "tsv_merge", "iso_c", "knots_ties", "core_space")

    @pytest.mark.parametrize("name", NAMES)
    def test_each_is_registered_as_working_on_factors(self, name):
        method = REGISTRY[name]
        assert method.factored
        assert method.combine is method.function

    @pytest.mark.parametrize("name", NAMES)
    def test_declared_defaults_are_the_functions_own(self, name):
        signature = inspect.signature(REGISTRY[name].function).parameters
        declared = {p.name: p.default for p in REGISTRY[name].parameters if p.name != "weight"}
        assert declared == {
            key: parameter.default
            for key, parameter in signature.items()
            if key not in ("deltas", "weights")
        }

    def test_other_methods_do_not_work_on_factors(self):
        assert {name for name, method in REGISTRY.items() if method.factored} == set(self.NAMES)

    def test_a_rank_is_a_whole_number_of_one_or_more(self):
        rank = REGISTRY["svd"].parameter("rank")
        assert rank.problem(16) is None
        assert rank.problem(2.5) == "must be a whole number, got 2.5"
        assert rank.problem(0) == "must be at least 1, got 0"
        assert rank.problem("many") == "must be a number, got 'many'"
