"""`output: adapter`: exact where the merge adds factors up, the nearest of a rank elsewhere."""

import json

import pytest
import torch
from peft import PeftConfig
from tiny_models import peft_delta, weights

from mergelab import UserError, load_model, merge
from mergelab.checkpoints import Adapter, Checkpoint
from mergelab.report import load_report

EXACT = {
    "linear": {},
    "task_arithmetic": {"lambda": 0.7},
    "slerp": {"t": 0.3},
    "karcher": {},
    "concat": {},
    "knots_ties": {"density": 0.5},
}


def merged_both_ways(tiny, tmp_path, method, **more):
    """The change as a full model in fp32 has it, and as PEFT finds it in the adapter."""
    recipe = tiny.recipe(method, dtype="float32", **more)
    whole = {k: v for k, v in recipe.items() if k != "rank"}
    model, base = merge(whole).tensors, weights(tiny.base)
    result = merge({**recipe, "output": "adapter"}, tmp_path / "out")
    changes = {name: tensor.double() - base[name].double() for name, tensor in model.items()}
    return result, changes, peft_delta(tiny.base, tmp_path / "out")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", EXACT)
def test_sums_of_adapters_come_out_exactly(tiny, tmp_path, method):
    result, model, adapter = merged_both_ways(tiny, tmp_path, method, parameters=EXACT[method])
    for name, change in model.items():
        # the model's own rounding to fp32, on a base of about 0.1, and a few products' roundings
        assert torch.allclose(adapter[name], change, rtol=0, atol=1e-6), name
    assert all(tensor.truncation_error == 0 for tensor in result.report.tensors)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", ["ties", "dare_ties", "linear"])
def test_elsewhere_it_is_the_best_of_that_rank_and_the_error_is_told(tiny, tmp_path, method):
    parameters = {} if method == "linear" else {"density": 0.5}
    result, model, adapter = merged_both_ways(tiny, tmp_path, method, rank=3, parameters=parameters)
    told = {tensor.name: tensor.truncation_error for tensor in result.report.tensors}
    for name, change in model.items():
        if not change.any():
            assert not adapter[name].any()
            continue
        singular = torch.linalg.svdvals(change)
        best = float(singular[3:].norm() / singular.norm())
        error = float((adapter[name] - change).norm() / change.norm())
        assert error == pytest.approx(best, abs=1e-5)
        assert told[name] == pytest.approx(best, abs=1e-5)
    squares = [(t.truncation_error**2 * t.merged_square, t.merged_square) for t in
               result.report.tensors]  # fmt: skip
    total = (sum(a for a, _ in squares) / sum(b for _, b in squares)) ** 0.5
    assert load_report(tmp_path / "out").total().truncation_error == pytest.approx(total)


def test_full_models_become_an_adapter_with_norms_and_embeddings_kept_whole(tiny, tmp_path):
    recipe = tiny.recipe("task_arithmetic", "first", "second", rank=4, output="adapter")
    out = merge({**recipe, "base_model": str(tiny.base)}, tmp_path / "out").path
    adapter, base = Adapter(out), Checkpoint(tiny.base)
    changed = {n for n in base.names if adapter.task_vector(n, base) is not None}
    assert changed == set(base.names)
    first, second, origin = map(weights, (tiny.first, tiny.second, tiny.base))
    name = "model.layers.1.input_layernorm.weight"
    expected = first[name] + second[name] - origin[name]
    got = adapter.task_vector(name, base).rows(0, 1).flatten() + origin[name]
    assert torch.allclose(got, expected, rtol=0, atol=1e-7)


def test_it_loads_where_it_lies_and_names_its_base(tiny, tmp_path):
    recipe = tiny.recipe("linear", output="adapter")
    result = merge(recipe, tmp_path / "out")
    config = PeftConfig.from_pretrained(tmp_path / "out")
    assert (tmp_path / "out" / config.base_model_name_or_path / "config.json").exists()
    ours, again = result.load()[0].state_dict(), load_model(str(tmp_path / "out"))[0].state_dict()
    assert all(tensor.equal(again[name]) for name, tensor in ours.items())
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"README.md", "adapter_config.json", "tokenizer.json", "merge_report.json"} <= files
    assert "config.json" not in files and "model.safetensors" not in files


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_factors_are_stored_in_the_dtype_asked_for(tiny, tmp_path, dtype):
    merge(tiny.recipe("linear", output="adapter", dtype=dtype), tmp_path / "out")
    assert {str(t.dtype) for t in weights(tmp_path / "out").values()} == {f"torch.{dtype}"}


def test_without_a_rank_a_merge_that_has_none_is_refused_before_anything_is_written(tiny, tmp_path):
    with pytest.raises(UserError, match=r"what ties makes of these models .* write 'rank: 16'"):
        merge(tiny.recipe("ties", output="adapter"), tmp_path / "out")
    with pytest.raises(UserError, match="is written to a folder; name one"):
        merge(tiny.recipe("linear", output="adapter"))
    assert list(tmp_path.iterdir()) == []


def test_the_card_and_the_recipe_say_what_it_is(tiny, tmp_path):
    merge(tiny.recipe("linear", output="adapter"), tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "PeftModel.from_pretrained" in text
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA" and config["lora_alpha"] == config["r"]
