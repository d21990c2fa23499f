"""`trim_scope: global` trims, and elects draws, over all changed tensors together.

Held against the papers' code, written again with plain loops in `published`.
"""

import numpy as np
import published
import pytest
import torch
from tiny_models import weights

from mergelab import UserError, merge
from mergelab.engine import streams_of
from mergelab.methods import keep_mask
from mergelab.recipes import make_plan, parse_recipe


def changes_of(tiny, *names):
    """What the fine-tunes change, in fp32, as the merge sees it; one change for each tensor."""
    base = weights(tiny.base)
    return [
        {name: (tensor - base[name]).numpy() for name, tensor in weights(tiny.root / own).items()}
        for own in names
    ]


def merged_change(result, base):
    return {name: (tensor - base[name]).numpy() for name, tensor in result.tensors.items()}


def assert_same(ours, theirs):
    for name, change in theirs.items():
        # a sum of two fp32 numbers on a base of about 0.1: two roundings of 2**-24
        np.testing.assert_allclose(ours[name], change, rtol=0, atol=5e-8, err_msg=name)


@pytest.mark.parametrize("density", [0.2, 0.57])
def test_ties_under_compat_paper_is_the_authors_over_the_whole_model(tiny, density):
    recipe = tiny.recipe("ties", "first", "second", compat="paper", base_model=str(tiny.base))
    recipe["parameters"] = {"density": density, "lambda": 0.7}
    expected = published.ties(changes_of(tiny, "first", "second"), density, 0.7)
    assert_same(merged_change(merge(recipe), weights(tiny.base)), expected)


def test_dare_ties_under_compat_paper_trims_what_the_drop_left_over_the_whole_model(tiny):
    recipe = tiny.recipe("dare_ties", "first", "second", compat="paper", base_model=str(tiny.base))
    recipe["parameters"] = {"density": 0.5}
    plan = make_plan(parse_recipe(recipe))
    dropped = [{}, {}]
    for tensor in plan.tensors:
        for (number, _), stream in zip(tensor.inputs, streams_of(plan, tensor), strict=True):
            mask = keep_mask(tensor.shape, 0.5, seed=11, stream=stream)
            dropped[number][tensor.name] = ~mask.numpy()
    changes = changes_of(tiny, "first", "second")
    expected = published.dare_ties(changes, [0.5, 0.5], dropped, 1.0)
    ours = merged_change(merge(recipe, seed=11), weights(tiny.base))
    assert_same(ours, expected)


def test_of_adapters_only_the_tensors_that_they_change_are_trimmed_together(tiny):
    recipe = tiny.recipe("ties", parameters={"density": 0.3, "trim_scope": "global"})
    report = merge(recipe).report
    changed = {t.name: t.entries for t in report.tensors}
    entries = sum(changed.values())
    values = [
        torch.cat([tiny.deltas[source][name].abs().flatten() for name in changed])
        for source in ("persona", "agentic")
    ]
    kept = int(0.3 * entries + 0.5)
    expected = [int((v > 0).sum() - (v >= v.sort().values[-kept]).sum()) for v in values]
    removed = [sum(t.removed[i] for t in report.tensors) for i in range(2)]
    # the agentic adapter changes fewer entries than are kept, so nothing of it is trimmed
    assert removed == [expected[0], max(0, expected[1])]
    shares = {t.removed[0] / t.entries for t in report.tensors if t.removed[0]}
    assert len(shares) > 1, "a trim per tensor would take one share everywhere"


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_finds_the_same_thresholds(tiny, workers):
    recipe = tiny.recipe("ties", compat="paper")
    ours, others = merge(recipe, workers=workers).tensors, merge(recipe, workers=2).tensors
    assert all(tensor.equal(others[name]) for name, tensor in ours.items())


def test_a_density_that_differs_between_tensors_is_refused(tiny):
    recipe = tiny.recipe("ties", parameters={"density": [0.2, 0.8], "trim_scope": "global"})
    with pytest.raises(UserError, match=r"persona together; give it one density"):
        merge(recipe)
