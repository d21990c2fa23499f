"""From a function to a verdict: run the cases, score them, recognise known misconceptions.

Scoring: cases of one kind pass together. While a core kind fails the part scores 0. The core kinds
earn one half of its points and the other kinds share the other half by weight; without core kinds
the kinds share all of them. A function that changes its inputs keeps three quarters of what its
results earn.
"""

import builtins
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from autograder.calling import Call, Elsewhere, Failure, call
from autograder.compare import problem_with, same_result, shown
from autograder.exercise import Case, Exercise, Misconception

CORE_SHARE = 0.5
MUTATED_SHARE = 0.75
LISTED = 4
NOT_WRITTEN = ("NotImplementedError",)
# Failures that have their own sentence.
SAID = {
    "Ended": "`{name}` ended Python itself on {kind}",
    "OutOfTime": "`{name}` did not finish on {kind} ({message})",
    "OutOfMemory": "`{name}` takes {message} on {kind}",
}
# What a graded function cannot import, and may be told so by name.
NOT_THERE = ("mergelab", "autograder", "peft", "transformers", "mergekit", "nbgrader", "pandas")


@dataclass
class Outcome:
    """One case: what the function did, what was wrong with it (None when right)."""

    case: Case
    call: Call
    problem: str | None


@dataclass
class Verdict:
    """How a function did on one part of an exercise."""

    exercise: Exercise
    part: str
    score: float = 0.0
    outcomes: list[Outcome] = field(default_factory=list)
    summary: str = ""
    misconception: Misconception | None = None
    mutated: bool = False

    @property
    def maximum(self) -> float:
        return self.exercise.points.of(self.part)

    @property
    def passed(self) -> bool:
        return self.score == self.maximum

    def kinds(self) -> dict[str, bool]:
        """Each kind of input, and whether every case of it passed."""
        kinds: dict[str, bool] = {}
        for outcome in self.outcomes:
            kind = outcome.case.kind
            kinds[kind] = kinds.get(kind, True) and outcome.problem is None
        return kinds

    def failing(self) -> list[str]:
        return [kind for kind, passed in self.kinds().items() if not passed]

    def first_problem(self) -> Outcome | None:
        return next((o for o in self.outcomes if o.problem is not None), None)

    def record(self) -> dict[str, Any]:
        """The verdict as plain data, for the notebook's output and for statistics."""
        return {
            "exercise": self.exercise.id,
            "part": self.part,
            "score": self.score,
            "maximum": self.maximum,
            "kinds": self.kinds(),
            "mutated": self.mutated,
            "misconception": self.misconception.name if self.misconception else None,
            "reason": self.reason(),
        }

    def reason(self) -> str:
        """One sentence on why points were lost; empty when none were."""
        if self.passed:
            return ""
        if self.summary:
            return self.summary
        if self.misconception is not None:
            return self.misconception.sentence
        return describe(self)


def judge(
    exercise: Exercise,
    function: Any,
    part: str,
    *,
    seed: str = "0",
    explain: bool = True,
) -> Verdict:
    """Run one part of an exercise's cases and score the result.

    `explain=False` leaves out the search for a known misconception, which the score does not need.

    >>> from autograder.exercise import find
    >>> judge(find("ties/trim"), find("ties/trim").reference, "visible").passed
    True
    """
    verdict = Verdict(exercise, part)
    name = exercise.function
    if function is None or function is Ellipsis:
        verdict.summary = f"`{name}` is not written yet."
        return verdict
    if not callable(function):
        verdict.summary = (
            f"`{name}` is {type(function).__name__!r}, not a function: run the cell that defines "
            f"it, and do not use the name for anything else."
        )
        return verdict
    endless: Call | None = None
    for case in exercise.cases(part, seed):
        # Who does not come back once is not waited for again.
        result = endless or call(function, case)
        failure = result.failure
        if failure is not None and failure.kind == "OutOfTime":
            endless = result
        if failure is not None and failure.kind in NOT_WRITTEN and not verdict.outcomes:
            verdict.summary = (
                f"`{name}` is not written yet: replace `raise NotImplementedError()` by your code."
            )
            return verdict
        problem = problem_of(exercise, case, result, hidden=part == "hidden")
        verdict.outcomes.append(Outcome(case, result, problem))
    verdict.mutated = any(outcome.call.mutated for outcome in verdict.outcomes)
    verdict.score = _score(verdict)
    if explain and not verdict.passed:
        verdict.misconception = recognise(verdict)
    return verdict


def problem_of(exercise: Exercise, case: Case, result: Call, *, hidden: bool = False) -> str | None:
    """What is wrong with one call, as the rest of a sentence that starts with "it", or None.

    With `hidden` it says nothing that depends on what the call was given.
    """
    if result.failure is not None:
        return f"stopped with {_kind_of(result.failure)}"
    if exercise.judged is not None:
        problem = _judged(exercise, result.value, case)
    else:
        problem = problem_with(result.value, expected(exercise, case), exercise, hidden=hidden)
    if problem is None and _too_large(case, result):
        if hidden:
            return "makes a tensor that is larger than allowed"
        return f"makes a tensor of {result.largest:,} bytes, where {case.largest:,} are allowed,"
    return problem


def _judged(exercise: Exercise, value: Any, case: Case) -> str | None:
    try:
        return exercise.judged(value, case)
    except Exception:  # a value of a form that nobody has thought of
        return "returned something that cannot be judged"


def _kind_of(failure: Failure) -> str:
    """An exception's type as feedback names it: a learner's own may be called anything."""
    known = isinstance(getattr(builtins, failure.kind, None), type)
    return failure.kind if known or failure.kind in SAID else "an exception of its own"


def _too_large(case: Case, result: Call) -> bool:
    return case.largest is not None and result.largest > case.largest


def expected(exercise: Exercise, case: Case) -> Any:
    """The reference's result for a case."""
    return exercise.reference(*case.args, **case.kwargs)


def recognise(verdict: Verdict) -> Misconception | None:
    """The known misconception that explains the learner's results, if there is one.

    Best is one whose results are the learner's in every case. People also make a second mistake,
    so the next best counts too: where core kinds fail, one that gives the learner's results in
    every core case; where only others fail, one that gives them wherever it is wrong itself.
    """
    outcomes = verdict.outcomes
    if not verdict.mutated and all(o.problem is None for o in outcomes):
        return None
    core_fails = any(o.case.core and o.problem for o in outcomes)
    found: list[tuple[int, Misconception]] = []
    for wrong in verdict.exercise.misconceptions:
        calls = [call(wrong.function, o.case) for o in outcomes]
        mutates = any(each.mutated for each in calls)
        agrees = [
            _same(o.call, each, verdict) and _too_large(o.case, o.call) == _too_large(o.case, each)
            for o, each in zip(outcomes, calls, strict=True)
        ]
        if all(agrees) and mutates == verdict.mutated:
            return wrong
        if mutates or not any(agrees):  # then it explains nothing; judging may cost seconds
            continue
        errs = [
            problem_of(verdict.exercise, o.case, each) is not None
            for o, each in zip(outcomes, calls, strict=True)
        ]
        telling = [
            o.case.core if core_fails else err for o, err in zip(outcomes, errs, strict=True)
        ]
        explained = [agree for agree, tells in zip(agrees, telling, strict=True) if tells]
        if all(explained) and any(e and t for e, t in zip(errs, telling, strict=True)):
            found.append((sum(agrees), wrong))
    return max(found, key=lambda pair: pair[0])[1] if found else None


def _same(a: Call, b: Call, verdict: Verdict) -> bool:
    if a.failure is not None or b.failure is not None:
        return a.failure is not None and b.failure is not None
    return same_result(a.value, b.value, verdict.exercise.tolerance)


def _score(verdict: Verdict) -> float:
    kinds = verdict.kinds()
    core = {o.case.kind for o in verdict.outcomes if o.case.core}
    if not all(kinds[kind] for kind in core):
        return 0.0
    weights = {o.case.kind: o.case.weight for o in verdict.outcomes if o.case.kind not in core}
    earned = sum(weight for kind, weight in weights.items() if kinds[kind])
    others = earned / sum(weights.values()) if weights else 1.0
    share = CORE_SHARE + (1 - CORE_SHARE) * others if core else others
    if verdict.mutated:
        share *= MUTATED_SHARE
    return round(verdict.maximum * share, 2)


def describe(verdict: Verdict) -> str:
    """What failed, in one sentence that names kinds of input and never a hidden value.

    >>> from autograder.exercise import find
    >>> describe(judge(find("ties/trim"), lambda delta, density: 1 / 0, "hidden"))
    '`trim` stopped with ZeroDivisionError (line 1, ...) on every kind of input.'
    """
    name = verdict.exercise.function
    first = verdict.first_problem()
    if first is None:
        return (
            f"`{name}` changes the tensors it is given: work on a copy (`.clone()`), the caller "
            f"still needs its own."
        )
    failure = first.call.failure
    failing = verdict.failing()
    everywhere = len(failing) == len(verdict.kinds()) > 1
    kind = "every kind of input" if everywhere else first.case.kind
    if failure is None:
        sentence = f"`{name}` {first.problem} on {first.case.kind}"
    elif failure.kind in SAID:
        kind = first.case.kind
        sentence = SAID[failure.kind].format(name=name, kind=kind, message=failure.message)
    else:
        where = f" ({failure.line})" if failure.line else ""
        sentence = f"`{name}` stopped with {_kind_of(failure)}{where} on {kind}"
        absent = _absent(failure)
        # The words of an exception can hold values, and hidden values stay hidden.
        if absent:
            sentence += f": {absent} is not there when a function is graded"
        elif verdict.part == "visible" and failure.message:
            sentence += f": {failure.message}"
    others = [each for each in failing if each != first.case.kind]
    if others and kind == first.case.kind:
        sentence += f"; it also fails on {listed(others)}"
    return sentence.rstrip(".") + "."


def _absent(failure: Failure) -> str:
    """The package that a function asked for and that the sandbox does not have, or ""."""
    found = re.match(r"No module named '(\w+)", failure.message)
    return found[1] if found and found[1] in NOT_THERE else ""


def call_text(exercise: Exercise, case: Case) -> str:
    """A case as the call a learner could type.

    >>> from autograder.exercise import find
    >>> call_text(find("ties/trim"), find("ties/trim").visible[0])
    'trim([0.002, -0.001, 0.15, -0.2], 0.5)'
    """
    arguments = [shown(value) for value in case.args]
    arguments += [f"{key}={shown(value)}" for key, value in case.kwargs.items()]
    return f"{exercise.function}({', '.join(arguments)})"


def unmet(exercise: Exercise, function: Any) -> list[str]:
    """Names of the earlier functions that `function` calls and that fail their own check."""
    elsewhere = isinstance(function, Elsewhere)
    namespace = function.siblings if elsewhere else getattr(function, "__globals__", {})
    from autograder.exercise import find

    broken = []
    for other in map(find, exercise.uses):
        theirs = namespace.get(other.function)
        if callable(theirs) and not judge(other, theirs, "visible").passed:
            broken.append(other.function)
    return broken


def listed(items: Sequence[str]) -> str:
    if len(items) > LISTED:
        more = len(items) - LISTED
        kinds = "kind" if more == 1 else "kinds"
        return f"{', '.join(items[:LISTED])} and {more} other {kinds} of input"
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)
