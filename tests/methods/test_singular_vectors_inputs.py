"""The singular-vector methods on whatever may come: factors or whole matrices, thin, zero, half."""

import inspect

import naive
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from singular import METHODS, WEIGHTS, adapter, adapters, as_numpy, close, whole

from mergelab.methods import REGISTRY, Factors, core_space, iso_c, knots_ties, svd, tsv_merge

each_method = pytest.mark.parametrize("name", METHODS)


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
        total = 0.5 * sum(w * x for w, x in zip(WEIGHTS, as_numpy(deltas), strict=True))
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
