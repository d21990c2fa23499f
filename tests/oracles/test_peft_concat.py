"""concat and svd equal what PEFT 0.21.2's `add_weighted_adapter` makes of real adapters."""

import pytest
import torch
from peft import PeftModel

from mergelab.methods import Factors, concat, svd

MODULES = [f"model.layers.{layer}.self_attn.q_proj" for layer in range(3)]  # both change these
WEIGHTS = [0.7, 1.0]


@pytest.fixture
def model(tiny):
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny.base)
    model = PeftModel.from_pretrained(base, tiny.persona, adapter_name="persona")
    model.load_adapter(tiny.agentic, adapter_name="agentic")
    return model


def factors(module, name):
    b, a = module.lora_B[name].weight, module.lora_A[name].weight
    return Factors(b.detach() * module.scaling[name], a.detach())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("combination", ["cat", "svd"])
def test_a_combined_adapter_is_pefts(model, combination):
    rank = {"svd_rank": 3} if combination == "svd" else {}
    model.add_weighted_adapter(
        ["persona", "agentic"], WEIGHTS, "merged", combination_type=combination, **rank
    )
    for name in MODULES:
        module = model.get_base_model().get_submodule(name)
        deltas = [factors(module, adapter) for adapter in ("persona", "agentic")]
        if combination == "cat":
            ours = concat(deltas, WEIGHTS)
            assert ours.rank == module.r["merged"]
        else:
            ours = svd(deltas, WEIGHTS, rank=3)
            assert ours.rank == 3
        theirs = module.get_delta_weight("merged").detach()
        torch.testing.assert_close(ours.dense(), theirs, rtol=0, atol=1e-5 * float(theirs.norm()))
