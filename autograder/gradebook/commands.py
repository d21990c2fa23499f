"""The commands for a class's gradebook: grades and items.

Heavy imports wait inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autograder.courses import find_course
from mergelab.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from autograder.gradebook.items import Item
    from autograder.gradebook.records import ClassGrades

Lessons = Annotated[
    list[str] | None, typer.Argument(help="Lessons, such as 04_ties; all that have been graded.")
]


class Format(StrEnum):
    """How `mergelab grades` writes."""

    table = "table"
    csv = "csv"
    json = "json"
    canvas = "canvas"
    moodle = "moodle"


def grades(
    lessons: Lessons = None,
    format: Annotated[
        Format, typer.Option(help="canvas and moodle are the files that these import.")
    ] = Format.table,
    exercises: Annotated[
        bool, typer.Option("--exercises", help="A row for each exercise, not for each lesson.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Short for --format json.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="A file to write to; the terminal if unsaid.")
    ] = None,
) -> None:
    """Show a class's grades, or write them for a spreadsheet, Canvas or Moodle.

    Example: `mergelab grades 04_ties --format canvas --out canvas.csv`
    """
    from autograder.gradebook import exports
    from autograder.gradebook.records import read_class

    if as_json and format not in (Format.table, Format.json):
        raise UserError(f"--json and --format {format}: leave one of them out")
    format = Format.json if as_json else format
    if out is not None and format is Format.table:
        raise UserError("--out: say how to write: --format csv, json, canvas or moodle")
    if exercises and format in (Format.canvas, Format.moodle):
        raise UserError(f"--exercises: {format} takes one column for each lesson; leave it out")
    found = read_class(find_course(), lessons or ())
    if format is Format.table:
        _print(_grade_table(found, exercises=exercises))
    else:
        text = {
            Format.csv: lambda: exports.csv_text(found, exercises=exercises),
            Format.json: lambda: exports.json_text(found, exercises=exercises),
            Format.canvas: lambda: exports.canvas_text(found),
            Format.moodle: lambda: exports.moodle_text(found),
        }[format]()
        if out is None:
            sys.stdout.write(text)
        else:
            exports.write_aside(out, text)
            print(f"Written to {out}")
    for note in exports.notes(found):
        print(f"Note: {note}.", file=sys.stderr)


def _grade_table(found: ClassGrades, *, exercises: bool) -> Table:
    from rich.table import Table
    from rich.text import Text

    from autograder.gradebook.exports import points, rows

    table = Table()
    left = ["student", "name", "lesson"] + ["exercise"] * exercises
    numbers = ["automatic", "manual", "penalty", "total", "maximum"]
    for heading in left:
        table.add_column(heading)
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("status")
    table.add_column("mode")
    for row in rows(found, exercises=exercises):
        row["name"] = " ".join(name for name in (row["first_name"], row["last_name"]) if name)
        shown = ["-" if row[name] is None else points(row[name]) for name in numbers]
        words = [_plain(row[name] or "") for name in left]
        table.add_row(*map(Text, words), *shown, row["status"], Text(_plain(row["mode"] or "-")))
    return table


def items(
    lessons: Lessons = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print plain JSON instead of a table.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="A folder to write items.csv and items.png to.")
    ] = None,
) -> None:
    """Show how each exercise worked in a class: how hard it was, what it tells, where people err.

    Example: `mergelab items 04_ties --out analysis`
    """
    import json

    from autograder.gradebook.items import analyse, write_items
    from autograder.gradebook.records import read_class

    found = analyse(read_class(find_course(), lessons or ()))
    if out is not None:
        write_items(found, out)
    if as_json:
        print(json.dumps([item.to_dict() for item in found], indent=2, ensure_ascii=False))
        return
    _print(_item_table(found))
    for item in found:
        for line in item.lines():
            _print(_plain(f"{item.exercise}: {line}"))
    _print(
        "Points: mean share with 95% interval. Discrimination: correlation of an exercise's points "
        "with those of the lesson's other exercises (corrected item-total), 95% interval."
    )
    if out is not None:
        _print(f"Written to {out}: items.csv and items.png")


def _item_table(found: list[Item]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    table.add_column("lesson")
    table.add_column("exercise")
    for heading in ("submissions", "points", "none", "full", "discrimination"):
        table.add_column(heading, justify="right", no_wrap=True)
    for item in found:
        table.add_row(
            Text(_plain(item.lesson)),
            Text(_plain(item.exercise)),
            f"{item.submissions}",
            f"{item.mean:.2f} [{item.low:.2f}, {item.high:.2f}]",
            f"{item.zero:.0%}",
            f"{item.full:.0%}",
            item.discrimination_text(),
        )
    return table


def _plain(text: str) -> str:
    """Text from the gradebook without characters that would steer the terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _print(content: object) -> None:
    import os

    from rich.console import Console

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 140
    Console(width=width, highlight=False, markup=False, soft_wrap=isinstance(content, str)).print(
        content
    )
