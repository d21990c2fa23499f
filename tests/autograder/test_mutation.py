"""Mutants of solutions: what is made, what catches them, and the records that explain the rest."""

import ast
import csv
import hashlib
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import psutil
import pytest
import typer
from typer.testing import CliRunner

from autograder.courses import find_course
from autograder.exercise import Case, Exercise, Points, topics
from autograder.mutation import mutants
from autograder.mutation_command import exercises_named
from autograder.mutation_command import mutants as mutants_command
from autograder.mutation_run import Solution, solutions_of, survey, trial
from mergelab.errors import UserError

EXERCISES = [exercise for group in topics().values() for exercise in group]
TABLE = Path("data/tables/mutants.csv")
SAMPLE = 5  # mutants of each exercise that every test run tries


def changes(body: str) -> list[str]:
    """The changes made to a function `f(x, y)` with this body."""
    return [m.change for m in mutants("t/f", f"def f(x, y):\n{body}", "f")]


@pytest.mark.parametrize(
    ("body", "change"),
    [
        ("    return x + y", "`+` became `-` in `x + y`"),
        ("    return x - y", "`x - y` became `y - x`"),
        ("    x += y\n    return x", "`+=` became `-=`"),
        ("    return x >= y", "`>=` became `>`"),
        ("    return x >= y", "`>=` became `<`"),
        ("    return x and y", "`and` became `or`"),
        ("    return -x", "`-x` became `x`"),
        ("    return x * 3", "`3` became `4`"),
        ("    return x * 3", "`3` became `2`"),
        ("    return x * 3", "`3` became `0`"),
        ("    return x * 3", "`3` became `1`"),
        ("    return x * 3", "`3` became `-3`"),
        ("    return x.sum(0)", "`0` became `1`"),
        ("    return x.sum(dim=0)", "`0` became `1`"),
        ("    return x.sum(dim=0)", "`dim=0` dropped"),
        ("    return x.sum(0)", "`sum` became `mean`"),
        ("    return math.floor(x)", "`floor` became `ceil`"),
        ("    return x.abs() + 1", "`x.abs()` became `x`"),
        ("    return x.to(y.dtype)", "`x.to(y.dtype)` became `x`"),
        ("    return torch.where(m, x, y)", "`torch.where(m, x, y)` became `torch.where(m, y, x)`"),
        ("    return div(x, y)", "`div(x, y)` became `div(y, x)`"),
        ("    if x:\n        return y\n    return x", "`x` became `not x`"),
        ("    x.append(y)\n    return x", "`x.append(y)` dropped"),
        ("    return x[1:y]", "`x[1:y]` became `x[:y]`"),
        ("    return {'a': x, 'b': y}", "`'a': x` dropped"),
        ("    return {'a': x, 'b': y}", "`'a'` became `'b'`"),
    ],
)  # fmt: skip
def test_each_operator_makes_the_fault_it_names(body, change):
    assert change in changes(body)


CELL = '''
def f(x, y=1):
    """The larger one, 3 at least."""
    if x.abs() >= 3 and y:
        x = x.float() * 2
    return max(x, y)
'''


def test_no_mutant_is_the_original_or_made_twice():
    made = [ast.dump(ast.parse(m.source)) for m in mutants("t/f", CELL, "f")]
    assert len(made) > 10
    assert len({*made, ast.dump(ast.parse(CELL))}) == len(made) + 1


def test_ids_name_one_mutant_each_and_survive_edits_of_other_lines():
    edited = CELL.replace("    if x", "    z = 0\n    if x").replace("max(x, y)", "max(x, y, z)")
    before, after = ({m.id: m for m in mutants("t/f", text, "f")} for text in (CELL, edited))
    assert len(before) == len(mutants("t/f", CELL, "f"))
    kept = {name for name, m in before.items() if m.line in (4, 5)}
    assert kept
    assert {name: before[name].change for name in kept} == {n: after[n].change for n in kept}
    assert {after[name].line - before[name].line for name in kept} == {1}


def test_docstring_signature_and_guards_stay_as_they_are():
    text = CELL.replace("max(x, y)", "zip(x, y, strict=True)")
    for mutant in mutants("t/f", text, "f"):
        for kept in ("def f(x, y=1):", "The larger one, 3 at least.", "strict=True"):
            assert kept in mutant.source or "zip" not in mutant.source


# Running -----------------------------------------------------------------------------------------


def weak(source: str, cases: list[Case], hidden=lambda seed: []) -> tuple[Exercise, Solution]:
    """An exercise `f` with these cases, and its solution."""
    namespace: dict = {}
    exec(source, namespace)
    exercise = replace(
        EXERCISES[0],
        id="weak/f",
        reference=namespace["f"],
        visible=cases,
        hidden=hidden,
        points=Points(1, 1),
        judged=None,
        equivalent={},
    )
    return exercise, Solution("weak/f", (source,), 0)


def fates(exercise: Exercise, solution: Solution, **options) -> dict[str, str]:
    score = trial(exercise, solution, solution.mutants(), **options)
    return {found.mutant.change: found.fate for found in score.found}


AT_LEAST = "def f(x):\n    return x >= 2"


def test_a_fault_that_no_case_reaches_survives_and_others_are_caught():
    cases = [Case("a number", (n,)) for n in (0, 9)]
    found = fates(*weak(AT_LEAST, cases, lambda seed: cases))
    assert found["`>=` became `>`"] == "missed"
    assert found["`>=` became `<`"] == "caught"


def test_a_fault_that_only_some_seeds_notice_is_no_catch():
    visible = [Case("a number", (n,)) for n in (0, 9)]
    exercise, solution = weak(AT_LEAST, visible, lambda seed: [Case("a number", (int(seed),))])
    score = trial(exercise, solution, solution.mutants(), seeds=("1", "2"))
    found = {each.mutant.change: each for each in score.found}["`>=` became `>`"]
    assert found.fate == "sometimes"
    assert found in score.survivors


def test_a_fault_that_a_record_explains_is_not_counted_unless_it_loses_points():
    cases = [Case("a number", (n,)) for n in (0, 9)]
    exercise, solution = weak(AT_LEAST, cases, lambda seed: cases)
    by_change = {m.change: m.id for m in solution.mutants()}
    known = {by_change["`>=` became `>`"]: "same", by_change["`>=` became `<`"]: "wrong"}
    score = trial(replace(exercise, equivalent=known), solution, solution.mutants())
    assert score.equivalent == 2
    assert [each.mutant.change for each in score.wrongly_excused] == ["`>=` became `<`"]


def test_an_endless_mutant_is_stopped_caught_and_leaves_no_process():
    text = "def f(x):\n    while x > 0:\n        x -= 1\n    return x"
    cases = [Case("a number", (n,)) for n in (3, 0)]
    exercise, solution = weak(text, cases, lambda seed: cases)
    before = set(psutil.Process().children())
    start = time.monotonic()
    found = fates(exercise, solution, seconds=1.0)
    assert found["`-=` became `+=`"] == "caught"
    assert time.monotonic() - start < 60
    assert set(psutil.Process().children()) <= before


def test_a_solution_that_loses_points_is_an_error():
    cases = [Case("a number", (2,))]
    exercise, _ = weak(AT_LEAST, cases, lambda seed: cases)
    wrong = Solution("weak/f", ("def f(x):\n    return x > 2",), 0)
    with pytest.raises(UserError, match="weak/f: the lesson's own solution loses points"):
        trial(exercise, wrong, [])


def test_names_stand_for_exercises_and_lessons_and_unknown_ones_are_one_line():
    assert [e.id for e in exercises_named(["ties/trim", "ties/trim"])] == ["ties/trim"]
    assert {e.lesson for e in exercises_named(["04_ties"])} == {"04_ties"}
    assert exercises_named([]) == EXERCISES
    with pytest.raises(UserError, match=r"^ties/trimm: no such exercise or lesson; .*04_ties"):
        exercises_named(["ties/trim", "ties/trimm"])


def test_the_command_refuses_an_unknown_name():
    app = typer.Typer()
    app.command()(mutants_command)
    result = CliRunner().invoke(app, ["no_such_lesson"])
    assert result.exit_code != 0
    assert isinstance(result.exception, UserError)


# The course's own exercises ----------------------------------------------------------------------


@cache
def all_mutants() -> dict[str, list]:
    return {s.exercise: s.mutants() for s in solutions_of(find_course(), EXERCISES)}


def table() -> dict[str, dict[str, int]]:
    rows = csv.DictReader(TABLE.read_text("utf-8").splitlines())
    return {row.pop("exercise"): {k: int(v) for k, v in row.items()} for row in rows}


def test_every_explained_mutant_still_exists_and_has_a_reason_in_words():
    for exercise in EXERCISES:
        known = {mutant.id for mutant in all_mutants()[exercise.id]}
        stale = exercise.equivalent.keys() - known
        assert not stale, f"{exercise.id}: no such mutants (see `mergelab mutants`): {stale}"
        assert all(reason.endswith(".") for reason in exercise.equivalent.values())


def test_the_table_counts_these_mutants_and_none_survives():
    rows = table()
    assert list(rows) == [exercise.id for exercise in EXERCISES]
    for exercise in EXERCISES:
        row = rows[exercise.id]
        assert row["mutants"] == len(all_mutants()[exercise.id])
        assert row["equivalent"] == len(exercise.equivalent)
        assert row["caught"] == row["mutants"] - row["equivalent"] - row["surviving"]
        assert row["surviving"] == 0


def in_sample(mutant) -> bool:
    return mutant.id in sample(mutant.exercise)


@cache
def sample(exercise: str) -> set[str]:
    """Always the same few mutants of an exercise, spread over its lines."""
    ids = [mutant.id for mutant in all_mutants()[exercise]]
    by_digest = sorted(ids, key=lambda x: hashlib.sha256(f"{exercise} {x}".encode()).hexdigest())
    return set(by_digest[:SAMPLE])


@pytest.mark.slow
def test_a_sample_of_mutants_fares_as_the_table_says():
    # The merges of judged exercises take seconds each: the full run tries those.
    quick = [e for e in EXERCISES if e.judged is None or e.id == "evaluate/answers"]
    solutions = solutions_of(find_course(), quick)
    with ProcessPoolExecutor(2, get_context("spawn")) as executor:
        scores = survey(solutions, executor, chosen=in_sample)
    for score in scores:
        assert len(score.found) == min(SAMPLE, len(all_mutants()[score.exercise]))
        assert not score.survivors, f"{score.exercise}: {score.survivors[0].mutant.description}"
        assert not score.wrongly_excused
