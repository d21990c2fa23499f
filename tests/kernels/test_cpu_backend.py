"""The compiled loops give what the functions of their names give in plain PyTorch, bit for bit."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiled_merges import same_bits

from mergelab.kernels import counting, cpu, selection
from mergelab.methods.dare import drop
from mergelab.methods.linear import linear, task_arithmetic, weighted_sum
from mergelab.methods.ties import DIVISORS, ELECTIONS, elect_and_merge
from mergelab.methods.trimming import keep_between

# The smallest there is, what underflows when multiplied, ties, and nearly the largest.
SPECIAL = [0.0, -0.0, 1e-45, -1e-45, 1.1754942e-38, 1e-20, -1e-20, 0.25, -0.25, 1.0, -1.0, 3e38]
WEIGHTS = [1.0, -1.0, 0.0, 0.3, -0.7, 1e-30, 2.0, 1 / 3, 1e300]
weights = st.sampled_from(WEIGHTS)
# Ends of blocks and of vectors of 4, 8 and 16, and one less and one more.
sizes = st.sampled_from([0, 1, 3, 4, 5, 16, 17, 33, 511, 512, 513, 1023, 1024, 1025, 4100])

pytestmark = pytest.mark.filterwarnings("error")


@st.composite
def tensors(draw, size=sizes):
    """A tensor full of special values, from memory that may have gaps."""
    size = draw(size) if isinstance(size, st.SearchStrategy) else size
    chance = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = np.where(
        chance.random(2 * size) < draw(st.sampled_from((0.0, 0.3, 1.0))),
        chance.choice(np.float32(SPECIAL), 2 * size),
        chance.normal(size=2 * size).astype(np.float32),
    )
    if draw(st.booleans()):
        return torch.from_numpy(values)[::2]
    return torch.from_numpy(values[:size])


@st.composite
def sources(draw):
    size, count = draw(sizes), draw(st.integers(1, 5))
    return [draw(tensors(size)) for _ in range(count)]


def weights_for(data, deltas):
    return data.draw(st.lists(weights, min_size=len(deltas), max_size=len(deltas)))


bounds = st.sampled_from([0.0, 1e-45, 1e-20, 0.25, 0.5, 1.0, 3e38, float("inf")])


@given(delta=tensors(), low=bounds, high=bounds)
def test_keep_between(delta, low, high):
    assert same_bits(cpu.keep_between(delta, low, high), keep_between(delta, low, high))
    assert same_bits(cpu.keep_between(delta, low), keep_between(delta, low))


words64 = st.one_of(
    st.sampled_from([0, 1, 2**32 - 1, 2**32, 2**63, 2**64 - 1]), st.integers(0, 2**64 - 1)
)
offsets = st.one_of(
    st.integers(0, 9),
    st.sampled_from([2**32 - 3, 2**34 - 5, 2**34 - 1, 2**34, 2**34 + 1, 2**40 + 7]),
)
densities = st.sampled_from([0.0, 2.0**-32, 0.1, 0.5, 0.9, 1 - 2.0**-32, 1.0])


@settings(max_examples=200)
@given(delta=tensors(), density=densities, seed=words64, stream=words64, offset=offsets)
def test_drop(delta, density, seed, stream, offset):
    how = {"seed": seed, "stream": stream, "offset": offset}
    assert same_bits(cpu.drop(delta, density, **how), drop(delta, density, **how))


def test_a_density_outside_0_to_1_is_refused():
    for density in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="density must lie between 0 and 1"):
            cpu.drop(torch.ones(2), density)


@settings(max_examples=100)
@given(deltas=sources(), data=st.data(), lam=weights, normalize=st.booleans())
def test_weighted_sum_linear_and_task_arithmetic(deltas, data, lam, normalize):
    w = weights_for(data, deltas)
    assert same_bits(cpu.weighted_sum(deltas, w), weighted_sum(deltas, w))
    how = {"normalize": normalize}
    try:
        average, scaled = linear(deltas, w, **how), task_arithmetic(deltas, w, lam, **how)
    except ValueError as error:  # weights that sum to 0
        with pytest.raises(ValueError) as refused:
            cpu.linear(deltas, w, **how)
        assert str(refused.value) == str(error)
        return
    assert same_bits(cpu.linear(deltas, w, **how), average)
    assert same_bits(cpu.task_arithmetic(deltas, w, lam, **how), scaled)


@pytest.mark.parametrize("election", ELECTIONS)
@pytest.mark.parametrize("divisor", DIVISORS)
@settings(max_examples=80)
@given(
    deltas=sources(),
    data=st.data(),
    lam=weights,
    zero_sign=st.sampled_from(("zero", "positive", "majority")),
    majority=st.sampled_from((-1.0, 0.0, 1.0)),
)
def test_elect_and_merge(election, divisor, deltas, data, lam, zero_sign, majority):
    how = (weights_for(data, deltas), lam, election, zero_sign, divisor, majority)
    assert same_bits(cpu.elect_and_merge(deltas, *how), elect_and_merge(deltas, *how))


def test_elect_and_merge_finds_the_majority_itself_where_none_is_given():
    deltas = [torch.tensor([1.0, 2.0, 3.0]), torch.tensor([-1.0, 1.0, 1.0])]
    assert cpu.elect_and_merge(deltas, zero_sign="majority").tolist() == [1.0, 1.5, 2.0]


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"election": "draw lots"}, "election must be one of"),
        ({"zero_sign": "minus"}, "zero_sign must be"),
        ({"divisor": "seven"}, "divisor must be one of"),
        ({"weights": [1.0]}, "2 task vectors, got 1"),
    ],
    ids=str,
)
def test_what_the_function_refuses_is_refused_in_its_words(choice, words):
    deltas = [torch.ones(3), -torch.ones(3)]
    for function in (elect_and_merge, cpu.elect_and_merge):
        with pytest.raises(ValueError, match=words):
            function(deltas, **choice)


@given(values=tensors(), upper=st.sampled_from([None, 0, 0x3E80, 0x3F80, 0x1E3C, 0x7F7F]))
def test_digits(values, upper):
    expected = selection.digits(values, upper)
    assert (cpu.digits(values, upper) == expected).all()
    before = np.arange(1 << 16)
    for function in (cpu.digits, selection.digits):
        assert (function(values, upper, before.copy()) == before + expected).all()


@given(deltas=sources(), density=st.sampled_from((0.0, 0.5, 1.0)), resolves=st.booleans())
def test_count(deltas, density, resolves):
    kept = [drop(d, density) if i % 2 else d for i, d in enumerate(deltas)]
    merged = weighted_sum([d.clamp(-1e18, 1e18) for d in kept], [1.0] * len(kept))
    got = cpu.count(deltas, kept, merged, resolves=resolves)
    expected = counting.count(deltas, kept, merged, resolves=resolves)
    assert got.merged_square == pytest.approx(expected.merged_square, rel=1e-12)
    for name in ("entries", "removed", "conflicts", "resolved"):
        assert getattr(got, name) == getattr(expected, name)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 3, 7)], ids=str)
def test_shapes_come_back(shape):
    generator = torch.Generator().manual_seed(3)
    one, other = (torch.randn(shape, generator=generator) for _ in range(2))
    turned = one.permute(tuple(reversed(range(one.dim()))))  # another order in memory
    assert same_bits(cpu.keep_between(turned, 0.5), keep_between(turned, 0.5))
    assert same_bits(cpu.drop(turned, 0.5), drop(turned, 0.5))
    assert same_bits(cpu.weighted_sum([one, other], [1, 2]), weighted_sum([one, other], [1, 2]))
    assert same_bits(cpu.elect_and_merge([one, other]), elect_and_merge([one, other]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_does_no_harm(bad):
    """It is refused before it comes here; a part that holds it is still run through."""
    delta, other = torch.tensor([bad, 1.0, -2.0]), torch.tensor([1.0, bad, 0.5])
    assert cpu.keep_between(delta, 1.5).tolist()[1:] == [0.0, -2.0]
    assert cpu.drop(delta, 1.0).tolist()[1:] == [1.0, -2.0]
    assert cpu.elect_and_merge([delta, other]).tolist()[2] == -2.0
    assert int(cpu.digits(delta, None).sum()) == 3
    assert cpu.count([delta], [delta], delta, resolves=True).entries == 3
