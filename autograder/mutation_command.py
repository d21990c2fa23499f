"""The command for authors of exercises: mutants.

Heavy imports wait inside the command, so that `--help` answers at once.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autograder.courses import Course, find_course
from mergelab.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from autograder.exercise import Exercise
    from autograder.mutation_run import Found, MutationScore

COLUMNS = ("exercise", "mutants", "caught", "equivalent", "surviving")


def mutants(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Exercises (ties/trim) or lessons (04_ties); all by default."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print plain JSON instead of a table.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes at once.")] = 2,
    survivors: Annotated[
        bool, typer.Option("--survivors", help="List the survivors only.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write the table as CSV, such as data/tables/mutants.csv.")
    ] = None,
) -> None:
    """Make small faults in the solutions and say which of them no case notices.

    Status 1 if a fault survives that its exercise's record does not explain.

    Example: `mergelab mutants ties/trim` or `mergelab mutants --out data/tables/mutants.csv`
    """
    from rich.console import Console

    course = find_course()
    chosen = exercises_named(names or [])
    with Console(stderr=True).status("starting") as status:
        scores = run(
            course,
            chosen,
            workers,
            lambda done, total, name: status.update(f"{done} of {total} exercises: {name}"),
        )
    if out is not None:
        write_table(scores, out)
    wrong = [(score, found) for score in scores for found in score.wrongly_excused]
    left = [(score, found) for score in scores for found in score.survivors]
    if as_json:
        print(json.dumps([score.to_dict() for score in scores], indent=2))
    else:
        console = Console(highlight=False, markup=False)
        if not survivors:
            console.print(_table(scores))
            for score in scores:
                for found in score.found:
                    if found.reason is not None:
                        _say(score, found, f"not counted: {found.reason}")
        for score, found in left:
            _say(score, found, "survives" if found.fate == "missed" else "caught by some seeds")
        for score, found in wrong:
            _say(score, found, "said to be equivalent, but loses points")
    if left or wrong:
        raise typer.Exit(1)


def exercises_named(names: Sequence[str]) -> list[Exercise]:
    """The exercises that ids and lessons stand for, each once; all where none is named.

    Raises `UserError` if there is no such exercise or lesson.
    """
    from autograder.exercise import topics

    known = [exercise for group in topics().values() for exercise in group]
    for name in names:
        if not any(name in (each.id, each.lesson) for each in known):
            lessons = ", ".join(sorted({each.lesson for each in known}))
            raise UserError(
                f"{name}: no such exercise or lesson; write an id such as {known[0].id}, or one of "
                f"{lessons}"
            )
    return [each for each in known if not names or each.id in names or each.lesson in names]


def run(
    course: Course,
    chosen: Sequence[Exercise],
    workers: int,
    progress: Callable[[int, int, str], None],
) -> list[MutationScore]:
    """Try all mutants of the chosen exercises in so many processes."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from autograder.mutation_run import solutions_of, survey

    solutions = solutions_of(course, chosen)
    with ProcessPoolExecutor(workers, get_context("spawn")) as executor:
        return survey(solutions, executor, progress=progress)


def write_table(scores: Sequence[MutationScore], path: Path) -> None:
    """Write one row per exercise."""
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for score in scores:
                plain = score.to_dict()
                writer.writerow([plain[column] for column in COLUMNS])
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None


def _table(scores: Sequence[MutationScore]) -> Table:
    from rich.table import Table

    table = Table()
    table.add_column("exercise")
    for name in (*COLUMNS[1:], "score"):
        table.add_column(name, justify="right", no_wrap=True)
    for score in scores:
        plain = score.to_dict()
        table.add_row(*(str(plain[c]) for c in COLUMNS), f"{score.score:.1%}")
    counts = [sum(score.to_dict()[c] for score in scores) for c in COLUMNS[1:]]
    counted = counts[0] - counts[2]
    table.add_section()
    share = counts[1] / counted if counted else 1.0
    table.add_row("total", *map(str, counts), f"{share:.1%}")
    return table


def _say(score: MutationScore, found: Found, words: str) -> None:
    print(f"{score.exercise} {found.mutant.id}, {found.mutant.description}: {words}")
