"""What a learner reads: one helpful sentence for anything a function can do."""

import contextlib
import subprocess
import sys
import time
import warnings

import pytest
import torch

from autograder import calling, check, grade
from autograder.checking import parse_call
from autograder.exercise import find
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
    (lambda delta, density: None, "returned nothing (None)"),
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
    (lambda delta, density: delta + 1, "returned wrong values in 4 of 4 entries on a plain vector"),
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
