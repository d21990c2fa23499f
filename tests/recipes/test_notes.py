"""What a recipe says without effect is pointed out, and what it says twice is refused."""

import os

import pytest

from mergelab.errors import UserError
from mergelab.paths import data_path
from mergelab.recipes import make_plan, parse_recipe

PAIR = ["task_api_persona", "task_api_agentic"]


def plan(models, **keys):
    recipe = {"merge_method": "ties", "models": [{"model": str(m)} for m in models], **keys}
    return make_plan(parse_recipe(recipe))


def test_a_filter_that_matches_no_tensor_is_pointed_out():
    rules = [{"filter": "self_atn", "value": 0.2}, {"filter": "mlp", "value": 0.4}, {"value": 0.5}]
    notes = plan(PAIR, parameters={"density": rules}).notes
    assert [note for note in notes if "self_atn" in note]
    assert not [note for note in notes if "mlp" in note]


def test_a_density_of_one_is_pointed_out():
    assert any("density is 1" in note for note in plan(PAIR).notes)
    assert not any("density is 1" in n for n in plan(PAIR, parameters={"density": 0.5}).notes)


def test_one_model_under_two_spellings_is_refused():
    folder = data_path("adapters", PAIR[0])
    with pytest.raises(UserError, match="listed twice"):
        plan([PAIR[0], os.path.relpath(folder)])


def test_an_empty_model_name_is_refused():
    with pytest.raises(UserError, match="model"):
        plan(["", PAIR[0]])
