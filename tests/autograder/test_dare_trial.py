"""The judged merge of lesson 05: what a recipe may be, and what a drop may cost."""

import pytest

from autograder.exercises.dare import trial
from autograder.exercises.dare.seventy_percent import recipe


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"merge_method": "ties"}, "dare_linear or dare_ties"),
        ({"base_model": "/somewhere/else"}, "on `base`"),
        ({"models": [{"model": "task_api_persona"}, {"model": "../x"}]}, "must merge exactly"),
        ({"models": "task_api_persona"}, "two adapters"),
        ({"seed": 3}, "does not know"),
        ({"parameters": {"density": 0.31}}, "keeps 31%"),
        ({"parameters": {}}, "keeps 100%"),
        ({"parameters": {"density": [0.1, 0.9]}}, "plain number"),
        ({"parameters": {"density": float("nan")}}, "plain number"),
        ({"parameters": {"density": 0.3, "rescale": False}}, "something other"),
        ({"parameters": {"density": 0.3, "trim_after": 0.2}}, "something other"),
    ],
)
def test_what_is_not_allowed_is_refused_with_a_reason(change, words):
    assert words in trial.problem_with_recipe({**recipe(), **change})


def test_no_recipe_at_all_is_refused():
    assert "return a dict" in trial.problem_with_recipe(None)


def test_a_density_of_a_model_counts_before_the_common_one():
    models = [{"model": n, "parameters": {"density": 0.5}} for n in trial.ADAPTERS]
    assert "keeps 50%" in trial.problem_with_recipe({**recipe(), "models": models})


def test_the_whole_merge_differs_in_density_only():
    models = [{"model": n, "parameters": {"density": 0.2, "weight": 0.9}} for n in trial.ADAPTERS]
    whole = trial.whole({**recipe(), "models": models})
    assert whole["parameters"] == {"density": 1.0, "lambda": 0.8}
    assert [m["parameters"] for m in whole["models"]] == [{"density": 1.0, "weight": 0.9}] * 2


def outcomes(monkeypatch, whole, *rolls):
    """A trial with given rates; returns its verdict and how many rolls it took."""
    asked = []

    def rates(text, seed, items):
        if '"density": 1.0' in text:
            return whole
        asked.append(seed)
        return rolls[seed % len(rolls)]

    monkeypatch.setattr(trial, "rates", rates)
    return trial.problem_with_drop(recipe(), "dev"), len(asked)


def test_a_loss_within_five_percent_passes(monkeypatch):
    assert outcomes(monkeypatch, (0.9, 0.9), (0.88, 0.87)) == (None, 5)


def test_a_loss_on_one_skill_fails_however_good_the_other_is(monkeypatch):
    problem, _ = outcomes(monkeypatch, (0.9, 0.9), (1.0, 0.84))
    assert problem.startswith("loses too much of agentic: 0.90 with nothing dropped")


def test_a_hopeless_trial_ends_early(monkeypatch):
    problem, rolls = outcomes(monkeypatch, (0.9, 0.9), (0.0, 0.0))
    assert "persona" in problem
    assert rolls == 1


def test_retaining_little_of_little_is_not_enough(monkeypatch):
    problem, _ = outcomes(monkeypatch, (0.5, 0.5), (0.55, 0.55))
    assert "too weak a merge" in problem
