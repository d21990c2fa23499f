"""An exercise is data: one record drives the text, the check, the grade cell and the tests.

Whoever adds an exercise writes one `Exercise` in `autograder/exercises/<topic>.py` and lists it in
that module's `EXERCISES`. Nothing in a record runs a learner's code: `calling` does, here or in a
sandbox.
"""

import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

from mergelab.errors import UserError

Function = Callable[..., Any]


@dataclass(frozen=True)
class Case:
    """One call of the learner's function, and the kind of input it stands for.

    `kind` is a phrase that completes "it fails on ...". Cases of one kind pass or fail together.
    A `core` kind is the exercise's main point: nothing else counts until every core kind passes.
    `weight` is how much a kind that is not core counts among those. `largest` is the size in bytes
    of the largest tensor the call may make; None allows any.

    >>> Case("a plain vector", (1, 2), {"lam": 0.5}).kind
    'a plain vector'
    """

    kind: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    core: bool = False
    weight: int = 1
    largest: int | None = None


@dataclass(frozen=True)
class Misconception:
    """A wrong implementation that people really write, and the sentence that explains it.

    `band` is the lowest and highest share of the exercise's points it may earn, in [0, 1].
    """

    name: str
    function: Function
    sentence: str
    band: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Points:
    """What an exercise is worth: the cases a learner sees, and the hidden ones.

    >>> Points(1, 3).total
    4
    """

    visible: float
    hidden: float

    @property
    def total(self) -> float:
        return self.visible + self.hidden

    def of(self, part: str) -> float:
        return self.visible if part == "visible" else self.hidden


@dataclass(frozen=True)
class Tolerance:
    """Largest relative and absolute distance from the expected value, per dtype name.

    A result is computed in fp32 and rounded once, so half precision is allowed one rounding.
    """

    relative: dict[str, float] = field(
        default_factory=lambda: {
            "float64": 1e-5,
            "float32": 1e-5,
            "float16": 2e-3,
            "bfloat16": 1e-2,
        }
    )
    absolute: float = 1e-7


EXACT = Tolerance({}, 0.0)


@dataclass(frozen=True)
class Exercise:
    """One exercise, whole.

    `id` is "<topic>/<function>"; `contract` is Markdown that says everything the hidden cases may
    ask; `hidden` draws the hidden cases for a seed; `any_dtype` accepts a result of any numeric
    type; `uses` names the exercises whose functions this one is built from. Arguments and results
    are plain data: tensors, numbers, truth values, texts, None, and lists, tuples, dicts of these.

    Where more than one result is right (random drops, a recipe that is merged and evaluated),
    `judged(value, case)` takes the place of the comparison with the reference's result: it says
    what is wrong, as the rest of a sentence that starts with "it", or None.

    `remark(value, case)` is a sentence on a right result, shown for visible cases only.

    `equivalent` names mutants of the lesson's solution (`mergelab mutants`) that no case can or may
    catch, each with the reason: it computes the same, or differs outside the contract only.
    """

    id: str
    lesson: str
    title: str
    signature: str
    contract: str
    example: str
    reference: Function
    visible: Sequence[Case]
    hidden: Callable[[str], list[Case]]
    points: Points
    minutes: int
    difficulty: int
    misconceptions: Sequence[Misconception]
    alternatives: dict[str, Function]
    hints: Sequence[str] = ()
    tolerance: Tolerance = Tolerance()
    any_dtype: bool = False
    uses: Sequence[str] = ()
    judged: Callable[[Any, Case], str | None] | None = None
    remark: Callable[[Any, Case], str] | None = None
    equivalent: Mapping[str, str] = field(default_factory=dict)

    @property
    def function(self) -> str:
        """Name of the function the learner writes."""
        return self.id.split("/")[1]

    def cases(self, part: str, seed: str = "0") -> list[Case]:
        """The cases of one part, "visible" or "hidden"."""
        return list(self.visible) if part == "visible" else self.hidden(seed)

    def how_points_come(self) -> str:
        """How each part's points are earned, in a sentence."""
        core = [case.core for case in self.visible]
        if all(core):
            earned = "There are points only when every kind of input passes"
        elif any(core):
            earned = (
                "While a main kind of input fails there are no points; when all main kinds pass "
                "they bring half, and the other kinds share the rest"
            )
        else:
            earned = "Each kind of input that passes brings its share of the points"
        return f"*{earned}. A function that changes its inputs loses a quarter.*"

    def statement(self) -> str:
        """The exercise as Markdown, the way a lesson shows it."""
        stars = "●" * self.difficulty + "○" * (3 - self.difficulty)
        visible, hidden = (f"{p:g}" for p in (self.points.visible, self.points.hidden))
        lines = [
            f"### Exercise: {self.title}",
            "",
            f"`{self.signature}` · {self.points.total:g} points ({visible} for the cases you can "
            f"check here, {hidden} for hidden cases of the same contract) · difficulty {stars} · "
            f"about {self.minutes} minutes",
            "",
            self.how_points_come(),
            "",
            self.contract.strip(),
            "",
            f"**Example.** {self.example.strip()}",
        ]
        for number, hint in enumerate(self.hints, start=1):
            lines += ["", f"<details><summary>Hint {number}</summary>", "", hint.strip()]
            lines += ["", "</details>"]
        return "\n".join(lines)


@cache
def topics() -> dict[str, tuple[Exercise, ...]]:
    """Every exercise there is, by topic, in the order its module lists them."""
    package = import_module("autograder.exercises")
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    return {name: import_module(f"autograder.exercises.{name}").EXERCISES for name in names}


def of_lesson(lesson: str) -> list[Exercise]:
    """The exercises of one lesson, in order.

    >>> [exercise.function for exercise in of_lesson("04_ties")][:4]
    ['trim', 'elect_sign', 'disjoint_merge', 'ties']
    """
    return [e for group in topics().values() for e in group if e.lesson == lesson]


def find(exercise_id: str) -> Exercise:
    """The exercise with this id.

    Raises `UserError` if there is none, naming those that exist.

    >>> find("ties/trim").points.total
    4
    """
    topic, _, _ = exercise_id.partition("/")
    # One topic is imported, not all: a grade cell asks for one exercise.
    names = {module.name for module in pkgutil.iter_modules(_exercises_path())}
    if topic in names:
        group = import_module(f"autograder.exercises.{topic}").EXERCISES
        for exercise in group:
            if exercise.id == exercise_id:
                return exercise
    known = ", ".join(e.id for group in topics().values() for e in group)
    raise UserError(f"{exercise_id}: no such exercise; there are {known}")


def _exercises_path() -> list[str]:
    return list(import_module("autograder.exercises").__path__)
