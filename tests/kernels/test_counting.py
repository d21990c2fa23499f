"""What a merge says it did: entries removed, conflicts and how they ended, counted once more."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiled_merges import KINDS, SHAPES, random_case, run, tiles_of

from mergelab.kernels import BACKENDS, Counts, Merge, TiledMerge, choose, opposed
from mergelab.kernels.operands import InMemory
from mergelab.methods import REGISTRY, elect_sign, keep_mask

BOTH = [choose(name) for name in BACKENDS if name != "auto"]
TINY, HUGE = 2.0**-149, 3.4e38
DENSITIES = (0.4, 0.75, 0.1, 1.0)

each_backend = pytest.mark.parametrize("backend", BOTH, ids=lambda backend: backend.name)
extremes = st.sampled_from([0.0, -0.0, TINY, -TINY, 0.5, -0.5, 1.0, -1.0, HUGE, -HUGE])


def trimmed(values, density):
    """What trim leaves, by sorting all magnitudes."""
    size = values.size
    kept = max(1, math.floor(density * size + 0.5)) if size and density else 0
    if kept == 0:
        return np.zeros_like(values)
    threshold = np.sort(np.abs(values), axis=None)[size - kept]
    return np.where(np.abs(values) >= threshold, values, np.float32(0))


def conflicting(sources):
    plus = np.any([s > 0 for s in sources], axis=0)
    return plus & np.any([s < 0 for s in sources], axis=0)


@st.composite
def merges(draw, name, setting, each):
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=16))
    return random_case(
        name,
        setting,
        each,
        number=draw(st.integers(0, 10_000)),
        shape=draw(st.sampled_from(SHAPES)),
        kinds=kinds,
    )


@each_backend
@settings(max_examples=100)
@given(data=st.data(), tile=st.sampled_from((1, 7, 64)))
def test_ties_counts_what_it_trimmed_and_the_conflicts_it_resolved(backend, data, tile):
    case = data.draw(merges("ties", {}, {"density": DENSITIES}))
    counts = run(case, tile, backend)[1].counts
    sources = [whole.numpy() for whole in case.wholes]
    left = [trimmed(s, own["density"]) for s, own in zip(sources, case.per_source, strict=True)]
    clash = conflicting(left)
    assert counts.entries == case.base.numel()
    assert counts.removed == tuple(
        np.count_nonzero(before) - np.count_nonzero(after)
        for before, after in zip(sources, left, strict=True)
    )
    assert counts.conflicts == np.count_nonzero(clash)
    # By mass in float32, added up one by one: a draw elects no side.
    mass = np.zeros_like(left[0])
    for source in left:
        mass = mass + source
    assert counts.resolved == np.count_nonzero(clash & (mass != 0))


@each_backend
@given(data=st.data(), tile=st.sampled_from((1, 7, 64)))
def test_dare_counts_what_it_dropped(backend, data, tile):
    case = data.draw(merges("dare_linear", {"rescale": True}, {"density": DENSITIES}))
    counts = run(case, tile, backend)[1].counts
    left = [
        whole * keep_mask(whole.shape, own["density"], seed=case.seed, stream=stream)
        for whole, own, stream in zip(case.wholes, case.per_source, case.streams, strict=True)
    ]
    assert counts.removed == tuple(
        int((whole != 0).sum() - (kept != 0).sum())
        for whole, kept in zip(case.wholes, left, strict=True)
    )
    assert counts.conflicts == np.count_nonzero(conflicting([kept.numpy() for kept in left]))
    assert counts.resolved == 0  # adding up elects nobody


@each_backend
@given(data=st.data(), tile=st.sampled_from((1, 7, 64)))
def test_the_square_of_the_merged_change_is_that_of_its_entries_in_float64(backend, data, tile):
    case = data.draw(merges("task_arithmetic", {"lam": 0.7}, {"weight": (1.0, -0.3)}))
    counts = run(case, tile, backend)[1].counts
    change = sum(
        whole.double() * own["weight"]
        for whole, own in zip(case.wholes, case.per_source, strict=True)
    )
    expected = float((0.7 * change).square().sum())
    scale = sum(float(whole.double().square().sum()) for whole in case.wholes)
    assert counts.merged_square == pytest.approx(expected, rel=1e-5, abs=1e-6 * scale)


@each_backend
def test_merging_full_weights_counts_conflicts_between_the_changes(backend):
    base = torch.tensor([1.0, 1.0, 1.0])
    changes = [InMemory(torch.tensor([0.5, -0.5, 0.0])), InMemory(torch.tensor([-0.25, -0.5, 2.0]))]
    merge = Merge(
        REGISTRY["linear"], changes, {}, [{"weight": 1.0}] * 2, InMemory(base), in_weights=True
    )
    run = TiledMerge(merge)
    (part,) = run.parts()
    assert part.weights.tolist() == [[1.125, 0.5, 2.0]]
    assert part.change.tolist() == [[0.125, -0.5, 1.0]]
    assert run.counts == Counts(3, (0, 0), 1, 0, 0.125**2 + 0.5**2 + 1.0)


@each_backend
@settings(max_examples=200)
@given(data=st.data(), count=st.integers(1, 16), size=st.integers(0, 40))
def test_extreme_values_are_counted_as_any_other(backend, data, count, size):
    draw = st.lists(extremes, min_size=size, max_size=size)
    before = [np.array(data.draw(draw), dtype=np.float32) for _ in range(count)]
    masks = [np.array(data.draw(draw)) > 0 for _ in range(count)]
    after = [np.where(m, b, np.float32(0)) for m, b in zip(masks, before, strict=True)]
    merged = np.array(data.draw(draw), dtype=np.float32)
    tensors = [list(map(torch.from_numpy, arrays)) for arrays in (before, after)]
    counts = backend.count(*tensors, torch.from_numpy(merged), resolves=True)
    clash = conflicting(after)
    assert counts.entries == size
    assert counts.removed == tuple(
        np.count_nonzero((b != 0) & (a == 0)) for b, a in zip(before, after, strict=True)
    )
    assert counts.conflicts == np.count_nonzero(clash)
    assert counts.resolved == np.count_nonzero(clash & (merged != 0))
    assert counts.merged_square == pytest.approx(float((merged.astype(np.float64) ** 2).sum()))


@each_backend
def test_every_entry_of_a_part_longer_than_a_block_is_counted(backend):
    size = 20 * 512 + 3
    before = [torch.ones(size), -torch.ones(size)]
    after = [torch.ones(size), torch.zeros(size)]
    counts = backend.count(before, after, torch.full((size,), 2.0), resolves=True)
    assert counts == Counts(size, (0, size), 0, 0, 4.0 * size)
    counts = backend.count(before, before, torch.full((size,), 2.0), resolves=True)
    assert counts == Counts(size, (0, 0), size, size, 4.0 * size)


def test_counts_of_parts_add_up():
    total = Counts(3, (1, 0), 2, 1, 0.5) + Counts(4, (2, 5), 1, 0, 0.25)
    assert total == Counts(7, (3, 5), 3, 1, 0.75)


@given(data=st.data(), count=st.integers(1, 6), size=st.integers(0, 10))
def test_opposed_is_where_one_source_is_positive_and_another_negative(data, count, size):
    draw = st.lists(extremes, min_size=size, max_size=size)
    sources = [np.array(data.draw(draw), dtype=np.float32) for _ in range(count)]
    got = opposed([torch.from_numpy(source) for source in sources])
    assert got.tolist() == conflicting(sources).tolist()


@each_backend
@given(data=st.data(), tile=st.sampled_from((1, 7, 64)))
def test_a_majority_decides_draws_by_all_entries_and_not_by_those_of_a_tile(backend, data, tile):
    setting = {"zero_sign": "majority", "election": "count"}
    case = data.draw(merges("ties", setting, {"density": (1.0,)}))
    votes = sum(np.sign(whole.numpy()) for whole in case.wholes)
    side = np.sign(np.sign(votes).sum())
    merged = (run(case, tile, backend)[0] - case.base).numpy()
    draws = (votes == 0) & np.any([whole.numpy() * side > 0 for whole in case.wholes], axis=0)
    assert bool((np.sign(merged[draws]) == side).all())
    assert elect_sign(case.wholes, **setting).numpy()[draws].tolist() == [side] * int(draws.sum())


@pytest.mark.parametrize("tile", [1, 7, 64])
def test_parts_can_be_taken_again_with_the_same_numbers(tile):
    case = random_case(
        "ties", {}, {"density": DENSITIES}, number=5, shape=(6, 5), kinds=("fp32", "factors")
    )
    with tiles_of(tile):
        merge = TiledMerge(case.merge())
        found = []
        for _ in range(2):
            parts = [part.weights for part in merge.parts()]
            found.append((torch.cat(parts).tolist(), merge.counts, merge.gram))
    assert found[0] == found[1]
