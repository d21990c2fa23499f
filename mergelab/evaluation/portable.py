"""A recipe that means the same wherever it lies and from whichever folder it is run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mergelab.errors import UserError
from mergelab.recipes import Plan, Recipe, make_plan
from mergelab.recipes.members import entries_of

ROOT = (Path("/"),)  # where the paths of a portable recipe start
_WORDS = ("base", "union")  # of a tokenizer's source


def portable(recipe: Recipe, folders: Sequence[Path], plan: Plan, **allowed: bool) -> Recipe:
    """The recipe with its models' folders written as absolute paths.

    `folders`: where its relative paths start, `plan`: what it means there. Names of shipped models
    and hub ids stay. The base that an adapter names by a relative path is written out where it
    would not be found otherwise. `allowed` goes to `make_plan`.

    >>> from mergelab.paths import data_path
    >>> from mergelab.recipes import read_recipe
    >>> recipe = read_recipe(data_path("recipes", "ties.yaml"))
    >>> portable(recipe, [Path("nowhere")], make_plan(recipe)).models[0].model
    'task_api_persona'
    """
    recipe = recipe.model_copy(deep=True)
    for entry in entries_of(recipe):
        entry.model = _anywhere(entry.model, folders)
    recipe.base_model = _anywhere(recipe.base_model, folders)
    if recipe.tokenizer_source not in _WORDS:
        recipe.tokenizer_source = _anywhere(recipe.tokenizer_source, folders)
    if recipe.tokenizer:
        if recipe.tokenizer.source not in _WORDS:
            recipe.tokenizer.source = _anywhere(recipe.tokenizer.source, folders)
        for token in recipe.tokenizer.tokens.values():
            token.model = _anywhere(token.model, folders)
    if recipe.base_model is None and plan.base is not None:
        try:
            make_plan(recipe, folders=ROOT, **allowed)
        except UserError:
            recipe.base_model = str(plan.base.path.absolute())
    return recipe


def _anywhere(reference: str | None, folders: Sequence[Path]) -> str | None:
    if reference is None:
        return None
    path = os.path.expanduser(reference.strip())
    for folder in folders:
        if os.path.isdir(folder / path):
            return os.path.abspath(folder / path)
    base, plus, adapter = reference.rpartition("+")
    if plus:
        return f"{_anywhere(base.strip(), folders)}+{_anywhere(adapter.strip(), folders)}"
    return reference
