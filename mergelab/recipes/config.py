"""The output's config.json and generation_config.json: what they say follows from the plan."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import Any

from mergelab.checkpoints import Checkpoint
from mergelab.checkpoints.reading import read_json
from mergelab.errors import UserError
from mergelab.recipes.layout import Layout
from mergelab.recipes.vocabulary import OutputTokens

_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")


def output_config(skeleton: Checkpoint, layout: Layout, tokens: OutputTokens) -> dict[str, Any]:
    """The output's config.json: the skeleton's, with the layers, tokens and head it really has.

    A list with one entry for each layer (`layer_types` and the like) is put together from the
    lists of the models that the layers come from. A model may store more layers than its config
    counts (one that predicts several tokens ahead does); if none is added or left out, the count
    stays.
    """
    restacked = len(layout.origins) != skeleton.layers
    config = copy.deepcopy(dict(skeleton.config))
    text = config.get("text_config")
    for part in (config, text) if isinstance(text, dict) else (config,):
        for key, value in list(part.items()):
            if key in _COUNTS and restacked:
                part[key] = len(layout.origins)
            elif key == "vocab_size" and tokens.rows is not None:
                part[key] = tokens.rows.rows
            elif key == "tie_word_embeddings":
                part[key] = not layout.untied
            elif _is_per_layer(key, value, skeleton.layers):
                part[key] = [_entry(part is text, key, *origin) for origin in layout.origins]
    if layout.untied != (not skeleton.is_tied):
        config["tie_word_embeddings"] = not layout.untied
    if tokens.tokenizer is not skeleton:
        config.update(_special_tokens(tokens.tokenizer))
    return config


def _is_per_layer(key: str, value: Any, layers: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == layers
        and key != "architectures"
        and "token" not in key
    )


def _entry(inner: bool, key: str, model: Checkpoint, layer: int) -> Any:
    """One layer's entry of a per-layer list of a model's config."""
    config = model.config.get("text_config", {}) if inner else model.config
    entries = config.get(key)
    if not isinstance(entries, list) or layer >= len(entries):
        raise UserError(
            f"{model.path}: its config.json has no {key} for layer {layer}, which another model "
            "has; only models of one architecture can be merged"
        )
    return entries[layer]


def _special_tokens(tokenizer: Checkpoint) -> dict[str, Any]:
    return {key: tokenizer.config[key] for key in _SPECIAL if key in tokenizer.config}


def generation_config(skeleton: Checkpoint, tokens: OutputTokens) -> dict[str, Any] | None:
    """The output's generation_config.json, or None: the skeleton's, with the tokenizer's tokens."""
    path = skeleton.path / "generation_config.json"
    if not os.path.lexists(path):
        return None
    config = read_json(path)
    if tokens.tokenizer is not skeleton:
        theirs = tokens.tokenizer.path / "generation_config.json"
        own = read_json(theirs) if theirs.exists() else {}
        config.update({**_special_tokens(tokens.tokenizer), **_only_special(own)})
    return config


def _only_special(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: config[key] for key in _SPECIAL if key in config}
