"""Builds a lesson: text, to executed instructor notebook, to release. And checks that all agree.

The same text gives the same bytes on every build, but for what really came out differently:
no timings, no memory addresses, no widget state, no paths of this machine.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from autograder.courses import Course, environment
from autograder.release import contents, generate, leak, swap
from autograder.source import METADATA, line_of, read_lesson
from mergelab.errors import UserError
from mergelab.files import write_whole

# A guard against endless loops, generous because a build may share the machine.
SECONDS_PER_CELL = 300
OUTPUT_LIMIT = 200_000
NOTEBOOK_LIMIT = 2_000_000
WIDGET = "application/vnd.jupyter.widget-view+json"
ADDRESS = re.compile(r"\bat 0x[0-9a-f]{6,}")

Progress = Callable[[int, int, str], None]


def lesson_names(course: Course) -> list[str]:
    """Lessons that have a text, in order."""
    return sorted(
        path.parent.name
        for path in course.solutions.glob("*/*.py")
        if path.stem == path.parent.name
    )


def build(
    course: Course, lesson: str, *, execute: bool = True, progress: Progress | None = None
) -> dict[str, bool]:
    """Build one lesson; returns which of "notebook" and "release" changed.

    With `execute=False` outputs are taken from the present instructor notebook where the cell is
    the same.

    Raises `UserError` for a cell that fails, writes to stderr, or does not fit its exercise.
    """
    text = text_path(course, lesson)
    notebook = read_lesson(text)
    if execute:
        run(notebook, text, course, progress)
    else:
        _keep_outputs(notebook, notebook_path(course, lesson))
    problem = _unfit(notebook, text, course)
    if problem:
        raise UserError(problem)
    course.lessons.mkdir(exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{lesson}.partial-", dir=course.lessons)) / lesson
    try:
        generate(course, lesson, notebook, new)
        changed = _write(notebook, notebook_path(course, lesson))
        return {"notebook": changed, "release": swap(new, course.lessons / lesson)}
    finally:
        shutil.rmtree(new.parent)


def text_path(course: Course, lesson: str) -> Path:
    return course.solutions / lesson / f"{lesson}.py"


def notebook_path(course: Course, lesson: str) -> Path:
    return course.solutions / lesson / f"{lesson}.ipynb"


def run(
    notebook: NotebookNode, text: Path, course: Course, progress: Progress | None = None
) -> None:
    """Execute a notebook in place, in a fresh kernel in the lesson's folder.

    Raises `UserError` with the line of the text whose cell fails.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    def started(cell: NotebookNode, cell_index: int, **_: Any) -> None:
        if progress is not None:
            progress(cell_index, len(notebook.cells), _title(notebook, cell_index))

    client = NotebookClient(
        notebook,
        timeout=SECONDS_PER_CELL,
        kernel_name="python3",
        record_timing=False,
        store_widget_state=False,
        extra_arguments=["--IPKernelApp.log_level=40"],
        on_cell_start=started,
        resources={"metadata": {"path": str(text.parent)}},
    )
    with environment(course.prepare()):
        try:
            # The kernel's own log says nothing that the cells' outputs do not.
            client.execute(stderr=subprocess.DEVNULL)
        except CellExecutionError as error:
            cell = _failing(notebook)
            raise UserError(
                f"{text}:{line_of(text, cell.source)}: this cell stops with {error.ename}: "
                f"{_first(error.evalue)}"
            ) from None
        except (CellTimeoutError, DeadKernelError) as error:
            cell = _failing(notebook)
            raise UserError(f"{text}:{line_of(text, cell.source)}: {_first(str(error))}") from None
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = _plain(cell.outputs)


def check(course: Course, lesson: str) -> list[str]:
    """What is wrong with a lesson's three forms, one line each; nothing is executed or written."""
    text, built = text_path(course, lesson), notebook_path(course, lesson)
    rebuild = f"run `mergelab lessons {lesson}`"
    try:
        source = read_lesson(text)
    except UserError as error:
        return [str(error)]
    if not built.is_file():
        return [f"{lesson}: has no instructor notebook; {rebuild}"]
    notebook = nbformat.read(built, as_version=4)
    problems = []
    if _bare(notebook) != _bare(source):
        problems.append(f"{lesson}: the instructor notebook is not the text's; {rebuild}")
    unfit = _unfit(notebook, text, course)
    if unfit:
        problems.append(unfit)
    release = course.lessons / lesson
    if not release.is_dir():
        return [*problems, f"{lesson}: has no release; {rebuild}"]
    given_away = leak(notebook, release)
    if given_away:
        problems.append(f"{lesson}: the release {given_away}")
    with tempfile.TemporaryDirectory() as folder:
        try:
            generate(course, lesson, notebook, Path(folder) / lesson)
        except UserError as error:
            return [*problems, str(error)]
        if contents(Path(folder) / lesson) != contents(release):
            problems.append(f"{lesson}: the release is not the instructor notebook's; {rebuild}")
    return problems


def _unfit(notebook: NotebookNode, text: Path, course: Course) -> str | None:
    """What keeps an executed notebook from being shipped, with the line of the text."""
    machine = [str(course.root), str(Path.home()), tempfile.gettempdir() + os.sep]
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        where = f"{text}:{line_of(text, cell.source)}: this cell"
        if cell.execution_count is None and cell.source.strip():
            return f"{where} was not executed; run `mergelab lessons {text.stem}`"
        size = len(nbformat.v4.writes(nbformat.v4.new_notebook(cells=[cell])))
        if size - len(cell.source) > OUTPUT_LIMIT:
            return f"{where} has {size // 1000} kB of output; the limit is {OUTPUT_LIMIT // 1000}"
        for output in cell.outputs:
            if output.output_type == "error":
                return f"{where} stops with {output.ename}: {_first(output.evalue)}"
            if output.output_type == "stream" and output.name == "stderr":
                return f"{where} writes to stderr: {_first(output.text)}"
            shown = _text_of(output)
            if ADDRESS.search(shown):
                return f"{where} prints a memory address: {_first(ADDRESS.search(shown)[0])}"
            for path in machine:
                if len(path) > 2 and path in shown:
                    return f"{where} prints a path of this machine: {path}"
    if len(nbformat.writes(notebook)) > NOTEBOOK_LIMIT:
        return f"{text}: the notebook is larger than {NOTEBOOK_LIMIT // 1_000_000} MB"
    return None


def _plain(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Outputs without widget views, and with the pieces of one stream put together."""
    kept: list[NotebookNode] = []
    for output in outputs:
        if WIDGET in output.get("data", {}):
            continue
        output.pop("transient", None)
        before = kept[-1] if kept else None
        if (
            before is not None
            and output.output_type == before.output_type == "stream"
            and output.name == before.name
        ):
            before.text += output.text
        else:
            kept.append(output)
    return kept


def _text_of(output: NotebookNode) -> str:
    if output.output_type == "stream":
        return output.text
    data = output.get("data", {})
    return "\n".join(str(data[kind]) for kind in ("text/plain", "text/html") if kind in data)


def _bare(notebook: NotebookNode) -> list[tuple[str, str, str, Any]]:
    return [(c.cell_type, c.id, c.source, dict(c.metadata)) for c in notebook.cells]


def _keep_outputs(notebook: NotebookNode, path: Path) -> None:
    if not path.is_file():
        return
    before = {cell.id: cell for cell in nbformat.read(path, as_version=4).cells}
    for cell in notebook.cells:
        old = before.get(cell.id)
        if cell.cell_type == "code" and old is not None and old.source == cell.source:
            cell.outputs, cell.execution_count = old.outputs, old.execution_count


def _failing(notebook: NotebookNode) -> NotebookNode:
    """The cell that was running when execution stopped: the last that has been started."""
    started = [c for c in notebook.cells if c.cell_type == "code" and "execution" in c.metadata]
    code = [c for c in notebook.cells if c.cell_type == "code"]
    with_errors = [c for c in code if any(o.output_type == "error" for o in c.outputs)]
    return (with_errors or started or code)[-1]


def _title(notebook: NotebookNode, index: int) -> str:
    """The heading a cell stands under."""
    for cell in reversed(notebook.cells[: index + 1]):
        found = re.search(r"^#+ (.+)$", cell.source, re.MULTILINE)
        if cell.cell_type == "markdown" and found:
            return found[1][:40]
    return ""


def _first(text: str) -> str:
    lines = [line.strip() for line in str(text).splitlines() if line.strip()]
    return lines[0][:160] if lines else ""


def _write(notebook: NotebookNode, path: Path) -> bool:
    """Write a notebook whole or not at all; returns False if the file already says the same."""
    text = nbformat.writes(notebook) + "\n"
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    write_whole(path, text)
    return True
