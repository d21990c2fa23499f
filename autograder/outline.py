"""What a released lesson says of itself: title, time, needs, exercises and points.

Everything is read from the notebook that learners open, so there is no second list to keep up to
date, and no exercise needs to be imported (that takes seconds, reading takes none).
"""

import re
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from autograder.courses import Course
from autograder.grade_cell import parse_call

_ROW = re.compile(r"^\|\s*\*\*(.+?)\*\*\s*\|\s*(.+?)\s*\|\s*$", re.MULTILINE)
_STATEMENT = re.compile(
    r"^### Exercise: (?P<title>.+)$\s*`(?P<function>\w+)\(.*?about (?P<minutes>\d+) minutes",
    re.MULTILINE,
)
_MINUTES = re.compile(r"(\d+)\s*minutes")
_LESSONS = re.compile(r"lessons? (\d+(?:(?:, | and |, and )\d+)*)")


@dataclass(frozen=True)
class ExerciseOutline:
    """One exercise of a lesson; `points` are those of all its graded cells."""

    id: str
    function: str
    title: str
    points: float
    minutes: int


@dataclass(frozen=True)
class Outline:
    """One lesson, as its header and its graded cells describe it.

    `needs` are the numbers of earlier lessons; `written` is what a person gives points for;
    `short_path` is the advice for those who are short of time, "" where there is none.
    """

    name: str
    title: str
    gives: str
    minutes: int
    difficulty: str
    needs: tuple[int, ...]
    short_path: str
    exercises: tuple[ExerciseOutline, ...]
    written: float

    @property
    def number(self) -> int | None:
        """The lesson's number, from its name; None where it has none."""
        found = re.match(r"\d+", self.name)
        return int(found[0]) if found else None

    @property
    def points(self) -> float:
        """Points that the exercises give, without the written answers."""
        return sum(exercise.points for exercise in self.exercises)

    @property
    def path(self) -> str:
        """Where a learner's copy lies, from the course's folder."""
        return f"work/{self.name}/{self.name}.ipynb"


def outlines(course: Course) -> list[Outline]:
    """One outline per released lesson, in order."""
    return [outline(course.release(name), name) for name in course.released()]


def outline(path: Path, name: str) -> Outline:
    """The outline of one released notebook."""
    cells = nbformat.read(path, as_version=4).cells
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    heading = re.search(r"^# (.+)$", text, re.MULTILINE)
    # What a lesson says of itself stands before its first exercise.
    after = (text[heading.end() :] if heading else text).split("### Exercise", 1)[0]
    rows = dict(_ROW.findall(after))
    minutes = _MINUTES.search(after)
    stars = re.search(r"[●○]+", rows.get("Difficulty", ""))
    exercises, written = _graded(cells, text)
    return Outline(
        name=name,
        title=heading[1].strip() if heading else name,
        gives=_first_paragraph(after),
        minutes=int(minutes[1]) if minutes else 50,
        difficulty=stars[0] if stars else "",
        needs=_needs(rows.get("You need", "")),
        short_path=rows.get("Short of time?", ""),
        exercises=exercises,
        written=written,
    )


def _graded(cells: list[NotebookNode], text: str) -> tuple[tuple[ExerciseOutline, ...], float]:
    """The exercises in the lesson's order, and the points of the written answers."""
    said = {found["function"]: found for found in _STATEMENT.finditer(text)}
    points: dict[tuple[str, str], float] = {}
    written = 0.0
    for cell in cells:
        marked = cell.metadata.get("nbgrader", {})
        if not marked.get("grade"):
            continue
        call = parse_call(cell.source)
        if call is None and cell.cell_type == "markdown":
            written += float(marked["points"])
        else:
            # The release leaves a hidden grade cell empty: it belongs to the visible one before.
            key = (call[0], call[1]) if call else next(reversed(points), None)
            if key is not None:
                points[key] = points.get(key, 0.0) + float(marked["points"])
    exercises = []
    for (exercise_id, function), total in points.items():
        found = said.get(function)
        exercises.append(
            ExerciseOutline(
                exercise_id,
                function,
                found["title"].strip() if found else function,
                total,
                int(found["minutes"]) if found else 5,
            )
        )
    return tuple(exercises), written


def _needs(text: str) -> tuple[int, ...]:
    numbers = [int(n) for found in _LESSONS.findall(text) for n in re.findall(r"\d+", found)]
    return tuple(sorted(set(numbers)))


def _first_paragraph(text: str) -> str:
    """The first paragraph of plain prose: no heading, list, table, image, HTML or rule."""
    for block in re.split(r"\n\s*\n", text):
        block = " ".join(block.split())
        if block and not re.match(r"[#|\-*!<>`:\d]|\[", block):
            return block.replace("|", "\\|")
    return ""
