"""A PEFT LoRA adapter on disk: which tensors of the base it changes, and by what factors.

What PEFT's LoRA can express and this reader supports: rank and alpha patterns, rsLoRA,
`fan_in_fan_out`, embeddings, `modules_to_save`. Everything else is refused by its name, because
an adapter that is read half is merged wrong.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mergelab.checkpoints.checkpoint import Checkpoint, read_json
from mergelab.checkpoints.safetensors_file import SafetensorsFile, Stored
from mergelab.checkpoints.task_vector import TaskVector, difference, low_rank
from mergelab.errors import UserError

_PREFIX = "base_model.model."
_FACTOR = re.compile(
    r"^(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<factor>[AB])(?:\.weight)?$"
)

_COPY = ".base_layer.weight"
_EMBEDDING_OR_HEAD = re.compile(r"(embed_tokens|wte|embed_in|lm_head|embed_out)\.weight$")

# Settings whose presence changes what the weights mean, and which are not supported.
_REFUSED = (
    "use_dora",
    "lora_bias",
    "use_qalora",
    "use_bdlora",
    "layer_replication",
    "trainable_token_indices",
    "target_parameters",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "velora_config",
    "megatron_config",
)
# Initialisations that also change the base, so that the factors belong to that changed base.
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


@dataclass(frozen=True)
class _Factors:
    a: str
    b: str
    embedding: bool


class Adapter:
    """The LoRA adapter in a folder: `adapter_config.json` and `adapter_model.safetensors`.

    Opening reads the config and the header. Raises `UserError` for missing or damaged files and
    for kinds of adapter that cannot be merged faithfully.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.config: dict[str, Any] = read_json(self.path / "adapter_config.json")
        self._refuse_unsupported()
        weights = self.path / "adapter_model.safetensors"
        if not weights.exists() and (self.path / "adapter_model.bin").exists():
            raise UserError(
                f"{self.path}: its weights are a pickle, which can run code when read; "
                "save the adapter again with PEFT, which writes safetensors"
            )
        self._file = SafetensorsFile(weights)
        self._low_rank: dict[str, _Factors] = {}
        self._saved: dict[str, str] = {}
        self._base_copies: dict[str, str] = {}
        self._sort_tensors()

    def _refuse_unsupported(self) -> None:
        where = self.path / "adapter_config.json"
        kind = self.config.get("peft_type")
        if kind != "LORA":
            raise UserError(f"{where}: peft_type is {kind!r}; only LORA adapters can be merged")
        for key in _REFUSED:
            if self.config.get(key):
                raise UserError(
                    f"{where}: '{key}' is not supported; "
                    "merge this adapter into its base with PEFT and use the merged model"
                )
        if self.config.get("bias", "none") != "none":
            raise UserError(
                f"{where}: trained biases (bias: {self.config['bias']}) are not supported"
            )
        start = str(self.config.get("init_lora_weights", True)).lower()
        if start.startswith(_CHANGES_BASE):
            raise UserError(
                f"{where}: init_lora_weights: {start} also changes the base; convert the adapter "
                "with PEFT (save_pretrained(..., path_initial_model_for_weight_conversion=...))"
            )
        self._alphas = _alphas(self.config, where)

    def _sort_tensors(self) -> None:
        pairs: dict[str, dict[str, str]] = {}
        embeddings: set[str] = set()
        for stored in self._file.entries:
            name = stored.removeprefix(_PREFIX)
            match = _FACTOR.match(name)
            if match is None:
                if ".lora_" in name:
                    raise UserError(f"{self._file.path}: tensor '{stored}' is of an unknown kind")
                if name.endswith(_COPY):  # PEFT keeps the embeddings that factors belong to
                    self._base_copies[name.replace(_COPY, ".weight")] = stored
                else:
                    plain = name.replace(".modules_to_save.default", "")
                    self._saved[plain.replace(".modules_to_save", "")] = stored
                continue
            module = match["module"].replace(".base_layer", "")
            pairs.setdefault(module, {})[match["factor"]] = stored
            if match["embedding"]:
                embeddings.add(module)
        for module, factors in pairs.items():
            if set(factors) != {"A", "B"}:
                raise UserError(f"{self._file.path}: '{module}' has only one of its two factors")
            self._low_rank[f"{module}.weight"] = _Factors(
                factors["A"], factors["B"], module in embeddings
            )

    @property
    def base_name(self) -> str | None:
        """The base that the adapter's own config names, as written there."""
        return self.config.get("base_model_name_or_path") or None

    @property
    def names(self) -> list[str]:
        """Names of the base's tensors that this adapter changes."""
        return [*self._low_rank, *self._saved]

    def scaling(self, name: str, rank: int) -> float:
        """The factor in front of `B @ A`: alpha / r, or alpha / sqrt(r) with rsLoRA.

        Patterns match as in PEFT: a regular expression for the end of the module's name. Source:
        Hu et al. 2021 (arXiv 2106.09685) section 4.1; Kalajdzievski 2023 (arXiv 2312.03732).
        """
        module = name.removesuffix(".weight")
        alpha = next(value for pattern, value in self._alphas if pattern.match(module))
        return alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank)

    def task_vector(
        self, name: str, base: Checkpoint, stored: str | None = None
    ) -> TaskVector | None:
        """What the adapter changes in the tensor `name`, or None where it changes nothing.

        `base` provides the shape to check against (and the weight that a `modules_to_save` copy
        is held against), under the name `stored` where that differs. Raises `UserError` on a
        shape mismatch.
        """
        stored = stored or name
        if name in self._saved:
            source = self._saved[name]
            shape = self._file.entries[source].shape
            self._check_shape(name, shape, base.entry(stored).shape)
            return difference(Stored(self._file, source), base.operand(stored))
        if name not in self._low_rank:
            return None
        factors = self._low_rank[name]
        a, b = self._file.read(factors.a), self._file.read(factors.b)
        if a.dim() != 2 or b.dim() != 2 or a.shape[0] != b.shape[1] or a.shape[0] == 0:
            raise UserError(
                f"{self._file.path}: the factors of '{name}' do not fit each other, "
                f"A is {list(a.shape)} and B is {list(b.shape)}"
            )
        flipped = factors.embedding or bool(self.config.get("fan_in_fan_out"))
        vector = low_rank(a, b, self.scaling(name, a.shape[0]), transposed=flipped)
        self._check_shape(name, vector.shape, base.entry(stored).shape)
        return vector

    def _check_shape(self, name: str, mine: tuple[int, ...], base: tuple[int, ...]) -> None:
        if tuple(mine) != tuple(base):
            raise UserError(
                f"{self.path}: changes '{name}' of shape {list(mine)}, but the base has "
                f"{list(base)}; adapter and base do not belong together"
            )

    def check_against(self, base: Checkpoint) -> None:
        """Raise `UserError` unless `base` has every tensor this adapter changes, of its shape.

        Also where the base shares its embeddings with its output head: the adapter was trained
        with one of the two changed and the other not, which the merged model could not hold.
        """
        tied = base.is_tied and not self.config.get("ensure_weight_tying")
        for name in self.names:
            if tied and _EMBEDDING_OR_HEAD.search(name):
                raise UserError(
                    f"{self.path}: changes '{name}', which the base {base.path} shares between its "
                    "embeddings and its output head (tie_word_embeddings); not supported, merge "
                    "this adapter into an untied copy of the base with PEFT"
                )
            if name not in base:
                raise UserError(
                    f"{self.path}: changes '{name}', which the base {base.path} does not have; "
                    "adapter and base do not belong together"
                )
            self.task_vector(name, base)
        for name, stored in self._base_copies.items():
            if name not in base or not _alike(self._file.read(stored), base.read(name)):
                raise UserError(
                    f"{self.path}: was trained on other values of '{name}' than the base "
                    f"{base.path} has; adapter and base do not belong together"
                )

    @cached_property
    def fingerprint(self) -> str:
        """A name for the content, whatever the folder is called: 32 hex digits.

        Covers every tensor's bytes and the settings that scale them.
        """
        digest = hashlib.blake2b(digest_size=16)
        keys = ("lora_alpha", "alpha_pattern", "use_rslora", "fan_in_fan_out")
        digest.update(repr([(key, self.config.get(key)) for key in keys]).encode())
        for stored in sorted(self._file.entries):
            entry = self._file.entries[stored]
            digest.update(f"{stored}|{entry.dtype}|{entry.shape}|".encode())
            digest.update(_bytes(self._file.read(stored)))
        return digest.hexdigest()


def _alphas(config: dict[str, Any], where: Path) -> list[tuple[re.Pattern[str], float]]:
    """What `alpha` is for a module: the value of the first pattern that matches its name."""
    patterns = config.get("alpha_pattern") or {}
    if not isinstance(patterns, dict):
        raise UserError(f"{where}: alpha_pattern must map names of modules to numbers")
    pairs = [(rf"(.*\.)?({name})$", alpha) for name, alpha in patterns.items()]
    pairs.append(("", config.get("lora_alpha", 8)))
    result = []
    for pattern, alpha in pairs:
        if isinstance(alpha, bool) or not isinstance(alpha, int | float):
            raise UserError(f"{where}: alpha must be a number, got {alpha!r}")
        try:
            result.append((re.compile(pattern), alpha))
        except re.error as error:
            raise UserError(f"{where}: alpha_pattern {pattern!r} is not valid ({error})") from None
    return result


def _alike(copy: Tensor, original: Tensor) -> bool:
    """Whether a tensor is a copy of another, perhaps rounded to half precision on the way."""
    if copy.shape != original.shape:
        return False
    difference = (copy.float() - original.float()).norm()
    return bool(difference <= 0.01 * original.float().norm())


def _bytes(tensor: Tensor) -> memoryview:
    return memoryview(tensor.contiguous().flatten().view(torch.uint8).numpy())
