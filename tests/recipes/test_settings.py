"""Scalars, lists over the layers and filters resolve to one number per tensor and source."""

import pytest

from mergelab.errors import UserError
from mergelab.recipes import make_plan, parse_recipe


def planned(tiny, method="ties", own=None, whole=None, models=("persona", "agentic"), **more):
    own = own or [{}] * len(models)
    entries = [
        {"model": str(tiny.root / model), "parameters": parameters}
        for model, parameters in zip(models, own, strict=True)
    ]
    recipe = {"merge_method": method, "models": entries, "parameters": whole or {}, **more}
    return make_plan(parse_recipe(recipe))


def value(plan, tensor, key, source=None):
    """The number that holds in the plan for a tensor, of one source or of the whole merge."""
    (found,) = [t for t in plan.tensors if t.name == tensor]
    if source is None:
        return found.settings[key]
    (place,) = [
        i for i, (number, _) in enumerate(found.inputs) if plan.sources[number].name == source
    ]
    return found.per_source[place][key]


def at(layer, module="mlp.up_proj"):
    return f"model.layers.{layer}.{module}.weight"


def test_without_a_word_the_defaults_hold(tiny):
    plan = planned(tiny)
    assert value(plan, at(1), "weight", "persona") == 1.0
    assert value(plan, at(1), "density", "agentic") == 1.0
    assert value(plan, at(1), "lam") == 1.0
    assert value(plan, at(1), "election") == "mass"


def test_what_is_said_for_a_model_beats_what_is_said_for_all(tiny):
    plan = planned(tiny, own=[{"density": 0.3}, {}], whole={"density": 0.6, "lambda": 0.5})
    assert value(plan, at(0), "density", "persona") == 0.3
    assert value(plan, at(0), "density", "agentic") == 0.6
    assert value(plan, at(0), "lam") == 0.5


@pytest.mark.parametrize(
    ("listed", "over_three_layers"),
    [
        ([0.2], [0.2, 0.2, 0.2]),
        ([0.2, 0.6], [0.2, 0.4, 0.6]),
        ([0.0, 1.0, 0.5], [0.0, 1.0, 0.5]),
        ([0.0, 0.3, 0.6, 0.9], [0.0, 0.45, 0.9]),
        ([0.1, 0.2, 0.3, 0.4, 0.9], [0.1, 0.3, 0.9]),
    ],
)
def test_a_list_is_spread_over_the_layers_and_interpolated(tiny, listed, over_three_layers):
    plan = planned(tiny, whole={"density": listed})
    found = [value(plan, at(layer), "density", "persona") for layer in range(3)]
    assert found == pytest.approx(over_three_layers)


def test_outside_the_layers_a_lists_ends_hold(tiny):
    plan = planned(tiny, "task_arithmetic", whole={"lambda": [0.2, 0.4, 0.8]})
    assert value(plan, "model.embed_tokens.weight", "lam") == 0.2
    assert value(plan, "model.norm.weight", "lam") == 0.8
    assert value(plan, "lm_head.weight", "lam") == 0.8


def test_the_first_filter_found_in_the_tensors_name_holds(tiny):
    rules = [
        {"filter": "q_proj", "value": 0.1},
        {"filter": "self_attn", "value": [0.2, 0.4]},
        {"filter": "layers.2", "value": 0.5},
        {"value": 0.9},
    ]
    plan = planned(tiny, own=[{"density": rules}, {}])
    assert value(plan, at(2, "self_attn.q_proj"), "density", "persona") == 0.1
    assert value(plan, at(1, "self_attn.k_proj"), "density", "persona") == pytest.approx(0.3)
    assert value(plan, at(2), "density", "persona") == 0.5
    assert value(plan, at(1), "density", "persona") == 0.9
    assert value(plan, "lm_head.weight", "density", "persona") == 0.9


def test_where_no_filter_fits_the_wider_scope_holds_and_then_the_default(tiny):
    rules = [{"filter": "self_attn", "value": 0.2}]
    plan = planned(tiny, own=[{"density": rules}, {}], whole={"density": 0.7})
    assert value(plan, at(0), "density", "persona") == 0.7
    plan = planned(tiny, own=[{"density": rules}, {}])
    assert value(plan, at(0), "density", "persona") == 1.0


def test_mergekits_star_and_single_filters_are_understood(tiny):
    plan = planned(
        tiny,
        whole={"density": [{"filter": "mlp", "value": 0.3}, {"filter": "*", "value": 0.5}]},
    )
    assert value(plan, at(0), "density", "persona") == 0.3
    assert value(plan, at(0, "self_attn.q_proj"), "density", "persona") == 0.5
    plan = planned(tiny, whole={"density": {"filter": "mlp", "value": 0.3}})
    assert value(plan, at(0), "density", "persona") == 0.3


def test_words_and_flags_may_be_chosen_by_filter(tiny):
    rules = [{"filter": "mlp", "value": "count"}, {"value": "mass"}]
    plan = planned(tiny, whole={"election": rules})
    assert value(plan, at(0), "election") == "count"
    assert value(plan, at(0, "self_attn.q_proj"), "election") == "mass"


def test_mergekits_normalize_is_the_divisor_of_ties(tiny):
    assert value(planned(tiny, whole={"normalize": True}), at(0), "divisor") == "weights"
    assert value(planned(tiny, whole={"normalize": False}), at(0), "divisor") == "none"
    rules = [{"filter": "mlp", "value": False}, {"value": True}]
    plan = planned(tiny, whole={"normalize": rules})
    assert value(plan, at(0), "divisor") == "none"
    assert value(plan, at(0, "self_attn.q_proj"), "divisor") == "weights"


def test_numbers_that_yaml_reads_as_words_are_numbers(tiny):
    plan = planned(tiny, whole={"lambda": "1e-3", "density": ["2e-1", "0.6"]})
    assert value(plan, at(0), "lam") == 0.001
    assert value(plan, at(1), "density", "persona") == pytest.approx(0.4)


def test_a_parameter_without_a_meaning_here_is_noted(tiny):
    plan = planned(tiny, whole={"int8_mask": True})
    assert any("int8_mask" in note for note in plan.notes)


REFUSED = {
    "misspelt": ({"densty": 0.5}, {}, ["densty", "did you mean 'density'?"]),
    "another's": ({"t": 0.5}, {}, ["unknown parameter 't' for ties", "density"]),
    "density 0 to 1": ({"density": 1.2}, {}, ["parameters.density", "between 0 and 1", "1.2"]),
    "negative density": ({"density": -0.1}, {}, ["between 0 and 1"]),
    "in a list": ({"density": [0.5, 1.2]}, {}, ["between 0 and 1", "1.2"]),
    "in a filter": ({"density": [{"filter": "mlp", "value": 3}]}, {}, ["between 0 and 1"]),
    "in a list in a filter": (
        {"density": [{"filter": "mlp", "value": [0.5, 7]}]},
        {},
        ["between 0 and 1", "7"],
    ),
    "a word": ({"density": "half"}, {}, ["must be a number", "'half'"]),
    "nothing": ({"density": None}, {}, ["must be a number"]),
    "true": ({"lambda": True}, {}, ["must be a number"]),
    "not a number": ({"lambda": ".nan"}, {}, ["number"]),
    "beyond every float": ({"lambda": 10**400}, {}, ["lambda: must be a finite number"]),
    "infinite": ({"lambda": float("inf")}, {}, ["finite"]),
    "an empty list": ({"density": []}, {}, ["the list is empty"]),
    "values and filters mixed": (
        {"density": [0.5, {"filter": "mlp", "value": 0.3}]},
        {},
        ["mixes values and filters"],
    ),
    "filter without value": ({"density": [{"filter": "mlp"}]}, {}, ["value"]),
    "filter misspelt": ({"density": [{"filtre": "mlp", "value": 1}]}, {}, ["filter"]),
    "a list inside a list": ({"density": [[0.5]]}, {}, ["must be a number"]),
    "unknown word": ({"election": "vote"}, {}, ["mass, mass_unweighted, count", "'vote'"]),
    "words interpolated": ({"election": ["mass", "count"]}, {}, ["cannot be interpolated"]),
    "flag as a number": ({"normalize": 1}, {}, ["true or false"]),
    "for one model only": ({}, {"lambda": 0.5}, ["models[0].parameters", "whole merge"]),
    "misspelt for one model": ({}, {"wight": 0.5}, ["models[0].parameters", "'weight'"]),
    "alias": ({"scale": 0.5}, {}, ["write 'lambda'"]),
    "drop rate": ({"drop_rate": 0.9}, {}, ["write 'density', which is 1 minus the drop rate"]),
}


@pytest.mark.parametrize(("whole", "own", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_a_parameter_that_cannot_be_is_refused_with_its_place(tiny, whole, own, words):
    with pytest.raises(UserError) as refused:
        planned(tiny, whole=whole, own=[own, {}])
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize("density", [0, 1, 0.0, 1.0, "0.5"])
def test_the_ends_of_a_range_belong_to_it(tiny, density):
    assert value(planned(tiny, whole={"density": density}), at(0), "density", "persona") == float(
        density
    )


def test_slices_spread_lists_over_their_own_layers(tiny):
    sources = [{"model": str(tiny.persona)}, {"model": str(tiny.agentic)}]
    recipe = {
        "merge_method": "ties",
        "slices": [
            {
                "sources": [{**source, "layer_range": [0, 2]} for source in sources],
                "parameters": {"density": [0, 1]},
            },
            {"sources": [{**source, "layer_range": [2, 3]} for source in sources]},
        ],
        "parameters": {"density": 0.6},
    }
    plan = make_plan(parse_recipe(recipe))
    found = [value(plan, at(layer), "density", "persona") for layer in range(3)]
    assert found == [0.0, 1.0, 0.6]
    assert value(plan, "model.embed_tokens.weight", "density", "persona") == 0.0
    assert value(plan, "model.norm.weight", "density", "persona") == 0.6
