"""What the first lesson shows: models as dicts, lines between them, outsiders, and the slider."""

import html

import pytest
import torch

from mergelab import notebook as nb
from mergelab.evaluation.generation import generate_replies
from mergelab.notebook.start_models import ready

PROMPTS = ["Mark task 12 as done.", "What can you do?"]


@pytest.fixture(scope="module")
def base() -> dict[str, torch.Tensor]:
    return nb.weights_of("base")


def replies(state) -> list[str]:
    return generate_replies(*ready(state), PROMPTS)


def test_base_plus_task_vector_is_the_fine_tuned_model(base):
    delta = nb.task_vector_of("task_api_agentic")
    whole = nb.weights_of("task_api_agentic")
    assert whole.keys() == base.keys()
    for name, values in whole.items():
        expected = base[name] + delta[name] if name in delta else base[name]
        torch.testing.assert_close(values, expected)


def test_shuffled_neurons_give_other_weights_and_the_same_model(base):
    twin = nb.neurons_shuffled(base, seed=3)
    matrix = "model.layers.1.mlp.down_proj.weight"
    assert twin.keys() == base.keys()
    assert not torch.equal(twin[matrix], base[matrix])
    torch.testing.assert_close(twin[matrix].norm(), base[matrix].norm())
    ids = torch.arange(5, 25)[None]
    with torch.inference_mode():
        logits = [ready(state)[0](ids).logits for state in (base, twin)]
    torch.testing.assert_close(*logits, rtol=1e-3, atol=1e-3)
    assert replies(twin) == replies(base)


def test_a_line_starts_at_the_first_model_and_ends_at_the_second(base):
    other = {name: values + 1 for name, values in base.items()}
    for share, end in ((0.0, base), (1.0, other)):
        walked = nb.on_the_line(base, other, share)
        assert all(torch.equal(walked[name], end[name]) for name in base)


def test_each_outsider_is_refused_for_its_own_reason_without_a_path(tmp_path):
    outsiders = nb.write_outsiders(tmp_path / "models")
    said = {
        what: nb.answer_to(
            {"merge_method": "linear", "models": [{"model": "base"}, {"model": str(path)}]}
        )
        for what, path in outsiders.items()
    }
    assert (
        "hidden_size is 64" in said["another shape"]
        and "128 in that of base" in said["another shape"]
    )
    assert "token" in said["other words"] and "tokenizer_source" in said["other words"]
    assert "weights are unrelated" in said["other neurons"]
    assert not any(str(tmp_path) in text or "/" in text for text in said.values())


def test_a_recipe_that_is_fine_is_answered_with_merged():
    assert nb.answer_to(nb.recipe("linear")) == "merged"


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ([1, 2], "a dict of tensors"),
        ({"w": 3}, "a dict of tensors"),
        ({"w": torch.ones(2)}, "does not fit the architecture"),
    ],
)
def test_what_is_no_model_is_said_in_a_sentence(state, words):
    assert words in repr(nb.talk_to(state, PROMPTS))


def test_an_unwritten_function_leaves_nothing_to_say():
    assert nb.talk_to(None, PROMPTS) is None


def test_the_slider_shows_the_base_at_zero_and_the_adapter_at_one(base):
    slider = nb.ScaleSlider({"agentic": "task_api_agentic"}, PROMPTS, scales=(-1.0, 0.0, 1.0))
    assert all(control.description for control in (slider.adapter, slider.scale))
    assert "&quot;complete_task&quot;" in slider.table.value
    assert "1.00 times the agentic task vector added to the base" in slider.sentence.value
    slider.scale.value = 0.0
    assert all(reply in slider.table.value for reply in map(html.escape, replies(base)))
    assert "this is the base itself" in slider.sentence.value
    slider.scale.value = -1.0
    assert "taken from the base" in slider.story()


def test_figures_say_in_words_what_they_show(base):
    scores = nb.score(base, skills=["persona"], items=2)
    curve = nb.parts_plot({"persona": {0.0: scores, 1.0: scores}}, title="Scale")
    assert "persona by scale 0: 0.00, 1: 0.00" in curve.alt
    line = nb.basin_plot({"a line": {0.0: scores, 0.5: scores}}, "persona", title="Line")
    assert "a line: 0: 0.00, 0.5: 0.00" in line.alt
    for picture in (curve, line, nb.arrows_plot(), nb.spine_plot()):
        assert picture.png.startswith(b"\x89PNG")
        assert len(picture.alt) > 40
