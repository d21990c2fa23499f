"""Judges a submission without trusting it: its functions run in a sandbox, the verdict falls here.

`Work` is all that is needed, as plain data, so that it can be judged in any process of any machine;
what comes back is plain data, too: for each grade cell the output that nbgrader records.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import mergelab
from autograder.courses import PACKAGE
from autograder.exercise import Exercise, find
from autograder.feedback import Feedback
from autograder.grade_cell import parse_call
from autograder.judging import Verdict, judge
from autograder.sandbox.host import Limits, Sandbox
from autograder.sandbox.learner import Learner

# What becomes of each grade cell, by its id: the data of a notebook's output, by MIME type.
Outputs = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Work:
    """One submission to judge: the sources of the learner's code cells, and the grade cells.

    `grades` maps the id of each grade cell to its source as the instructor wrote it, never as it
    was handed in. `seed` draws the hidden cases.
    """

    sources: Sequence[str]
    grades: Mapping[str, str]
    seed: str

    def digest(self) -> str:
        """Of everything that a verdict depends on: this work, and the code that judges it."""
        summed = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode())
        summed.update(_judges().encode())
        return summed.hexdigest()


def judge_work(work: Work, limits: Limits = Limits()) -> Outputs:
    """The outputs of the grade cells, by id, each as the data of a notebook's output.

    Raises `UserError` where there is no sandbox.
    """
    calls = {name: parse_call(source) for name, source in work.grades.items()}
    known = {name: call for name, call in calls.items() if call is not None}
    outputs: Outputs = {}
    with Sandbox(limits) as sandbox:
        for exercise_id in dict.fromkeys(call[0] for call in known.values()):
            exercise = find(exercise_id)
            names = [exercise.function, *(find(other).function for other in exercise.uses)]
            with Learner(sandbox, work.sources, list(dict.fromkeys(names))) as learner:
                for name, (of, _, part) in known.items():
                    if of == exercise_id:
                        outputs[name] = _output(exercise, part, learner, work.seed)
    return outputs


def refused_outputs(work: Work, reason: str) -> Outputs:
    """The outputs of work that cannot be judged at all: no points, and the reason."""
    outputs = {}
    for name, source in work.grades.items():
        call = parse_call(source)
        if call is not None:
            verdict = Verdict(find(call[0]), call[2], summary=f"Not graded: {reason}.")
            outputs[name] = _bundle(verdict, None)
    return outputs


def _output(exercise: Exercise, part: str, learner: Learner, seed: str) -> dict[str, Any]:
    function = learner.function(exercise.function)
    missing = "" if function is not None else _why_missing(exercise.function, learner)
    if missing:
        verdict = Verdict(exercise, part, summary=missing)
    else:
        verdict = judge(exercise, function, part, seed=seed)
    return _bundle(verdict, function)


def _bundle(verdict: Verdict, function: Any) -> dict[str, Any]:
    bundle = Feedback(verdict, function, graded=True).bundle()
    return {**bundle, "text/plain": repr(float(verdict.score))}


def _why_missing(name: str, learner: Learner) -> str:
    """Why there is no function of this name; "" if it is there and only empty."""
    state = learner.states.get(name, "missing")
    if state == "empty":
        return f"`{name}` is not written yet."
    if state != "missing":
        return f"`{name}` is {state!r}, not a function: use the name for nothing else."
    if learner.failure is not None and learner.connection is None:
        if learner.failure.kind == "OutOfTime":
            return f"The cells that `{name}` needs do not come to an end: comment out what is slow."
        if learner.failure.kind == "OutOfMemory":
            return f"The cells that `{name}` needs take too much memory."
        return f"The cells that `{name}` needs end Python itself, or are too large to read."
    defines = re.compile(rf"^\s*def\s+{re.escape(name)}\b", re.MULTILINE)
    for number, kind, words, line in learner.problems:
        if defines.search(learner.sources[number]):
            at = f" in line {line}" if line else ""
            what = f"a syntax error{at} ({words})" if kind == "SyntaxError" else f"{kind}{at}"
            return f"`{name}` is not defined: its cell stops with {what}."
    missing = f"`{name}` is not defined: its cell is missing, or names it otherwise."
    for number, kind, words, line in learner.problems:
        if kind == "SyntaxError":
            error = f"has a syntax error in line {line} ({words})"
            return f"{missing} Cell {number + 1} of the code {error}."
    return missing


@cache
def _judges() -> str:
    """A digest of the code that judges: exercises, references, comparison, scoring."""
    summed = hashlib.sha256()
    for package in (PACKAGE, Path(mergelab.__file__).parent):
        for path in sorted(package.rglob("*.py")):
            summed.update(path.read_bytes())
    return summed.hexdigest()
