"""From an instructor notebook to the release that learners open, by nbgrader's own conversion.

nbgrader deletes a release before it makes the new one, so it works in a temporary course here; the
result is looked through for anything a learner must not see and then takes the old one's place.
"""

import os
import re
import shutil
import tempfile
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from autograder.courses import Course, configuration, succeed
from autograder.exercise import topics
from mergelab.errors import UserError

SOLUTION = re.compile(r"BEGIN SOLUTION.*?\n(.*?)[^\n]*END SOLUTION", re.DOTALL)
HIDDEN = re.compile(r"BEGIN HIDDEN TESTS.*?\n(.*?)[^\n]*END HIDDEN TESTS", re.DOTALL)
# Shorter lines, such as `return total`, may stand anywhere.
SECRET_LENGTH = 24


def generate(course: Course, lesson: str, notebook: NotebookNode, into: Path) -> None:
    """Write the release of `lesson` to the folder `into`, from this instructor notebook.

    Raises `UserError` if nbgrader refuses it, or if the result would give something away.
    """
    from nbgrader.apps.api import NbGraderAPI
    from nbgrader.converters import GenerateAssignment
    from nbgrader.coursedir import CourseDirectory
    from nbgrader.preprocessors import SaveCells
    from nbgrader.utils import capture_log

    assert NbGraderAPI  # importing it registers what the converters need
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        source = root / "solutions" / lesson
        shutil.copytree(course.solutions / lesson, source)
        nbformat.write(notebook, source / f"{lesson}.ipynb")
        config = configuration(Course(root, root / "course"))
        coursedir = CourseDirectory(config=config, assignment_id=lesson)
        app = GenerateAssignment(coursedir=coursedir, config=config, no_database=True)
        app.preprocessors = [each for each in app.preprocessors if each is not SaveCells]
        succeed(capture_log(app), f"{lesson}: cannot be released")
        shutil.copytree(root / "lessons" / lesson, into, dirs_exist_ok=True)
    problem = leak(notebook, into)
    if problem:
        raise UserError(f"{lesson}: the release {problem}")


def leak(notebook: NotebookNode, release: Path) -> str | None:
    """What a release gives away, in words; None if nothing.

    `notebook` is the instructor's; `release` the folder that learners get.
    """
    secrets = secret_lines(notebook)
    for path in sorted(p for p in release.rglob("*") if p.is_file()):
        name = path.relative_to(release)
        if path.suffix in (".py", ".md", ".ipynb"):
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".py":
                return f"holds a source file, {name}"
            if "jupytext" in text:
                return f"holds jupytext's pairing metadata in {name}"
        if path.suffix != ".ipynb":
            continue
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.get("outputs"):
                return f"holds outputs in {name}"
            if re.search(r"(BEGIN|END) (SOLUTION|HIDDEN TESTS)|part=.hidden", cell.source):
                return f"shows a hidden test or a solution mark in {name}: {_quoted(cell.source)}"
            for line in cell.source.splitlines():
                if line.strip() in secrets:
                    return f"gives a solution away in {name}: {_quoted(line)}"
    return None


def secret_lines(notebook: NotebookNode) -> set[str]:
    """The lines of an instructor notebook that no learner may see; hints are meant to be seen."""
    public = "\n".join(e.statement() for group in topics().values() for e in group)
    secrets = set()
    for cell in notebook.cells:
        if not cell.metadata.get("nbgrader", {}).get("solution"):
            parts = HIDDEN.findall(cell.source)
        else:
            parts = SOLUTION.findall(cell.source) or [cell.source]
        for line in "\n".join(parts).splitlines():
            line = line.strip()
            if len(line) >= SECRET_LENGTH and not line.startswith(("import ", "from ", "#")):
                secrets.add(line)
    return {line for line in secrets if line not in public}


def swap(new: Path, old: Path) -> bool:
    """Put folder `new` in the place of `old`, whole; returns False if nothing differed."""
    if old.is_dir() and contents(new) == contents(old):
        shutil.rmtree(new)
        return False
    aside = None
    if old.exists():
        aside = Path(tempfile.mkdtemp(prefix=f".{old.name}.partial-", dir=old.parent)) / "old"
        os.rename(old, aside)
    os.rename(new, old)
    if aside is not None:
        shutil.rmtree(aside.parent)
    return True


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by relative path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".ipynb_checkpoints" not in path.parts
    }


def _quoted(text: str) -> str:
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return f"“{line[:60]}”"
