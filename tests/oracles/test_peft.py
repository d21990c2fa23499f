"""TIES, DARE and task arithmetic on whole changes equal what PEFT 0.21.2 computes of them.

PEFT's own functions take dense task vectors; `add_weighted_adapter` uses them on the product of
the factors for the `*_svd` kinds, then cuts the result to a rank. With the rank full, nothing is
cut. They agree where `d * n` is whole, no magnitudes are equal and no sum of changes is 0, and
where our switches are set as PEFT has them: unweighted election, division by the count.
"""

import pytest
import torch
from peft import PeftModel
from peft.utils import merge_utils
from tiny_models import HIDDEN

from mergelab import merge
from mergelab.methods import dare_linear, dare_ties, keep_mask, task_arithmetic, ties, trim

SHAPES = [(8,), (4, 12), (16, 24)]
WEIGHTS = [[1.0, 1.0, 1.0], [0.5, 0.2, 1.3]]
AS_PEFT = {"election": "mass_unweighted", "divisor": "count"}
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def changes(shape, count=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for _ in range(count)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("density", [0.25, 0.5, 0.75])
def test_trim_is_pefts_pruning(shape, density):
    (delta,) = changes(shape, 1)
    assert trim(delta, density).equal(merge_utils.magnitude_based_pruning(delta, density))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_task_arithmetic_is_pefts(shape, weights):
    tau = changes(shape)
    theirs = merge_utils.task_arithmetic(tau, torch.tensor(weights))
    torch.testing.assert_close(task_arithmetic(tau, weights), theirs, **CLOSE)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
@pytest.mark.parametrize("density", [0.25, 0.5])
@pytest.mark.parametrize("voting", ["total", "frequency"])
def test_ties_is_pefts(shape, weights, density, voting):
    tau = changes(shape)
    theirs = merge_utils.ties(tau, torch.tensor(weights), density, voting)
    ours = ties(
        tau,
        density,
        weights,
        divisor="count",
        election="mass_unweighted" if voting == "total" else "count",
        zero_sign="positive",
    )
    torch.testing.assert_close(ours, theirs, **CLOSE)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("method", ["dare_linear", "dare_ties"])
def test_dare_with_the_same_masks_is_pefts(shape, method, monkeypatch):
    tau, weights = changes(shape), WEIGHTS[1]
    calls = []

    def pruning(tensor, density, rescale):
        assert rescale
        calls.append(density)
        mask = keep_mask(tensor.shape, density, seed=2, stream=len(calls) - 1)
        return tensor * mask / density

    monkeypatch.setattr(merge_utils, "random_pruning", pruning)
    theirs = getattr(merge_utils, method)(tau, torch.tensor(weights), 0.5)
    assert calls == [0.5] * 3
    if method == "dare_linear":
        ours = dare_linear(tau, 0.5, weights, seed=2)
    else:
        ours = dare_ties(tau, 0.5, weights, seed=2, **AS_PEFT)
    torch.testing.assert_close(ours, theirs, **CLOSE)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("combination", "recipe"),
    [
        ("svd", {"merge_method": "task_arithmetic"}),
        ("ties_svd", {"merge_method": "ties", "parameters": {"density": 0.5, **AS_PEFT}}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_merge_of_adapters_is_pefts_add_weighted_adapter_at_full_rank(tiny, combination, recipe):
    from transformers import AutoModelForCausalLM

    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny.base), tiny.persona, adapter_name="persona"
    )
    model.load_adapter(tiny.agentic, adapter_name="agentic")
    density = {"density": 0.5} if combination == "ties_svd" else {}
    model.add_weighted_adapter(
        ["persona", "agentic"],
        [0.7, 1.0],
        "merged",
        combination_type=combination,
        svd_rank=HIDDEN,
        svd_full_matrices=True,
        **density,
    )
    weights = dict(zip(("persona", "agentic"), (0.7, 1.0), strict=True))
    models = [
        {"model": str(tiny.root / name), "parameters": {"weight": weights[name]}}
        for name in ("persona", "agentic")
    ]
    ours = merge({**recipe, "models": models}).tensors
    base = model.get_base_model()
    for layer in range(3):  # a module that both adapters change
        module = f"model.layers.{layer}.self_attn.q_proj"
        theirs = base.get_submodule(module).get_delta_weight("merged")
        origin = base.get_submodule(module).base_layer.weight
        difference = (ours[f"{module}.weight"] - origin - theirs).abs()
        # A full SVD in fp32 rounds at 1e-6 of the largest singular value; and a product in
        # another order may turn the rank of two entries next to the threshold.
        assert int((difference > 5e-6).sum()) <= 1
