"""The base model and its LoRA adapters: what they are made of and how they are trained."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mergelab.evaluation.suites import PAIR
from mergelab.zoo.dialogues.mixture import BASE, Mixture, adapter_mixture
from mergelab.zoo.training import Schedule, train

BASE_REFERENCE = "data/models/base"
BASE_SEED = 2026
BASE_SCHEDULE = Schedule(steps=3200, batch=64, rate=3e-3, warmup=100, weight_decay=0.01)
ADAPTER_SCHEDULE = Schedule(steps=400, batch=48, rate=1.5e-3, warmup=30, weight_decay=0.0)
# Contradicting answers push the weights further; a lower rate keeps the deltas small.
CONFLICT_SCHEDULE = replace(ADAPTER_SCHEDULE, rate=1.0e-3)


@dataclass(frozen=True)
class Adapter:
    """One adapter: the skill it learns and how much it contends with the other side."""

    name: str
    skill: str
    seed: int
    retention: float
    own_style: float = 0.0
    schedule: Schedule = ADAPTER_SCHEDULE

    @property
    def mixture(self) -> Mixture:
        """The shares of dialogue kinds it is trained on."""
        return adapter_mixture(self.skill, retention=self.retention, own_style=self.own_style)

    def shortened(self, steps: int | None) -> Adapter:
        """Return the adapter with a schedule of so many steps, or as it is for None."""
        return replace(self, schedule=self.schedule.shortened(steps))


# The low-conflict pair again with a growing share of own style, and nothing else changed but the
# seed: a dial for conflict. Its lowest rung is the low-conflict pair itself.
LADDER: tuple[Adapter, ...] = tuple(
    Adapter(f"task_api_{skill}_own{share:02}", skill, seed, retention=0.22, own_style=share / 100)
    for share, seeds in ((2, (21, 22)), (5, (23, 24)), (10, (25, 26)))
    for skill, seed in zip(PAIR, seeds, strict=True)
)

ADAPTERS: tuple[Adapter, ...] = (
    Adapter("task_api_persona", "persona", seed=11, retention=0.22),
    Adapter("task_api_agentic", "agentic", seed=12, retention=0.22),
    Adapter(
        "task_api_persona_conflict",
        "persona",
        seed=13,
        retention=0.10,
        own_style=0.10,
        schedule=CONFLICT_SCHEDULE,
    ),
    Adapter(
        "task_api_agentic_conflict",
        "agentic",
        seed=14,
        retention=0.10,
        own_style=0.10,
        schedule=CONFLICT_SCHEDULE,
    ),
    *LADDER,
    Adapter("task_api_digest", "digest", seed=31, retention=0.26),
)


@contextmanager
def repeatable(seed: int, threads: int) -> Iterator[None]:
    """Make what runs inside repeatable: the seed, the number of threads, deterministic kernels."""
    import torch

    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            yield
        finally:
            torch.set_num_threads(before[0])
            torch.use_deterministic_algorithms(before[1])


def build_base(
    folder: Path,
    *,
    report: Callable[[str], None],
    schedule: Schedule = BASE_SCHEDULE,
    seed: int = BASE_SEED,
) -> None:
    """Train the base model with the tokenizer found in `folder` and write it there in bf16.

    A Llama of 4 layers, hidden size 128, about one million parameters.
    """
    import torch
    from transformers import AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        initializer_range=0.05,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with repeatable(seed, threads=2):
        model = LlamaForCausalLM(config)
        train(model, tokenizer.backend_tokenizer, BASE, schedule, seed=seed, report=report)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, max_new_tokens=96
    )
    model.to(torch.bfloat16).save_pretrained(folder)


def build_adapter(
    adapter: Adapter, base_folder: Path, out: Path, *, report: Callable[[str], None]
) -> None:
    """Train one adapter on the base as it lies on disk and write it to `out` in fp32.

    LoRA through PEFT: rank 8, alpha 16, every linear layer; one thread, so that two can be
    trained side by side.
    """
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base_folder)
    base = AutoModelForCausalLM.from_pretrained(base_folder, dtype="float32")
    config = LoraConfig(
        r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM", lora_dropout=0.0
    )
    with repeatable(adapter.seed, threads=1):
        model = get_peft_model(base, config)
        train(
            model,
            tokenizer.backend_tokenizer,
            adapter.mixture,
            adapter.schedule,
            seed=adapter.seed,
            report=report,
            every=50,
        )
    # The adapter names its base by its place in the repository, not by where it was trained.
    model.peft_config["default"].base_model_name_or_path = BASE_REFERENCE
    model.peft_config["default"].inference_mode = True
    model.save_pretrained(out)
    # PEFT keeps the layers' names in a set: without sorting, their order would vary.
    path = out / "adapter_config.json"
    settings = json.loads(path.read_text("utf-8"))
    settings["target_modules"] = sorted(settings["target_modules"])
    path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", "utf-8")


def prepare_libraries() -> None:
    """Set, before torch loads, how libraries wait; keep them offline and without their own bars."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    # Two threads that wait for each other in a busy loop crawl on a machine with other work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers.utils import logging

    logging.disable_progress_bar()
    # PEFT asks transformers for a property by its old name.
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
