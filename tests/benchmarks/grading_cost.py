"""What grading a class costs: against nbgrader's stock execution, with workers, and through a kill.

    python tests/benchmarks/grading_cost.py [--class-size 200]

Three measurements on lesson 04_ties, each a ratio within one run: seconds for a submission in the
sandbox over seconds in stock mode; one worker over two; and a mixed class (honest, wrong, hostile)
graded with a kill in the middle, held against the same class graded without one.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import nbformat
from carried import answer
from reporting import FOLDER, circumstances, save, table
from small_lessons import own_course

from autograder import build
from autograder.courses import PACKAGE, Course, environment
from autograder.exercise import of_lesson
from autograder.grading import grade_class, register
from autograder.sandbox.host import unavailable

LESSON = "04_ties"
HOSTILE = (
    "def trim(delta, density):\n    while True:\n        pass",
    "import os\ndef trim(delta, density):\n    os._exit(0)",
    "import torch\nkept = []\ndef trim(delta, density):\n"
    "    while True:\n        kept.append(torch.ones(10**7))",
    "import os\ndef trim(delta, density):\n    while True:\n        os.fork()",
    "from mergelab.methods import trim",
)
KILLED_RUN = """
import os
from pathlib import Path
from autograder.courses import Course
from autograder.grading import grade_class

def stop(student, done, total):
    if done == total // 2:
        os.kill(os.getpid(), 9)

if __name__ == "__main__":
    course = Course(Path({root!r}), Path({state!r}))
    grade_class(course, {lesson!r}, workers=2, progress=stop)
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--class-size", type=int, default=200, help="0 leaves the class out")
    options.add_argument(
        "--few", type=int, default=60, help="for the two ratios; 0 leaves them out"
    )
    options.add_argument("--rounds", type=int, default=1, help="how often each ratio is measured")
    options.add_argument("--out", type=Path, default=FOLDER)
    chosen = options.parse_args()
    about = circumstances("python tests/benchmarks/grading_cost.py")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        if chosen.few:
            results, told = _ratios(home, chosen.few, chosen.rounds)
            save(chosen.out, "grading", "What grading a submission costs", about, results, [told])
            print(told, flush=True)
        if chosen.class_size:
            results, told = _whole_class(home, chosen.class_size)
            save(chosen.out, "grading_class", "A class graded unattended", about, results, [told])
            print(told, flush=True)


def _ratios(home: Path, count: int, rounds: int) -> tuple[dict[str, object], str]:
    """The modes take turns, and each counts with its best round: other users of a machine only add.

    What is timed is grading alone; the lesson is in the gradebook before, and the sandbox known to
    start. Worker processes take seconds to start, so those modes get a whole class; stock mode,
    which starts none and is slow, a third of it.
    """
    modes = {
        "sandbox, 1 worker": {"workers": 1},
        "sandbox, 2 workers": {"workers": 2},
        "stock": {"stock": True},
    }
    sizes = {name: count if "workers" in each else -(-count // 3) for name, each in modes.items()}
    assert unavailable() is None
    seconds: dict[str, list[float]] = {name: [] for name in modes}
    for turn in range(rounds):
        for name, settings in modes.items():
            everyone = {f"s{n:03}": _honest(n) for n in range(sizes[name])}
            course = _course(home / f"{name} {turn}", everyone)
            with environment(course.environment()):
                register(course, LESSON)
            began = time.perf_counter()
            report = grade_class(course, LESSON, again=True, **settings)
            seconds[name].append((time.perf_counter() - began) / sizes[name])
            assert len({each.score for each in report.submissions}) == 1
    best = {name: min(each) for name, each in seconds.items()}
    cost = best["sandbox, 1 worker"] / best["stock"]
    speedup = best["sandbox, 1 worker"] / best["sandbox, 2 workers"]
    results: dict[str, object] = {
        "submissions": sizes,
        "seconds_per_submission": seconds,
        "cost_over_stock": cost,
        "speedup_of_two_workers": speedup,
    }
    rows = [
        (name, str(sizes[name]), f"{best[name]:.2f}", ", ".join(map("{:.2f}".format, each)))
        for name, each in seconds.items()
    ]
    return results, (
        table(("mode", "submissions", "seconds each", "all rounds"), rows)
        + f"\n\nIn the sandbox a submission costs {cost:.2f} times what it costs in stock mode; "
        f"two workers are {speedup:.2f} times as fast as one. The notebooks are solved ones; the "
        "best round counts."
    )


def _whole_class(home: Path, size: int) -> tuple[dict[str, object], str]:
    everyone = {f"s{n:03}": _one_of_many(n) for n in range(size)}
    whole, broken = _course(home / "whole", everyone), _course(home / "broken", everyone)
    began = time.perf_counter()
    report = grade_class(whole, LESSON, workers=2)
    seconds = time.perf_counter() - began
    program = home / "killed_run.py"
    program.write_text(
        KILLED_RUN.format(root=str(broken.root), state=str(broken.state), lesson=LESSON)
    )
    killed = subprocess.run(
        [sys.executable, str(program)],
        env={**os.environ, **broken.environment(), "PYTHONPATH": str(PACKAGE.parent)},
    )
    resumed = grade_class(broken, LESSON, workers=2)
    same = _book(whole) == _book(broken)
    unchanged = sum(each.unchanged for each in resumed.submissions)
    graded = sum(bool(each.scores) for each in report.submissions)
    results: dict[str, object] = {
        "submissions": size,
        "graded": graded,
        "seconds": seconds,
        "killed": killed.returncode == -9,
        "not_graded_again": unchanged,
        "same_gradebook": same,
    }
    return results, (
        f"A class of {size} (7 of 10 solved, 2 wrong, 1 hostile), 2 workers: {graded} graded in "
        f"{seconds:.0f} s, {seconds / size:.2f} s each. Killed halfway and started again, it went "
        f"on after {unchanged}; the gradebook was {'the same' if same else 'NOT the same'}."
    )


def _honest(number: int) -> nbformat.NotebookNode:
    notebook = nbformat.read(build.notebook_path(Course(PACKAGE.parent, PACKAGE), LESSON), 4)
    # No two are the same work: a verdict is never taken from another's.
    notebook.cells.insert(1, nbformat.v4.new_code_cell(f"# student {number}"))
    return notebook


def _one_of_many(number: int) -> nbformat.NotebookNode:
    notebook = _honest(number)
    cells = {cell.metadata.get("nbgrader", {}).get("grade_id"): cell for cell in notebook.cells}
    if number % 10 in (7, 8):
        for exercise in of_lesson(LESSON):
            which = number % len(exercise.misconceptions)
            cells[exercise.function].source = answer(
                exercise, f"exercise.misconceptions[{which}].function"
            )
    elif number % 10 == 9:
        cells["trim"].source = HOSTILE[number // 10 % len(HOSTILE)]
    return notebook


def _course(place: Path, submissions: dict[str, nbformat.NotebookNode]) -> Course:
    place.mkdir(parents=True)
    course = own_course(place / "course", PACKAGE.parent, place / "state")
    for student, notebook in submissions.items():
        folder = course.state / "submitted" / student / LESSON
        folder.mkdir(parents=True)
        nbformat.write(notebook, folder / f"{LESSON}.ipynb")
    return course


def _book(course: Course) -> list[tuple[object, ...]]:
    with sqlite3.connect(course.state / "gradebook.db") as database:
        return database.execute(
            "select sa.student_id, gc.name, g.auto_score from grade g"
            " join submitted_notebook sn on sn.id = g.notebook_id"
            " join submitted_assignment sa on sa.id = sn.assignment_id"
            " join base_cell gc on gc.id = g.cell_id order by 1, 2"
        ).fetchall()


if __name__ == "__main__":
    main()
