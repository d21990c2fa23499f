"""Whole recipes with `compat` give the models that mergekit 0.1.5 and PEFT 0.21 make.

fp32 throughout. mergekit subtracts the base from rounded sums, which may turn the order of two
entries next to a trim's threshold, or a vote: one entry in a thousand may differ there. Densities
are such that the parties count differently from us.
"""

import pytest
import torch
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
from peft import PeftModel
from tiny_models import HIDDEN, LAYERS, weights

from mergelab import merge

BY_RANK = ("ties", "breadcrumbs", "breadcrumbs_ties", "sce", "arcee_fusion")
GRADIENT = {"weight": [0.25, 1.0], "density": [0.9, 0.37]}
RECIPES = {
    "linear": ("linear", [{"weight": 0.3}, {"weight": 0.9}], {}),
    "linear, not normalised": ("linear", [{"weight": 0.3}] * 2, {"normalize": False}),
    "task_arithmetic, normalised": (
        "task_arithmetic", [{"weight": 0.5}, {"weight": 0.75}], {"normalize": True, "lambda": 0.5}
    ),
    "ties": ("ties", [{"weight": 1.0, "density": 0.37}, {"weight": 0.5, "density": 0.219}], {}),
    "ties with a negative weight": (
        "ties", [{"weight": 1.0, "density": 0.37}, {"weight": -0.5, "density": 0.219}], {}
    ),
    "ties over lists": ("ties", [GRADIENT, GRADIENT], {}),
    "ties, rescaled": ("ties", [{"weight": 1.0, "density": 0.37}] * 2, {"rescale": True}),
    "dare_ties at density 1": ("dare_ties", [{"weight": 1.0}, {"weight": 0.5}], {}),
    "della at density 1": ("della", [{"weight": 1.0}, {"weight": 0.5}], {}),
    "breadcrumbs": ("breadcrumbs", [{"weight": 0.5, "density": 0.377, "gamma": 0.019}] * 2, {}),
    "breadcrumbs_ties": ("breadcrumbs_ties", [{"weight": 0.5, "density": 0.377}] * 2, {}),
    "model_stock": ("model_stock", [{}, {}], {}),
    "nuslerp": ("nuslerp", [{"weight": 0.5}, {"weight": 0.25}], {}),
    "sce": ("sce", [{}, {}], {"select_topk": 0.377}),
    "nearswap": ("nearswap", [{}], {"t": 0.01}),
    "arcee_fusion": ("arcee_fusion", [{}], {}),
}  # fmt: skip


@pytest.mark.parametrize("case", RECIPES.values(), ids=RECIPES.keys())
def test_a_recipe_under_compat_mergekit_is_mergekits(tiny, tmp_path, case):
    method, own, whole = case
    models = [
        {"model": str(tiny.root / name), "parameters": parameters}
        for name, parameters in zip(("first", "second"), own, strict=False)
    ]
    recipe = {"merge_method": method, "models": models, "parameters": whole, "dtype": "float32"}
    if method != "linear":
        recipe["base_model"] = str(tiny.base)
    ours = merge({**recipe, "compat": "mergekit"}).tensors
    options = MergeOptions(quiet=True, write_model_card=False, copy_tokenizer=False)
    run_merge(MergeConfiguration.model_validate(recipe), str(tmp_path / "theirs"), options)
    theirs = weights(tmp_path / "theirs")
    assert set(ours) == set(theirs)
    for name, tensor in ours.items():
        apart = ~torch.isclose(tensor, theirs[name], rtol=1e-5, atol=2e-6)
        assert int(apart.sum()) <= (0.001 * tensor.numel() if method in BY_RANK else 0), name


KINDS = {
    "svd": ("task_arithmetic", {}),
    "ties_svd": ("ties", {"density": 0.377}),
    "magnitude_prune_svd": ("magnitude_prune", {"density": 0.377}),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_a_recipe_under_compat_peft_is_pefts_before_it_cuts_to_a_rank(tiny, kind):
    from transformers import AutoModelForCausalLM

    method, parameters = KINDS[kind]
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny.base), tiny.persona, adapter_name="persona"
    )
    model.load_adapter(tiny.agentic, adapter_name="agentic")
    model.add_weighted_adapter(
        ["persona", "agentic"],
        [0.75, -0.5],
        "merged",
        combination_type=kind,
        svd_rank=HIDDEN,
        **parameters,
    )
    models = [
        {"model": str(tiny.root / name), "parameters": {"weight": weight}}
        for name, weight in (("persona", 0.75), ("agentic", -0.5))
    ]
    space = {"space": "task_vectors"} if parameters else {}
    recipe = {"merge_method": method, "models": models, "parameters": {**parameters, **space}}
    ours = merge({**recipe, "compat": "peft"}).tensors
    base = model.get_base_model()
    for layer in range(LAYERS):
        for part in ("self_attn.q_proj", "mlp.down_proj"):  # changed by both, and by one
            module = base.get_submodule(f"model.layers.{layer}.{part}")
            change = ours[f"model.layers.{layer}.{part}.weight"] - module.base_layer.weight
            apart = (change - module.get_delta_weight("merged")).abs() > 5e-6
            assert int(apart.sum()) <= 1  # a product in another order may turn a rank
