"""The experiment of the lessons: recipe, merge, score, size."""

import pytest

import mergelab
from mergelab import notebook as nb
from mergelab.errors import UserError


def test_a_recipe_wants_one_weight_for_each_model():
    with pytest.raises(UserError, match="1 weights for 2 models"):
        nb.recipe("ties", weights=(1.0,))


def test_a_method_that_takes_no_weights_gets_none():
    merged = mergelab.merge(nb.recipe("slerp", t=0.5))
    assert merged.report.total().angle == pytest.approx(88.8, abs=0.05)  # as the README prints


def test_weights_left_out_are_one_each():
    plain, spelt = (nb.recipe("task_arithmetic", weights=w) for w in (None, (1.0, 1.0)))
    sizes = [mergelab.merge(each).report.total().magnitude_kept for each in (plain, spelt)]
    assert sizes[0] == sizes[1]


def test_measuring_gives_the_scores_and_the_size_of_one_and_the_same_merge():
    made = nb.recipe("task_arithmetic", **{"lambda": 0.5})
    scores, size = nb.measure("half", made, items=4)
    assert scores.model == "half"
    assert {len(result.outcomes) for result in scores.skills.values()} == {4}
    assert size == mergelab.merge(made).report.total().magnitude_kept


@pytest.mark.parametrize("method", ["ties", "task_arithmetic"])
def test_a_sized_recipe_has_the_size_asked_for_whatever_its_lambda_was(method):
    made = nb.sized(0.8, nb.recipe(method, nb.CONFLICT, **{"lambda": 3.0}))
    assert mergelab.merge(made).report.total().magnitude_kept == pytest.approx(0.8, rel=1e-4)


def test_a_model_alone_goes_by_the_name_it_is_given():
    assert nb.measure_alone("task_api_persona", name="persona alone", items=2).model == (
        "persona alone"
    )
