"""Models loaded in half precision: the weights that `transformers` and PEFT give, rounded once."""

import pytest
import torch
from tiny_models import peft_delta, weights

from mergelab.checkpoints.loading import check_device, load_model, placed
from mergelab.errors import UserError


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_an_adapter_is_added_in_fp32_and_rounded_once(tiny, dtype):
    model, _ = load_model(str(tiny.persona), dtype=dtype)
    base, delta = weights(tiny.base), peft_delta(tiny.base, tiny.persona)
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == getattr(torch, dtype)
        exact = base[name].double() + delta[name]
        step = exact.abs().max() * 2.0 ** (-8 if dtype == "bfloat16" else -11)
        assert (tensor.double() - exact).abs().max() <= step


def test_a_full_model_is_what_transformers_loads_in_that_dtype(tiny):
    from transformers import AutoModelForCausalLM

    ours, _ = load_model(str(tiny.first), dtype="bfloat16")
    theirs = AutoModelForCausalLM.from_pretrained(tiny.first, dtype=torch.bfloat16).eval()
    ids = torch.tensor([[1, 5, 9, 12]])
    with torch.inference_mode():
        assert ours(ids).logits.equal(theirs(ids).logits)
        moved = placed(load_model(str(tiny.first))[0], "cpu", "bfloat16")
        assert moved(ids).logits.equal(theirs(ids).logits)


@pytest.mark.parametrize(
    ("device", "dtype", "words"),
    [
        ("cpu", "bf16", "dtype bf16: use float32, float16, bfloat16"),
        ("gpu", "float32", "device gpu: use cpu, cuda"),
        ("meta", "float32", "device meta: use cpu, cuda"),
        ("cpu:x", "float32", "device cpu:x: PyTorch finds none here"),
        ("cuda:77", "float32", "device cuda:77: PyTorch finds none here"),
    ],
)
def test_a_device_or_dtype_that_is_not_there_is_one_line(device, dtype, words):
    with pytest.raises(UserError, match=words):
        check_device(device, dtype)
    with pytest.raises(UserError, match=words):
        load_model("./nowhere", device=device, dtype=dtype)
