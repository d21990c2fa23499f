"""Layers stacked from slices: as mergekit's passthrough stacks them, and with adapters too."""

import json

import pytest
import torch
import yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
from tiny_models import edit_json, llama, save_adapter, save_model, weights

from mergelab import merge
from mergelab.errors import UserError
from mergelab.recipes import make_plan, parse_recipe


def piece(root, name, low, high, **more):
    return {"sources": [{"model": str(root / name), "layer_range": [low, high], **more}]}


def stack(*slices, **more):
    return {"merge_method": "passthrough", "slices": list(slices), "dtype": "float32", **more}


def by_mergekit(recipe, out):
    options = MergeOptions(quiet=True, write_model_card=False, copy_tokenizer=False)
    run_merge(MergeConfiguration.model_validate(recipe), str(out), options)
    return out


NOTHING_ADDED = [
    {"filter": "o_proj", "value": 0.0},
    {"filter": "down_proj", "value": 0.0},
    {"value": 1.0},
]
LAYERS_ONLY = [{"filter": "layers", "value": [0.5, 1.5]}]


def stacks(root):
    """The stacks that both programs make; a list's value outside the layers differs by design."""
    return {
        "two models": stack(piece(root, "first", 0, 2), piece(root, "second", 1, 3)),
        "repeated layers": stack(*(piece(root, "base", i, i + 2) for i in (0, 0, 1))),
        "every other layer": stack(piece(root, "first", 0, 1), piece(root, "first", 2, 3)),
        "scaled": stack(piece(root, "first", 0, 3), parameters={"scale": 0.5}),
        "scaled by slice": stack(
            piece(root, "first", 0, 2, parameters={"scale": 0.7}),
            {**piece(root, "second", 1, 3), "parameters": {"scale": 1.25}},
        ),
        "scaled by a list": stack(piece(root, "first", 0, 3), parameters={"scale": LAYERS_ONLY}),
        "a repeated block that adds nothing": stack(
            piece(root, "first", 0, 2),
            piece(root, "first", 1, 2, parameters={"scale": NOTHING_ADDED}),
            piece(root, "first", 2, 3),
        ),
        "base_model named": stack(
            piece(root, "first", 0, 2), piece(root, "second", 0, 3), base_model=str(root / "base")
        ),
    }


@pytest.mark.parametrize(
    "case",
    [
        "two models", "repeated layers", "every other layer", "scaled", "scaled by slice",
        "scaled by a list", "a repeated block that adds nothing", "base_model named",
    ],
)  # fmt: skip
def test_a_stack_is_the_one_that_mergekit_makes(tiny, tmp_path, case):
    recipe = stacks(tiny.root)[case]
    theirs = by_mergekit(recipe, tmp_path / "theirs")
    merge(recipe, tmp_path / "ours")
    ours, expected = weights(tmp_path / "ours"), weights(theirs)
    assert set(ours) == set(expected)
    for name, tensor in expected.items():
        assert torch.allclose(ours[name], tensor, rtol=0, atol=1e-7), name
    counts = [
        json.loads((folder / "config.json").read_text())["num_hidden_layers"]
        for folder in (tmp_path / "ours", theirs)
    ]
    assert counts[0] == counts[1]


def test_unscaled_layers_are_the_stored_bytes(tiny, tmp_path):
    model = llama(3).to(torch.bfloat16)
    save_model(model, tmp_path / "model")
    merge(
        {
            "merge_method": "passthrough",
            "slices": [piece(tmp_path, "model", 0, 2), piece(tmp_path, "model", 1, 3)],
        },
        tmp_path / "out",
    )
    got, stored = weights(tmp_path / "out"), weights(tmp_path / "model")
    origin = (0, 1, 1, 2)
    for layer, its in enumerate(origin):
        for part in ("mlp.up_proj", "self_attn.o_proj", "input_layernorm"):
            tensor = got[f"model.layers.{layer}.{part}.weight"]
            assert tensor.equal(stored[f"model.layers.{its}.{part}.weight"])
            assert tensor.dtype == torch.bfloat16


def test_layers_with_an_adapter_are_the_base_and_its_change(tiny, tmp_path):
    merge(
        stack(piece(tiny.root, "persona", 0, 2), piece(tiny.root, "base", 1, 3)), tmp_path / "out"
    )
    got, base = weights(tmp_path / "out"), weights(tiny.base)
    for layer, (its, adapted) in enumerate(((0, True), (1, True), (1, False), (2, False))):
        name = f"model.layers.{its}.mlp.up_proj.weight"
        expected = base[name].double() + adapted * tiny.deltas["persona"][name]
        tensor = got[f"model.layers.{layer}.mlp.up_proj.weight"].double()
        assert torch.allclose(tensor, expected, rtol=0, atol=1e-6)


def test_adapters_of_two_bases_may_stand_in_one_stack(tiny, tmp_path):
    deep = save_model(llama(5, layers=5), tmp_path / "deep")
    save_adapter(deep, tmp_path / "on deep", 6)
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(deep)
    whole = PeftModel.from_pretrained(model, tmp_path / "on deep").merge_and_unload()
    expected = whole.state_dict()
    merge(
        stack(piece(tiny.root, "persona", 0, 3), piece(tmp_path, "on deep", 3, 5)),
        tmp_path / "out",
    )
    got = weights(tmp_path / "out")
    for part in ("mlp.up_proj", "self_attn.q_proj"):
        name = f"model.layers.4.{part}.weight"
        assert torch.allclose(got[name], expected[name], rtol=0, atol=1e-6)
        assert torch.allclose(
            got[f"model.layers.2.{part}.weight"].double(),
            weights(tiny.base)[f"model.layers.2.{part}.weight"].double()
            + tiny.deltas["persona"][f"model.layers.2.{part}.weight"],
            rtol=0,
            atol=1e-6,
        )


def test_lists_with_an_entry_for_each_layer_follow_the_layers(tiny, tmp_path):
    kinds = {"first": ["a0", "a1", "a2"], "second": ["b0", "b1", "b2"]}
    for name, listed in kinds.items():
        folder = tiny.copy(name, tmp_path / name)
        edit_json(folder / "config.json", layer_types=listed, eos_token_id=[2, 3, 4])
    recipe = stack(piece(tmp_path, "first", 1, 3), piece(tmp_path, "second", 0, 2))
    config = make_plan(parse_recipe(recipe)).config
    assert config["layer_types"] == ["a1", "a2", "b0", "b1"]
    assert config["num_hidden_layers"] == 4
    assert config["eos_token_id"] == [2, 3, 4]


def test_a_model_without_such_a_list_is_refused(tiny, tmp_path):
    folder = tiny.copy("first", tmp_path / "first")
    edit_json(folder / "config.json", layer_types=["x"] * 3)
    recipe = stack(piece(tmp_path, "first", 0, 2), piece(tiny.root, "second", 0, 2))
    with pytest.raises(UserError, match=r"second: its config\.json has no layer_types for layer 0"):
        make_plan(parse_recipe(recipe))


@pytest.mark.filterwarnings("ignore")
def test_a_stack_loads_and_computes_what_its_layers_compute(tiny, tmp_path):
    from transformers import AutoModelForCausalLM

    merge(stack(*(piece(tiny.root, "base", i, i + 1) for i in (0, 1, 1, 2))), tmp_path / "out")
    stacked = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    base = AutoModelForCausalLM.from_pretrained(tiny.base).eval()
    layers = base.model.layers
    base.model.layers = torch.nn.ModuleList([layers[0], layers[1], layers[1], layers[2]])
    base.config.num_hidden_layers = 4
    ids = torch.arange(3, 20).reshape(1, -1)
    with torch.inference_mode():
        expected = base(ids, use_cache=False).logits
        assert torch.allclose(stacked(ids, use_cache=False).logits, expected, atol=1e-5)


def test_two_models_in_one_slice_are_refused(tiny):
    both = [{"model": str(tiny.root / name), "layer_range": [0, 3]} for name in ("first", "second")]
    with pytest.raises(UserError, match=r"slices\[0\]: passthrough merges exactly 1 model, got 2"):
        make_plan(parse_recipe(stack({"sources": both})))


def test_a_stack_as_people_write_it_runs_from_the_command_line(tiny, tmp_path, run_cli):
    recipe = stack(piece(tiny.root, "first", 0, 2), piece(tiny.root, "persona", 1, 3))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    status, stdout, stderr = run_cli("merge", tmp_path / "recipe.yaml", tmp_path / "out")
    assert (status, stderr) == (0, "")
    assert "passthrough of first, persona" in stdout
