"""The commands that this package adds to `mergelab`: lab, lessons, submit.

Heavy imports wait inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from autograder.courses import find_course
from mergelab.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from autograder.submit import Submission


def lessons(
    names: Annotated[
        list[str] | None, typer.Argument(help="Lessons to build; all by default.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Build nothing: say where text, notebook and release differ."),
    ] = False,
    execute: Annotated[
        bool, typer.Option(help="Run the notebook; without, keep the outputs it has.")
    ] = True,
) -> None:
    """Build lessons: text in solutions/, to executed notebook, to release in lessons/.

    Example: `mergelab lessons 04_ties` or `mergelab lessons --check`
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from autograder import build

    course = find_course()
    known = build.lesson_names(course)
    for name in names or []:
        if name not in known:
            raise UserError(
                f"{name}: no solutions/{name}/{name}.py; there are {', '.join(known) or 'none'}"
            )
    if check:
        problems = [line for name in names or known for line in build.check(course, name)]
        for line in problems:
            print(line)
        if problems:
            raise typer.Exit(1)
        print(f"{len(names or known)} lessons: text, notebook and release agree")
        return
    columns = (
        TextColumn("{task.fields[lesson]}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    for name in names or known:
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=None, lesson=name)
            changed = build.build(
                course,
                name,
                execute=execute,
                progress=lambda done, total, title, bar=bar, task=task: bar.update(
                    task, completed=done, total=total, description=title
                ),
            )
        words = [part for part, differs in changed.items() if differs]
        print(f"{name}: {' and '.join(words) + ' written' if words else 'nothing changed'}")


def submit(
    lesson: Annotated[
        str, typer.Argument(help="A lesson (04_ties), or the path of its folder or notebook.")
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print plain JSON instead of a table.")
    ] = False,
) -> None:
    """Grade your work on a lesson and show the reason for every lost point.

    Example: `mergelab submit 04_ties`
    """
    from rich.console import Console

    from autograder.submit import submit as grade_submission

    with Console(stderr=True).status("starting") as status:
        found = grade_submission(find_course(), lesson, progress=lambda doing: status.update(doing))
    if as_json:
        print(json.dumps(found.to_dict(), indent=2))
        return
    console = Console(highlight=False)
    console.print(_score_table(found))
    for note in found.notes:
        console.print(f"Note: {note}.")
    console.print(f"Feedback, cell by cell: {found.feedback}", soft_wrap=True)
    if found.why_stock:
        console.print(
            f"Graded in the notebook's own kernel (stock mode), because {found.why_stock}.",
            soft_wrap=True,
        )


def _score_table(found: Submission) -> Table:
    """Score per exercise with the reasons for lost points."""
    from rich.table import Table
    from rich.text import Text

    unread = sum(result.maximum for result in found.results if result.written)
    more = f", and {unread:g} for a person to give" if unread else ""
    table = Table(title=f"{found.lesson}: {found.score:g} of {found.maximum:g} points{more}")
    table.add_column("exercise")
    table.add_column("points", justify="right", no_wrap=True)
    table.add_column("why")
    for result in found.results:
        if result.written:
            why = " ".join(result.reasons) or "To be read by a person."
            table.add_row(Text(result.title), f"- / {result.maximum:g}", Text(why))
            continue
        full = result.score == result.maximum
        table.add_row(
            Text(f"{'✓' if full else '✗'} {result.id.split('/')[1]}"),
            f"{result.score:g} / {result.maximum:g}",
            Text("" if full else "\n".join(result.reasons)),
        )
    return table


def lab(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(help="Passed to JupyterLab as they are, such as --no-browser --port=9000."),
    ] = None,
    instructor: Annotated[
        bool, typer.Option("--instructor", help="Serve the whole repository, with Formgrader.")
    ] = False,
) -> None:
    """Open the course in JupyterLab; your notebooks in work/ are never overwritten.

    Example: `mergelab lab --no-browser --port=9000`
    """
    from autograder.lab import serve, set_up

    course = find_course()
    placed = set_up(course)
    for name in placed.new:
        print(f"new: work/{name}")
    for name in placed.updated:
        print(f"updated: work/{name}")
    for name in placed.beside:
        print(f"updated lesson beside your own version: work/{name}")
    serve(course, arguments or [], instructor=instructor)


# Options that are not ours belong to JupyterLab.
lab.context_settings = {"ignore_unknown_options": True}
