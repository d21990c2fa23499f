"""The merges of a comparison: recipes that are known to run, with names of their own.

Every recipe is planned before any is merged, so that a mistake in the last one costs no time. A
plain average of the same models is always among them: a method that does not beat it is not needed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mergelab.errors import UserError
from mergelab.evaluation.portable import portable
from mergelab.recipes import Plan, Recipe, make_plan, parse_recipe, read_recipe

BASELINE = "linear baseline"


@dataclass(frozen=True)
class Candidate:
    """A recipe to be merged and measured; `source` is its file, or the recipe of a baseline."""

    name: str
    source: Path | Recipe
    plan: Plan
    baseline: bool = False

    def load(self, **options: Any) -> tuple[Any, Any]:
        """Merge in memory; the model in fp32 and its tokenizer. `options` go to `merge`."""
        from mergelab.engine import merge

        if self.plan.output == "model":
            return merge(self.source, **options).load()
        with TemporaryDirectory() as folder:  # an adapter is made of files
            return merge(self.source, Path(folder) / "adapter", **options).load()

    def elsewhere(self, **allowed: bool) -> Candidate:
        """The same with a recipe that any process, in any folder, finds its models by.

        `allowed` goes to `make_plan`.
        """
        recipe, folders = self.source, (Path(),)
        if isinstance(recipe, Path):
            recipe, folders = read_recipe(recipe), (recipe.parent, Path())
        return replace(self, source=portable(recipe, folders, self.plan, **allowed))

    def keep(self, out: Path, **options: Any) -> None:
        """Merge once more, into a folder that appears whole or not at all: the same bytes."""
        from mergelab.engine import merge

        merge(self.source, out, **options)


def candidates(
    paths: Sequence[Path], *, allow_pickle: bool = False, allow_unrelated: bool = False
) -> tuple[list[Candidate], list[str]]:
    """Return what to compare, and notes on what was added or left out.

    A recipe that says the same as an earlier one is left out. Raises `UserError`, one line that
    names the file, for the first recipe that cannot be merged and evaluated.

    >>> from mergelab.paths import data_path
    >>> found, notes = candidates([data_path("recipes", "ties.yaml")])
    >>> [candidate.name for candidate in found], notes
    (['ties', 'linear baseline'], ['linear baseline: added, the plain average of the same models'])
    """
    if not paths:
        raise UserError("compare needs at least one recipe")
    options = {"allow_pickle": allow_pickle, "allow_unrelated": allow_unrelated}
    planned: dict[str, tuple[str, Path, Plan]] = {}
    notes = []
    for path in paths:
        name, plan = _planned(path, options)
        _, first, known = planned.setdefault(_key(plan), (name, path, plan))
        if known is not plan:
            same = "is named twice" if first == path else f"says the same as {first}"
            notes.append(f"{path}: {same}; it is measured once")
    names = _distinct([name for name, _, _ in planned.values()], list(planned.values()))
    found = [
        Candidate(name, path, plan, _is_average(plan))
        for name, (_, path, plan) in zip(names, planned.values(), strict=True)
    ]
    for plan in _without_average(found):
        added, note = _baseline(plan, [c.name for c in found], options)
        found += [added] if added else []
        notes.append(note)
    return found, notes


def _planned(path: Path, options: dict[str, bool]) -> tuple[str, Plan]:
    recipe = read_recipe(path)
    try:
        plan = make_plan(recipe, folders=(path.resolve().parent, Path()), **options)
        _check_can_answer(plan)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return recipe.name or path.stem, plan


def _check_can_answer(plan: Plan) -> None:
    """Refuse now what would be refused after the merge: an adapter without rank, no template."""
    from mergelab.checkpoints.loading import load_tokenizer
    from mergelab.engine.run import refuse_without_rank

    if plan.output == "adapter":
        refuse_without_rank(plan)
    template = plan.recipe.chat_template
    if (
        not (template and template != "auto")
        and not load_tokenizer(plan.tokenizer.path).chat_template
    ):
        raise UserError(
            f"{plan.tokenizer.path.name} has no chat template, so the merge cannot be asked "
            "anything; write 'chat_template: ' with one, or merge chat models"
        )


def _key(plan: Plan) -> str:
    """What a recipe says, apart from its name and the way in which it spells its models."""
    said = plan.recipe.model_dump(exclude={"name"}, mode="json")
    for entry in said["models"] or []:
        del entry["model"]
    said["base_model"] = str(plan.base.path.resolve()) if plan.base else None
    return json.dumps([said, [str(source.path.resolve()) for source in plan.sources]])


def _distinct(names: Sequence[str], planned: Sequence[tuple[str, Path, Plan]]) -> list[str]:
    """Names that differ: where two are alike the folder comes before, then a number behind."""
    longer = [
        f"{path.resolve().parent.name}/{name}" if names.count(name) > 1 else name
        for name, (_, path, _) in zip(names, planned, strict=True)
    ]
    taken: list[str] = []
    for name in longer:
        taken.append(_free(name, taken))
    return taken


def _free(name: str, taken: Sequence[str]) -> str:
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name} ({number})"
    return candidate


def _is_average(plan: Plan) -> bool:
    """Whether a plan is the plain average of its models, however it is written."""
    if plan.method.name != "linear" or plan.recipe.slices:
        return False
    return all(
        len({own["weight"] for own in tensor.per_source}) < 2
        and tensor.settings.get("normalize", True)
        for tensor in plan.tensors
    )


def _models(plan: Plan) -> frozenset[Path]:
    return frozenset(source.path.resolve() for source in plan.sources)


def _without_average(found: Sequence[Candidate]) -> list[Plan]:
    """For each set of models that no candidate averages, the first plan that merges it."""
    averaged = {_models(candidate.plan) for candidate in found if candidate.baseline}
    plans: dict[frozenset[Path], Plan] = {}
    for candidate in found:
        plans.setdefault(_models(candidate.plan), candidate.plan)
    return [plan for models, plan in plans.items() if models not in averaged]


def _baseline(
    plan: Plan, taken: Sequence[str], options: dict[str, bool]
) -> tuple[Candidate | None, str]:
    """The average of a plan's models, or None where they have none, and a note on it."""
    names = ", ".join(source.name for source in plan.sources)
    name = _free(f"{BASELINE} of {names}" if BASELINE in taken else BASELINE, taken)
    recipe = plan.recipe
    said = {
        "name": name,
        "merge_method": "linear",
        "models": [{"model": _absolute(source, plan)} for source in plan.sources],
        **({"base_model": str(plan.base.path.absolute())} if plan.base else {}),
        **recipe.model_dump(
            include={"dtype", "out_dtype", "tokenizer_source", "chat_template", "allow_unrelated"},
            exclude_none=True,
            mode="json",
        ),
    }
    try:
        parsed = parse_recipe(said, name)
        made = make_plan(parsed, **options)
    except UserError as error:
        return None, f"{names}: their plain average cannot be made, so it is missing here ({error})"
    return Candidate(
        name, parsed, made, True
    ), f"{name}: added, the plain average of the same models"


def _absolute(source: Any, plan: Plan) -> str:
    """A reference that means the same from every folder."""
    if source.adapter is None or plan.base is not None:
        return str(source.path.absolute())
    return f"{source.base.path.absolute()}+{source.path.absolute()}"
