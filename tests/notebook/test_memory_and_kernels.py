"""What lesson 7 shows: the memory arithmetic, the planner, the pictures, measurements in words."""

import pytest
import torch

from autograder.exercises.memory.merge_program import merge_program
from autograder.exercises.memory.peak_bytes import peak_bytes
from mergelab import notebook as nb
from mergelab.errors import UserError
from mergelab.notebook.memory_plan import GB, WAYS, MemoryPlan
from mergelab.notebook.memory_planner import KINDS, MemoryPlanner
from mergelab.zoo.shapes import SHAPES

EIGHT = SHAPES["8b"]


@pytest.fixture
def planner():
    return MemoryPlanner()


def test_the_8b_model_takes_what_the_lesson_works_out_by_hand():
    plan = nb.plan_memory(EIGHT)
    assert plan.base / GB == pytest.approx(16.06, abs=0.005)
    assert plan.sources / GB == pytest.approx(32.1, abs=0.05)
    assert (plan.task_vectors + plan.result) / GB == pytest.approx(96.4, abs=0.05)
    adapters = nb.plan_memory(EIGHT, rank=16)
    assert adapters.sources == 2 * 4 * 41_943_040
    by_tensor = nb.plan_memory(EIGHT, way="tensor by tensor")
    assert by_tensor.total == 128256 * 4096 * (2 + 2 * 2 + 3 * 4)


@pytest.mark.parametrize("rank", [None, 16])
@pytest.mark.parametrize("bits", [16, 4])
def test_planner_and_exercise_count_alike(rank, bits):
    linears = [dims for _, dims in EIGHT.linears()]
    whole = [dims for dims in EIGHT.tensors().values() if len(dims) == 2]
    shapes = whole if rank is None else linears
    ways = {
        "all at once": {},
        "tensor by tensor": {"one_by_one": True},
        "a few rows at a time": {"one_by_one": True, "rows": 64},
    }
    copied = 2 * 128256 * 4096 * bits / 8  # the embedding and the head: no adapter changes them
    for way, settings in ways.items():
        expected = peak_bytes(shapes, 3, rank, bits, **settings)
        if rank is not None and way == "all at once":
            expected += copied
        if rank is not None and way == "tensor by tensor":
            expected = max(expected, copied / 2)
        plan = nb.plan_memory(EIGHT, 3, rank=rank, bits=bits, way=way)
        assert plan.total == pytest.approx(expected)


def test_an_unknown_way_is_an_error_that_lists_the_ways():
    with pytest.raises(ValueError, match="all at once, tensor by tensor, a few rows"):
        nb.plan_memory(EIGHT, way="slowly")


def test_the_sentence_says_whether_a_plan_fits():
    assert "that fits into 16 GB" in nb.plan_sentence(MemoryPlan(1e9, 2e9, 4e9, 2e9))
    assert "2.0 times the 16 GB" in nb.plan_sentence(MemoryPlan(32e9, 0, 0, 0))


@pytest.mark.parametrize(
    ("control", "value"),
    [
        ("model", "70B (Llama-3.1-70B)"),
        ("sources", 5),
        ("kind", list(KINDS)[1]),
        ("way", WAYS[1]),
        ("bits", 4),
        ("limit", 64),
    ],
)
def test_every_dial_of_the_planner_redraws_the_figure(planner, control, value):
    before = planner.picture.value
    getattr(planner, control).value = value
    assert planner.picture.value != before


def test_every_dial_has_a_label_and_the_sentence_is_announced(planner):
    dials = (planner.model, planner.sources, planner.kind, planner.way, planner.bits, planner.limit)
    assert all(dial.description for dial in dials)
    assert 'aria-live="polite"' in planner.sentence.value
    assert '<img alt="' in planner.picture.value


def test_adapters_part_by_part_fit_where_everything_at_once_does_not(planner):
    assert "times the 16 GB" in planner.sentence.value
    planner.kind.value, planner.way.value = list(KINDS)[1], WAYS[2]
    assert "that fits into 16 GB" in planner.sentence.value


def test_pictures_say_in_words_what_they_show():
    assert "3 programs" in nb.tiles_plot(10, 4).alt
    assert "2 lanes lie beyond the end" in nb.tiles_plot(10, 4).alt
    assert "plain 5" in nb.passes_plot({"plain": [("product", 2), ("sum", 3)]}).alt
    assert "a strip of B and one of A" in nb.factor_tile_plot().alt
    assert "8 bits: 50%, 5%" in nb.rounding_plot([0.01, 0.1], {"8 bits": [0.5, 0.05]}).alt


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_a_round_trip_moves_no_weight_by_more_than_half_a_step(bits):
    weights = torch.randn(6, 64, generator=torch.Generator().manual_seed(0))
    step = weights.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    assert ((nb.round_trip(weights, bits) - weights).abs() <= step * 0.5001).all()


def test_weights_that_are_all_zero_stay_zero():
    assert not nb.round_trip(torch.zeros(2, 64), 4).any()


def test_a_small_change_vanishes_and_a_larger_one_jumps_as_the_lesson_says():
    group = torch.tensor([0.635, 0.150, 0.0, 0.0])
    numbers, step = nb.codes(group, 8, group=4)
    assert numbers[0, 1] == 30 and step.item() == pytest.approx(0.005)
    for change, stored in ((0.002, 30), (0.003, 31)):
        moved = group.clone()
        moved[1] += change
        assert nb.codes(moved, 8, group=4)[0][0, 1] == stored


def test_a_script_that_fails_is_an_error_with_its_last_words():
    with pytest.raises(UserError, match="ZeroDivisionError"):
        nb.peak_memory("1 / 0", "")


def test_a_child_is_not_charged_for_its_parents_memory():
    held = bytearray(200_000_000)
    held[::4096] = b"x" * len(held[::4096])
    assert nb.peak_memory("pass", "") < 20_000_000


def test_programs_together_give_the_whole_merge():
    base, one = torch.arange(10.0), torch.ones(10)
    whole = nb.all_programs(merge_program, 4, base, [one], [0.5])
    assert torch.equal(whole, base + 0.5)


def unwritten(*_arguments, **_options):
    raise NotImplementedError


@pytest.mark.parametrize("wrong", [unwritten, lambda *a, **k: None, lambda *a, **k: "text"])
def test_a_learners_unfinished_function_gives_a_sentence_and_no_error(wrong, capsys):
    ones = torch.ones(5)
    assert nb.all_programs(wrong, 4, ones, [ones], [1.0]) is None
    assert nb.seconds_table(wrong, 10, 2, {"here": 1e9}) is None
    assert nb.threshold_of(wrong, [ones], 2) is None
    assert capsys.readouterr().out.count("what follows does not depend on it") == 3
