"""What a learner reads: one helpful sentence for anything a function can do."""

import contextlib
import dataclasses
import math
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import torch

from autograder import calling, check, checking, grade
from autograder.checking import parse_call
from autograder.compare import problem_with, same_result
from autograder.exercise import Case, Points, find
from autograder.feedback import Feedback
from autograder.judging import judge
from mergelab.errors import UserError
from mergelab.methods import trim


def endless(delta, density):
    while True:
        pass


def swallows_everything(delta, density):
    while True:
        with contextlib.suppress(Exception):
            time.sleep(0.01)


def raises_in_a_line(delta, density):
    k = len(delta) // 0
    return k


class Liar:
    """Says yes to every comparison."""

    shape, dtype, layout, device = (4,), torch.float32, torch.strided, torch.device("cpu")

    def __eq__(self, other):
        return True

    def __getattr__(self, name):
        return lambda *a, **k: self

    __hash__ = None


class LyingTensor(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return True


SENTENCES = [
    (None, "is not written yet"),
    (3.0, "not a function"),
    ("trim", "not a function"),
    (
        lambda delta, density: None,
        "On a plain vector, `trim` returned nothing (None): does it end with `return`?\n",
    ),
    (lambda delta, density: [0.0], "returned a list, not a tensor"),
    (lambda delta, density: trim(delta, density).numpy(), "returned a ndarray, not a tensor"),
    (lambda delta, density: Liar(), "returned a Liar, not a tensor"),
    (lambda delta, density: delta.as_subclass(LyingTensor), "returned a LyingTensor"),
    (lambda delta, density: torch.nn.Parameter(delta), "returned a Parameter"),
    (lambda delta, density: delta[None], "returned shape (1, 4) where (4,) is expected"),
    (lambda delta, density: trim(delta, density).double(), "float64 where float32 is expected"),
    (lambda delta, density: delta / 0, "an infinite value"),
    (lambda delta, density: delta * float("nan"), "NaN"),
    (lambda delta, density: trim(delta, density).to(torch.complex64), "complex numbers"),
    (lambda delta, density: trim(delta, density).to_sparse(), "another layout"),
    (lambda delta: delta, "stopped with TypeError"),
    (raises_in_a_line, "stopped with ZeroDivisionError (line"),
    (lambda delta, density: sys.exit(), "stopped with SystemExit"),
    (
        lambda delta, density: delta + 1,
        "On a plain vector, `trim` returned wrong values in 4 of 4 entries",
    ),
]


@pytest.mark.parametrize(("function", "words"), SENTENCES, ids=[w for _, w in SENTENCES])
def test_a_check_says_what_is_wrong_and_raises_nothing(function, words, capsys):
    assert check("ties/trim", function) is None
    out, err = capsys.readouterr()
    assert words in out
    assert out.startswith("✗ trim: not yet")
    assert "Traceback" not in out
    assert err == ""
    assert grade("ties/trim", function, part="visible") == 0
    assert grade("ties/trim", function, part="hidden") == 0


class Shell:
    """A notebook's kernel with these cells behind it."""

    def __init__(self, *cells):
        self.user_ns = {"In": ["", *cells]}


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (
            ["def trim(delta, density):\n    ...", "def trim(delta, density)\n    return delta"],
            True,
        ),
        (
            ["def trim(delta, density)\n    ...", "def trim(delta, density):\n    return delta"],
            False,
        ),
        (["def trimmed(delta)\n    ...", "x = ("], False),
    ],
    ids=["the newest cell is broken", "it was repaired", "others are broken"],
)
def test_a_check_says_when_python_never_read_the_newest_cell(cells, said, monkeypatch, capsys):
    import IPython

    monkeypatch.setattr(IPython, "get_ipython", lambda: Shell(*cells))
    monkeypatch.setattr(checking, "_in_notebook", lambda: False)
    check("ties/trim", trim)
    assert ("syntax error in line 1" in capsys.readouterr().out) == said


def test_nan_is_traced_to_a_division_of_zero_by_zero_beside_another_mistake(capsys):
    def second_mistake_too(deltas, sign, weights=None):
        agrees = [(d.sign() == sign) & (sign != 0) for d in deltas]
        total = sum(d * a for d, a in zip(deltas, agrees, strict=True))
        return 2 * total / sum(agrees)

    check("ties/disjoint_merge", second_mistake_too)
    assert "0 / 0" in capsys.readouterr().out


def test_an_exception_is_shown_with_the_learners_own_line(capsys):
    check("ties/trim", raises_in_a_line)
    assert "`k = len(delta) // 0`" in capsys.readouterr().out


@pytest.mark.parametrize("function", [endless, swallows_everything])
def test_an_endless_loop_is_stopped_and_named(function, monkeypatch, capsys):
    monkeypatch.setattr(calling, "SECONDS_PER_CALL", 0.05)
    check("ties/trim", function)
    assert "did not finish" in capsys.readouterr().out


def test_a_small_example_shows_what_was_expected_and_what_came(capsys):
    check("ties/trim", lambda delta, density: delta + 1)
    out = capsys.readouterr().out
    assert "trim([0.002, -0.001, 0.15, -0.2], 0.5)" in out
    assert "expected  [0, 0, 0.15, -0.2]" in out
    assert "got       [1.002, 0.999, 1.15, 0.8]" in out


def test_a_known_misconception_gets_its_sentence_instead_of_numbers_alone(capsys):
    check("ties/trim", lambda delta, density: trim(delta, 1 - density))
    assert "density is the share that stays" in capsys.readouterr().out


def test_a_misconception_is_recognised_behind_a_second_mistake(capsys):
    def smallest_and_rounded_down(delta, density):
        k = max(1, int(density * delta.numel()))
        limit = delta.abs().flatten().sort().values[k - 1]
        return delta * (delta.abs() <= limit)

    check("ties/trim", smallest_and_rounded_down)
    assert "You kept the smallest entries" in capsys.readouterr().out

    def no_ties_and_never_empty(delta, density):
        k = max(1, int(density * delta.numel() + 0.5))
        kept = torch.zeros_like(delta).flatten()
        index = delta.flatten().abs().topk(k).indices
        kept[index] = delta.flatten()[index]
        return kept.reshape(delta.shape)

    check("ties/trim", no_ties_and_never_empty)
    assert "You kept exactly k entries" in capsys.readouterr().out


@pytest.mark.parametrize("part", ["visible", "hidden"])
def test_an_unknown_mistake_is_not_taken_for_a_known_one(part):
    for function in (
        lambda delta, density: delta + 1,
        lambda delta, density: torch.ones_like(delta),
        lambda delta, density: trim(delta, density) * 1.01,
        lambda delta, density: 1 / 0,
    ):
        assert judge(find("ties/trim"), function, part).misconception is None


def test_changed_inputs_are_named_though_the_result_is_right(capsys):
    def in_place(delta, density):
        delta.mul_(trim(delta, density) != 0)
        return delta

    check("ties/trim", in_place)
    assert "wrote into `delta` itself" in capsys.readouterr().out
    assert 0 < grade("ties/trim", in_place, part="visible") < find("ties/trim").points.visible


def test_a_right_function_that_prints_and_warns_keeps_its_points_and_stays_quiet(capfd):
    def noisy(delta, density):
        print("k is", density)
        print("careful", file=sys.stderr)
        warnings.warn("old", stacklevel=1)
        return trim(delta, density)

    assert grade("ties/trim", noisy, part="hidden") == find("ties/trim").points.hidden
    out, err = capfd.readouterr()
    assert err == ""
    assert "careful" not in out


def test_what_a_wrong_function_printed_is_shown_to_help_debugging(capsys):
    def debugging(delta, density):
        print("density is", density)
        return delta

    check("ties/trim", debugging)
    assert "density is 0.5" in capsys.readouterr().out


def test_hidden_feedback_holds_no_values_and_no_exception_text():
    def leaking(delta, density):
        raise ValueError(f"inputs were {delta.tolist()}")

    def wrong(delta, density):
        return delta + 1

    for function in (leaking, wrong):
        verdict = judge(find("ties/trim"), function, "hidden")
        feedback = Feedback(verdict, function)
        for text in (repr(feedback), feedback.html(), str(verdict.record())):
            assert "inputs were [" not in text
            assert "expected  " not in text
        assert "kind" in repr(feedback)


def test_feedback_on_ties_names_the_earlier_function_that_is_not_right_yet(capsys):
    namespace = {"trim": lambda delta, density: delta.abs()}
    exec(
        "def ties(deltas, density=1.0, weights=None, lam=1.0): return trim(deltas[0], 1)", namespace
    )
    check("ties/ties", namespace["ties"])
    assert "your `trim`, not right yet" in capsys.readouterr().out


def test_feedback_html_escapes_what_the_learner_wrote():
    def hostile(delta, density):
        raise ValueError("<script>alert(1)</script>")

    html = Feedback(judge(find("ties/trim"), hostile, "visible"), hostile).html()
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_a_misspelt_exercise_is_said_in_one_line(capsys):
    check("ties/trimm", trim)
    assert capsys.readouterr().out.startswith("✗ ties/trimm: no such exercise; there are ")


def test_a_grade_cell_with_an_unknown_part_is_an_error():
    with pytest.raises(UserError, match="part='all'"):
        grade("ties/trim", trim, part="all")


def test_the_hidden_seed_comes_from_the_environment(monkeypatch):
    seeds = []

    def remember(delta, density):
        seeds.append(tuple(delta.flatten().tolist()))
        return trim(delta, density)

    grade("ties/trim", remember, part="hidden")
    first = seeds.copy()
    seeds.clear()
    monkeypatch.setenv("MERGELAB_HIDDEN_SEED", "spring term")
    assert grade("ties/trim", remember, part="hidden") == 3
    assert seeds != first


@pytest.mark.parametrize(
    "source",
    [
        "trim",
        'grade("ties/trim", trim)',
        'grade("ties/trim", trim, part=part)',
        'grade("ties/trim", trim, part="hidden"); 4.0',
        'import os\ngrade("ties/trim", trim, part="hidden")',
        "grade(",
    ],
)
def test_only_the_one_stable_form_of_a_grade_cell_is_read(source):
    assert parse_call(source) is None


def test_importing_the_commands_leaves_torch_alone():
    code = "import sys, autograder.commands; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


EXPECTED = {"name": "ties", "shares": [0.5, 0.25], "sure": True, "count": 3, "left": None}
ACCEPTED = [
    EXPECTED,
    {**EXPECTED, "shares": (0.5, 0.25)},
    {**EXPECTED, "shares": [np.float64(0.5), torch.tensor(0.25)]},
    {**EXPECTED, "sure": np.bool_(True)},
    {**EXPECTED, "count": 3.0},
]
REFUSED = [
    (None, "returned nothing (None): does it end with `return`?"),
    ([], "returned a list, not a dict"),
    ({**EXPECTED, "more": 1}, "returned a dict with other keys than expected"),
    ({**EXPECTED, "name": "dare"}, "returned a wrong text, in item 'name'"),
    ({**EXPECTED, "name": 1}, "returned an int, not a str, in item 'name'"),
    ({**EXPECTED, "shares": [0.5]}, "returned 1 items where 2 are expected, in item 'shares'"),
    ({**EXPECTED, "shares": [0.5, 0.3]}, "returned a wrong number, in item 1 of item 'shares'"),
    ({**EXPECTED, "sure": 1}, "returned a number, not true or false, in item 'sure'"),
    ({**EXPECTED, "sure": False}, "returned a wrong answer, in item 'sure'"),
    ({**EXPECTED, "count": True}, "returned true or false, not a number, in item 'count'"),
    ({**EXPECTED, "count": math.nan}, "returned NaN (not a number), in item 'count'"),
    ({**EXPECTED, "count": Liar()}, "returned a Liar, not a number, in item 'count'"),
    ({**EXPECTED, "left": 0}, "returned an int, not a NoneType, in item 'left'"),
]


@pytest.mark.parametrize("value", ACCEPTED)
def test_plain_data_is_accepted_whatever_its_number_and_list_types(value):
    assert problem_with(value, EXPECTED, find("ties/trim")) is None


@pytest.mark.parametrize(("value", "problem"), REFUSED)
def test_what_differs_in_plain_data_is_said_with_its_place_and_without_its_value(value, problem):
    assert problem_with(value, EXPECTED, find("ties/trim")) == problem


def test_the_same_wrong_data_is_recognised_as_the_same():
    wrong = {**EXPECTED, "shares": [0.1, math.nan]}
    tolerance = find("ties/trim").tolerance
    assert same_result(wrong, {**EXPECTED, "shares": (0.1, math.nan)}, tolerance)
    for other in ({**EXPECTED, "shares": [0.2, math.nan]}, {**wrong, "sure": 1}, None):
        assert not same_result(wrong, other, tolerance)


def exercise_of(**changes):
    return dataclasses.replace(find("ties/trim"), misconceptions=(), alternatives={}, **changes)


def test_a_rule_takes_the_place_of_the_comparison_where_many_results_are_right():
    def judged(value, case):
        return None if value > case.args[0] else "returned too little"

    case = Case("a number", (3,))
    exercise = exercise_of(visible=[case], judged=judged, reference=lambda n: n + 1)
    assert judge(exercise, lambda n: n + 50, "visible").passed
    verdict = judge(exercise, lambda n: n - 1, "visible")
    assert verdict.score == 0
    assert "On a number, `trim` returned too little." in verdict.reason()
    assert "4" not in repr(Feedback(verdict, None)).replace("4 input", "")


def test_a_remark_on_a_right_result_is_made_of_visible_cases_only():
    exercise = exercise_of(remark=lambda value, case: f"{len(value)} entries.")
    right = exercise.reference
    seen = Feedback(judge(exercise, right, "visible"), right)
    assert seen.lines[0] == f"{len(exercise.visible[0].args[0])} entries."
    assert Feedback(judge(exercise, right, "hidden"), right).lines == []


def test_without_a_core_kind_every_kind_earns_its_share_and_none_is_free():
    cases = [Case("one", (1,)), Case("two", (2,)), Case("three", (3,), weight=2)]
    exercise = exercise_of(visible=cases, points=Points(4, 0), reference=lambda n: n)
    assert judge(exercise, lambda n: 0, "visible").score == 0
    assert judge(exercise, lambda n: n if n == 3 else 0, "visible").score == 2


def test_a_reason_names_the_other_kinds_in_a_sentence_of_their_own():
    cases = [Case("one", (1,)), Case("two", (2,)), Case("three", (3,))]
    exercise = exercise_of(visible=cases, reference=lambda n: n)
    assert judge(exercise, lambda n: n if n == 1 else None, "visible").reason() == (
        "On two, `trim` returned nothing (None): does it end with `return`? It also fails on three."
    )


def test_a_limit_on_what_a_call_may_make_is_kept_by_views_and_broken_by_copies():
    case = Case("a long vector", (torch.ones(100),), largest=200, core=True)
    exercise = exercise_of(visible=[case], reference=lambda x: x[:10] * 2)
    assert judge(exercise, lambda x: x[:10] * 2, "visible").passed
    verdict = judge(exercise, lambda x: (x * 2)[:10], "visible")
    assert verdict.score == 0
    assert verdict.reason() == (
        "On a long vector, `trim` makes a tensor of 400 bytes, where 200 are allowed."
    )
