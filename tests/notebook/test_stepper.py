"""The stepper: moving a control changes the figure, the numbers and the sentence."""

import gc

import matplotlib.figure
import pytest
import torch

from mergelab.notebook.stepper import Example, TiesStepper, layer_example


@pytest.fixture
def stepper():
    return TiesStepper()


def test_it_opens_on_the_three_models_at_the_first_step(stepper):
    assert stepper.steps().names == ("persona", "agentic", "third")
    assert "Step 1 of 4" in stepper.picture.value
    assert stepper.sentence.value.count("Entry 1:") == 1


@pytest.mark.parametrize(
    ("control", "value"),
    [("step", 4), ("entry", 6), ("density", 1.0), ("election", "count")],
)
def test_every_control_redraws_the_figure(stepper, control, value):
    stepper.step.value = 3
    before = stepper.picture.value
    getattr(stepper, control).value = value
    assert stepper.picture.value != before


def test_a_weight_of_zero_takes_a_model_out_of_the_vote(stepper):
    stepper.step.value, stepper.entry.value = 4, 6
    assert stepper.steps().merged[5] == pytest.approx(0.21)
    stepper.weights[2].value = 0.0
    assert stepper.steps().merged[5] == pytest.approx(-0.065)
    assert "−0.065" in stepper.sentence.value


def test_density_and_election_reach_the_numbers(stepper):
    stepper.density.value, stepper.election.value = 1.0, "count"
    steps = stepper.steps()
    assert (steps.trimmed == steps.raw).all()
    assert steps.sign[8] == 1  # persona -0.04 against agentic +0.03 and third +0.09


def test_another_example_brings_its_own_models_and_length(stepper):
    stepper.entry.value = 10
    stepper.example.value = "ten parameters, two models"
    assert stepper.weights[2].layout.display == "none"
    shown = [stepper.example, stepper.step, stepper.density, *stepper.weights[:2]]
    assert all(control.layout.display is None for control in shown)
    assert stepper.steps().raw.shape == (2, 10)
    short = TiesStepper({"short": Example(("a", "b"), [torch.tensor([1.0, -2.0, 3.0])] * 2)})
    assert short.entry.max == 3
    assert [slider.description for slider in short.weights] == ["weight a", "weight b"]


def test_a_shorter_example_moves_the_followed_entry_into_range():
    examples = {
        "long": Example(("a", "b"), [torch.arange(1.0, 9.0)] * 2),
        "short": Example(("a", "b"), [torch.tensor([1.0, 2.0])] * 2),
    }
    stepper = TiesStepper(examples)
    stepper.entry.value = 8
    stepper.example.value = "short"
    assert stepper.entry.value == 2
    assert "Entry 2:" in stepper.sentence.value


def test_every_control_has_a_label_and_the_image_has_a_description(stepper):
    controls = [stepper.example, stepper.step, stepper.entry, stepper.density, stepper.election]
    assert all(control.description for control in [*controls, *stepper.weights])
    assert '<img alt="Step 1 of 4' in stepper.picture.value
    assert 'aria-live="polite"' in stepper.sentence.value


def test_moving_the_sliders_leaves_no_figures_behind(stepper):
    def alive():
        gc.collect()
        return sum(type(each) is matplotlib.figure.Figure for each in gc.get_objects())

    stepper.step.value = 2
    before = alive()
    for entry in range(2, 8):
        stepper.entry.value = entry
    assert alive() <= before + 1


def test_a_layer_example_shows_the_row_with_most_conflicts_of_the_whole_layer():
    first = torch.ones(16, 16)
    second = torch.ones(16, 16)
    second[5, :4] = -2.0
    second[3, :2] = -2.0
    example = layer_example(first, second, names=("a", "b"), density=1.0)
    assert list(example.shown) == list(range(5 * 16, 5 * 16 + 10))
    stepper = TiesStepper({"layer": example})
    stepper.density.value = 1.0
    assert stepper.steps().sign[:5].tolist() == [-1, -1, -1, -1, 1]
