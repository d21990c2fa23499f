"""The interference explorer and its plots: controls reach the numbers, figures say what is seen."""

import io

import pytest
import torch
from PIL import Image

from mergelab.notebook.interference_explorer import InterferenceExplorer, short_name
from mergelab.notebook.interference_figure import explorer_figure, look, merged_by_each
from mergelab.notebook.interference_plots import (
    ledger_plot,
    one_weight_plot,
    overlap_plot,
    pair_plot,
)
from mergelab.notebook.interference_views import Ledger, shares_by_chance
from mergelab.notebook.ten import ten_parameters
from mergelab.notebook.weights import Changes


def changes():
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "model.layers.0.mlp.up_proj.weight": (20, 6),
        "model.layers.0.self_attn.q_proj.weight": (16, 16),
        "model.layers.1.self_attn.q_proj.weight": (16, 16),
        "model.layers.1.self_attn.k_proj.weight": (8, 16),
    }
    deltas = {
        name: [torch.randn(shape, generator=generator) for _ in range(2)]
        for name, shape in shapes.items()
    }
    return Changes(("a", "b"), {name: torch.zeros(shape) for name, shape in shapes.items()}, deltas)


@pytest.fixture
def explorer():
    return InterferenceExplorer(changes())


def test_it_opens_on_the_query_projection_of_layer_1(explorer):
    assert (explorer.layer.value, explorer.matrix.value) == ("layer 1", "q_proj")
    assert 'alt="layer 1, q_proj. Top 50% counts as changed.' in explorer.picture.value
    assert "Row 1, column 1: persona" in explorer.sentence.value


@pytest.mark.parametrize(
    ("control", "value"),
    [
        ("layer", "layer 0"),
        ("matrix", "k_proj"),
        ("share", 0.2),
        ("row", 5),
        ("column", 7),
        ("method", "TIES"),
    ],
)
def test_every_control_redraws_the_figure(explorer, control, value):
    before = explorer.picture.value
    getattr(explorer, control).value = value
    assert explorer.picture.value != before


def test_the_seed_changes_dare_and_nothing_else(explorer):
    before = explorer.view()
    explorer.seed.value = 3
    after = explorer.view()
    changed = [n for n in before.merged if not torch.equal(before.merged[n], after.merged[n])]
    assert changed == ["DARE"]


def test_another_layer_offers_its_own_matrices_and_keeps_the_same_one_where_it_can(explorer):
    explorer.layer.value = "layer 0"
    assert explorer.matrix.options == ("up_proj", "q_proj")
    assert explorer.matrix.value == "q_proj"
    explorer.matrix.value = "up_proj"
    assert (explorer.row.max, explorer.column.max) == (12, 6)


def test_the_ten_parameters_are_the_ones_of_the_table(explorer):
    explorer.row.value, explorer.column.value = 9, 9
    explorer.layer.value = "ten parameters"
    assert (explorer.row.value, explorer.column.value) == (2, 5)
    explorer.row.value, explorer.column.value = 1, 1
    assert "persona +0.08, agentic −0.05 (opposite); average +0.015" in explorer.sentence.value


def test_every_control_has_a_label_and_the_sentence_is_announced(explorer):
    controls = [explorer.layer, explorer.matrix, explorer.share, explorer.row, explorer.column]
    assert all(each.description for each in [*controls, explorer.method, explorer.seed])
    assert 'aria-live="polite"' in explorer.sentence.value


def test_ranks_are_taken_over_the_whole_matrix_and_not_over_the_patch():
    first, second = torch.ones(20, 20), torch.ones(20, 20)
    first[:12, :12] = 0.1
    view = look(first, second, share=0.5)
    assert view.first.shape == (12, 12)
    assert (view.relation == 1).all()  # the second's equal magnitudes all tie, the first's are low
    assert view.shares.same == pytest.approx(1 - 144 / 400)


def test_methods_on_two_numbers_are_as_worked_by_hand():
    merged = merged_by_each(torch.tensor([0.08, 0.3]), torch.tensor([-0.05, 0.1]), density=1.0)
    assert merged["average"].tolist() == pytest.approx([0.015, 0.2])
    assert merged["sum"].tolist() == pytest.approx([0.03, 0.4])
    assert merged["TIES"].tolist() == pytest.approx([0.08, 0.2])
    assert merged["DARE"].tolist() == pytest.approx([0.03, 0.4])
    ratio = merged["SLERP"] / merged["average"]
    assert float(ratio[0]) == pytest.approx(float(ratio[1]))
    assert float(ratio[0]) > 1


def test_figures_draw_and_say_what_they_show():
    curve = {q: shares_by_chance(q) for q in (0.1, 0.3, 0.6)}
    account = Ledger(0.5, 0.13, 0.14, 0.27, 0.29, 0.28)
    pictures = {
        "average is 0.165": one_weight_plot(0.15, {"persona": 0.08, "agentic": -0.05}),
        "Opposite signs at 1, 2, 5, 7, 9, 10": pair_plot(*ten_parameters(), title="Ten"),
        "top 30%: no overlap 91.0%": overlap_plot(curve, {"layer 0": curve}, title="Overlap"),
        "opposite signs take 27%": ledger_plot({"a pair": account}),
        "In the patch": explorer_figure(look(*(t.reshape(2, 5) for t in ten_parameters()))),
    }
    for words, picture in pictures.items():
        assert words in picture.alt
        image = Image.open(io.BytesIO(picture.png))
        assert image.width > 300
        assert any(axis.get_xlabel() for axis in picture.figure.axes)


def test_plots_draw_where_there_is_nothing_to_show():
    zero = torch.zeros(4)
    assert "Opposite signs at none" in pair_plot(zero, zero).alt
    assert explorer_figure(look(torch.zeros(3, 3), torch.zeros(3, 3))).png
    assert ledger_plot({"nothing": Ledger(0, 0, 0, 0, 0, 0)}).png
    assert overlap_plot({0.2: shares_by_chance(0.2)}, published=None).png


def test_tensor_names_are_said_shortly():
    assert short_name("model.layers.3.mlp.down_proj.weight") == ("layer 3", "down_proj")
    assert short_name("lm_head.weight") == ("outside layers", "lm_head")
