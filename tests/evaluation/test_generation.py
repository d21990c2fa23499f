"""Generation: the replies that plain `generate` gives, whatever the batch."""

import pytest

from mergelab.errors import UserError
from mergelab.evaluation import generate_replies, load_suite
from mergelab.paths import data_path


@pytest.fixture(scope="module")
def loaded():
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = data_path("models", "base")
    base = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    model = PeftModel.from_pretrained(base, data_path("adapters", "task_api_agentic"))
    return model.merge_and_unload(), AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def items():
    return [*load_suite("agentic", "dev")[:30], *load_suite("persona", "dev")[:30]]


def _one_by_one(model, tokenizer, items, **options):
    """What `transformers` itself says, one prompt at a time, without any padding."""
    replies = []
    for item in items:
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": item.input}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )
        out = model.generate(**ids, do_sample=False, **options)
        replies.append(
            tokenizer.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
        )
    return replies


def test_replies_equal_those_of_generate_one_prompt_at_a_time(loaded, items):
    expected = _one_by_one(*loaded, items, max_new_tokens=64)
    assert generate_replies(*loaded, items) == expected


@pytest.mark.parametrize("batch_size", [1, 7, 60])
def test_replies_do_not_depend_on_the_batch(loaded, items, batch_size):
    assert generate_replies(*loaded, items, batch_size=batch_size) == generate_replies(
        *loaded, items
    )


def test_replies_come_in_the_order_of_the_prompts(loaded, items):
    turned = generate_replies(*loaded, items[::-1])
    assert turned[::-1] == generate_replies(*loaded, items)


def test_plain_prompts_are_answered_like_items(loaded, items):
    assert generate_replies(*loaded, [i.input for i in items]) == generate_replies(*loaded, items)


def test_a_reply_is_cut_at_the_most_tokens_allowed(loaded, items):
    model, tokenizer = loaded
    short = generate_replies(model, tokenizer, items[:5], max_new_tokens=3)
    assert short == _one_by_one(model, tokenizer, items[:5], max_new_tokens=3)
    assert all(len(tokenizer.encode(reply, add_special_tokens=False)) <= 3 for reply in short)


def test_no_prompts_give_no_replies(loaded):
    assert generate_replies(*loaded, []) == []


def test_progress_counts_every_prompt_and_the_models_mode_is_kept(loaded, items):
    model, tokenizer = loaded
    seen = []
    model.train()
    try:
        generate_replies(model, tokenizer, items, batch_size=16, progress=seen.append)
        assert model.training
    finally:
        model.eval()
    assert sum(seen) == len(items)


def test_a_tokenizer_without_a_chat_template_is_refused_in_words(loaded, monkeypatch):
    model, tokenizer = loaded
    monkeypatch.setattr(tokenizer, "chat_template", None)
    with pytest.raises(UserError, match="no chat template"):
        generate_replies(model, tokenizer, ["Hi"])


@pytest.mark.parametrize("options", [{"max_new_tokens": 0}, {"batch_size": 0}])
def test_sizes_below_one_are_refused_in_words(loaded, options):
    with pytest.raises(UserError, match="at least 1"):
        generate_replies(*loaded, ["Hi"], **options)
