"""Tiny real models and adapters, made with `transformers` and `peft` and saved by them."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

VOCABULARY = 96
HIDDEN = 32
LAYERS = 3
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def llama(seed: int, *, tied: bool = False, layers: int = LAYERS, **changes: Any) -> Any:
    """A random Llama of a few thousand weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": 48,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "tie_word_embeddings": tied,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**{**sizes, **changes}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.1)
    return model.eval()


def save_tokenizer(folder: Path) -> None:
    """A word-level tokenizer with a chat template, saved as `transformers` saves it."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<s>", "</s>", "<unk>", "user", "assistant", ":"]
    words += [f"w{i}" for i in range(VOCABULARY - len(words))]
    fast = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    fast.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=fast,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
    )
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} </s> {% endfor %}"
        "{% if add_generation_prompt %}assistant : {% endif %}"
    )
    tokenizer.save_pretrained(folder)


def save_model(model: Any, folder: Path, *, tokenizer: bool = True, **how: Any) -> Path:
    """`save_pretrained`, with the tokenizer beside it."""
    model.save_pretrained(folder, **how)
    if tokenizer:
        save_tokenizer(folder)
    return folder


def tuned(model: Any, seed: int, size: float = 0.02) -> Any:
    """A copy of a model in which every weight has moved a little."""
    import copy

    other = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * size)
    return other


def save_adapter(
    base: Path, folder: Path, seed: int, *, auto_class: str = "AutoModelForCausalLM", **config: Any
) -> Path:
    """A LoRA adapter with random factors for the model in `base`, saved by PEFT."""
    import transformers
    from peft import LoraConfig, get_peft_model

    settings = {"r": 4, "lora_alpha": 8, "target_modules": list(LINEARS), "lora_dropout": 0.0}
    torch.manual_seed(seed)
    model = getattr(transformers, auto_class).from_pretrained(base, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(**{**settings, **config}))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(
                    parameter + 0.05 * noise if "modules_to_save" in name else 0.1 * noise
                )
    model.save_pretrained(folder)
    return folder


def peft_delta(base: Path, adapter: Path) -> dict[str, torch.Tensor]:
    """What PEFT itself changes in every tensor of the base, computed in float64."""
    import transformers
    from peft import PeftModel

    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    before = {name: tensor.double().clone() for name, tensor in model.state_dict().items()}
    merged = PeftModel.from_pretrained(model, adapter).double().merge_and_unload()
    after = merged.state_dict()
    return {name: after[name].double() - tensor for name, tensor in before.items()}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor in a folder's safetensors files, read by the safetensors library."""
    from safetensors.torch import load_file

    found: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        found.update(load_file(file))
    return found


def edit_json(path: Path, **changes: Any) -> None:
    """Change some keys of a JSON file; None removes one."""
    data = json.loads(path.read_text())
    data.update(changes)
    path.write_text(json.dumps({key: value for key, value in data.items() if value is not None}))


@dataclass(frozen=True)
class Tiny:
    """One base, two full fine-tunes of it, two adapters on it, and what PEFT makes of these."""

    root: Path
    base: Path
    first: Path
    second: Path
    persona: Path
    agentic: Path
    deltas: dict[str, dict[str, torch.Tensor]]

    @classmethod
    def build(cls, root: Path) -> Tiny:
        model = llama(0)
        base = save_model(model, root / "base")
        first = save_model(tuned(model, 1), root / "first")
        second = save_model(tuned(model, 2), root / "second")
        persona = save_adapter(base, root / "persona", 3)
        agentic = save_adapter(base, root / "agentic", 4, r=2, target_modules=["q_proj", "up_proj"])
        deltas = {path.name: peft_delta(base, path) for path in (persona, agentic)}
        return cls(root, base, first, second, persona, agentic, deltas)

    def copy(self, name: str, to: Path) -> Path:
        """A copy of one of the folders, free to be spoilt."""
        return Path(shutil.copytree(self.root / name, to))

    def recipe(self, method: str = "ties", *names: str, **more: Any) -> dict[str, Any]:
        """A recipe as plain data, for these folders (the two adapters by default)."""
        chosen = names or ("persona", "agentic")
        return {
            "merge_method": method,
            "models": [{"model": str(self.root / name)} for name in chosen],
            **more,
        }
