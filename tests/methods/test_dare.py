"""DARE: worked numbers, what chance promises, and that chance can be repeated."""

import math

import naive
import pytest
import torch

from mergelab.methods import dare, dare_linear, dare_ties, drop, keep_mask


def expected_mask(size, density, seed, stream):
    limit = round(density * 2**32)
    return [naive.random_word(i, seed, stream) < limit for i in range(size)]


def test_worked_example_a_survivor_at_drop_rate_nine_tenths_grows_tenfold():
    delta = torch.full((1000,), 0.15)
    result = dare(delta, 0.1, seed=1)
    survivors = result[result != 0]
    assert 0 < len(survivors) < 1000
    assert survivors.tolist() == pytest.approx([1.50] * len(survivors))


@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_the_mask_is_the_one_the_random_words_say(density):
    got = keep_mask((5, 9), density, seed=11, stream=2**40 + 3)
    assert got.flatten().tolist() == expected_mask(45, density, 11, 2**40 + 3)


def test_density_1_keeps_all_and_density_0_nothing():
    delta = torch.randn(50, generator=torch.Generator().manual_seed(0))
    assert dare(delta, 1.0, seed=3).equal(delta)
    assert drop(delta, 1.0, seed=3).equal(delta)
    assert dare(delta, 0.0, seed=3).equal(torch.zeros(50))


@pytest.mark.parametrize("density", [0.1, 0.3, 0.5, 0.9])
def test_the_share_dropped_is_the_drop_rate_within_chance(density):
    n = 200_000
    kept = int(keep_mask((n,), density, seed=5, stream=1).sum())
    deviation = math.sqrt(n * density * (1 - density))
    assert abs(kept - n * density) < 4 * deviation


def test_the_mean_over_seeds_is_the_delta_within_chance():
    delta = torch.linspace(-1, 1, 64, dtype=torch.float64)
    density, seeds = 0.25, 2000
    mean = sum(dare(delta, density, seed=seed) for seed in range(seeds)) / seeds
    # one draw of an entry has standard deviation |delta| * sqrt((1 - d) / d)
    deviation = delta.abs() * math.sqrt((1 - density) / density / seeds)
    assert bool(((mean - delta).abs() <= 4.5 * deviation + 1e-12).all())


def test_without_rescaling_the_mean_over_seeds_is_the_delta_times_its_density():
    delta = torch.ones(64, dtype=torch.float64)
    mean = sum(dare(delta, 0.25, seed=seed, rescale=False) for seed in range(2000)) / 2000
    assert float((mean - 0.25).abs().max()) < 4.5 * math.sqrt(0.25 * 0.75 / 2000)


def test_drops_in_different_streams_and_seeds_are_independent():
    n, density = 100_000, 0.3
    masks = [
        keep_mask((n,), density, seed=seed, stream=stream).double()
        for seed, stream in ((0, 0), (0, 1), (1, 0), (0, 2**32))
    ]
    for i, one in enumerate(masks):
        for other in masks[:i]:
            both = float((one * other).mean())
            deviation = math.sqrt(density**2 * (1 - density**2) / n)
            assert abs(both - density**2) < 4.5 * deviation


def test_neighbouring_entries_are_dropped_independently():
    kept = keep_mask((200_001,), 0.5, seed=9, stream=4).double()
    for distance in (1, 2, 3, 4, 8):
        both = float((kept[:-distance] * kept[distance:]).mean())
        assert abs(both - 0.25) < 4.5 * math.sqrt(0.25 * 0.75 / 200_000)


def test_the_same_seed_and_stream_repeat_and_others_differ():
    delta = torch.randn(400, generator=torch.Generator().manual_seed(1))
    once = dare(delta, 0.5, seed=7, stream=3)
    assert dare(delta, 0.5, seed=7, stream=3).equal(once)
    assert not dare(delta, 0.5, seed=8, stream=3).equal(once)
    assert not dare(delta, 0.5, seed=7, stream=4).equal(once)


def test_the_global_random_generator_is_neither_used_nor_moved():
    delta = torch.randn(100, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(1)
    first = dare(delta, 0.5)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert dare(delta, 0.5).equal(first)
    torch.manual_seed(1)
    assert torch.get_rng_state().equal(state)


def test_the_mask_follows_the_index_and_not_the_memory_layout():
    wide = torch.randn(8, 6, generator=torch.Generator().manual_seed(2))
    assert dare(wide.T, 0.5, seed=1).equal(dare(wide.T.contiguous(), 0.5, seed=1))


def test_dare_linear_adds_up_what_survives():
    deltas = [torch.ones(40), torch.full((40,), 10.0)]
    got = dare_linear(deltas, [0.5, 0.25], [2.0, 0.5], 3.0, seed=4, streams=[8, 9])
    one, two = expected_mask(40, 0.5, 4, 8), expected_mask(40, 0.25, 4, 9)
    expected = [3 * (2 * a / 0.5 + 0.5 * 10 * b / 0.25) for a, b in zip(one, two, strict=True)]
    assert got.tolist() == pytest.approx(expected)


def test_dare_ties_elects_and_averages_what_survives_without_a_second_trim():
    generator = torch.Generator().manual_seed(6)
    deltas = torch.randn(3, 60, generator=generator, dtype=torch.float64)
    got = dare_ties(deltas, 0.5, [1.0, 2.0, 0.5], 0.8, seed=4)
    sparse = []
    for stream, delta in enumerate(deltas.tolist()):
        kept = expected_mask(60, 0.5, 4, stream)
        sparse.append([x / 0.5 if keep else 0.0 for x, keep in zip(delta, kept, strict=True)])
    expected = naive.ties(sparse, [1.0] * 3, [1.0, 2.0, 0.5], 0.8)
    assert got.tolist() == pytest.approx(expected, rel=1e-12)


def test_without_streams_each_source_draws_by_its_own_place():
    delta = torch.ones(200)
    same = dare_linear([delta, delta], 0.5, seed=2, streams=[0, 0])
    own = dare_linear([delta, delta], 0.5, seed=2)
    assert set(same.tolist()) == {0.0, 4.0}
    assert set(own.tolist()) == {0.0, 2.0, 4.0}


@pytest.mark.parametrize("function", [drop, dare])
@pytest.mark.parametrize("density", [-0.1, 1.5])
def test_a_density_outside_0_to_1_is_refused(function, density):
    with pytest.raises(ValueError, match="density must lie between 0 and 1"):
        function(torch.ones(3), density)


def test_as_many_streams_as_task_vectors_are_needed():
    with pytest.raises(ValueError):
        dare_linear([torch.ones(3), torch.ones(3)], 0.5, streams=[1])
