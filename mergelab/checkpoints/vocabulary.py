"""The tokens of a model: which row of its embeddings and of its output head each one has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergelab.checkpoints.checkpoint import (
    Checkpoint,
    is_head,
    is_word_embedding,
)
from mergelab.checkpoints.reading import read_json
from mergelab.errors import UserError

_FILES = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "chat_template*",
)
_MOST_ROWS = 2**31
_HOW_ADDED = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer's tokens, by their text, and how those outside its model are to be matched.

    `tokens`: the row of each token. `added`: for the tokens added to the tokenizer's own, in the
    order of their rows, the settings of `tokenizers.AddedToken`.
    """

    tokens: Mapping[str, int]
    added: tuple[Mapping[str, Any], ...] = ()

    @property
    def size(self) -> int:
        """One more than the last row that a token has."""
        return max(self.tokens.values(), default=-1) + 1


def tokenizer_files(folder: Path) -> list[Path]:
    """The files of the tokenizer in `folder`, which a merged model gets copies of.

    Raises `UserError` for one that cannot be copied.
    """
    names = dict.fromkeys(path for pattern in _FILES for path in sorted(folder.glob(pattern)))
    found = [path for path in names if path.suffix or not path.is_dir()]
    for path in found:
        if not path.is_file():
            raise UserError(
                f"{path}: is no file but a folder, a broken link, a pipe or a device; copy it again"
            )
    return found


def read_vocabulary(folder: Path) -> Vocabulary | None:
    """The vocabulary of the tokenizer in `folder`, or None where there is none.

    Reads `tokenizer.json`; other formats are converted by `transformers`. Raises `UserError` if
    the tokenizer is damaged.
    """
    path = folder / "tokenizer.json"
    if path.exists():
        return _parse(read_json(path), path)
    if any((folder / name).exists() for name in ("tokenizer.model", "vocab.json", "vocab.txt")):
        from mergelab.checkpoints.loading import load_tokenizer

        tokenizer = load_tokenizer(folder)
        added = [json.loads(_as_json(t)) for _, t in sorted(tokenizer.added_tokens_decoder.items())]
        return Vocabulary(tokenizer.get_vocab(), tuple(added))
    return None


def _as_json(token: Any) -> str:
    return json.dumps({key: getattr(token, key) for key in _HOW_ADDED})


def _parse(content: Mapping[str, Any], path: Path) -> Vocabulary:
    try:
        vocabulary = content["model"]["vocab"]
        if isinstance(vocabulary, list):  # Unigram: pieces with their scores
            tokens = {piece: row for row, (piece, _) in enumerate(vocabulary)}
        else:
            tokens = dict(vocabulary)
        added = sorted(content.get("added_tokens") or [], key=lambda token: token["id"])
        tokens.update((token["content"], token["id"]) for token in added)
        if not all(type(row) is int and 0 <= row < _MOST_ROWS for row in tokens.values()):
            raise ValueError("a token's id is no row of embeddings")
        settings = tuple({key: token[key] for key in _HOW_ADDED} for token in added)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: not a valid tokenizer ({error}); copy it again from the model it belongs to"
        ) from None
    return Vocabulary(tokens, settings)


def is_token_rows(name: str) -> bool:
    """Whether a tensor has one row for each token: the embeddings and the output head.

    >>> is_token_rows("model.embed_tokens.weight"), is_token_rows("model.norm.weight")
    (True, False)
    """
    return is_head(name) or is_word_embedding(name)


def embedding_name(model: Checkpoint) -> str | None:
    """The name of a model's embeddings, or None where none is known."""
    return next(filter(is_word_embedding, model.names), None)


def token_rows(model: Checkpoint) -> int | None:
    """How many rows a model's embeddings have: the tokens', and perhaps spare ones."""
    name = embedding_name(model)
    return model.entry(name).shape[0] if name else model.config.get("vocab_size")
