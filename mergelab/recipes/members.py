"""The models of a merge: those it merges, the base they were fine-tuned from, in which space.

A recipe need not say everything: an adapter's own config names its base, and a slerp as mergekit
writes it names its first end as `base_model`. Here every model is opened and gets its part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mergelab.checkpoints import Checkpoint, References, Source
from mergelab.errors import UserError
from mergelab.methods import REGISTRY, Method
from mergelab.recipes.compat import Preset, preset
from mergelab.recipes.schema import ModelEntry, Recipe


class BaseMissing(UserError):
    """The method needs a base, and neither the recipe nor any of its adapters names one."""


@dataclass
class Members:
    """Who takes part in a merge.

    `sources`: what is merged, in the recipe's order; `numbers`: their places by what the recipe
    calls them (a base listed among the models has none where its task vector would be zero).
    `base`: the model that the sources are changes of, None where weights are merged as they are.
    `skeleton`: the model whose config the output takes. `first`: the source that `base_model`
    names as the first end of a slerp. `space`: "task_vectors", "weights" or "factors". `preset`:
    the defaults in force.
    """

    recipe: Recipe
    method: Method
    references: References
    base: Checkpoint | None
    skeleton: Checkpoint
    first: Source | None
    preset: Preset
    space: str = "weights"
    sources: list[Source] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def underlying(self, source: Source) -> Checkpoint:
        """The full model that holds a source's tensors: itself, or what an adapter sits on."""
        return source.model or self.base or source.base

    def named(self, reference: str) -> Source:
        """The source that the recipe calls `reference`, or the base listed among the models."""
        if reference in self.numbers:
            return self.sources[self.numbers[reference]]
        return self.references.source(reference)

    def checkpoints(self) -> list[Checkpoint]:
        """Every full model that takes part, once, the skeleton first."""
        found = [self.skeleton, *([self.base] if self.base else [])]
        found += [self.underlying(source) for source in self.sources]
        return list(dict.fromkeys(found))


def entries_of(recipe: Recipe) -> list[ModelEntry]:
    """Every model that a recipe lists, in its order, those of slices one slice after the other."""
    if recipe.models:
        return list(recipe.models)
    return [source for part in recipe.slices for source in part.sources]


def stacks(method: Method) -> bool:
    """Whether a method only hands one model's weights on (passthrough), so that no base counts."""
    return method.max_sources == 1 and not method.needs_base


def open_members(recipe: Recipe, references: References) -> Members:
    """Open the models that a recipe names and find their base.

    Raises `UserError` where a model or the base is missing or is not what it has to be, and for
    more or fewer models than the method merges.
    """
    method = REGISTRY[recipe.merge_method]
    defaults = preset(recipe.compat, recipe.merge_method)
    entries = entries_of(recipe)
    opened = [references.source(entry.model) for entry in entries]
    if stacks(method):
        opened = [_with_base(recipe, references, source) for source in opened]
        named = recipe.base_model and references.source(recipe.base_model)
        skeleton = (named and (named.model or references.base_of(named))) or (
            opened[0].model or opened[0].base
        )
        members = Members(recipe, method, references, None, skeleton, None, defaults)
    else:
        base, first = _find_base(recipe, method, references, opened)
        skeleton = base or opened[0].model
        members = Members(recipe, method, references, base, skeleton, first, defaults)
    for entry, source in zip(entries, opened, strict=True):
        if method.needs_base and source.model is not None and source.model is members.base:
            members.notes.append(f"{source.name} is the base itself; its task vector is zero")
            continue
        _register(members, entry, source)
    _check_count(members)
    members.space = _space(members)
    return members


def _with_base(recipe: Recipe, references: References, source: Source) -> Source:
    """A source of a stack: an adapter keeps to its own base, or to `base_model` if that is given.

    Layers of a stack are not added up, so adapters on different bases may stand in one.
    """
    if source.adapter is None:
        return source
    named = recipe.base_model and references.source(recipe.base_model).model
    return replace(source, base=named or references.base_of(source))


def _find_base(
    recipe: Recipe, method: Method, references: References, opened: Sequence[Source]
) -> tuple[Checkpoint | None, Source | None]:
    """The base, and the source that `base_model` names as the first end of a slerp."""
    named = recipe.base_model and references.source(recipe.base_model)
    first = None
    if named and method.ordered:
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
            base = references.base_of(source)
            bases.setdefault(base.fingerprint, (source, base))
    if len(bases) > 1:
        (one, its), (other, others) = list(bases.values())[:2]
        raise UserError(
            f"{one.name} sits on {its.path}, {other.name} on {others.path}; "
            "only models of one base can be merged"
        )
    if bases:
        return next(iter(bases.values()))[1], first
    if method.needs_base:
        raise BaseMissing(
            f"{method.name} works on changes made to a base; "
            "add 'base_model: ' with the model that these were fine-tuned from"
        )
    return None, first


def _register(members: Members, entry: ModelEntry, source: Source) -> None:
    folders = [known.path.resolve() for known in members.sources]
    if members.recipe.models and source.path.resolve() in folders:
        raise UserError(f"models: '{entry.model}' is listed twice; give it one larger weight")
    if entry.model not in members.numbers:
        members.numbers[entry.model] = len(members.sources)
        members.sources.append(source)


def _check_count(members: Members) -> None:
    method = members.method
    for where, count in _counts(members):
        low, high = max(method.min_sources, members.preset.min_sources), method.max_sources
        if count == 0:
            raise UserError("the only model listed is the base; add those to merge into it")
        if count < low or (high is not None and count > high):
            wanted = f"exactly {low}" if low == high else f"at least {low}"
            things = "model" if low == high == 1 else "models"
            hint = "; use linear, ties or dare_ties for more" if count > low else ""
            if stacks(method):
                hint = "; give each model a slice of its own, or use linear, ties or dare_ties"
            raise UserError(f"{where}{method.name} merges {wanted} {things}, got {count}{hint}")


def _counts(members: Members) -> list[tuple[str, int]]:
    recipe, numbers = members.recipe, members.numbers
    if recipe.models:
        return [("", len(numbers))]
    return [
        (f"slices[{i}]: ", sum(source.model in numbers for source in part.sources))
        for i, part in enumerate(recipe.slices)
    ]


def _space(members: Members) -> str:
    written = members.recipe.parameters.get("space")
    asked = written or members.preset.defaults.get("space", "auto")
    if asked == "factors":
        if all(source.adapter for source in members.sources):
            return "factors"
        if written:
            raise UserError("space: factors needs adapters; write 'space: task_vectors'")
        asked = "auto"
    if members.method.needs_base:
        return "task_vectors"
    if asked == "task_vectors" and members.base is None:
        raise UserError("space: task_vectors needs a base; add 'base_model: ' to the recipe")
    if asked == "auto":
        has_base = members.base is not None and members.first is None
        return "task_vectors" if has_base else "weights"
    return asked
