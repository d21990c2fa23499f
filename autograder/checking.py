"""The two calls a notebook makes: `check` while working, `grade` in the locked cells.

A grade cell holds one call that can be read without running it,

    grade("ties/trim", trim, part="hidden")

so a grader that does not trust the notebook finds the exercise, the function's name and the part
in the cell's source (`parse_call`) and judges the same record elsewhere.
"""

import sys
from typing import Any

from autograder.cell_history import unread_cell
from autograder.courses import hidden_seed
from autograder.exercise import find
from autograder.feedback import Feedback
from autograder.grade_cell import parse_call
from autograder.judging import judge
from mergelab.errors import UserError

PARTS = ("visible", "hidden")

__all__ = ["check", "grade", "parse_call", "show"]


def check(exercise_id: str, function: Any = None) -> None:
    """Say in plain words how `function` does on the visible cases of an exercise.

    Gives no points and raises nothing: what is wrong is what it prints.

    >>> from mergelab.methods import trim
    >>> check("ties/trim", trim)
    ✓ trim: all 8 kinds of input pass.
    """
    try:
        exercise = find(exercise_id)
    except UserError as error:
        print(f"✗ {error}")
        return
    unread = unread_cell(exercise.function)
    if unread:
        print(f"✗ {exercise.function}: not checked.\n{unread}")
        return
    show(Feedback(judge(exercise, function, "visible"), function))


class Score(float):
    """Points that a notebook shows as feedback; nbgrader reads the number, `text/plain`."""

    feedback: Feedback

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {**self.feedback.bundle(), "text/plain": repr(float(self))}


def grade(exercise_id: str, function: Any = None, *, part: str = "visible") -> float:
    """Points for one part of an exercise, "visible" or "hidden", with the feedback.

    The hidden cases are drawn from the seed in `MERGELAB_HIDDEN_SEED` (default "0"), so that an
    instructor can change them. nbgrader takes the returned number as the cell's score.

    Raises `UserError` if there is no such exercise or part.

    >>> from mergelab.methods import trim
    >>> grade("ties/trim", trim, part="visible")
    ✓ trim: all 8 kinds of input pass. 1 of 1 points.
    1.0
    """
    if part not in PARTS:
        raise UserError(f'part={part!r}: write part="visible" or part="hidden"')
    verdict = judge(find(exercise_id), function, part, seed=hidden_seed())
    score = Score(verdict.score)
    score.feedback = Feedback(verdict, function, graded=True)
    if not _in_notebook():
        print(score.feedback)
    return score


def show(feedback: Feedback) -> None:
    """Display as HTML in a notebook, print as text elsewhere."""
    if _in_notebook():
        sys.modules["IPython"].display.display(feedback)
    else:
        print(feedback)


def _in_notebook() -> bool:
    interactive = sys.modules.get("IPython")
    return interactive is not None and interactive.get_ipython() is not None
