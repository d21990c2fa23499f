"""Slices with every method, lists of numbers over a slice, and what goes to an adapter."""

import json

import pytest
import torch
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
from tiny_models import LAYERS, edit_json, weights

from mergelab import merge
from mergelab.errors import UserError
from mergelab.methods import REGISTRY
from mergelab.recipes import make_plan, parse_recipe


def sources_of(tiny, method, layers=None):
    count = 1 if REGISTRY[method].max_sources == 1 else 2
    ranges = {"layer_range": layers} if layers else {}
    return [{"model": str(tiny.root / name)} | ranges for name in ("first", "second")[:count]]


def with_base(tiny, method):
    return {"base_model": str(tiny.base)} if REGISTRY[method].needs_base else {}


FULL_MODELS = [
    "linear", "task_arithmetic", "slerp", "nuslerp", "multislerp", "karcher", "ties", "dare_linear",
    "dare_ties", "magnitude_prune", "della", "della_linear", "breadcrumbs", "breadcrumbs_ties",
    "model_stock", "sce", "nearswap", "arcee_fusion", "passthrough",
]  # fmt: skip


@pytest.mark.parametrize("method", FULL_MODELS)
def test_a_slice_of_all_layers_is_the_merge_of_the_models(tiny, method):
    common = {"merge_method": method, **with_base(tiny, method)}
    whole = merge({**common, "models": sources_of(tiny, method)}).tensors
    for parts in ([[0, 3]], [[0, 1], [1, 3]]):
        slices = [{"sources": sources_of(tiny, method, layers)} for layers in parts]
        sliced = merge({**common, "slices": slices}).tensors
        assert set(sliced) == set(whole)
        assert all(tensor.equal(whole[name]) for name, tensor in sliced.items())


def test_lists_run_over_a_slice_as_in_mergekit(tiny, tmp_path):
    def part(layers):
        return {
            "sources": [
                {
                    "model": str(tiny.root / name),
                    "layer_range": layers,
                    "parameters": {"weight": weight},
                }
                for name, weight in (("first", [0.2, 0.5, 1.0]), ("second", [1.0, 0.0]))
            ]
        }

    recipe = {
        "merge_method": "linear",
        "slices": [part([0, 3]), part([1, 3])],
        "dtype": "float32",
    }
    options = MergeOptions(quiet=True, write_model_card=False, copy_tokenizer=False)
    run_merge(MergeConfiguration.model_validate(recipe), str(tmp_path), options)
    theirs, ours = weights(tmp_path), merge(recipe).tensors
    layers = [name for name in ours if ".layers." in name]
    assert len({name.split(".")[2] for name in layers}) == 5
    for name in layers:
        assert torch.allclose(ours[name], theirs[name], rtol=0, atol=1e-6), name


def test_what_a_slice_says_holds_for_its_layers_only(tiny):
    slices = [
        {"sources": sources_of(tiny, "ties", [0, 1]), "parameters": {"density": 0.25}},
        {"sources": sources_of(tiny, "ties", [1, 3])},
    ]
    recipe = {"merge_method": "ties", "slices": slices, "parameters": {"density": 0.5}}
    plan = make_plan(parse_recipe({**recipe, **with_base(tiny, "ties")}))
    found = {tensor.layer: tensor.per_source[0]["density"] for tensor in plan.tensors}
    assert found == {0: 0.25, 1: 0.5, 2: 0.5, None: found[None]}
    outside = {t.name: t.per_source[0]["density"] for t in plan.tensors if t.layer is None}
    assert outside == {
        "model.embed_tokens.weight": 0.25,
        "model.norm.weight": 0.5,
        "lm_head.weight": 0.5,
    }


def test_out_dtype_beats_dtype_and_the_caller_beats_both(tiny):
    recipe = tiny.recipe("ties", dtype="float32", out_dtype="float16")
    for asked, expected in ((None, torch.float16), ("bfloat16", torch.bfloat16)):
        plan = make_plan(parse_recipe(recipe), dtype=asked)
        assert {tensor.dtype for tensor in plan.tensors} == {expected}
    only = make_plan(parse_recipe(tiny.recipe("ties", dtype="bfloat16")))
    assert {tensor.dtype for tensor in only.tensors} == {torch.bfloat16}


def test_mergekits_long_form_reads_a_model_with_its_adapter(tiny):
    long = {"model": {"model": {"path": str(tiny.base)}, "lora": str(tiny.persona)}}
    short = {"model": f"{tiny.base}+{tiny.persona}"}
    plans = [
        make_plan(parse_recipe({"merge_method": "ties", "models": [entry]}))
        for entry in (long, short)
    ]
    assert plans[0].tensors == plans[1].tensors


# An adapter as output


def test_an_adapter_as_output_has_its_rank_in_the_plan(tiny):
    for more, rank in (({}, None), ({"rank": 8}, 8)):
        plan = make_plan(parse_recipe(tiny.recipe("ties", output="adapter", **more)))
        assert (plan.output, plan.rank) == ("adapter", rank)
    assert make_plan(parse_recipe(tiny.recipe("ties"))).output == "model"


def test_an_adapter_needs_a_base(tiny):
    recipe = tiny.recipe("linear", "first", "second", output="adapter")
    with pytest.raises(UserError, match="an adapter is a change of a base; add 'base_model: '"):
        make_plan(parse_recipe(recipe))


def test_an_adapter_needs_task_vectors(tiny):
    recipe = tiny.recipe("slerp", output="adapter", parameters={"space": "weights"})
    with pytest.raises(UserError, match="slerp merges weights here; write 'space: task_vectors'"):
        make_plan(parse_recipe(recipe))


def test_passthrough_has_no_base_to_make_an_adapter_of(tiny):
    recipe = tiny.recipe("passthrough", "persona", output="adapter")
    with pytest.raises(UserError, match="an adapter is a change of a base"):
        make_plan(parse_recipe(recipe))


def test_layers_that_the_config_does_not_count_stay_uncounted(tiny, tmp_path):
    """As in models whose last layer predicts tokens further ahead."""
    base = tiny.copy("base", tmp_path / "base")
    first = tiny.copy("first", tmp_path / "first")
    for folder in (base, first):
        edit_json(folder / "config.json", num_hidden_layers=LAYERS - 1)
    recipe = {"merge_method": "task_arithmetic", "models": [{"model": str(first)}]}
    merge({**recipe, "base_model": str(base)}, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert written["num_hidden_layers"] == LAYERS - 1
    assert f"model.layers.{LAYERS - 1}.mlp.up_proj.weight" in weights(tmp_path / "out")
