"""A PEFT LoRA adapter on disk: which tensors of the base it changes, and by what."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mergelab.checkpoints.adapter_settings import AdapterSettings
from mergelab.checkpoints.checkpoint import (
    Checkpoint,
    WeightsFile,
    is_head,
    is_word_embedding,
)
from mergelab.checkpoints.pickled_file import ALLOW, PickledFile
from mergelab.checkpoints.reading import read_json
from mergelab.checkpoints.safetensors_file import SafetensorsFile, Stored, TensorEntry
from mergelab.checkpoints.task_vector import (
    ReplacedRows,
    TaskVector,
    decomposed,
    difference,
    low_rank,
)
from mergelab.errors import UserError
from mergelab.kernels.operands import InMemory

_PREFIX = "base_model.model."
_PART = re.compile(
    r"^(?P<module>.+)\.lora_(?P<part>A|B|embedding_A|embedding_B|magnitude_vector)"
    r"(?P<bias>\.bias)?(?:\.weight)?$"
)
_TOKENS = ".token_adapter.trainable_tokens_delta"


@dataclass
class _Contents:
    """What is stored for the base's tensors, by their names."""

    factors: dict[str, dict[str, str]] = field(default_factory=dict)
    biases: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    whole: dict[str, str] = field(default_factory=dict)
    base_copies: dict[str, str] = field(default_factory=dict)


class Adapter:
    """The LoRA adapter in a folder: `adapter_config.json` and `adapter_model.safetensors`.

    Opening reads the config and the header. With `allow_pickle`, an `adapter_model.bin` is read
    where there is no safetensors file; see `PickledFile` for how that is kept safe. Raises
    `UserError` for missing or damaged files and for kinds of adapter that cannot be merged
    faithfully.
    """

    def __init__(self, path: Path, *, allow_pickle: bool = False) -> None:
        self.path = Path(path)
        where = self.path / "adapter_config.json"
        self.config: dict[str, Any] = read_json(where)
        self._settings = AdapterSettings(self.config, where)
        self._file = self._open(allow_pickle)
        self._contents = self._sorted()

    def _open(self, allow_pickle: bool) -> WeightsFile:
        weights = self.path / "adapter_model.safetensors"
        pickled = self.path / "adapter_model.bin"
        if weights.exists() or not pickled.exists():
            return SafetensorsFile(weights)
        if allow_pickle:
            return PickledFile(pickled)
        raise UserError(
            f"{self.path}: its weights are a pickle, which can run code when read; save the "
            "adapter again with PEFT, which writes safetensors, or add "
            f"{ALLOW} to read nothing but tensors from it"
        )

    def _sorted(self) -> _Contents:
        """What each stored tensor is for, from its name."""
        contents = _Contents()
        if not self._file.entries:
            raise UserError(f"{self._file.path}: holds no tensors; copy it again")
        for stored in self._file.entries:
            name = stored.removeprefix(_PREFIX)
            match = _PART.match(name)
            if match is None:
                self._sort_other(contents, name, stored)
                continue
            module, part = match["module"].replace(".base_layer", ""), match["part"]
            if match["bias"]:
                contents.biases[f"{module}.bias"] = stored
            else:
                contents.factors.setdefault(f"{module}.weight", {})[part] = stored
        for name, parts in contents.factors.items():
            self._check_parts(name.removesuffix(".weight"), set(parts))
        wanted = set(contents.factors) if self.config.get("lora_bias") else set()
        odd = wanted ^ {_weight(name) for name in contents.biases}
        if odd:
            raise UserError(
                f"{self._file.path}: '{min(odd)}' and lora_bias: "
                f"{bool(self.config.get('lora_bias'))} do not go together"
            )
        return contents

    def _sort_other(self, contents: _Contents, name: str, stored: str) -> None:
        if ".lora_" in name or (".token_adapter." in name and not name.endswith(_TOKENS)):
            raise UserError(f"{self._file.path}: tensor '{stored}' is of an unknown kind")
        if name.endswith(_TOKENS):
            contents.tokens[name.replace(_TOKENS, ".weight")] = stored
            return
        plain = name.replace(".modules_to_save.default", "").replace(".modules_to_save", "")
        # PEFT keeps the embeddings that factors belong to, beside them
        trained = ".base_layer." not in name or (
            name.endswith(".bias") and self._settings.bias != "none"
        )
        kept = contents.whole if trained else contents.base_copies
        kept[plain.replace(".base_layer", "")] = stored

    def _check_parts(self, module: str, parts: set[str]) -> None:
        magnitude = {"magnitude_vector"} if self.config.get("use_dora") else set()
        if parts in ({"A", "B"} | magnitude, {"embedding_A", "embedding_B"} | magnitude):
            return
        if "magnitude_vector" in parts - magnitude:
            raise UserError(
                f"{self._file.path}: '{module}' has a lora_magnitude_vector, but use_dora is off"
            )
        if magnitude and "magnitude_vector" not in parts:
            raise UserError(f"{self._file.path}: '{module}' lacks its lora_magnitude_vector")
        raise UserError(f"{self._file.path}: '{module}' has only one of its two factors")

    @property
    def base_name(self) -> str | None:
        """The base that the adapter's own config names, as written there."""
        name = self.config.get("base_model_name_or_path") or None
        if name is not None and not isinstance(name, str):
            raise UserError(
                f"{self.path / 'adapter_config.json'}: base_model_name_or_path must be a name, "
                f"got {name!r}"
            )
        return name

    @property
    def names(self) -> list[str]:
        """Names of the base's tensors that this adapter changes."""
        held = self._contents
        return [*held.factors, *held.biases, *held.tokens, *held.whole]

    def scaling(self, name: str, rank: int) -> float:
        """The factor in front of `B @ A` for the tensor `name`."""
        return self._settings.scaling(name.removesuffix(".weight"), rank)

    def task_vector(
        self, name: str, base: Checkpoint, stored: str | None = None
    ) -> TaskVector | None:
        """What the adapter changes in the tensor `name`, or None where it changes nothing.

        `base` provides the shape to check against, and the weights that a whole copy, a bias or a
        DoRA adapter changes, under the name `stored` where that differs. Nothing of the base is
        read before rows of the result are. Raises `UserError` on a shape mismatch.
        """
        held, stored = self._contents, stored or name
        if name in held.factors:
            return self._from_factors(name, base, stored)
        if name in held.biases:
            bias = self._file.read(held.biases[name]).float()
            self._check_shape(name, bias.shape, base.entry(stored).shape)
            rank = self._file.entries[held.factors[_weight(name)]["A"]].shape[0]
            return InMemory(bias * self.scaling(_weight(name), rank))
        if name in held.tokens:
            return self._from_tokens(name, base, stored)
        if name in held.whole:
            source = held.whole[name]
            self._check_shape(name, self._file.entries[source].shape, base.entry(stored).shape)
            return difference(Stored(self._file, source), base.operand(stored))
        return None

    def factors(self, name: str) -> tuple[Tensor, Tensor, float] | None:
        """A `[r, in]`, B `[out, r]` and their scaling, as stored; None where there is more to it.

        That is, where the adapter does not change `name`, keeps it whole, or is a DoRA.
        """
        parts = self._contents.factors.get(name)
        if parts is None or "magnitude_vector" in parts:
            return None
        embedding = "embedding_" if "embedding_A" in parts else ""
        a, b = (self._file.read(parts[embedding + factor]) for factor in "AB")
        return a, b, self.scaling(name, a.shape[0])

    def is_transposed(self, name: str, base: Checkpoint, stored: str) -> bool:
        """Whether the base holds the transpose of `B @ A`, under the name `stored`."""
        a, b, _ = self.factors(name)
        embedding = "embedding_A" in self._contents.factors[name]
        straight = (b.shape[0], a.shape[1])
        return embedding or self._is_transposed(base.entry(stored).shape, straight, base)

    def _from_factors(self, name: str, base: Checkpoint, stored: str) -> TaskVector:
        parts = self._contents.factors[name]
        embedding = "embedding_A" in parts
        a = self._file.read(parts["embedding_A" if embedding else "A"])
        b = self._file.read(parts["embedding_B" if embedding else "B"])
        if a.dim() != 2 or b.dim() != 2 or a.shape[0] != b.shape[1] or a.shape[0] == 0:
            raise UserError(
                f"{self._file.path}: the factors of '{name}' do not fit each other, "
                f"A is {list(a.shape)} and B is {list(b.shape)}"
            )
        rank = self._settings.rank(name.removesuffix(".weight"))
        if a.shape[0] != rank:
            raise UserError(
                f"{self.path}: the factors of '{name}' have rank {a.shape[0]}, by its "
                f"adapter_config.json it is {rank}; the two do not belong together"
            )
        shape = base.entry(stored).shape
        transposed = embedding or self._is_transposed(shape, (b.shape[0], a.shape[1]), base)
        vector = low_rank(a, b, self.scaling(name, a.shape[0]), transposed=transposed)
        self._check_shape(name, vector.shape, shape)
        if "magnitude_vector" not in parts:
            return vector
        magnitude = self._file.read(parts["magnitude_vector"]).flatten()
        if magnitude.numel() != b.shape[0]:
            raise UserError(
                f"{self._file.path}: the lora_magnitude_vector of '{name}' has "
                f"{magnitude.numel()} entries, its factors {b.shape[0]} outputs"
            )
        return decomposed(base.operand(stored), vector, magnitude, transposed=transposed)

    def _is_transposed(self, shape: tuple, straight: tuple, base: Checkpoint) -> bool:
        """Whether the base holds the transpose of `B @ A`, whose shape is `straight`.

        The config has one `fan_in_fan_out` for all layers, and PEFT saves that of the last one;
        so it counts only where the shape does not tell.
        """
        if straight[0] != straight[1] and shape in (straight, straight[::-1]):
            return shape != straight
        return self._settings.stores_transposed or base.stores_transposed

    def _from_tokens(self, name: str, base: Checkpoint, stored: str) -> TaskVector:
        values = self._file.read(self._contents.tokens[name])
        indices = self._settings.tokens(name.removesuffix(".weight"))
        shape = base.entry(stored).shape
        self._check_shape(name, values.shape, (len(indices), *shape[1:]))
        if max(indices) >= shape[0]:
            raise UserError(
                f"{self.path}: changes row {max(indices)} of '{name}', but the base has "
                f"{shape[0]}; adapter and base do not belong together"
            )
        return ReplacedRows(base.operand(stored), tuple(indices), values)

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
        for name in self.names:
            if base.is_tied and _is_tied(name):
                self._check_tied(name, base)
            elif name not in base:
                raise UserError(
                    f"{self.path}: changes '{name}', which the base {base.path} does not have; "
                    "adapter and base do not belong together"
                )
            if name in base:
                self._check_dtype(name, base)
                self.task_vector(name, base)
        for name, stored in self._contents.base_copies.items():
            same = base.is_tied and is_head(name) and name not in base
            if not same and (
                name not in base or not _alike(self._file.read(stored), base.read(name))
            ):
                raise UserError(
                    f"{self.path}: was trained on other values of '{name}' than the base "
                    f"{base.path} has; adapter and base do not belong together"
                )

    def _check_dtype(self, name: str, base: Checkpoint) -> None:
        """Refuse numbers that cannot be added to the base's: either may be whole ones only."""
        dtypes = [base.entry(name).dtype]
        dtypes += [entry.dtype for entry in self._stored_for(name)]
        whole = next((dtype for dtype in dtypes if not dtype.is_floating_point), None)
        if whole is not None:
            raise UserError(
                f"{self.path}: changes '{name}', but there or in the base {base.path} it is stored "
                f"as {str(whole).removeprefix('torch.')}; only floating point can be merged"
            )

    def _stored_for(self, name: str) -> list[TensorEntry]:
        """The entries of all that is stored here for one tensor of the base."""
        held = self._contents
        kept = (held.biases.get(name), held.tokens.get(name), held.whole.get(name))
        stored = [*held.factors.get(name, {}).values(), *(one for one in kept if one)]
        return [self._file.entries[one] for one in stored]

    def _check_tied(self, name: str, base: Checkpoint) -> None:
        """Let pass what changes the shared matrix once and for both."""
        held = self._contents
        if name in held.tokens and name in base:
            return  # PEFT shows single trained tokens to the head as well
        if name in held.whole:
            copies = [stored for other, stored in held.whole.items() if _is_tied(other)]
            first = self._file.read(copies[0])
            if len(copies) == 2 and first.equal(self._file.read(copies[1])):
                return
        raise UserError(
            f"{self.path}: changes '{name}', which the base {base.path} shares between its "
            "embeddings and its output head (tie_word_embeddings); not supported, merge "
            "this adapter into an untied copy of the base with PEFT"
        )

    @cached_property
    def fingerprint(self) -> str:
        """A name for the content, whatever the folder is called: 32 hex digits.

        Covers every tensor's bytes and the settings that scale them.
        """
        digest = hashlib.blake2b(digest_size=16)
        keys = ["lora_alpha", "alpha_pattern", "use_rslora", "fan_in_fan_out"]
        keys += [key for key in ("trainable_token_indices",) if self.config.get(key)]
        digest.update(repr([(key, self.config.get(key)) for key in keys]).encode())
        for stored in sorted(self._file.entries):
            entry = self._file.entries[stored]
            digest.update(f"{stored}|{entry.dtype}|{entry.shape}|".encode())
            digest.update(_bytes(self._file.read(stored)))
        return digest.hexdigest()


def _is_tied(name: str) -> bool:
    """Whether a tensor is one of the two that a model may share."""
    return is_word_embedding(name) or is_head(name)


def _weight(name: str) -> str:
    """The name of the weight that a bias belongs to."""
    return f"{name.removesuffix('.bias')}.weight"


def _alike(copy: Tensor, original: Tensor) -> bool:
    """Whether a tensor is a copy of another, perhaps rounded to half precision on the way."""
    if copy.shape != original.shape:
        return False
    difference = (copy.float() - original.float()).norm()
    return bool(difference <= 0.01 * original.float().norm())


def _bytes(tensor: Tensor) -> memoryview:
    return memoryview(tensor.contiguous().flatten().view(torch.uint8).numpy())
