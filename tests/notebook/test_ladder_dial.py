"""The conflict dial: it shows the table it is given, and says in words what that shows."""

import pytest

from mergelab import notebook as nb
from mergelab.evaluation.ladder import LadderRow
from mergelab.evaluation.statistics import Interval
from mergelab.notebook.ladder_dial import ConflictDial, rung_sentence
from mergelab.notebook.ladder_figure import SHOWN


def _row(rung, method, scale, combined, ahead=None, lam=None):
    rate = Interval(combined, combined - 0.02, combined + 0.03)
    other = Interval(combined - 0.1, combined - 0.2, combined)
    return LadderRow(
        own_style=rung,
        method=method,
        scale=scale,
        lam=lam,
        rates={"persona": rate, "agentic": other, "combined": rate},
        ties_ahead=ahead,
        magnitude_kept=None,
        opposite=0.05,
        cosine=0.012,
        sizes=(0.12, 0.08),
    )


@pytest.fixture
def rows():
    made = []
    for rung, sunk in ((0, 0.0), (10, 0.3)):
        made += [
            _row(rung, "persona", "alone", 0.97),
            _row(rung, "agentic", "alone", 0.95),
            _row(rung, "linear", "default", 0.75 - sunk, Interval(0.15, 0.1, 0.2)),
            _row(rung, "slerp", "default", 0.91 - sunk, Interval(-0.01, -0.05, 0.03)),
            _row(rung, "ties", "default", 0.90 - sunk, lam=1.0),
            _row(rung, "task_arithmetic", "best", 0.93 - sunk, Interval(-0.04, -0.06, -0.02), 0.85),
            _row(rung, "ties", "best", 0.89 - sunk, lam=1.2),
        ]
    return made


@pytest.fixture
def dial(rows):
    return ConflictDial(rows)


def test_it_opens_on_the_pair_without_conflict_at_the_default_scale(dial):
    assert dial.rung.value == 0
    assert "Own style 0%." in dial.sentence.value
    assert "linear .5 / .5 0.750 [0.730, 0.780]" in dial.sentence.value


@pytest.mark.parametrize(
    ("control", "value"), [("rung", 10), ("scale", "best"), ("score", "agentic")]
)
def test_every_control_redraws_the_figure(dial, control, value):
    before = dial.picture.value
    getattr(dial, control).value = value
    assert dial.picture.value != before


def test_every_control_has_a_label_and_the_image_has_a_description(dial):
    assert all(control.description for control in (dial.rung, dial.scale, dial.score))
    assert '<img alt="Combined scores of three methods at the default scale' in dial.picture.value
    assert 'aria-live="polite"' in dial.sentence.value


def test_the_sentence_gives_the_verdict_that_the_interval_gives(rows):
    said = rung_sentence(rows, 10)
    assert "persona 0.970 and agentic 0.850" in said  # each on its own skill
    assert "cosine 0.012" in said
    assert "of the base's norm, persona's is 12.0% and agentic's is 8.0%" in said
    assert "Ties minus linear .5 / .5: +0.150 [+0.100, +0.200]: ties is ahead, beyond" in said
    assert "Ties minus slerp, t .5: -0.010 [-0.050, +0.030]: no difference beyond noise" in said
    best = rung_sentence(rows, 10, "best")
    assert "task arithmetic at lambda 0.85 0.630" in best
    assert "ties, density .5 at lambda 1.2 0.590" in best
    assert "-0.040 [-0.060, -0.020]: ties is behind, beyond noise" in best
    assert "linear" not in best
    assert "minus slerp" not in best  # its difference was measured at the default scale


@pytest.mark.parametrize("scale", SHOWN)
def test_the_figure_shows_every_method_of_its_scale_on_every_rung(rows, scale):
    picture = nb.ladder_plot(rows, scale=scale)
    (axis,) = picture.figure.axes
    assert len(axis.containers) == 3
    assert all(len(line[0].get_xdata()) == 2 for line in axis.containers)
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0%", "10%"]
    linear = "linear .5 / .5: 0.750 at 0%, 0.450 at 10%"
    assert (linear in picture.alt) == (scale == "default")


def test_the_shipped_table_opens_without_being_named():
    dial = nb.ConflictDial()
    assert [value for _, value in dial.rung.options] == [0, 2, 5, 10]
    for scale in SHOWN:
        dial.scale.value = scale
        dial.rung.value = 10
        assert "Own style 10%." in dial.sentence.value
