"""A full model on disk: its config and its tensors, in one file or in shards, read lazily."""

from __future__ import annotations

import hashlib
import re
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mergelab.checkpoints.pickled_file import ALLOW, PickledFile
from mergelab.checkpoints.reading import read_json
from mergelab.checkpoints.safetensors_file import SafetensorsFile, Stored, TensorEntry
from mergelab.errors import UserError

_SAMPLE = 4096
_MOST_LAYERS = 10_000
_CONV1D = ("gpt2", "openai-gpt", "imagegpt", "decision_transformer")

WeightsFile = SafetensorsFile | PickledFile


class Checkpoint:
    """The tensors and the config of a model folder as `transformers` saves it.

    `path`: a folder with `config.json` and `model.safetensors`, or shards with their index.
    Opening reads headers only. With `allow_pickle`, weights that are there only as pickles
    (`pytorch_model.bin`) are read too; see `PickledFile` for how that is kept safe. Raises
    `UserError` when something is missing, damaged, quantised, or a pickle not asked for.
    """

    def __init__(self, path: Path, *, allow_pickle: bool = False) -> None:
        self.path = Path(path)
        self.config: dict[str, Any] = read_json(self.path / "config.json")
        self._refuse_quantised()
        self._files = self._open_files("model.safetensors", SafetensorsFile)
        if self._files is None and allow_pickle:
            self._files = self._open_files("pytorch_model.bin", PickledFile)
        if self._files is None:
            raise self._no_weights()

    def _refuse_quantised(self) -> None:
        quantised = self.config.get("quantization_config")
        if quantised:
            method = quantised.get("quant_method") if isinstance(quantised, dict) else None
            raise UserError(
                f"{self.path}: the weights are quantised ({method or 'by an unnamed method'}); "
                "name the unquantised model instead (unquantised+adapter for an adapter trained on "
                "this one), or save an unquantised copy with transformers (model.dequantize(), "
                "then save_pretrained)"
            )

    def _open_files(self, name: str, kind: type[WeightsFile]) -> dict[str, WeightsFile] | None:
        """Each tensor's file, from one file `name` or from its index; None if neither is there."""
        index = self.path / f"{name}.index.json"
        single = self.path / name
        if single.exists():
            file = kind(single)
            return dict.fromkeys(file.entries, file)
        if not index.exists():
            return None
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise UserError(f"{index}: has no 'weight_map'; download the model again")
        opened: dict[str, WeightsFile] = {}
        for shard in sorted({str(name) for name in weight_map.values()}):
            if Path(shard).name != shard or "\0" in shard:
                raise UserError(
                    f"{index}: shard '{shard}' lies outside the model's folder; refused"
                )
            opened[shard] = kind(self.path / shard)
        for name, shard in weight_map.items():
            if name not in opened[str(shard)].entries:
                raise UserError(f"{index}: tensor '{name}' is not in {shard}; download it again")
        for shard, file in opened.items():
            left_out = next((name for name in file.entries if name not in weight_map), None)
            if left_out is not None:
                raise UserError(
                    f"{index}: leaves out tensor '{left_out}' of {shard}; download it again"
                )
        return {name: opened[str(shard)] for name, shard in weight_map.items()}

    def _no_weights(self) -> UserError:
        if any(self.path.glob("*.bin")) or any(self.path.glob("*.pt")):
            return UserError(
                f"{self.path}: its weights are pickles, which can run code when read; "
                "save them as safetensors first (model.save_pretrained), or add "
                f"{ALLOW} to read nothing but tensors from them"
            )
        return UserError(f"{self.path}: no model.safetensors and no index of shards in it")

    @property
    def names(self) -> list[str]:
        """Tensor names, in the order they are stored."""
        return list(self._files)

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def entry(self, name: str) -> TensorEntry:
        """Dtype, shape and size of one tensor; nothing is read."""
        return self._files[name].entries[name]

    def read(self, name: str) -> Tensor:
        """One tensor in its stored dtype."""
        return self._files[name].read(name)

    def read_rows(self, name: str, start: int, stop: int) -> Tensor:
        """Some rows of one tensor seen as a matrix, in its stored dtype."""
        return self._files[name].read_rows(name, start, stop)

    def operand(self, name: str) -> Stored:
        """One tensor as an operand of a merge, read as its rows are asked for."""
        return Stored(self._files[name], name)

    @cached_property
    def layers(self) -> int:
        """Number of transformer blocks, counted from the tensor names."""
        indices = [layer_index(name) for name in self.names]
        count = 1 + max((index for index in indices if index is not None), default=-1)
        if count > _MOST_LAYERS:
            raise UserError(f"{self.path}: has a tensor of layer {count - 1:,}, which no model has")
        return count

    @property
    def is_tied(self) -> bool:
        """Whether the output head is the embedding matrix itself, stored once."""
        said = self.config.get("tie_word_embeddings")
        if said is None:
            return not any(map(is_head, self.names))
        if not isinstance(said, bool):
            raise UserError(
                f"{self.path / 'config.json'}: tie_word_embeddings must be true or false, got "
                f"{said!r}"
            )
        return said

    @property
    def stores_transposed(self) -> bool:
        """Whether the linear layers of the blocks store their weight as `[in, out]` (Conv1D)."""
        return self.config.get("model_type") in _CONV1D

    @property
    def dtype(self) -> torch.dtype:
        """The floating dtype that most tensors are stored in."""
        dtypes = [e.dtype for e in map(self.entry, self.names) if e.dtype.is_floating_point]
        return max(sorted(set(dtypes), key=str), key=dtypes.count) if dtypes else torch.float32

    @cached_property
    def fingerprint(self) -> str:
        """A name for the content, whatever the folder is called: 32 hex digits.

        Covers each tensor's name, dtype, shape and a few kilobytes from its middle, so that it
        costs no full read.
        """
        digest = hashlib.blake2b(digest_size=16)
        for name in sorted(self.names):
            entry, file = self.entry(name), self._files[name]
            digest.update(f"{name}|{entry.dtype}|{entry.shape}|".encode())
            digest.update(file.middle(name, _SAMPLE))
        return digest.hexdigest()


_WORDS = re.compile(r"(embed_tokens|wte|embed_in|word_embeddings)\.weight$")
_POSITIONS = re.compile(r"(wpe|embed_positions|position_embeddings)\.weight$")
_HEAD = re.compile(r"(lm_head|embed_out)\.weight$")


def is_word_embedding(name: str) -> bool:
    """Whether a tensor holds a vector for each word of the vocabulary, by its name."""
    return _WORDS.search(name) is not None


def is_embedding(name: str) -> bool:
    """Whether a tensor is looked up row by row, for words or positions, by its name.

    >>> is_embedding("transformer.wpe.weight"), is_embedding("lm_head.weight")
    (True, False)
    """
    return is_word_embedding(name) or _POSITIONS.search(name) is not None


def is_head(name: str) -> bool:
    """Whether a tensor is the output head's, by its name."""
    return _HEAD.search(name) is not None


_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|block|layer)\.([0-9]{1,18})\.")


def layer_index(name: str) -> int | None:
    """The block a tensor belongs to, or None for embeddings, final norm and head.

    >>> layer_index("model.layers.12.mlp.up_proj.weight"), layer_index("model.norm.weight")
    (12, None)
    """
    match = _LAYER.search(name)
    return int(match.group(1)) if match else None


def with_layer(name: str, index: int) -> str:
    """The same tensor's name in another block.

    >>> with_layer("model.layers.12.mlp.up_proj.weight", 3)
    'model.layers.3.mlp.up_proj.weight'
    """
    match = _LAYER.search(name)
    if match is None:
        return name
    return f"{name[: match.start(1)]}{index}{name[match.end(1) :]}"
