"""The steps that this course adds to nbgrader's autograding.

`JudgeApart` is how a class is graded: the learner's code runs in a sandbox. `ExecuteEssential` is
stock mode: it runs in a kernel of its own, beside the tests, and can reach all that they can.
"""

import html
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import nbformat
from nbconvert.preprocessors.sanitize import SanitizeHTML
from nbformat import NotebookNode
from nbformat.v4 import new_output
from nbgrader.api import Gradebook
from nbgrader.preprocessors import Execute, NbGraderPreprocessor
from nbgrader.utils import is_grade

from autograder.courses import STOCK, TRUSTED, find_course, hidden_seed
from autograder.essential import essential
from autograder.grade_cell import parse_call
from autograder.graded_notebook import ABOUT
from autograder.intake import grade_id, set_right

if TYPE_CHECKING:
    from autograder.trusted import Work


class SetRight(NbGraderPreprocessor):
    """Before anything else: the lesson's own cells are what the release made them."""

    def preprocess(self, nb: NotebookNode, resources: Any) -> Any:
        release = nbformat.read(find_course().release(resources["nbgrader"]["assignment"]), 4)
        notes: list[str] = []
        set_right(nb, release, notes)
        nb.metadata[ABOUT] = {"notes": notes}
        return nb, resources


class CleanText(SanitizeHTML, NbGraderPreprocessor):
    """After everything else: texts of learners hold no script. The graders' outputs stay.

    Very long texts are cut, because making them HTML can take time by the square of their length.
    """

    CELL_LIMIT, TEXT_LIMIT = 10_000, 150_000
    # MathJax commands that make links or name styles and scripts.
    COMMANDS = re.compile(
        r"\\+(?=(?:href|url|style|class|cssId|require|unicode|data|mmlToken)(?![A-Za-z]))"
    )
    # Links that run, however they are spelt: Markdown makes them after the text has been cleaned.
    SCHEMES = re.compile(
        r"((?:j{0}a{0}v{0}a|v{0}b){0}s{0}c{0}r{0}i{0}p{0}t|d{0}a{0}t{0}a"
        r"(?=[\s\\]*:[\s\\]*(?:text|application|image/svg))){0}:(?:{0}:)*".format(
            r"[\x00-\x20\\]*"
        ),
        re.IGNORECASE,
    )
    # A browser reads these as what they stand for, and MathJax after it.
    SPELT = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|\w+);?")

    def preprocess(self, nb: NotebookNode, resources: Any) -> Any:
        left = self.TEXT_LIMIT
        for cell in nb.cells:
            if cell.cell_type != "code":
                limit = min(self.CELL_LIMIT, left)
                if len(cell.source) > limit:
                    cell.source = cell.source[:limit] + "\n\n(The rest is left out: too long.)"
                left = max(0, left - len(cell.source))
        return super().preprocess(nb, resources)

    def preprocess_cell(self, cell: NotebookNode, resources: Any, cell_index: int) -> Any:
        if cell.cell_type != "code":
            cell, resources = super().preprocess_cell(cell, resources, cell_index)
            cell.source = self.COMMANDS.sub("", self.SPELT.sub(_plain_letter, cell.source))
            while self.SCHEMES.search(cell.source):
                cell.source = self.SCHEMES.sub(r"\1", cell.source)
        return cell, resources


def _plain_letter(spelt: re.Match[str]) -> str:
    """What a character reference stands for, if it can be part of a command or of a scheme."""
    meant = html.unescape(spelt[0])
    return meant if re.fullmatch(r"[A-Za-z\\:/\s]", meant) else spelt[0]


class JudgeApart(NbGraderPreprocessor):
    """nbgrader's execution step with the learner's code in a sandbox and the verdict outside it.

    The grade cells' sources come from the gradebook. No cell of the notebook is executed.
    """

    def preprocess(self, nb: NotebookNode, resources: Any) -> Any:
        from autograder.kept_verdicts import verdicts_for

        about = resources["nbgrader"]
        with Gradebook(about["db_url"]) as gradebook:
            grades = grade_sources(gradebook, about["assignment"], about["notebook"])
        nb.metadata.setdefault(ABOUT, {})["mode"] = TRUSTED
        outputs = verdicts_for(work_of(nb, grades, hidden_seed()))
        for number, cell in enumerate(c for c in nb.cells if c.cell_type == "code"):
            cell.outputs, cell.execution_count = [], None
            data = outputs.get(grade_id(cell))
            if data is not None:
                cell.execution_count = number + 1
                cell.outputs = [
                    new_output("execute_result", data, execution_count=cell.execution_count)
                ]
        return nb, resources


def grade_sources(gradebook: Gradebook, assignment: str, notebook: str) -> dict[str, str]:
    """The grade cells of a notebook as the instructor wrote them, by id."""
    found = gradebook.find_notebook(notebook, assignment).source_cells
    return {
        cell.name: cell.source
        for cell in found
        if cell.cell_type == "code" and parse_call(cell.source) is not None
    }


def work_of(nb: NotebookNode, grades: Mapping[str, str], seed: str) -> "Work":
    """What a notebook gives to be judged: its code cells, but for the grade cells."""
    from autograder.trusted import Work

    sources = [
        cell.source
        for cell in nb.cells
        if cell.cell_type == "code" and grade_id(cell) not in grades
    ]
    return Work(sources, dict(grades), seed)


class ExecuteEssential(Execute):
    """nbgrader's execution step, running only the essential part of each cell."""

    def preprocess(self, nb: NotebookNode, resources: Any, **options: Any) -> Any:
        code = {i: cell for i, cell in enumerate(nb.cells) if cell.cell_type == "code"}
        parts = essential([c.source for c in code.values()], [is_grade(c) for c in code.values()])
        self.parts = dict(zip(code, parts, strict=True))
        nb.metadata.setdefault(ABOUT, {})["mode"] = STOCK
        return super().preprocess(nb, resources, **options)

    def preprocess_cell(self, cell: NotebookNode, resources: Any, index: int) -> Any:
        runs = self.parts.get(index, "")
        if not runs.strip():
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
            return cell, resources
        source, cell.source = cell.source, runs
        try:
            return super().preprocess_cell(cell, resources, index)
        finally:
            cell.source = source
