"""The fused loops on a CPU against the methods' own functions, to the last bit."""

import math
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_merges import TAKEN, agrees, awkward, factors, merge_of, normal, reference, run_compiled

from mergelab.kernels import TiledMerge, choose, cpu_merge, open_merge, operands
from mergelab.kernels.cpu_merge import CompiledMerge, magnitude_at, takes
from mergelab.kernels.operands import InMemory, LowRank, Rowwise, Zeros
from mergelab.methods import REGISTRY

pytestmark = pytest.mark.usefixtures("unwritten_is_nan")


@pytest.fixture
def small_tiles(monkeypatch):
    """Parts of about 64 entries, so that a small tensor has several."""
    monkeypatch.setattr(operands, "TILE_ENTRIES", 64)


def own_of(name):
    return {"density": 0.4} if REGISTRY[name].prepare else {}


@pytest.mark.parametrize("name", TAKEN)
def test_every_method_agrees_with_its_reference_to_the_last_bit(name, small_tiles):
    changes = [InMemory(normal(17, 13, seed=i)) for i in range(2)]
    base = InMemory(normal(17, 13, seed=9))
    merge = merge_of(name, changes, base, own=own_of(name))
    assert takes(merge)
    made = agrees(merge, make=run_compiled)
    tiled = TiledMerge(merge)
    for _ in tiled.parts():
        pass
    assert made.rescale == tiled.rescale
    assert made.gram == tiled.gram
    assert made.weight_gram == tiled.weight_gram


@pytest.mark.parametrize("count", [1, 3, 16])
@pytest.mark.parametrize("name", ["linear", "ties", "dare_ties"])
def test_any_number_of_sources_up_to_16(name, count, small_tiles):
    changes = [InMemory(normal(5, 37, seed=i)) for i in range(count)]
    own = [{"weight": 0.5 + i, **({"density": 0.5} if own_of(name) else {})} for i in range(count)]
    agrees(merge_of(name, changes, InMemory(changes[0].tensor * 3), own=own), make=run_compiled)


@pytest.mark.parametrize("name", ["linear", "slerp", "multislerp"])
def test_full_weights_are_combined_where_asked_for(name, small_tiles):
    changes = [InMemory(normal(9, 19, seed=i) * 0.1) for i in range(2)]
    base = InMemory(normal(9, 19, seed=9))
    merge = merge_of(name, changes, base, in_weights=True)
    made = agrees(merge, make=run_compiled)
    wholes = [(base.tensor + change.tensor).double().flatten() for change in changes]
    for found, one in zip(made.weight_gram, wholes, strict=True):
        assert found == pytest.approx([float(one @ other) for other in wholes], rel=1e-12)
    assert made.low_rank() is None


def test_without_a_base_the_models_themselves_are_combined():
    agrees(merge_of("linear", [InMemory(normal(70, seed=i)) for i in range(2)]), make=run_compiled)


@pytest.mark.parametrize("shape", [(1,), (1023,), (1025,), (3, 5), (2, 3, 11), (1, 2500)])
def test_no_block_or_part_need_divide_a_shape(shape, small_tiles):
    changes = [InMemory(normal(*shape, seed=i)) for i in range(2)]
    for name in ("ties", "dare_ties"):
        merge = merge_of(name, changes, InMemory(normal(*shape, seed=5)), own={"density": 0.3})
        agrees(merge, make=run_compiled)


@settings(max_examples=40)
@given(
    awkward(),
    st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]),
    st.sampled_from(["round", "floor", "floor_plus_1"]),
    st.sampled_from(["mass", "mass_unweighted", "count"]),
    st.sampled_from(["weights", "signed_weights", "count", "none"]),
    st.sampled_from(["zero", "positive"]),
    st.sampled_from([1.0, 0.7]),
)
def test_ties_agrees_on_ties_zeros_and_subnormals(
    drawn, density, how, election, divisor, zero_sign, lam
):
    tensors, weights = drawn
    merge = merge_of(
        "ties",
        [InMemory(t) for t in tensors],
        InMemory(torch.ones_like(tensors[0])),
        own=[{"weight": w, "density": density} for w in weights],
        trim_count=how,
        election=election,
        divisor=divisor,
        zero_sign=zero_sign,
        lam=lam,
    )
    agrees(merge, make=run_compiled)


@settings(max_examples=20)
@given(awkward(), st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.booleans())
def test_drops_agree_bit_for_bit(drawn, density, rescale):
    tensors, weights = drawn
    own = [{"weight": w, "density": density} for w in weights]
    for name in ("dare_linear", "dare_ties"):
        merge = merge_of(name, [InMemory(t) for t in tensors], own=own, rescale=rescale)
        agrees(merge, make=run_compiled)


HALVES = [1.0, 1.00390625, 1.01171875, -1.00390625, 3.3895e38, 1e-40, -1e-45, 65504.0, 1 / 3]


def test_bf16_is_rounded_once_to_the_nearest_and_to_even_where_it_is_half_way():
    values = torch.tensor(HALVES)
    merge = merge_of("linear", [InMemory(values)])
    _, weights = run_compiled(merge, torch.bfloat16)
    assert weights.dtype == torch.bfloat16
    assert torch.equal(weights, values.bfloat16())


@pytest.mark.parametrize("bad", [math.nan, -math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stays_so_when_it_is_rounded(bad):
    _, weights = run_compiled(
        merge_of("linear", [InMemory(torch.tensor([bad, 1.0]))]), torch.bfloat16
    )
    assert not torch.isfinite(weights[0])
    assert weights[1] == 1


def test_fp16_is_left_to_the_one_rounding_at_the_end():
    _, weights = run_compiled(merge_of("linear", [InMemory(torch.tensor([1 / 3]))]), torch.float16)
    assert weights.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_sources_of_any_dtype_factors_and_those_that_change_nothing(dtype, small_tiles):
    tensor = normal(11, 24, seed=3).to(dtype)
    low_rank = factors(11, 24, 4, 0, "cpu")
    for name in ("ties", "slerp"):
        changes = [InMemory(tensor), low_rank]
        changes += [] if name == "slerp" else [Zeros((11, 24))]
        merge = merge_of(name, changes, InMemory(tensor), own=own_of(name))
        made, weights = run_compiled(merge)
        tiled = TiledMerge(merge)
        assert torch.equal(weights, torch.cat([part.weights for part in tiled.parts()]))
        assert made.gram == tiled.gram


def spread(rows, columns, seed):
    """Factors whose rows differ much in size, as no guess from a few of them expects."""
    made = factors(rows, columns, 4, seed, "cpu")
    return LowRank(made.b * torch.logspace(-3, 3, rows)[:, None], made.a)


@pytest.mark.parametrize("rank", [1, 2, 300, 2000, 3999, 4000])
@pytest.mark.parametrize("make", [factors, spread])
def test_a_guess_changes_no_threshold_be_it_good_or_bad(rank, make, small_tiles, monkeypatch):
    operand = make(50, 80, 4, 1, "cpu") if make is factors else make(50, 80, 1)
    for sample in (80, 400, 4000):
        monkeypatch.setattr(cpu_merge, "SAMPLE", sample)
        found = magnitude_at(operand, rank, merge_of("ties", [operand]), worth_guessing=1)
        tiles = [operand.rows(*tile) for tile in operands.tiles(operand.shape)]
        expected = torch.cat(tiles).abs().flatten().sort(descending=True).values[rank - 1]
        assert found == float(expected)


def test_a_good_guess_saves_a_pass_and_a_bad_one_costs_one(monkeypatch):
    passes = []
    kth_largest = cpu_merge.kth_largest
    monkeypatch.setattr(
        cpu_merge, "kth_largest", lambda *a, **k: passes.append(1) or kth_largest(*a, **k)
    )
    monkeypatch.setattr(cpu_merge, "SAMPLE", 80 * 250)
    even, uneven = factors(1000, 80, 4, 1, "cpu"), spread(1000, 80, 1)
    magnitude_at(even, 40_000, merge_of("ties", [even]), worth_guessing=1)
    assert passes == []
    rows = LowRank(uneven.b[torch.randperm(1000)], uneven.a)
    monkeypatch.setattr(cpu_merge, "MARGIN", 1e-6)
    magnitude_at(rows, 40_000, merge_of("ties", [rows]), worth_guessing=1)
    assert passes == [1]


def test_where_factors_add_up_they_are_given_as_factors():
    changes = [factors(6, 8, 2, seed, "cpu") for seed in (0, 5)]
    merge = merge_of("linear", changes, own=[{"weight": 1.0}, {"weight": 3.0}])
    summed = CompiledMerge(merge).low_rank()
    _, merged = reference(merge)
    assert torch.allclose(summed.b @ summed.a, merged, rtol=1e-5, atol=1e-6)
    assert CompiledMerge(merge_of("ties", changes)).low_rank() is None


def test_what_the_loops_do_not_take_is_merged_in_parts():
    tau = [InMemory(normal(4, 5, seed=i)) for i in range(2)]
    backend = choose("cpu")

    def opened(name, **settings):
        merge = merge_of(name, tau, **settings)
        return type(open_merge(merge.__class__(**{**vars(merge), "backend": backend})))

    assert opened("ties", own={"density": 0.5}) is CompiledMerge
    assert opened("dare_ties", own={"density": 0.5}, trim_after=0.2) is TiledMerge
    assert opened("ties", own={"density": 0.5}, zero_sign="majority") is TiledMerge
    assert opened("della", own={"density": 0.5}) is TiledMerge


def test_a_mistake_in_the_settings_is_told_in_the_methods_own_words():
    tau = [InMemory(normal(4, 5, seed=i)) for i in range(2)]
    for settings_, words in (({"election": "loud"}, "election"), ({"own": {"density": 2}}, "2")):
        with pytest.raises(ValueError, match=words):
            CompiledMerge(merge_of("ties", tau, **settings_))


def test_several_threads_merge_at_once_without_sharing_memory(small_tiles):
    def tensor(seed):
        changes = [InMemory(normal(40, 33, seed=seed + i)) for i in range(2)]
        return merge_of("ties", changes, own={"density": 0.4})

    found = {}

    def work(seed):
        found[seed] = run_compiled(tensor(seed))[1]

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, weights in found.items():
        assert torch.equal(weights, reference(tensor(seed))[1])


def test_an_operand_of_any_kind_may_be_a_source(small_tiles):
    whole = InMemory(normal(12, 9, seed=1))
    twice = Rowwise(whole.shape, (whole,), lambda part, _: part * 2)
    merge = merge_of("ties", [twice, whole], own={"density": 0.5})
    agrees(merge, make=run_compiled)
