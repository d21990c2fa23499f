"""What a feedback page says: gradebook, graded notebook and exercise records, put together.

Nothing here runs a learner's code or shows an output of a cell. Of the hidden cases only the kinds
of input are told, never what a function was given or should have returned.
"""

import html
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from autograder.exercise import find
from autograder.feedback import NOT_YET
from autograder.grade_cell import parse_call
from autograder.gradebook.submission import Points, Recorded
from autograder.graded_notebook import ABOUT, mode_of, records_in
from autograder.intake import DELETED, grade_id
from autograder.submit import LEARNER
from mergelab.errors import UserError

LISTED = 60
ASIDE = ("points", "read by a person")


@dataclass
class PartFeedback:
    """The visible or the hidden cases of one exercise."""

    part: str
    score: float
    maximum: float
    kinds: dict[str, bool]
    automatic: float

    @property
    def summary(self) -> str:
        """For a part of which everything passes, or nothing."""
        count = len(self.kinds)
        if count == 1:
            return f"the one kind of input {'fails' if self.failing else 'passes'}"
        return (
            f"no kind of input passes, of {count}"
            if self.failing
            else f"all {count} kinds of input pass"
        )

    @property
    def failing(self) -> list[str]:
        return [kind for kind, passed in self.kinds.items() if not passed]

    @property
    def passing(self) -> list[str]:
        return [kind for kind, passed in self.kinds.items() if passed]


@dataclass
class ExerciseFeedback:
    """One exercise: points, what was right and wrong, and what may help."""

    id: str
    function: str
    title: str
    section: str
    hints: tuple[str, ...]
    how: str
    parts: list[PartFeedback] = field(default_factory=list)
    says: list[str] = field(default_factory=list)
    example: list[str] = field(default_factory=list)
    code: str = ""
    comment: str = ""

    @property
    def score(self) -> float:
        return sum(part.score for part in self.parts)

    @property
    def maximum(self) -> float:
        return sum(part.maximum for part in self.parts)

    @property
    def full(self) -> bool:
        return self.score >= self.maximum

    @property
    def ran(self) -> bool:
        """Whether there was a function to try."""
        return any(part.kinds for part in self.parts)

    def points(self, part: str) -> PartFeedback | None:
        return next((each for each in self.parts if each.part == part), None)


@dataclass
class AnswerFeedback:
    """One answer that a person reads. `state` is "empty", "waiting" or "read"; `counts` says
    whether its points are part of the total by now."""

    name: str
    title: str
    task: str
    text: str
    is_code: bool
    state: str
    counts: bool
    score: float
    maximum: float
    comment: str

    @property
    def said(self) -> str:
        return "no answer yet" if self.state == "empty" else "not read yet"


@dataclass
class Content:
    """A whole page."""

    lesson: str
    title: str
    student: str
    handed_in: datetime | None
    mode: str
    notes: list[str]
    refused: str
    penalty: float
    exercises: list[ExerciseFeedback]
    answers: list[AnswerFeedback]
    comments: dict[str, str]

    @property
    def graded(self) -> list[ExerciseFeedback | AnswerFeedback]:
        """Everything that has points by now."""
        return [*self.exercises, *(answer for answer in self.answers if answer.counts)]

    @property
    def score(self) -> float:
        return max(0.0, sum(each.score for each in self.graded) - self.penalty)

    @property
    def maximum(self) -> float:
        return sum(each.maximum for each in self.graded)

    @property
    def waiting(self) -> float:
        """Points that a person has still to give."""
        return sum(each.maximum for each in self.answers if not each.counts)

    @property
    def other_comments(self) -> dict[str, str]:
        """Comments that stand with no exercise or answer of the page, by cell."""
        if not self.refused:
            return self.comments
        listed = {each.title: each.comment for each in (*self.exercises, *self.answers)}
        return {**{name: text for name, text in listed.items() if text}, **self.comments}


def content(notebook: NotebookNode, known: Recorded, release: Path) -> Content:
    """Everything that the page of one submission says.

    `notebook` is the graded notebook, `release` the path of the one that learners open.
    """
    cells = {grade_id(cell): cell for cell in notebook.cells if grade_id(cell)}
    comments, told = dict(known.comments), lesson_text(release)
    exercises: dict[str, ExerciseFeedback] = {}
    answers = []
    grades = {grade.cell: grade for grade in known.grades}
    in_order = [name for name in cells if name in grades]
    for name in dict.fromkeys([*in_order, *grades]):
        call, cell, grade = parse_call(known.sources.get(name, "")), cells.get(name), grades[name]
        if call is None:
            answers.append(_answer(cell, grade, comments.pop(name, ""), told, known.student))
            continue
        found = exercises.get(call[0])
        if found is None:
            found = exercises[call[0]] = _exercise(call[0], call[1], told)
            found.code = _source(cells.get(found.function))
            found.comment = comments.pop(found.function, "")
        _add_part(found, call[2], cell, grade)
    about = notebook.metadata.get(ABOUT, {})
    return Content(
        lesson=known.lesson,
        title=told.title or known.lesson,
        student=known.student,
        handed_in=known.handed_in,
        mode=mode_of(notebook),
        notes=list(about.get("notes", ())),
        refused=about.get("refused", ""),
        penalty=known.penalty,
        exercises=list(exercises.values()),
        answers=answers,
        comments=comments,
    )


def verdict_in(cell: NotebookNode | None) -> dict[str, Any]:
    """The verdict that a graded cell's output carries; empty if it carries none.

    In stock mode a learner's code may have written it, so every part is checked for its type.
    """
    for found in records_in(cell) if cell is not None else ():
        if isinstance(found, dict):
            kinds = found.get("kinds")
            kinds = list(kinds.items())[:LISTED] if isinstance(kinds, dict) else []
            reason = str(found.get("reason") or "")
            return {
                "reason": reason,
                "misconception": found.get("misconception"),
                "kinds": {str(kind): passed is True for kind, passed in kinds},
                "says": _lines(found.get("says")) or [reason] * bool(reason),
                "example": _lines(found.get("example")),
            }
    return {}


def why_no_verdict(cell: NotebookNode | None) -> str:
    """Why a graded cell has no verdict, in a sentence."""
    for output in cell.get("outputs", ()) if cell is not None else ():
        if output.output_type == "error":
            if output.ename == "NameError":
                missing = output.evalue.split("'")[1] if "'" in output.evalue else "a name"
                return f"`{missing}` is not defined: its cell is missing or stops with an error."
            return f"Grading stopped with {output.ename}."
    return "The cell gave no result."


def _add_part(
    exercise: ExerciseFeedback, part: str, cell: NotebookNode | None, grade: Points
) -> None:
    verdict, automatic = verdict_in(cell), grade.automatic or 0.0
    kinds = verdict.get("kinds", {})
    exercise.parts.append(PartFeedback(part, grade.score, grade.maximum, kinds, automatic))
    if not verdict and automatic < grade.maximum:
        verdict = {"says": [why_no_verdict(cell)], "example": []}
    exercise.says += [line for line in verdict.get("says", ()) if _is_new(line, exercise.says)]
    if part == "visible":
        exercise.example = verdict.get("example", [])


def _is_new(line: str, said: list[str]) -> bool:
    """Whether a sentence adds to those before: of hidden cases it may be the same, cut short."""
    return not line.startswith(NOT_YET) and not any(
        before.startswith(line.rstrip(".")) for before in said
    )


def _exercise(exercise_id: str, function: str, told: "LessonText") -> ExerciseFeedback:
    section = told.sections.get(function, "")
    try:
        record = find(exercise_id)
    except UserError:  # an exercise that this version of the course no longer has
        return ExerciseFeedback(exercise_id, function, function, section, (), "")
    how = record.how_points_come()
    return ExerciseFeedback(exercise_id, function, record.title, section, tuple(record.hints), how)


def _answer(
    cell: NotebookNode | None, grade: Points, comment: str, told: "LessonText", student: str
) -> AnswerFeedback:
    # The text of a locked cell may be a hidden test of the instructor's own.
    learners = cell is not None and cell.metadata.nbgrader.get("solution", False)
    if grade.manual is not None:
        state = "read"
    elif grade.open:
        state = "waiting"
    else:
        state = "empty" if learners else "read"
    title, task = told.tasks.get(grade.cell, ("", ""))
    return AnswerFeedback(
        name=grade.cell,
        title=title or grade.cell,
        task=task,
        # Grading has escaped what looks like HTML; the page does so itself.
        text=html.unescape(cell.source) if learners and state != "empty" else "",
        is_code=learners and cell.cell_type == "code",
        state=state,
        # Who studies alone has nobody to read an answer: it is never held against the learner.
        counts=state == "read" or (state == "empty" and student != LEARNER),
        score=grade.score,
        maximum=grade.maximum,
        comment=comment,
    )


def _source(cell: NotebookNode | None) -> str:
    return "" if cell is None or cell.source == DELETED else cell.source


def _lines(found: Any) -> list[str]:
    return [str(line) for line in found[:LISTED]] if isinstance(found, list) else []


@dataclass(frozen=True)
class LessonText:
    """What a released lesson says: its title, the section of each exercise by function, and title
    and task of each answer that a person reads, by cell."""

    title: str
    sections: Mapping[str, str]
    tasks: Mapping[str, tuple[str, str]]


def lesson_text(release: Path) -> LessonText:
    """What a released notebook says of its exercises; empty if there is no such notebook."""
    try:
        return _lesson_text(release, release.stat().st_mtime_ns)
    except (OSError, ValueError):
        return LessonText("", {}, {})


@lru_cache(maxsize=16)
def _lesson_text(release: Path, _: int) -> LessonText:
    title = section = ""
    last: tuple[str, str] = ("", "")
    sections, tasks = {}, {}
    for kind, name, text in _cells(release):
        call = parse_call(text) if kind == "code" else None
        if name and call:
            sections[call[1]] = section
        elif name and kind == "markdown":
            tasks[name] = last
        elif kind == "markdown":
            for line in text.splitlines():
                level, _, words = line.partition(" ")
                if level == "#" and not title:
                    title = words.strip()
                elif level == "##":
                    section = " ".join(words.replace("▸", " ").replace("☆", " ").split())
            heading, _, rest = text.partition("\n")
            last = (_plain(heading.strip("# ")), rest.strip()) if heading[:1] == "#" else ("", text)
    return LessonText(title, sections, tasks)


def _cells(release: Path) -> Iterator[tuple[str, str, str]]:
    """Type, nbgrader's name and text of each cell."""
    for cell in json.loads(release.read_text("utf-8"))["cells"]:
        name = cell["metadata"].get("nbgrader", {}).get("grade_id", "")
        yield cell["cell_type"], name, "".join(cell["source"])


def _plain(heading: str) -> str:
    """A heading without the points beside it, which the page gives itself."""
    parts = [part.strip() for part in heading.split("·")]
    return " · ".join(part for part in parts if not part.endswith(ASIDE))
