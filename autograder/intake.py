"""What a learner hands in, checked and set right before anything runs.

A submission may be no notebook, too large, or one whose cells have been deleted, copied, retyped or
relabelled. Whatever can be set right is, with a note; the rest is refused with one line.
"""

import json
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from mergelab.errors import UserError

NOTEBOOK_LIMIT = 20_000_000
CELL_LIMIT = 5_000
DELETED = "# This cell was deleted."


def read_submission(path: Path, release: NotebookNode, notes: list[str]) -> NotebookNode:
    """A learner's notebook as it may be graded; what was set right goes into `notes`.

    The cells that the lesson brought along have the release's type, settings and, where a learner
    may not write, text; no cell has outputs or any other settings.

    Raises `UserError` if it is not a notebook of this lesson.
    """
    notebook = _read(path)
    if not set_right(notebook, release, notes):
        raise UserError(f"{path}: holds no exercise of this lesson; is it another notebook?")
    return notebook


def set_right(notebook: NotebookNode, release: NotebookNode, notes: list[str]) -> bool:
    """Give a notebook's cells, in place, the release's settings; whether it had any of them."""
    official = {grade_id(cell): cell for cell in release.cells if grade_id(cell)}
    found: dict[str, NotebookNode] = {}
    for cell in notebook.cells:
        name = grade_id(cell)
        if name in found:
            # A copied cell carries the metadata along; the first is the one that counts.
            notes.append(f"the cell {name} is there twice; the first one counts")
        if name in official and name not in found:
            found[name] = cell
            _restore(cell, official[name])
        else:
            _strip(cell)
    there_were = bool(found)
    _add_missing(notebook, official, found, notes)
    notebook.metadata = nbformat.from_dict(dict(release.metadata))
    notebook.nbformat_minor = max(5, notebook.nbformat_minor)
    seen: set[str] = set()
    for cell in notebook.cells:
        if cell.get("id") in seen or "id" not in cell:
            cell["id"] = nbformat.v4.nbbase.random_cell_id()
        seen.add(cell["id"])
    return there_were


def grade_id(cell: NotebookNode) -> str:
    """The name under which nbgrader knows a cell; "" if it knows none."""
    marked = cell.metadata.get("nbgrader")
    found = marked.get("grade_id") if isinstance(marked, dict) else None
    return found if isinstance(found, str) else ""


def _read(path: Path) -> NotebookNode:
    try:
        size = path.stat().st_size
        if size > NOTEBOOK_LIMIT:
            raise UserError(
                f"{path}: {size // 1_000_000} MB is too large to grade; clear the outputs (Edit, "
                f"Clear All Outputs) and save"
            )
        notebook = nbformat.from_dict(json.loads(path.read_text(encoding="utf-8")))
        if notebook.nbformat != 4:
            raise UserError(
                f"{path}: is in notebook format {notebook.nbformat}; open it in JupyterLab and save"
            )
        if len(notebook.cells) > CELL_LIMIT:
            raise UserError(f"{path}: has more than {CELL_LIMIT:,} cells; is it another notebook?")
        for cell in notebook.cells:
            cell.pop("outputs", None)
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        # Ids missing from files that other tools wrote are added without a word.
        _, notebook = nbformat.validator.normalize(notebook)
        nbformat.validate(notebook)
        for cell in notebook.cells:
            cell.source = "".join(cell.source).encode("utf-8", "replace").decode()
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{path}: cannot be read as a notebook ({type(error).__name__}); open it in JupyterLab "
            f"and save, or start again from a fresh copy"
        ) from None
    return notebook


def _strip(cell: NotebookNode) -> None:
    """Leave a learner's own cell its type and text."""
    cell.metadata = nbformat.from_dict({})
    cell.pop("attachments", None)


def _restore(cell: NotebookNode, official: NotebookNode) -> None:
    _strip(cell)
    cell.metadata = nbformat.from_dict(dict(official.metadata))
    if cell.cell_type != official.cell_type:
        cell.cell_type = official.cell_type
        for name in ("outputs", "execution_count"):
            cell.pop(name, None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    if not official.metadata["nbgrader"]["solution"]:
        cell.source = official.source


def _add_missing(
    notebook: NotebookNode,
    official: dict[str, NotebookNode],
    found: dict[str, NotebookNode],
    notes: list[str],
) -> None:
    """Put cells that a learner has deleted back in their places, empty where they were to write."""
    before: NotebookNode | None = None
    for name, cell in official.items():
        if name not in found:
            found[name] = nbformat.from_dict(json.loads(json.dumps(cell)))
            marked = cell.metadata["nbgrader"]
            if marked["solution"]:
                notes.append(f"the cell {name} is missing; it counts only what other cells define")
                if cell.cell_type == "code":
                    found[name].source = DELETED
            place = 0 if before is None else _index(notebook.cells, before) + 1
            notebook.cells.insert(place, found[name])
        before = found[name]


def _index(cells: list[NotebookNode], wanted: NotebookNode) -> int:
    return next(number for number, cell in enumerate(cells) if cell is wanted)
