"""The commands for learners between two submissions: check and progress.

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

    from autograder.progress import CourseProgress

Json = Annotated[bool, typer.Option("--json", help="Print plain JSON instead of text.")]


def check(
    lesson: Annotated[
        str, typer.Argument(help="A lesson (04_ties), its notebook, or an exercise (ties/trim).")
    ],
    exercise: Annotated[
        str | None, typer.Argument(help="One exercise of it (trim); all of them by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check your functions on the visible cases, in the words of the notebook.

    Example: `mergelab check 04_ties trim` or `mergelab check ties/trim`
    """
    from rich.console import Console

    from autograder.selfcheck import check_lesson

    with Console(stderr=True).status("running your functions"):
        found = check_lesson(find_course(), lesson, exercise)
    if as_json:
        print(json.dumps(found.to_dict(), indent=2))
    else:
        for each in found.exercises:
            print(each.text)
        for note in found.notes:
            print(f"Note: {note}.")
        right = f"{sum(each.passed for each in found.exercises)} of {len(found.exercises)}"
        more = f" Hidden cases, too: mergelab submit {found.lesson}" if found.passed else ""
        print(f"{found.lesson}: {right} pass on the visible cases.{more}")
    if not found.passed:
        raise typer.Exit(1)


def progress(as_json: Json = False) -> None:
    """Say how far you are, lesson by lesson, and where to go on.

    Example: `mergelab progress`
    """
    from rich.console import Console

    from autograder.progress import progress as find_progress
    from autograder.startpage import refresh

    course = find_course()
    with Console(stderr=True).status("starting") as status:
        found = find_progress(course, lambda doing: status.update(doing))
    if course.work.is_dir():
        try:
            refresh(course, found.lessons)
        except OSError as error:
            raise UserError(
                f"{error.filename or course.work}: cannot be written ({error.strerror})"
            ) from None
    if as_json:
        print(json.dumps(found.to_dict(), indent=2))
        return
    console = Console(highlight=False, markup=False)
    console.print(_progress_table(found))
    for each in found.lessons:
        for note in each.notes:
            console.print(f"Note, {each.outline.name}: {note}", soft_wrap=True)
    console.print(found.next, soft_wrap=True)


def _progress_table(found: CourseProgress) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    table.add_column("lesson")
    for name in ("exercises", "points", "minutes left"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for each in found.lessons:
        about = each.outline
        won = "-" if each.score is None else f"{each.score:g}"
        table.add_row(
            Text(about.name),
            f"{sum(each.passed.values())} / {len(about.exercises)}",
            f"{won} / {about.points:g}",
            f"{each.minutes_left}",
            each.status,
        )
    total = found.to_dict()["total"]
    table.add_section()
    table.add_row(
        "total",
        f"{total['passed']} / {total['exercises']}",
        f"{total['points']:g} / {total['points_possible']:g}",
        f"{total['minutes_left']}",
        "",
    )
    return table
