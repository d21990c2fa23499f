"""The command with which an instructor grades a class.

Heavy imports wait inside the command, so that `--help` answers at once.
"""

from __future__ import annotations

import json
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autograder.courses import Course, find_course
from mergelab.errors import UserError
from mergelab.workers import dask_executor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from autograder.grading import ClassReport


def grade(
    lessons: Annotated[
        list[str] | None, typer.Argument(help="Lessons to grade; by default all handed in.")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="How many submissions are judged at once.")
    ] = 1,
    scheduler: Annotated[
        str | None, typer.Option(help="Judge on a Dask cluster: the address of its scheduler.")
    ] = None,
    stock: Annotated[
        bool,
        typer.Option("--stock", help="Grade without a sandbox, and mark the grades so."),
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Grade what has not changed, too; manual points stay.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print plain JSON instead of tables.")
    ] = False,
) -> None:
    """Grade a class: collect what was handed in, judge it in a sandbox, write the feedback.

    Example: `mergelab grade 04_ties --workers 4`
    """
    from rich.console import Console

    from autograder.grading import grade_class

    course = find_course()
    chosen = lessons or _handed_in(course)
    if not chosen:
        raise UserError(
            f"nothing is handed in: the exchange has no submissions, and {course.state}/submitted "
            f"is empty"
        )
    for lesson in chosen:
        course.release(lesson)
    reports = []
    with dask_executor(scheduler) if scheduler else nullcontext() as executor:
        for lesson in chosen:
            with _bar(lesson) as progress:
                reports.append(
                    grade_class(
                        course,
                        lesson,
                        workers=workers,
                        executor=executor,
                        stock=stock,
                        again=again,
                        progress=progress,
                    )
                )
    if as_json:
        print(json.dumps([report.to_dict() for report in reports], indent=2))
        return
    console = Console(highlight=False)
    for report in reports:
        console.print(_class_table(report))
        for line in _remarks(report):
            console.print(line, soft_wrap=True, markup=False)
        where = f"{course.state}/feedback/<student>/{report.lesson}/"
        console.print(f"Feedback: {where}", soft_wrap=True, markup=False)


def _handed_in(course: Course) -> list[str]:
    """Lessons of which there is a submission, in the exchange or collected."""
    named = {path.name.rsplit("+", 3)[1] for path in course.exchange.glob("*/inbound/*+*+*")}
    named |= {path.name for path in (course.state / "submitted").glob("*/*")}
    return [lesson for lesson in course.released() if lesson in named]


@contextmanager
def _bar(lesson: str) -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Left

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Left(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"{lesson}: collecting", total=None)
        yield lambda student, done, total: bar.update(
            task, description=f"{lesson}: {student}", completed=done, total=total
        )


def _class_table(report: ClassReport) -> Table:
    """One row per exercise: how the class did."""
    from rich.table import Table
    from rich.text import Text

    graded = [each for each in report.submissions if each.scores]
    many = f"{len(report.submissions)} submission{'' if len(report.submissions) == 1 else 's'}"
    table = Table(title=f"{report.lesson}: {many}")
    table.add_column("exercise")
    for name in ("mean points", "full marks", "no points"):
        table.add_column(name, justify="right")
    for exercise in dict.fromkeys(name for each in graded for name in each.scores):
        points = [each.scores[exercise] for each in graded]
        full = report.points[exercise]
        table.add_row(
            Text(exercise),
            f"{sum(points) / len(points):.2f} / {full:g}",
            str(sum(p == full for p in points)),
            str(sum(p == 0 for p in points)),
        )
    return table


def _remarks(report: ClassReport) -> list[str]:
    lines = [f"Note: {note}." for note in report.notes]
    for each in report.submissions:
        if each.refused:
            lines.append(f"{each.student}: not graded: {each.refused}.")
        lines += [f"{each.student}: {note}." for note in each.notes]
    unchanged = sum(each.unchanged for each in report.submissions)
    if unchanged:
        lines.append(f"{unchanged} unchanged since the last run (--again grades them, too).")
    unread = sum(each.written > 0 for each in report.submissions)
    if unread:
        lines.append(f"{unread} with written answers for a person to read: nbgrader's Formgrader.")
    if report.mode == "stock":
        lines.append(
            "Graded without a sandbox (stock mode): learners' code could read the tests and change "
            "its own grades."
        )
    return lines
