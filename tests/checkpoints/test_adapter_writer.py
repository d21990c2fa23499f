"""A written adapter loads in PEFT, changes the base by exactly its factors, and nothing else."""

import json
import re
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tiny_models import llama, save_model

from mergelab.checkpoints import Adapter, Checkpoint
from mergelab.checkpoints.adapter_writer import AdapterWriter, _balanced
from mergelab.checkpoints.checkpoint import is_embedding
from mergelab.errors import UserError
from mergelab.kernels.operands import dense


def random(*shape, seed=0, size=0.1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * size


def gpt2_model(**changes):
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(7)
    sizes = {"vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
    return GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=1, eos_token_id=2, **changes))


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    root = tmp_path_factory.mktemp("bases")
    models = {
        "llama": llama(0),
        "tied llama": llama(0, tied=True),
        "biased llama": llama(0, attention_bias=True, mlp_bias=True),
        "gpt2": gpt2_model(),
        "untied gpt2": gpt2_model(tie_word_embeddings=False),
    }
    return {
        name: save_model(model, root / name.replace(" ", "_")) for name, model in models.items()
    }


def write(base_folder, folder, ranks, whole=(), dtype=torch.float32, know_base=True):
    """An adapter of random factors of these ranks; what the base becomes, in float64, by name."""
    base = Checkpoint(base_folder)
    folder.mkdir()
    writer = AdapterWriter(
        folder,
        str(base_folder),
        dtype,
        fan_in_fan_out=base.stores_transposed,
        embeddings={name for name in base.names if is_embedding(name)},
        base=base if know_base else None,
    )
    expected = {name: base.read(name).double() for name in base.names}
    for i, (name, rank) in enumerate(ranks.items()):
        rows, columns = base.entry(name).shape
        b, a = random(rows, rank, seed=i), random(rank, columns, seed=100 + i)
        writer.factors(name, b, a)
        expected[name] += b.double() @ a.double()
    for i, name in enumerate(whole):
        value = base.read(name) + random(*base.entry(name).shape, seed=200 + i)
        writer.whole(name, value)
        expected[name] = value.double()
    writer.close()
    return expected


def merged_by_peft(base, adapter):
    import transformers
    from peft import PeftModel

    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = PeftModel.from_pretrained(model, adapter)
    assert not [w for w in caught if "missing" in str(w.message) or "unexpected" in str(w.message)]
    return model.double().merge_and_unload().state_dict()


def assert_peft_makes(base, adapter, expected, atol=1e-7):
    got = merged_by_peft(base, adapter)
    for name, tensor in expected.items():
        assert torch.allclose(got[name], tensor, rtol=0, atol=atol), name


LAYER = "model.layers.{}.{}.weight"
EVERY = [
    *(f"self_attn.{x}_proj" for x in "qkvo"),
    *(f"mlp.{x}_proj" for x in ("gate", "up", "down")),
]
KINDS = {
    "all layers": ("llama", {LAYER.format(i, m): 3 for i in range(3) for m in EVERY}, ()),
    "another rank in each layer": (
        "llama",
        {LAYER.format(i, m): 1 + (3 * i + j) % 5 for i in range(3) for j, m in enumerate(EVERY)},
        (),
    ),
    "one layer only": ("llama", {"model.layers.1.mlp.up_proj.weight": 2}, ()),
    "embedding and head": (
        "llama",
        {"model.embed_tokens.weight": 4, "lm_head.weight": 5, LAYER.format(0, EVERY[0]): 4},
        (),
    ),
    "norms": (
        "llama",
        {LAYER.format(2, EVERY[3]): 4},
        ("model.norm.weight", "model.layers.1.input_layernorm.weight"),
    ),
    "embedding and head saved whole": (
        "llama",
        {LAYER.format(2, EVERY[3]): 4},
        ("model.embed_tokens.weight", "lm_head.weight"),
    ),
    "shared embedding saved whole": (
        "tied llama",
        {LAYER.format(2, EVERY[3]): 4},
        ("model.embed_tokens.weight",),
    ),
    "biases, with factors and without": (
        "biased llama",
        {LAYER.format(0, EVERY[0]): 4, LAYER.format(1, EVERY[0]): 4},
        ("model.layers.0.self_attn.q_proj.bias", "model.layers.2.mlp.up_proj.bias"),
    ),
    "a weight saved whole and not its bias": (
        "biased llama",
        {LAYER.format(0, EVERY[0]): 4},
        ("model.layers.2.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.bias"),
    ),
    "GPT-2": (
        "gpt2",
        {
            f"transformer.h.{i}.{m}.weight": 1 + i + j
            for i in range(2)
            for j, m in enumerate(("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"))
        },
        ("transformer.h.1.ln_1.weight", "transformer.h.0.ln_2.bias"),
    ),
    "GPT-2, one of two modules of one name": (
        "gpt2",
        {"transformer.h.0.mlp.c_proj.weight": 2, "transformer.h.1.mlp.c_proj.weight": 2},
        ("transformer.h.0.mlp.c_proj.bias", "transformer.ln_f.weight"),
    ),
    "GPT-2, positions": ("gpt2", {"transformer.wpe.weight": 2}, ()),
    "GPT-2, shared embedding saved whole": (
        "gpt2",
        {"transformer.wpe.weight": 2},
        ("transformer.wte.weight",),
    ),
    "GPT-2, embedding and head": (
        "untied gpt2",
        {
            "transformer.wte.weight": 2,
            "lm_head.weight": 3,
            "transformer.h.0.attn.c_proj.weight": 2,
        },
        (),
    ),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_peft_makes_of_it_the_base_plus_the_products(bases, tmp_path, kind):
    name, ranks, whole = kind
    expected = write(bases[name], tmp_path / "a", ranks, whole)
    assert_peft_makes(bases[name], tmp_path / "a", expected)


@pytest.mark.parametrize(
    "kind",
    ["another rank in each layer", "embedding and head", "GPT-2, one of two modules of one name"],
)
def test_without_the_base_modules_are_called_by_their_full_names(bases, tmp_path, kind):
    name, ranks, _ = KINDS[kind]
    expected = write(bases[name], tmp_path / "a", ranks, know_base=False)
    assert_peft_makes(bases[name], tmp_path / "a", expected)
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert config["target_modules"] == sorted(n.removesuffix(".weight") for n in ranks)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_it_reads_back_as_what_was_written(bases, tmp_path, kind):
    name, ranks, whole = kind
    base = Checkpoint(bases[name])
    expected = write(bases[name], tmp_path / "a", ranks, whole)
    adapter = Adapter(tmp_path / "a")
    adapter.check_against(base)
    for name, tensor in expected.items():
        vector = adapter.task_vector(name, base)
        change = torch.zeros(tensor.shape) if vector is None else dense(vector)
        assert torch.allclose(base.read(name) + change.double(), tensor, rtol=0, atol=1e-7), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_costs_one_rounding_of_each_factor(bases, tmp_path, dtype):
    ranks = {LAYER.format(i, m): 3 for i in range(3) for m in EVERY}
    expected = write(bases["llama"], tmp_path / "a", ranks, dtype=dtype)
    stored = load_file(tmp_path / "a" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {dtype}
    base = Checkpoint(bases["llama"])
    got = merged_by_peft(bases["llama"], tmp_path / "a")
    for name in ranks:
        change = expected[name] - base.read(name).double()
        error = (got[name] - expected[name]).norm() / change.norm()
        assert 0 < error < 2 * torch.finfo(dtype).eps


def test_short_names_of_modules_are_used_where_they_mean_no_other(bases, tmp_path):
    whole = {LAYER.format(i, "mlp.up_proj"): 2 for i in range(3)}
    write(bases["llama"], tmp_path / "a", whole | {LAYER.format(1, "mlp.down_proj"): 2})
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert config["target_modules"] == ["model.layers.1.mlp.down_proj", "up_proj"]
    names = ("transformer.h.0.mlp.c_proj.weight", "transformer.h.1.mlp.c_proj.weight")
    write(bases["gpt2"], tmp_path / "b", dict.fromkeys(names, 2))
    config = json.loads((tmp_path / "b" / "adapter_config.json").read_text())
    assert config["target_modules"] == ["mlp.c_proj"]


def test_a_layer_of_one_number_is_not_taken_for_another_that_ends_alike(tmp_path):
    base = save_model(llama(3, layers=12), tmp_path / "base")
    ranks = {LAYER.format(1, "mlp.up_proj"): 2, LAYER.format(11, "mlp.up_proj"): 3}
    expected = write(base, tmp_path / "a", ranks | {LAYER.format(0, "mlp.up_proj"): 3})
    assert_peft_makes(base, tmp_path / "a", expected)


def test_the_config_is_one_that_peft_writes(bases, tmp_path):
    from peft import LoraConfig

    write(bases["llama"], tmp_path / "a", {LAYER.format(0, EVERY[0]): 3})
    ours = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    LoraConfig(r=3, lora_alpha=3, task_type="CAUSAL_LM", target_modules=["x"]).save_pretrained(
        tmp_path / "peft"
    )
    theirs = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert set(ours) <= set(theirs)
    differing = {key for key in ours if ours[key] != theirs[key]}
    # PEFT saves a model's adapter for inference, a config of its own as it is
    assert differing == {"base_model_name_or_path", "target_modules", "inference_mode"}


def test_the_same_factors_give_the_same_bytes(bases, tmp_path):
    ranks = {LAYER.format(i, m): 1 + i for i in range(3) for m in EVERY}
    for name in "ab":
        write(bases["llama"], tmp_path / name, ranks, ("model.norm.weight",))
    for file in sorted((tmp_path / "a").iterdir()):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    assert {f.name for f in (tmp_path / "a").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }


@given(
    st.floats(-60, 60),
    st.floats(-60, 60),
    st.integers(0, 2**32),
)
def test_balanced_factors_have_alike_norms_and_the_same_product(low, high, seed):
    b, a = random(6, 3, seed=seed) * 2.0**low, random(3, 5, seed=seed + 1) * 2.0**high
    other_b, other_a = _balanced(b, a)
    assert (other_b.double() @ other_a.double()).equal(b.double() @ a.double())
    ratio = other_b.norm(dim=0) / other_a.norm(dim=1)
    assert ((ratio > 0.49) & (ratio < 2.05)).all()


@pytest.mark.parametrize("low", [-140.0, 0.0, 120.0])
def test_balancing_never_loses_a_bit_to_overflow_or_underflow(low):
    b = torch.tensor([[2.0**low, 0.0], [1.0, 0.0]])
    a = torch.tensor([[2.0**-140, 2.0**-149], [1.0, 3.0]])
    other_b, other_a = _balanced(b, a)
    for i in range(2):
        product = other_b[:, i : i + 1].double() @ other_a[i : i + 1].double()
        assert product.equal(b[:, i : i + 1].double() @ a[i : i + 1].double())


def test_factors_of_rank_0_are_left_out(bases, tmp_path):
    ranks = {LAYER.format(0, EVERY[0]): 2, LAYER.format(1, EVERY[0]): 0}
    expected = write(bases["llama"], tmp_path / "a", ranks)
    assert Adapter(tmp_path / "a").names == [LAYER.format(0, EVERY[0])]
    assert_peft_makes(bases["llama"], tmp_path / "a", expected)


Q = LAYER.format(0, EVERY[0])
UNWRITABLE = {
    "nothing": ("llama", {}, (), "no linear layer changed"),
    "norms only": ("llama", {}, ("model.norm.weight",), "no linear layer changed"),
    "factors of shared embeddings": (
        "tied llama",
        {"model.embed_tokens.weight": 2},
        (),
        "shares it",
    ),
    "factors and whole": ("llama", {Q: 2}, (Q,), "has factors and is given whole"),
}


@pytest.mark.parametrize("kind", UNWRITABLE.values(), ids=UNWRITABLE.keys())
def test_what_no_adapter_can_hold_is_one_line(bases, tmp_path, kind):
    name, ranks, whole, words = kind
    with pytest.raises(UserError, match=re.escape(words)):
        write(bases[name], tmp_path / "a", ranks, whole)


def test_tensors_that_are_neither_weights_nor_biases_are_refused(tmp_path):
    writer = AdapterWriter(tmp_path, "org/base")
    with pytest.raises(UserError, match=r"A_log: .*output: model"):
        writer.whole("model.layers.0.mixer.A_log", torch.ones(3))
    with pytest.raises(UserError, match=r"q\.bias: .*output: model"):
        writer.factors("q.bias", torch.ones(3, 1), torch.ones(1, 1))


def test_a_value_too_large_for_its_dtype_is_one_line(tmp_path):
    writer = AdapterWriter(tmp_path, "org/base", torch.float16)
    with pytest.raises(UserError, match="do not fit float16; use bfloat16 or float32"):
        writer.whole("model.norm.weight", torch.tensor([1e6]))
