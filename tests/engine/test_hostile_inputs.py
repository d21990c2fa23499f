"""Whatever strangers put into models, adapters and recipes: one line, or the right numbers.

Nothing crashes, hangs, runs code, fills the memory or leaves half an output. Where damage cannot be
seen, because every file still is what it claims to be, the output is what an independent
computation makes of the damaged files.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import hostile_models
import hostile_recipes
import pytest
import torch
import yaml
from hostile_files import COMPUTED, CONFIG, FINITE, GOOD, MARKER, RECIPE, REFUSED, json_edited
from safetensors.torch import load_file
from tiny_models import llama, save_adapter, save_model, weights

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("hostile inputs")]

CASES = hostile_models.CASES | hostile_recipes.CASES
DRIVER = Path(__file__).parents[1] / "support" / "hostile_merges.py"


def test_there_are_more_than_a_hundred():
    assert len(CASES) == len(hostile_models.CASES) + len(hostile_recipes.CASES) > 100


@pytest.fixture(scope="module")
def merged(tmp_path_factory):
    """What became of every case: its folder, and the merge's status, seconds and last words."""
    root = tmp_path_factory.mktemp("hostile")
    good = root / "good"
    model = llama(0)
    base = save_model(model, good / "base")
    save_model(model, good / "shards", max_shard_size="30KB")
    save_adapter(base, good / "persona", 3)
    save_adapter(base, good / "agentic", 4, r=2, target_modules=["q_proj", "up_proj"])
    for adapter in ("persona", "agentic"):
        json_edited(f"{adapter}/adapter_config.json", base_model_name_or_path="base")(good)
    (good / "loop").symlink_to("loop")
    (good / RECIPE).write_text(GOOD)
    jobs = []
    for number, (_, spoil) in enumerate(CASES.values()):
        folder = root / str(number)
        shutil.copytree(good, folder, symlinks=True)
        options = spoil(folder) or {}
        jobs.append({"recipe": f"{folder}/{RECIPE}", "out": f"{folder}/out", "options": options})
    done = subprocess.run(
        [sys.executable, DRIVER], input=json.dumps(jobs), capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    return {name: (root / str(number), found[number]) for number, name in enumerate(CASES)}


@pytest.mark.parametrize("name", CASES)
def test_hostile(merged, name):
    outcome, _ = CASES[name]
    folder, done = merged[name]
    words = done["words"]
    assert not list(folder.rglob(MARKER))
    assert not list(folder.glob(".*"))  # where a merge writes before it is done
    assert done["status"] in (0, 2), (done, words[-2000:])
    if done["status"] == 2:
        assert words.startswith("error: ")
        assert words.count("\n") == 1
        assert words[:-1].isprintable()
        assert len(words) < 3000
        assert not (folder / "out").exists()
        assert outcome != COMPUTED, words
        if outcome == FINITE:
            assert not all_finite(folder), words
        return
    assert outcome != REFUSED
    assert words == ""
    assert_right(folder)


def tensors_in(folder, *names):
    """Every tensor of a model or adapter, read by the libraries that wrote it."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    found = {}
    for name in names:
        path = folder / name
        if path.exists():
            load = load_file if path.suffix == ".safetensors" else torch.load
            found.update(load(path))
    return found


def expected(folder):
    """The merge in float64, and for each entry the size of what was added up."""
    text = (folder / RECIPE).read_text(encoding="utf-8-sig")
    base = folder / yaml.safe_load(text)["base_model"]
    values = tensors_in(base, "model.safetensors", "pytorch_model.bin")
    values = {name: t.double() if t.is_floating_point() else t for name, t in values.items()}
    sizes = {name: tensor.abs() for name, tensor in values.items()}
    for adapter in ("persona", "agentic"):
        settings = json.loads((folder / adapter / "adapter_config.json").read_text())
        stored = tensors_in(folder / adapter, "adapter_model.safetensors", "adapter_model.bin")
        for name, a in stored.items():
            if ".lora_A." not in name:
                continue
            a, b = a.double(), stored[name.replace(".lora_A.", ".lora_B.")].double()
            scaling = 0.5 * settings.get("lora_alpha", 8) / a.shape[0]
            target = name.removeprefix("base_model.model.").replace(".lora_A", "")
            values[target] = values[target] + scaling * (b @ a)
            sizes[target] = sizes[target] + abs(scaling) * (b.abs() @ a.abs())
    return values, sizes


def all_finite(folder):
    _, sizes = expected(folder)
    return all(bool((size < torch.finfo(torch.float32).max).all()) for size in sizes.values())


def assert_right(folder):
    values, sizes = expected(folder)
    out = folder / "out"
    got = weights(out)
    assert set(got) == set(values)
    for name, value in values.items():
        assert got[name].shape == value.shape
        if not value.is_floating_point():
            assert got[name].equal(value)
            continue
        allowed = 1e-6 * sizes[name] + 1e-38
        assert bool(((got[name].double() - value).abs() <= allowed).all()), name
    for file in ("tokenizer.json", "tokenizer_config.json"):
        assert (out / file).read_bytes() == (folder / "base" / file).read_bytes()
    config = json.loads((folder / CONFIG).read_text())
    merged_config = json.loads((out / "config.json").read_text())
    for key in {*config, *merged_config} - {"dtype", "torch_dtype"}:
        assert json.dumps(config.get(key)) == json.dumps(merged_config.get(key))
    json.loads((out / "merge_report.json").read_text())
