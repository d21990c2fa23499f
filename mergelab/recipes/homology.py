"""Do these models belong together? One architecture, one base, and a base that is the ancestor.

Averaging the weights of unrelated models gives noise that still loads and runs, so whatever can be
seen beforehand is refused. What config.json says is compared first, so that complaints name the
setting that differs and not the shape of some tensor.

That a base is the ancestor shows in the weights. Independently trained matrices are at right
angles: their cosine is 0 up to `1/sqrt(n)`, their distance sqrt(2) times their norm. Measured with
`relation` on this course's base (cosine, relative distance): its three fine-tunes and a sum of two
at least .992, at most .12; random weights of the same size -.01, 1.41; its own neurons in another
order .02, 1.38; noise of half its norm added .90, .50; noise of its full norm .71, .99; of three
times its norm .32, 2.97. Fine-tunes of billion-parameter models move by a few hundredths. The line
is drawn at a cosine of .3: beyond it lies what no training that is called fine-tuning does.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from mergelab.checkpoints import Checkpoint, Source
from mergelab.checkpoints.checkpoint import is_head
from mergelab.errors import UserError
from mergelab.kernels.operands import as_matrix
from mergelab.recipes.layout import TensorPlan, is_buffer
from mergelab.recipes.members import Members

UNRELATED = 0.3  # median cosine of a model's matrices with the base's, below which it is refused
_MATRICES, _ROWS = 8, 32

_MUST_AGREE = (
    "model_type", "hidden_size", "n_embd", "d_model", "num_attention_heads", "n_head",
    "num_key_value_heads", "head_dim", "intermediate_size", "n_inner", "num_local_experts",
    "num_experts", "num_experts_per_tok", "moe_intermediate_size", "kv_lora_rank", "q_lora_rank",
    "state_size",
)  # fmt: skip
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_POINTED_OUT = (
    "hidden_act", "rope_theta", "rope_scaling", "rope_parameters", "rms_norm_eps", "norm_epsilon",
    "layer_norm_epsilon", "sliding_window", "max_position_embeddings", "attention_bias",
    "final_logit_softcapping", "attn_logit_softcapping", "query_pre_attn_scalar",
    "embedding_multiplier", "residual_multiplier", "logits_scaling",
)  # fmt: skip


def check_belong(members: Members) -> list[str]:
    """Refuse sources of another architecture or another base than the rest; return notes.

    Raises `UserError` that names the setting, the base or the tensor that differs.
    """
    notes: list[str] = []
    for source in members.sources:
        if source.adapter is not None:
            base = members.underlying(source)
            if members.base is not None:
                notes += _same_base(source, members.base)
            source.adapter.check_against(base)
        model = members.underlying(source)
        _check_layers(model)
        if model is not members.skeleton:
            notes += _same_architecture(model, members.skeleton, bool(members.recipe.slices))
    return list(dict.fromkeys(notes))


def _check_layers(model: Checkpoint) -> None:
    """Refuse a model of which whole layers are missing."""
    for key in _LAYERS:
        said = setting(model.config, key)
        if type(said) is int and 0 < model.layers < said:
            raise UserError(
                f"{model.path}: {key} is {said} in its config.json, but it has tensors of "
                f"{model.layers} layers; download it again"
            )


def _same_base(source: Source, base: Checkpoint) -> list[str]:
    if source.base is None:
        return [
            f"{source.name}: its own base '{source.adapter.base_name}' is not at hand, so "
            f"that it was trained on {base.path.name} could not be checked"
        ]
    if source.base is not base and source.base.fingerprint != base.fingerprint:
        raise UserError(
            f"{source.path}: was trained on another base ({source.base.path}) than "
            f"{base.path}; only adapters of one base can be merged"
        )
    return []


def _same_architecture(model: Checkpoint, skeleton: Checkpoint, slices: bool) -> list[str]:
    keys = _MUST_AGREE if slices else (*_MUST_AGREE, *_LAYERS)
    for key in keys:
        mine, other = setting(model.config, key), setting(skeleton.config, key)
        if mine is not None and other is not None and mine != other:
            raise UserError(
                f"{model.path}: {key} is {mine} in its config.json, {other} in that of "
                f"{skeleton.path}; only models of one architecture can be merged"
            )
    if not slices:
        for name in model.names:
            if name not in skeleton and not is_head(name) and not is_buffer(name):
                raise UserError(
                    f"{model.path}: has a tensor '{name}', which {skeleton.path} lacks; "
                    "only models of one architecture can be merged"
                )
    notes = []
    for key in _POINTED_OUT:
        mine, other = setting(model.config, key), setting(skeleton.config, key)
        if mine is not None and other is not None and mine != other:
            notes.append(
                f"{key} is {_short(mine)} in {model.path.name}, {_short(other)} in "
                f"{skeleton.path.name}; the merged model has the latter"
            )
    return notes


def setting(config: Mapping[str, Any], key: str) -> Any:
    """A setting of a config, or of the language model's part of it; None where it is not set.

    >>> setting({"text_config": {"hidden_size": 8}}, "hidden_size")
    8
    """
    inner = config.get("text_config")
    found = config.get(key)
    return inner.get(key) if found is None and isinstance(inner, dict) else found


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_related(members: Members, tensors: Sequence[TensorPlan]) -> None:
    """Refuse full models that cannot be fine-tunes of the base, or of each other without one.

    Reads a few rows of a few matrices of each model. Raises `UserError` with the numbers.
    """
    for number, source in enumerate(members.sources):
        if source.model is None or source.model is members.base:
            continue
        pairs = _pairs(members, number, tensors)
        other = members.base
        if other is None:
            others = {model.path: model for model, _, _ in pairs}
            other = next(iter(others.values()), None)
            pairs = [pair for pair in pairs if pair[0] is other]
        if other is None:
            continue
        cosine, distance = relation(source.model, other, [pair[1:] for pair in pairs])
        if cosine < UNRELATED:
            reason = _reason(members, number, pairs)
            raise UserError(
                f"{source.path}: its weights are unrelated to those of {other.path} (cosine "
                f"{cosine:.2f}, relative distance {distance:.2f}); {reason}"
            )


def _pairs(
    members: Members, number: int, tensors: Sequence[TensorPlan]
) -> list[tuple[Checkpoint, str, str]]:
    """For each matrix of a source: the model it is merged with, its name here and there."""
    found = []
    for tensor in tensors:
        if tensor.layer is None or len(tensor.shape) < 2:
            continue
        names = [name for source, name in tensor.inputs if source == number]
        if not names:
            continue
        if members.base is not None:
            found.append((members.base, names[0], tensor.base))
        else:
            first, name = tensor.inputs[0]
            model = members.underlying(members.sources[first])
            if first != number:
                found.append((model, names[0], name))
    return found


def _reason(members: Members, number: int, pairs: Sequence[tuple[Checkpoint, str, str]]) -> str:
    """What is probably wrong, and what to write."""
    override = "or 'allow_unrelated: true' to merge them all the same"
    if members.base is None:
        return f"only fine-tunes of one model can be merged; choose others, {override}"
    mine = members.sources[number].model
    for other in members.sources:
        if other.model is None or other.model in (mine, members.base):
            continue
        same = [(name, name) for _, name, _ in pairs if name in other.model]
        cosine, _ = relation(mine, other.model, same)
        if cosine >= UNRELATED:
            return (
                f"but close to those of {other.path} (cosine {cosine:.2f}), so the two come from "
                f"another base; name that as base_model, {override}"
            )
    return f"it cannot be a fine-tune of that base; name its own as base_model, {override}"


def relation(
    model: Checkpoint, other: Checkpoint, names: Sequence[tuple[str, str]]
) -> tuple[float, float]:
    """Median cosine, and median distance over `other`'s norm, of some rows of some matrices.

    `names`: pairs of the tensors' names in `model` and in `other`; up to 8 evenly spread ones that
    have one shape are looked at. (1, 0) where there is nothing to compare.
    """
    names = [
        (mine, theirs)
        for mine, theirs in names
        if model.entry(mine).shape == other.entry(theirs).shape
        and model.entry(mine).dtype.is_floating_point
        and other.entry(theirs).dtype.is_floating_point
    ]
    count = min(len(names), _MATRICES)
    cosines, distances = [], []
    for mine, theirs in (names[(2 * k + 1) * len(names) // (2 * count)] for k in range(count)):
        rows = as_matrix(model.entry(mine).shape)[0]
        start = max(rows - _ROWS, 0) // 2
        a = model.read_rows(mine, start, min(start + _ROWS, rows)).double().flatten()
        b = other.read_rows(theirs, start, min(start + _ROWS, rows)).double().flatten()
        norms = float(a.norm() * b.norm())
        if norms > 0 and math.isfinite(norms):
            cosines.append(float(torch.dot(a, b)) / norms)
            distances.append(float((a - b).norm() / b.norm()))
    if not cosines:
        return 1.0, 0.0
    return statistics.median(cosines), statistics.median(distances)
