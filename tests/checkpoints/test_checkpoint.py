"""Full models are read lazily, in one file or in shards; what is damaged or unsafe is refused."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import edit_json, llama, save_model, weights

from mergelab.checkpoints import Checkpoint, layer_index, with_layer
from mergelab.errors import UserError

INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def sharded(tiny, tmp_path_factory):
    """The tiny base, saved by transformers in several shards."""
    folder = save_model(
        llama(0), tmp_path_factory.mktemp("sharded") / "base", max_shard_size="20KB"
    )
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    return folder


@pytest.fixture
def spoilt(sharded, tmp_path):
    return shutil.copytree(sharded, tmp_path / "model")


def test_one_file_and_shards_give_the_same_tensors(tiny, sharded):
    whole, parts = Checkpoint(tiny.base), Checkpoint(sharded)
    expected = weights(tiny.base)
    assert set(whole.names) == set(parts.names) == set(expected)
    for name, tensor in expected.items():
        assert whole.read(name).equal(tensor)
        assert parts.read(name).equal(tensor)
        assert parts.entry(name).shape == tuple(tensor.shape)
        assert name in parts
    assert parts.layers == 3
    assert parts.dtype == torch.float32
    assert "model.layers.3.mlp.up_proj.weight" not in parts


def test_the_fingerprint_is_of_the_content_and_not_of_the_files(tiny, sharded, tmp_path):
    assert Checkpoint(sharded).fingerprint == Checkpoint(tiny.base).fingerprint
    assert Checkpoint(tiny.first).fingerprint != Checkpoint(tiny.base).fingerprint
    changed = tiny.copy("base", tmp_path / "changed")
    tensors = load_file(changed / "model.safetensors")
    tensors["model.norm.weight"][7] += 1e-3
    save_file(tensors, changed / "model.safetensors")
    assert Checkpoint(changed).fingerprint != Checkpoint(tiny.base).fingerprint


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("model.layers.12.mlp.up_proj.weight", 12),
        ("transformer.h.3.attn.c_attn.bias", 3),
        ("gpt_neox.layers.0.attention.dense.weight", 0),
        ("model.embed_tokens.weight", None),
        ("lm_head.weight", None),
        ("model.norm.weight", None),
    ],
)
def test_a_tensors_layer_is_in_its_name(name, layer):
    assert layer_index(name) == layer
    if layer is not None:
        assert layer_index(with_layer(name, 7)) == 7
        assert with_layer(with_layer(name, 7), layer) == name
    else:
        assert with_layer(name, 7) == name


def test_a_missing_shard_is_named(spoilt):
    gone = sorted(spoilt.glob("model-*.safetensors"))[1]
    gone.unlink()
    with pytest.raises(UserError, match=gone.name):
        Checkpoint(spoilt)


def test_a_truncated_shard_is_named(spoilt):
    cut = sorted(spoilt.glob("model-*.safetensors"))[1]
    cut.write_bytes(cut.read_bytes()[:-100])
    with pytest.raises(UserError, match=cut.name):
        Checkpoint(spoilt)


def test_an_index_that_promises_more_than_its_shards_hold_is_named(spoilt):
    index = json.loads((spoilt / INDEX).read_text())
    index["weight_map"]["model.layers.9.x.weight"] = index["weight_map"]["model.norm.weight"]
    (spoilt / INDEX).write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"model\.layers\.9\.x\.weight"):
        Checkpoint(spoilt)


@pytest.mark.parametrize(
    "shard",
    [
        "../elsewhere.safetensors",
        "/etc/passwd",
        "a/b.safetensors",
        "..",
        ".",
        "",
        "nul\0.safetensors",
        7,
    ],
    ids=repr,
)
def test_an_index_that_points_out_of_its_folder_is_refused(spoilt, shard):
    save_file({"model.norm.weight": torch.ones(32)}, spoilt.parent / "elsewhere.safetensors")
    index = json.loads((spoilt / INDEX).read_text())
    index["weight_map"]["model.norm.weight"] = shard
    (spoilt / INDEX).write_text(json.dumps(index))
    with pytest.raises(UserError):
        Checkpoint(spoilt)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"weight_map": []}', '{"weight_map": 3}']
)
def test_an_index_that_is_none_is_named(spoilt, content):
    (spoilt / INDEX).write_text(content)
    with pytest.raises(UserError, match=r"index\.json"):
        Checkpoint(spoilt)


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 100_000, "null"])
def test_a_config_that_is_none_is_named(tiny, tmp_path, content):
    model = tiny.copy("base", tmp_path / "model")
    (model / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config\.json"):
        Checkpoint(model)


def test_pickles_are_refused_and_never_opened(tiny, tmp_path):
    model = tiny.copy("base", tmp_path / "model")
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(UserError, match="pickles"):
        Checkpoint(model)


def test_a_folder_without_weights_says_which_file_is_missing(tiny, tmp_path):
    model = tiny.copy("base", tmp_path / "model")
    (model / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"model\.safetensors"):
        Checkpoint(model)


@pytest.mark.parametrize("how", [{"quant_method": "gptq"}, {"bits": 4}, "int4"])
def test_a_quantised_model_is_refused_with_what_to_do_instead(tiny, tmp_path, how):
    model = tiny.copy("base", tmp_path / "model")
    edit_json(model / "config.json", quantization_config=how)
    with pytest.raises(
        UserError, match=r"quantised.*unquantised\+adapter.*model\.dequantize"
    ) as no:
        Checkpoint(model)
    assert ("gptq" in str(no.value)) == ("quant_method" in how)


def test_shared_embeddings_are_recognised(tiny, tmp_path):
    tied = save_model(llama(1, tied=True), tmp_path / "tied")
    assert Checkpoint(tied).is_tied
    assert not Checkpoint(tiny.base).is_tied
