"""What is compared: validated before anything runs, named apart, with a plain average beside."""

import pytest
import yaml
from tiny_models import weights

from mergelab.errors import UserError
from mergelab.evaluation.candidates import candidates


@pytest.fixture
def written(tiny, tmp_path):
    """Write a recipe for the tiny models; gives its file."""

    def write(place, method="ties", *names, **more):
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(tiny.recipe(method, *names, **more)))
        return path

    return write


def names_of(found):
    return [candidate.name for candidate in found]


def test_a_plain_average_of_the_same_models_is_added(written, tiny):
    found, notes = candidates([written("ties.yaml"), written("slerp.yaml", "slerp")])
    assert names_of(found) == ["ties", "slerp", "linear baseline"]
    assert [candidate.baseline for candidate in found] == [False, False, True]
    assert notes == ["linear baseline: added, the plain average of the same models"]
    model, _ = found[-1].load()
    base = weights(tiny.base)
    for name in ("model.layers.1.self_attn.q_proj.weight", "model.layers.0.mlp.gate_proj.weight"):
        mean = sum(tiny.deltas[source][name] for source in ("persona", "agentic")) / 2
        expected = base[name].double() + mean
        assert (model.state_dict()[name].double() - expected).abs().max() < 1e-5


def test_an_average_that_is_there_needs_no_other(written):
    plain = written("mean.yaml", "linear")
    halves = written("halves.yaml", "linear", parameters={"weight": 0.5})
    for path in (plain, halves):
        found, notes = candidates([written("ties.yaml"), path])
        assert names_of(found) == ["ties", path.stem]
        assert found[1].baseline
        assert notes == []


@pytest.mark.parametrize(
    "parameters", [{"weight": [0.9, 0.1]}, {"weight": 0.5, "normalize": False}]
)
def test_a_linear_merge_that_is_no_plain_average_is_no_baseline(written, tiny, parameters):
    path = written("uneven.yaml", "linear", parameters=parameters)
    recipe = yaml.safe_load(path.read_text())
    recipe["models"][0]["parameters"] = {"weight": 0.7}
    path.write_text(yaml.safe_dump(recipe))
    found, _ = candidates([path])
    assert names_of(found) == ["uneven", "linear baseline"]


def test_each_set_of_models_gets_its_average(written):
    found, _ = candidates(
        [written("adapters.yaml"), written("full.yaml", "slerp", "first", "second")]
    )
    assert names_of(found) == [
        "adapters",
        "full",
        "linear baseline",
        "linear baseline of first, second",
    ]


def test_recipes_of_one_name_get_names_apart(written):
    paths = [
        written("a/merge.yaml", parameters={"density": 0.2}),
        written("b/merge.yaml", parameters={"density": 0.4}),
        written("other.yaml", name="merge", parameters={"density": 0.6}),
        written("c/x.yaml", name="twin", parameters={"density": 0.7}),
        written("c/y.yaml", name="twin", parameters={"density": 0.8}),
    ]
    found, _ = candidates(paths)
    above = paths[2].parent.name
    assert names_of(found)[:5] == ["a/merge", "b/merge", f"{above}/merge", "c/twin", "c/twin (2)"]


def test_a_recipe_that_says_the_same_is_measured_once_and_named(written, tiny, tmp_path):
    first, second = written("one.yaml"), written("two.yaml", name="two")
    recipe = yaml.safe_load(second.read_text())
    recipe["models"] = [
        {"model": f"{tiny.root}/../{tiny.root.name}/{name}"} for name in ("persona", "agentic")
    ]
    second.write_text(yaml.safe_dump(recipe))
    found, notes = candidates([first, second, first])
    assert names_of(found) == ["one", "linear baseline"]
    assert notes[:2] == [
        f"{second}: says the same as {first}; it is measured once",
        f"{first}: is named twice; it is measured once",
    ]


def test_a_recipe_for_an_adapter_is_measured_as_a_model(written):
    found, _ = candidates([written("sum.yaml", "task_arithmetic", output="adapter")])
    model, tokenizer = found[0].load()
    assert model.config.num_hidden_layers == 3
    assert tokenizer.chat_template


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"densty": 0.5}, "densty"),
        ({"models": [{"model": "./nowhere"}]}, "nowhere"),
        ({"merge_method": "tise"}, "tise"),
        ({"output": "adapter"}, "rank"),
    ],
)
def test_a_bad_recipe_is_one_line_that_names_its_file(written, change, words):
    good, bad = written("good.yaml"), written("bad.yaml")
    bad.write_text(yaml.safe_dump(yaml.safe_load(bad.read_text()) | change))
    with pytest.raises(UserError, match=words) as told:
        candidates([good, bad])
    assert str(told.value).startswith(str(bad))
    assert "\n" not in str(told.value)


def test_a_model_that_cannot_be_asked_is_refused_before_it_is_merged(written, tiny, tmp_path):
    base = tiny.copy("base", tmp_path / "base")
    (base / "chat_template.jinja").unlink()
    path = written("mute.yaml", base_model=str(base))
    with pytest.raises(UserError, match=r"mute\.yaml: base has no chat template"):
        candidates([path])


def test_nothing_to_compare_is_said():
    with pytest.raises(UserError, match="at least one recipe"):
        candidates([])
