"""Lays out what the site is made of: the repository's own pages, where they lie in the repository.

So links between pages hold as they are written. Lessons are the releases, without solutions; their
pictures and tables are those of the executed instructor notebooks.
"""

from __future__ import annotations

import ast
import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
from ipywidgets import Widget
from nbformat import NotebookNode

from mergelab import notebook

ROOT = Path(__file__).resolve().parents[1]
VERDICT = "application/vnd.mergelab.verdict+json"
GUIDES = ("lessons/GUIDE.md", "autograder/GUIDE.md", "mergelab/evaluation/REAL_MODELS.md")
OTHERS = ("CONTRIBUTING.md", "CHANGELOG.md")
API = (
    "mergelab",
    "mergelab.methods",
    "mergelab.recipes",
    "mergelab.engine",
    "mergelab.explanation",
    "mergelab.interference",
    "mergelab.checkpoints",
    "mergelab.evaluation",
    "mergelab.kernels",
)
SOLUTION = re.compile(r" \(\[solution\]\([^)]*\)\)")
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)")
TO_README = re.compile(r"(\]\((?:\.\./)*)README\.md")
WIDGET_NOTE = (
    "*Here stands a widget: something to move and watch. It needs a kernel; `make lab` opens this "
    "lesson with one.*"
)
OUTPUTS_NOTE = (
    "*The pictures and tables below are what this lesson shows once its exercises are solved. To "
    "solve them, [open the course](../GUIDE.md).*"
)


def stage(folder: Path) -> None:
    """Write every page into `folder`."""
    pages = [*GUIDES, *OTHERS]
    for area in ("tables", "benchmarks"):
        pages += [f"data/{area}/{each.name}" for each in (ROOT / "data" / area).glob("*.md")]
    lessons = sorted(path.stem for path in (ROOT / "lessons").glob("*/*.ipynb"))
    for name in pages:
        _copy(name, folder)
    for lesson in lessons:
        _lesson(lesson, folder)
    _write(folder / "commands.md", _commands())
    for module in API:
        _write(folder / "api" / f"{module}.rst", _api_page(module))
    front = SOLUTION.sub("", (ROOT / "README.md").read_text("utf-8"))
    _copy("README.md", folder, front, target="index.md")
    _sections(lessons, folder)


def _copy(name: str, folder: Path, text: str | None = None, target: str = "") -> None:
    """A page, and every file of the repository that it points to and that is no page itself."""
    text = (ROOT / name).read_text("utf-8") if text is None else text
    text = TO_README.sub(r"\1index.md", text)
    _write(folder / (target or name), re.sub(r"\A## ", "# ", text))  # tables have no title above
    for linked in LINK.findall(text):
        found = ((ROOT / name).parent / linked).resolve()
        if found.is_file() and found.suffix not in (".md", ".ipynb"):
            copy = folder / found.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(found, copy)


def _lesson(name: str, folder: Path) -> None:
    release = nbformat.read(ROOT / f"lessons/{name}/{name}.ipynb", as_version=4)
    executed = nbformat.read(ROOT / f"solutions/{name}/{name}.ipynb", as_version=4)
    outputs = {cell.id: cell.get("outputs", []) for cell in executed.cells}
    cells: list[NotebookNode] = []
    for cell in release.cells:
        cells.append(cell)
        if cell.cell_type != "code":
            continue
        cell.outputs = [each for each in outputs[cell.id] if VERDICT not in each.get("data", {})]
        if shows_widget(cell.source):
            cells.append(nbformat.v4.new_markdown_cell(WIDGET_NOTE))
    cells.insert(1, nbformat.v4.new_markdown_cell(OUTPUTS_NOTE))
    release.cells = cells
    target = folder / f"lessons/{name}/{name}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(release, target)


def shows_widget(source: str) -> bool:
    """Whether a cell ends in a widget of the lessons' toolbox, which is then displayed."""
    body = ast.parse(source).body
    last = body[-1].value if body and isinstance(body[-1], ast.Expr) else None
    if not (isinstance(last, ast.Call) and isinstance(last.func, ast.Attribute)):
        return False
    shown = getattr(notebook, last.func.attr, None)
    return inspect.isclass(shown) and issubclass(shown, Widget)


def _commands() -> str:
    """The reference of the command line, by typer itself."""
    app = Path(__file__).with_name("whole_command.py")
    done = subprocess.run(
        [sys.executable, "-m", "typer", str(app), "utils", "docs", "--name", "mergelab"],
        capture_output=True,
        text=True,
        check=True,
    )
    return re.sub(r"\A# .*", "# Commands", done.stdout)


def _api_page(module: str) -> str:
    title = f"``{module}``"
    return f"{title}\n{'=' * len(title)}\n\n.. automodule:: {module}\n   :members:\n"


def _sections(lessons: list[str], folder: Path) -> None:
    """A page for each section, which lists its pages; the front page leads to them."""
    results = [
        f"{area}/{path.stem}"
        for area in ("tables", "benchmarks")
        for path in sorted((ROOT / "data" / area).glob("*.md"))
    ]
    sections = {
        "lessons/index.md": ("Lessons", [f"{each}/{each}" for each in lessons]),
        "guides.md": ("Guides", [*(each.removesuffix(".md") for each in GUIDES), "CONTRIBUTING"]),
        "data/index.md": ("Results", results),
        "reference.md": ("Reference", ["commands", *(f"api/{each}" for each in API), "CHANGELOG"]),
    }
    for name, (title, pages) in sections.items():
        _write(folder / name, f"# {title}\n\n{_tree(pages)}")
    with (folder / "index.md").open("a", encoding="utf-8") as page:
        page.write("\n" + _tree([name.removesuffix(".md") for name in sections], hidden=True))


def _tree(pages: list[str], hidden: bool = False) -> str:
    options = ":maxdepth: 1\n" + ":hidden:\n" * hidden
    return "```{toctree}\n" + options + "\n" + "\n".join(pages) + "\n```\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
