"""The Triton kernels against the methods' own functions: interpreted here, compiled on a GPU.

`make test` runs every test in Triton's interpreter; `pytest -m gpu tests/kernels` runs the same on
a GPU. Tiles are small, so that even small tensors have several.
"""

import json
import math
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mergelab.kernels import Merge, TiledMerge, backends, choose, open_merge
from mergelab.kernels.backends import TRITON
from mergelab.kernels.operands import InMemory, LowRank, Zeros, accepted, dense
from mergelab.kernels.triton_merge import TritonMerge
from mergelab.kernels.triton_selection import kth_largest
from mergelab.kernels.triton_settings import takes
from mergelab.kernels.triton_sources import Difference, Sources, Tile
from mergelab.methods import REGISTRY, keep_mask, trim
from mergelab.methods.gram import gram
from mergelab.methods.philox import random_words

SUPPORT = Path(__file__).parents[1] / "support"
SQUARE, RUN = Tile(4, 16, 1), Tile(1, 64, 1)
TAKEN = (
    "linear task_arithmetic slerp nuslerp multislerp karcher model_stock ties dare_linear dare_ties "
    "magnitude_prune breadcrumbs breadcrumbs_ties"
).split()
SEED, STREAMS = 2**63 + 11, (2**64 - 5, *range(15))
EPS = 2.0**-24  # half a unit in the last place of 1, in fp32


@pytest.fixture(scope="session", params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    """Where the kernels run: in the interpreter, or on a GPU."""
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    assert interpreted == (request.param == "cpu"), "Triton was set up for the other device"
    return request.param


@pytest.fixture(autouse=True)
def _unwritten_is_nan(monkeypatch):
    """What no kernel writes to is NaN, and not by chance what it should be."""
    empty = torch.empty

    def filled(*shape, **options):
        made = empty(*shape, **options)
        return made.fill_(math.nan) if made.is_floating_point() else made

    monkeypatch.setattr(torch, "empty", filled)


def normal(*shape, seed=0, device="cpu"):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(device)


def factors(rows, columns, rank, seed, device):
    return LowRank(
        normal(rows, rank, seed=seed, device=device),
        normal(rank, columns, seed=seed + 1, device=device),
    )


def merge_of(name, changes, base=None, *, in_weights=False, own=None, **settings):
    """A merge by a method's defaults, but for what is given; `own`: of all or of each source."""
    method = REGISTRY[name]
    defaults = {p.name: p.default for p in method.parameters if p.name != "space"}
    each = {p.name for p in method.parameters if p.per_source}
    own = own if isinstance(own, list) else [own or {}] * len(changes)
    per_source = [{**{k: v for k, v in defaults.items() if k in each}, **o} for o in own]
    settings = {**{k: v for k, v in defaults.items() if k not in each}, **settings}
    numbers = {"seed": SEED, "streams": STREAMS[: len(changes)]} if method.random else {}
    return Merge(method, changes, settings, per_source, base, in_weights, **numbers, backend=TRITON)


def reference(merge):
    """What the method's own two halves make of whole tensors: what is left, and the result."""
    method = merge.method
    inputs = [dense(change) for change in merge.changes]
    if merge.in_weights:
        inputs = [dense(merge.base) + change for change in inputs]
    streams = merge.streams or [0] * len(inputs)
    left = inputs
    if method.prepare:
        left = [
            method.prepare(
                change,
                **accepted(
                    method.prepare, {**merge.settings, **own, "seed": merge.seed, "stream": stream}
                ),
            )
            for change, own, stream in zip(inputs, merge.per_source, streams, strict=True)
        ]
    options = dict(merge.settings)
    if "weight" in merge.per_source[0]:
        options["weights"] = [own["weight"] for own in merge.per_source]
    return left, method.combine(left, **accepted(method.combine, options))


def run(merge, dtype=torch.float32, **options):
    """The kernels' run and the weights it gives, in the tensor's own shape."""
    factored = any(isinstance(change, LowRank) for change in merge.changes)
    made = TritonMerge(merge, dtype, options.pop("tile", SQUARE if factored else RUN), **options)
    (part,) = made.parts()
    assert (part.start, part.stop) == (0, math.prod(merge.changes[0].shape[:-1]))
    return made, part.weights.reshape(merge.changes[0].shape)


def counted(merge, left, merged):
    """The counts, one entry after the other."""
    whole = [dense(change).flatten().tolist() for change in merge.changes]
    kept = whole if merge.in_weights else [x.flatten().tolist() for x in left]
    columns = list(zip(*kept, strict=True))
    conflict = [max(c) > 0 > min(c) for c in columns]
    elected = merge.method.resolves_conflicts
    return (
        tuple(
            sum(b != 0 for b in x) - sum(a != 0 for a in y)
            for x, y in zip(whole, kept, strict=True)
        ),
        sum(conflict),
        sum(c and m != 0 for c, m in zip(conflict, merged.flatten().tolist(), strict=True))
        if elected
        else 0,
    )


def agrees(merge, **options):
    """Assert that kernels and reference agree to the last bit, counts and all."""
    made, weights = run(merge, **options)
    left, merged = reference(merge)
    base = None if merge.base is None else dense(merge.base)
    change = merged - base if merge.in_weights else merged
    assert torch.equal(weights, merged if merge.in_weights or base is None else base + merged)
    assert torch.equal(made.change.reshape(weights.shape), change)
    assert torch.equal(made.result.tensor.reshape(weights.shape), merged)
    found = made.counts
    assert (found.removed, found.conflicts, found.resolved) == counted(merge, left, change)
    assert found.entries == weights.numel()
    assert found.merged_square == pytest.approx(float(change.double().square().sum()), rel=1e-12)
    return made


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


HARD = [0.0, -0.0, 1e-45, -1e-45, 1e-39, 1e-20, -1e-20, 0.25, -0.25, 0.5, -0.5, 1.0, -1.0, 3e18]
OPEN = st.floats(-2, 2, width=32)


@st.composite
def awkward(draw, most=3):
    """Tensors of one odd shape, with ties, zeros, draws and subnormals, and a weight for each."""
    shape = draw(st.sampled_from([(1,), (65,), (3, 5), (2, 3, 11), (9, 8)]))
    size, count = math.prod(shape), draw(st.integers(1, most))
    entries = st.lists(st.sampled_from(HARD) | OPEN, min_size=size, max_size=size)
    tensors = [torch.tensor(draw(entries)).reshape(shape) for _ in range(count)]
    return tensors, [draw(st.sampled_from([1.0, 0.3, -0.5, 0.0])) for _ in tensors]


@settings(max_examples=12)
@given(
    awkward(),
    st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]),
    st.sampled_from(["round", "floor", "floor_plus_1"]),
    st.booleans(),
)
@pytest.mark.parametrize("zero_sign", ["zero", "positive", "majority"])
def test_ties_agrees_on_ties_zeros_and_subnormals(zero_sign, drawn, density, how, rescale):
    tensors, weights = drawn
    for election, divisor in (("mass", "weights"), ("count", "signed_weights")):
        merge = merge_of(
            "ties",
            [InMemory(t) for t in tensors],
            InMemory(torch.ones_like(tensors[0])),
            own=[{"weight": w, "density": density} for w in weights],
            trim_count=how,
            rescale=rescale,
            election=election,
            zero_sign=zero_sign,
            divisor=divisor,
        )
        agrees(merge)
