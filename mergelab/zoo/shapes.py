"""Models of real shapes with random weights: for tests and measurements at size.

`python -m mergelab.zoo.shapes 1b OUT` writes `OUT/base`, a checkpoint with exactly the tensors of
Llama-3.2-1B, and adapters for it beside it. What a merge costs depends on shapes and dtypes, not
on what the weights say, so nothing needs to be downloaded. Every tensor is drawn from a seed of
its own and written before the next one is drawn.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mergelab.checkpoints import CheckpointWriter, Slot, whole_folder
from mergelab.checkpoints.writer import MAX_SHARD_BYTES
from mergelab.errors import UserError
from mergelab.paths import data_path

if TYPE_CHECKING:
    from transformers import LlamaConfig

WEIGHT_SIZE = 0.02  # standard deviation of a weight
RANK, ALPHA = 16, 32
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
_CHUNK = 1 << 22  # entries drawn at a time


@dataclass(frozen=True)
class Shape:
    """The sizes that fix every tensor of a Llama; `rope_factor` stretches its positions."""

    hidden: int
    layers: int
    intermediate: int
    heads: int
    key_value_heads: int
    head_dim: int
    vocabulary: int = 128256
    tied: bool = True
    rope_factor: float = 32.0

    def linears(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Name and shape `[out, in]` of the linear projections, layer by layer."""
        queries, pairs = self.heads * self.head_dim, self.key_value_heads * self.head_dim
        sizes = (
            ("self_attn.q_proj", (queries, self.hidden)),
            ("self_attn.k_proj", (pairs, self.hidden)),
            ("self_attn.v_proj", (pairs, self.hidden)),
            ("self_attn.o_proj", (self.hidden, queries)),
            ("mlp.gate_proj", (self.intermediate, self.hidden)),
            ("mlp.up_proj", (self.intermediate, self.hidden)),
            ("mlp.down_proj", (self.hidden, self.intermediate)),
        )
        for layer in range(self.layers):
            for name, size in sizes:
                yield f"model.layers.{layer}.{name}", size

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor of the checkpoint, sorted by name.

        >>> sum(math.prod(shape) for shape in SHAPES["1b"].tensors().values())
        1235814400
        """
        found: dict[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (self.vocabulary, self.hidden),
            "model.norm.weight": (self.hidden,),
        }
        if not self.tied:
            found["lm_head.weight"] = (self.vocabulary, self.hidden)
        found |= {f"{name}.weight": size for name, size in self.linears()}
        for layer in range(self.layers):
            for norm in ("input_layernorm", "post_attention_layernorm"):
                found[f"model.layers.{layer}.{norm}.weight"] = (self.hidden,)
        return dict(sorted(found.items()))

    def config(self, dtype: torch.dtype) -> LlamaConfig:
        """The model's `LlamaConfig`, with the special tokens of the shipped tokenizer."""
        from transformers import LlamaConfig

        return LlamaConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            intermediate_size=self.intermediate,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.key_value_heads,
            head_dim=self.head_dim,
            max_position_embeddings=131072,
            rms_norm_eps=1e-5,
            tie_word_embeddings=self.tied,
            rope_parameters={
                "rope_type": "llama3",
                "rope_theta": 500000.0,
                "factor": self.rope_factor,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            },
            dtype=str(dtype).removeprefix("torch."),
            architectures=["LlamaForCausalLM"],
            **_special_tokens(),
        )


SHAPES = {
    "tiny": Shape(64, 2, 96, 4, 2, 16, vocabulary=1200),
    "1b": Shape(2048, 16, 8192, 32, 8, 64),  # Llama-3.2-1B
    "3b": Shape(3072, 28, 8192, 24, 8, 128),  # Llama-3.2-3B
    "8b": Shape(4096, 32, 14336, 32, 8, 128, tied=False, rope_factor=8.0),  # Llama-3.1-8B
}


def write_models(
    shape: Shape,
    out: Path,
    *,
    adapters: int = 2,
    size: float = 0.02,
    dtype: torch.dtype = torch.bfloat16,
    factor_dtype: torch.dtype = torch.float32,
    seed: int = 0,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Write `out/base` and `out/adapter_1` and so on: random weights, repeatable by `seed`.

    The base's weights are normal with standard deviation .02, its norms 1. Each adapter is a LoRA
    of rank 16 and alpha 32 on all linear projections whose change has `size` times the norm of
    the weight it changes (Frobenius norms). `dtype` is the base's, `factor_dtype` the adapters'.

    Raises `UserError` if `out` exists or the disk is full.
    """
    with whole_folder(out) as folder:
        _write_base(shape, folder / "base", dtype, seed, max_shard_bytes)
        for number in range(1, adapters + 1):
            name = f"adapter_{number}"
            _write_adapter(shape, folder / name, size, factor_dtype, f"{seed}|{name}")


def _special_tokens() -> dict[str, int | None]:
    shipped = json.loads(data_path("models", "base", "config.json").read_text("utf-8"))
    return {key: shipped[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}


def _write_base(
    shape: Shape, folder: Path, dtype: torch.dtype, seed: int, max_shard_bytes: int
) -> None:
    from transformers import GenerationConfig

    folder.mkdir()
    slots = [Slot(name, dtype, size) for name, size in shape.tensors().items()]
    writer = CheckpointWriter(folder, slots, max_shard_bytes)
    try:
        for slot in slots:
            if len(slot.shape) == 1:  # norms
                writer.write(slot.name, torch.ones(slot.shape))
            else:
                drawn = _normal(slot.shape, WEIGHT_SIZE, dtype, f"{seed}|base|{slot.name}")
                writer.write(slot.name, drawn)
        writer.close()
    finally:
        writer.abandon()
    shape.config(dtype).save_pretrained(folder)
    GenerationConfig(**_special_tokens()).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(data_path("models", "base", name), folder / name)


def _write_adapter(shape: Shape, folder: Path, size: float, dtype: torch.dtype, seed: str) -> None:
    """Factors in PEFT's format; B's spread follows from the size that the change shall have.

    For independent entries |B A| is about `sqrt(out * in * r) * sd(A) * sd(B)`, and |W| about
    `sqrt(out * in) * sd(W)`.
    """
    from safetensors.torch import save_file

    folder.mkdir()
    factors: dict[str, Tensor] = {}
    for name, (rows, columns) in shape.linears():
        in_a = 1 / math.sqrt(columns)
        in_b = size * WEIGHT_SIZE / (ALPHA / RANK * math.sqrt(RANK) * in_a)
        for factor, spread, dims in (("A", in_a, (RANK, columns)), ("B", in_b, (rows, RANK))):
            key = f"base_model.model.{name}.lora_{factor}.weight"
            factors[key] = _normal(dims, spread, dtype, f"{seed}|{key}")
    save_file(factors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "base_model_name_or_path": "base",  # found beside the adapter
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": ALPHA,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": RANK,
        "target_modules": list(LINEARS),
        "task_type": "CAUSAL_LM",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")


def _normal(dims: tuple[int, ...], spread: float, dtype: torch.dtype, seed: str) -> Tensor:
    """Normal numbers that `seed` names, drawn in fp32 piece by piece and rounded to `dtype`."""
    digest = hashlib.blake2b(seed.encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "little"))
    values = torch.empty(math.prod(dims), dtype=dtype)
    for piece in values.split(_CHUNK):
        piece.copy_(torch.empty(piece.shape).normal_(0.0, spread, generator=generator))
    return values.reshape(dims)


def main(arguments: list[str] | None = None) -> int:
    """Write the models that the command line asks for; return 0, or 2 for input to correct."""
    parser = argparse.ArgumentParser(
        prog="python -m mergelab.zoo.shapes",
        description="Write a model of a real shape with random weights, and LoRA adapters for it.",
    )
    parser.add_argument("shape", choices=SHAPES, help="which sizes")
    parser.add_argument("out", type=Path, help="folder to write; it must not exist")
    parser.add_argument("--layers", type=int, metavar="N", help="only N layers of it")
    parser.add_argument("--adapters", type=int, default=2, metavar="N", help="how many (2)")
    parser.add_argument(
        "--size", type=float, default=0.02, help="norm of a change over that of its weight (.02)"
    )
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16", help="of the base")
    parser.add_argument("--factor-dtype", choices=DTYPES, default="float32", help="of the adapters")
    parser.add_argument("--seed", type=int, default=0, help="another one, other weights")
    options = parser.parse_args(arguments)
    # A polite end, by which the folder aside is cleaned up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    shape = SHAPES[options.shape]
    try:
        if options.layers is not None and options.layers < 1:
            raise UserError(f"--layers {options.layers}: a model has at least 1 layer")
        if options.adapters < 0:
            raise UserError(f"--adapters {options.adapters}: write 0 or more")
        write_models(
            replace(shape, layers=options.layers or shape.layers),
            options.out,
            adapters=options.adapters,
            size=options.size,
            dtype=DTYPES[options.dtype],
            factor_dtype=DTYPES[options.factor_dtype],
            seed=options.seed,
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
