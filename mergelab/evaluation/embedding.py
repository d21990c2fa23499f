"""Scores by meaning: how near a reply is to right replies, as an encoder model sees it.

The encoder is any that `transformers` loads with `AutoModel`. A folder of sentence-transformers
says how a text's tokens become one vector (mean, first or last token); otherwise it is their mean.
The vector's length does not matter: near is the cosine of the angle.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from mergelab.checkpoints.hub import download_settings
from mergelab.checkpoints.loading import DTYPES, check_device, load_tokenizer
from mergelab.checkpoints.references import References
from mergelab.errors import UserError
from mergelab.evaluation.scorers import Score
from mergelab.evaluation.suites import Item

THRESHOLD = 0.6
_BATCH = 64
_PLAIN = ("Transformer", "Pooling", "Normalize")
# What sentence-transformers calls the ways from a text's tokens to one vector.
_POOLINGS = {"mean": "mean", "cls": "first", "lasttoken": "last"}


class Encoder:
    """A model that turns texts into vectors; `reference` is a folder, a shipped name, a hub id.

    Raises `UserError` when there is none, when `transformers` cannot load it, or when its vectors
    need layers or a pooling of sentence-transformers that are not known here.
    """

    def __init__(self, reference: str, *, device: str = "cpu", dtype: str = "float32") -> None:
        check_device(device, dtype)
        self.folder = References().model_folder(reference)
        self.device, self.dtype = device, dtype
        self.pooling = _pooling(self.folder)

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        from transformers import AutoModel

        try:
            model = AutoModel.from_pretrained(self.folder, dtype=DTYPES[self.dtype])
        except (ValueError, OSError) as error:
            reason = str(error).split(". ")[0]
            raise UserError(f"{self.folder}: transformers cannot load it ({reason})") from None
        return model.to(self.device).eval(), load_tokenizer(self.folder)

    def vectors(self, texts: Sequence[str]) -> torch.Tensor:
        """The vectors of texts, of length 1, in fp32 on the CPU: [texts, width]."""
        model, tokenizer = self._loaded
        longest = min(tokenizer.model_max_length, _context(model))
        found = []
        with torch.inference_mode():
            for start in range(0, len(texts), _BATCH):
                rows = [
                    tokenizer.encode(text, truncation=True, max_length=longest) or [0]
                    for text in texts[start : start + _BATCH]
                ]
                width = max(map(len, rows))
                ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
                mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
                ids, mask = ids.to(self.device), mask.to(self.device)
                hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
                found.append(_pooled(hidden, mask, self.pooling).cpu())
        return torch.nn.functional.normalize(torch.cat(found), dim=-1)


def _context(model: Any) -> int:
    return getattr(model.config, "max_position_embeddings", None) or 512


def _pooled(hidden: torch.Tensor, mask: torch.Tensor, how: str) -> torch.Tensor:
    if how == "first":
        return hidden[:, 0]
    if how == "last":
        return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1) - 1]
    return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def _pooling(folder: Path) -> str:
    """How a folder says that tokens become one vector; the mean where it says nothing."""
    if not (folder / "modules.json").exists():
        return "mean"
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        kinds = {module["type"].rpartition(".")[2]: module["path"] for module in modules}
        if kinds.get("Pooling"):
            download_settings(folder, kinds["Pooling"])
        chosen = _chosen(folder / kinds["Pooling"] / "config.json") if "Pooling" in kinds else []
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{folder}: its modules.json or pooling config cannot be read") from None
    strange = [kind for kind in kinds if kind not in _PLAIN]
    strange += [how for how in chosen if how not in _POOLINGS or len(chosen) > 1]
    if strange:
        raise UserError(
            f"{folder}: its vectors need '{strange[0]}' of sentence-transformers; name an encoder "
            "with mean, cls or lasttoken pooling alone and no layer after it"
        )
    return _POOLINGS[chosen[0]] if chosen else "mean"


def _chosen(settings: Path) -> list[str]:
    """The poolings that a config switches on: by one name, or by a switch for each."""
    said = json.loads(settings.read_text(encoding="utf-8"))
    named = said.get("pooling_mode")
    if isinstance(named, str):
        return [named]
    switches = [key for key, on in said.items() if key.startswith("pooling_mode_") and on]
    return [re.sub(r"^pooling_mode_|_tokens?$", "", key) for key in switches]


def score_by_embedding(
    encoder: Encoder, items: Sequence[Item], replies: Sequence[str], threshold: float = THRESHOLD
) -> list[Score]:
    """Score replies by the largest cosine to one of their items' references.

    Right is a cosine of at least `threshold`. Encoders differ in what a cosine means: choose the
    threshold on dev, so that replies you call right and wrong come to lie on its two sides.
    Partial: the cosine over the threshold, 0 where it is negative. An empty reply is wrong.
    """
    texts = list(dict.fromkeys([*replies, *(r for item in items for r in item.references or [])]))
    place = {text: n for n, text in enumerate(texts)}
    vectors = encoder.vectors(texts) if texts else torch.zeros(0, 1)
    scores = []
    for item, reply in zip(items, replies, strict=True):
        if not reply.strip():
            scores.append(Score(0, 0.0, "an empty reply"))
            continue
        near = vectors[[place[reference] for reference in item.references or []]]
        cosine = float((near @ vectors[place[reply]]).max())
        if cosine >= threshold:
            scores.append(Score(1, 1.0, "right"))
        else:
            part = min(max(0.0, cosine) / threshold, 0.99)
            scores.append(Score(0, part, f"cosine {cosine:.2f} to the nearest reference"))
    return scores
