"""Merging a large tensor takes the memory of a few tiles: nothing is ever there as a whole."""

import subprocess
import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mergelab.kernels import BACKENDS, Merge, TiledMerge, choose
from mergelab.kernels.operands import TILE_ENTRIES, LowRank, Remembered, Zeros
from mergelab.methods import REGISTRY

OWN = {"weight": 0.7, "density": 0.5, "gamma": 0.01, "epsilon": 0.1}
WHOLE = {"arcee_fusion", "sce"}  # rank entries by what they are beside others, in any row
IN_TILES = [m.name for m in REGISTRY.values() if not m.factored and m.name not in WHOLE]
SWITCHES = {
    "ties": {"zero_sign": "majority", "rescale": "l2"},
    "dare_ties": {"trim_after": 0.2},
    "breadcrumbs": {"trim_scope": "row"},
    "nuslerp": {"row_wise": True},
    "model_stock": {"filter_wise": True},
}


class LargestResult(TorchDispatchMode):
    """Notes the size of every tensor that any operation gives."""

    entries = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.entries = max(self.entries, tensor.numel())
        return result


def low_rank_pair(rows, columns, rank=4):
    generator = torch.Generator().manual_seed(1)
    return [
        LowRank(
            torch.randn(rows, rank, generator=generator),
            torch.randn(rank, columns, generator=generator),
        )
        for _ in range(2)
    ]


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "auto"])
@pytest.mark.parametrize("method", IN_TILES)
def test_no_operation_makes_more_than_a_tile_of_each_source(method, backend):
    declared = REGISTRY[method]
    sources = low_rank_pair(2100, 1024)[: declared.max_sources or 2]
    merge = Merge(
        declared,
        sources,
        {"t": 0.5, **SWITCHES.get(method, {})},
        [OWN] * len(sources),
        streams=range(len(sources)) if declared.random else (),
        backend=choose(backend),
    )
    with LargestResult() as largest:
        run = TiledMerge(merge)
        entries = sum(part.weights.numel() for part in run.parts())
    assert entries == 2100 * 1024 > 8 * TILE_ENTRIES
    # Rows of all sources may be stacked, and random numbers come in fours.
    assert TILE_ENTRIES <= largest.entries <= len(sources) * TILE_ENTRIES + 8


def test_between_tiles_each_source_holds_one():
    changes = [*low_rank_pair(2100, 1024), Zeros((2100, 1024))]
    run = TiledMerge(Merge(REGISTRY["ties"], changes, {}, [OWN] * 3))
    for part in run.parts():
        held = [o._last[2] for o in (*run._changes, *run._prepared) if isinstance(o, Remembered)]
        assert all(tensor.numel() <= TILE_ENTRIES for tensor in held)
        assert part.weights.numel() <= TILE_ENTRIES


MEASURE = """
import resource, sys
from mergelab.kernels import Merge, TiledMerge, choose
from mergelab.methods import REGISTRY
import torch
from mergelab.kernels.operands import LowRank

def merge(rows):
    pair = [LowRank(torch.ones(rows, 4), torch.randn(4, 4096)) for _ in range(2)]
    backend = choose(sys.argv[1])
    run = TiledMerge(Merge(REGISTRY["ties"], pair, {}, [{"density": 0.5}] * 2, backend=backend))
    for part in run.parts():
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

few = merge(256)
print(merge(4096) - few)
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "auto"])
def test_the_process_grows_by_less_than_a_tenth_of_one_whole_tensor(backend):
    ended = subprocess.run(
        [sys.executable, "-c", MEASURE, backend], capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stderr
    grown = int(ended.stdout) * (1024 if sys.platform == "linux" else 1)
    assert grown < 4096 * 4096 * 4 / 10
