"""Costs are compared only between outputs that agree, held against float64 formulas."""

import shutil

import exact
import naive
import pytest
import torch
import yaml
from agreement import compare
from costs import Cost, markdown, ratios
from end_to_end import METHODS, mergekit_recipe, our_recipe
from measuring import Measurement
from mergekit.config import MergeConfiguration
from mergekit.io.tasks import LoaderCache
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
from safetensors.torch import load_file, save_file

from mergelab import merge
from mergelab.zoo.shapes import Shape, write_models


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("agreement") / "models"
    write_models(Shape(128, 2, 192, 4, 2, 32, vocabulary=1200), folder)
    return folder


@pytest.fixture(scope="module")
def outputs(models):
    """Folders of what both tools make of the benchmark's own recipes, method by method."""
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(models)
        LoaderCache.loaders.clear()
        for method in METHODS:
            recipe = models.parent / f"{method}.yaml"
            recipe.write_text(yaml.safe_dump(our_recipe(method)))
            ours, theirs = (models.parent / f"{method}_{who}" for who in ("ours", "theirs"))
            merge(recipe, ours)
            options = MergeOptions(
                lora_merge_cache=str(models.parent / "loras"),
                random_seed=0,
                write_model_card=False,
                quiet=True,
            )
            configuration = MergeConfiguration.model_validate(mergekit_recipe(method))
            run_merge(configuration, str(theirs), options)
            made[method] = ours, theirs
    return made


@pytest.mark.parametrize("method", METHODS)
def test_the_two_recipes_of_a_method_give_models_that_agree(models, outputs, method):
    found = compare(method, models, *outputs[method])
    assert found["agree"], found
    assert found["untouched_equal"]
    assert compare(method, models, outputs[method][0])["agree"]


OTHER = {"ties": "linear", "linear": "dare_ties", "slerp": "ties", "dare_ties": "linear"}


@pytest.mark.parametrize(("method", "other"), OTHER.items())
def test_the_output_of_another_method_does_not_pass(models, outputs, method, other):
    ours, theirs = outputs[method]
    assert not compare(method, models, ours, outputs[other][1])["agree"]
    assert not compare(method, models, outputs[other][0], theirs)["agree"]


@pytest.mark.parametrize("method", METHODS)
def test_the_base_itself_does_not_pass_for_a_merge(models, method):
    assert not compare(method, models, models / "base", models / "base")["agree"]


@pytest.mark.parametrize(
    "name",
    ["model.norm.weight", "model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight"],
)
def test_one_wrong_tensor_is_noticed(models, outputs, tmp_path, name):
    ours, theirs = outputs["ties"]
    spoilt = shutil.copytree(ours, tmp_path / "spoilt")
    tensors = load_file(spoilt / "model.safetensors")
    tensors[name].view(-1)[:40] *= 1.1
    save_file(tensors, spoilt / "model.safetensors")
    assert not compare("ties", models, spoilt, theirs)["agree"]


def test_the_float64_formulas_are_those_of_plain_loops():
    generator = torch.Generator().manual_seed(3)
    base, *deltas = (torch.randn(40, generator=generator, dtype=torch.float64) for _ in range(3))
    lists = [delta.tolist() for delta in deltas]
    close = {"rtol": 1e-12, "atol": 1e-12}

    def same(found, expected):
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), **close)

    same(exact.ties(base, deltas), naive.ties(lists, [0.5, 0.5], [1.0, 1.0]))
    same(exact.linear(base, deltas), naive.weighted_sum(lists, [0.5, 0.5]))
    same(exact.task_arithmetic(base, deltas), naive.weighted_sum(lists, [1.0, 1.0]))
    arc = naive.slerp(*(delta.numpy() for delta in deltas), 0.5)
    same(exact.slerp_of_task_vectors(base, deltas), arc.tolist())
    full = naive.slerp(*((base + delta).numpy() for delta in deltas), 0.5)
    same(exact.slerp_of_weights(base, deltas), (full - base.numpy()).tolist())


def test_the_average_of_dare_ties_is_that_over_all_masks():
    """Doubled survivors: both kept, one kept, none kept; a quarter of the time each."""
    first, second = torch.tensor([1.0, 1.0]).double(), torch.tensor([3.0, -3.0]).double()
    both = [4.0, -6.0]  # the mean of 2 and 6; -6 alone, which outweighs 2
    expected = [(both[i] + 2 * first[i] + 2 * second[i]) / 4 for i in (0, 1)]
    found = exact.dare_ties_mean(torch.zeros(2), [first, second])
    assert found.tolist() == pytest.approx([float(value) for value in expected])


def cost(seconds, peak):
    return Cost("command", [Measurement(s, peak, 0, 10**9) for s in seconds])


COSTS = {
    "copy": cost([1.0, 2.0, 9.0], 10**7),
    "mergelab": cost([10.0, 8.0, 30.0], 2 * 10**9),
    "mergekit": cost([60.0], 9 * 10**9),
}


def test_ratios_are_of_median_times_and_highest_peaks():
    assert ratios(COSTS) == {
        "time_ours_to_copy": 5.0,
        "time_mergekit_to_ours": 6.0,
        "peak_mergekit_to_ours": 4.5,
    }


def test_no_ratio_is_printed_where_outputs_differ():
    agreement = {"agree": False, "floor": 0.05, "error_ours": 0.05, "error_theirs": 0.9}
    result = {"shape": "1b", "method": "ties", "costs": COSTS, "agreement": agreement}
    last = markdown([result | {"ratios": None}])[-1].splitlines()[-1]
    assert last.count("outputs differ") == 3
    assert "6.0" not in last
    assert "6.0" in markdown([result | {"ratios": ratios(COSTS)}])[-1].splitlines()[-1]
