"""A recipe becomes a plan: for every tensor of the output, what is merged and with which numbers.

Planning opens the models, reads their headers, and refuses whatever does not fit together, so
that a merge which starts can be finished.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mergelab.checkpoints import Checkpoint, References, Source
from mergelab.errors import UserError
from mergelab.methods import REGISTRY, Method
from mergelab.recipes.config import generation_config, output_config
from mergelab.recipes.homology import check_belong, check_related
from mergelab.recipes.layout import TensorPlan, lay_out
from mergelab.recipes.members import Members, entries_of, open_members, stacks
from mergelab.recipes.schema import Recipe
from mergelab.recipes.settings import Scope, check_parameters, filters_in
from mergelab.recipes.vocabulary import TokenRows, output_tokens

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Plan:
    """A whole merge, ready to run.

    `sources` are in the recipe's order. `space` says what is combined: "task_vectors" (the result
    is added to `base`), "weights", or "factors" (A and B of adapters, apart). `skeleton` is the
    model that the output is shaped after, `config` the output's config.json (without its dtype)
    and `generation_config` its generation_config.json, if it has one. `tokenizer` is the model
    whose tokenizer's files the output gets, `tokenizer_json` the text of tokenizer.json where it
    differs from the one there. `vocabulary` says which rows embeddings and head are made of where
    models disagree on tokens. `output`: "model" or "adapter", of rank `rank` (None: as high as it
    takes).
    """

    recipe: Recipe
    method: Method
    sources: tuple[Source, ...]
    base: Checkpoint | None
    skeleton: Checkpoint
    config: Mapping[str, Any]
    generation_config: Mapping[str, Any] | None
    tokenizer: Checkpoint
    tokenizer_json: str | None
    vocabulary: TokenRows | None
    space: str
    layers: int
    tensors: tuple[TensorPlan, ...]
    notes: tuple[str, ...] = ()
    output: str = "model"
    rank: int | None = None


def make_plan(
    recipe: Recipe,
    *,
    folders: Sequence[Path] = (Path(),),
    dtype: str | None = None,
    allow_unrelated: bool = False,
) -> Plan:
    """The plan of a recipe; relative paths are looked for in `folders`.

    `dtype` ("float32", "float16", "bfloat16") overrides the recipe's output dtype;
    `allow_unrelated` merges models that do not seem to come from one base, as the recipe's key
    does. Raises `UserError`, one line, for anything that cannot be merged.
    """
    notes = _check_parameters(recipe)
    members = open_members(recipe, References(folders))
    notes += [members.preset.note] if members.preset.note else []
    notes += members.notes + check_belong(members)
    tokens = output_tokens(members)
    notes += tokens.notes
    chosen = _DTYPES.get(dtype or recipe.out_dtype or recipe.dtype or "")
    layout = lay_out(members, chosen, tokens.rows.rows if tokens.rows else None)
    related = stacks(members.method) or recipe.allow_unrelated or allow_unrelated
    if not related:
        check_related(members, layout.tensors)
    _check_adapter_output(members)
    notes += _full_density(members.method, layout.tensors)
    notes += _idle_filters(recipe, layout.tensors)
    if layout.untied and members.skeleton.is_tied:
        notes.append(
            f"{members.skeleton.path.name} shares its embeddings with its output head, another "
            "model does not; the merged model has a head of its own"
        )
    return Plan(
        recipe=recipe,
        method=members.method,
        sources=tuple(members.sources),
        base=members.base,
        skeleton=members.skeleton,
        config=output_config(members.skeleton, layout, tokens),
        generation_config=generation_config(members.skeleton, tokens),
        tokenizer=tokens.tokenizer,
        tokenizer_json=tokens.json,
        vocabulary=tokens.rows,
        space=members.space,
        layers=len(layout.origins),
        tensors=layout.tensors,
        notes=tuple(notes),
        output=recipe.output,
        rank=recipe.rank or recipe.parameters.get("rank"),
    )


def _check_parameters(recipe: Recipe) -> list[str]:
    method = REGISTRY[recipe.merge_method]
    whole: list[Scope] = [("parameters", recipe.parameters)]
    single: list[Scope] = []
    for i, entry in enumerate(recipe.models or []):
        single.append((f"models[{i}].parameters", entry.parameters))
    for i, part in enumerate(recipe.slices or []):
        whole.append((f"slices[{i}].parameters", part.parameters))
        for j, entry in enumerate(part.sources):
            single.append((f"slices[{i}].sources[{j}].parameters", entry.parameters))
    notes = check_parameters(method, whole, per_source=False)
    return notes + check_parameters(method, single, per_source=True)


def _check_adapter_output(members: Members) -> None:
    if members.recipe.output != "adapter":
        return
    if members.base is None:
        raise UserError(
            "output: an adapter is a change of a base; add 'base_model: ' with the model that "
            "these were fine-tuned from"
        )
    if members.space == "weights":
        raise UserError(
            f"output: an adapter holds task vectors, but {members.method.name} merges weights "
            "here; write 'space: task_vectors' under 'parameters', or 'output: model'"
        )


def _full_density(method: Method, tensors: Sequence[TensorPlan]) -> list[str]:
    densities = [own["density"] for t in tensors for own in t.per_source if "density" in own]
    if not densities or min(densities) < 1:
        return []
    done = "dropped" if method.random else "trimmed"
    return [f"density is 1, so nothing is {done}; 'density: 0.5' keeps half"]


def _idle_filters(recipe: Recipe, tensors: Sequence[TensorPlan]) -> list[str]:
    scopes = [recipe.parameters, *(entry.parameters for entry in entries_of(recipe))]
    scopes += [part.parameters for part in recipe.slices or []]
    return [
        f"filter '{pattern}' is in no tensor's name, so it changes nothing"
        for pattern in sorted(set().union(*map(filters_in, scopes)))
        if not any(pattern in tensor.name for tensor in tensors)
    ]
