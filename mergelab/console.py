"""What commands share: options, a progress bar, and the ways to print.

Heavy imports wait inside the functions, so that `--help` and a mistyped option answer at once.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from mergelab.errors import UserError

Json = Annotated[bool, typer.Option("--json", help="Print plain JSON instead of a table.")]
Seed = Annotated[int, typer.Option(min=0, help="Names the random numbers of DARE.")]
Split = Annotated[str, typer.Option(help="Which items: dev (to choose) or test.")]
Skills = Annotated[str, typer.Option(help="Which suites, with commas: persona, agentic, digest.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Use only so many items of each suite.")]
Scheduler = Annotated[
    str | None, typer.Option(help="Work on a Dask cluster: the address of its scheduler.")
]
AllowPickle = Annotated[
    bool, typer.Option("--allow-pickle", help="Read weights stored as pickles, tensors only.")
]
AllowUnrelated = Annotated[
    bool,
    typer.Option("--allow-unrelated", help="Merge models that do not seem to share a base."),
]


def suites_asked(skills: str, split: str) -> list[str]:
    """The suites that --skills names; an unknown one is refused before any model is loaded."""
    from mergelab.evaluation import load_suite

    asked = [skill.strip() for skill in skills.split(",") if skill.strip()]
    if not asked:
        raise UserError(
            "--skills: no skills to evaluate; name one or more of persona, agentic, digest"
        )
    for skill in asked:
        load_suite(skill, split)
    return asked


def labels(references: list[str]) -> list[str]:
    """Short names for a table; the whole reference where two would read the same."""
    short = [Path(reference).name or reference for reference in references]
    return [r if short.count(s) > 1 else s for r, s in zip(references, short, strict=True)]


def quiet_transformers() -> None:
    """No words or bars of the library beside ours."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


@contextmanager
def progress_bar(verb: str) -> Iterator[Any]:
    """A progress bar on stderr where that is a terminal; yields `report(done, total, name)`."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn(verb),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, name: bar.update(
            task, completed=done, total=total, description=name
        )


def show(content: Any) -> None:
    """Print text or a rich table, as wide as the terminal; 120 columns where there is none."""
    from rich.console import Console

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 120
    Console(width=width, highlight=False, soft_wrap=isinstance(content, str), markup=False).print(
        content
    )


def show_json(value: Any) -> None:
    """Print plain JSON; a value that JSON does not know (NaN, infinity) becomes null."""
    from mergelab.report import finite

    print(json.dumps(finite(value), indent=2, allow_nan=False))
