"""The page a learner lands on: the path through the course, from the lessons that exist."""

import re
from dataclasses import dataclass
from pathlib import Path

import nbformat

from autograder.courses import Course
from autograder.exercise import of_lesson

MINUTES = re.compile(r"(\d+)\s*minutes")


@dataclass
class Entry:
    """What the start page says about a lesson; read from its notebook."""

    name: str
    title: str
    gives: str
    minutes: str
    exercises: int
    points: float


def entries(course: Course) -> list[Entry]:
    """One entry per released lesson, in order."""
    return [_entry(course.release(name), name) for name in course.released()]


def _entry(path: Path, name: str) -> Entry:
    cells = nbformat.read(path, as_version=4).cells
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    heading = re.search(r"^# (.+)$", text, re.MULTILINE)
    title = heading[1].strip() if heading else name
    # What a lesson says of itself stands before its first exercise.
    after = (text[heading.end() :] if heading else text).split("### Exercise", 1)[0]
    minutes = MINUTES.search(after)
    graded = [cell.metadata["nbgrader"] for cell in cells if _is_graded(cell)]
    return Entry(
        name,
        title,
        _first_paragraph(after),
        minutes[1] if minutes else "50",
        len(of_lesson(name)) or sum(1 for each in graded if each["grade_id"].endswith("_visible")),
        sum(float(each["points"]) for each in graded),
    )


def _is_graded(cell: nbformat.NotebookNode) -> bool:
    return bool(cell.metadata.get("nbgrader", {}).get("grade"))


def _first_paragraph(text: str) -> str:
    """The first paragraph of plain prose: no heading, list, table, image, HTML or rule."""
    for block in re.split(r"\n\s*\n", text):
        block = " ".join(block.split())
        if block and not re.match(r"[#|\-*!<>`:\d]|\[", block):
            return block.replace("|", "\\|")
    return ""


def start_page(course: Course) -> str:
    """The start page, as Markdown."""
    lessons = entries(course)
    rows = [
        f"| [{lesson.title}]({lesson.name}/{lesson.name}.ipynb) | {lesson.gives} | "
        f"{lesson.minutes} min | {lesson.exercises} | {lesson.points:g} |"
        for lesson in lessons
    ]
    first = lessons[0] if lessons else None
    where = f"[{first.title}]({first.name}/{first.name}.ipynb)" if first else "a lesson"
    example = first.name if first else "04_ties"
    return f"""# Merging language models

Two models that were trained for different jobs, one set of weights that does both: no gradients,
no data, minutes instead of GPU-days. Each lesson merges real adapters on this computer, shows what
happened inside, and lets you write the methods yourself.

**Begin with {where}.** Click the title; the notebook opens in a tab. Run its cells with
<kbd>Shift</kbd>+<kbd>Enter</kbd> from top to bottom.

## The path

| lesson | what it is about | time | exercises | points |
|---|---|---:|---:|---:|
{chr(10).join(rows)}

## How an exercise works

1. **Read** what the function must do, and write it where the cell says `YOUR CODE HERE`.
2. **Check** it: the cell below says at once, in plain words, what is right and what is not yet.
3. **Submit** when a lesson is done. In a terminal (File, New, Terminal):

   ```
   mergelab submit {example}
   ```

   It runs your functions on hidden cases, too, and shows the reason for every lost point. Submit
   as often as you like; your notebook is never changed by it.

## Good to know

- Your notebooks lie in this folder and stay yours: starting again never overwrites them. When a
  lesson is updated, the new version appears beside yours as `*.new.ipynb`.
- Lost in a notebook? Kernel, Restart Kernel and Run All Cells begins with a clean slate.
- What you type and run stays on this computer.
"""
