"""The command `tune`: search for the best numbers of a recipe on dev, and test them once.

Heavy imports wait inside the command, so that `--help` answers at once.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mergelab.console import (
    AllowPickle,
    AllowUnrelated,
    Json,
    Limit,
    Scheduler,
    Skills,
    progress_bar,
    quiet_transformers,
    show,
    show_json,
    suites_asked,
)
from mergelab.errors import UserError


def tune(
    recipe: Annotated[Path, typer.Argument(help="A recipe, in YAML.")],
    out: Annotated[
        Path, typer.Option(help="The folder of the search; if it was stopped, it goes on there.")
    ],
    search: Annotated[
        str, typer.Option(help="How to look: grid, random or evolutionary.")
    ] = "evolutionary",
    trials: Annotated[int, typer.Option(min=1, help="How many merges to try.")] = 40,
    seed: Annotated[
        int, typer.Option(min=0, help="Names the random numbers of the search and of DARE.")
    ] = 0,
    skills: Skills = "persona,agentic",
    limit: Limit = None,
    groups: Annotated[
        int, typer.Option(min=1, help="Split the layers in so many groups with their own values.")
    ] = 1,
    ranges: Annotated[
        list[str] | None,
        typer.Option("--range", help="NAME=LOW:HIGH to look there, NAME=VALUE to hold it."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Trials measured at once.")] = 1,
    scheduler: Scheduler = None,
    allow_pickle: AllowPickle = False,
    allow_unrelated: AllowUnrelated = False,
    as_json: Json = False,
) -> None:
    """Tune the numbers of RECIPE on dev items; the best recipe is then scored once on test.

    Example: `mergelab tune data/recipes/ties.yaml --out tuned --trials 30 --limit 200`
    """
    asked = suites_asked(skills, "dev")
    _check(search)
    quiet_transformers()
    from mergelab.evaluation.dev_scores import Conditions
    from mergelab.evaluation.tuning_run import prepare

    conditions = Conditions(tuple(asked), limit, seed, allow_pickle, allow_unrelated)
    job = prepare(recipe, conditions, search, trials, ranges or [], groups)
    with job.open(out) as record:
        summary = job.finished(record)
        again = summary is not None
        if summary is None:
            if len(record) and not as_json:
                show(f"{out} holds {len(record)} measured trials; the search goes on after them.")
            summary = _run(job, record, workers, scheduler, out)
    if as_json:
        show_json(summary)
        return
    _print(summary, out, again)


def _check(search: str) -> None:
    try:
        importlib.import_module("optuna")
    except ImportError:
        raise UserError("tune needs Optuna: pip install 'mergelab[tune]'") from None
    from mergelab.evaluation.tuning import SEARCHES

    if search not in SEARCHES:
        raise UserError(f"--search {search}: use grid, random or evolutionary")


def _run(job: Any, record: Any, workers: int, scheduler: str | None, out: Path) -> dict[str, Any]:
    from mergelab.workers import workers as workers_for

    count = workers if workers > 1 else None
    try:
        with workers_for(count, scheduler) as pool, progress_bar("tuning") as bar:
            trials = job.search(record, pool, bar)
        with progress_bar("testing") as bar:
            return job.test(record, trials, bar)
    except (KeyboardInterrupt, SystemExit):
        print(
            f"{out}: {len(record)} measured trials are kept; the same command goes on after them",
            file=sys.stderr,
        )
        raise


def _print(summary: dict[str, Any], out: Path, again: bool) -> None:
    from mergelab.evaluation.tuning_result import summary_table

    if again:
        show(f"{out} holds this search, finished. It found:")
    show(summary_table(summary))
    values = ", ".join(f"{name} {value:g}" for name, value in summary["chosen"]["values"].items())
    if values:
        show(f"Trial {summary['chosen']['trial']} of {summary['trials']}: {values}.")
    show(summary["conclusion"])
    if summary["failed"]:
        show(f"{summary['failed']} of the trials could not be merged; trials.csv says why.")
    for note in summary["notes"]:
        show(f"Note: {note}")
    show(f"In {out}: best.yaml, trials.csv, front.png, summary.json.")
    show(f"Next: mergelab merge {out / 'best.yaml'} OUT")
