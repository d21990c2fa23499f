"""Every exercise, held against its own wrong and right implementations."""

import inspect
import itertools

import pytest
import torch

from autograder.exercise import Exercise, find, of_lesson, topics
from autograder.judging import judge
from mergelab.errors import UserError

EXERCISES = [exercise for group in topics().values() for exercise in group]
SEEDS = ("0", "another")


def marks(exercise: Exercise) -> list[pytest.MarkDecorator]:
    """What is judged by merging and asking models takes seconds for each answer."""
    return [pytest.mark.slow] if exercise.judged is not None else []


MISCONCEPTIONS = [
    pytest.param(exercise, wrong, id=f"{exercise.id}-{wrong.name}", marks=marks(exercise))
    for exercise in EXERCISES
    for wrong in exercise.misconceptions
]
ALTERNATIVES = [
    pytest.param(exercise, function, id=f"{exercise.id}-{name}", marks=marks(exercise))
    for exercise in EXERCISES
    for name, function in exercise.alternatives.items()
]
each_exercise = pytest.mark.parametrize(
    "exercise", [pytest.param(each, id=each.id, marks=marks(each)) for each in EXERCISES]
)


def tensors(value):
    """Every tensor in an argument."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors(item)
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))


def inputs(exercise: Exercise) -> list[torch.Tensor]:
    return [t for case in exercise.hidden("0") for t in tensors([case.args, case.kwargs])]


def share(exercise: Exercise, function, seed: str) -> float:
    parts = [
        judge(exercise, function, part, seed=seed, explain=False).score
        for part in ("visible", "hidden")
    ]
    return sum(parts) / exercise.points.total


@each_exercise
def test_the_reference_earns_full_marks_for_every_seed(exercise):
    assert all(share(exercise, exercise.reference, seed) == 1 for seed in SEEDS)


@pytest.mark.parametrize(("exercise", "function"), ALTERNATIVES)
def test_an_allowed_alternative_earns_full_marks_for_every_seed(exercise, function):
    assert all(share(exercise, function, seed) == 1 for seed in SEEDS)


@pytest.mark.parametrize(("exercise", "wrong"), MISCONCEPTIONS)
def test_a_misconception_scores_within_its_band_for_every_seed(exercise, wrong):
    low, high = wrong.band
    assert high < 1
    for seed in SEEDS:
        assert low <= share(exercise, wrong.function, seed) <= high


@pytest.mark.parametrize(("exercise", "wrong"), MISCONCEPTIONS)
def test_a_misconception_is_recognised_by_name_where_it_fails(exercise, wrong):
    verdicts = [judge(exercise, wrong.function, part) for part in ("visible", "hidden")]
    found = {v.misconception.name if v.misconception else None for v in verdicts if not v.passed}
    assert found == {wrong.name}
    assert not verdicts[1].passed


@each_exercise
def test_an_exercise_knows_four_misconceptions_and_two_alternatives_with_their_own_words(exercise):
    sentences = [wrong.sentence for wrong in exercise.misconceptions]
    assert len(sentences) >= 4
    assert len(exercise.alternatives) >= 2
    assert len(set(sentences)) == len(sentences)
    assert all(20 < len(s) < 240 and s.endswith(".") and "\n" not in s for s in sentences)


@pytest.mark.parametrize("exercise", [e for e in EXERCISES if not e.judged], ids=lambda e: e.id)
def test_most_misconceptions_show_in_the_instant_check(exercise):
    seen = [
        not judge(exercise, wrong.function, "visible", explain=False).passed
        for wrong in exercise.misconceptions
    ]
    assert sum(seen) >= len(seen) - 1


@each_exercise
def test_an_unwritten_function_scores_exactly_zero(exercise):
    def stub(*_args, **_options):
        raise NotImplementedError

    empty = [stub, None, ..., lambda *_a, **_k: None, lambda first, *_a, **_k: first]
    for function, part in itertools.product(empty, ("visible", "hidden")):
        assert judge(exercise, function, part, explain=False).score == 0


@each_exercise
def test_zeros_earn_nothing(exercise):
    def zeros(*args, **_options):
        return next((torch.zeros_like(each) for each in tensors(args)), 0)

    assert share(exercise, zeros, "0") == 0


@each_exercise
def test_hidden_cases_change_with_the_seed_and_keep_their_kinds(exercise):
    first, again, other = (exercise.hidden(seed) for seed in ("0", "0", "1"))
    kinds = [case.kind for case in first]
    assert kinds == [case.kind for case in again] == [case.kind for case in other]
    assert repr(first) == repr(again) != repr(other)


@each_exercise
def test_hidden_cases_probe_the_types_and_shapes_the_contract_allows(exercise):
    found = inputs(exercise)
    for name in ("float32", "float16", "bfloat16") if found else ():
        assert (name in exercise.contract) == (getattr(torch, name) in {t.dtype for t in found})
    if "any shape" in exercise.contract:
        assert {1, 2, 3} <= {t.dim() for t in found}
        assert any(t.numel() == 0 for t in found)
        assert any(t.numel() == 1 for t in found)
        assert any(not t.is_contiguous() for t in found)


@each_exercise
def test_the_statement_names_function_points_and_contract(exercise):
    text = exercise.statement()
    assert exercise.signature in text
    assert f"{exercise.points.total:g} points" in text
    assert exercise.contract.strip() in text
    names = list(inspect.signature(exercise.reference).parameters)
    written = exercise.signature.partition("(")[2].rstrip(")").split(", ")
    written = [part.partition("=")[0] for part in written if part]
    assert written == names[: len(written)]


def test_the_lesson_on_ties_has_its_six_exercises():
    names = [exercise.function for exercise in of_lesson("04_ties")]
    steps = ["trim", "elect_sign", "disjoint_merge", "ties"]
    assert names == [*steps, "ties_compatible", "read_report"]


def test_an_unknown_exercise_is_an_error_that_lists_the_known_ones():
    with pytest.raises(UserError, match=r"ties/trimm: no such exercise; there are .*ties/trim"):
        find("ties/trimm")
