"""Merges for the kernels' tests, and the assertion that kernels and methods agree on them.

The kernels are those for a GPU, or, with `make=run_compiled`, those for a CPU.
"""

import math

import pytest
import torch
from hypothesis import strategies as st

from mergelab.kernels import Merge
from mergelab.kernels.backends import TRITON
from mergelab.kernels.cpu_merge import CompiledMerge
from mergelab.kernels.operands import LowRank, accepted, dense
from mergelab.kernels.triton_merge import TritonMerge
from mergelab.kernels.triton_sources import Tile
from mergelab.methods import REGISTRY

SQUARE, RUN = Tile(4, 16, 1), Tile(1, 64, 1)
# The methods whose defaults the kernels take.
TAKEN = [
    *("linear", "task_arithmetic", "slerp", "nuslerp", "multislerp", "karcher", "model_stock"),
    *("ties", "dare_linear", "dare_ties", "magnitude_prune", "breadcrumbs", "breadcrumbs_ties"),
]
HARD = [0.0, -0.0, 1e-45, -1e-45, 1e-39, 1e-20, -1e-20, 0.25, -0.25, 0.5, -0.5, 1.0, -1.0, 3e18]
SEED, STREAMS = 2**63 + 11, (2**64 - 5, *range(15))


@st.composite
def awkward(draw, most=3):
    """Tensors of one odd shape, with ties, zeros, draws and subnormals, and a weight for each."""
    shape = draw(st.sampled_from([(1,), (65,), (3, 5), (2, 3, 11), (9, 8)]))
    size, count = math.prod(shape), draw(st.integers(1, most))
    entries = st.sampled_from(HARD) | st.floats(-2, 2, width=32)
    lists = st.lists(entries, min_size=size, max_size=size)
    tensors = [torch.tensor(draw(lists)).reshape(shape) for _ in range(count)]
    return tensors, [draw(st.sampled_from([1.0, 0.3, -0.5, 0.0])) for _ in tensors]


def normal(*shape, seed=0, device="cpu"):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(device)


def factors(rows, columns, rank, seed, device, scale=1.0):
    b = normal(rows, rank, seed=seed, device=device) * scale
    return LowRank(b, normal(rank, columns, seed=seed + 1, device=device))


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


def run_compiled(merge, dtype=torch.float32, **options):
    """The compiled loops' run and the weights it gives, in the tensor's own shape."""
    made = CompiledMerge(merge, dtype, **options)
    shape = merge.changes[0].shape
    rows = [part.weights.clone() for part in made.parts()]
    return made, torch.cat(rows).reshape(shape)


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


def agrees(merge, *, make=run, **options):
    """Assert that kernels and reference agree to the last bit, counts and all."""
    made, weights = make(merge, **options)
    left, merged = reference(merge)
    base = None if merge.base is None else dense(merge.base)
    change = merged - base if merge.in_weights else merged
    assert torch.equal(weights, merged if merge.in_weights or base is None else base + merged)
    parts = [part.change for part in made.parts()]
    assert torch.equal(torch.cat(parts).reshape(weights.shape), change)
    found = made.counts
    assert (found.removed, found.conflicts, found.resolved) == counted(merge, left, change)
    assert found.entries == weights.numel()
    assert found.merged_square == pytest.approx(float(change.double().square().sum()), rel=1e-12)
    return made
