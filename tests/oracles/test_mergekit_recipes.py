"""One YAML file, two programs: `mergelab merge` and mergekit 0.1.5 write the same model.

On full models both read the same folders. Adapters are given to us bare and to mergekit as the
full models that PEFT makes of them. Everything is fp32; mergekit subtracts the base from rounded
sums, which shifts a change by up to half a unit in the last place of the weight (1e-8 here, for
weights below .5), and both add in another order: 1e-6 is allowed on each entry. In TIES a shift
of that size may turn the order of two entries next to the threshold: one entry in a thousand may
differ.
"""

import pytest
import torch
import yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
from tiny_models import weights

from mergelab import merge


@pytest.fixture(scope="module")
def merged_copies(tiny, tmp_path_factory):
    """The full models that PEFT makes of the two adapters."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("copies")
    for name in ("persona", "agentic"):
        base = AutoModelForCausalLM.from_pretrained(tiny.base)
        PeftModel.from_pretrained(base, tiny.root / name).merge_and_unload().save_pretrained(
            folder / name
        )
    return folder


def by_mergekit(recipe, out):
    options = MergeOptions(quiet=True, write_model_card=False, copy_tokenizer=False)
    run_merge(MergeConfiguration.model_validate(recipe), str(out), options)
    return weights(out)


def assert_same(ours, theirs, but=0):
    assert set(ours) == set(theirs)
    for name, tensor in ours.items():
        apart = ~torch.isclose(tensor, theirs[name], rtol=0, atol=1e-6)
        assert int(apart.sum()) <= but * tensor.numel(), name


METHODS = {
    "linear": ("linear", [{"weight": 0.3}, {"weight": 0.9}], {}, False),
    "linear, not normalised": (
        "linear", [{"weight": 0.3}, {"weight": 0.7}], {"normalize": False}, False
    ),
    "task_arithmetic": ("task_arithmetic", [{"weight": 0.3}, {"weight": -0.9}], {}, True),
    "task_arithmetic, scaled": (
        "task_arithmetic", [{"weight": 1.0}, {"weight": 0.5}], {"lambda": 0.6}, True
    ),
    "ties": ("ties", [{"weight": 1.0, "density": 0.5}, {"weight": 0.5, "density": 0.25}], {}, True),
    "ties at density 1": ("ties", [{"weight": 1.0}, {"weight": 1.0}], {}, True),
    "ties, summed": (
        "ties", [{"weight": 1.0}, {"weight": 0.5}], {"density": 0.5, "normalize": False}, True
    ),
    "ties with lists and filters": (
        "ties",
        [
            {"weight": [0.2, 1.0], "density": 0.5},
            {"weight": [{"filter": "mlp", "value": 0.3}, {"value": 0.8}], "density": 0.75},
        ],
        {"int8_mask": True},
        True,
    ),
    "dare_linear at density 1": (
        "dare_linear", [{"weight": 0.5, "density": 1.0}, {"weight": 1.0, "density": 1.0}], {}, True
    ),
    "nuslerp": ("nuslerp", [{"weight": 0.3}, {"weight": 0.7}], {}, True),
}  # fmt: skip


def apart_by_design(method, kind, own, names):
    """Tensors in which the two programs are documented to differ."""
    if isinstance(own[0]["weight"], list):
        # A list's value outside the layers: mergekit takes the first, we the nearer end.
        return ["model.norm.weight", "lm_head.weight"]
    if method == "nuslerp" and kind == "adapters":
        # A tensor that one adapter leaves alone: a zero change has no direction, so we interpolate
        # linearly; mergekit takes it to be at right angles.
        return [n for n in names if "_proj" in n and "q_proj" not in n and "up_proj" not in n]
    return []


@pytest.mark.parametrize("case", METHODS.values(), ids=METHODS.keys())
@pytest.mark.parametrize("kind", ["full models", "adapters"])
def test_one_recipe_gives_the_same_model(tiny, merged_copies, tmp_path, case, kind):
    method, own, whole, with_base = case
    names = ("first", "second") if kind == "full models" else ("persona", "agentic")
    theirs_at = tiny.root if kind == "full models" else merged_copies

    def recipe(root):
        models = [
            {"model": str(root / name), "parameters": parameters}
            for name, parameters in zip(names, own, strict=True)
        ]
        base = {"base_model": str(tiny.base)} if with_base else {}
        whole_recipe = {"merge_method": method, "models": models, "parameters": whole}
        return {**whole_recipe, "dtype": "float32", **base}

    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe(tiny.root)))
    merge(path, tmp_path / "ours")
    theirs = by_mergekit(recipe(theirs_at), tmp_path / "theirs")
    ours = weights(tmp_path / "ours")
    for name in apart_by_design(method, kind, own, ours):
        del ours[name], theirs[name]
    assert_same(ours, theirs, but=0.001 if method == "ties" else 0)


def test_slerp_as_mergekit_writes_it_gives_the_same_model(tiny, tmp_path):
    recipe = {
        "merge_method": "slerp",
        "models": [{"model": str(tiny.first)}, {"model": str(tiny.second)}],
        "base_model": str(tiny.first),
        "parameters": {
            "t": [
                {"filter": "self_attn", "value": [0, 0.5, 1]},
                {"filter": "mlp", "value": [1, 0.3, 0]},
                {"value": 0.5},
            ]
        },
        "dtype": "float32",
    }
    assert_same(merge(recipe).tensors, by_mergekit(recipe, tmp_path / "theirs"))


def test_slices_as_mergekit_writes_them_give_the_same_model(tiny, tmp_path):
    def sources(low, high):
        return [
            {
                "model": str(tiny.root / name),
                "layer_range": [low, high],
                "parameters": {"weight": weight, "density": 0.5},
            }
            for name, weight in (("base", 0.0), ("first", 1.0), ("second", 0.6))
        ]

    recipe = {
        "merge_method": "ties",
        "slices": [{"sources": sources(0, 2)}, {"sources": sources(2, 3)}],
        "base_model": str(tiny.base),
        "dtype": "float32",
    }
    assert_same(merge(recipe).tensors, by_mergekit(recipe, tmp_path / "theirs"), but=0.001)


def test_stacked_layers_give_the_same_model(tiny, tmp_path):
    parts = (("first", [0, 2]), ("second", [1, 3]))
    recipe = {
        "merge_method": "linear",
        "slices": [
            {"sources": [{"model": str(tiny.root / name), "layer_range": layers}]}
            for name, layers in parts
        ],
        "parameters": {"weight": 1.0},
        "dtype": "float32",
    }
    ours = merge(recipe).tensors
    assert_same(ours, by_mergekit(recipe, tmp_path / "theirs"))
    assert max(int(name.split(".")[2]) for name in ours if ".layers." in name) == 3
