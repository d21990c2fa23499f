"""`compat` in a recipe: which defaults hold, what flags mean, and what is refused."""

import pytest

from mergelab.errors import UserError
from mergelab.methods import REGISTRY
from mergelab.recipes import make_plan, parse_recipe
from mergelab.recipes.compat import COMPAT, REQUIRED, preset
from mergelab.recipes.settings import Position, resolve

PAIRS = [(party, method) for party, methods in COMPAT.items() for method in methods]


def planned(tiny, method, party, *, names=("first", "second"), own=None, **parameters):
    models = [
        {"model": str(tiny.root / name), "parameters": dict((own or {}).get(name, {}))}
        for name in names
    ]
    recipe = {"merge_method": method, "models": models, "parameters": parameters}
    if "first" in names and REGISTRY[method].needs_base:
        recipe["base_model"] = str(tiny.base)
    return make_plan(parse_recipe({**recipe, "compat": party}))


def at(plan, name):
    (found,) = [tensor for tensor in plan.tensors if tensor.name == name]
    return found


@pytest.mark.parametrize(("party", "method"), PAIRS)
def test_a_preset_sets_parameters_that_the_method_has_to_values_that_it_allows(party, method):
    declared = {parameter.name: parameter for parameter in REGISTRY[method].parameters}
    for name, value in COMPAT[party][method].items():
        assert value is REQUIRED or declared[name].problem(value) is None


@pytest.mark.parametrize(("party", "method"), PAIRS)
def test_a_preset_decides_every_switch_whose_source_names_the_party(party, method):
    """A parameter that says what this party does is not left to our own default."""
    switches = ("trim_count", "trim_scope", "election", "zero_sign", "divisor", "rescale", "window")
    declared = {p.name for p in REGISTRY[method].parameters if p.name in switches}
    idle = {"trim_count", "trim_scope"} if COMPAT[party][method].get("trim_after") == 1.0 else set()
    assert declared - idle <= set(COMPAT[party][method])


def test_the_papers_choices_hold_where_the_recipe_says_nothing(tiny):
    tensor = at(planned(tiny, "ties", "paper"), "model.layers.1.mlp.up_proj.weight")
    assert [own["density"] for own in tensor.per_source] == [0.2, 0.2]
    wanted = {
        "trim_count": "floor_plus_1",
        "trim_scope": "global",
        "election": "mass_unweighted",
        "zero_sign": "majority",
        "divisor": "count",
    }
    assert {name: tensor.settings[name] for name in wanted} == wanted


def test_without_a_preset_the_defaults_are_our_own(tiny):
    tensor = at(planned(tiny, "ties", None), "model.layers.1.mlp.up_proj.weight")
    wanted = {
        "trim_count": "round",
        "trim_scope": "tensor",
        "election": "mass",
        "divisor": "weights",
    }
    assert {name: tensor.settings[name] for name in wanted} == wanted


def test_what_the_recipe_says_wins_over_the_preset(tiny):
    own = {"first": {"density": 0.7}}
    plan = planned(tiny, "ties", "paper", own=own, zero_sign="zero", divisor="weights")
    tensor = at(plan, "model.layers.1.mlp.up_proj.weight")
    densities = {
        plan.sources[number].name: tensor.per_source[i]["density"]
        for i, (number, _) in enumerate(tensor.inputs)
    }
    assert densities == {"first": 0.7, "second": 0.2}
    assert tensor.settings["zero_sign"] == "zero"
    assert tensor.settings["divisor"] == "weights"
    assert tensor.settings["trim_count"] == "floor_plus_1"


@pytest.mark.parametrize(
    ("party", "method", "written", "name", "meant"),
    [
        (None, "dare_ties", {"rescale": True}, "rescale", True),
        ("paper", "dare_ties", {"rescale": True}, "rescale", True),
        ("mergekit", "dare_ties", {"rescale": True}, "rescale", "l1"),
        ("mergekit", "ties", {"rescale": True}, "rescale", "l1"),
        ("mergekit", "dare_ties", {"rescale": False}, "rescale", False),
        ("mergekit", "dare_ties", {"rescale": "l2"}, "rescale", "l2"),
        (None, "ties", {"normalize": True}, "divisor", "weights"),
        ("mergekit", "dare_ties", {"normalize": True}, "divisor", "signed_weights"),
        ("mergekit", "ties", {"normalize": False}, "divisor", "none"),
        ("peft", "ties", {"normalize": True}, "divisor", "count"),
        ("mergekit", "dare_linear", {"normalize": True}, "normalize", True),
    ],
)
def test_a_flag_means_what_it_means_to_the_party(party, method, written, name, meant):
    (parameter,) = [p for p in REGISTRY[method].parameters if p.name == name]
    got = resolve(parameter, [written], Position("x", 0.0), preset(party, method))
    assert (got, type(got)) == (meant, type(meant))


def test_mergekit_gives_the_first_value_of_a_list_to_all_that_is_outside_the_layers(tiny):
    head, norm, embeddings = "lm_head.weight", "model.norm.weight", "model.embed_tokens.weight"
    ours = planned(tiny, "ties", None, density=[0.2, 0.6])
    assert [at(ours, n).per_source[0]["density"] for n in (embeddings, norm, head)] == [
        0.2,
        0.6,
        0.6,
    ]
    theirs = planned(tiny, "ties", "mergekit", density=[0.2, 0.6])
    found = [at(theirs, n).per_source[0]["density"] for n in (embeddings, norm, head)]
    assert found == [0.2, 0.2, 0.2]
    layers = [f"model.layers.{i}.mlp.up_proj.weight" for i in range(3)]
    assert [at(theirs, n).per_source[0]["density"] for n in layers] == [0.2, 0.4, 0.6]


def test_mergekit_gives_a_single_layer_the_last_value():
    assert Position.of("x", 0, 1, preset("mergekit", "ties")).depth == 1.0
    assert Position.of("x", 0, 1).depth == 0.0


@pytest.mark.parametrize(
    ("method", "party", "parameters", "words"),
    [
        ("sce", "peft", {}, "compat: peft has no sce; it has concat, dare_linear, dare_ties"),
        ("magnitude_prune", "mergekit", {}, "compat: mergekit has no magnitude_prune; it has"),
        ("karcher", "paper", {}, "compat: the papers' published code has no karcher; it has"),
        ("ties", "peft", {}, "compat: peft has no default for density; write 'density: '"),
        ("ties", "peft", {"density": 0.5, "space": "factors"}, "space: factors needs adapters"),
        ("ties", "pfet", {}, "compat: .*'peft'"),
    ],
)
def test_what_a_party_cannot_do_is_one_clear_line(tiny, method, party, parameters, words):
    with pytest.raises(UserError, match=words) as raised:
        planned(tiny, method, party, **parameters)
    assert "\n" not in str(raised.value)


def test_peft_leaves_a_single_adapter_alone_so_it_is_not_merged(tiny):
    with pytest.raises(UserError, match="ties merges at least 2 models, got 1"):
        planned(tiny, "ties", "peft", names=("persona",), density=0.5)


@pytest.mark.parametrize(
    ("names", "parameters", "space"),
    [
        (("persona", "agentic"), {}, "factors"),
        (("persona", "agentic"), {"space": "task_vectors"}, "task_vectors"),
        (("first", "second"), {}, "task_vectors"),
    ],
)
def test_peft_merges_factors_where_there_are_some(tiny, names, parameters, space):
    assert planned(tiny, "ties", "peft", names=names, density=0.5, **parameters).space == space


def test_what_a_preset_cannot_reproduce_is_said(tiny):
    notes = planned(tiny, "dare_ties", "mergekit").notes
    assert any("compat: mergekit is not reproduced to the last number" in note for note in notes)
    assert not any("not reproduced" in note for note in planned(tiny, "ties", "mergekit").notes)
