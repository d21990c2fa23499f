"""The shipped tokenizer: any text survives it, and the code makes it again."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergelab.paths import data_path
from mergelab.zoo.build import tokenizer_text
from mergelab.zoo.tokenizer import SPECIAL_TOKENS, VOCABULARY, save_tokenizer, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(data_path("models", "base"))


@given(text=st.text())
def test_any_text_comes_back_unchanged(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    assert tokenizer.decode(ids) == text


@given(text=st.binary())
def test_any_bytes_come_back_unchanged_as_text(tokenizer, text):
    content = text.decode("utf-8", errors="replace")
    ids = tokenizer.encode(content, add_special_tokens=False, split_special_tokens=True)
    assert tokenizer.decode(ids) == content


def test_the_alphabet_holds_all_256_bytes(tokenizer):
    from tokenizers.pre_tokenizers import ByteLevel

    assert len(set(ByteLevel.alphabet()) & tokenizer.get_vocab().keys()) == 256
    assert len(tokenizer) == VOCABULARY


def test_digits_stand_alone(tokenizer):
    assert not [
        token for token in tokenizer.get_vocab() if len(token) > 1 and any(map(str.isdigit, token))
    ]


def test_special_tokens_are_single_and_first(tokenizer):
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == list(range(len(SPECIAL_TOKENS)))
    assert (tokenizer.pad_token, tokenizer.eos_token) == ("<|pad|>", "<|end|>")


def test_the_chat_template_marks_who_speaks(tokenizer):
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Bye"},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|system|>Be kind.<|end|><|user|>Hi<|end|><|assistant|>Hello.<|end|>"
        "<|user|>Bye<|end|><|assistant|>"
    )


def test_the_chat_template_refuses_an_unknown_role(tokenizer):
    with pytest.raises(Exception, match="a message has the role"):
        tokenizer.apply_chat_template([{"role": "robot", "content": "Hi"}], tokenize=False)


def test_the_shipped_tokenizer_is_what_the_code_makes(tmp_path):
    save_tokenizer(train_tokenizer(tokenizer_text()), tmp_path)
    made, shipped = (
        json.loads((folder / "tokenizer.json").read_text("utf-8"))
        for folder in (tmp_path, data_path("models", "base"))
    )
    assert made["model"] == shipped["model"]
    assert made["pre_tokenizer"] == shipped["pre_tokenizer"]
    assert made["added_tokens"] == shipped["added_tokens"]
