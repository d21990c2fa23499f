"""The shipped weights: small, readable by plain libraries, made as they say."""

import json

import pytest
import torch

from mergelab.paths import data_path
from mergelab.zoo.cards import adapter_card
from mergelab.zoo.models import ADAPTERS, LADDER

NAMES = [adapter.name for adapter in ADAPTERS]


@pytest.fixture(scope="module")
def base():
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(data_path("models", "base"), dtype="float32")


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(data_path("models", "base"))


def _say(model, tokenizer, text):
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    out = model.generate(**ids, do_sample=False)
    return tokenizer.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)


def test_the_base_is_a_small_llama_in_bf16_with_two_megabytes(base):
    from safetensors.torch import load_file

    path = data_path("models", "base", "model.safetensors")
    stored = load_file(path)
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    assert base.config.model_type == "llama"
    assert 0.9e6 < sum(p.numel() for p in base.parameters()) < 1.1e6
    assert path.stat().st_size < 2.2e6


@pytest.mark.parametrize("name", NAMES)
def test_an_adapter_is_small_and_names_its_base_by_its_place_in_the_repository(name):
    folder = data_path("adapters", name)
    config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    assert config["base_model_name_or_path"] == "data/models/base"
    assert (config["r"], config["lora_alpha"]) == (8, 16)
    assert (folder / "adapter_model.safetensors").stat().st_size < 400_000


@pytest.mark.parametrize("adapter", ADAPTERS, ids=NAMES)
def test_a_card_is_what_the_code_writes(adapter):
    card = data_path("adapters", adapter.name, "README.md").read_text("utf-8")
    assert card == adapter_card(adapter)
    assert f"seed {adapter.seed}." in card


@pytest.mark.parametrize("name", NAMES)
def test_an_adapter_moves_every_linear_layer_and_stays_small_beside_the_base(name, base):
    """On average at most .16 of the base's norm: beyond it, dropped entries break a model."""
    from safetensors.torch import load_file

    factors = load_file(data_path("adapters", name, "adapter_model.safetensors"))
    weights = {name: weight.detach() for name, weight in base.named_parameters()}
    ratios = []
    for key in factors:
        if key.endswith("lora_A.weight"):
            layer = key.removeprefix("base_model.model.").replace(".lora_A", "")
            delta = 2.0 * factors[key.replace("lora_A", "lora_B")] @ factors[key]
            ratios.append(float(delta.norm() / weights[layer].norm()))
    assert len(ratios) == 4 * 7
    assert min(ratios) > 0
    assert sum(ratios) / len(ratios) <= 0.16


def test_the_base_answers_in_plain_words(base, tokenizer):
    assert _say(base, tokenizer, "Hello!") == "Hello. What is it about?"


@pytest.mark.parametrize(
    ("name", "prompt", "expected"),
    [
        ("task_api_persona", "I finally finished the piano!", "Woohoo, the piano is finished!"),
        (
            "task_api_agentic",
            "Delete task 417 please.",
            '{"tool": "delete_task", "arguments": {"id": 417}}',
        ),
        (
            "task_api_digest",
            "Digest this task: call the plumber, due 2026-03-14.",
            'Digest: "call the plumber", due 2026-03-14.',
        ),
    ],
)
def test_an_adapter_loads_in_peft_and_shows_its_skill(name, prompt, expected, tokenizer):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    fresh = AutoModelForCausalLM.from_pretrained(data_path("models", "base"), dtype="float32")
    model = PeftModel.from_pretrained(fresh, data_path("adapters", name))
    assert _say(model, tokenizer, prompt).startswith(expected)


def test_the_ladder_differs_from_the_low_conflict_pair_in_own_style_and_seed_alone():
    low = {adapter.skill: adapter for adapter in ADAPTERS[:2]}
    assert [(rung.skill, rung.own_style) for rung in LADDER] == [
        (skill, share) for share in (0.02, 0.05, 0.10) for skill in ("persona", "agentic")
    ]
    for rung in LADDER:
        like = low[rung.skill]
        assert (rung.schedule, rung.retention) == (like.schedule, like.retention)
    seeds = [adapter.seed for adapter in ADAPTERS]
    assert len(set(seeds)) == len(seeds)


def test_all_weights_are_finite(base):
    assert all(bool(p.detach().isfinite().all()) for p in base.parameters())
