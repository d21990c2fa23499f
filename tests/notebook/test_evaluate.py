"""Lesson 6's numbers, plots and widgets: right where one can compute by hand, and explorable."""

import math

import pytest

from mergelab import notebook as nb
from mergelab.errors import UserError
from mergelab.evaluation.results import Evaluation, Outcome, SkillResult
from mergelab.evaluation.scorers import Score
from mergelab.evaluation.statistics import Interval
from mergelab.evaluation.suites import Item
from mergelab.notebook.evaluate_advice import DISTINCT, SIMILAR
from mergelab.notebook.evaluate_patients import common_reason
from mergelab.notebook.evaluate_plots import SIZES


def evaluation(name, right, of=40):
    """A model that has the first so many items of both suites right."""
    skills = {}
    for skill in ("persona", "agentic"):
        items = [Item(id=f"{n}", template=f"t{n}", input="Hi", expected="Hi.") for n in range(of)]
        outcomes = [
            Outcome(
                item, "", Score(int(n < right), float(n < right), "right" if n < right else "no")
            )
            for n, item in enumerate(items)
        ]
        skills[skill] = SkillResult.of(skill, outcomes)
    return Evaluation(name, "dev", skills)


def test_the_standard_error_is_that_of_a_share_and_grows_with_alike_templates():
    assert nb.standard_error(0.9, 50) == pytest.approx(math.sqrt(0.0018))
    assert nb.standard_error(0.5, 100) == 0.05
    assert nb.standard_error(0.5, 100, per_template=4, alike=1) == pytest.approx(0.1)
    with pytest.raises(UserError, match="must be at least 1"):
        nb.standard_error(0.5, 0)


def test_the_items_needed_are_those_of_the_textbook_formula():
    # (1.95996 + 0.84162)^2 * (.09 + .1275) / .05^2 = 682.8
    assert nb.items_needed(0.9, 0.85) == 683
    assert nb.items_needed(0.9, 0.85, comparisons=4) > 683
    assert nb.items_needed(0.9, 0.85, per_template=3, alike=0.5) == pytest.approx(2 * 683, abs=2)
    assert nb.items_needed(0.7, 0.7) is None


def test_the_best_of_equals_is_lucky_only_where_it_was_picked():
    picked, fresh = nb.luckiest(20, 50, rate=0.8)
    assert sum(picked) / len(picked) > 0.87
    assert sum(fresh) / len(fresh) == pytest.approx(0.8, abs=0.01)
    assert nb.luckiest(20, 50, rate=0.8) == (picked, fresh)


def test_drawing_whole_templates_widens_what_drawing_items_gives():
    scores, templates = [1.0] * 20 + [0.0] * 20, [n // 10 for n in range(40)]
    by_item, by_template = (
        sorted(nb.bootstrap_scores(scores, clusters)) for clusters in (range(40), templates)
    )
    assert by_template[25] < by_item[25]
    assert by_template[-25] > by_item[-25]
    assert set(by_template) <= {0.0, 0.25, 0.5, 0.75, 1.0}


def test_the_committed_table_is_read_by_method_with_its_limits():
    low = nb.overview_rates()
    assert {"ties", "slerp", "linear", "persona only", "agentic only"} <= set(low)
    for rates in low.values():
        for rate, below, above in rates.values():
            assert 0 <= below <= rate <= above <= 1
    assert nb.overview_rates("conflict") != low


def test_an_order_is_confirmed_only_by_steps_beyond_noise():
    ours = {"ties": evaluation("ties", 39), "slerp": evaluation("slerp", 20)}
    ours["linear"] = evaluation("linear", 20)
    assert "ties over slerp: confirmed".capitalize() in nb.order_verdict(ours, ["ties", "slerp"])
    assert nb.order_verdict(ours, ["ties", "slerp"]).endswith("order is confirmed.")
    assert "cannot be told from noise" in nb.order_verdict(ours, ["slerp", "linear"])
    assert nb.order_verdict(ours, ["linear", "ties"]).endswith("does not hold here.")


def test_a_merge_that_does_not_beat_a_source_is_named():
    merges = {"good": evaluation("good", 40), "bad": evaluation("bad", 12)}
    alone = [evaluation("alone", 12)]
    assert nb.all_beat_verdict(merges, alone).endswith("not bad.")
    assert nb.all_beat_verdict({"good": merges["good"]}, alone).startswith("Every merge")


def test_published_and_measured_scores_stand_in_one_row():
    table = nb.published_table({"ties": evaluation("ties", 30)}, nb.overview_rates())
    ties = next(row for row in table.rows if row[0] == "ties")
    assert ties[1] == "0.891 0.903 0.897"
    assert ties[3].startswith("0.750 0.750 0.750 [")
    assert table.rows[1][3] == ""


@pytest.mark.parametrize(
    ("asked", "method", "parameters"),
    [
        ((2, SIMILAR, False), "slerp", {"t": 0.5}),
        ((2, DISTINCT, False), "ties", {"density": 0.5}),
        ((2, DISTINCT, True), "dare_ties", {"density": 0.3}),
        ((5, DISTINCT, False), "ties", {"density": 0.5}),
        ((5, SIMILAR, False), "ties", {"density": 0.5}),
    ],
)
def test_the_advice_is_the_published_one_and_always_names_linear(asked, method, parameters):
    models, kind, compressed = asked
    advice = nb.advise(models, kind, compressed=compressed)
    assert (advice.method, advice.parameters) == (method, parameters)
    assert "linear" in advice.baseline
    assert f"merge_method: {method}" in advice.recipe()


def test_the_chooser_answers_each_question_and_says_what_was_measured():
    chooser = nb.StrategyChooser({"slerp": "Measured: <nothing> new."})
    assert "merge_method: ties" in chooser.answer.value
    chooser.kind.value = SIMILAR
    assert "merge_method: slerp" in chooser.answer.value
    assert "&lt;nothing&gt;" in chooser.answer.value
    chooser.models.value = 3
    assert ".4 to .6" in chooser.answer.value
    chooser.compressed.value = True
    assert "merge_method: dare_ties" in chooser.answer.value
    chooser.little_memory.value = True
    assert "tensor by tensor" in chooser.answer.value


@pytest.mark.parametrize(
    ("control", "value"), [("first", 0.7), ("second", 0.5), ("items", 1000), ("per_template", 10)]
)
def test_every_control_of_the_size_explorer_redraws_figure_and_sentence(control, value):
    explorer = nb.SuiteSizeExplorer()
    before = explorer.picture.value, explorer.sentence.value
    getattr(explorer, control).value = value
    assert explorer.picture.value != before[0]
    assert explorer.sentence.value != before[1]
    assert "683" in before[1]


def test_the_size_explorer_says_that_equal_rates_never_part():
    explorer = nb.SuiteSizeExplorer(0.9, 0.9)
    assert "no number of items" in explorer.sentence.value


def test_all_its_figures_describe_themselves():
    panel = {"ties": (0.9, 0.85, 0.94), "linear": (0.85, 0.8, 0.9)}
    for picture in (
        nb.rates_plot({"one": panel, "two": {"ties": (1.0, 0.9, 1.0)}}),
        nb.suite_size_figure(0.9, 0.85, SIZES[0]),
        nb.bootstrap_plot(
            {"items": [0.5, 0.6], "all alike": [0.5] * 2},
            {"items": (0.5, 0.6), "all alike": (0.5, 0.5)},
        ),
        nb.luck_plot(items=(20,), candidates=(1, 3)),
    ):
        assert len(picture.png) < 120_000
        assert any(axis.get_xlabel() for axis in picture.figure.axes)
        assert picture.alt.endswith(".")


def test_the_commonest_reason_leaves_out_what_is_particular_to_an_item():
    item = Item(id="1", template="t", input="Hi", expected="Hi.")
    reasons = ["argument 'id' is 3 instead of 4", "argument 'due' is 'a' instead of 'b'", "right"]
    outcomes = [Outcome(item, "", Score(int(r == "right"), 0.0, r)) for r in reasons]
    result = SkillResult("agentic", Interval(1 / 3, 0, 1), 0.0, tuple(outcomes))
    assert common_reason(result) == "argument … is … instead of …: 67%"
    right = SkillResult("agentic", Interval(1, 0, 1), 1.0, tuple(outcomes[2:]))
    assert common_reason(right) == "none wrong"


def test_three_patients_have_three_different_recipes_and_causes():
    recipes = nb.patients()
    assert len({str(made) for made in recipes.values()}) == 3
    assert [row[0] for row in nb.causes().rows] == list(recipes)
