"""The command `mergelab tables`.

Heavy imports wait inside the command, so that `--help` answers at once.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from mergelab.console import Limit, Scheduler, progress_bar, quiet_transformers, show
from mergelab.errors import UserError


def tables(
    names: Annotated[list[str] | None, typer.Argument(help="Which tables; all by default.")] = None,
    out: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("data/tables"),
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Write nothing: say what a fresh run moves; status 1 if much."
        ),
    ] = False,
    full: Annotated[
        bool,
        typer.Option("--full", help="Choose the scales again, and train with other seeds, too."),
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the work.")] = 2,
    scheduler: Scheduler = None,
    limit: Limit = None,
) -> None:
    """Make the course's result tables and figures again, or check those that are there.

    Example: `mergelab tables strategies --out /tmp/tables` or `mergelab tables --check`
    """
    from mergelab.tables.making import Settings, make_tables
    from mergelab.workers import workers as start_workers

    if check and limit is not None:
        raise UserError("--check holds a whole run against the committed one; leave --limit out")
    quiet_transformers()
    with start_workers(workers, scheduler) as shared, progress_bar("measuring") as progress:
        if not check:
            files = make_tables(names or (), Settings(out, shared, limit, full, progress))
        else:
            with tempfile.TemporaryDirectory() as fresh:
                place = Path(fresh)
                files = make_tables(names or (), Settings(place, shared, None, full, progress))
                status = _compare(out, place, files)
    if check:
        raise typer.Exit(status)
    show(f"Written to {out}: {', '.join(files)}")


def _compare(committed: Path, fresh: Path, files: list[str]) -> int:
    """Say what moved; 1 if anything did by more than its tolerance."""
    from mergelab.tables.checking import EXACT_TOLERANCE, SCORE_TOLERANCE, moves

    tables = [name for name in files if name.endswith(".csv") and not name.endswith("_items.csv")]
    found = {name: moves(committed / name, fresh / name) for name in tables}
    beyond = sum(move.beyond for each in found.values() for move in each)
    for name, each in found.items():
        show(f"{name}: {_moved(len(each))}")
        for move in each:
            show(f"  {move}")
    show(
        f"{beyond} cell{'' if beyond == 1 else 's'} beyond tolerance (scores {SCORE_TOLERANCE:g}, "
        f"norms and shares {EXACT_TOLERANCE:g})."
    )
    return int(beyond > 0)


def _moved(count: int) -> str:
    return "the same" if count == 0 else f"{count} cell{'' if count == 1 else 's'} moved"
