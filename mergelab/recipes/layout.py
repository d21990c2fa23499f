"""Which tensors the output has, and for each what it is merged from and with which numbers.

Layers come from the slices, one after the other; embeddings from the first slice, the final norm
and the head from the last. A tensor may be called otherwise in one of the models: an untied
model's head has its counterpart in the embeddings of a tied one, and buffers that `transformers`
computes itself are stored by some and not by others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from mergelab.checkpoints import Checkpoint, layer_index, with_layer
from mergelab.checkpoints.checkpoint import is_head
from mergelab.checkpoints.vocabulary import embedding_name, is_token_rows, token_rows
from mergelab.errors import UserError
from mergelab.recipes.members import Members, entries_of
from mergelab.recipes.schema import SliceSource
from mergelab.recipes.settings import Position, is_before_layers, resolve

# Rotary frequencies and causal masks: computed anew from the config whenever a model is loaded.
_BUFFER = re.compile(r"(rotary_emb\.inv_freq|\.masked_bias|\.attn\.bias|\.attention\.bias)$")


@dataclass(frozen=True)
class TensorPlan:
    """One tensor of the output: where it comes from and the numbers that hold for it.

    `inputs`: for each source, in canonical order, its number in the plan and the tensor's name
    there. `base`: the tensor's name in the base. `settings` hold for the merge, `per_source`
    (aligned with `inputs`) for each source. `by_token`: the rows stand for the tokens of another
    vocabulary than that of some of the models (see `Plan.vocabulary`).
    """

    name: str
    layer: int | None
    shape: tuple[int, ...]
    dtype: torch.dtype
    base: str | None
    inputs: tuple[tuple[int, str], ...]
    settings: Mapping[str, Any]
    per_source: tuple[Mapping[str, Any], ...]
    by_token: bool = False


@dataclass
class Group:
    """A run of output layers: the sources, the first layer of each, and their parameters."""

    members: list[tuple[int, int, Mapping[str, Any]]]  # source, first layer, own parameters
    length: int
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """The output's tensors, in order, and which layer of which model each output layer is.

    `origins`: for each output layer the first source's full model and the layer there. `untied`:
    whether the output stores a head of its own.
    """

    tensors: tuple[TensorPlan, ...]
    origins: tuple[tuple[Checkpoint, int], ...]
    untied: bool


def stored_name(model: Checkpoint, name: str) -> str:
    """What `model` calls a tensor: a tied model's head is its embeddings."""
    return embedding_name(model) or name if is_head(name) and model.is_tied else name


def lay_out(members: Members, dtype: torch.dtype | None, tokens: int | None) -> Layout:
    """The tensors of the output, each checked to be there in one shape in all of its models.

    `dtype` overrides that of floating tensors. `tokens`: the number of rows of embeddings and
    head, where the models' own rows are looked up by token; None where all have the same rows.
    Raises `UserError` for layers that are not there and tensors that do not fit each other.
    """
    return _Layout(members, dtype, tokens).lay_out()


class _Layout:
    def __init__(self, members: Members, dtype: torch.dtype | None, tokens: int | None) -> None:
        self.members, self.dtype, self.tokens = members, dtype, tokens
        checkpoints = members.checkpoints()
        self.untied = not all(model.is_tied for model in checkpoints)
        kinds = [{with_layer(name, 0) for name in model.names} for model in checkpoints]
        self.everywhere = set.intersection(*kinds)
        self.by_layer = {model: self._by_layer(model) for model in checkpoints}
        heads = [name for model in checkpoints for name in model.names if is_head(name)]
        self.heads = list(dict.fromkeys(heads)) if self.untied else []

    def lay_out(self) -> Layout:
        members, groups = self.members, self._groups()
        layers = sum(group.length for group in groups)
        plans, origins = [], []
        for name in self._outside():
            at = Position.of(name, None, layers, members.preset)
            plans.append(self._tensor(groups[0] if is_before_layers(name) else groups[-1], at))
        for group in groups:
            number, start, _ = group.members[0]
            for step in range(group.length):
                layer = len(origins)
                for name in self._in_layer(group, step):
                    at = Position.of(name, step, group.length, members.preset)
                    at = Position(with_layer(name, layer), at.depth)
                    plans.append(self._tensor(group, at, layer, step))
                origins.append((self._model(number), start + step))
        return Layout(tuple(plans), tuple(origins), self.untied)

    def _model(self, number: int) -> Checkpoint:
        return self.members.underlying(self.members.sources[number])

    # Slices

    def _groups(self) -> list[Group]:
        recipe, numbers = self.members.recipe, self.members.numbers
        if recipe.slices:
            return [self._slice(index) for index in range(len(recipe.slices))]
        listed = [
            (numbers[entry.model], 0, entry.parameters)
            for entry in entries_of(recipe)
            if entry.model in numbers
        ]
        layers = self._model(0) if self.members.base is None else self.members.skeleton
        return [Group(self._in_order(listed), layers.layers)]

    def _slice(self, index: int) -> Group:
        part = self.members.recipe.slices[index]
        found, lengths = [], set()
        for j, entry in enumerate(part.sources):
            low, high = self._layer_range(entry, f"slices[{index}].sources[{j}].layer_range")
            lengths.add(high - low)
            if entry.model in self.members.numbers:
                found.append((self.members.numbers[entry.model], low, entry.parameters))
        if len(lengths) > 1:
            raise UserError(
                f"slices[{index}]: its sources have {sorted(lengths)} layers; "
                "give all of them ranges of one length"
            )
        return Group(self._in_order(found), lengths.pop(), part.parameters)

    def _layer_range(self, entry: SliceSource, where: str) -> tuple[int, int]:
        source = self.members.named(entry.model)
        layers = self.members.underlying(source).layers
        low, high = entry.layer_range or (0, layers)
        if not 0 <= low < high <= layers:
            raise UserError(
                f"{where}: [{low}, {high}] does not fit {source.name}, which has {layers} layers; "
                f"write [0, {layers}] for all of them"
            )
        return low, high

    def _in_order(self, found: list) -> list:
        """The canonical order of summation; for slerp the order given, `first` in front."""
        sources, first = self.members.sources, self.members.first
        if self.members.method.ordered:
            return sorted(found, key=lambda m: sources[m[0]] is not first)
        return sorted(found, key=lambda m: (sources[m[0]].fingerprint, repr(m[2])))

    # Tensors

    def _outside(self) -> list[str]:
        """Tensors outside the layers, in the skeleton's order; a head that it lacks at the end."""
        names = self.by_layer[self.members.skeleton].get(None, [])
        names = [name for name in names if not is_head(name) or name in self.heads]
        return names + [head for head in self.heads if head not in names]

    def _in_layer(self, group: Group, step: int) -> list[str]:
        """The tensors of one layer, each that any of the group's models has, by its name there."""
        names: dict[str, str] = {}
        for number, start, _ in group.members:
            for name in self.by_layer[self._model(number)].get(start + step, []):
                names.setdefault(with_layer(name, 0), name)
        return list(names.values())

    def _by_layer(self, model: Checkpoint) -> dict[int | None, list[str]]:
        """A model's tensor names by their layer, without buffers that another model lacks."""
        names: dict[int | None, list[str]] = {}
        for name in model.names:
            if not is_buffer(name) or with_layer(name, 0) in self.everywhere:
                names.setdefault(layer_index(name), []).append(name)
        return names

    def _tensor(
        self, group: Group, at: Position, layer: int | None = None, step: int = 0
    ) -> TensorPlan:
        """The plan of one output tensor; `step` counts the layers from the group's first."""
        wanted = [
            (number, at.name if layer is None else with_layer(at.name, start + step))
            for number, start, _ in group.members
        ]
        base = self._base_tensor(at.name, [name for _, name in wanted])
        inputs = tuple((n, stored_name(self._model(n), name)) for n, name in wanted)
        models = [(self._model(number), name) for number, name in inputs]
        like, stored = (self.members.base, base) if base else models[0]
        by_token = self.tokens is not None and is_token_rows(at.name)
        for model, name in [(like, stored), *models]:
            _check_tensor(model, name, like, stored, rows_may_differ=by_token)
        entry = like.entry(stored)
        if self.tokens is not None and not by_token and layer is None:
            self._check_not_by_token(at.name, entry.shape)
        general = [group.parameters, self.members.recipe.parameters]
        single = [own for _, _, own in group.members]
        declared = [p for p in self.members.method.parameters if p.name != "space"]
        defaults = self.members.preset
        floating = entry.dtype.is_floating_point
        return TensorPlan(
            name=at.name,
            layer=layer,
            shape=(self.tokens, *entry.shape[1:]) if by_token else entry.shape,
            dtype=self.dtype if self.dtype and floating else entry.dtype,
            base=base,
            inputs=inputs,
            settings={
                p.name: resolve(p, general, at, defaults) for p in declared if not p.per_source
            },
            per_source=tuple(
                {
                    p.name: resolve(p, [own, *general], at, defaults)
                    for p in declared
                    if p.per_source
                }
                for own in single
            ),
            by_token=by_token,
        )

    def _check_not_by_token(self, name: str, shape: tuple[int, ...]) -> None:
        """Refuse a tensor that seems to belong to tokens but is not known to be looked up so."""
        if shape and shape[0] in {token_rows(model) for model in self.by_layer}:
            raise UserError(
                f"{name}: has an entry for each token, but only embeddings and heads without a "
                "bias can be looked up by token; use models with one vocabulary"
            )

    def _base_tensor(self, target: str, wanted: Sequence[str]) -> str | None:
        """The base's tensor that the inputs are changes of; None where there is no base."""
        if self.members.base is None:
            return None
        names = sorted(set(wanted))
        if len(names) > 1:
            raise UserError(
                f"{target}: its sources come from different layers ({', '.join(names)}), so "
                "it has no single base tensor; give every source of a slice one layer_range"
            )
        return stored_name(self.members.base, names[0])


def is_buffer(name: str) -> bool:
    """Whether a tensor is one that `transformers` computes itself whenever it loads a model.

    >>> is_buffer("model.layers.0.self_attn.rotary_emb.inv_freq"), is_buffer("h.0.attn.c_attn.bias")
    (True, False)
    """
    return _BUFFER.search(name) is not None


def _check_tensor(
    model: Checkpoint, name: str, like: Checkpoint, stored: str, *, rows_may_differ: bool
) -> None:
    """Refuse a model that lacks a tensor, or has it in another shape than `stored` in `like`."""
    if name not in model:
        raise UserError(
            f"{model.path}: has no tensor '{name}', which another model of this merge has; "
            "only models of one architecture can be merged"
        )
    mine, other = model.entry(name).dtype, like.entry(stored).dtype
    if mine.is_floating_point != other.is_floating_point:
        raise UserError(
            f"{model.path}: '{name}' is stored as {str(mine).removeprefix('torch.')}, in "
            f"{like.path} as {str(other).removeprefix('torch.')}; only floating point can be merged"
        )
    mine, other = model.entry(name).shape, like.entry(stored).shape
    if mine != other and not (rows_may_differ and mine[1:] == other[1:]):
        raise UserError(
            f"{model.path}: '{name}' has shape {list(mine)}, in {like.path} it is {list(other)}; "
            "only models of one architecture can be merged"
        )
