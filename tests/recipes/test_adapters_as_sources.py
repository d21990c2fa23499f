"""What people write when they merge adapters: each form runs, or says in one line what to write.

Each row is a recipe on which other tools fail, go wrong in silence, or fill the disk.
"""

import shutil

import numpy as np
import pytest
import torch
import yaml
from tiny_models import edit_json, llama, save_adapter, save_model, tuned, weights

LAYER = {"layer_range": [0, 3]}


@pytest.fixture
def merge_cli(run_cli, tmp_path):
    """`mergelab merge` on a recipe written to disk; gives status, stderr and the output folder."""

    def run(recipe, *options):
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        out = tmp_path / "out"
        status, _, stderr = run_cli("merge", tmp_path / "recipe.yaml", out, *options)
        return status, stderr, out

    return run


def same_as(out, expected):
    got = weights(out)
    assert set(got) == set(expected)
    for name, tensor in expected.items():
        assert torch.allclose(got[name].double(), tensor, atol=2e-6), name


def linear_reference(tiny, *names, base="base"):
    origin = {name: tensor.double() for name, tensor in weights(tiny.root / base).items()}
    share = 1 / len(names)
    return {
        name: tensor + share * sum(tiny.deltas[adapter][name] for adapter in names)
        for name, tensor in origin.items()
    }


def entry(tiny, name, **more):
    return {"model": str(tiny.root / name), **more}


def forms(tiny):
    """Each recipe that other tools refuse and that runs here, all meaning the same merge."""
    persona, agentic = entry(tiny, "persona"), entry(tiny, "agentic")
    plus = [{"model": f"{tiny.base}+{tiny.root / name}"} for name in ("persona", "agentic")]
    base = str(tiny.base)
    return {
        "bare adapters": {"models": [persona, agentic]},
        "bare adapters and their base": {"models": [persona, agentic], "base_model": base},
        "base+adapter": {"models": plus},
        "base+adapter and the base": {"models": plus, "base_model": base},
        "slices, base not listed": {
            "slices": [{"sources": [{**persona, **LAYER}, {**agentic, **LAYER}]}],
            "base_model": base,
        },
        "slices without layer_range": {
            "slices": [{"sources": [persona, agentic]}],
            "base_model": base,
        },
        "several slices": {
            "slices": [
                {"sources": [{**source, "layer_range": ends} for source in (persona, agentic)]}
                for ends in ([0, 1], [1, 3])
            ],
        },
        "weight directly under a source": {
            "models": [{**persona, "weight": 0.5}, {**agentic, "weight": 0.5}],
        },
    }


FORMS = [
    "bare adapters",
    "bare adapters and their base",
    "base+adapter",
    "base+adapter and the base",
    "slices, base not listed",
    "slices without layer_range",
    "several slices",
    "weight directly under a source",
]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_runs_and_gives_the_same_linear_merge(tiny, merge_cli, form):
    status, stderr, out = merge_cli({"merge_method": "linear", **forms(tiny)[form]})
    assert (status, stderr) == (0, "")
    same_as(out, linear_reference(tiny, "persona", "agentic"))


@pytest.mark.parametrize("method", ["ties", "task_arithmetic", "dare_ties", "dare_linear", "slerp"])
@pytest.mark.parametrize("form", FORMS[:-1])
def test_every_form_runs_with_every_method_and_gives_one_result(tiny, merge_cli, method, form):
    reference = merge_cli({"merge_method": method, **forms(tiny)["bare adapters"]})[2]
    expected = {name: tensor.double() for name, tensor in weights(reference).items()}
    reference.rename(reference.with_name("reference"))
    status, stderr, out = merge_cli({"merge_method": method, **forms(tiny)[form]})
    assert (status, stderr) == (0, "")
    same_as(out, expected)


def test_the_base_may_be_listed_among_the_models_and_counts_as_no_change(tiny, merge_cli):
    names = ("base", "persona", "agentic")
    recipe = {"models": [entry(tiny, name) for name in names], "base_model": str(tiny.base)}
    status, _, out = merge_cli({"merge_method": "ties", **recipe})
    assert status == 0
    with_base = weights(out)
    out.rename(out.with_name("first"))
    merge_cli({"merge_method": "ties", **forms(tiny)["bare adapters"]})
    assert all(tensor.equal(with_base[name]) for name, tensor in weights(out).items())


def test_in_a_linear_merge_a_listed_base_takes_its_share(tiny, merge_cli):
    models = [entry(tiny, "base", weight=3.0), entry(tiny, "persona", weight=1.0)]
    status, _, out = merge_cli({"merge_method": "linear", "models": models})
    assert status == 0
    base = weights(tiny.base)
    same_as(out, {n: t.double() + tiny.deltas["persona"][n] / 4 for n, t in base.items()})


def test_slerp_of_two_adapters_and_their_base_joins_the_task_vectors(tiny, merge_cli):
    recipe = {"merge_method": "slerp", **forms(tiny)["bare adapters and their base"]}
    status, _, out = merge_cli({**recipe, "parameters": {"t": 0.5}})
    assert status == 0
    name = "model.layers.1.mlp.up_proj.weight"
    one, two = tiny.deltas["persona"][name].numpy(), tiny.deltas["agentic"][name].numpy()
    cosine = (one * two).sum() / np.sqrt((one**2).sum() * (two**2).sum())
    factor = np.sin(np.arccos(cosine) / 2) / np.sin(np.arccos(cosine))
    expected = weights(tiny.base)[name].double().numpy() + factor * (one + two)
    assert weights(out)[name].double().numpy() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("end", ["first", "second"])
def test_slerp_as_mergekit_writes_it_starts_from_base_model(tiny, merge_cli, end):
    other = {"first": "second", "second": "first"}[end]
    models = [entry(tiny, "first"), entry(tiny, "second")]
    recipe = {"merge_method": "slerp", "models": models, "base_model": str(tiny.root / end)}
    status, _, out = merge_cli({**recipe, "parameters": {"t": 0.0}})
    assert status == 0
    assert all(t.equal(weights(tiny.root / end)[n]) for n, t in weights(out).items())
    out.rename(out.with_name("at 0"))
    merge_cli({**recipe, "parameters": {"t": 1.0}})
    assert all(t.equal(weights(tiny.root / other)[n]) for n, t in weights(out).items())


def test_parts_of_layers_are_taken_from_where_layer_range_says(tiny, merge_cli):
    slices = [
        {"sources": [{"model": str(tiny.first), "layer_range": [2, 3]}]},
        {"sources": [{"model": str(tiny.second), "layer_range": [0, 2]}]},
        {"sources": [{"model": str(tiny.first), "layer_range": [1, 2]}]},
    ]
    status, _, out = merge_cli({"merge_method": "linear", "slices": slices})
    assert status == 0
    got, first, second = weights(out), weights(tiny.first), weights(tiny.second)
    origin = [(first, 2), (second, 0), (second, 1), (first, 1)]
    for layer, (model, its) in enumerate(origin):
        for part in ("mlp.up_proj", "self_attn.q_proj", "input_layernorm"):
            name = f"model.layers.{layer}.{part}.weight"
            assert got[name].equal(model[f"model.layers.{its}.{part}.weight"])
    assert max(int(n.split(".")[2]) for n in got if ".layers." in n) == 3


def test_layers_may_come_from_models_of_different_depth(tiny, merge_cli, tmp_path):
    deep = save_model(llama(5, layers=4), tmp_path / "deep")
    slices = [
        {"sources": [{"model": str(tiny.first), "layer_range": [0, 3]}]},
        {"sources": [{"model": str(deep), "layer_range": [2, 4]}]},
    ]
    status, _, out = merge_cli({"merge_method": "linear", "slices": slices})
    assert status == 0
    name = "model.layers.{}.mlp.up_proj.weight"
    assert weights(out)[name.format(4)].equal(weights(deep)[name.format(3)])
    assert weights(out)[name.format(2)].equal(weights(tiny.first)[name.format(2)])


@pytest.mark.filterwarnings("ignore")
def test_stacked_layers_load_in_transformers(tiny, merge_cli):
    from transformers import AutoModelForCausalLM

    slices = [
        {"sources": [{"model": str(tiny.first), "layer_range": [0, 3]}]},
        {"sources": [{"model": str(tiny.second), "layer_range": [1, 3]}]},
    ]
    status, _, out = merge_cli({"merge_method": "linear", "slices": slices})
    assert status == 0
    model = AutoModelForCausalLM.from_pretrained(out).eval()
    assert len(model.model.layers) == 5
    with torch.inference_mode():
        assert bool(torch.isfinite(model(torch.arange(3, 20).reshape(1, -1)).logits).all())


# Bad input: one line, exit status 2, nothing written


def bad_forms(tiny, tmp_path):
    persona, agentic = entry(tiny, "persona"), entry(tiny, "agentic")
    base, first, second = str(tiny.base), entry(tiny, "first"), entry(tiny, "second")
    two = {"models": [persona, agentic]}
    model = tuned(llama(0), 9)

    def other(name, **changes):
        path = tmp_path / "made" / name
        if not path.exists():
            save_model(llama(5, **changes), path)
        return {"model": str(path)}

    small = other("small vocabulary", vocab_size=80)
    wide = other("other width", intermediate_size=64)
    deep = other("more layers", layers=4)
    liar = {"model": str(shutil.copytree(wide["model"], tmp_path / "made" / "liar"))}
    edit_json(tmp_path / "made" / "liar" / "config.json", intermediate_size=48)
    shallow = {"model": str(tiny.copy("first", tmp_path / "made" / "shallow"))}
    edit_json(tmp_path / "made" / "shallow" / "config.json", num_hidden_layers=4)
    mute = {
        "model": str(
            save_model(llama(5, vocab_size=80), tmp_path / "made" / "mute", tokenizer=False)
        )
    }
    cut = tiny.copy("first", tmp_path / "made" / "cut")
    weights_file = cut / "model.safetensors"
    weights_file.write_bytes(weights_file.read_bytes()[:-1000])
    cut_adapter = tiny.copy("persona", tmp_path / "made" / "cut_adapter")
    factors = cut_adapter / "adapter_model.safetensors"
    factors.write_bytes(factors.read_bytes()[:-8])
    gone = tiny.copy("persona", tmp_path / "made" / "gone")
    edit_json(gone / "adapter_config.json", base_model_name_or_path="./gone")
    elsewhere = save_model(model, tmp_path / "made" / "other_base")
    stranger = {"model": str(save_adapter(elsewhere, tmp_path / "made" / "stranger", 8))}
    architecture = tiny.copy("first", tmp_path / "made" / "architecture")
    edit_json(architecture / "config.json", model_type="mistral")
    empty = tmp_path / "made" / "empty"
    empty.mkdir()
    long = {"layer_range": [0, 32]}
    return {
        "misspelt parameter": (
            {"merge_method": "ties", **two, "parameters": {"densty": 0.5}},
            ["unknown parameter 'densty'", "did you mean 'density'?"],
        ),
        "misspelt key": (
            {"merge_method": "ties", **two, "densty": 0.5},
            ["unknown key 'densty'", "did you mean 'density'?"],
        ),
        "British spelling": (
            {"merge_method": "linear", **two, "normalise": False},
            ["unknown key 'normalise'", "'normalize'"],
        ),
        "missing model": (
            {"merge_method": "ties", "models": [persona, {"model": "./nowhere"}]},
            ["'./nowhere'", "no such folder"],
        ),
        "missing base": (
            {"merge_method": "ties", **two, "base_model": "./nowhere"},
            ["'./nowhere'", "no such folder"],
        ),
        "folder without a model": (
            {"merge_method": "ties", "models": [persona, {"model": str(empty)}]},
            ["empty", "neither a model"],
        ),
        "density 1.2": (
            {"merge_method": "ties", **two, "parameters": {"density": 1.2}},
            ["parameters.density", "between 0 and 1", "1.2"],
        ),
        "slerp of three": (
            {"merge_method": "slerp", "models": [persona, agentic, first]},
            ["slerp merges exactly 2 models, got 3", "use linear, ties or dare_ties"],
        ),
        "slerp of one": (
            {"merge_method": "slerp", "models": [persona]},
            ["slerp merges exactly 2 models, got 1"],
        ),
        "one model twice": (
            {"merge_method": "ties", "models": [persona, persona]},
            ["listed twice"],
        ),
        "only the base": (
            {"merge_method": "ties", "models": [{"model": base}], "base_model": base},
            ["the only model listed is the base"],
        ),
        "no base for full models": (
            {"merge_method": "ties", "models": [first, second]},
            ["ties", "add 'base_model: '"],
        ),
        "an adapter as base": (
            {"merge_method": "ties", **two, "base_model": str(tiny.persona)},
            ["is an adapter", "full model"],
        ),
        "adapters of two bases": (
            {"merge_method": "ties", "models": [persona, stranger]},
            ["other_base", "only models of one base"],
        ),
        "an adapter of another base": (
            {"merge_method": "ties", "models": [persona, stranger], "base_model": base},
            ["stranger", "another base"],
        ),
        "a base nobody can find": (
            {"merge_method": "ties", "models": [{"model": str(gone)}]},
            ["'./gone' is not found", "base_model in the recipe"],
        ),
        "vocabularies of two sizes": (
            {"merge_method": "linear", "models": [first, small]},
            ["80", "96", "vocabulary"],
        ),
        "adapter on a smaller vocabulary": (
            {"merge_method": "ties", "models": [first, small], "base_model": base},
            ["small vocabulary", "80", "96"],
        ),
        "other shapes": (
            {"merge_method": "linear", "models": [first, wide]},
            ["other width", "intermediate_size is 64", "48", "one architecture"],
        ),
        "other shapes than its config says": (
            {"merge_method": "linear", "models": [first, liar]},
            ["liar", "mlp.down_proj", "[32, 64]", "[32, 48]"],
        ),
        "other shapes in slices": (
            {
                "merge_method": "linear",
                "slices": [{"sources": [{**first, **LAYER}, {**wide, **LAYER}]}],
            },
            ["other width", "intermediate_size is 64", "48"],
        ),
        "more layers": (
            {"merge_method": "linear", "models": [first, deep]},
            ["more layers", "num_hidden_layers is 4", "3"],
        ),
        "fewer layers": (
            {"merge_method": "linear", "models": [deep, first]},
            ["first", "num_hidden_layers is 3", "4"],
        ),
        "fewer layers than its config says": (
            {"merge_method": "linear", "models": [deep, shallow]},
            ["shallow", "num_hidden_layers is 4", "3 layers"],
        ),
        "more layers than its config says": (
            {"merge_method": "linear", "models": [shallow, deep]},
            ["shallow", "num_hidden_layers is 4", "3 layers"],
        ),
        "another architecture": (
            {"merge_method": "linear", "models": [second, {"model": str(architecture)}]},
            ["mistral", "llama", "one architecture"],
        ),
        "layer_range past the end": (
            {"merge_method": "ties", "slices": [{"sources": [{**persona, **long}]}]},
            ["slices[0].sources[0].layer_range", "[0, 32]", "3 layers", "[0, 3]"],
        ),
        "an empty layer_range": (
            {"merge_method": "ties", "slices": [{"sources": [{**persona, "layer_range": [2, 2]}]}]},
            ["slices[0].sources[0].layer_range", "[2, 2]"],
        ),
        "ranges of two lengths": (
            {
                "merge_method": "ties",
                "slices": [{"sources": [{**persona, "layer_range": [0, 2]}, {**agentic, **LAYER}]}],
            },
            ["slices[0]", "[2, 3] layers"],
        ),
        "ranges that start apart": (
            {
                "merge_method": "ties",
                "slices": [
                    {
                        "sources": [
                            {**persona, "layer_range": [0, 2]},
                            {**agentic, "layer_range": [1, 3]},
                        ]
                    }
                ],
            },
            ["different layers", "one layer_range"],
        ),
        "layers the base lacks": (
            {
                "merge_method": "task_arithmetic",
                "slices": [{"sources": [{**deep, "layer_range": [2, 4]}]}],
                "base_model": base,
            },
            ["base: has no tensor 'model.layers.3", "one architecture"],
        ),
        "weights that cancel": (
            {
                "merge_method": "linear",
                "models": [{**persona, "weight": 1.0}, {**agentic, "weight": -1.0}],
            },
            ["weights sum to 0", "normalize"],
        ),
        "a truncated model": (
            {"merge_method": "ties", "models": [{"model": str(cut)}], "base_model": base},
            ["cut/model.safetensors", "not a whole safetensors file"],
        ),
        "a truncated adapter": (
            {"merge_method": "ties", "models": [{"model": str(cut_adapter)}]},
            ["cut_adapter/adapter_model.safetensors", "not a whole safetensors file"],
        ),
        "a tokenizer_source without a tokenizer": (
            {"merge_method": "ties", **two, "tokenizer_source": mute["model"]},
            ["mute", "has no tokenizer", "tokenizer.json"],
        ),
        "a tokenizer that is nowhere": (
            {"merge_method": "ties", **two, "tokenizer_source": "./nowhere"},
            ["'./nowhere'", "no such folder"],
        ),
    }


BAD = [
    "misspelt parameter",
    "misspelt key",
    "British spelling",
    "missing model",
    "missing base",
    "folder without a model",
    "density 1.2",
    "slerp of three",
    "slerp of one",
    "one model twice",
    "only the base",
    "no base for full models",
    "an adapter as base",
    "adapters of two bases",
    "an adapter of another base",
    "a base nobody can find",
    "vocabularies of two sizes",
    "adapter on a smaller vocabulary",
    "other shapes",
    "other shapes than its config says",
    "other shapes in slices",
    "more layers",
    "fewer layers",
    "fewer layers than its config says",
    "more layers than its config says",
    "another architecture",
    "layer_range past the end",
    "an empty layer_range",
    "ranges of two lengths",
    "ranges that start apart",
    "layers the base lacks",
    "weights that cancel",
    "a truncated model",
    "a truncated adapter",
    "a tokenizer_source without a tokenizer",
    "a tokenizer that is nowhere",
]


@pytest.fixture(scope="module")
def bad_recipes(tiny, tmp_path_factory):
    return bad_forms(tiny, tmp_path_factory.mktemp("bad"))


def test_every_bad_recipe_is_in_the_list(bad_recipes):
    assert list(bad_recipes) == BAD


@pytest.mark.parametrize("form", BAD)
def test_bad_input_is_one_line_with_status_2_and_nothing_is_written(
    bad_recipes, merge_cli, tmp_path, form
):
    recipe, words = bad_recipes[form]
    status, stderr, out = merge_cli(recipe)
    assert status == 2
    assert stderr.count("\n") == 1
    assert stderr.startswith("error: ")
    for word in words:
        assert word in stderr
    assert not out.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


def test_an_existing_output_is_refused_and_left_alone(tiny, merge_cli, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("kept")
    status, stderr, out = merge_cli({"merge_method": "ties", **forms(tiny)["bare adapters"]})
    assert status == 2
    assert "exists already" in stderr
    assert [path.name for path in out.iterdir()] == ["mine"]


@pytest.mark.parametrize("method", ["ties", "dare_ties", "dare_linear"])
def test_density_0_keeps_nothing_and_gives_the_base(tiny, merge_cli, method):
    recipe = {"merge_method": method, **forms(tiny)["bare adapters"], "parameters": {"density": 0}}
    status, _, out = merge_cli(recipe)
    assert status == 0
    assert all(tensor.equal(weights(tiny.base)[name]) for name, tensor in weights(out).items())


def test_no_copy_of_the_base_is_left_anywhere(tiny, merge_cli, tmp_path):
    before = {path for path in tiny.root.rglob("*")}
    assert merge_cli({"merge_method": "ties", **forms(tiny)["bare adapters"]})[0] == 0
    assert {path for path in tiny.root.rglob("*")} == before
    assert {path.name for path in tmp_path.iterdir()} == {"recipe.yaml", "out"}


def test_an_adapter_changed_at_the_same_path_is_merged_as_it_is_now(tiny, merge_cli, tmp_path):
    adapter = tiny.copy("persona", tmp_path / "adapter")
    recipe = {"merge_method": "task_arithmetic", "models": [{"model": str(adapter)}]}
    name, deltas = "model.layers.0.mlp.up_proj.weight", []
    for alpha in (8, 16):
        edit_json(adapter / "adapter_config.json", lora_alpha=alpha)
        out = merge_cli(recipe)[2]
        deltas.append(weights(out)[name] - weights(tiny.base)[name])
        out.rename(out.with_name(f"out{alpha}"))
    assert torch.allclose(deltas[1], 2 * deltas[0], atol=1e-6)
