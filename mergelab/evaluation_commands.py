"""The commands that measure models: evaluate, compare, tables.

Heavy imports wait inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from mergelab.console import (
    AllowPickle,
    AllowUnrelated,
    Json,
    Limit,
    Seed,
    Skills,
    Split,
    labels,
    progress_bar,
    quiet_transformers,
    show,
    show_json,
    suites_asked,
)
from mergelab.errors import UserError


def evaluate(
    models: Annotated[list[str], typer.Argument(help="Model folders, adapters, shipped names.")],
    split: Split = "test",
    skills: Skills = "persona,agentic",
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Score models on the persona and agentic suites, or on those of --skills, with 95% intervals.

    Example: `mergelab evaluate task_api_persona task_api_agentic merged`
    """
    from mergelab.checkpoints.loading import load_model
    from mergelab.evaluation import evaluate as evaluate_model
    from mergelab.evaluation import results_table

    asked = suites_asked(skills, split)
    quiet_transformers()
    results = []
    with progress_bar("evaluating") as progress:
        for done, (name, reference) in enumerate(zip(labels(models), models, strict=True)):
            progress(done, len(models), name)
            model, tokenizer = load_model(reference)
            results.append(
                evaluate_model(model, tokenizer, skills=asked, split=split, limit=limit, name=name)
            )
    if as_json:
        show_json([result.to_dict(outcomes=False) for result in results])
        return
    show(results_table(results))


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
    seed: Seed = 0,
    allow_pickle: AllowPickle = False,
    allow_unrelated: AllowUnrelated = False,
    as_json: Json = False,
) -> None:
    """Merge, evaluate and rank RECIPES, with a plain average beside them; which lead is real?

    Example: `mergelab compare data/recipes/ties.yaml data/recipes/slerp.yaml --best merged`
    """
    asked = suites_asked(skills, split)
    for folder in (best, out):
        if folder is not None and os.path.lexists(folder):
            raise UserError(f"{folder}: exists already; choose another name or remove it first")
    if best is not None and out is not None and best.absolute() == out.absolute():
        raise UserError(f"--best and --out both name {out}; write two folders")
    from mergelab.checkpoints import whole_folder
    from mergelab.evaluation.candidates import candidates
    from mergelab.evaluation.comparison import compare_merges, comparison_table, write_comparison

    quiet_transformers()
    allowed = {"allow_pickle": allow_pickle, "allow_unrelated": allow_unrelated}
    merges, notes = candidates(recipes, **allowed)
    options = {"seed": seed, **allowed}
    with progress_bar("comparing") as progress:
        found = compare_merges(
            merges,
            notes=notes,
            skills=asked,
            split=split,
            limit=limit,
            options=options,
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
            + ("It was chosen on dev; for the final figure: " if split == "dev" else "Next: ")
            + f"mergelab evaluate {best}"
        )


def tables(
    out: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("data/tables"),
    limit: Limit = None,
) -> None:
    """Make the course's tables again: overview (as figure, too), random drops, ladder of conflict.

    Example: `mergelab tables --out /tmp/tables`
    """
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from mergelab.evaluation import results_table
    from mergelab.evaluation.dare_table import ITEMS as DROP_ITEMS
    from mergelab.evaluation.dare_table import random_drops, write_drops
    from mergelab.evaluation.ladder import ladder, prepare_worker, write_ladder
    from mergelab.evaluation.overview import overview, write_csv
    from mergelab.notebook.overview_plot import overview_plot

    quiet_transformers()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be created ({error.strerror})") from None
    with progress_bar("evaluating") as progress:
        rows = overview(limit=limit, progress=progress)
    write_csv(rows, out / "overview.csv")
    overview_plot(rows).savefig(out / "overview.png", metadata={"Software": None})
    with progress_bar("dropping at random") as progress:
        write_drops(random_drops(limit=limit or DROP_ITEMS, progress=progress), out / "dare.csv")
    show(results_table([row.evaluation for row in rows]))
    # One thread in each of two processes: small models gain more from it than from two threads.
    workers = ProcessPoolExecutor(2, get_context("spawn"), initializer=prepare_worker)
    with workers, progress_bar("climbing the ladder") as progress:
        write_ladder(ladder(limit=limit, executor=workers, progress=progress), out / "ladder.csv")
    show(f"Written to {out}: overview.csv, overview.png, dare.csv and ladder.csv")
