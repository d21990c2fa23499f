"""Models of real shapes: the tensors that transformers would make, and sizes as promised."""

import json

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import weights

from mergelab.zoo.shapes import LINEARS, SHAPES, Shape, main, write_models

# Parameters, by the models' cards.
PUBLISHED = {"1b": 1_235_814_400, "3b": 3_212_749_824, "8b": 8_030_261_248}


@pytest.fixture(scope="module")
def tiny_shape(tmp_path_factory):
    out = tmp_path_factory.mktemp("shapes") / "tiny"
    write_models(SHAPES["tiny"], out)
    return out


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def delta(adapter, linear):
    factors = load_file(adapter / "adapter_model.safetensors")
    a, b = (factors[f"base_model.model.{linear}.lora_{f}.weight"].double() for f in "AB")
    return 2.0 * b @ a


@pytest.mark.parametrize("name", SHAPES)
def test_the_tensors_are_those_of_transformers_own_model(name):
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(SHAPES[name].config(torch.bfloat16))
    parameters = dict(model.named_parameters())
    assert SHAPES[name].tensors() == {key: tuple(value.shape) for key, value in parameters.items()}
    if name in PUBLISHED:
        assert sum(value.numel() for value in parameters.values()) == PUBLISHED[name]


def test_transformers_loads_every_weight_as_it_was_written(tiny_shape):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, found = AutoModelForCausalLM.from_pretrained(
        tiny_shape / "base", output_loading_info=True
    )
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    written = weights(tiny_shape / "base")
    assert written["model.embed_tokens.weight"].dtype == torch.bfloat16
    for name, parameter in model.named_parameters():
        assert parameter.equal(written[name]), name
    assert len(AutoTokenizer.from_pretrained(tiny_shape / "base")) == model.config.vocab_size


def test_peft_loads_an_adapter_whose_changes_have_the_size_asked_for(tiny_shape):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = weights(tiny_shape / "base")
    model = AutoModelForCausalLM.from_pretrained(tiny_shape / "base", dtype=torch.float32)
    merged = PeftModel.from_pretrained(model, tiny_shape / "adapter_1").merge_and_unload()
    after = dict(merged.named_parameters())
    changed = [name for name, tensor in base.items() if not after[name].equal(tensor.float())]
    assert len(changed) == 2 * len(LINEARS)
    for name in changed:
        ours = delta(tiny_shape / "adapter_1", name.removesuffix(".weight"))
        torch.testing.assert_close(after[name].double(), base[name].double() + ours)
        assert float(ours.norm() / base[name].double().norm()) == pytest.approx(0.02, rel=0.3)


def test_two_adapters_change_the_weights_in_unrelated_directions(tiny_shape):
    name = "model.layers.1.mlp.down_proj"
    first, second = (delta(tiny_shape / f"adapter_{n}", name).flatten() for n in (1, 2))
    assert abs(float(first @ second / (first.norm() * second.norm()))) < 0.2


def test_weights_are_normal_numbers_of_standard_deviation_002_and_norms_are_1(tiny_shape):
    tensors = weights(tiny_shape / "base")
    embedding = tensors["model.embed_tokens.weight"].double()
    assert float(embedding.std()) == pytest.approx(0.02, rel=0.01)
    assert float(embedding.mean()) == pytest.approx(0.0, abs=3e-4)
    within_one = float((embedding.abs() < 0.02).double().mean())
    assert within_one == pytest.approx(0.6827, abs=0.01)
    assert set(tensors["model.norm.weight"].tolist()) == {1.0}


def test_one_seed_gives_the_same_bytes_and_another_one_other_weights(tiny_shape, tmp_path):
    write_models(SHAPES["tiny"], tmp_path / "again")
    assert contents(tmp_path / "again") == contents(tiny_shape)
    write_models(SHAPES["tiny"], tmp_path / "other", seed=1)
    other, first = weights(tmp_path / "other" / "base"), weights(tiny_shape / "base")
    name = "model.layers.0.mlp.up_proj.weight"
    assert not other[name].equal(first[name])


def test_a_large_model_comes_in_shards_with_an_index_that_transformers_reads(tiny_shape, tmp_path):
    from transformers import AutoModelForCausalLM

    write_models(SHAPES["tiny"], tmp_path / "sharded", adapters=0, max_shard_bytes=200_000)
    base = tmp_path / "sharded" / "base"
    shards = sorted(path.name for path in base.glob("*.safetensors"))
    assert len(shards) > 1
    index = json.loads((base / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == set(shards)
    whole = weights(tiny_shape / "base")
    for name, parameter in AutoModelForCausalLM.from_pretrained(base).named_parameters():
        assert parameter.equal(whole[name]), name


def test_the_command_takes_layers_dtypes_and_sizes(tmp_path, keep_signals):
    out = tmp_path / "models"
    arguments = ["tiny", str(out), "--layers", "1", "--adapters", "1", "--size", ".1"]
    arguments += ["--dtype", "float16", "--factor-dtype", "bfloat16"]
    assert main(arguments) == 0
    assert sorted(path.name for path in out.iterdir()) == ["adapter_1", "base"]
    tensors = weights(out / "base")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert not any(".layers.1." in name for name in tensors)
    assert {tensor.dtype for tensor in weights(out / "adapter_1").values()} == {torch.bfloat16}
    name = "model.layers.0.self_attn.q_proj"
    ratio = delta(out / "adapter_1", name).norm() / tensors[f"{name}.weight"].double().norm()
    assert float(ratio) == pytest.approx(0.1, rel=0.3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tiny", "models"], "exists already"),
        (["tiny", "new", "--layers", "0"], "a model has at least 1 layer"),
        (["tiny", "new", "--adapters", "-1"], "write 0 or more"),
    ],
)
def test_a_wrong_command_ends_with_one_line_and_status_2(
    tmp_path, monkeypatch, capsys, keep_signals, arguments, words
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_a_head_that_is_not_tied_is_a_tensor_of_its_own():
    tied = Shape(8, 1, 12, 2, 1, 4, vocabulary=16)
    untied = Shape(8, 1, 12, 2, 1, 4, vocabulary=16, tied=False)
    assert set(untied.tensors()) - set(tied.tensors()) == {"lm_head.weight"}
