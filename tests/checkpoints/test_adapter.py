"""Adapters of every supported kind change exactly what PEFT says; others are refused by name."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import edit_json, llama, peft_delta, save_adapter, save_model

from mergelab.checkpoints import Adapter, Checkpoint
from mergelab.checkpoints.task_vector import decomposed
from mergelab.errors import UserError
from mergelab.kernels.operands import InMemory, LowRank, dense

KINDS = {
    "all linear layers": {},
    "some layers only": {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": [0, 2]},
    "rank pattern": {"rank_pattern": {"q_proj": 8, "layers.1.mlp.up_proj": 2, "v_proj": 1}},
    "alpha pattern": {"alpha_pattern": {"q_proj": 3, "layers.2.self_attn.v_proj": 32}},
    "rank and alpha pattern": {
        "rank_pattern": {"layers.0.self_attn.q_proj": 8, r"layers\.[12]\..*_proj": 3},
        "alpha_pattern": {r"layers\.[12]\.mlp\.(up|gate)_proj": 5, "up_proj": 7},
    },
    "rsLoRA": {"use_rslora": True, "r": 6},
    "rsLoRA with a rank pattern": {"use_rslora": True, "rank_pattern": {"q_proj": 9}},
    "embedding": {"target_modules": ["q_proj", "embed_tokens"]},
    "output head": {"target_modules": ["q_proj", "lm_head"]},
    "modules to save": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "norm"]},
    "embedding saved whole": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    "embedding and head": {
        "target_modules": ["o_proj", "embed_tokens", "lm_head"],
        "modules_to_save": ["model.norm"],
    },
    "MiCA": {"init_lora_weights": "mica", "target_modules": ["q_proj", "embed_tokens"]},
    "DoRA": {"use_dora": True},
    "DoRA with rsLoRA and patterns": {
        "use_dora": True,
        "use_rslora": True,
        "rank_pattern": {"q_proj": 7, "layers.1.mlp.up_proj": 2},
        "alpha_pattern": {"v_proj": 32},
    },
    "DoRA on embedding and head": {
        "use_dora": True,
        "target_modules": ["q_proj", "embed_tokens", "lm_head"],
        "modules_to_save": ["norm"],
    },
    "single tokens": {"target_modules": ["q_proj"], "trainable_token_indices": [41, 3, 7]},
    "single tokens of embedding and head": {
        "target_modules": ["q_proj"],
        "trainable_token_indices": {"embed_tokens": [7, 3], "lm_head": [1]},
    },
    "single tokens beside DoRA": {
        "use_dora": True,
        "target_modules": ["q_proj"],
        "trainable_token_indices": [95, 0],
    },
}
# Kinds that change biases, for a base whose linear layers have some.
BIASES = {
    "lora_bias": {"lora_bias": True},
    "lora_bias with patterns": {
        "lora_bias": True,
        "use_rslora": True,
        "rank_pattern": {"q_proj": 7},
        "alpha_pattern": {"up_proj": 32},
    },
    "all biases": {"bias": "all", "target_modules": ["q_proj"]},
    "biases of the layers with factors": {"bias": "lora_only", "target_modules": ["q_proj"]},
    "all biases beside DoRA": {"bias": "all", "use_dora": True},
    "biases saved with their module": {
        "target_modules": ["q_proj"],
        "modules_to_save": ["layers.1.mlp.up_proj"],
    },
}


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    """A GPT-2, whose Conv1D layers store their weights as [in, out]; some of them are square."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(7)
    sizes = {"vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
    model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=1, eos_token_id=2))
    return save_model(model, tmp_path_factory.mktemp("gpt2") / "base")


@pytest.fixture(scope="module")
def tied(tmp_path_factory):
    return save_model(llama(0, tied=True), tmp_path_factory.mktemp("tied") / "base")


@pytest.fixture(scope="module")
def biased(tmp_path_factory):
    model = llama(9, attention_bias=True, mlp_bias=True)
    return save_model(model, tmp_path_factory.mktemp("biased") / "base")


def in_half_precision(adapter, dtype):
    """The adapter with everything but copies of the base's weights stored in half precision."""
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    save_file(
        {name: t if "base_layer.weight" in name else t.to(dtype) for name, t in tensors.items()},
        path,
    )
    return adapter


def assert_changes_what_peft_says(base, adapter):
    ours, model = Adapter(adapter), Checkpoint(base)
    ours.check_against(model)
    expected = peft_delta(base, adapter)
    assert any(delta.any() for delta in expected.values())
    for name, delta in expected.items():
        if name not in model:  # a tied head, which transformers lists twice
            continue
        vector = ours.task_vector(name, model)
        got = torch.zeros(delta.shape) if vector is None else dense(vector)
        assert got.dtype == torch.float32
        # fp32 products of two factors against float64: r roundings of 2**-24 of the terms
        assert torch.allclose(got.double(), delta, rtol=0, atol=2e-7), name


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
@pytest.mark.filterwarnings("ignore")
def test_each_kind_changes_what_peft_says(tiny, tmp_path, kind):
    assert_changes_what_peft_says(tiny.base, save_adapter(tiny.base, tmp_path / "a", 5, **kind))


@pytest.mark.parametrize("kind", BIASES.values(), ids=BIASES.keys())
@pytest.mark.filterwarnings("ignore")
def test_each_kind_that_changes_biases_changes_what_peft_says(biased, tmp_path, kind):
    adapter = save_adapter(biased, tmp_path / "a", 5, **kind)
    assert any(name.endswith(".bias") for name in Adapter(adapter).names)
    assert_changes_what_peft_says(biased, adapter)


@pytest.mark.parametrize("dora", [True, False])
@pytest.mark.parametrize("bias", ["none", "all", "lora_only"])
@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.filterwarnings("ignore")
def test_layers_that_store_their_weight_the_other_way_round(gpt2, tmp_path, declared, bias, dora):
    modules = ["c_attn", "c_proj", "c_fc"]
    settings = {"target_modules": modules, "fan_in_fan_out": declared, "r": 3}
    settings |= {"bias": bias, "use_dora": dora}
    assert_changes_what_peft_says(gpt2, save_adapter(gpt2, tmp_path / "a", 6, **settings))


@pytest.mark.parametrize("dora", [True, False])
@pytest.mark.filterwarnings("ignore")
def test_a_head_beside_layers_that_store_their_weight_the_other_way_round(tmp_path, dora):
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(8)
    sizes = {"vocab_size": 96, "n_embd": 32, "n_layer": 1, "n_head": 4, "n_positions": 64}
    model = GPT2LMHeadModel(GPT2Config(**sizes, tie_word_embeddings=False))
    base = save_model(model, tmp_path / "base")
    settings = {"target_modules": ["c_proj", "lm_head"], "fan_in_fan_out": True, "use_dora": dora}
    assert_changes_what_peft_says(base, save_adapter(base, tmp_path / "a", 6, **settings))


HALVES = {
    "LoRA": {},
    "DoRA": {"use_dora": True},
    "embedding": {"target_modules": ["q_proj", "embed_tokens"], "use_dora": True},
    "modules to save": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "norm"]},
    "biases": {"lora_bias": True},
    "tokens": {"target_modules": ["q_proj"], "trainable_token_indices": [4, 2]},
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", HALVES.values(), ids=HALVES.keys())
@pytest.mark.filterwarnings("ignore")
def test_each_kind_stored_in_half_precision_changes_what_peft_says(biased, tmp_path, kind, dtype):
    adapter = in_half_precision(save_adapter(biased, tmp_path / "a", 5, **kind), dtype)
    assert_changes_what_peft_says(biased, adapter)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_factors_stored_in_half_precision_are_multiplied_in_float32(tiny, tmp_path, dtype):
    adapter = tiny.copy("persona", tmp_path / "a")
    factors = load_file(adapter / "adapter_model.safetensors")
    halves = {name: tensor.to(dtype) for name, tensor in factors.items()}
    save_file(halves, adapter / "adapter_model.safetensors")
    name = "model.layers.1.mlp.down_proj"
    a = halves[f"base_model.model.{name}.lora_A.weight"].double()
    b = halves[f"base_model.model.{name}.lora_B.weight"].double()
    got = dense(Adapter(adapter).task_vector(f"{name}.weight", Checkpoint(tiny.base)))
    assert torch.allclose(got.double(), 2.0 * b @ a, rtol=0, atol=1e-7)


def test_a_task_vector_stays_in_factors_until_it_is_needed(tiny):
    vector = Adapter(tiny.persona).task_vector(
        "model.layers.0.self_attn.q_proj.weight", Checkpoint(tiny.base)
    )
    assert (vector.a.shape, vector.b.shape, vector.shape) == ((4, 32), (32, 4), (32, 32))


def test_a_tensor_the_adapter_does_not_touch_has_no_task_vector(tiny):
    base = Checkpoint(tiny.base)
    assert Adapter(tiny.persona).task_vector("model.norm.weight", base) is None
    assert Adapter(tiny.agentic).task_vector("model.layers.0.mlp.down_proj.weight", base) is None


def test_the_scaling_follows_lora_and_rslora(tiny, tmp_path):
    adapter = tiny.copy("persona", tmp_path / "a")
    edit_json(adapter / "adapter_config.json", lora_alpha=12)
    assert Adapter(adapter).scaling("model.layers.0.self_attn.q_proj.weight", 4) == 3.0
    edit_json(adapter / "adapter_config.json", use_rslora=True)
    assert Adapter(adapter).scaling("x.weight", 9) == pytest.approx(12 / math.sqrt(9))


# Refused by name

REFUSED = {
    "lora_bias with DoRA": ({"lora_bias": True, "use_dora": True}, "lora_bias"),
    "lora_bias with trained biases": ({"lora_bias": True, "bias": "all"}, "lora_bias"),
    "a bias of no kind": ({"bias": "some"}, "'some'"),
    "PiSSA": ({"init_lora_weights": "pissa_niter_16"}, "pissa_niter_16"),
    "OLoRA": ({"init_lora_weights": "olora"}, "olora"),
    "LoftQ": ({"init_lora_weights": "loftq"}, "loftq"),
    "QALoRA": ({"use_qalora": True}, "use_qalora"),
    "layer replication": ({"layer_replication": [[0, 2], [1, 3]]}, "layer_replication"),
    "KaSA": ({"kasa_config": {"beta": 1e-4}}, "kasa_config"),
    "BD-LoRA": ({"use_bdlora": {"nblocks": 2}}, "use_bdlora"),
    "single parameters": ({"target_parameters": ["mlp.experts"]}, "target_parameters"),
    "activated LoRA": ({"alora_invocation_tokens": [5]}, "alora_invocation_tokens"),
    "another kind": ({"peft_type": "IA3"}, "IA3"),
    "no kind": ({"peft_type": None}, "peft_type"),
    "alpha as text": ({"lora_alpha": "16"}, "'16'"),
    "alpha pattern as a list": ({"alpha_pattern": ["q_proj"]}, "alpha_pattern"),
    "alpha pattern that is no pattern": ({"alpha_pattern": {"(": 3}}, "not valid"),
}


@pytest.mark.parametrize(("change", "word"), REFUSED.values(), ids=REFUSED.keys())
def test_a_kind_that_cannot_be_merged_faithfully_is_refused_by_name(tiny, tmp_path, change, word):
    adapter = tiny.copy("persona", tmp_path / "a")
    edit_json(adapter / "adapter_config.json", **change)
    with pytest.raises(UserError) as refused:
        Adapter(adapter)
    assert word in str(refused.value)
    assert "adapter_config.json" in str(refused.value)


@pytest.mark.parametrize("start", [True, False, "gaussian", "eva", "orthogonal"])
def test_ways_to_start_that_leave_the_base_alone_are_read(tiny, tmp_path, start):
    adapter = tiny.copy("persona", tmp_path / "a")
    edit_json(adapter / "adapter_config.json", init_lora_weights=start)
    assert Adapter(adapter).names == Adapter(tiny.persona).names


@pytest.mark.filterwarnings("ignore")
def test_a_dora_adapter_and_its_config_must_agree(tiny, tmp_path):
    adapter = save_adapter(tiny.base, tmp_path / "a", 5, use_dora=True)
    edit_json(adapter / "adapter_config.json", use_dora=False)
    with pytest.raises(UserError, match=r"lora_magnitude_vector.*use_dora is off"):
        Adapter(adapter)
    plain = tiny.copy("persona", tmp_path / "b")
    edit_json(plain / "adapter_config.json", use_dora=True)
    with pytest.raises(UserError, match="lacks its lora_magnitude_vector"):
        Adapter(plain)


@pytest.mark.filterwarnings("ignore")
def test_a_dora_adapter_reads_only_the_rows_of_its_base_that_are_asked_for(tiny, tmp_path):
    adapter = Adapter(save_adapter(tiny.base, tmp_path / "a", 5, use_dora=True))
    path = tiny.copy("base", tmp_path / "base") / "model.safetensors"
    weights = load_file(path)
    save_file(weights, path)
    name = "model.layers.1.mlp.up_proj.weight"
    vector = adapter.task_vector(name, Checkpoint(path.parent))
    whole = dense(vector)
    weights[name][7:] = math.nan
    save_file(weights, path)
    assert vector.rows(2, 7).equal(whole[2:7])
    assert vector.rows(6, 9).isnan().any()


def test_a_row_of_zeros_stays_zero_under_dora():
    base = InMemory(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    nothing = LowRank(torch.zeros(2, 1), torch.zeros(1, 2))
    by_rows = decomposed(base, nothing, torch.tensor([2.0, 10.0]))
    assert dense(by_rows).equal(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    column = InMemory(torch.tensor([[0.0, 3.0], [0.0, 4.0]]))
    by_columns = decomposed(column, nothing, torch.tensor([2.0, 10.0]), transposed=True)
    assert dense(by_columns).equal(torch.tensor([[0.0, 3.0], [0.0, 4.0]]))


@pytest.mark.parametrize(
    ("indices", "words"),
    [
        (None, "names no rows"),
        ([], "names no rows"),
        ([3, 3], "names no rows"),
        ([3, -1], "names no rows"),
        (["3", "7"], "names no rows"),
        ({"lm_head": [3, 7]}, "names no rows"),
        ([3, 7, 8], r"shape \[2, 32\].*\[3, 32\]"),
        ([3, 96], "row 96"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_trained_tokens_that_do_not_fit_their_config_are_named(tiny, tmp_path, indices, words):
    settings = {"target_modules": ["q_proj"], "trainable_token_indices": [3, 7]}
    adapter = save_adapter(tiny.base, tmp_path / "a", 5, **settings)
    edit_json(adapter / "adapter_config.json", trainable_token_indices=indices)
    with pytest.raises(UserError, match=words):
        Adapter(adapter).check_against(Checkpoint(tiny.base))


@pytest.mark.filterwarnings("ignore")
def test_a_lora_bias_that_does_not_fit_its_config_is_named(biased, tiny, tmp_path):
    adapter = save_adapter(biased, tmp_path / "a", 5, lora_bias=True)
    with pytest.raises(UserError, match=r"\.bias', which the base .* does not have"):
        Adapter(adapter).check_against(Checkpoint(tiny.base))
    edit_json(adapter / "adapter_config.json", lora_bias=False)
    with pytest.raises(UserError, match="lora_bias: False"):
        Adapter(adapter)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["q_proj"], "trainable_token_indices": [9, 4]},
        {
            "target_modules": ["q_proj"],
            "modules_to_save": ["embed_tokens"],
            "ensure_weight_tying": True,
        },
    ],
    ids=["single tokens", "embedding and head saved together"],
)
def test_shared_embeddings_changed_for_both_are_changed_as_peft_says(tied, tmp_path, settings):
    assert_changes_what_peft_says(tied, save_adapter(tied, tmp_path / "a", 5, **settings))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": ["q_proj", "embed_tokens"], "use_dora": True},
        # PEFT merges this one's change into the shared matrix twice
        {"target_modules": ["q_proj", "embed_tokens"], "ensure_weight_tying": True},
    ],
)
def test_changed_embeddings_of_a_base_that_shares_them_with_its_head_are_refused(
    tied, tmp_path, settings
):
    adapter = save_adapter(tied, tmp_path / "a", 5, **settings)
    with pytest.raises(UserError, match="tie_word_embeddings"):
        Adapter(adapter).check_against(Checkpoint(tied))


def test_other_tensors_of_such_a_base_are_changed_as_peft_says(tied, tmp_path):
    assert_changes_what_peft_says(tied, save_adapter(tied, tmp_path / "a", 5))


# Files that do not fit


def spoil(adapter, change):
    path = adapter / "adapter_model.safetensors"
    factors = load_file(path)
    change(factors)
    save_file({name: tensor.contiguous() for name, tensor in factors.items()}, path)


FIRST = "base_model.model.model.layers.0.self_attn.q_proj"


def test_a_module_with_one_factor_is_named(tiny, tmp_path):
    adapter = tiny.copy("persona", tmp_path / "a")
    spoil(adapter, lambda f: f.pop(f"{FIRST}.lora_A.weight"))
    with pytest.raises(UserError, match=r"layers\.0\.self_attn\.q_proj' has only one"):
        Adapter(adapter)


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.update({f"{FIRST}.lora_A.weight": torch.ones(3, 32)}),
        lambda f: f.update({f"{FIRST}.lora_A.weight": torch.ones(4, 32, 1)}),
        lambda f: f.update(
            {
                f"{FIRST}.lora_A.weight": torch.ones(0, 32),
                f"{FIRST}.lora_B.weight": torch.ones(32, 0),
            }
        ),
    ],
    ids=["other ranks", "three dimensions", "rank 0"],
)
def test_factors_that_do_not_fit_each_other_are_named(tiny, tmp_path, change):
    adapter = tiny.copy("persona", tmp_path / "a")
    spoil(adapter, change)
    with pytest.raises(UserError, match=r"q_proj\.weight' do not fit each other"):
        Adapter(adapter).check_against(Checkpoint(tiny.base))


def test_factors_of_another_shape_than_the_base_are_named_with_both_shapes(tiny, tmp_path):
    adapter = tiny.copy("persona", tmp_path / "a")
    spoil(adapter, lambda f: f.update({f"{FIRST}.lora_A.weight": torch.ones(4, 31)}))
    with pytest.raises(UserError, match=r"\[32, 31\].*\[32, 32\]"):
        Adapter(adapter).check_against(Checkpoint(tiny.base))


def test_a_tensor_the_base_lacks_is_named(tiny, tmp_path):
    adapter = tiny.copy("persona", tmp_path / "a")

    def move(factors):
        for side in "AB":
            moved = FIRST.replace("layers.0", "layers.9")
            factors[f"{moved}.lora_{side}.weight"] = factors.pop(f"{FIRST}.lora_{side}.weight")

    spoil(adapter, move)
    with pytest.raises(UserError, match=r"layers\.9\.self_attn\.q_proj\.weight'.*does not have"):
        Adapter(adapter).check_against(Checkpoint(tiny.base))


@pytest.mark.filterwarnings("ignore")
def test_factors_trained_on_other_embeddings_are_refused(tiny, tmp_path):
    adapter = save_adapter(tiny.base, tmp_path / "a", 5, target_modules=["q_proj", "embed_tokens"])
    copy = "base_model.model.model.embed_tokens.base_layer.weight"
    spoil(adapter, lambda f: f.update({copy: f[copy] + 0.5}))
    with pytest.raises(UserError, match=r"other values of 'model\.embed_tokens\.weight'"):
        Adapter(adapter).check_against(Checkpoint(tiny.base))


def test_a_pickle_is_refused_and_never_opened(tiny, tmp_path):
    adapter = tiny.copy("persona", tmp_path / "a")
    (adapter / "adapter_model.safetensors").unlink()
    (adapter / "adapter_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(UserError, match="pickle"):
        Adapter(adapter)


@pytest.mark.parametrize("content", ["", "{", "[]", '"LORA"', "[" * 100_000, "\xff"])
def test_a_config_that_is_no_json_object_is_named(tiny, tmp_path, content):
    adapter = tiny.copy("persona", tmp_path / "a")
    (adapter / "adapter_config.json").write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match=r"adapter_config\.json"):
        Adapter(adapter)


# What an adapter is called by


def test_the_fingerprint_is_of_the_content_and_not_of_the_folder(tiny, tmp_path):
    copy = tiny.copy("persona", tmp_path / "another name")
    edit_json(copy / "adapter_config.json", base_model_name_or_path="elsewhere")
    assert Adapter(copy).fingerprint == Adapter(tiny.persona).fingerprint
    assert Adapter(tiny.agentic).fingerprint != Adapter(tiny.persona).fingerprint


def test_the_fingerprint_tells_apart_what_scales_or_changes_one_value(tiny, tmp_path):
    found = {Adapter(tiny.persona).fingerprint}
    for key, value in (("lora_alpha", 9), ("use_rslora", True), ("alpha_pattern", {"q_proj": 1})):
        copy = tiny.copy("persona", tmp_path / key)
        edit_json(copy / "adapter_config.json", **{key: value})
        found.add(Adapter(copy).fingerprint)
    copy = tiny.copy("persona", tmp_path / "value")
    spoil(copy, lambda f: f[f"{FIRST}.lora_B.weight"][3, 1].add_(1e-6))
    found.add(Adapter(copy).fingerprint)
    assert len(found) == 5


def test_the_base_is_named_as_the_config_names_it(tiny):
    config = json.loads((tiny.persona / "adapter_config.json").read_text())
    assert Adapter(tiny.persona).base_name == config["base_model_name_or_path"] == str(tiny.base)
