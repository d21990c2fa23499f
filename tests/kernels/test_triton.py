"""The Triton kernels against the methods' own functions: interpreted here, compiled on a GPU.

`make test` runs every test in Triton's interpreter; `pytest -m gpu tests/kernels` runs the same on
a GPU. Tiles are small, so that even small tensors have several.
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_merges import (
    RUN,
    TAKEN,
    agrees,
    awkward,
    factors,
    merge_of,
    normal,
    reference,
    run,
)

from mergelab.kernels import TiledMerge, backends, choose, open_merge, triton_selection
from mergelab.kernels.fused_settings import takes
from mergelab.kernels.operands import InMemory, LowRank, Rowwise, Zeros, dense
from mergelab.kernels.triton_merge import TritonMerge
from mergelab.kernels.triton_selection import kth_largest
from mergelab.kernels.triton_sources import Difference, Sources, Tile
from mergelab.methods import REGISTRY
from mergelab.methods.gram import gram

SUPPORT = Path(__file__).parents[1] / "support"
pytestmark = pytest.mark.usefixtures("unwritten_is_nan")
ROUNDING = 2.0**-24  # the most by which fp32 rounds, relative to the number


@pytest.fixture(scope="session", params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    """Where the kernels run: in the interpreter, or on a GPU."""
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    assert interpreted == (request.param == "cpu"), "Triton was set up for the other device"
    return request.param


@pytest.mark.parametrize("name", TAKEN)
def test_every_method_agrees_with_its_reference_to_the_last_bit(name, device):
    changes = [InMemory(normal(7, 13, seed=i, device=device)) for i in range(2)]
    base = InMemory(normal(7, 13, seed=9, device=device))
    own = {"density": 0.4} if REGISTRY[name].prepare else {}
    made = agrees(merge_of(name, changes, base, own=own))
    expected = gram([change.tensor for change in changes])
    for found_row, row in zip(made.gram, expected, strict=True):
        assert found_row == pytest.approx(row, rel=1e-12)
    tiled = TiledMerge(merge_of(name, changes, base, own=own))
    assert made.rescale == tiled.rescale


@pytest.mark.parametrize("count", [1, 3, 16])
@pytest.mark.parametrize("name", ["linear", "ties", "dare_ties"])
def test_any_number_of_sources_up_to_16(name, count, device):
    changes = [InMemory(normal(3, 37, seed=i, device=device)) for i in range(count)]
    density = {} if name == "linear" else {"density": 0.5}
    own = [{"weight": 0.5 + i, **density} for i in range(count)]
    agrees(merge_of(name, changes, InMemory(changes[0].tensor * 3), own=own))


@pytest.mark.parametrize("name", ["linear", "slerp", "multislerp"])
def test_full_weights_are_combined_where_asked_for(name, device):
    changes = [InMemory(normal(5, 19, seed=i, device=device) * 0.1) for i in range(2)]
    base = InMemory(normal(5, 19, seed=9, device=device))
    made = agrees(merge_of(name, changes, base, in_weights=True))
    expected = gram([base.tensor + change.tensor for change in changes])
    for found_row, row in zip(made.weight_gram, expected, strict=True):
        assert found_row == pytest.approx(row, rel=1e-12)
    assert made.weight_gram != made.gram
    assert made.low_rank() is None


def test_without_a_base_the_models_themselves_are_combined(device):
    agrees(merge_of("linear", [InMemory(normal(70, seed=i, device=device)) for i in range(2)]))


@settings(max_examples=8)
@given(
    awkward(),
    st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]),
    st.sampled_from(["round", "floor", "floor_plus_1"]),
    st.booleans(),
)
@pytest.mark.parametrize("zero_sign", ["zero", "positive", "majority"])
def test_ties_agrees_on_ties_zeros_and_subnormals(device, zero_sign, drawn, density, how, rescale):
    tensors, weights = drawn
    for election, divisor in (("mass", "weights"), ("count", "signed_weights")):
        merge = merge_of(
            "ties",
            [InMemory(t.to(device)) for t in tensors],
            InMemory(torch.ones_like(tensors[0], device=device)),
            own=[{"weight": w, "density": density} for w in weights],
            trim_count=how,
            rescale=rescale,
            election=election,
            zero_sign=zero_sign,
            divisor=divisor,
        )
        agrees(merge)


@pytest.mark.parametrize("rows, columns", [(5, 24), (6, 13), (1, 130)])
@pytest.mark.parametrize("density, after", [(0.0, 1.0), (0.3, 1.0), (0.5, 0.2), (1.0, 0.5)])
def test_drops_are_those_of_the_cpu_bit_for_bit(rows, columns, density, after, device):
    """A source by its factors, of zeros, makes tiles of rows, whose entries no counter begins."""
    merge = merge_of(
        "dare_ties",
        [
            InMemory(normal(rows, columns, device=device)),
            factors(rows, columns, 1, 3, device, scale=0.0),
        ],
        InMemory(normal(rows, columns, seed=9, device=device)),
        own={"density": density},
        trim_after=after,
    )
    agrees(merge)
    agrees(merge_of("dare_linear", [merge.changes[0]], own={"density": density}, trim_after=after))


@pytest.mark.parametrize("name", ["ties", "dare_ties"])
def test_a_threshold_found_over_the_whole_model_is_used(name, device):
    own = {"density": 0.5, "threshold": 0.6}
    after = {"trim_after": 0.5} if name == "dare_ties" else {}
    change = normal(90, device=device)
    merge = merge_of(name, [InMemory(change)], own=own, **after)
    left = change
    if after:
        kept = reference(merge_of("dare_linear", [InMemory(change)], own={"density": 0.5}))[0][0]
        left = kept
    expected = torch.where(left.abs() >= 0.6, left, 0.0)
    made, weights = run(merge)
    assert torch.equal(weights, expected)
    assert made.counts.removed == (90 - int(expected.count_nonzero()),)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("out", [torch.float32, torch.bfloat16, torch.float16])
def test_each_value_is_rounded_once(dtype, out, device):
    base = (normal(9, 30, seed=4, device=device) * 10).to(dtype)
    base.view(-1)[:6] = torch.tensor([6e-8, 1e-7, 6.1e-5, 0.0, -0.0, 1.0078125], device=device)
    base.view(-1)[6:9] = torch.tensor([2e-40, -9e-41, 1e-39], device=device)  # subnormal in bf16
    base.view(-1)[9] = 1.0
    delta = normal(9, 30, device=device).to(dtype) * 1e-3
    delta.view(-1)[:9] = 0.0
    delta.view(-1)[[5, 9]] = 2.0**-8  # half way between two bf16 numbers, the even one up or down
    merge = merge_of("linear", [InMemory(delta)], InMemory(base))
    _, weights = run(merge, out)
    assert weights.dtype == out
    assert torch.equal(weights, (base.float() + delta.float()).to(out))


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_what_does_not_fit_becomes_infinite_and_nan_stays_nan(device):
    values = torch.tensor([7e4, -1e6, math.nan, math.inf, 3.4e38, 0.0], device=device)
    values.view(torch.int32)[5] = 0x7FFFFFFF  # the NaN that a GPU makes
    merge = merge_of("linear", [InMemory(values)])
    for out in (torch.float16, torch.bfloat16):
        _, weights = run(merge, out)
        assert torch.equal(weights.nan_to_num(0.5), values.to(out).nan_to_num(0.5))
        assert weights.isnan().equal(values.isnan())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["linear", "slerp", "ties", "dare_ties"])
def test_tuned_weights_of_any_dtype_are_read_as_what_they_differ_from_the_base(name, dtype, device):
    base = InMemory(normal(6, 21, seed=9, device=device).to(dtype))
    tuned = [(base.tensor + normal(6, 21, seed=i, device=device) * 0.1).to(dtype) for i in range(2)]
    own = {"density": 0.5} if REGISTRY[name].prepare else {}
    changes = [Difference(InMemory(one), base) for one in tuned]
    made = agrees(merge_of(name, [*changes], base, own=own))
    assert made.gram == pytest.approx(
        torch.tensor(gram([one.float() - base.tensor.float() for one in tuned])).numpy(), rel=1e-6
    )


def test_an_operand_of_any_other_kind_is_made_whole_first(device):
    values = normal(4, 9, device=device)
    doubled = Rowwise((4, 9), (InMemory(values),), lambda part, _: part * 2)
    _, weights = run(merge_of("ties", [doubled, Zeros((4, 9), device)], own={"density": 1.0}))
    assert torch.equal(weights, values * 2)


@pytest.mark.parametrize("name", TAKEN)
@pytest.mark.parametrize("shape, ranks", [((9, 35), (1, 17)), ((6, 20), (3, 4))])
def test_factors_agree_within_the_rounding_of_their_product(name, shape, ranks, device):
    """Beside factors: a dense source, or one that is nothing, where the method takes three."""
    changes = [factors(*shape, rank, 5 * rank, device) for rank in ranks]
    if REGISTRY[name].max_sources is None:
        changes += [InMemory(normal(*shape, seed=2, device=device)), Zeros(shape, device)]
    base = InMemory(normal(*shape, seed=9, device=device).bfloat16())
    own = {"density": 0.5} if REGISTRY[name].prepare else {}
    made, weights = run(merge_of(name, changes, base, own=own))
    exact = [InMemory(exact_product(change)) for change in changes]
    left, merged = reference(merge_of(name, exact, base, own=own))
    margin = max(product_margin(c) for c in changes if isinstance(c, LowRank))
    expected = base.tensor.double() + merged.double()
    differs = (weights.double() - expected).abs() > 64 * margin
    # A mask may differ only for entries next to a threshold or a draw: at worst a few of them.
    assert int(differs.sum()) <= near_thresholds(exact, left, margin)
    assert made.counts.conflicts == pytest.approx(
        conflicts_of(left), abs=near_thresholds(exact, left, margin)
    )
    for row, expected_row in zip(made.gram, gram([e.tensor for e in exact]), strict=True):
        assert row == pytest.approx(expected_row, rel=1e-5, abs=1e-5)


def exact_product(change):
    if not isinstance(change, LowRank):
        return dense(change)
    return (change.b.double() @ change.a.double()).float()


def product_margin(change):
    """The most by which a product added up in fp32, in any order, differs from the exact one."""
    sizes = change.b.abs().double() @ change.a.abs().double()
    return (change.rank + 1) * ROUNDING * float(sizes.max())


def near_thresholds(exact, left, margin):
    """How many entries of the sources lie within the margin of what trim kept or left out."""
    near = 0
    for change, kept in zip(exact, left, strict=True):
        sizes = change.tensor.abs()
        if bool((kept == 0).any()) and bool((kept != 0).any()):
            lowest = float(sizes[kept != 0].min())
            near += int(((sizes - lowest).abs() <= 2 * margin).sum())
    return near


def conflicts_of(left):
    stacked = torch.stack(list(left))
    return int(((stacked.amax(0) > 0) & (stacked.amin(0) < 0)).sum())


def test_counts_are_those_of_the_mask_that_was_applied(device):
    change = factors(19, 37, 5, 3, device)
    made, weights = run(merge_of("ties", [change], own={"density": 0.3}))
    assert made.counts.removed == (19 * 37 - int(weights.count_nonzero()),)
    assert abs(int(weights.count_nonzero()) - round(0.3 * 19 * 37)) <= 1


def test_fp32_errors_are_at_most_twice_those_of_the_reference(device):
    changes = [factors(24, 48, 16, seed, device) for seed in (1, 3)]
    base = InMemory(normal(24, 48, seed=9, device=device))
    for name in ("linear", "slerp", "task_arithmetic"):
        _, weights = run(merge_of(name, changes, base))
        made = base.tensor + reference(merge_of(name, changes, base))[1]
        wide = [c.b.double() @ c.a.double() for c in changes]
        exact = base.tensor.double() + REGISTRY[name].combine(wide)
        error = float((weights.double() - exact).abs().max())
        assert error <= 2 * float((made.double() - exact).abs().max())


def test_every_run_gives_the_same(device):
    changes = [InMemory(normal(6, 50, seed=i, device=device)) for i in range(3)]
    runs = [run(merge_of("ties", changes, own={"density": 0.2})) for _ in range(2)]
    (one, weights), (other, again) = runs
    assert torch.equal(weights, again)
    assert one.counts == other.counts
    assert one.gram == other.gram


@pytest.mark.parametrize("scale, rank, bits", [(1.0, 700, 20), (1e6, 300, 16), (1e-30, 700, 16)])
def test_a_guessed_threshold_is_exact_however_wrong_the_guess(
    scale, rank, bits, device, monkeypatch
):
    """The tiles that a sample looks at, one of eight, are like the others, far larger, or smaller:
    then what is sought lies below, or above, all that was guessed."""
    monkeypatch.setattr(triton_selection, "SAMPLED", 8)
    monkeypatch.setattr(triton_selection, "BITS_AFTER_GUESS", bits)
    values = normal(64 * 16, device=device)
    values.view(8, 8, 16)[:, 0] *= scale
    sources = Sources([InMemory(values)], tile=Tile(1, 16, 1))
    nothing = torch.zeros(1, device=device)
    found = kth_largest(sources, [(0, rank)], nothing, nothing, worth_sampling=1)
    assert found == [float(values.abs().sort(descending=True).values[rank - 1])]


@settings(max_examples=10)
@given(awkward(most=1), st.data())
def test_the_kth_largest_is_that_of_a_sort(device, drawn, data):
    values = drawn[0][0].to(device)
    rank = data.draw(st.integers(1, values.numel()))
    sources = Sources([InMemory(values)], tile=RUN)
    nothing = torch.zeros(1, device=device)
    ordered = values.flatten().abs().sort(descending=True).values
    assert kth_largest(sources, [(0, rank)], nothing, nothing) == [float(ordered[rank - 1])]


def test_a_sum_of_adapters_stays_an_adapter(device):
    changes = [factors(8, 12, 2, 1, device), Zeros((8, 12), device), factors(8, 12, 3, 5, device)]
    made, weights = run(merge_of("task_arithmetic", changes, own={"weight": 0.5}))
    assert made.low_rank().rank == 5
    assert torch.allclose(made.low_rank().dense(), weights, atol=1e-5)
    assert run(merge_of("ties", changes, own={"density": 0.5}))[0].low_rank() is None


@pytest.mark.parametrize(
    "name, options",
    [
        ("della", {}),
        ("sce", {}),
        ("nearswap", {}),
        ("dare_ties", {"rescale": "l1"}),
        ("breadcrumbs", {"trim_scope": "row"}),
        ("model_stock", {"filter_wise": True}),
        ("tsv_merge", {}),
    ],
)
def test_what_the_kernels_do_not_take_is_merged_in_parts(name, options, device):
    changes = [InMemory(normal(4, 6, seed=i, device=device)) for i in range(2)]
    merge = merge_of(name, changes, InMemory(changes[0].tensor * 2), **options)
    assert not takes(merge)
    assert isinstance(open_merge(merge), TiledMerge)


def test_what_the_kernels_take_is_merged_by_them(device):
    changes = [InMemory(normal(4, 6, seed=i, device=device)) for i in range(2)]
    made = open_merge(merge_of("ties", changes), torch.bfloat16)
    assert isinstance(made, TritonMerge)
    assert next(made.parts()).weights.dtype == torch.bfloat16
    empty = [InMemory(torch.zeros(0, 6, device=device))]
    assert isinstance(open_merge(merge_of("ties", empty)), TiledMerge)
    assert isinstance(open_merge(merge_of("linear", changes * 9)), TiledMerge)


@pytest.mark.parametrize(
    "name, own, options, complaint",
    [
        ("linear", {"weight": 0.0}, {}, "the weights sum to 0"),
        ("ties", {"density": 1.5}, {}, "density must lie between 0 and 1"),
        ("dare_ties", {"density": -0.5}, {}, "density must lie between 0 and 1"),
        ("ties", {}, {"election": "loudest"}, "election must be one of"),
        ("ties", {}, {"divisor": "half"}, "divisor must be one of"),
        ("slerp", {}, {"t": 2.0}, "t must lie between 0 and 1"),
    ],
)
def test_bad_settings_are_refused_in_the_words_of_the_method(name, own, options, complaint):
    changes = [InMemory(torch.ones(3))] * 2
    with pytest.raises(ValueError, match=complaint):
        TritonMerge(merge_of(name, changes, own=own, **options))


def test_triton_is_chosen_by_name_on_a_gpu_only(monkeypatch):
    assert choose("auto", device="cuda").name == "torch"
    assert choose("triton", device="cuda:1").name == "triton"
    assert choose("auto", device="cpu").name == "torch"
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(ValueError, match="backend triton does not run on cpu; use torch"):
        choose("triton")
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'mergelab\[kernels\]'"):
        choose("triton", device="cuda")


def test_every_kernel_compiles_for_a_gpu_and_rounds_as_the_reference_does():
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, SUPPORT / "compile_kernels.py", "90"],
        env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    names = ("merge", "gram", "digits", "sums", "guess", "narrow")
    assert {line["kernel"] for line in lines} == {f"{name}_kernel" for name in names}
    for line in lines:
        assert line["machine_code"] > 0
        for fault in ("flushes_subnormals", "divides_roughly", "rounds_to_tf32"):
            assert not line[fault], line
        assert line["joins_products_and_sums"] == line["factors"], line
