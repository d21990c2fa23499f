"""Small lessons as text, written the way the course's lessons are written."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import nbformat

from autograder import build
from autograder.courses import Course
from autograder.exercise import find

HEADER = """\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A small lesson

# %%
import math

import torch

from autograder import check, grade
"""

SOLUTIONS = {
    "trim": """
def trim(delta, density):
    ### BEGIN SOLUTION
    size = delta.numel()
    if density == 0 or size == 0:
        return torch.zeros_like(delta)
    how_many = max(1, math.floor(density * size + 0.5))
    limit = delta.abs().flatten().sort(descending=True).values[how_many - 1]
    return torch.where(delta.abs() >= limit, delta, torch.zeros_like(delta))
    ### END SOLUTION
""",
    "elect_sign": """
def elect_sign(deltas, weights=None):
    ### BEGIN SOLUTION
    weights = [1.0] * len(deltas) if weights is None else weights
    return sum(weight * delta.float() for weight, delta in zip(weights, deltas)).sign()
    ### END SOLUTION
""",
    "disjoint_merge": """
def disjoint_merge(deltas, sign, weights=None):
    ### BEGIN SOLUTION
    weights = [1.0] * len(deltas) if weights is None else weights
    numerator = torch.zeros(deltas[0].shape)
    denominator = torch.zeros(deltas[0].shape)
    for weight, delta in zip(weights, deltas):
        term = weight * delta.float()
        agreeing = (term.sign() == sign.float()) & (term != 0)
        numerator += term * agreeing
        denominator += abs(weight) * agreeing
    denominator[denominator == 0] = 1
    return (numerator / denominator).to(deltas[0].dtype)
    ### END SOLUTION
""",
    "ties": """
def ties(deltas, density=1.0, weights=None, lam=1.0):
    ### BEGIN SOLUTION
    survivors = [trim(delta.float(), density) for delta in deltas]
    elected_signs = elect_sign(survivors, weights)
    combined = disjoint_merge(survivors, elected_signs, weights) * lam
    return combined.to(deltas[0].dtype)
    ### END SOLUTION
""",
}

NBGRADER = '"locked": {locked}, "schema_version": 3, "solution": {solution}, "task": false'


def cell(role: str, grade_id: str, points: float | None = None, markdown: bool = False) -> str:
    """The first line of an nbgrader cell, as a lesson's text has it."""
    solution = role in ("solution", "written")
    fields = [f'"grade": {"false" if points is None else "true"}', f'"grade_id": "{grade_id}"']
    if points is not None:
        fields.append(f'"points": {points:g}')
    fields.append(
        NBGRADER.format(
            locked="false" if solution else "true", solution="true" if solution else "false"
        )
    )
    return f"# %%{' [markdown]' if markdown else ''} nbgrader={{{', '.join(fields)}}}"


def exercise_text(name: str, solution: str | None = None) -> str:
    """The cells of one exercise."""
    exercise = find(f"ties/{name}")
    return textwrap.dedent(f"""
# %% [markdown]
# <!-- exercise: {exercise.id} -->

{cell("solution", name)}
{(solution or SOLUTIONS[name]).strip()}

# %%
check("{exercise.id}", {name})

{cell("visible", f"{name}_visible", exercise.points.visible)}
grade("{exercise.id}", {name}, part="visible")

{cell("hidden", f"{name}_hidden", exercise.points.hidden)}
# Hidden cases run when you submit.
### BEGIN HIDDEN TESTS
grade("{exercise.id}", {name}, part="hidden")
### END HIDDEN TESTS
""")


WRITTEN = f"""
# %% [markdown]
# ### In your own words

{cell("written", "why_sign_election", 5, markdown=True)}
# Two changes of opposite sign would cancel; one side is elected, and the other keeps out.
"""


def lesson_text(*names: str, extra: str = "", written: bool = True) -> str:
    """A whole lesson with these exercises."""
    parts = [HEADER, *map(exercise_text, names), extra, WRITTEN if written else ""]
    return "\n".join(parts)


def small_course(root: Path) -> Course:
    """A course whose lesson `90_small` holds all four exercises and a written answer, built."""
    course = Course(root / "course", root / "state")
    folder = course.solutions / "90_small"
    folder.mkdir(parents=True)
    text = lesson_text("trim", "elect_sign", "disjoint_merge", "ties")
    (folder / "90_small.py").write_text(text)
    build.build(course, "90_small")
    return course


def own_course(root: Path, lessons_of: Path, state: Path) -> Course:
    """A course in the new folder `root` with another one's lessons and a work folder of its own."""
    root.mkdir()
    for name in ("solutions", "lessons"):
        (root / name).symlink_to(lessons_of / name)
    return Course(root, state)


def hand_in(
    course: Course,
    answers: Mapping[str, str],
    extra: Sequence[str] = (),
    change: Callable[[nbformat.NotebookNode], object] | None = None,
) -> Path:
    """Put the released notebook into work/, with answers in its solution cells, extra cells before
    them, and a last change."""
    notebook = nbformat.read(course.release("90_small"), as_version=4)
    for cell in notebook.cells:
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id")
        if grade_id in answers:
            cell.source = answers[grade_id]
    notebook.cells[2:2] = [nbformat.v4.new_code_cell(source) for source in extra]
    if change is not None:
        change(notebook)
    path = course.work / "90_small" / "90_small.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path
