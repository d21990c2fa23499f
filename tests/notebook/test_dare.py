"""Random drops in lessons: dice that converge, plots with words, verdicts that follow numbers."""

import pytest
import torch

from mergelab.evaluation.results import Evaluation, Outcome, SkillResult
from mergelab.evaluation.scorers import Score
from mergelab.evaluation.suites import Item
from mergelab.notebook.dare_dice import DareDice
from mergelab.notebook.dare_plots import (
    dice_plot,
    drop_plot,
    drop_sweep_plot,
    noise_plot,
    scaled_plot,
    survival_plot,
)
from mergelab.notebook.dare_rolls import (
    Clash,
    Noise,
    Rolls,
    TableRow,
    clashes,
    drops_table_rows,
    layer_inputs,
    layer_noise,
    lead,
)
from mergelab.notebook.dare_words import (
    clash_sentence,
    ninety_verdict,
    noise_sentence,
    pair_verdict,
    rolls_table,
    scaled_verdict,
    speed_sentence,
    spread_sentence,
)
from mergelab.notebook.weights import Changes


def line(models, density, mean, *, rescale=True, scale=1.0, method="dare_linear", skill=""):
    return TableRow(
        models,
        method,
        scale,
        rescale,
        density,
        skill or models,
        80,
        3,
        mean,
        mean - 0.02,
        mean,
        0.01,
    )


SINGLE = [
    *(line("persona", d, m) for d, m in ((1.0, 1.0), (0.5, 0.98), (0.1, 0.6), (0.01, 0.0))),
    *(line("agentic", d, m) for d, m in ((1.0, 0.9), (0.5, 0.9), (0.1, 0.88), (0.01, 0.0))),
    line("persona", 0.5, 0.5, rescale=False),
]
SCALED = [
    *(line("persona", d, m) for d, m in ((1.0, 1.0), (0.3, 0.9))),
    *(line("persona", d, m, scale=2.0) for d, m in ((1.0, 1.0), (0.3, 0.4))),
]
PUBLISHED = {"persona": {0.1: 0.72, 0.3: 0.88, 0.5: 0.91}}
PAIR = [
    line("pair", d, m, method=method, skill="persona")
    for method in ("dare_linear", "dare_ties")
    for d, m in ((1.0, 0.9), (0.5, 0.9), (0.3, 0.81), (0.1, 0.4))
]


def rolls(name, *rights):
    """One evaluation per number: so many of ten items right."""
    results = []
    for right in rights:
        outcomes = [
            Outcome(
                Item(id=str(n), template=str(n), input="x", expected="y"),
                "",
                Score(n < right, 0.0, ""),
            )
            for n in range(10)
        ]
        results.append(Evaluation(name, "dev", {"agentic": SkillResult.of("agentic", outcomes)}))
    return Rolls(name, tuple(results), 1.0)


def test_the_mean_of_many_rolls_comes_close_to_the_change():
    dice = DareDice(density=0.5)
    alone = float((dice.running - dice.delta).norm())
    dice.roll(400)
    assert dice.rolls == 401
    assert float((dice.running - dice.delta).norm()) < 0.15 * float(dice.delta.norm()) < alone


def test_every_roll_is_the_change_divided_by_the_density_or_zero():
    dice = DareDice({"two": torch.tensor([1.0, -2.0])}, density=0.25)
    for _ in range(10):
        assert all(
            s in (0.0, 4 * d) for s, d in zip(dice.sample.tolist(), [1.0, -2.0], strict=True)
        )
        dice.roll()


def test_the_buttons_roll_and_start_over_and_the_sentence_counts():
    dice = DareDice()
    before = dice.picture.value
    dice.once.click()
    assert "The mean of 2 rolls" in dice.sentence.value
    assert dice.picture.value != before
    dice.often.click()
    assert dice.rolls == 22
    dice.again.click()
    assert "The mean of 1 roll is" in dice.sentence.value


def test_another_density_or_task_vector_starts_over():
    dice = DareDice({"a": torch.ones(3), "b": torch.ones(5)})
    dice.roll(4)
    dice.density.value = 1.0
    assert dice.rolls == 1
    assert torch.equal(dice.sample, dice.delta)
    dice.example.value = "b"
    assert dice.running.shape == (5,)


@pytest.mark.parametrize(
    "picture",
    [
        lambda: drop_plot(torch.randn(20, 20), 0.7),
        lambda: noise_plot([Noise(0.5, 1.0, 0.5, 0.1), Noise(0.9, 3.0, 1.5, 0.3)]),
        lambda: survival_plot(SINGLE),
        lambda: scaled_plot(SCALED),
        lambda: drop_sweep_plot(PAIR, PUBLISHED),
        lambda: dice_plot(torch.ones(3), torch.tensor([2.0, 0, 2]), torch.ones(3), 5, 2.0),
    ],
)
def test_each_figure_draws_and_describes_itself(picture):
    drawn = picture()
    assert len(drawn.png) < 120_000
    assert len(drawn.alt) > 60
    assert any(axis.get_xlabel() for axis in drawn.figure.axes)


def test_noise_in_weights_follows_the_root_of_p_over_one_minus_p():
    torch.manual_seed(0)
    found = layer_noise(torch.zeros(30, 40), torch.randn(30, 40), torch.randn(3, 40), [0.5, 0.9])
    assert [each.weight for each in found] == pytest.approx([1.0, 3.0], rel=0.1)
    assert all(each.change == pytest.approx(each.output) for each in found)  # no base


def test_a_layers_inputs_give_its_output():
    import mergelab

    model, tokenizer = mergelab.load_model("base")
    name = "model.layers.0.self_attn.q_proj"
    inputs = layer_inputs(model, tokenizer, f"{name}.weight", "Hello")
    assert inputs.shape[1] == model.get_submodule(name).weight.shape[1]
    assert not model.get_submodule(name)._forward_hooks


def test_a_drop_leaves_density_squared_of_the_conflicts():
    torch.manual_seed(0)
    first = torch.randn(200, 200)
    found = Changes(("a", "b"), {"w": first * 0}, {"w": [first, -first]})
    assert clashes(found) == Clash(1.0, pytest.approx(0.5))
    after = clashes(found, 0.3)
    assert after.entries == pytest.approx(0.09, abs=0.01)
    assert after.cancelled == pytest.approx(0.15, abs=0.02)


def test_verdicts_say_what_the_numbers_say():
    text = ninety_verdict(SINGLE)
    assert "Persona scores 1.00 whole, 0.60 with 90% dropped" in text
    assert "(80 items)" in text
    assert "That 90% can go holds for one of the two here." in text
    assert "That 99% can go is not confirmed here." in text
    assert "keeps 90% at 1 times its size, 40% at 2 times its size" in scaled_verdict(SCALED)
    assert "less gracefully" in scaled_verdict(SCALED)
    assert "persona 90% (0.90 to 0.81)" in pair_verdict(PAIR, PUBLISHED)
    assert "the same here" in pair_verdict(PAIR, PUBLISHED)
    assert "next to nothing" in noise_sentence(Noise(0.9, 3.0, 2.9, 0.3))
    assert "averaged out 50% of it" in noise_sentence(Noise(0.9, 3.0, 1.5, 0.3))
    assert "fell as much" in clash_sentence(Clash(0.5, 0.2), Clash(0.05, 0.02), 0.3)
    assert "faster" in speed_sentence(2.0, 1.0)
    assert "less than a tenth" in speed_sentence(1.0, 1.05)


def test_overlapping_seeds_are_called_so():
    assert "On average 'a' leads 'b' by 0.100" in spread_sentence(
        rolls("a", 9, 7), rolls("b", 8, 6)
    )
    assert "1 of 4 pairs" in spread_sentence(rolls("a", 9, 7), rolls("b", 8, 6))
    assert "one seed would do" in spread_sentence(rolls("a", 9, 9), rolls("b", 5, 5))


def test_a_lead_counts_which_items_were_drawn():
    # The same gap of one item in ten with each of four seeds: the seeds add no chance, items do.
    gap = lead(rolls("a", 9, 9, 9, 9), rolls("b", 8, 8, 8, 8))
    assert gap.estimate == pytest.approx(0.1)
    assert gap.low < 0 < gap.high
    assert lead(rolls("a", 10, 10, 10, 10), rolls("b", 1, 1, 1, 1)).low > 0


def test_a_lead_counts_which_seeds_were_drawn():
    # Gaps of .9 and .1 with two seeds: their mean is .5, its standard error .4, and Student's
    # quantile for one degree of freedom 12.7.
    gap = lead(rolls("a", 10, 10), rolls("b", 1, 9))
    assert gap.estimate == pytest.approx(0.5)
    assert gap.low < 0.5 - 12.7 * 0.4


def test_a_table_of_rolls_shows_mean_and_spread():
    text = repr(rolls_table([rolls("whole", 10), rolls("dropped", 8, 6)]))
    assert "0.700" in text
    assert "0.141" in text  # the standard deviation of .8 and .6


def test_the_committed_table_holds_what_the_lesson_shows():
    rows = drops_table_rows()
    assert {row.density for row in rows if row.models == "pair"} == {0.1, 0.2, 0.3, 0.4, 0.5, 1.0}
    assert all(row.seeds >= 3 for row in rows if row.density < 1)
    assert all(row.low <= row.mean <= row.high for row in rows)
