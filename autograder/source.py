"""From a lesson's text to a notebook that is complete but not yet executed.

The text is jupytext py:percent with nbgrader metadata. Here the exercise statements are filled in
from the records, every cell gets a stable id, and the cells are held against the records: what a
lesson says about an exercise, its points, its function and its grade cells, cannot drift apart.
"""

import ast
import hashlib
import re
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

from autograder.checking import parse_call
from autograder.exercise import Exercise, find, of_lesson
from mergelab.errors import UserError

MARKER = re.compile(r"^<!-- exercise: (\S+) -->$", re.MULTILINE)
# The same on every machine: the version of Python that built a notebook is no part of it.
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
}
CELL_METADATA = ("nbgrader", "tags")


def read_lesson(path: Path) -> NotebookNode:
    """The notebook a lesson's text describes: statements in place, ids set, no outputs.

    Raises `UserError` if the text cannot be read as a notebook, or a cell disagrees with the
    exercise it belongs to.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: not found; a lesson's text has the name of its folder") from None
    if re.search(r"^#\s+formats:", text, re.MULTILINE):
        raise UserError(f"{path}: holds pairing metadata; remove `formats:` from its header")
    notebook = jupytext.reads(text, fmt="py:percent")
    lesson = nbformat.v4.new_notebook(metadata=METADATA)
    seen: dict[str, int] = {}
    stated: list[str] = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            stated += MARKER.findall(cell.source)
            cell.source = MARKER.sub(lambda match: find(match[1]).statement(), cell.source)
        cell.source = cell.source.strip("\n")
        metadata = {key: cell.metadata[key] for key in CELL_METADATA if key in cell.metadata}
        make = {
            "code": nbformat.v4.new_code_cell,
            "markdown": nbformat.v4.new_markdown_cell,
            "raw": nbformat.v4.new_raw_cell,
        }[cell.cell_type]
        lesson.cells.append(make(cell.source, metadata=metadata, id=_cell_id(cell, seen)))
    problem = _disagreement(lesson, stated, path.parent.name)
    if problem:
        raise UserError(f"{path}: {problem}")
    return lesson


def _cell_id(cell: NotebookNode, seen: dict[str, int]) -> str:
    """Depends on the cell alone, so that an inserted cell leaves the others' ids as they were."""
    name = cell.metadata.get("nbgrader", {}).get("grade_id")
    if name and re.fullmatch(r"[\w-]{1,60}", name):
        base = name
    else:
        base = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
    seen[base] = seen.get(base, 0) + 1
    return base if seen[base] == 1 else f"{base}-{seen[base]}"


def line_of(path: Path, source: str) -> int:
    """Line of the text in which a cell with this source begins; 1 if it is not found."""
    first = next((line for line in source.splitlines() if line.strip()), "")
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if first and line.removeprefix("# ").strip() == first.strip():
            return number
    return 1


def _disagreement(lesson: NotebookNode, stated: list[str], name: str) -> str | None:
    """What contradicts the exercise records, in words; None if all agrees."""
    cells = {
        cell.metadata.nbgrader["grade_id"]: cell
        for cell in lesson.cells
        if cell.metadata.get("nbgrader", {}).get("grade_id")
    }
    marked = [cell for cell in lesson.cells if cell.metadata.get("nbgrader")]
    if len(cells) < len(marked):
        return "two nbgrader cells share a grade_id, or one has none"
    graded: dict[str, set[str]] = {}
    for grade_id, cell in cells.items():
        if not cell.metadata.nbgrader.get("grade") or cell.cell_type != "code":
            continue
        call = parse_call(cell.source)
        if call is None:
            return f'cell {grade_id}: must be one call, grade("<id>", <function>, part="...")'
        exercise_id, function, part = call
        exercise = find(exercise_id)
        problem = _grade_cell_problem(cell, exercise, function, part)
        if problem:
            return f"cell {grade_id}: {problem}"
        graded.setdefault(exercise_id, set()).add(part)
    wanted = {exercise.id for exercise in of_lesson(name)} | graded.keys() | set(stated)
    for exercise_id in sorted(wanted):
        exercise = find(exercise_id)
        if stated.count(exercise_id) != 1:
            return (
                f"exercise {exercise_id}: wants one markdown line <!-- exercise: {exercise_id} -->,"
                f" found {stated.count(exercise_id)}"
            )
        missing = {"visible", "hidden"} - graded.get(exercise_id, set())
        if missing:
            return f"exercise {exercise_id}: has no {' and no '.join(sorted(missing))} grade cell"
        problem = _solution_problem(cells.get(exercise.function), exercise)
        if problem:
            return f"exercise {exercise_id}: {problem}"
    return None


def _grade_cell_problem(
    cell: NotebookNode, exercise: Exercise, function: str, part: str
) -> str | None:
    wanted = f"{exercise.function}_{part}"
    metadata = cell.metadata.nbgrader
    if metadata["grade_id"] != wanted:
        return f"grades the {part} part of {exercise.id}, so its grade_id must be {wanted}"
    if function != exercise.function:
        return f"passes {function}, but {exercise.id} is about {exercise.function}"
    if float(metadata.get("points", -1)) != exercise.points.of(part):
        return f"points must be {exercise.points.of(part):g}, as the record of {exercise.id} says"
    if metadata.get("solution") or not metadata.get("locked"):
        return "must be locked and no solution cell"
    if part == "hidden" and "BEGIN HIDDEN TESTS" not in cell.source.split("grade(")[0]:
        return "its call must stand between ### BEGIN HIDDEN TESTS and ### END HIDDEN TESTS"
    return None


def _solution_problem(cell: NotebookNode | None, exercise: Exercise) -> str | None:
    if cell is None or not cell.metadata.nbgrader.get("solution"):
        return f"has no solution cell with grade_id {exercise.function}"
    if "BEGIN SOLUTION" not in cell.source or "END SOLUTION" not in cell.source:
        return "its solution must stand between ### BEGIN SOLUTION and ### END SOLUTION"
    for statement in ast.parse(cell.source).body:
        if isinstance(statement, ast.FunctionDef) and statement.name == exercise.function:
            signature = f"{statement.name}({ast.unparse(statement.args)})"
            if signature.replace(" ", "") != exercise.signature.replace(" ", ""):
                return f"defines {signature}; the record says {exercise.signature}"
            return None
    return f"its solution cell does not define {exercise.function}"
