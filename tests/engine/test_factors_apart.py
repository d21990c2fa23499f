"""`space: factors` merges A's and B's apart, and is PEFT's `add_weighted_adapter`."""

import pytest
import torch
from peft import PeftModel
from tiny_models import LAYERS, save_adapter, weights

from mergelab import UserError, merge

KINDS = ("linear", "ties", "magnitude_prune")


@pytest.fixture(scope="module")
def pair(tiny, tmp_path_factory):
    """Two adapters of one rank, as PEFT's kinds on factors want them."""
    folder = tmp_path_factory.mktemp("pair")
    one = save_adapter(tiny.base, folder / "one", 21, r=4, lora_alpha=8)
    two = save_adapter(
        tiny.base, folder / "two", 22, r=4, lora_alpha=12, target_modules=["q_proj", "up_proj"]
    )
    return one, two


def peft_changes(base, pair, kind, weight, **parameters):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, pair[0], adapter_name="one")
    model.load_adapter(pair[1], adapter_name="two")
    model.add_weighted_adapter(
        ["one", "two"], weight, "merged", combination_type=kind, **parameters
    )
    changes = {}
    for name, module in model.get_base_model().named_modules():
        if hasattr(module, "lora_A") and "merged" in module.lora_A:
            changes[f"{name}.weight"] = module.get_delta_weight("merged").detach()
    return changes


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("weight", [[1.0, 1.0], [0.7, -0.4]], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_recipe_under_compat_peft_is_add_weighted_adapter(tiny, pair, kind, weight):
    parameters = {} if kind == "linear" else {"density": 0.5}
    theirs = peft_changes(tiny.base, pair, kind, weight, **parameters)
    models = [
        {"model": str(path), "parameters": {"weight": w}}
        for path, w in zip(pair, weight, strict=True)
    ]
    recipe = {"merge_method": kind, "models": models, "parameters": parameters, "compat": "peft"}
    ours, base = merge(recipe).tensors, weights(tiny.base)
    assert len(theirs) == 7 * LAYERS
    for name, change in theirs.items():
        assert change.any()
        torch.testing.assert_close(ours[name] - base[name], change, rtol=1e-5, atol=1e-6)


def test_the_merge_of_factors_is_an_adapter_of_the_same_rank(tiny, pair, tmp_path):
    recipe = {"merge_method": "linear", "models": [{"model": str(p)} for p in pair]}
    recipe |= {"compat": "peft", "output": "adapter"}
    merge(recipe, tmp_path / "out")
    stored = weights(tmp_path / "out")
    ranks = {t.shape[0] for name, t in stored.items() if "lora_A" in name}
    assert ranks == {4}


def test_different_ranks_cannot_be_merged_apart(tiny):
    with pytest.raises(UserError, match=r"up_proj\.weight: factors of ranks 2 and 4 cannot"):
        merge(tiny.recipe("linear", compat="peft"))
