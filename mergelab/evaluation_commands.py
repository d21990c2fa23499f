"""The commands that measure models: evaluate, compare, and harness, which lets another tool do it.

Heavy imports wait inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from mergelab.asking import (
    BatchSize,
    Device,
    Dtype,
    MaxNewTokens,
    ScorerName,
    Suite,
    System,
    Threshold,
    asking,
)
from mergelab.console import (
    AllowPickle,
    AllowUnrelated,
    Json,
    Limit,
    Scheduler,
    Seed,
    Skills,
    Split,
    labels,
    progress_bar,
    quiet_transformers,
    show,
    show_json,
)
from mergelab.errors import UserError
from mergelab.files import write_whole


def evaluate(
    models: Annotated[list[str], typer.Argument(help="Model folders, adapters, shipped names.")],
    split: Split = "test",
    skills: Skills = "persona,agentic",
    limit: Limit = None,
    suite: Suite = None,
    scorer: ScorerName = "strict",
    threshold: Threshold = None,
    system: System = None,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    batch_size: BatchSize = None,
    max_new_tokens: MaxNewTokens = None,
    out: Annotated[
        Path | None, typer.Option(help="Write every reply and score to this JSON file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Score models on the persona and agentic suites, or on items of your own, with 95% intervals.

    Example: `mergelab evaluate task_api_persona task_api_agentic merged`
    """
    if out is not None and os.path.lexists(out):
        raise UserError(f"{out}: exists already; choose another name or remove it first")
    if out is not None and not out.absolute().parent.is_dir():
        raise UserError(f"{out}: its folder does not exist; make it first, or choose another")
    from mergelab.checkpoints.loading import load_model
    from mergelab.evaluation import evaluate as evaluate_model
    from mergelab.evaluation import results_table

    what = asking(
        skills,
        split,
        suite=suite,
        scorer=scorer,
        threshold=threshold,
        system=system,
        device=device,
        dtype=dtype,
        batch_size=batch_size,
        max_new_tokens=max_new_tokens,
    )
    quiet_transformers()
    results = []
    with progress_bar("evaluating") as progress:
        for done, (name, reference) in enumerate(zip(labels(models), models, strict=True)):
            progress(done, len(models), name)
            model, tokenizer = load_model(reference, device=device, dtype=dtype)
            results.append(
                evaluate_model(
                    model,
                    tokenizer,
                    skills=what.skills,
                    split=what.split,
                    limit=limit,
                    name=name,
                    **what.options,
                )
            )
            del model  # before the next is loaded: there need not be room for two
    if out is not None:
        try:
            write_whole(out, json.dumps([result.to_dict() for result in results], indent=2) + "\n")
        except OSError as error:
            raise UserError(f"{out}: cannot be written ({error.strerror})") from None
    if as_json:
        show_json([result.to_dict(outcomes=False) for result in results])
        return
    show(results_table(results))
    if out is not None:
        show(f"Written to {out}: every reply and score.")


def compare(
    recipes: Annotated[list[Path], typer.Argument(help="Recipes, in YAML.")],
    best: Annotated[
        Path | None, typer.Option(help="Keep the merge that comes first in this folder.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write summaries and every reply to this folder.")
    ] = None,
    split: Split = "dev",
    skills: Skills = "persona,agentic",
    limit: Limit = None,
    suite: Suite = None,
    scorer: ScorerName = "strict",
    threshold: Threshold = None,
    system: System = None,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    batch_size: BatchSize = None,
    max_new_tokens: MaxNewTokens = None,
    seed: Seed = 0,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that share the merges, a thread each.")
    ] = None,
    scheduler: Scheduler = None,
    allow_pickle: AllowPickle = False,
    allow_unrelated: AllowUnrelated = False,
    as_json: Json = False,
) -> None:
    """Merge, evaluate and rank RECIPES, with a plain average beside them; which lead is real?

    Example: `mergelab compare data/recipes/ties.yaml data/recipes/slerp.yaml --best merged`
    """
    what = asking(
        skills,
        split,
        suite=suite,
        scorer=scorer,
        threshold=threshold,
        system=system,
        device=device,
        dtype=dtype,
        batch_size=batch_size,
        max_new_tokens=max_new_tokens,
    )
    for folder in (best, out):
        if folder is not None and os.path.lexists(folder):
            raise UserError(f"{folder}: exists already; choose another name or remove it first")
    if best is not None and out is not None and best.absolute() == out.absolute():
        raise UserError(f"--best and --out both name {out}; write two folders")
    from mergelab.checkpoints import whole_folder
    from mergelab.evaluation.candidates import candidates
    from mergelab.evaluation.comparison import compare_merges, comparison_table, write_comparison
    from mergelab.workers import workers as start_workers

    quiet_transformers()
    allowed = {"allow_pickle": allow_pickle, "allow_unrelated": allow_unrelated}
    merges, notes = candidates(recipes, **allowed)
    options = {"seed": seed, **allowed}
    with ExitStack() as stack:
        shared = None
        if workers or scheduler:
            shared = stack.enter_context(start_workers(workers, scheduler))
        progress = stack.enter_context(progress_bar("comparing"))
        found = compare_merges(
            merges,
            notes=notes,
            skills=what.skills,
            split=what.split,
            limit=limit,
            options=options,
            asking=what.options,
            device=device,
            dtype=dtype,
            workers=shared,
            progress=progress,
        )
    if as_json:
        show_json(found.to_dict())
    else:
        show(comparison_table(found))
        show(found.conclusion())
        for note in found.notes:
            show(f"Note: {note}")
    if out is not None:
        with whole_folder(out) as folder:
            write_comparison(found, folder)
    if best is not None:
        next(m for m in merges if m.name == found.leader.name).keep(best, **options)
    if as_json:
        return
    if out is not None:
        show(f"Written to {out}: summary.csv, summary.json, summary.md and items.csv.")
    if best is not None:
        noise = [name for name, lead in found.leads.items() if not lead.beyond_noise]
        show(
            f"{found.leader.name} is kept in {best}"
            + (f", though its lead over {', '.join(noise)} is within noise. " if noise else ". ")
            + ("It was chosen on dev; for the final figure: " if what.split == "dev" else "Next: ")
            + f"mergelab evaluate {best}"
        )


def harness(
    system: Annotated[
        str | None,
        typer.Option(help="Print the system prompt for a suite instead: persona, agentic, digest."),
    ] = None,
) -> None:
    """Print the folder with the suites as tasks for lm-evaluation-harness, for its --include_path.

    Example: `mergelab harness`
    """
    from mergelab.evaluation.harness import FOLDER
    from mergelab.evaluation.system_prompts import SYSTEM

    if system is None:
        print(FOLDER)
        return
    if system not in SYSTEM:
        raise UserError(f"--system {system}: unknown suite; known are {', '.join(SYSTEM)}")
    print(SYSTEM[system])
