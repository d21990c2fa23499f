"""A merged checkpoint is, tensor by tensor, what the methods give, and loads as any other model."""

import hashlib
import itertools
import json
from pathlib import Path

import naive
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from tiny_models import edit_json, llama, save_adapter, save_model, weights

from mergelab import merge
from mergelab.errors import UserError

TOKENS = torch.arange(3, 40).reshape(1, -1)
UP = "model.layers.1.mlp.up_proj.weight"


def logits(folder, **options):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options).eval()
    with torch.inference_mode():
        return model(TOKENS).logits


def logits_of(base, state):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64).eval()
    model.load_state_dict(state, strict=False)
    with torch.inference_mode():
        return model(TOKENS).logits


def digest(folder):
    """Every byte that a merge wrote, but for the seconds it took."""
    found = {}
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes()
        if path.name == "merge_report.json":
            report = json.loads(content)
            del report["seconds"]
            report["sources"] = sorted(report["sources"])
            content = b""
        found[path.name] = hashlib.sha256(content).hexdigest()
    return found


def expected_ties(tiny, density, weight, lam=1.0):
    """TIES by plain loops on the changes that PEFT computes, added to the base in float64."""
    state = {}
    for name, base in weights(tiny.base).items():
        deltas = [tiny.deltas[source][name].numpy().ravel() for source in ("persona", "agentic")]
        merged = naive.ties([d.tolist() for d in deltas], [density] * 2, weight, lam)
        state[name] = base.double() + torch.tensor(merged, dtype=torch.float64).reshape(base.shape)
    return state


@pytest.mark.filterwarnings("ignore")
def test_a_linear_merge_talks_like_the_weights_added_by_hand(tiny, tmp_path):
    merge(tiny.recipe("linear"), tmp_path / "out")
    state = {
        name: base.double() + (tiny.deltas["persona"][name] + tiny.deltas["agentic"][name]) / 2
        for name, base in weights(tiny.base).items()
    }
    assert torch.allclose(logits(tmp_path / "out").double(), logits_of(tiny.base, state), atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_one_adapter_merged_alone_talks_like_peft(tiny, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny.base)
    with torch.inference_mode():
        expected = PeftModel.from_pretrained(base, tiny.persona).eval()(TOKENS).logits
    merge(tiny.recipe("task_arithmetic", "persona"), tmp_path / "out")
    assert torch.allclose(logits(tmp_path / "out"), expected, atol=1e-5)


def test_a_ties_merge_is_plain_ties_on_the_changes_peft_computes(tiny, tmp_path):
    parameters = {"density": 0.3, "lambda": 0.9}
    recipe = tiny.recipe("ties", parameters=parameters)
    recipe["models"][0]["parameters"] = {"weight": 0.7}
    merge(recipe, tmp_path / "out")
    expected = expected_ties(tiny, 0.3, [0.7, 1.0], 0.9)
    got = weights(tmp_path / "out")
    assert set(got) == set(expected)
    for name, tensor in expected.items():
        # The float32 product may rank two entries nearly on the threshold the other way round.
        apart = ~torch.isclose(got[name].double(), tensor, rtol=0, atol=2e-7)
        assert int(apart.sum()) <= 1, name


@pytest.mark.parametrize("names", [("persona", "agentic"), ("first", "second")], ids=str)
@pytest.mark.parametrize("method", ["task_arithmetic", "ties", "dare_linear", "dare_ties", "slerp"])
def test_adapters_and_full_models_take_one_way_through_a_merge(tiny, tmp_path, method, names):
    """Adapters, the full models they make, and either in memory: the same up to rounding."""
    parameters = {} if method == "slerp" else {"weight": 0.5}
    recipe = tiny.recipe(method, *names, base_model=str(tiny.base), parameters=parameters)
    merge(recipe, tmp_path / "out")
    in_memory = merge(recipe).tensors
    written = weights(tmp_path / "out")
    assert set(in_memory) == set(written)
    assert all(tensor.equal(written[name]) for name, tensor in in_memory.items())


@pytest.mark.parametrize("method", ["linear", "ties", "dare_linear", "dare_ties"])
def test_the_order_of_the_models_changes_no_byte(tiny, tmp_path, method):
    save_adapter(tiny.base, tmp_path / "third", 11, r=3)
    models = [
        {"model": str(tiny.persona), "parameters": {"weight": 0.3}},
        {"model": str(tiny.agentic), "parameters": {"weight": 0.9}},
        {"model": str(tmp_path / "third"), "parameters": {"weight": 0.6}},
    ]
    parameters = {} if method == "linear" else {"density": 0.4}
    found = set()
    for i, order in enumerate(itertools.permutations(models)):
        out = tmp_path / f"out{i}"
        merge(
            {"merge_method": method, "models": list(order), "parameters": parameters}, out, seed=3
        )
        found.add((out / "model.safetensors").read_bytes())
    assert len(found) == 1


def test_copies_of_one_adapter_with_different_weights_may_swap_places(tiny, tmp_path):
    one = tiny.copy("persona", tmp_path / "one")
    two = tiny.copy("persona", tmp_path / "two")
    models = [
        {"model": str(one), "parameters": {"weight": 0.3}},
        {"model": str(two), "parameters": {"weight": 0.9}},
    ]
    recipe = {"merge_method": "dare_linear", "parameters": {"density": 0.5}}
    there = merge({**recipe, "models": models}).tensors
    back = merge({**recipe, "models": models[::-1]}).tensors
    assert all(tensor.equal(back[name]) for name, tensor in there.items())
    # and each copy draws its own numbers: some entries keep one of the two only
    change = (there[UP] - weights(tiny.base)[UP]) / tiny.deltas["persona"][UP]
    factors = {round(float(x), 2) for x in change.flatten()}
    assert {0.0, 0.6, 1.8, 2.4} <= factors


def test_where_the_adapters_lie_and_what_they_are_called_changes_no_byte(tiny, tmp_path):
    recipe = tiny.recipe("dare_ties", parameters={"density": 0.5})
    moved = tiny.copy("persona", tmp_path / "elsewhere" / "renamed")
    elsewhere = {**recipe, "models": [{"model": str(moved)}, recipe["models"][1]]}
    first, second = merge(recipe, seed=1).tensors, merge(elsewhere, seed=1).tensors
    assert all(tensor.equal(second[name]) for name, tensor in first.items())


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties"])
def test_a_seed_repeats_every_byte_and_another_one_does_not(tiny, tmp_path, method):
    recipe = tiny.recipe(method, parameters={"density": 0.5})
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        merge(recipe, tmp_path / name, seed=seed)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert not weights(tmp_path / "a")[UP].equal(weights(tmp_path / "c")[UP])


def test_the_drops_of_each_tensor_and_each_source_are_its_own(tiny):
    recipe = tiny.recipe("dare_linear", "persona", parameters={"density": 0.5})
    got, base = merge(recipe).tensors, weights(tiny.base)
    masks = [
        (got[name] != base[name]).flatten()
        for name in (UP, UP.replace("up_proj", "gate_proj"), UP.replace(".1.", ".2."))
    ]
    for one, other in itertools.combinations(masks, 2):
        # of 1536 entries half agree by chance; 4.5 standard deviations are 88
        assert abs(int((one == other).sum()) - 768) < 88


def test_tensors_that_nobody_changes_are_copied_byte_for_byte(tiny, tmp_path):
    result = merge(tiny.recipe("ties"), tmp_path / "out")
    base, got = weights(tiny.base), weights(tmp_path / "out")
    untouched = [name for name in base if not name.endswith("_proj.weight")]
    assert untouched
    assert all(got[name].equal(base[name]) for name in untouched)
    assert result.report.copied == len(untouched)


# Dtypes


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("where", ["option", "recipe", "out_dtype"])
def test_the_output_has_the_dtype_asked_for_rounded_once(tiny, tmp_path, dtype, where):
    recipe, wanted = tiny.recipe("linear"), getattr(torch, dtype)
    exact = merge(recipe).tensors
    if where == "option":
        merge(recipe, tmp_path / "out", dtype=dtype)
    elif where == "recipe":
        merge({**recipe, "dtype": dtype}, tmp_path / "out")
    else:
        merge({**recipe, "dtype": "float32", "out_dtype": dtype}, tmp_path / "out")
    for name, tensor in weights(tmp_path / "out").items():
        assert tensor.dtype == wanted
        assert tensor.equal(exact[name].to(wanted))
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == dtype


def test_a_half_precision_base_is_added_to_in_float32_and_rounded_once(tiny, tmp_path):
    base = save_model(llama(0).bfloat16(), tmp_path / "base")
    recipe = {**tiny.recipe("task_arithmetic", "persona"), "base_model": str(base)}
    recipe["models"] = [{"model": f"{base}+{tiny.persona}"}]
    got, origin = merge(recipe).tensors, weights(base)
    for name, delta in tiny.deltas["persona"].items():
        exact = origin[name].double() + delta
        # half a unit in the last of 8 bits, and a hair for the fp32 arithmetic before the rounding
        error = (got[name].double() - exact).abs()
        assert bool((error <= exact.abs() * 2**-8 + 1e-7).all()), name


def test_values_too_large_for_float16_are_refused(tiny, tmp_path):
    base = tiny.copy("base", tmp_path / "base")
    tensors = load_file(base / "model.safetensors")
    tensors["model.norm.weight"][3] = 1e5
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    recipe = {"merge_method": "linear", "models": [{"model": str(base)}], "dtype": "float16"}
    with pytest.raises(UserError, match=r"model\.norm\.weight.*float16.*bfloat16"):
        merge(recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_weights_that_overflow_are_refused_in_every_dtype(tiny, tmp_path, dtype):
    recipe = tiny.recipe("task_arithmetic", parameters={"weight": 1e300}, dtype=dtype)
    with pytest.raises(UserError, match=f"values do not fit {dtype}; use smaller weights"):
        merge(recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Sources that cannot be merged


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", ["base", "base, a tensor nobody changes", "adapter", "model"])
def test_nan_or_infinity_in_a_source_is_named_with_its_tensor(tiny, tmp_path, bad, place):
    kind = place.split(",")[0]
    folder = tiny.copy({"adapter": "persona", "model": "first"}.get(kind, "base"), tmp_path / "bad")
    file = next(folder.glob("*.safetensors"))
    tensors = load_file(file)
    name = "model.norm.weight" if "nobody" in place else UP
    stored = f"base_model.model.{UP.replace('.weight', '.lora_B.weight')}"
    tensors[stored if kind == "adapter" else name].view(-1)[17] = bad
    save_file(tensors, file, metadata={"format": "pt"})
    recipe = tiny.recipe("ties", parameters={"density": 0.5})
    if kind == "base":
        recipe["models"] = [{"model": f"{folder}+{tiny.persona}"}]
    else:
        recipe["models"][0] = {"model": str(folder)}
        recipe["base_model"] = str(tiny.base)
    with pytest.raises(UserError, match="NaN or infinity") as refused:
        merge(recipe, tmp_path / "out")
    assert "bad" in str(refused.value)
    assert name in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["bad"]


# Shapes of input and output


def test_shards_in_give_the_same_output_as_one_file(tiny, tmp_path):
    base = save_model(llama(0), tmp_path / "base", max_shard_size="15KB")
    assert (base / "model.safetensors.index.json").exists()
    for adapter in ("persona", "agentic"):
        edit_json(
            tiny.copy(adapter, tmp_path / adapter) / "adapter_config.json",
            base_model_name_or_path=str(base),
        )
    recipe = tiny.recipe("dare_ties", parameters={"density": 0.5})
    sharded = {**recipe, "models": [{"model": str(tmp_path / n)} for n in ("persona", "agentic")]}
    one, many = merge(recipe).tensors, merge(sharded).tensors
    assert all(tensor.equal(many[name]) for name, tensor in one.items())


@pytest.mark.filterwarnings("ignore")
def test_a_base_that_shares_embeddings_and_head_stays_so(tiny, tmp_path):
    from transformers import AutoModelForCausalLM

    base = save_model(llama(0, tied=True), tmp_path / "base")
    adapters = [save_adapter(base, tmp_path / f"a{i}", i) for i in (1, 2)]
    merge(
        {"merge_method": "ties", "models": [{"model": str(a)} for a in adapters]}, tmp_path / "out"
    )
    assert set(weights(tmp_path / "out")) == set(weights(base))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert merge({"merge_method": "linear", "models": [{"model": str(adapters[0])}]}).load()


@pytest.mark.filterwarnings("ignore")
def test_the_merged_model_loads_from_memory_and_from_disk_with_its_tokenizer(tiny, tmp_path):
    recipe = tiny.recipe("linear")
    (memory, tokenizer), (disk, _) = merge(recipe).load(), merge(recipe, tmp_path / "out").load()
    with torch.inference_mode():
        assert memory(TOKENS).logits.equal(disk(TOKENS).logits)
        assert disk(TOKENS).logits.equal(logits(tmp_path / "out"))
    assert len(tokenizer) == 96


# What lies beside the weights


def test_config_tokenizer_template_and_recipe_come_with_the_weights(tiny, tmp_path):
    from transformers import AutoTokenizer

    recipe = tiny.recipe("ties", parameters={"density": [0.3, 0.7]}, dtype="bfloat16")
    merge(recipe, tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    original = AutoTokenizer.from_pretrained(tiny.base)
    messages = [{"role": "user", "content": "w1 w2"}]
    assert tokenizer.apply_chat_template(messages, tokenize=False) == original.apply_chat_template(
        messages, tokenize=False
    )
    again = yaml.safe_load((tmp_path / "out" / "mergelab_recipe.yaml").read_text())
    merge(again, tmp_path / "again")
    assert digest(tmp_path / "out") == digest(tmp_path / "again")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["dtype"] == "bfloat16"
    assert config["num_hidden_layers"] == 3


def test_a_template_in_the_recipe_replaces_the_tokenizers(tiny, tmp_path):
    from transformers import AutoTokenizer

    template = "{% for m in messages %}[{{ m['content'] }}]{% endfor %}"
    merge(tiny.recipe("linear", chat_template=template), tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert (
        tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "[hi]"
    )


def test_the_tokenizer_comes_from_where_tokenizer_source_says(tiny, tmp_path):
    other = tiny.copy("first", tmp_path / "other")
    edit_json(other / "tokenizer_config.json", model_max_length=77)
    merge(tiny.recipe("linear", tokenizer_source=str(other)), tmp_path / "out")
    assert (
        json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())["model_max_length"]
        == 77
    )


def test_nothing_is_written_into_the_sources(tiny, tmp_path):
    def state():
        return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in tiny.root.rglob("*")}

    before = state()
    merge(tiny.recipe("dare_ties", parameters={"density": 0.5}), tmp_path / "out")
    assert state() == before


def test_a_recipe_may_be_a_path_text_or_plain_data(tiny, tmp_path):
    recipe = tiny.recipe("linear")
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    results = [merge(form).tensors for form in (recipe, path, str(path))]
    assert all(t.equal(results[0][n]) for other in results[1:] for n, t in other.items())


def test_relative_paths_are_read_from_the_recipes_folder(tiny, tmp_path, monkeypatch):
    for name in ("base", "persona"):
        tiny.copy(name, tmp_path / "models" / name)
    recipe = {"merge_method": "linear", "models": [{"model": "./models/persona"}]}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"base_model": "models/base"}))
    monkeypatch.chdir("/")
    assert merge(tmp_path / "recipe.yaml").report.sources == ["persona"]


def test_an_unknown_device_is_one_line(tiny):
    for device in ("cuda:99", "gpu", "meta"):
        with pytest.raises(UserError, match=f"device '{device}'"):
            merge(tiny.recipe("linear"), device=device)


def test_progress_counts_every_tensor(tiny):
    calls = []
    merge(tiny.recipe("linear"), progress=lambda *call: calls.append(call))
    total = len(weights(tiny.base))
    assert [done for done, _, _ in calls] == list(range(total + 1))
    assert {count for _, count, _ in calls} == {total}
    assert {name for _, _, name in calls} == {*weights(tiny.base), ""}


def test_slerp_of_weights_is_on_the_arc_between_the_weights(tiny):
    recipe = tiny.recipe("slerp", "first", "second", parameters={"t": 0.3, "space": "weights"})
    got = merge({**recipe, "base_model": str(tiny.base)}).tensors
    first, second = weights(tiny.first), weights(tiny.second)
    for name in (UP, "model.norm.weight", "lm_head.weight"):
        expected = naive.slerp(first[name].numpy(), second[name].numpy(), 0.3)
        assert got[name].numpy() == pytest.approx(expected, abs=1e-6)


def test_slerp_of_task_vectors_is_on_the_arc_between_the_changes(tiny):
    recipe = tiny.recipe("slerp", "first", "second", parameters={"t": 0.3})
    got = merge({**recipe, "base_model": str(tiny.base)}).tensors
    base, first, second = (weights(path) for path in (tiny.base, tiny.first, tiny.second))
    for name in (UP, "model.norm.weight", "lm_head.weight"):
        changes = [
            (tuned[name].double() - base[name].double()).numpy() for tuned in (first, second)
        ]
        expected = base[name].double().numpy() + naive.slerp(*changes, 0.3)
        assert got[name].numpy() == pytest.approx(expected, abs=1e-6)


def test_integer_tensors_are_copied(tiny, tmp_path):
    folders = []
    for name in ("base", "first"):
        folder = tiny.copy(name, tmp_path / name)
        tensors = load_file(folder / "model.safetensors")
        tensors["model.position_ids"] = torch.arange(64)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        folders.append(str(folder))
    base, first = folders
    for recipe in (
        {"merge_method": "ties", "models": [{"model": first}], "base_model": base},
        {"merge_method": "linear", "models": [{"model": first, "weight": 0.3}, {"model": base}]},
    ):
        got = merge({**recipe, "dtype": "bfloat16"}).tensors["model.position_ids"]
        assert got.dtype == torch.int64
        assert got.equal(torch.arange(64))


def test_the_shipped_recipes_run_on_the_shipped_models(tmp_path):
    from mergelab import data_path

    recipes = sorted(Path(data_path("recipes")).glob("*.yaml"))
    assert len(recipes) >= 6
    for recipe in recipes:
        report = merge(recipe).report
        assert report.tensors
        assert np.isfinite(report.total().magnitude_kept)
