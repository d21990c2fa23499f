"""What holds for every method: inputs stay as they were, dtypes and shapes come back, one order."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergelab.methods import (
    REGISTRY,
    dare_linear,
    dare_ties,
    linear,
    slerp,
    task_arithmetic,
    ties,
)

METHODS = {
    "linear": linear,
    "task_arithmetic": task_arithmetic,
    "slerp": lambda deltas: slerp(deltas[0], deltas[1], 0.4),
    "ties": lambda deltas: ties(deltas, 0.5, [1.0, 0.5]),
    "dare_linear": lambda deltas: dare_linear(deltas, 0.5, [1.0, 0.5], seed=3),
    "dare_ties": lambda deltas: dare_ties(deltas, 0.5, [1.0, 0.5], seed=3),
}
SHAPES = [(), (0,), (1,), (7,), (4, 0, 2), (3, 5), (1, 1, 1), (2, 3, 7)]
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]

each_method = pytest.mark.parametrize("name", METHODS)


def pair(shape=(5, 9), dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator).to(dtype) for _ in range(2)]


def test_each_of_the_first_methods_is_registered_under_its_recipe_name():
    assert set(METHODS) <= set(REGISTRY)
    assert all(method.name == name for name, method in REGISTRY.items())


@each_method
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_shape_and_dtype_come_back_and_every_value_is_finite(name, shape, dtype):
    merged = METHODS[name](pair(shape, dtype))
    assert merged.shape == shape
    assert merged.dtype == dtype
    assert bool(torch.isfinite(merged).all())


@each_method
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_computed_in_float32_and_rounded_once(name, dtype):
    halves = pair(dtype=dtype)
    exact = METHODS[name]([half.float() for half in halves])
    assert METHODS[name](halves).equal(exact.to(dtype))


@each_method
def test_float32_is_within_a_few_roundings_of_float64(name):
    inputs = pair((40, 30))
    exact = METHODS[name]([tensor.double() for tensor in inputs])
    merged = METHODS[name](inputs)
    assert merged.dtype == torch.float32
    # two products, a sum that may cancel and a division: a handful of roundings, each at most
    # 2**-24 of the terms, which are below 16 here
    assert torch.allclose(merged.double(), exact, rtol=0, atol=4 * 16 * 2**-24)


@each_method
def test_inputs_are_never_changed(name):
    for dtype in DTYPES:
        inputs = pair(dtype=dtype)
        before = [tensor.clone() for tensor in inputs]
        METHODS[name](inputs)
        assert all(a.equal(b) for a, b in zip(inputs, before, strict=True))


@each_method
def test_the_result_shares_no_memory_with_the_inputs(name):
    zeros = [torch.zeros(4), torch.zeros(4)]
    METHODS[name](zeros).fill_(7.0)
    assert all(tensor.tolist() == [0.0] * 4 for tensor in zeros)


@each_method
def test_memory_layout_does_not_matter(name):
    wide = pair((9, 10))
    strided = [tensor.T[::2, 1::3] for tensor in wide]
    assert METHODS[name](strided).equal(METHODS[name]([t.contiguous() for t in strided]))


@each_method
def test_a_stacked_tensor_is_a_sequence_of_models(name):
    inputs = pair()
    assert METHODS[name](torch.stack(inputs)).equal(METHODS[name](inputs))
    assert METHODS[name](tuple(inputs)).equal(METHODS[name](inputs))


@each_method
def test_zero_deltas_merge_to_zero(name):
    assert METHODS[name]([torch.zeros(3, 2), torch.zeros(3, 2)]).equal(torch.zeros(3, 2))


@each_method
def test_different_shapes_are_refused_with_both(name):
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
        METHODS[name]([torch.ones(2), torch.ones(3)])


@pytest.mark.parametrize("method", [linear, task_arithmetic, ties, dare_linear, dare_ties])
def test_no_model_at_all_is_refused(method):
    with pytest.raises(ValueError, match="at least one"):
        method([])


@pytest.mark.parametrize("method", [linear, task_arithmetic, ties, dare_linear, dare_ties])
def test_as_many_weights_as_models_are_needed(method):
    with pytest.raises(ValueError, match="2 task vectors, got 3"):
        method([torch.ones(2), torch.ones(2)], weights=[1.0, 1.0, 1.0])


@pytest.mark.parametrize("method", [dare_linear, dare_ties])
@given(size=st.integers(0, 30), count=st.integers(1, 4))
def test_density_1_drops_nothing(method, size, count):
    generator = torch.Generator().manual_seed(size)
    deltas = torch.randn(count, size, generator=generator)
    whole = task_arithmetic(deltas) if method is dare_linear else ties(deltas)
    assert method(deltas, 1.0, seed=5).equal(whole)


@pytest.mark.parametrize("method", [dare_linear, dare_ties])
def test_density_0_merges_to_nothing(method):
    assert method(pair(), 0.0).equal(torch.zeros(5, 9))


@each_method
def test_mixed_dtypes_give_the_wider_one(name):
    one, two = pair()
    assert METHODS[name]([one.bfloat16(), two]).dtype == torch.float32
    assert METHODS[name]([one.half(), two.double()]).dtype == torch.float64
