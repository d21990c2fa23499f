"""Plots draw on ordinary and on edge inputs, name their axes, and describe themselves."""

import io

import pytest
import torch
from matplotlib import colors
from PIL import Image

from mergelab.evaluation.results import Evaluation, SkillResult
from mergelab.evaluation.statistics import Interval
from mergelab.notebook import style
from mergelab.notebook.layer_plots import fate_plot, patch_plot, trim_plot, vote_plot
from mergelab.notebook.plots import differences_plot, score_plot, size_plot, sweep_plot
from mergelab.notebook.steps import follow
from mergelab.notebook.steps_plot import steps_figure
from mergelab.notebook.weights import Changes, Fate, fates, norm_kept


def evaluation(name, persona, agentic):
    def skill(label, rate):
        interval = Interval(rate, max(0.0, rate - 0.04), min(1.0, rate + 0.04))
        return SkillResult(label, interval, rate, ())

    skills = {"persona": skill("persona", persona), "agentic": skill("agentic", agentic)}
    return Evaluation(name, "dev", skills)


def drawn(picture, *, axes=True):
    """The picture as an image, after checking what every figure must have."""
    image = Image.open(io.BytesIO(picture.png))
    assert image.width > 300
    assert len(picture.png) < 120_000
    assert picture.alt
    assert f'alt="{picture.alt[:10]}' in picture._repr_html_()
    if axes:
        assert any(axis.get_xlabel() for axis in picture.figure.axes)
    return image


def test_scores_draw_at_zero_one_and_between():
    models = [evaluation("persona alone", 1.0, 0.0), evaluation("TIES, density .5", 0.9, 0.85)]
    picture = score_plot(models)
    drawn(picture)
    assert [axis.get_title(loc="left") for axis in picture.figure.axes] == [
        "persona",
        "agentic",
        "combined",
    ]
    assert "persona alone 0.50; TIES, density .5 0.88" in picture.alt


def test_differences_draw_clear_and_unclear_ones():
    picture = differences_plot(
        {"one pair": [("size", Interval(0.1, 0.05, 0.15)), ("vote", Interval(0.0, -0.03, 0.03))]}
    )
    drawn(picture)
    assert "one pair, size: +0.10" in picture.alt


@pytest.mark.parametrize("published", [None, {0.3: 0.8, 0.5: 0.9}])
def test_a_sweep_draws_with_and_without_a_published_curve(published):
    measured = {d: evaluation("ties", d, d) for d in (0.05, 0.5, 1.0)}
    drawn(sweep_plot(measured, published))


def test_a_sweep_of_one_point_draws():
    drawn(sweep_plot({0.5: evaluation("ties", 0.9, 0.9)}))


def test_score_against_size_draws_in_any_order_of_sizes():
    points = [(1.2, evaluation("sum", 0.9, 0.9)), (0.7, evaluation("sum", 0.6, 0.7))]
    picture = size_plot({"task arithmetic": points}, marked=[("linear", 0.7, 0.65)])
    drawn(picture)
    assert "0.70: 0.65, 1.20: 0.90" in picture.alt


@pytest.mark.parametrize("step", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "vectors",
    [
        [torch.zeros(3), torch.zeros(3)],
        [torch.tensor([0.5])],
        [torch.tensor([1e-7, -2e-7]), torch.tensor([-1e-7, 3e-7])],
        [torch.randn(10, generator=torch.Generator().manual_seed(i)) for i in range(4)],
    ],
    ids=["all zero", "one model, one entry", "tiny", "four models"],
)
def test_every_step_draws_on_edge_vectors(vectors, step):
    drawn(steps_figure(follow(vectors, 0.5), step))


@pytest.mark.parametrize("value", [0.0, 0.02])
def test_a_patch_draws_even_where_nothing_changes(value):
    first = torch.full((16, 16), value)
    picture = patch_plot(first, -first, names=("a", "b"))
    drawn(picture)
    clashes = 144 if value else 0
    assert f"{clashes} oppose" in picture.alt


def test_a_vote_draws_a_draw():
    picture = vote_plot({"a draw": {"persona": 0.06, "agentic": -0.06}})
    drawn(picture, axes=False)
    assert "average 0, TIES 0" in picture.alt


def test_trimming_and_fates_draw():
    drawn(trim_plot([0.1, 0.5, 1.0], {"persona": [0.5, 0.9, 1.0]}, marked=(0.5,)))
    drawn(fate_plot([Fate("a", 1.0, 0.0, 0.0, 2.0), Fate("b", 0.5, 0.3, 0.2, 1.0)]))


def test_the_norm_kept_is_that_of_the_largest_entries():
    # Of 3, 4 and 0 the largest alone holds 16 of 25 of the squared norm.
    assert norm_kept([torch.tensor([3.0, -4.0, 0.0])], [1 / 3, 2 / 3]) == pytest.approx([0.8, 1.0])
    assert norm_kept([torch.zeros(4)], [0.5]) == [0.0]


def test_fates_add_up_to_the_whole_change():
    generator = torch.Generator().manual_seed(1)
    pair = [torch.randn(40, generator=generator) for _ in range(2)]
    for fate in fates(Changes(("a", "b"), {"w": torch.zeros(40)}, {"w": pair}), 0.3):
        assert fate.kept + fate.trimmed + fate.overruled == pytest.approx(1.0)
        assert min(fate.kept, fate.trimmed, fate.overruled) >= 0


def _seen_without_green(colour):
    """A colour as people without green cones see it (Machado et al. 2009, severity 1)."""
    red, green, blue = (c**2.2 for c in colors.to_rgb(colour))
    return [
        (0.367322 * red + 0.860646 * green - 0.227968 * blue),
        (0.280085 * red + 0.672501 * green + 0.047413 * blue),
        (-0.011820 * red + 0.042940 * green + 0.968881 * blue),
    ]


@pytest.mark.parametrize(
    "palette",
    [style.SOURCES[:3], (style.DROPPED, style.AGREE, style.CONFLICT)],
    ids=["sources", "what becomes of an entry"],
)
def test_colours_stay_apart_without_green_cones(palette):
    seen = [_seen_without_green(colour) for colour in palette]
    for i, one in enumerate(seen):
        for other in seen[:i]:
            assert sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5 > 0.12


def test_drawing_leaves_the_learners_own_style_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    drawn(trim_plot([0.5, 1.0], {"persona": [0.9, 1.0]}))
    assert dict(matplotlib.rcParams) == before


def test_a_difference_says_in_which_score_it_is():
    picture = differences_plot(
        {"persona": [("linear", Interval(-0.3, -0.4, -0.2))]}, what="the skill's score"
    )
    assert picture.figure.axes[0].get_xlabel() == "difference in the skill's score"
