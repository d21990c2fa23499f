"""Writing a LoRA adapter that PEFT loads: factors for the tensors that changed.

PEFT scales a product of factors by alpha / r; here alpha is r for every module, so that what is
added to the base is `b @ a` as it was given.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterable
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from mergelab.checkpoints.checkpoint import (
    Checkpoint,
    is_embedding,
    is_head,
    is_word_embedding,
)
from mergelab.checkpoints.writer import CheckpointWriter, Slot
from mergelab.errors import UserError

_PREFIX = "base_model.model."


class AdapterWriter:
    """Writes a PEFT LoRA adapter into `folder`: `adapter_config.json`, `adapter_model.safetensors`.

    `base_name` is what the adapter's config calls its base. Factors are stored in `dtype`.
    `fan_in_fan_out` says that the base's linear layers store their weight as `[in, out]`, as
    GPT-2's do; `embeddings` names the tensors that are embeddings, where their names do not say so.
    With the base itself, target modules are written by their short names where these mean no other
    module, and modules saved whole are completed by what the merge left alone. Everything is kept
    in memory until `close`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     writer = AdapterWriter(Path(folder), "org/base")
    ...     writer.factors("model.layers.0.mlp.up_proj.weight", torch.ones(6, 2), torch.ones(2, 4))
    ...     writer.close()
    ...     json.loads((Path(folder) / "adapter_config.json").read_text())["r"]
    2
    """

    def __init__(
        self,
        folder: Path,
        base_name: str,
        dtype: torch.dtype = torch.float32,
        *,
        fan_in_fan_out: bool = False,
        embeddings: Collection[str] = (),
        base: Checkpoint | None = None,
    ) -> None:
        self.folder, self.base_name, self.dtype, self.base = Path(folder), base_name, dtype, base
        self.fan_in_fan_out = fan_in_fan_out
        self.embeddings = frozenset(embeddings)
        self._ranks: dict[str, int] = {}
        self._whole: dict[str, Tensor] = {}
        self._tensors: dict[str, Tensor] = {}

    def factors(self, name: str, b: Tensor, a: Tensor) -> None:
        """Let the base's tensor `name` change by `b @ a`: `b` is `[rows, r]`, `a` `[r, columns]`.

        Factors of rank 0 change nothing and are left out. Raises `UserError` for a tensor that PEFT
        puts no factors on, or that the base shares with another.
        """
        if not name.endswith(".weight"):
            raise UserError(f"{name}: only weights can have factors in an adapter; {_INSTEAD}")
        if self._is_shared(name):
            raise UserError(
                f"{name}: the base shares it between its embeddings and its output head, which "
                f"PEFT's factors cannot change together; {_INSTEAD}"
            )
        if b.shape[1] == 0:
            return
        module = name.removesuffix(".weight")
        b, a = _balanced(b.float(), a.float())
        embedding = name in self.embeddings or is_embedding(name)
        if embedding or (self.fan_in_fan_out and not is_head(name)):
            b, a = a.T, b.T  # PEFT has the product's transpose
        names = ("lora_embedding_A", "lora_embedding_B") if embedding else _LINEAR
        self._ranks[module] = a.shape[0]
        self._tensors[f"{_PREFIX}{module}.{names[0]}"] = self._stored(name, a)
        self._tensors[f"{_PREFIX}{module}.{names[1]}"] = self._stored(name, b)

    def takes_factors(self, name: str, dimensions: int) -> bool:
        """Whether the change of a tensor of so many dimensions can be written as factors."""
        return dimensions == 2 and name.endswith(".weight") and not self._is_shared(name)

    def whole(self, name: str, tensor: Tensor) -> None:
        """Let the base's tensor `name` become `tensor`: a norm, a bias, what has no low rank."""
        if not name.endswith((".weight", ".bias")):
            raise UserError(f"{name}: an adapter cannot hold it; {_INSTEAD}")
        self._whole[name] = self._stored(name, tensor)

    def close(self) -> None:
        """Write the files. Raises `UserError` if they would make no adapter that PEFT can load."""
        if not self._ranks:
            raise UserError(
                f"{self.folder.name}: no linear layer changed, so there is no adapter to "
                f"write; {_INSTEAD}"
            )
        saved = self._add_whole_modules()
        biases = self._add_biases(saved)
        config = self._config(saved, biases)
        text = json.dumps(config, indent=2, sort_keys=True)
        (self.folder / "adapter_config.json").write_text(text + "\n")
        slots = [Slot(n, t.dtype, tuple(t.shape)) for n, t in sorted(self._tensors.items())]
        writer = CheckpointWriter(self.folder, slots, sys.maxsize, name="adapter_model")
        try:
            for name, tensor in sorted(self._tensors.items()):
                writer.write(name, tensor)
            writer.close()
        finally:
            writer.abandon()

    def _stored(self, name: str, tensor: Tensor) -> Tensor:
        stored = tensor.detach().to("cpu", self.dtype).contiguous()
        if not torch.isfinite(stored).all():
            dtype = str(self.dtype).removeprefix("torch.")
            raise UserError(f"{name}: values do not fit {dtype}; use bfloat16 or float32")
        return stored

    def _is_shared(self, name: str) -> bool:
        tied = self.base is not None and self.base.is_tied
        return tied and (is_word_embedding(name) or is_head(name))

    def _add_whole_modules(self) -> list[str]:
        """Put every module of which a weight is given whole among the tensors; their names."""
        modules = sorted(n.removesuffix(".weight") for n in self._whole if n.endswith(".weight"))
        for module in modules:
            if module in self._ranks:
                raise UserError(f"{module}: has factors and is given whole as well")
            for name in self._tensors_of(module):
                self._tensors[_PREFIX + name] = self._whole[name]
            if self._is_shared(f"{module}.weight"):  # PEFT wants both of the two
                head = "embed_out" if "embed_in" in module else "lm_head"
                self._tensors[f"{_PREFIX}{head}.weight"] = self._whole[f"{module}.weight"]
        return modules

    def _tensors_of(self, module: str) -> list[str]:
        """The module's tensors; what was not given is taken from the base as it is."""
        names = {n for n in (f"{module}.weight", f"{module}.bias") if n in self._whole}
        for name in self.base.names if self.base is not None else ():
            if not name.startswith(f"{module}."):
                continue
            if "." in name.removeprefix(f"{module}."):
                raise UserError(f"{module}.weight: lies beside other modules; {_INSTEAD}")
            names.add(name)
            if name not in self._whole:
                self._whole[name] = self._stored(name, self.base.read(name))
        return sorted(names)

    def _add_biases(self, saved: Collection[str]) -> bool:
        """Put the biases of all other modules among the tensors, under PEFT's names for them."""
        modules = [n.removesuffix(".bias") for n in sorted(self._whole) if n.endswith(".bias")]
        modules = [module for module in modules if module not in saved]
        for module in modules:
            inside = ".base_layer" if module in self._ranks else ""
            self._tensors[f"{_PREFIX}{module}{inside}.bias"] = self._whole[f"{module}.bias"]
        return bool(modules)

    def _config(self, saved: list[str], biases: bool) -> dict[str, object]:
        counts = Counter(self._ranks.values())
        usual = max(counts, key=lambda rank: (counts[rank], rank))
        # ^ keeps a pattern from matching the end of another module's name
        others = {f"^{re.escape(m)}": r for m, r in sorted(self._ranks.items()) if r != usual}
        return {
            "alpha_pattern": others,
            "auto_mapping": None,
            "base_model_name_or_path": self.base_name,
            "bias": "all" if biases else "none",
            "ensure_weight_tying": any(self._is_shared(f"{module}.weight") for module in saved),
            "fan_in_fan_out": self.fan_in_fan_out,
            "inference_mode": True,
            "init_lora_weights": True,
            "lora_alpha": usual,
            "lora_dropout": 0.0,
            "modules_to_save": saved or None,
            "peft_type": "LORA",
            "peft_version": version("peft"),
            "r": usual,
            "rank_pattern": others,
            "revision": None,
            "target_modules": _targets(self._ranks, self.base.names if self.base else ()),
            "task_type": "CAUSAL_LM",
            "use_dora": False,
            "use_rslora": False,
        }


_LINEAR = ("lora_A.weight", "lora_B.weight")
_INSTEAD = "write 'output: model' instead"


def _balanced(b: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    """The same product from factors of alike size, which keep more in half precision.

    Each pair of a column of `b` and a row of `a` is scaled by a power of two and its inverse, which
    loses nothing; where it would, the pair stays as it is.

    >>> b, a = _balanced(torch.tensor([[16.0]]), torch.tensor([[0.25]]))
    >>> b.item(), a.item()
    (2.0, 2.0)
    """
    exponents = ((a.norm(dim=1).log2() - b.norm(dim=0).log2()) / 2).round()
    exponents = torch.where(exponents.isfinite(), exponents, 0.0)
    ones = torch.ones_like(exponents)
    up, down = torch.ldexp(ones, exponents), torch.ldexp(ones, -exponents)
    lossless = (b * up * down == b).all(0) & (a.T * down * up == a.T).all(0)
    up, down = up.where(lossless, ones), down.where(lossless, ones)
    return b * up, a * down.unsqueeze(1)


def _targets(modules: Iterable[str], names: Iterable[str]) -> list[str]:
    """What to call the modules so that PEFT, which compares ends of names, finds no other.

    `names` are the base's tensors; without them modules are called by their full names.

    >>> base = [f"h.{i}.{m}.weight" for i in (0, 1) for m in ("attn.proj", "mlp.proj", "mlp.up")]
    >>> _targets(["h.0.mlp.proj", "h.1.mlp.proj", "h.0.mlp.up"], base)
    ['h.0.mlp.up', 'mlp.proj']
    """
    modules = set(modules)
    everything = set()
    for name in names:
        parts = name.split(".")[:-1]
        everything.update(".".join(parts[:k]) for k in range(1, len(parts) + 1))
    targets = set()
    for module in modules:
        parts = module.split(".")
        endings = (".".join(parts[k:]) for k in range(len(parts) - 1, 0, -1))
        fits = (
            ending
            for ending in endings
            if everything
            and not any(part.isdigit() for part in ending.split("."))
            and {m for m in everything if f".{m}".endswith(f".{ending}")} <= modules
        )
        targets.add(next(fits, module))
    return sorted(targets)
