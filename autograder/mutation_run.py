"""Which mutants of a solution an exercise's cases notice.

A mutant is caught if it loses points, whatever the seed of the hidden cases. One that only some
seeds notice counts as a survivor: a learner's grade must not hang on the draw. Every mutant runs
in a child process of its own, so that it can neither leave anything behind nor go on for ever.
"""

import contextlib
import io
import json
import math
import os
import resource
import select
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from autograder.courses import Course
from autograder.exercise import Case, Exercise, find
from autograder.mutation import Mutant, mutants
from mergelab.errors import UserError

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from autograder.judging import Verdict

SEEDS = ("0", "1", "2")
SECONDS = 8.0  # for one mutant, at least
PATIENCE = 20  # times what the solution itself takes
CAUGHT, SOMETIMES, MISSED = "caught", "sometimes", "missed"


@dataclass(frozen=True)
class Solution:
    """What runs of a lesson for one exercise: cells in order, and which one is the solution."""

    exercise: str
    cells: tuple[str, ...]
    place: int

    def with_cell(self, source: str) -> list[str]:
        return [*self.cells[: self.place], source, *self.cells[self.place + 1 :]]

    def mutants(self) -> list[Mutant]:
        """The mutants of the exercise's function."""
        name = self.exercise.split("/")[1]
        return mutants(self.exercise, self.cells[self.place], name)


@dataclass(frozen=True)
class Found:
    """What became of one mutant: caught, sometimes caught (by some seeds) or missed."""

    mutant: Mutant
    fate: str
    reason: str | None = None  # why it may be missed

    @property
    def survives(self) -> bool:
        return self.fate != CAUGHT and self.reason is None


@dataclass(frozen=True)
class MutationScore:
    """The mutants of one exercise and what became of each."""

    exercise: str
    found: tuple[Found, ...]

    @property
    def caught(self) -> int:
        return sum(each.fate == CAUGHT and each.reason is None for each in self.found)

    @property
    def equivalent(self) -> int:
        return sum(each.reason is not None for each in self.found)

    @property
    def survivors(self) -> list[Found]:
        return [each for each in self.found if each.survives]

    @property
    def wrongly_excused(self) -> list[Found]:
        """Mutants that are said to be equivalent, and lose points for some seed all the same."""
        return [each for each in self.found if each.reason is not None and each.fate != MISSED]

    @property
    def score(self) -> float:
        """Caught mutants as a share of those that are not equivalent."""
        counted = len(self.found) - self.equivalent
        return self.caught / counted if counted else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for `--json`."""
        return {
            "exercise": self.exercise,
            "mutants": len(self.found),
            "caught": self.caught,
            "equivalent": self.equivalent,
            "surviving": len(self.survivors),
            "score": self.score,
            "found": [
                {
                    "id": each.mutant.id,
                    "line": each.mutant.line,
                    "change": each.mutant.change,
                    "fate": each.fate,
                    "reason": each.reason,
                }
                for each in self.found
            ],
        }


def solutions_of(course: Course, exercises: Sequence[Exercise]) -> list[Solution]:
    """Each exercise's solution cell with what it needs of its lesson's other cells.

    Raises `UserError` if a lesson's text has no such cell.
    """
    from autograder.source import read_lesson

    lessons: dict[str, Any] = {}
    found = []
    for exercise in exercises:
        path = course.solutions / exercise.lesson / f"{exercise.lesson}.py"
        if exercise.lesson not in lessons:
            lessons[exercise.lesson] = read_lesson(path)
        solution = _solution(lessons[exercise.lesson], exercise)
        if solution is None:
            raise UserError(f"{path}: has no solution cell with grade_id {exercise.function}")
        found.append(solution)
    return found


def _solution(notebook: "NotebookNode", exercise: Exercise) -> Solution | None:
    from autograder.essential import essential

    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    kept = [cell for cell in code if not cell.metadata.get("nbgrader", {}).get("grade")]
    names = [cell.metadata.get("nbgrader", {}).get("grade_id") for cell in kept]
    if exercise.function not in names:
        return None
    sources = [*(cell.source for cell in kept), exercise.function]
    parts = essential(sources, [False] * len(kept) + [True])[: len(kept)]
    return Solution(exercise.id, tuple(parts), names.index(exercise.function))


def survey(
    solutions: Sequence[Solution],
    executor: Executor,
    *,
    chosen: Callable[[Mutant], bool] = lambda mutant: True,
    seeds: Sequence[str] = SEEDS,
    progress: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> list[MutationScore]:
    """Try the chosen mutants of each solution; work is spread exercise by exercise.

    Raises `UserError` if a solution itself does not get full marks.
    """
    tasks = {s.exercise: (s, [m for m in s.mutants() if chosen(m)]) for s in solutions}
    # The long ones first, or one of them is waited for at the end.
    order = sorted(tasks, key=lambda name: (find(name).judged is None, -len(tasks[name][1])))
    futures = {executor.submit(_trial, *tasks[name], tuple(seeds)): name for name in order}
    found = {}
    try:
        for done, future in enumerate(as_completed(futures), start=1):
            found[futures[future]] = future.result()
            progress(done, len(futures), futures[future])
    finally:
        for future in futures:  # after an error nothing more is begun
            future.cancel()
    return [found[each.exercise] for each in solutions]


def _trial(solution: Solution, chosen: list[Mutant], seeds: tuple[str, ...]) -> MutationScore:
    return trial(find(solution.exercise), solution, chosen, seeds=seeds)


def trial(
    exercise: Exercise,
    solution: Solution,
    chosen: Sequence[Mutant],
    *,
    seeds: Sequence[str] = SEEDS,
    seconds: float = SECONDS,
) -> MutationScore:
    """Try mutants of one exercise in this process and its children.

    `seconds` is what one mutant may take at least.

    Raises `UserError` if the solution itself does not get full marks.
    """
    import torch

    torch.set_num_threads(1)  # threads do not survive a fork
    prepared = _prepared(exercise, seeds)
    start = time.monotonic()
    for verdict in _verdicts(prepared, solution.cells, seeds):
        if not verdict.passed:
            raise UserError(
                f"{exercise.id}: the lesson's own solution loses points: {verdict.reason()}"
            )
    limit = max(seconds, PATIENCE * (time.monotonic() - start))
    found = []
    for mutant in chosen:
        cells = solution.with_cell(mutant.source)

        def work(cells: list[str] = cells) -> str:
            return _fate(prepared, cells, seeds)

        # What is merged and asked is kept for the next mutant; a child would take it along.
        fate = work() if exercise.judged else _in_child(work, limit)
        found.append(Found(mutant, fate, exercise.equivalent.get(mutant.id)))
    return MutationScore(exercise.id, tuple(found))


def _prepared(exercise: Exercise, seeds: Sequence[str]) -> Exercise:
    """The same exercise with its cases drawn and its expected results computed, once for all."""
    if exercise.judged is not None:
        return exercise
    from autograder.compare import problem_with
    from autograder.judging import expected

    visible = tuple(exercise.visible)
    hidden = {seed: exercise.hidden(seed) for seed in seeds}
    cases = [*visible, *(case for drawn in hidden.values() for case in drawn)]
    results = {id(case): expected(exercise, case) for case in cases}

    def judged(value: Any, case: Case) -> str | None:
        return problem_with(value, results[id(case)], exercise)

    return replace(exercise, visible=visible, hidden=hidden.__getitem__, judged=judged)


def _verdicts(
    exercise: Exercise, cells: Sequence[str], seeds: Sequence[str]
) -> "Iterator[Verdict]":
    """The verdicts on the function that the cells define: visible first, then seed by seed."""
    from autograder.judging import judge

    namespace: dict[str, Any] = {"__name__": "__main__"}
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for number, source in enumerate(cells):
            exec(compile(source, f"<cell {number}>", "exec"), namespace)
    function = namespace[exercise.function]
    yield judge(exercise, function, "visible", explain=False)
    for seed in seeds:
        yield judge(exercise, function, "hidden", seed=seed, explain=False)


def _fate(exercise: Exercise, cells: Sequence[str], seeds: Sequence[str]) -> str:
    verdicts = _verdicts(exercise, cells, seeds)
    if not next(verdicts).passed:
        return CAUGHT
    passed = [verdict.passed for verdict in verdicts]
    return MISSED if all(passed) else SOMETIMES if any(passed) else CAUGHT


def _in_child(work: Callable[[], str], seconds: float) -> str:
    """What `work` says in a child process; one that ends otherwise, or not in time, is caught."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            # Also where this process is killed and can no longer stop its child.
            most = math.ceil(seconds) + 1
            resource.setrlimit(resource.RLIMIT_CPU, (most, most))
            os.write(writing, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    try:
        ready, _, _ = select.select([reading], [], [], seconds)
        said = os.read(reading, 1000) if ready else b""
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return json.loads(said) if said else CAUGHT
