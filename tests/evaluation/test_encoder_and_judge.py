"""Scores by an encoder and by a judge: the numbers that `transformers` itself gives, in words."""

import json

import pytest
import torch
from tiny_models import llama, save_model

from mergelab.checkpoints.loading import load_model
from mergelab.errors import UserError
from mergelab.evaluation import Item
from mergelab.evaluation.choosing_scorers import choose_scorer
from mergelab.evaluation.embedding import Encoder, score_by_embedding
from mergelab.evaluation.judge import NO, PROMPT, YES, Judge, score_by_judge, statement


def open_item(number, **fields):
    return Item(id=str(number), template="t", input="w1 w2", **fields)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random model whose word-level tokenizer takes a word for a token."""
    return save_model(llama(3), tmp_path_factory.mktemp("encoder"))


def _hidden(folder, text):
    from transformers import AutoModel, AutoTokenizer

    ids = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt").input_ids
    with torch.inference_mode():
        model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
        return model(input_ids=ids).last_hidden_state[0]


def _saved_by_sentence_transformers(folder, config, *kinds):
    """What sentence-transformers writes beside a model that it saves."""
    kinds = kinds or ("Transformer", "Pooling", "Normalize")
    modules = [
        {"idx": n, "type": f"sentence_transformers.models.{kind}", "path": f"{n}_{kind}" * (n > 0)}
        for n, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("config", "pooled"),
    [
        (None, lambda hidden: hidden.mean(0)),
        ({"pooling_mode_mean_tokens": True}, lambda hidden: hidden.mean(0)),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, lambda h: h[0]),
        ({"pooling_mode_lasttoken": True}, lambda hidden: hidden[-1]),
        ({"pooling_mode": "cls"}, lambda hidden: hidden[0]),
    ],
)
def test_vectors_are_pooled_as_the_folder_says_whatever_shares_the_batch(tmp_path, config, pooled):
    folder = save_model(llama(3), tmp_path / "encoder")
    if config:
        _saved_by_sentence_transformers(folder, config)
    texts = ["w1 w2 w3", "w4", "w5 w6 w7 w8 w9"]
    vectors = Encoder(str(folder)).vectors(texts)
    for text, vector in zip(texts, vectors, strict=True):
        expected = torch.nn.functional.normalize(pooled(_hidden(folder, text)), dim=-1)
        torch.testing.assert_close(vector, expected, atol=1e-5, rtol=1e-4)


def test_the_score_is_the_largest_cosine_against_the_threshold(folder):
    items = [open_item(n, references=["w3 w4", "w9"]) for n in range(3)]
    replies = ["w9", "w40 w41", " "]
    right, other, empty = score_by_embedding(Encoder(str(folder)), items, replies, 0.999)
    assert (right.strict, right.partial) == (1, 1.0)
    means = [_hidden(folder, text).mean(0) for text in ("w40 w41", "w3 w4", "w9")]
    cosine = max(float(torch.cosine_similarity(means[0], means[n], dim=0)) for n in (1, 2))
    assert 0 < cosine < 0.999
    assert other.strict == 0
    assert other.partial == pytest.approx(min(cosine / 0.999, 0.99), abs=1e-4)
    assert other.reason == f"cosine {cosine:.2f} to the nearest reference"
    assert (empty.strict, empty.partial, empty.reason) == (0, 0.0, "an empty reply")
    lenient = score_by_embedding(Encoder(str(folder)), items, replies, cosine - 1e-4)
    assert [score.strict for score in lenient] == [1, 1, 0]


@pytest.mark.parametrize(
    ("config", "kinds", "words"),
    [
        ({"pooling_mode_max_tokens": True}, (), "'max' of sentence-transformers"),
        (
            {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
            (),
            "'mean' of sentence-transformers",
        ),
        (
            {"pooling_mode_mean_tokens": True},
            ("Transformer", "Pooling", "Dense"),
            "'Dense' of sentence-transformers",
        ),
        ([], (), "cannot be read"),
    ],
)
def test_an_encoder_that_needs_more_is_refused_in_words(tmp_path, config, kinds, words):
    folder = save_model(llama(3), tmp_path / "encoder")
    _saved_by_sentence_transformers(folder, config, *kinds)
    with pytest.raises(UserError, match=words):
        Encoder(str(folder))


def test_the_shipped_base_serves_as_an_encoder():
    item = open_item(1, references=["The map is finished!", "Hooray!"])
    (score,) = score_by_embedding(Encoder("base"), [item], ["The map is finished!"], 1 - 1e-5)
    assert score.strict == 1


def _likelihood(model, tokenizer, question, word):
    """The log-probability of a word behind a question, from whole logits, token by token."""
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
    )
    ids = tokenizer.encode(text, add_special_tokens=False)
    total = 0.0
    for token in tokenizer.encode(word, add_special_tokens=False):
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
        total += float(logits.log_softmax(-1)[token])
        ids.append(token)
    return total


def test_the_judge_weighs_the_whole_words_yes_and_no():
    model, tokenizer = load_model("base")
    judge = Judge("base")
    items = [open_item(n, criterion=f"The reply counts to {n}.") for n in range(6)]
    scores = score_by_judge(judge, items, ["One, two."] * 6)
    for item, score in zip(items, scores, strict=True):
        question = PROMPT.format(input=item.input, reply="One, two.", statement=item.criterion)
        yes, no = (_likelihood(model, tokenizer, question, word) for word in (YES, NO))
        assert judge.log_probabilities(question) == pytest.approx((yes, no), abs=1e-3)
        assert score.strict == (yes > no)
        assert score.partial == 1 if score.strict else 0 <= score.partial < 1


class Prefers:
    """A judge that has its mind made up."""

    def __init__(self, yes, no):
        self.answer, self.asked = (yes, no), []

    def log_probabilities(self, question):
        self.asked.append(question)
        return self.answer


@pytest.mark.parametrize(
    ("yes", "no", "strict", "partial"),
    [
        (-0.1, -3.0, 1, 1.0),
        (-3.0, -3.0 - 1e-6, 1, 1.0),
        (-2.0, -2.0, 0, 0.99),
        (-2.0 - 1.0986123, -2.0, 0, 0.5),
        (-2000.0, -0.1, 0, 0.0),
    ],
)
def test_right_is_a_likelier_yes_and_the_part_its_share_doubled(yes, no, strict, partial):
    (score,) = score_by_judge(Prefers(yes, no), [open_item(1, criterion="It is short.")], ["Hm."])
    assert score.strict == strict
    assert score.partial == pytest.approx(partial, abs=1e-6)
    assert (score.reason == "right") == bool(strict)


def test_the_question_holds_prompt_reply_and_statement_and_an_empty_reply_is_not_asked_about():
    judge = Prefers(-1.0, -2.0)
    items = [
        open_item(1, criterion="The reply is {curly}."),
        Item(
            id="2",
            template="t",
            input="I did it!",
            expected_traits=["celebratory", "positive"],
            topic="the map",
        ),
        open_item(3, references=["Paris"]),
    ]
    scores = score_by_judge(judge, items, ["So {it} is.", "Hooray for the map", "  "])
    assert [score.strict for score in scores] == [1, 1, 0]
    assert len(judge.asked) == 2
    assert "w1 w2" in judge.asked[0] and "So {it} is." in judge.asked[0]
    assert "Statement: The reply is {curly}." in judge.asked[0]
    assert "celebrates" in judge.asked[1] and "bright mood" in judge.asked[1]
    assert "speaks of the map" in judge.asked[1]
    assert '"Paris"' in statement(items[2])


def test_a_question_longer_than_the_judges_context_is_refused_in_words(folder):
    item = open_item(1, criterion="The reply is short.")
    with pytest.raises(UserError, match="more than its 64; name a judge with more context"):
        score_by_judge(Judge(str(folder)), [item], ["w1 " * 80])


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("lenient", {}, "unknown scorer 'lenient'; known are strict, free, embedding:NAME, judge"),
        ("judge", {}, "unknown scorer 'judge'"),
        ("judge:", {}, "unknown scorer 'judge:'"),
        ("judge:./nowhere", {}, "'./nowhere': no such folder"),
        ("embedding:./nowhere", {}, "'./nowhere': no such folder"),
        ("embedding:base", {"threshold": 0.0}, "threshold 0.0: a cosine above 0"),
        ("embedding:base", {"threshold": 1.5}, "threshold 1.5"),
        ("free", {"threshold": 0.5}, "only the scorer embedding:NAME has one"),
        ("judge:base", {"dtype": "bf16"}, "dtype bf16: use float32"),
        ("judge:base", {"device": "gpu"}, "device gpu: use cpu"),
    ],
)
def test_a_scorer_that_cannot_be_had_is_refused_before_any_model_is_loaded(name, options, words):
    with pytest.raises(UserError, match=words):
        choose_scorer(name, **options)


def test_an_item_without_what_the_scorer_needs_is_named():
    item = open_item("x7", criterion="The reply is short.")
    for name in ("strict", "free", "embedding:base"):
        with pytest.raises(UserError, match=r"item 'x7': scorer .* needs `references`"):
            choose_scorer(name).check([item])
    choose_scorer("judge:base").check([item])
