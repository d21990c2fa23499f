"""What a person may write for a model, where it is looked for, and how it is loaded."""

import pytest
import torch
from tiny_models import edit_json

from mergelab.checkpoints import References
from mergelab.checkpoints.loading import load_model
from mergelab.errors import UserError

TOKENS = torch.arange(3, 40).reshape(1, -1)


def test_a_model_folder_an_adapter_folder_and_base_plus_adapter(tiny):
    references = References()
    model = references.source(str(tiny.first))
    assert model.model.path == tiny.first
    assert model.adapter is None
    bare = references.source(str(tiny.persona))
    assert bare.adapter.path == tiny.persona
    assert bare.base.path == tiny.base
    both = references.source(f"{tiny.first}+{tiny.persona}")
    assert (both.base.path, both.adapter.path) == (tiny.first, tiny.persona)
    assert (model.name, bare.name, both.name) == ("first", "persona", "persona")


def test_relative_names_are_looked_for_in_each_folder_in_turn(tiny, tmp_path):
    (tmp_path / "persona").mkdir()
    assert References([tiny.root]).source("persona").path == tiny.persona
    with pytest.raises(UserError, match="neither a model"):
        References([tmp_path, tiny.root]).source("persona")
    assert References([tmp_path, tiny.root]).source("./agentic").path == tiny.agentic


def test_a_folder_with_a_plus_in_its_name_is_a_folder(tiny, tmp_path):
    model = tiny.copy("base", tmp_path / "a+b")
    assert References([tmp_path]).source("a+b").model.path == model


def test_a_base_named_relatively_is_found_upwards_from_the_adapter(tiny, tmp_path):
    base = tiny.copy("base", tmp_path / "data" / "models" / "base")
    adapter = tiny.copy("persona", tmp_path / "data" / "adapters" / "persona")
    edit_json(adapter / "adapter_config.json", base_model_name_or_path="data/models/base")
    assert References().source(str(adapter)).base.path == base


def test_one_folder_is_opened_once_however_it_is_written(tiny):
    references = References([tiny.root])
    first, again = references.source("base"), references.source(f"{tiny.root}/../tiny0/./base")
    assert again.model.path.resolve() == tiny.base.resolve()
    assert again.model is first.model


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("./nowhere", "no such folder"),
        ("/nowhere/at/all", "no such folder"),
        ("nowhere", "no such folder"),
        ("here/nowhere/at_all", "no such folder"),
        ("org/name/../../etc", "neither a folder here nor a hub id"),
        ("org/never-downloaded", "hub"),
        ("org/never-downloaded@v1", "hub"),
        ("not a name/at all!", "neither a folder here nor a hub id"),
    ],
)
def test_a_name_that_leads_nowhere_is_one_line(tmp_path, reference, words):
    (tmp_path / "here").mkdir()
    with pytest.raises(UserError, match=words) as refused:
        References([tmp_path]).source(reference)
    assert f"'{reference}'" in str(refused.value)


def test_a_folder_that_holds_no_model_a_file_and_a_wrong_sum_are_one_line(tiny, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "model.safetensors").touch()
    references = References([tmp_path])
    with pytest.raises(UserError, match="neither a model"):
        references.source("empty")
    with pytest.raises(UserError, match="name the folder"):
        references.source("model.safetensors")
    for wrong in (f"{tiny.persona}+{tiny.agentic}", f"{tiny.persona}+{tiny.base}"):
        with pytest.raises(UserError, match=r"write base\+adapter"):
            references.source(wrong)


def test_an_adapter_whose_base_is_nowhere_says_what_to_write(tiny, tmp_path):
    adapter = tiny.copy("persona", tmp_path / "a")
    for name in ("./gone", None):
        edit_json(adapter / "adapter_config.json", base_model_name_or_path=name)
        references = References()
        with pytest.raises(UserError, match=r"base_model in the recipe, or write base\+adapter"):
            references.base_of(references.source(str(adapter)))


@pytest.mark.filterwarnings("ignore")
def test_an_adapter_loads_as_the_model_that_peft_loads(tiny):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model, tokenizer = load_model(str(tiny.persona))
    reference = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny.base), tiny.persona
    ).eval()
    with torch.inference_mode():
        ours, theirs = model(TOKENS).logits, reference(TOKENS).logits
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert len(tokenizer) == 96


def test_a_full_model_loads_as_transformers_loads_it(tiny):
    from transformers import AutoModelForCausalLM

    model, _ = load_model(str(tiny.first))
    reference = AutoModelForCausalLM.from_pretrained(tiny.first).eval()
    with torch.inference_mode():
        assert model(TOKENS).logits.equal(reference(TOKENS).logits)


def test_a_damaged_tokenizer_is_one_line(tiny, tmp_path):
    model = tiny.copy("base", tmp_path / "model")
    (model / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=r"model: has no tokenizer that can be loaded; put"):
        load_model(str(model))


def test_a_model_without_its_tokenizer_is_one_line(tiny, tmp_path):
    model = tiny.copy("base", tmp_path / "model")
    for file in model.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(UserError, match="has no tokenizer"):
        load_model(str(model))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"num_hidden_layers": 4}, "layers.3"),
        ({"num_hidden_layers": 2}, "layers.2"),
        ({"hidden_size": 64}, r"shape \[96, 32\].*\[96, 64\]"),
        ({"model_type": "no_such_architecture"}, "no_such_architecture"),
    ],
)
def test_a_config_that_does_not_fit_the_weights_is_one_line(tiny, tmp_path, changes, word):
    model = tiny.copy("base", tmp_path / "model")
    edit_json(model / "config.json", **changes)
    with pytest.raises(UserError, match=word):
        load_model(str(model))
