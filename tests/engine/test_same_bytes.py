"""What a merge gives depends on the recipe, the models and the seed, and on nothing else.

Not on the order of the models, their folders' names and places, the size of shards, the number of
workers or threads, or on who does the inner loops: every tensor is the same to the last bit.
"""

import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from tiny_models import llama, save_adapter, save_model, tuned, weights

from mergelab import merge
from mergelab.kernels.operands import TILE_ENTRIES
from mergelab.methods import REGISTRY

pytestmark = pytest.mark.slow

SEED = 7
# What a method is to be given besides weights; without, one density and three adapters.
PARAMETERS = {
    "slerp": {"t": 0.3},
    "nearswap": {"t": 0.005},
    "svd": {"rank": 5},
    "breadcrumbs": {"gamma": 0.1},
    "breadcrumbs_ties": {"gamma": 0.1},
    "della": {"epsilon": 0.2},
    "della_linear": {"epsilon": 0.2},
    "sce": {"select_topk": 0.3},
}
# Numbers of the whole model, draws in sums that cancel, a switch that cuts twice, merged factors.
SWITCHES = {
    "ties, global": {"trim_scope": "global", "zero_sign": "majority"},
    "dare_ties, trimmed after": {"trim_after": 0.3, "trim_scope": "global", "rescale": "l2"},
    "dare_linear, l1": {"rescale": "l1"},
    "dare_linear, factors": {"space": "factors"},
    "linear, weights": {"space": "weights"},
    "nuslerp, rows": {"nuslerp_row_wise": True},
    "core_space, tsv_merge": {"method": "tsv_merge"},
}
MERGES = [*REGISTRY, *SWITCHES]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A base with tensors of several tiles, two fine-tunes of it and three adapters on it."""
    root = tmp_path_factory.mktemp("same")
    model = llama(0, layers=1, hidden_size=256, intermediate_size=2048)
    assert model.model.layers[0].mlp.up_proj.weight.numel() == 2 * TILE_ENTRIES
    save_model(model, root / "base")
    for seed, name in enumerate(("first", "second"), 1):
        save_model(tuned(model, seed), root / name)
    for seed, name in enumerate(("persona", "agentic", "third"), 3):
        save_adapter(root / "base", root / name, seed)
    return root


def recipe(name, root, order=1):
    """The merge called `name` of the models in `root`, listed forwards or, -1, backwards."""
    method = REGISTRY[name.partition(",")[0]]
    keys = {parameter.recipe_key for parameter in method.parameters}
    names, base = ("persona", "agentic", "third"), "base"
    if method.max_sources == 1:
        names = ("persona",)
    elif method.name == "slerp":
        names, base = ("first", "second"), "first"  # which says that it is the first end
    elif method.max_sources == 2:
        names = ("persona", "agentic")
    shared = {"density": 0.4} if "density" in keys else {}
    return {
        "merge_method": method.name,
        "base_model": str(root / base),
        "models": [
            {
                "model": str(root / source),
                "parameters": {"weight": weight} if "weight" in keys else {},
            }
            for source, weight in list(zip(names, (0.3, 0.9, 0.6), strict=False))[::order]
        ],
        "parameters": {**shared, **PARAMETERS.get(method.name, {}), **SWITCHES.get(name, {})},
    }


def digest(tensors):
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()


@pytest.fixture(scope="module")
def plainly(models):
    """The digest of each merge by one worker, in memory, with plain PyTorch in one thread."""
    return {
        name: digest(merge(recipe(name, models), seed=SEED, workers=1, backend="torch").tensors)
        for name in MERGES
    }


@pytest.fixture
def threads():
    """`torch.set_num_threads` as long as a test takes."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_no_two_merges_give_the_same(plainly):
    """So that the tests below compare something."""
    assert len(set(plainly.values())) == len(MERGES)


@pytest.mark.parametrize("name", MERGES)
def test_the_order_of_models_workers_and_shards_change_no_bit(
    models, plainly, tmp_path, threads, name
):
    threads(4)
    merge(recipe(name, models, -1), tmp_path / "out", seed=SEED, workers=5, max_shard_bytes=10**6)
    assert len(list((tmp_path / "out").glob("*.safetensors"))) > 4
    assert digest(weights(tmp_path / "out")) == plainly[name]


@pytest.mark.parametrize("name", MERGES)
def test_compiled_loops_change_no_bit(models, plainly, threads, name):
    threads(4)
    result = merge(recipe(name, models), seed=SEED, workers=2, backend="cpu")
    assert digest(result.tensors) == plainly[name]


@pytest.fixture(scope="module")
def moved(models, tmp_path_factory):
    """The same models elsewhere, under other names, by which they come in another order."""
    root = tmp_path_factory.mktemp("elsewhere") / "a" / "b"
    renamed = {}
    for path, name in zip(sorted(models.iterdir(), reverse=True), "abcdef", strict=True):
        renamed[str(path)] = shutil.copytree(path, root / name)
    return renamed


@pytest.mark.parametrize("name", MERGES)
def test_names_and_places_of_folders_change_no_bit(models, moved, plainly, name):
    text = json.dumps(recipe(name, models))
    for path, other in moved.items():
        text = text.replace(f'"{path}"', f'"{other}"')
    assert str(models) not in text
    assert digest(merge(json.loads(text), seed=SEED).tensors) == plainly[name]


CHILD = """
import json, sys
import torch
from test_same_bytes import SEED, digest
from mergelab import merge
print(torch.get_num_threads(), file=sys.stderr)
recipes = json.load(sys.stdin)
print(json.dumps({n: digest(merge(r, seed=SEED).tensors) for n, r in recipes.items()}))
"""


def test_the_threads_of_a_new_process_change_no_bit(models, plainly):
    folders = [os.path.dirname(__file__), *sys.path]
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=json.dumps({name: recipe(name, models) for name in MERGES}),
        env={**os.environ, "OMP_NUM_THREADS": "4", "PYTHONPATH": os.pathsep.join(folders)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stderr.splitlines()[-1]) >= min(2, os.cpu_count())
    assert json.loads(done.stdout) == plainly


@pytest.mark.parametrize("name", [name for name, method in REGISTRY.items() if method.random])
def test_another_seed_changes_what_is_drawn(models, plainly, name):
    result = merge(recipe(name, models), seed=SEED + 1)
    assert digest(result.tensors) != plainly[name]


def files(folder):
    """Every file that a merge wrote, its report without times."""
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    report = json.loads(found.pop("merge_report.json"))
    return {**found, "report": json.dumps(without_times(report), sort_keys=True)}


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key != "seconds"}
    return [without_times(item) for item in value] if isinstance(value, list) else value


OUTPUTS = {
    "ties, global": {},
    "dare_ties": {"chat_template": "{{ messages }}", "dtype": "bfloat16"},
    "slerp": {"dtype": "float16"},
    "linear": {"output": "adapter"},
    "della_linear": {"output": "adapter", "rank": 6},
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_every_file_is_the_same_but_for_the_times(models, tmp_path, threads, name):
    written = {**recipe(name, models), **OUTPUTS[name]}
    outs = []
    for workers, count in itertools.product((1, 2, 5), (1, 4)):
        threads(count)
        outs.append(tmp_path / f"{workers}-{count}")
        merge(written, outs[-1], seed=SEED, workers=workers, backend="torch")
    first, *others = map(files, outs)
    assert {"README.md", "tokenizer.json", "mergelab_recipe.yaml", "report"} <= set(first)
    for other in others:
        assert other == first


@pytest.mark.parametrize("name", ["linear", "della_linear"])
def test_the_order_of_models_changes_no_bit_of_an_adapter(models, tmp_path, name):
    found = set()
    for order in (1, -1):
        written = {**recipe(name, models, order), **OUTPUTS[name]}
        merge(written, tmp_path / str(order), seed=SEED)
        found.add((tmp_path / str(order) / "adapter_model.safetensors").read_bytes())
    assert len(found) == 1
