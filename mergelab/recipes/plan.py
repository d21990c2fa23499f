"""A recipe becomes a plan: for every tensor of the output, what is merged and with which numbers.

Planning opens the models, reads their headers, and refuses whatever does not fit together, so
that a merge which starts can be finished.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mergelab.checkpoints import Checkpoint, References, Source, layer_index, with_layer
from mergelab.errors import UserError
from mergelab.methods import REGISTRY, Method
from mergelab.recipes.compat import preset
from mergelab.recipes.schema import ModelEntry, Recipe, SliceSource
from mergelab.recipes.settings import (
    Position,
    Scope,
    check_parameters,
    filters_in,
    is_before_layers,
    resolve,
)

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class BaseMissing(UserError):
    """The method needs a base, and neither the recipe nor any of its adapters names one."""


@dataclass(frozen=True)
class TensorPlan:
    """One tensor of the output: where it comes from and the numbers that hold for it.

    `inputs`: for each source, in canonical order, its number in the plan and the tensor's name
    there. `base`: the tensor's name in the base. `settings` hold for the merge, `per_source`
    (aligned with `inputs`) for each source.
    """

    name: str
    layer: int | None
    shape: tuple[int, ...]
    dtype: torch.dtype
    base: str | None
    inputs: tuple[tuple[int, str], ...]
    settings: Mapping[str, Any]
    per_source: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Plan:
    """A whole merge, ready to run.

    `sources` are in the recipe's order. `space` says what is combined: "task_vectors" (the
    result is added to `base`) or "weights". `skeleton` gives the config and the tokenizer.
    """

    recipe: Recipe
    method: Method
    sources: tuple[Source, ...]
    base: Checkpoint | None
    skeleton: Checkpoint
    tokenizer: Checkpoint
    space: str
    layers: int
    tensors: tuple[TensorPlan, ...]
    notes: tuple[str, ...] = ()


@dataclass
class _Group:
    """A run of output layers: the sources, the first layer of each, and their parameters."""

    members: list[tuple[int, int, Mapping[str, Any]]]  # source, first layer, own parameters
    length: int
    parameters: Mapping[str, Any] = field(default_factory=dict)


def make_plan(
    recipe: Recipe, *, folders: Sequence[Path] = (Path(),), dtype: str | None = None
) -> Plan:
    """The plan of a recipe; relative paths are looked for in `folders`.

    `dtype` ("float32", "float16", "bfloat16") overrides the recipe's output dtype. Raises
    `UserError`, one line, for anything that cannot be merged.
    """
    return _Planner(recipe, References(folders), dtype).plan()


class _Planner:
    def __init__(self, recipe: Recipe, references: References, dtype: str | None) -> None:
        self.recipe = recipe
        self.method = REGISTRY[recipe.merge_method]
        self.preset = preset(recipe.compat, recipe.merge_method)
        self.references = references
        self.dtype = _DTYPES.get(dtype or recipe.out_dtype or recipe.dtype or "")
        self.notes: list[str] = [self.preset.note] if self.preset.note else []
        self.sources: list[Source] = []
        self._numbers: dict[str, int] = {}

    def plan(self) -> Plan:
        self._check_parameters()
        entries = self._entries()
        opened = [self.references.source(entry.model) for entry in entries]
        self.base, first = self._find_base(opened)
        kept = []
        for entry, source in zip(entries, opened, strict=True):
            if self.method.needs_base and source.model is not None and source.model is self.base:
                self.notes.append(f"{source.name} is the base itself; its task vector is zero")
                continue
            self._register(entry, source)
            kept.append(entry)
        self._check_count()
        self.space = self._space(first)
        self.skeleton = self.base or self.sources[0].model
        for source in self.sources:
            self._check_fits(source)
        groups = self._groups(kept, first)
        layers = sum(group.length for group in groups)
        tensors = self._tensors(groups, layers)
        self._note_full_density(tensors)
        self._note_idle_filters(tensors)
        return Plan(
            recipe=self.recipe,
            method=self.method,
            sources=tuple(self.sources),
            base=self.base,
            skeleton=self.skeleton,
            tokenizer=self._tokenizer(),
            space=self.space,
            layers=layers,
            tensors=tuple(tensors),
            notes=tuple(self.notes),
        )

    # Reading the recipe

    def _entries(self) -> list[ModelEntry]:
        if self.recipe.models:
            return list(self.recipe.models)
        return [source for part in self.recipe.slices for source in part.sources]

    def _check_parameters(self) -> None:
        whole: list[Scope] = [("parameters", self.recipe.parameters)]
        single: list[Scope] = []
        for i, entry in enumerate(self.recipe.models or []):
            single.append((f"models[{i}].parameters", entry.parameters))
        for i, part in enumerate(self.recipe.slices or []):
            whole.append((f"slices[{i}].parameters", part.parameters))
            for j, entry in enumerate(part.sources):
                single.append((f"slices[{i}].sources[{j}].parameters", entry.parameters))
        self.notes += check_parameters(self.method, whole, per_source=False)
        self.notes += check_parameters(self.method, single, per_source=True)

    def _find_base(self, opened: Sequence[Source]) -> tuple[Checkpoint | None, Source | None]:
        """The base, and the source that `base_model` names as the first end of a slerp."""
        named = self.recipe.base_model and self.references.source(self.recipe.base_model)
        first = None
        if named and self.method.ordered:
            first = next((s for s in opened if s.path.resolve() == named.path.resolve()), None)
        if named and named.model is not None and (first is None or any(s.adapter for s in opened)):
            return named.model, first
        if named and named.adapter is not None and first is None:
            raise UserError(
                f"base_model '{named.reference}' is an adapter; name the full model it sits on"
            )
        bases = {}
        for source in opened:
            if source.adapter is not None:
                base = self.references.base_of(source)
                bases.setdefault(base.fingerprint, (source, base))
        if len(bases) > 1:
            (one, its), (other, others) = list(bases.values())[:2]
            raise UserError(
                f"{one.name} sits on {its.path}, {other.name} on {others.path}; "
                "only models of one base can be merged"
            )
        if bases:
            return next(iter(bases.values()))[1], first
        if self.method.needs_base:
            raise BaseMissing(
                f"{self.method.name} works on changes made to a base; "
                "add 'base_model: ' with the model that these were fine-tuned from"
            )
        return None, first

    def _register(self, entry: ModelEntry, source: Source) -> None:
        folders = [known.path.resolve() for known in self.sources]
        if self.recipe.models and source.path.resolve() in folders:
            raise UserError(f"models: '{entry.model}' is listed twice; give it one larger weight")
        if entry.model not in self._numbers:
            self._numbers[entry.model] = len(self.sources)
            self.sources.append(source)

    def _check_count(self) -> None:
        for names in self._source_sets():
            count, low, high = len(names), self.method.min_sources, self.method.max_sources
            low = max(low, self.preset.min_sources)
            if count == 0:
                raise UserError("the only model listed is the base; add those to merge into it")
            if count < low or (high is not None and count > high):
                wanted = f"exactly {low}" if low == high else f"at least {low}"
                hint = "; use linear, ties or dare_ties for more" if count > low else ""
                raise UserError(f"{self.method.name} merges {wanted} models, got {count}{hint}")

    def _source_sets(self) -> list[list[str]]:
        if self.recipe.models:
            return [list(self._numbers)]
        return [
            [s.model for s in part.sources if s.model in self._numbers]
            for part in self.recipe.slices
        ]

    def _space(self, first: Source | None) -> str:
        asked = self.recipe.parameters.get("space") or self.preset.defaults.get("space", "auto")
        if asked == "factors":
            if all(source.adapter for source in self.sources):
                return "factors"
            if "space" in self.recipe.parameters:
                raise UserError("space: factors needs adapters; write 'space: task_vectors'")
            asked = "auto"
        if self.method.needs_base:
            return "task_vectors"
        if asked == "task_vectors" and self.base is None:
            raise UserError("space: task_vectors needs a base; add 'base_model: ' to the recipe")
        if asked == "auto":
            return "task_vectors" if self.base is not None and first is None else "weights"
        return asked

    def _tokenizer(self) -> Checkpoint:
        wanted = self.recipe.tokenizer_source
        if wanted in (None, "base"):
            return self.skeleton
        if wanted == "union":
            if len({self._vocabulary(s) for s in self.sources} | {self._rows(self.skeleton)}) == 1:
                return self.skeleton
            raise UserError("tokenizer_source: union of different vocabularies; write 'base'")
        source = self.references.source(wanted)
        found = source.model or self.references.base_of(source)
        if self._rows(found) != self._rows(self.skeleton):
            raise UserError(
                f"tokenizer_source: {found.path} has a vocabulary of {self._rows(found)} entries, "
                f"the merged model one of {self._rows(self.skeleton)}; write 'base'"
            )
        return found

    # Do they belong together?

    def _check_fits(self, source: Source) -> None:
        if source.adapter is not None:
            self._check_same_base(source)
            source.adapter.check_against(self.base)
            return
        if source.model is self.skeleton:
            return
        mine, theirs = self.skeleton.config, source.model.config
        if mine.get("model_type") != theirs.get("model_type"):
            raise UserError(
                f"{source.path} is a {theirs.get('model_type')} model, {self.skeleton.path} "
                f"a {mine.get('model_type')}; only models of one architecture can be merged"
            )
        if self._vocabulary(source) != self._rows(self.skeleton):
            raise UserError(
                f"{source.path}: its vocabulary has {self._vocabulary(source)} entries, that of "
                f"{self.skeleton.path} {self._rows(self.skeleton)}; "
                "use models that were trained with one tokenizer"
            )
        for name in source.model.names:
            if name not in self.skeleton and not self.recipe.slices:
                raise UserError(
                    f"{source.path}: has a tensor '{name}', which {self.skeleton.path} lacks; "
                    "only models of one architecture can be merged"
                )

    def _check_same_base(self, source: Source) -> None:
        if source.base is None:
            self.notes.append(
                f"{source.name}: its own base '{source.adapter.base_name}' is not at hand, so "
                f"that it was trained on {self.base.path.name} could not be checked"
            )
        elif source.base is not self.base and source.base.fingerprint != self.base.fingerprint:
            raise UserError(
                f"{source.path}: was trained on another base ({source.base.path}) than "
                f"{self.base.path}; only adapters of one base can be merged"
            )

    def _vocabulary(self, source: Source) -> int | None:
        return self._rows(source.model) if source.model else self._rows(self.base)

    @staticmethod
    def _rows(model: Checkpoint) -> int | None:
        name = next((n for n in model.names if "embed_tokens" in n or "wte" in n), None)
        return model.entry(name).shape[0] if name else model.config.get("vocab_size")

    def _note_full_density(self, tensors: Sequence[TensorPlan]) -> None:
        densities = [own["density"] for t in tensors for own in t.per_source if "density" in own]
        if densities and min(densities) == 1:
            done = "dropped" if self.method.random else "trimmed"
            self.notes.append(f"density is 1, so nothing is {done}; 'density: 0.5' keeps half")

    def _note_idle_filters(self, tensors: Sequence[TensorPlan]) -> None:
        scopes = [self.recipe.parameters, *(e.parameters for e in self._entries())]
        scopes += [part.parameters for part in self.recipe.slices or []]
        for pattern in sorted(set().union(*map(filters_in, scopes))):
            if not any(pattern in tensor.name for tensor in tensors):
                self.notes.append(
                    f"filter '{pattern}' is in no tensor's name, so it changes nothing"
                )

    # Laying out the tensors

    def _groups(self, entries: Sequence[ModelEntry], first: Source | None) -> list[_Group]:
        if self.recipe.models:
            members = [(self._numbers[entry.model], 0, entry.parameters) for entry in entries]
            return [_Group(self._in_order(members, first), self.skeleton.layers)]
        return [self._slice(i, first) for i in range(len(self.recipe.slices))]

    def _slice(self, index: int, first: Source | None) -> _Group:
        part = self.recipe.slices[index]
        members, lengths = [], set()
        for j, entry in enumerate(part.sources):
            low, high = self._layer_range(entry, f"slices[{index}].sources[{j}].layer_range")
            lengths.add(high - low)
            if entry.model in self._numbers:
                members.append((self._numbers[entry.model], low, entry.parameters))
        if len(lengths) > 1:
            raise UserError(
                f"slices[{index}]: its sources have {sorted(lengths)} layers; "
                "give all of them ranges of one length"
            )
        return _Group(self._in_order(members, first), lengths.pop(), part.parameters)

    def _layer_range(self, entry: SliceSource, where: str) -> tuple[int, int]:
        if entry.model in self._numbers:
            source = self.sources[self._numbers[entry.model]]
        else:
            source = self.references.source(entry.model)
        layers = (source.model or self.base).layers
        low, high = entry.layer_range or (0, layers)
        if not 0 <= low < high <= layers:
            raise UserError(
                f"{where}: [{low}, {high}] does not fit {source.name}, which has {layers} layers; "
                f"write [0, {layers}] for all of them"
            )
        return low, high

    def _in_order(self, members: list, first: Source | None) -> list:
        """The canonical order of summation; for slerp the order given, `first` in front."""
        if self.method.ordered:
            return sorted(members, key=lambda m: self.sources[m[0]] is not first)
        return sorted(members, key=lambda m: (self.sources[m[0]].fingerprint, repr(m[2])))

    def _tensors(self, groups: Sequence[_Group], layers: int) -> list[TensorPlan]:
        plans = []
        for name in _by_layer(self.skeleton).get(None, []):
            at = Position.of(name, None, layers, self.preset)
            plans.append(self._tensor(groups[0] if is_before_layers(name) else groups[-1], at))
        done = 0
        for group in groups:
            number, start, _ = group.members[0]
            by_layer = _by_layer(self.sources[number].model or self.base)
            for i in range(group.length):
                for name in by_layer.get(start + i, []):
                    at = Position.of(name, i, group.length, self.preset)
                    at = Position(with_layer(name, done + i), at.depth)
                    plans.append(self._tensor(group, at, done + i, i))
            done += group.length
        return plans

    def _tensor(
        self, group: _Group, at: Position, layer: int | None = None, step: int = 0
    ) -> TensorPlan:
        """The plan of one output tensor; `step` counts the layers from the group's first."""
        inputs = tuple(
            (number, at.name if layer is None else with_layer(at.name, start + step))
            for number, start, _ in group.members
        )
        base = self._base_tensor(at.name, inputs)
        models = [(self.sources[number].model or self.base, name) for number, name in inputs]
        like, stored = (self.base, base) if base else models[0]
        for model, name in [(like, stored), *models]:
            _check_tensor(model, name, like, stored)
        entry = like.entry(stored)
        general = [group.parameters, self.recipe.parameters]
        single = [own for _, _, own in group.members]
        declared = [p for p in self.method.parameters if p.name != "space"]
        return TensorPlan(
            name=at.name,
            layer=layer,
            shape=entry.shape,
            dtype=self.dtype if self.dtype and entry.dtype.is_floating_point else entry.dtype,
            base=base,
            inputs=inputs,
            settings={
                p.name: resolve(p, general, at, self.preset) for p in declared if not p.per_source
            },
            per_source=tuple(
                {
                    p.name: resolve(p, [own, *general], at, self.preset)
                    for p in declared
                    if p.per_source
                }
                for own in single
            ),
        )

    def _base_tensor(self, target: str, inputs: Sequence[tuple[int, str]]) -> str | None:
        """The base's tensor that the inputs are changes of; None where there is no base."""
        if self.base is None:
            return None
        names = sorted({name for _, name in inputs})
        if len(names) > 1:
            raise UserError(
                f"{target}: its sources come from different layers ({', '.join(names)}), so "
                "it has no single base tensor; give every source of a slice one layer_range"
            )
        return names[0]


def _check_tensor(model: Checkpoint, name: str, like: Checkpoint, stored: str) -> None:
    """Refuse a model that lacks a tensor, or has it in another shape than `stored` in `like`."""
    if name not in model:
        raise UserError(
            f"{model.path}: has no tensor '{name}', which another model of this merge has; "
            "only models of one architecture can be merged"
        )
    mine, other = model.entry(name).shape, like.entry(stored).shape
    if mine != other:
        raise UserError(
            f"{model.path}: '{name}' has shape {list(mine)}, in {like.path} it is {list(other)}; "
            "only models of one architecture can be merged"
        )


def _by_layer(model: Checkpoint) -> dict[int | None, list[str]]:
    """A model's tensor names by the block they belong to; None for those outside the blocks."""
    names: dict[int | None, list[str]] = {}
    for name in model.names:
        names.setdefault(layer_index(name), []).append(name)
    return names
