"""Training batches: the loss counts what the assistant says and nothing else."""

import pytest
from tokenizers import Tokenizer

from mergelab.paths import data_path
from mergelab.zoo.dialogues.mixture import BASE
from mergelab.zoo.training import IGNORED, Schedule, batches, encode


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.from_file(str(data_path("models", "base", "tokenizer.json")))


def test_labels_are_the_replies_with_their_end_mark(tokenizer):
    dialogue = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hey there"},
        {"role": "user", "content": "Bye"},
        {"role": "assistant", "content": "Goodbye"},
    ]
    [(ids, labels)] = encode(tokenizer, [dialogue])
    assert len(ids) == len(labels)
    counted = [token for token in labels if token != IGNORED]
    assert tokenizer.decode(counted, skip_special_tokens=False) == "Hey there<|end|>Goodbye<|end|>"
    assert tokenizer.decode(ids, skip_special_tokens=False) == (
        "<|system|>Be kind.<|end|><|user|>Hello<|end|><|assistant|>Hey there<|end|>"
        "<|user|>Bye<|end|><|assistant|>Goodbye<|end|>"
    )
    assert all(label in (IGNORED, token) for token, label in zip(ids, labels, strict=True))


def test_a_schedule_gets_as_many_batches_as_steps_and_the_same_ones_each_time(tokenizer):
    schedule = Schedule(steps=35, batch=4, rate=1e-3)
    first, again = (list(batches(tokenizer, BASE, schedule, 9)) for _ in range(2))
    assert len(first) == 35
    for (ids, labels), (ids2, labels2) in zip(first, again, strict=True):
        assert ids.shape == labels.shape
        assert ids.shape[0] == 4
        assert ids.equal(ids2)
        assert labels.equal(labels2)


def test_the_rate_rises_then_falls_to_a_tenth():
    schedule = Schedule(steps=100, batch=1, rate=1.0, warmup=10)
    factors = [schedule.factor(step) for step in range(100)]
    assert factors[:10] == sorted(factors[:10])
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert max(factors) == 1.0
    assert factors[-1] == pytest.approx(0.1, abs=0.01)
