"""What `mergelab merge` can be told: shards, workers, inner loops, and what it may read."""

import json

import pytest
import torch
import yaml
from tiny_models import llama, save_model, weights


@pytest.fixture
def ties(tiny, tmp_path):
    recipe = tiny.recipe("ties", parameters={"density": 0.5})
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def test_weights_are_written_in_files_of_the_size_asked_for(run_cli, ties, tmp_path):
    assert run_cli("merge", ties, tmp_path / "one")[0] == 0
    assert run_cli("merge", ties, tmp_path / "many", "--max-shard-size", "20 KB")[0] == 0
    files = sorted((tmp_path / "many").glob("model-*.safetensors"))
    assert len(files) > 3 and all(file.stat().st_size < 24_000 for file in files)
    one, many = weights(tmp_path / "one"), weights(tmp_path / "many")
    assert all(tensor.equal(many[name]) for name, tensor in one.items())


@pytest.mark.parametrize("size", ["big", "0", "-1GB", "5XB"])
def test_a_size_that_is_none_is_one_line(run_cli, ties, tmp_path, size):
    status, _, err = run_cli("merge", ties, tmp_path / "out", "--max-shard-size", size)
    assert status == 2 and err.startswith("error: --max-shard-size") and err.count("\n") == 1


def test_workers_and_inner_loops_change_no_byte(run_cli, ties, tmp_path):
    for name, options in {
        "a": ("--workers", "1", "--backend", "torch"),
        "b": ("--workers", "3", "--backend", "cpu"),
    }.items():
        assert run_cli("merge", ties, tmp_path / name, *options)[0] == 0
    for file in ("model.safetensors", "config.json", "README.md", "mergelab_recipe.yaml"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_an_unknown_backend_or_device_is_one_line(run_cli, ties, tmp_path):
    for options in (("--backend", "gpu"), ("--device", "cuda:7")):
        status, _, err = run_cli("merge", ties, tmp_path / "out", *options)
        assert status == 2 and err.startswith("error: ") and err.count("\n") == 1


def test_pickles_are_read_only_when_asked(run_cli, tiny, tmp_path):
    pickled = tiny.copy("first", tmp_path / "pickled")
    torch.save(weights(pickled), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    recipe = tiny.recipe("linear", "second")
    recipe["models"].append({"model": str(pickled)})
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    status, _, err = run_cli("merge", tmp_path / "recipe.yaml", tmp_path / "out")
    assert status == 2 and "--allow-pickle" in err
    assert run_cli("merge", tmp_path / "recipe.yaml", tmp_path / "out", "--allow-pickle")[0] == 0
    first, second, merged = map(weights, (tiny.first, tiny.second, tmp_path / "out"))
    for name, tensor in merged.items():
        assert torch.allclose(tensor, (first[name] + second[name]) / 2, rtol=0, atol=1e-7)


def test_strangers_are_merged_only_when_asked(run_cli, tiny, tmp_path):
    stranger = save_model(llama(99), tmp_path / "stranger")
    recipe = tiny.recipe("task_arithmetic", "first", base_model=str(tiny.base))
    recipe["models"].append({"model": str(stranger)})
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    status, _, err = run_cli("merge", tmp_path / "recipe.yaml", tmp_path / "out")
    assert status == 2 and "allow_unrelated" in err and not (tmp_path / "out").exists()
    options = ("--allow-unrelated", "--json")
    status, printed, _ = run_cli("merge", tmp_path / "recipe.yaml", tmp_path / "out", *options)
    assert status == 0 and json.loads(printed)["report"]["method"] == "task_arithmetic"
