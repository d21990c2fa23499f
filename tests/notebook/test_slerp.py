"""The pictures, numbers and sentences of the SLERP lesson, held against geometry done by hand."""

import io
import math

import pytest
import torch
from PIL import Image

import mergelab
from mergelab import notebook as nb
from mergelab.evaluation.results import Evaluation, Outcome, SkillResult
from mergelab.evaluation.scorers import Score
from mergelab.evaluation.statistics import Interval
from mergelab.evaluation.suites import load_suite
from mergelab.notebook.slerp_circle import OWN, SlerpCircle
from mergelab.notebook.slerp_weights import weight_slerp
from mergelab.notebook.weights import Changes


def drawn(picture):
    image = Image.open(io.BytesIO(picture.png))
    assert image.width > 300
    assert picture.alt
    assert any(axis.get_xlabel() for axis in picture.figure.axes)
    return image


def test_half_way_at_a_right_angle_the_chord_loses_and_the_arc_keeps():
    walk = nb.Walk((1.0, 1.0), 90.0, 0.5)
    assert walk.length("chord") == pytest.approx(1 / math.sqrt(2))
    assert walk.length("arc") == pytest.approx(1.0)
    assert walk.point("arc") == pytest.approx((math.sqrt(0.5), math.sqrt(0.5)))
    assert walk.to(1 / 3).point("arc") == pytest.approx((math.sqrt(3) / 2, 0.5))


@pytest.mark.parametrize("path", ["chord", "arc"])
def test_both_ways_start_at_the_first_and_end_at_the_second(path):
    walk = nb.Walk((2.0, 0.5), 60.0)
    assert walk.to(0.0).point(path) == pytest.approx((2.0, 0.0))
    assert walk.to(1.0).point(path) == pytest.approx((0.25, 0.5 * math.sqrt(3) / 2))


@pytest.mark.parametrize(
    ("walk", "length"),
    [
        (nb.Walk((1.0, 3.0), 0.0, 0.5), 2.0),
        (nb.Walk((1.0, 1.0), 180.0, 0.5), 0.0),
        (nb.Walk((0.0, 4.0), 90.0, 0.25), 1.0),
    ],
)
def test_without_an_arc_the_walk_takes_the_chord_and_says_so(walk, length):
    assert walk.straight
    assert walk.length("arc") == pytest.approx(length, abs=1e-9)
    assert "SLERP takes the chord, too" in nb.walk_sentence(walk)


def test_the_walk_between_two_matrices_sees_them_as_flat_vectors():
    first, second = torch.zeros(2, 3), torch.zeros(2, 3)
    first[0, 0], second[1, 2] = 3.0, -4.0
    walk = nb.walk_between(first, second, 0.25, names=("a", "b"))
    assert (walk.norms, walk.degrees, walk.t, walk.names) == ((3.0, 4.0), 90.0, 0.25, ("a", "b"))


@pytest.mark.parametrize(
    ("degrees", "norms"),
    [
        (0.0, (1.0, 1.0)),
        (7.0, (2.0, 0.1)),
        (90.0, (0.0, 1.0)),
        (90.0, (0.0, 0.0)),
        (179.0, (2.0, 0.1)),
        (180.0, (1.0, 1.0)),
    ],
)
def test_the_circle_draws_at_every_angle_and_with_a_zero_vector(degrees, norms):
    drawn(nb.slerp_figure(nb.Walk(norms, degrees, 0.3), title="A title"))


@pytest.fixture
def circle():
    return SlerpCircle({"a real pair": nb.Walk((3.0, 4.0), 80.0, names=("persona", "agentic"))})


def test_every_control_of_the_circle_redraws_it(circle):
    for control, value in (
        (circle.t, 0.25),
        (circle.angle, 45),
        (circle.norms[0], 2.0),
        (circle.norms[1], 0.5),
        (circle.pair, "a real pair"),
    ):
        before = circle.picture.value
        control.value = value
        assert circle.picture.value != before
    assert circle.walk() == nb.Walk((3.0, 4.0), 80.0, 0.25, ("persona", "agentic"))


def test_a_real_pair_hides_the_sliders_for_angle_and_norms_and_ones_own_shows_them(circle):
    circle.pair.value = "a real pair"
    assert {s.layout.display for s in (circle.angle, *circle.norms)} == {"none"}
    assert circle.t.layout.display is None
    circle.pair.value = OWN
    assert {s.layout.display for s in (circle.angle, *circle.norms)} == {None}


def test_the_circle_has_labels_a_description_and_a_spoken_sentence(circle):
    assert all(c.description for c in (circle.pair, circle.t, circle.angle, *circle.norms))
    assert '<img alt="Two arrows with chord and arc' in circle.picture.value
    assert 'aria-live="polite"' in circle.sentence.value
    assert "= 1.000. The chord has norm 0.707, which is 71% of it" in circle.sentence.value


def pair_at_right_angles(size):
    """Base [1, 0, 0] and changes of this size along the two other axes."""
    base = torch.tensor([1.0, 0.0, 0.0])
    deltas = [torch.tensor([0.0, size, 0.0]), torch.tensor([0.0, 0.0, size])]
    return Changes(("a", "b"), {"w": base}, {"w": deltas})


def test_slerp_of_full_weights_differs_from_linear_as_geometry_says():
    """Half way both factors are 1 / (2 cos(theta / 2)), theta the angle of [1, s, 0], [1, 0, s]."""
    for wanted in (0.16, 0.05):
        (found,) = weight_slerp(pair_at_right_angles(0.1), [wanted])
        cosine = 1 / (1 + wanted**2)
        theta = math.acos(cosine)
        gap = 1 / (2 * math.cos(theta / 2)) - 0.5
        sum_norm = math.sqrt(4 + 2 * wanted**2)
        assert found.angle == pytest.approx(math.degrees(theta))
        assert found.differs == pytest.approx(gap * sum_norm / (wanted / math.sqrt(2)))
        assert found.kept == pytest.approx(sum_norm / 2 / math.sqrt(1 + wanted**2))


def test_the_straight_line_of_mergekit_begins_at_its_cosine():
    """1 / (1 + s^2) exceeds .9995 below s = .02237."""
    found = weight_slerp(pair_at_right_angles(0.1), [0.0225, 0.0222])
    assert [each.straight for each in found] == [0, 1]
    assert found[0].differs_mergekit == found[0].differs > 0
    assert found[1].differs > 0 == found[1].differs_mergekit


def test_models_as_they_are_agree_with_a_merge_by_the_tool():
    pair = nb.changes(*nb.LOW)
    (found,) = weight_slerp(pair, [None])
    assert found.size == nb.relative_size(pair)
    arc = mergelab.merge(nb.recipe("slerp", t=0.5, space="weights"))
    line = mergelab.merge(nb.recipe("linear", weights=(0.5, 0.5)))
    gap = [arc.tensors[n].double() - line.tensors[n].double() for n in pair.base]
    whole = [line.tensors[n].double() - pair.base[n].double() for n in pair.base]
    square = [sum(float(x.square().sum()) for x in each) for each in (gap, whole)]
    assert found.differs == pytest.approx(math.sqrt(square[0] / square[1]), rel=1e-3)
    assert arc.report.total().weight_angle == pytest.approx(found.angle, rel=1e-6)


def test_the_table_of_full_weights_sets_the_models_own_size_in_bold():
    found = weight_slerp(pair_at_right_angles(0.1), [0.16, 0.1, 0.0025])
    table = nb.weight_slerp_table(found, as_it_is=0.1)
    assert table.strong == {1}
    assert [row[0] for row in table.rows] == ["16%", "10%", "0.25%"]
    assert table.rows[2][-1] == "0, exactly"


def scored(name, right):
    """An evaluation of 40 items a skill, of which the first so many are right."""
    skills = {}
    for skill in ("persona", "agentic"):
        items = load_suite(skill, "dev")[:40]
        outcomes = [
            Outcome(item, "", Score(n < right, float(n < right), ""))
            for n, item in enumerate(items)
        ]
        skills[skill] = SkillResult.of(skill, outcomes)
    return Evaluation(name, "dev", skills)


def test_scores_along_t_draw_with_gaps_and_published_figures():
    curves = {
        "SLERP": {0.0: scored("a", 10), 0.5: scored("b", 40)},
        "linear, SLERP's size": {0.5: scored("c", 0)},
    }
    picture = nb.t_plot(curves, {"SLERP": {0.5: 0.891}}, title="A pair")
    drawn(picture)
    assert "SLERP by t 0: 0.25, 0.5: 1.00" in picture.alt
    rows = nb.t_rows(curves, [0.0, 0.5])
    assert [row[0] for row in rows] == ["0", "0.5"]
    assert rows[0][2] == ""


@pytest.mark.parametrize(
    ("arc", "chord", "said"),
    [
        (38, 8, "SLERP is ahead holds here at every t, by more than noise, and by more than"),
        (20, 20, "No difference here is more than noise"),
        (8, 38, "SLERP is behind by more than noise somewhere, and ahead nowhere"),
    ],
)
def test_the_published_lead_is_judged_by_the_numbers(arc, chord, said):
    at = (0.3, 0.5, 0.7)
    published = dict(zip(at, (0.867, 0.891, 0.872), strict=True))
    theirs = dict(zip(at, (0.851, 0.878, 0.859), strict=True))
    text = nb.published_lead(
        {t: scored("arc", arc) for t in at},
        {t: scored("chord", chord) for t in at},
        published,
        theirs,
    )
    assert "Published: +.016, +.013 and +.013" in text
    assert said in text
    assert text.endswith("where the published best is 0.5.")


def test_size_and_path_are_told_apart_in_all_cases():
    gain, none, loss = (Interval(x, x - 0.05, x + 0.05) for x in (0.1, 0.0, -0.1))
    said = {
        (1, 0): "it was the size",
        (1, 1): "the arc adds to it",
        (0, 1): "the lead is the arc's",
        (0, -1): "the straight line is better",
        (0, 0): "no lead here",
    }
    by_sign = {1: gain, 0: none, -1: loss}
    for (size, path), words in said.items():
        assert words in nb.size_or_path(by_sign[size], by_sign[path])


def test_the_edges_are_what_the_documentation_promises():
    rows = {row[0]: row[2] for row in nb.slerp_edges().rows}
    assert rows["parallel"].startswith("[2, 4]")
    assert rows["opposite, half way"] == "[0, 0], norm 0"
    assert rows["a zero vector"].startswith("[0.25, 0.5]")
    assert rows["one entry"].startswith("[0.125]")
    assert rows["an empty tensor"] == "[], norm 0"
    assert rows["the same with norm: interpolate"].endswith("norm 1.5")
    for label in ("t outside 0 to 1", "a recipe with t = 1.5", "a recipe with three models"):
        assert rows[label].startswith("error: ")


def test_a_demonstration_with_an_unfinished_or_wrong_function_says_so_and_goes_on(capsys):
    def angle(first, second):
        raise NotImplementedError

    def slerp(first, second):
        return first[:1]

    pair = torch.ones(3), torch.ones(3)
    assert nb.attempt_number(angle, *pair) is None
    assert "Your angle is still empty" in capsys.readouterr().out
    assert nb.attempt_number(slerp, torch.ones(2, 2), torch.ones(2, 2)) is None
    assert nb.attempt_like(pair[0], slerp, *pair) is None
    assert "Your slerp stops with TypeError here" in capsys.readouterr().out
    assert nb.attempt_number(lambda *_: torch.tensor(2.5), *pair) == 2.5
