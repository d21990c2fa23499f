"""Linear merges in the notebook: the loss, the plots, the sentences, and the explorer."""

import io
import math

import pytest
import torch
from PIL import Image

import mergelab
from mergelab import notebook as nb
from mergelab.evaluation.results import Evaluation, Outcome, SkillResult
from mergelab.evaluation.scorers import Score, score
from mergelab.evaluation.statistics import Interval
from mergelab.evaluation.suites import SKILLS, Item, load_suite
from mergelab.notebook.linear_lines import merged_ten, told
from mergelab.notebook.linear_plots import draw_line
from mergelab.notebook.style import new_figure
from mergelab.notebook.weights import Changes


def evaluation(name, persona, agentic, items=200):
    """An evaluation in which the first so many of `items` prompts are right."""
    skills = {}
    for skill, rate in (("persona", persona), ("agentic", agentic)):
        outcomes = [
            Outcome(
                Item(id=f"{n}", template=f"t{n}", input=f"prompt {n}", expected="yes"),
                "yes",
                Score(int(n < rate * items), 1.0, "right"),
            )
            for n in range(items)
        ]
        skills[skill] = SkillResult.of(skill, outcomes)
    return Evaluation(name, "dev", skills)


ALPHA = {0.0: evaluation("a", 0.9, 0.0), 0.5: evaluation("b", 0.5, 0.8),
         0.8: evaluation("c", 0.02, 0.9), 1.0: evaluation("d", 0.0, 0.9)}  # fmt: skip
LINES = (
    nb.Line("alpha", ALPHA, {0.0: 1.0, 0.5: 0.7, 0.8: 0.8, 1.0: 1.0}),
    nb.Line("lambda", {x: evaluation("s", 0.6, 0.6) for x in (0.5, 1.0, 2.0)},
            {0.5: 0.7, 1.0: 1.4, 2.0: 2.8}),
)  # fmt: skip


def drawn(picture):
    assert Image.open(io.BytesIO(picture.png)).width > 300
    assert len(picture.png) < 120_000
    assert any(axis.get_xlabel() for axis in picture.figure.axes)
    return picture.alt


# The loss ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("skill", SKILLS)
def test_the_right_reply_to_every_item_is_scored_as_right(skill):
    assert all(score(item, nb.right_reply(item)).strict for item in load_suite(skill, "dev"))


def test_the_loss_is_the_mean_surprise_of_the_reply_alone():
    model, tokenizer = mergelab.load_model("task_api_agentic")
    item = load_suite("agentic", "dev")[1]
    said = tokenizer.encode(nb.right_reply(item), add_special_tokens=False)
    prompt = tokenizer.encode(f"<|user|>{item.input}<|end|><|assistant|>", add_special_tokens=False)
    ids = [*prompt, *said, tokenizer.eos_token_id]
    surprise = 0.0
    for place in range(len(prompt), len(ids)):  # one token at a time, from what stands before it
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids[:place]])).logits[0, -1]
        surprise -= float(logits.log_softmax(0)[ids[place]])
    expected = surprise / (len(said) + 1)
    assert nb.reply_loss(model, tokenizer, [item]) == pytest.approx(expected, rel=1e-4)


def test_a_longer_item_in_the_batch_does_not_change_the_loss_of_another():
    model, tokenizer = mergelab.load_model("base")
    items = load_suite("persona", "dev")[:3]
    tokens = [len(tokenizer.encode(nb.right_reply(i), add_special_tokens=False)) + 1 for i in items]
    apart = [nb.reply_loss(model, tokenizer, [item]) for item in items]
    weighted = sum(n * loss for n, loss in zip(tokens, apart, strict=True)) / sum(tokens)
    assert nb.reply_loss(model, tokenizer, items) == pytest.approx(weighted, rel=1e-4)


def test_an_adapter_is_less_surprised_by_its_own_skill_than_its_base():
    only = ("task_api_persona",)
    base, adapter = (
        nb.measure_loss(nb.recipe("task_arithmetic", only, **{"lambda": x}), items=10)
        for x in (0.0, 1.0)
    )
    assert adapter["persona"] < 0.2 * base["persona"]


def test_a_barrier_is_measured_against_the_chord_not_against_the_lower_end():
    assert nb.barrier({0.0: 0.0, 0.25: 0.5, 1.0: 2.0}) == 0.0
    assert nb.barrier({0.0: 0.0, 0.25: 0.9, 1.0: 2.0}) == pytest.approx(0.4)


# The plots ---------------------------------------------------------------------------------------


def test_the_plane_has_the_lengths_and_the_angle_of_the_whole_model():
    deltas = {
        "one": [torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0])],
        "two": [torch.tensor([0.0]), torch.tensor([1.0])],
    }
    first, second, angle = nb.plane_of(Changes(("a", "b"), {}, deltas))
    assert (first, second, angle) == pytest.approx((1.0, math.sqrt(2), 45.0))


def test_a_task_vector_of_zeros_has_no_plane():
    deltas = {"one": [torch.zeros(2), torch.ones(2)]}
    with pytest.raises(ValueError, match="no angle"):
        nb.plane_of(Changes(("a", "b"), {}, deltas))


@pytest.mark.parametrize("angle", [30.0, 89.0, 140.0])
def test_the_plane_draws_and_says_how_far_the_average_is(angle):
    alt = drawn(nb.plane_plot((6.0, 8.0), angle))
    expected = math.sqrt(36 + 64 + 96 * math.cos(math.radians(angle))) / 2
    assert f"{expected:.1f} from the base" in alt


@pytest.mark.parametrize("published", [None, {0.5: 0.8}])
def test_a_line_draws_with_and_without_published_values(published):
    alt = drawn(nb.line_plot(ALPHA, knob="alpha", published=published))
    assert "0.5: persona 0.50, agentic 0.80" in alt


def test_a_line_names_both_skills_in_its_legend():
    axis = new_figure(4, 3).subplots()
    draw_line(axis, ALPHA)
    assert {"persona", "agentic"} <= set(axis.get_legend_handles_labels()[1])


def test_losses_draw_with_the_chord_between_the_ends():
    losses = {0.0: {"x": 1.0, "y": 0.0}, 0.5: {"x": 0.2, "y": 0.2}, 1.0: {"x": 0.0, "y": 2.0}}
    assert "0: 0.50, 0.5: 0.20, 1: 1.00" in drawn(nb.loss_plot({"one": losses, "other": losses}))


def test_scale_alone_and_in_the_sum_draw_side_by_side():
    alone = {s: {0.5: Interval(0.5, 0.4, 0.6)} for s in ("persona", "agentic")}
    alt = drawn(nb.scale_plot(alone, {0.5: evaluation("m", 0.6, 0.7)}))
    assert "persona by itself: 0.5: 0.50; persona in the sum of both: 0.5: 0.60" in alt


# The sentences -----------------------------------------------------------------------------------


def test_the_tenable_part_of_a_line_is_where_both_skills_keep_half():
    assert nb.tenable_sentence(ALPHA).endswith("score at 0.5.")
    poor = {0.0: ALPHA[0.0], 0.5: evaluation("p", 0.1, 0.8), 1.0: ALPHA[1.0]}
    assert nb.tenable_sentence(poor).startswith("Nowhere")


@pytest.mark.parametrize(
    ("left", "verdict"),
    [(0.02, "take the agentic adapter alone"), (0.3, "badly hurt"), (0.8, "keeps most")],
)
def test_what_a_dominated_skill_keeps_decides_the_verdict(left, verdict):
    line = {**ALPHA, 0.8: evaluation("c", left, 0.9)}
    assert verdict in nb.dominated_sentence(line, 0.8)


def test_the_plateau_holds_what_noise_cannot_tell_from_the_best():
    line = {0.5: evaluation("a", 0.5, 0.5), 0.7: evaluation("b", 0.9, 0.9),
            1.0: evaluation("c", 0.9, 0.895)}  # fmt: skip
    assert nb.plateau_sentence(line) == (
        "Best of those tried is lambda 0.7; not worse by more than noise: 1."
    )
    assert nb.plateau_sentence({0.5: line[0.5], 0.7: line[0.7]}).endswith("the rest are worse.")


def test_a_barrier_is_named_only_where_the_loss_rises():
    ends = {0.0: {"x": 1.0}, 1.0: {"x": 1.0}}
    assert "a barrier of 0.50" in nb.barrier_sentence("a", {**ends, 0.5: {"x": 1.5}})
    assert "no barrier" in nb.barrier_sentence("a", {**ends, 0.5: {"x": 0.9}})


def test_one_skill_of_an_evaluation_keeps_its_outcomes():
    one = nb.one_skill(ALPHA[0.5], "agentic")
    assert list(one.skills) == ["agentic"]
    assert one.combined.estimate == pytest.approx(0.8)


# The explorer ------------------------------------------------------------------------------------


@pytest.fixture
def explorer():
    return nb.LinearLines(*LINES)


def test_it_opens_on_the_average(explorer):
    assert (explorer.kind.value, explorer.place.value) == ("alpha", 0.5)
    assert "0.50 on persona and 0.80 on agentic" in explorer.sentence.value


def test_both_controls_redraw_figure_and_sentence(explorer):
    for control, value in (("place", 1.0), ("kind", "lambda"), ("place", 2.0)):
        before = explorer.picture.value, explorer.sentence.value
        getattr(explorer, control).value = value
        assert explorer.picture.value != before[0]
        assert explorer.sentence.value != before[1]


def test_another_line_offers_its_own_places_and_stays_near(explorer):
    explorer.place.value = 0.8
    explorer.kind.value = "lambda"
    assert explorer.place.value == 1.0
    assert [value for _, value in explorer.place.options] == [0.5, 1.0, 2.0]
    assert explorer.place.description == "lambda"


def test_controls_have_labels_and_the_image_a_description(explorer):
    assert explorer.kind.description == "move along"
    assert '<img alt="Alpha 0.5.' in explorer.picture.value
    assert 'aria-live="polite"' in explorer.sentence.value


def test_the_ten_parameters_follow_the_line():
    assert merged_ten(LINES[0], 0.8)[2][7] == pytest.approx(0.2 * 0.004 + 0.8 * 0.17)
    assert merged_ten(LINES[1], 2.0)[2][3] == pytest.approx(-0.62)
    assert "cancel exactly" in told(LINES[1], 2.0)
    assert "−0.036 is left" in told(LINES[0], 0.8)
