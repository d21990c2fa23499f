"""The page a learner lands on: the path through the course, and how far one is.

`mergelab lab` and `mergelab progress` write it again for as long as it is as they left it; a page
that the learner has changed stays as it is.
"""

import hashlib
import os
from collections.abc import Sequence

from autograder.courses import Course
from autograder.outline import Outline
from autograder.progress import LessonProgress, known_progress
from autograder.workbench import Placed, Record, place_file

START = "START.md"
# Linear merging against TIES, with default settings: the shortest way to a result of one's own.
SHORT_PATH = ("00_start_here", "02_linear", "04_ties")


def refresh(course: Course, lessons: Sequence[LessonProgress] | None = None) -> None:
    """Write the start page into the work folder, unless the learner has changed it.

    `lessons` is how far the learner is; by default what is remembered. Raises `OSError`.
    """
    path, record = course.work / START, Record(course.work)
    if os.path.lexists(path):
        present = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        if record.placed.get(START) != present:
            return
    content = start_page(course, lessons).encode()
    place_file(content, path.relative_to(course.work), course.work, record, Placed())
    record.save()


def start_page(course: Course, lessons: Sequence[LessonProgress] | None = None) -> str:
    """The start page, as Markdown."""
    lessons = known_progress(course) if lessons is None else lessons
    known = [each.outline for each in lessons]
    rows = [_row(each) for each in lessons]
    going = next((each for each in lessons if each.open_exercises), None)
    example = known[0].name if known else "04_ties"
    return f"""# Merging language models

Two models that were trained for different jobs, one set of weights that does both: no gradients,
no data, minutes instead of GPU-days. Each lesson merges real adapters on this computer, shows what
happened inside, and lets you write the methods yourself.

{_begin(lessons, going)} Click a title; the notebook opens in a tab. Run its cells with
<kbd>Shift</kbd>+<kbd>Enter</kbd> from top to bottom.

## The path

| lesson | what it is about | builds on | difficulty | time | exercises | points |
|---|---|---|---|---:|---:|---:|
{chr(10).join(rows)}

*Builds on* names the lessons that a lesson uses. Those that do not build on each other can be done
in any order. *Exercises*: how many pass, of how many. *Points*: those of your last submission.
{_short_path(known)}
## How an exercise works

1. **Read** what the function must do, and write it where the cell says `YOUR CODE HERE`.
2. **Check** it: the cell below says at once, in plain words, what is right and what is not yet.
{_submitting(course, example)}

## Going on another day

- {_coming_back(course)} opens this page again, with your notebooks as you left them.
- `mergelab progress` says how far you are and which exercise comes next.
- `mergelab check {example}` checks your functions without opening the notebook. Run all cells of a
  notebook above the place where you go on; a new day begins with an empty memory.

## Good to know

- Your notebooks lie in this folder and stay yours: starting again never overwrites them. When a
  lesson is updated, the new version appears beside yours as `*.new.ipynb`.
- Lost in a notebook? Kernel, Restart Kernel and Run All Cells begins with a clean slate.
- What you type and run stays on {"this computer" if _alone(course) else "the course's computer"}.
- This page follows your progress until you edit it. Delete it to get a fresh one.
"""


def _alone(course: Course) -> bool:
    """Whether the learner has the instructor notebooks, and so grades for themselves."""
    return course.solutions.is_dir()


def _submitting(course: Course, example: str) -> str:
    if not _alone(course):
        return """\
3. **Submit** when a lesson is done: Nbgrader, Assignment List, *Submit*. Your instructor has it
   graded, on hidden cases, too; then *Fetch Feedback* there shows the reason for every lost point.
   Submit as often as you like until it is due; the last one counts."""
    return f"""\
3. **Submit** when a lesson is done. In a terminal (File, New, Terminal):

   ```
   mergelab submit {example}
   ```

   It runs your functions on hidden cases, too, and shows the reason for every lost point. Submit
   as often as you like; your notebook is never changed by it."""


def _coming_back(course: Course) -> str:
    return "`mergelab lab`" if _alone(course) else "Logging in"


def _link(about: Outline) -> str:
    return f"[{about.title}]({about.name}/{about.name}.ipynb)"


def _row(each: LessonProgress) -> str:
    about = each.outline
    number = "" if about.number is None else f"{about.number} "
    needs = ", ".join(str(n) for n in about.needs) or "nothing"
    passed = sum(each.passed.values())
    exercises = f"{passed} / {len(about.exercises)}" if passed else f"{len(about.exercises)}"
    points = f"{about.points:g}" if each.score is None else f"{each.score:g} / {about.points:g}"
    if about.written:
        points += f" + {about.written:g}"
    return (
        f"| {number}{_link(about)} | {about.gives} | {needs} | {about.difficulty} | "
        f"{about.minutes} min | {exercises} | {points} |"
    )


def _begin(lessons: Sequence[LessonProgress], going: LessonProgress | None) -> str:
    if not lessons:
        return "**Begin with a lesson.**"
    if going is None:
        return "**Every exercise passes.**"
    if any(any(each.passed.values()) for each in lessons):
        exercise = going.open_exercises[0]
        return f"**Go on with {_link(going.outline)}**, exercise `{exercise.function}`."
    return f"**Begin with {_link(going.outline)}.**"


def _short_path(known: Sequence[Outline]) -> str:
    """The shortened path through the course, from the lessons that have one and are on it."""
    chosen = [each for each in known if each.name in SHORT_PATH and each.short_path]
    if not chosen:
        return ""
    lines = [f"{n}. {_link(each)}: {each.short_path}" for n, each in enumerate(chosen, start=1)]
    return f"""
## Short of time?

Plain merging against TIES, with default settings: the parts marked ▸ of these lessons.

{chr(10).join(lines)}
"""
