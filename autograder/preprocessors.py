"""The steps that this course adds to nbgrader's autograding.

`JudgeApart` is how a class is graded: the learner's code runs in a sandbox. `ExecuteEssential` is
stock mode: it runs in a kernel of its own, beside the tests, and can reach all that they can.
"""

import re
from collections.abc import Mapping
from typing import Any

import nbformat
from nbconvert.preprocessors.sanitize import SanitizeHTML
from nbformat import NotebookNode
from nbformat.v4 import new_output
from nbgrader.api import Gradebook
from nbgrader.preprocessors import Execute, NbGraderPreprocessor
from nbgrader.utils import is_grade

from autograder.courses import find_course
from autograder.essential import essential
from autograder.grade_cell import parse_call
from autograder.intake import grade_id, set_right


class SetRight(NbGraderPreprocessor):
    """Before anything else: the lesson's own cells are what the release made them."""

    def preprocess(self, nb: NotebookNode, resources: Any) -> Any:
        release = nbformat.read(find_course().release(resources["nbgrader"]["assignment"]), 4)
        set_right(nb, release, [])
        return nb, resources


class CleanText(SanitizeHTML, NbGraderPreprocessor):
    """After everything else: texts of learners hold no script. The graders' outputs stay."""

    # MathJax commands that make links or name styles and scripts.
    COMMANDS = re.compile(r"\\(href|url|style|class|cssId|require|unicode|data)\b")

    def preprocess_cell(self, cell: NotebookNode, resources: Any, cell_index: int) -> Any:
        if cell.cell_type != "code":
            cell, resources = super().preprocess_cell(cell, resources, cell_index)
            cell.source = self.COMMANDS.sub(r"\1", cell.source)
        return cell, resources


class JudgeApart(NbGraderPreprocessor):
    """nbgrader's execution step with the learner's code in a sandbox and the verdict outside it.

    The grade cells' sources come from the gradebook. No cell of the notebook is executed.
    """

    def preprocess(self, nb: NotebookNode, resources: Any) -> Any:
        from autograder.trusted import hidden_seed
        from autograder.verdicts import verdicts_for

        about = resources["nbgrader"]
        with Gradebook(about["db_url"]) as gradebook:
            grades = grade_sources(gradebook, about["assignment"], about["notebook"])
        work = work_of(nb, grades, hidden_seed())
        outputs = verdicts_for(work)
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


def work_of(nb: NotebookNode, grades: Mapping[str, str], seed: str) -> Any:
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
