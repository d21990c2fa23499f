"""Models that do not belong together are refused with the reason, and real fine-tunes never are."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from tiny_models import edit_json, llama, save_adapter, save_model, tuned, weights

from mergelab import merge
from mergelab.checkpoints import Checkpoint
from mergelab.errors import UserError
from mergelab.recipes import make_plan, parse_recipe
from mergelab.recipes.homology import UNRELATED, relation


def planned(method, *folders, **more):
    models = [{"model": str(folder)} for folder in folders]
    return make_plan(parse_recipe({"merge_method": method, "models": models, **more}))


def refusal(method, *folders, **more):
    with pytest.raises(UserError) as refused:
        planned(method, *folders, **more)
    return str(refused.value)


def changed(folder, to, change):
    """A copy of a model with `change(name, tensor, generator)` in place of each tensor."""
    generator = torch.Generator().manual_seed(7)
    to.mkdir(parents=True)
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            (to / file.name).write_bytes(file.read_bytes())
    made = {name: change(name, t, generator).contiguous() for name, t in weights(folder).items()}
    save_file(made, to / "model.safetensors", metadata={"format": "pt"})
    return to


def noise(share):
    """Noise of `share` times the norm of each tensor."""

    def change(_, tensor, generator):
        random = torch.randn(tensor.shape, generator=generator)
        return tensor + share * tensor.norm() / random.norm() * random

    return change


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """A model of the same shapes, trained from other random weights, and a fine-tune of it."""
    root = tmp_path_factory.mktemp("strangers")
    model = llama(77)
    save_model(model, root / "stranger")
    save_model(tuned(model, 5), root / "child")
    return root


# The base


@pytest.mark.parametrize("method", ["ties", "dare_ties", "task_arithmetic", "linear"])
def test_a_base_that_is_no_ancestor_is_refused_with_the_numbers(tiny, stranger, method):
    base = str(stranger / "stranger")
    message = refusal(method, tiny.first, base_model=base)
    for part in ("first", "unrelated", "stranger", "cosine", "distance 1.4", "allow_unrelated"):
        assert part in message


def test_models_of_another_base_than_the_one_named_are_told_so(tiny, stranger):
    base = str(stranger / "stranger")
    message = refusal("ties", tiny.first, tiny.second, base_model=base)
    assert "close to those of" in message
    assert "so the two come from another base" in message


def test_one_model_of_another_base_is_found_among_fine_tunes(tiny, stranger):
    message = refusal("ties", tiny.first, stranger / "child", base_model=str(tiny.base))
    assert message.startswith(str(stranger / "child"))
    assert "it cannot be a fine-tune of that base" in message


def test_unrelated_models_are_refused_without_a_base_as_well(tiny, stranger):
    for method in ("linear", "slerp"):
        message = refusal(method, tiny.first, stranger / "stranger")
        assert "only fine-tunes of one model can be merged" in message


def test_slices_are_compared_layer_by_layer(tiny, stranger):
    pair = [{"model": str(folder)} for folder in (tiny.first, stranger / "child")]
    ranges = {"layer_range": [1, 3]}
    recipe = {"merge_method": "linear", "slices": [{"sources": [p | ranges for p in pair]}]}
    with pytest.raises(UserError, match="unrelated"):
        make_plan(parse_recipe(recipe))
    one_each = {"merge_method": "linear", "slices": [{"sources": [p | ranges]} for p in pair]}
    assert make_plan(parse_recipe(one_each)).layers == 4


def test_the_recipe_or_the_caller_may_insist(tiny, stranger):
    base = str(stranger / "stranger")
    assert planned("ties", tiny.first, base_model=base, allow_unrelated=True).tensors
    recipe = {"merge_method": "ties", "models": [{"model": str(tiny.first)}], "base_model": base}
    assert make_plan(parse_recipe(recipe), allow_unrelated=True).tensors


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_a_model_that_moved_by_up_to_its_own_norm_passes(tiny, tmp_path, share):
    moved = changed(tiny.base, tmp_path / "moved", noise(share))
    assert planned("ties", moved, base_model=str(tiny.base)).tensors
    assert planned("linear", moved, tiny.first).tensors


def test_parts_trained_from_scratch_do_not_make_a_stranger(tiny, tmp_path):
    def change(name, tensor, generator):
        fresh = "layers.2" in name or "lm_head" in name
        return torch.randn(tensor.shape, generator=generator) * 0.1 if fresh else tensor

    moved = changed(tiny.base, tmp_path / "moved", change)
    assert planned("ties", moved, base_model=str(tiny.base)).tensors


def test_zeroed_layers_do_not_count(tiny, tmp_path):
    zeroed = changed(tiny.base, tmp_path / "zeroed", lambda n, t, _: t * 0 if "layers" in n else t)
    assert planned("ties", zeroed, base_model=str(tiny.base)).tensors


def test_adapters_are_held_against_the_base_that_they_name(tiny, stranger):
    save_adapter(stranger / "stranger", stranger / "adapter", 8)
    message = refusal("ties", tiny.persona, stranger / "adapter", base_model=str(tiny.base))
    assert "was trained on another base" in message


def test_few_rows_are_read(tiny, monkeypatch):
    read = []
    original = Checkpoint.read_rows

    def counted(self, name, start, stop):
        read.append(stop - start)
        return original(self, name, start, stop)

    def whole(self, name):
        raise AssertionError(f"{name} was read whole")

    monkeypatch.setattr(Checkpoint, "read_rows", counted)
    monkeypatch.setattr(Checkpoint, "read", whole)
    assert planned("ties", tiny.first, base_model=str(tiny.base)).tensors
    assert 0 < sum(read) <= 2 * 8 * 32


@given(share=st.floats(0, 1), seed=st.integers(0, 1000))
def test_the_measure_is_the_cosine_and_the_distance(share, seed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(32, 40, generator=generator)
    other = base + share * torch.randn(32, 40, generator=generator)
    for name, tensor in (("base", base), ("other", other)):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text("{}")
        save_file({"w": tensor}, folder / name / "model.safetensors")
    a, b = Checkpoint(folder / "other"), Checkpoint(folder / "base")
    cosine, distance = relation(a, b, [("w", "w")])
    one, two = other.double().flatten(), base.double().flatten()
    assert cosine == pytest.approx(float(one @ two / (one.norm() * two.norm())))
    assert distance == pytest.approx(float((one - two).norm() / two.norm()), abs=1e-12)
    assert cosine > UNRELATED


# Architecture


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_type", "mistral"),
        ("num_attention_heads", 8),
        ("num_key_value_heads", 4),
        ("head_dim", 16),
        ("hidden_size", 64),
    ],
)
def test_a_setting_that_must_agree_is_named(tiny, tmp_path, key, value):
    folder = tiny.copy("first", tmp_path / "other")
    mine = json.loads((folder / "config.json").read_text())[key]
    edit_json(folder / "config.json", **{key: value})
    message = refusal("ties", folder, base_model=str(tiny.base))
    assert f"{key} is {value} in its config.json, {mine} in that of" in message


def test_heads_of_another_number_are_refused_though_every_shape_fits(tiny, tmp_path):
    folder = tiny.copy("first", tmp_path / "other")
    edit_json(folder / "config.json", num_attention_heads=8, num_key_value_heads=4, head_dim=4)
    assert "num_attention_heads is 8" in refusal("linear", tiny.second, folder)


def test_a_setting_that_changes_what_is_computed_is_pointed_out(tiny, tmp_path):
    folder = tiny.copy("first", tmp_path / "other")
    edit_json(folder / "config.json", rms_norm_eps=1e-5, sliding_window=8)
    plan = planned("ties", folder, base_model=str(tiny.base))
    assert [note for note in plan.notes if "rms_norm_eps is 1e-05 in other, 1e-06 in base" in note]


# Tensors that only some models store


def stored(folder, to, **extra):
    """A copy of a model with tensors added, or left out where they are None."""
    changed(folder, to, lambda _, tensor, __: tensor)
    tensors = {**weights(to), **{name.replace("__", "."): t for name, t in extra.items()}}
    tensors = {name: t.contiguous() for name, t in tensors.items() if t is not None}
    save_file(tensors, to / "model.safetensors", metadata={"format": "pt"})
    return to


@pytest.fixture(scope="module")
def tied(tmp_path_factory):
    """A tied base and a fine-tune of it, an untied fine-tune, and a tied one that stores a head."""
    root = tmp_path_factory.mktemp("tied")
    model = llama(0, tied=True)
    save_model(model, root / "base")
    save_model(tuned(model, 1), root / "tied")
    embeddings = weights(root / "base")["model.embed_tokens.weight"]
    generator = torch.Generator().manual_seed(4)
    head = embeddings + 0.02 * torch.randn(embeddings.shape, generator=generator)
    stored(root / "tied", root / "untied", lm_head__weight=head)
    edit_json(root / "untied" / "config.json", tie_word_embeddings=False)
    copy = weights(root / "tied")["model.embed_tokens.weight"].clone()
    stored(root / "tied", root / "twice", lm_head__weight=copy)
    return root


def test_a_head_stored_although_it_is_tied_is_left_out(tied):
    for models in (("twice",), ("twice", "tied"), ("tied", "twice")):
        paths = [tied / name for name in models]
        plan = planned("linear", *paths, base_model=str(tied / "base"))
        assert "lm_head.weight" not in {tensor.name for tensor in plan.tensors}
        assert plan.config["tie_word_embeddings"] is True


@pytest.mark.parametrize("base", ["base", "untied"])
def test_an_untied_model_unties_the_merged_one(tied, tmp_path, base):
    paths = [{"model": str(tied / name)} for name in ("tied", "untied")]
    recipe = {"merge_method": "linear", "models": paths, "base_model": str(tied / base)}
    merge(recipe, tmp_path / "out")
    got = weights(tmp_path / "out")
    head = weights(tied / "untied")["lm_head.weight"]
    expected = (weights(tied / "tied")["model.embed_tokens.weight"] + head) / 2
    assert torch.allclose(got["lm_head.weight"], expected, atol=1e-6)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["tie_word_embeddings"] is False
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.allclose(model.lm_head.weight, expected, atol=1e-6)


def test_untying_is_pointed_out(tied):
    plan = planned("linear", tied / "tied", tied / "untied", base_model=str(tied / "base"))
    assert [note for note in plan.notes if "has a head of its own" in note]


def test_an_untied_model_takes_the_changes_of_adapters_on_a_tied_base(tied, tmp_path):
    save_adapter(tied / "base", tmp_path / "adapter", 3, target_modules=["q_proj"])
    models = [{"model": str(tmp_path / "adapter")}, {"model": str(tied / "untied")}]
    merged = merge({"merge_method": "task_arithmetic", "models": models}).tensors
    base = weights(tied / "base")["model.embed_tokens.weight"]
    head = weights(tied / "untied")["lm_head.weight"]
    assert torch.allclose(merged["lm_head.weight"], base + (head - base), atol=1e-6)


def test_an_adapter_on_tied_embeddings_is_refused_with_the_reason(tied, tmp_path):
    save_adapter(tied / "base", tmp_path / "adapter", 3, target_modules=["embed_tokens"])
    assert "shares between its embeddings and its output head" in refusal(
        "ties", tmp_path / "adapter"
    )


def test_buffers_that_some_models_store_are_left_out(tiny, tmp_path):
    frequencies = {
        f"model__layers__{i}__self_attn__rotary_emb__inv_freq": torch.ones(4) for i in range(3)
    }
    old = stored(tiny.first, tmp_path / "old", **frequencies)
    for models in ((old, tiny.second), (tiny.second, old)):
        plan = planned("linear", *models)
        assert not [tensor.name for tensor in plan.tensors if "inv_freq" in tensor.name]
    both = stored(tiny.second, tmp_path / "both", **frequencies)
    names = [tensor.name for tensor in planned("linear", old, both).tensors]
    assert len([name for name in names if "inv_freq" in name]) == 3


def test_a_tensor_that_one_model_of_a_slice_lacks_is_refused(tiny, tmp_path):
    extra = {"model__layers__1__self_attn__q_proj__bias": torch.zeros(32)}
    more = stored(tiny.first, tmp_path / "more", **extra)
    for pair in ((more, tiny.second), (tiny.second, more)):
        sources = [{"model": str(folder), "layer_range": [0, 3]} for folder in pair]
        recipe = {"merge_method": "linear", "slices": [{"sources": sources}]}
        with pytest.raises(UserError, match=r"second: has no tensor '.*q_proj\.bias'"):
            make_plan(parse_recipe(recipe))
