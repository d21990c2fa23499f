"""A chat answers within the model's context, with or without memory."""

import pytest

from mergelab.chat import Chat
from mergelab.checkpoints.loading import load_model
from mergelab.errors import UserError


@pytest.fixture(scope="module")
def shipped():
    return load_model("base")


def test_without_memory_each_prompt_stands_alone(shipped):
    talk = Chat(*shipped, max_new_tokens=8)
    first = talk.say("Hello")
    talk.say("Please list my tasks")
    assert talk.say("Hello") == first
    assert len(talk.history) == 2


def test_with_memory_the_oldest_turns_make_room(shipped):
    talk = Chat(*shipped, max_new_tokens=4, memory=True)
    for _ in range(12):
        talk.say("word " * 30)
    kept = talk.tokenizer.apply_chat_template(talk.history, tokenize=True, return_dict=True)
    assert 2 < len(talk.history) < 24
    assert len(kept["input_ids"]) <= talk.model.config.max_position_embeddings


def test_a_reply_never_runs_past_the_context(shipped):
    talk = Chat(*shipped, max_new_tokens=10**6)
    talk.model.generation_config.eos_token_id, stop = (
        None,
        talk.model.generation_config.eos_token_id,
    )
    try:
        reply = talk.say("Hello")
    finally:
        talk.model.generation_config.eos_token_id = stop
    tokens = talk.tokenizer(reply)["input_ids"]
    assert 0 < len(tokens) <= talk.model.config.max_position_embeddings


def test_a_prompt_longer_than_the_context_is_one_clear_line(shipped):
    talk = Chat(*shipped)
    with pytest.raises(UserError, match="shorten it"):
        talk.say("word " * 3000)
    assert talk.say("Hello")


def test_a_model_without_a_chat_template_is_refused(shipped):
    class Bare:
        chat_template = None

    with pytest.raises(UserError, match="chat template"):
        Chat(shipped[0], Bare())
