"""Operands give any of their rows in fp32, read no others, and add up to their inner products."""

import math
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from tiled_merges import KINDS, SHAPES, source, tiles_of, values

from mergelab.checkpoints.safetensors_file import SafetensorsFile, Stored
from mergelab.kernels import Merge, TiledMerge, tiles
from mergelab.kernels.combining import GramSum, gram
from mergelab.kernels.operands import (
    InMemory,
    LowRank,
    Remembered,
    Zeros,
    as_matrix,
    dense,
    on_device,
)
from mergelab.methods import REGISTRY, Factors


@dataclass
class Watched:
    """An operand that writes down which rows are asked for."""

    tensor: torch.Tensor
    asked: list[tuple[int, int]] = field(default_factory=list)

    @property
    def shape(self):
        return tuple(self.tensor.shape)

    def rows(self, start, stop):
        self.asked.append((start, stop))
        return self.tensor.reshape(as_matrix(self.shape))[start:stop].clone()


@given(shape=st.lists(st.integers(0, 6), max_size=3).map(tuple), tile=st.integers(1, 40))
def test_tiles_cover_every_row_that_holds_something_once_in_order(shape, tile):
    rows, columns = as_matrix(shape)
    assert rows * columns == math.prod(shape)
    with tiles_of(tile):
        runs = list(tiles(shape))
    assert [row for run in runs for row in range(*run)] == list(range(rows if columns else 0))
    assert all((stop - start) * columns <= max(tile, columns) for start, stop in runs)


@given(
    kind=st.sampled_from(KINDS),
    shape=st.sampled_from(SHAPES),
    number=st.integers(0, 1000),
    data=st.data(),
)
def test_any_run_of_rows_of_any_operand_is_that_part_of_the_whole(kind, shape, number, data):
    operand, whole = source(np.random.default_rng(number), kind, shape)
    rows, columns = as_matrix(shape)
    start = data.draw(st.integers(0, rows))
    stop = data.draw(st.integers(start, rows))
    part = operand.rows(start, stop)
    assert part.dtype == torch.float32
    assert part.equal(whole.reshape(rows, columns)[start:stop])
    assert tuple(operand.shape) == shape
    assert dense(operand).equal(whole)


@given(runs=st.lists(st.tuples(st.integers(0, 3), st.integers(4, 6)), max_size=8))
def test_remembered_rows_are_those_asked_for_and_read_once_in_a_row(runs):
    whole = torch.arange(12.0).reshape(6, 2)
    watched = Watched(whole)
    remembered = Remembered(watched)
    for start, stop in runs:
        assert remembered.rows(start, stop).equal(whole[start:stop])
    changes = [run for run, before in zip(runs, [None, *runs], strict=False) if run != before]
    assert watched.asked == changes


def test_remembered_lets_go_of_the_old_rows_before_it_asks_for_new_ones():
    class Source(Watched):
        def rows(self, start, stop):
            held.append(remembered._last)
            return super().rows(start, stop)

    held = []
    remembered = Remembered(Source(torch.ones(4, 2)))
    remembered.rows(0, 2)
    remembered.rows(2, 4)
    assert held == [None, None]


def test_a_merge_reads_each_tile_of_a_source_once_for_each_pass():
    sources = [Watched(values(np.random.default_rng(i), (6, 4))) for i in range(2)]
    base = Watched(torch.ones(6, 4))
    with tiles_of(8):
        run = TiledMerge(Merge(REGISTRY["ties"], sources, {}, [{"density": 0.5}] * 2, base=base))
        once = [(0, 2), (2, 4), (4, 6)]
        assert [watched.asked for watched in sources] == [once * 2] * 2  # upper digits, lower ones
        for _ in run.parts():
            pass
    assert [watched.asked for watched in sources] == [once * 3] * 2
    assert base.asked == once


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_stored_tensor_reads_the_bytes_of_the_rows_asked_for(tmp_path, monkeypatch, dtype):
    tensor = torch.arange(60.0).reshape(3, 4, 5).to(dtype)
    save_file({"a": torch.zeros(7), "b": tensor, "c": torch.ones(9)}, tmp_path / "x.safetensors")
    file = SafetensorsFile(tmp_path / "x.safetensors")
    operand, read = Stored(file, "b"), []
    inner = SafetensorsFile._bytes
    monkeypatch.setattr(
        SafetensorsFile, "_bytes", lambda self, *run: (read.append(run), inner(self, *run))[1]
    )
    part = operand.rows(5, 9)
    assert part.dtype == torch.float32
    assert part.equal(torch.arange(25.0, 45.0).reshape(4, 5))
    assert [count for _, count in read] == [4 * 5 * dtype.itemsize]
    assert dense(operand).equal(tensor.float())


def test_on_another_device_factors_are_moved_and_other_rows_as_they_are_read():
    device = torch.device("meta")  # holds no values, but knows where it is
    b, a = torch.ones(4, 2), torch.ones(2, 3)
    moved = on_device(LowRank(b, a), device)
    assert isinstance(moved, LowRank)
    assert moved.b.device == moved.a.device == moved.rows(0, 2).device == device
    watched = Watched(torch.ones(4, 3))
    there = on_device(watched, device)
    assert watched.asked == []
    assert there.rows(1, 3).device == device
    assert tuple(there.shape) == (4, 3)
    assert watched.asked == [(1, 3)]
    assert on_device(watched, torch.device("cpu")) is watched


def test_factors_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"factors must be .* \(2, 1\) and \(2, 3\)"):
        LowRank(torch.ones(2, 1), torch.ones(2, 3))


# Inner products


@given(
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=5),
    shape=st.sampled_from(SHAPES),
    number=st.integers(0, 1000),
    tile=st.sampled_from((1, 7, 64)),
)
def test_inner_products_are_those_of_the_whole_tensors_in_float64(kinds, shape, number, tile):
    chance = np.random.default_rng(number)
    pairs = [source(chance, kind, shape) for kind in kinds]
    flat = np.stack([whole.double().numpy().ravel() for _, whole in pairs])
    with tiles_of(tile):
        got = gram([Remembered(operand) for operand, _ in pairs])
    assert np.allclose(got, flat @ flat.T, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("ranks", [(0, 0), (0, 3), (1, 40), (17, 5)], ids=str)
def test_factors_of_any_rank_give_theirs_without_being_multiplied_out(ranks):
    generator = torch.Generator().manual_seed(5)
    factors = [
        LowRank(torch.randn(12, r, generator=generator), torch.randn(r, 9, generator=generator))
        for r in ranks
    ]
    sums = GramSum([*factors, Zeros((12, 9))])
    assert sums.complete
    exact = [f.b.double().numpy() @ f.a.double().numpy() for f in factors] + [np.zeros((12, 9))]
    flat = np.stack([product.ravel() for product in exact])
    assert np.allclose(sums.matrix, flat @ flat.T, rtol=1e-10, atol=1e-10)
    sums.add([torch.full((1, 9), torch.nan)] * 3)  # complete already: nothing is added
    assert np.isfinite(sums.matrix).all()


def test_factors_that_cancel_have_no_negative_square():
    generator = torch.Generator().manual_seed(1)
    b, a = torch.randn(30, 1, generator=generator), torch.randn(1, 30, generator=generator)
    for scale in (1 / 3, 0.1, 0.7, 3.3, 1e-3):
        # B A - (s B) (A / s): zero but for what rounding leaves
        left = torch.cat([b, -scale * b], 1)
        operand = LowRank(left, torch.cat([a, a / scale], 0))
        ((square,),) = gram([operand])
        assert 0.0 <= square < 1e-6


@pytest.mark.parametrize("method", ["slerp", "nuslerp", "multislerp", "karcher", "model_stock"])
def test_methods_on_angles_take_factors_that_cancel(method):
    generator = torch.Generator().manual_seed(2)
    b, a = torch.randn(30, 1, generator=generator), torch.randn(1, 30, generator=generator)
    nothing = LowRank(torch.cat([b, -b], 1), torch.cat([a, a], 0))
    other = LowRank(b, a)
    own = [{"weight": 1.0}] * 2
    run = TiledMerge(Merge(REGISTRY[method], [nothing, other], {}, own))
    assert all(bool(torch.isfinite(part.change).all()) for part in run.parts())


def test_inner_products_of_nothing_are_nothing():
    assert gram([]) == ()
    assert gram([Zeros((3, 2))]) == ((0.0,),)


# The merge as factors


def low_rank_pair(rank=2):
    generator = torch.Generator().manual_seed(rank)
    return [
        LowRank(
            torch.randn(8, rank, generator=generator), torch.randn(rank, 6, generator=generator)
        )
        for _ in range(2)
    ]


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("linear", {}),
        ("task_arithmetic", {"lam": 0.5}),
        ("slerp", {"t": 0.3}),
        ("nuslerp", {"row_wise": False}),
        ("multislerp", {}),
        ("karcher", {}),
        ("model_stock", {"filter_wise": False}),
        ("concat", {}),
        ("iso_c", {}),
    ],
    ids=str,
)
def test_a_merge_that_only_adds_factors_up_has_factors_that_are_it(method, settings):
    run = TiledMerge(Merge(REGISTRY[method], low_rank_pair(), settings, [{"weight": 0.5}] * 2))
    factors = run.low_rank()
    assert isinstance(factors, Factors)
    change = torch.cat([part.change for part in run.parts()])
    assert torch.allclose(factors.dense(), change, atol=1e-5)


def test_a_source_that_changes_nothing_adds_no_rank():
    pair = low_rank_pair()
    run = TiledMerge(
        Merge(REGISTRY["task_arithmetic"], [pair[0], Zeros((8, 6))], {}, [{"weight": 2.0}] * 2)
    )
    assert run.low_rank().rank == 2
    assert torch.allclose(run.low_rank().dense(), 2 * pair[0].dense())


@pytest.mark.parametrize(
    ("method", "settings", "own"),
    [
        ("ties", {}, {"density": 0.5}),
        ("nuslerp", {"row_wise": True}, {"weight": 1.0}),
        ("model_stock", {"filter_wise": True}, {}),
        ("sce", {}, {}),
    ],
    ids=str,
)
def test_a_merge_that_looks_at_entries_or_rows_has_none(method, settings, own):
    run = TiledMerge(Merge(REGISTRY[method], low_rank_pair(), settings, [own] * 2))
    assert run.low_rank() is None


def test_a_merge_of_a_full_weight_or_of_nothing_has_none():
    dense_one = InMemory(torch.ones(8, 6))
    for changes in ([low_rank_pair()[0], dense_one], [Zeros((8, 6))] * 2):
        run = TiledMerge(Merge(REGISTRY["linear"], changes, {}, [{"weight": 1.0}] * 2))
        assert run.low_rank() is None
    base = InMemory(torch.ones(8, 6))
    merge = Merge(
        REGISTRY["linear"], low_rank_pair(), {}, [{"weight": 1.0}] * 2, base, in_weights=True
    )
    assert TiledMerge(merge).low_rank() is None


@pytest.mark.parametrize("method", [m.name for m in REGISTRY.values() if m.max_sources != 1])
@pytest.mark.parametrize("ranks", [(0, 0), (0, 2), (9, 12)], ids=str)
def test_adapters_of_no_rank_and_of_more_than_the_matrix_has_are_merged(method, ranks):
    generator = torch.Generator().manual_seed(3)
    sources = [
        LowRank(torch.randn(6, r, generator=generator), torch.randn(r, 5, generator=generator))
        for r in ranks
    ]
    own = {"weight": 1.0, "density": 0.7, "gamma": 0.1, "epsilon": 0.1}
    with tiles_of(7):
        streams = (1, 2) if REGISTRY[method].random else ()
        run = TiledMerge(Merge(REGISTRY[method], sources, {}, [own] * 2, streams=streams))
        change = torch.cat([part.change for part in run.parts()])
    assert change.shape == (6, 5)
    assert bool(torch.isfinite(change).all())
    if all(ranks) or not any(ranks):  # beside nothing, some give nothing and some what there is
        assert bool(change.any()) == any(ranks)


@pytest.mark.parametrize("method", list(REGISTRY))
def test_adapters_whose_factors_are_zero_change_nothing(method):
    declared = REGISTRY[method]
    count = declared.max_sources or 2
    zero = LowRank(torch.zeros(6, 2), torch.ones(2, 5))  # as LoRA starts: B is zero
    own = {"weight": 1.0, "density": 0.7, "gamma": 0.1, "epsilon": 0.1}
    base = torch.arange(30.0).reshape(6, 5)
    streams = range(count) if declared.random else ()
    merge = Merge(
        declared, [zero] * count, {"t": 0.5}, [own] * count, InMemory(base), streams=streams
    )
    with tiles_of(7):
        run = TiledMerge(merge)
        weights = torch.cat([part.weights for part in run.parts()])
    assert weights.equal(base)
    assert run.counts.removed == (0,) * count
    assert run.counts.conflicts == run.counts.resolved == 0
    assert run.gram == ((0.0,) * count,) * count
