"""What lies beside the weights of a merged model: config, tokenizer, generation config, recipe."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import yaml

from mergelab.checkpoints.vocabulary import tokenizer_files
from mergelab.model_card import model_card
from mergelab.recipes import Plan
from mergelab.report import MergeReport

RECIPE_NAME = "mergelab_recipe.yaml"


def write_companions(plan: Plan, report: MergeReport, folder: Path) -> None:
    """Write everything but the weights, and the report, that belongs to a merged model or adapter.

    An adapter has its own config, and takes its base's at work.
    """
    if plan.output == "model":
        write_configs(plan, folder)
    write_tokenizer(plan, folder)
    write_recipe(plan, folder)
    card = model_card(plan, report, output=plan.output)
    (folder / "README.md").write_text(card, encoding="utf-8")


def write_configs(plan: Plan, folder: Path) -> None:
    """`config.json` and `generation_config.json`."""
    config = dict(plan.config)
    floating = [t.dtype for t in plan.tensors if t.dtype.is_floating_point]
    if floating:
        name = str(max(sorted(set(floating), key=str), key=floating.count)).removeprefix("torch.")
        config.pop("torch_dtype", None)
        config["dtype"] = name
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    if plan.generation_config is not None:
        text = json.dumps(plan.generation_config, indent=2)
        (folder / "generation_config.json").write_text(text + "\n")


def write_tokenizer(plan: Plan, folder: Path) -> None:
    """Copy the tokenizer's files, and the recipe's chat template over the tokenizer's own."""
    for file in tokenizer_files(plan.tokenizer.path):
        shutil.copyfile(file, folder / file.name)
    if plan.tokenizer_json is not None:
        (folder / "tokenizer.json").write_text(plan.tokenizer_json, encoding="utf-8")
    template = plan.recipe.chat_template
    if template and template != "auto":
        (folder / "chat_template.jinja").write_text(template)


def write_recipe(plan: Plan, folder: Path) -> None:
    """The recipe as it was understood, so that the merge can be made and explained again."""
    written = plan.recipe.model_dump(exclude_none=True, mode="json")
    (folder / RECIPE_NAME).write_text(yaml.safe_dump(written, sort_keys=False))
