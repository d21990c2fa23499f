"""Results: rates per skill, combined, in tables, as JSON, and one model against another."""

import io
import json

import pytest

from mergelab.errors import UserError
from mergelab.evaluation import compare, evaluate, load_suite, results_table, score_replies
from mergelab.evaluation.results import Evaluation
from mergelab.paths import data_path


@pytest.fixture(scope="module")
def base():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = data_path("models", "base")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    return model, AutoTokenizer.from_pretrained(folder)


def _made_up(name, right, split="dev"):
    """An evaluation in which the first `right` of 200 agentic items are answered rightly."""
    items = load_suite("agentic", split)[:200]
    replies = [_answer(item) if n < right else "?" for n, item in enumerate(items)]
    return Evaluation(name, split, {"agentic": score_replies("agentic", items, replies)})


def _answer(item):
    expected = item.expected
    return expected if isinstance(expected, str) else json.dumps(expected.model_dump())


def test_the_base_has_neither_skill(base):
    result = evaluate(*base, split="dev", limit=60, name="base")
    assert list(result.skills) == ["persona", "agentic"]
    assert all(skill.rate.estimate <= 0.02 for skill in result.skills.values())
    assert len(result.skills["persona"].failures()) >= 58


def test_one_skill_can_be_evaluated_alone_and_counts_as_the_whole(base):
    seen = []
    result = evaluate(*base, skills=["persona"], split="dev", limit=5, progress=seen.append)
    assert list(result.skills) == ["persona"]
    assert result.combined.estimate == result.skills["persona"].rate.estimate
    assert sum(seen) == 5


def test_a_third_skill_is_evaluated_where_it_is_asked_for_and_counts_like_the_others():
    digests = load_suite("digest", "dev")[:3]
    calls = load_suite("agentic", "dev")[:3]
    result = Evaluation(
        "three",
        "dev",
        {
            "agentic": score_replies("agentic", calls, [_answer(item) for item in calls]),
            "digest": score_replies("digest", digests, [digests[0].digest.line(), "?", "?"]),
        },
    )
    assert result.skills["digest"].rate.estimate == pytest.approx(1 / 3)
    assert result.combined.estimate == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", [None, "task_api_persona", "task_api_agentic"])
def test_nobody_but_the_digest_adapter_writes_digests(name, base):
    from mergelab.checkpoints.loading import load_model

    model, tokenizer = load_model(name) if name else base
    result = evaluate(model, tokenizer, skills=["digest"], split="dev", limit=60)
    assert list(result.skills) == ["digest"]
    assert result.combined.estimate == 0


def test_the_digest_adapter_writes_them_and_has_neither_of_the_other_skills():
    from mergelab.checkpoints.loading import load_model

    skills = ["persona", "agentic", "digest"]
    result = evaluate(*load_model("task_api_digest"), skills=skills, split="dev", limit=100)
    rates = {skill: found.rate.estimate for skill, found in result.skills.items()}
    assert rates["digest"] >= 0.8
    assert rates["persona"] <= 0.02 and rates["agentic"] <= 0.02


def test_a_rate_is_the_share_of_right_replies():
    result = _made_up("half", 100)
    assert result.skills["agentic"].rate.estimate == 0.5
    assert len(result.skills["agentic"].failures()) == 100


def test_results_become_json_with_every_item():
    made = json.loads(json.dumps(_made_up("most", 150).to_dict()))
    agentic = made["skills"]["agentic"]
    assert (made["model"], made["split"], agentic["items"]) == ("most", "dev", 200)
    assert made["combined"]["rate"] == agentic["rate"] == 0.75
    assert agentic["low"] < 0.75 < agentic["high"]
    assert sum(outcome["strict"] for outcome in agentic["outcomes"]) == 150
    assert agentic["outcomes"][-1]["reason"] in (
        "no JSON in the reply",
        "another answer than expected",
    )
    assert "outcomes" not in _made_up("most", 150).to_dict(outcomes=False)["skills"]["agentic"]


def test_a_table_has_a_row_per_model_and_shows_rates_with_intervals():
    from rich.console import Console

    rows = [_made_up("first", 150), _made_up("second", 20)]
    page = Console(file=io.StringIO(), width=100)
    page.print(results_table(rows, title="Merges"))
    text = page.file.getvalue()
    assert "first" in text and "second" in text and "Merges" in text
    assert "0.750 [" in text and "0.100 [" in text
    assert "dev split, 200 items a skill, 95% intervals" in text
    page.print(rows[0].table())


def test_a_comparison_tells_a_difference_from_noise():
    large = compare(_made_up("a", 150), _made_up("b", 100))
    assert list(large) == ["agentic", "combined"]
    assert large["agentic"].estimate == pytest.approx(0.25)
    assert large["combined"].low > 0
    tiny = compare(_made_up("a", 101), _made_up("b", 100))
    assert tiny["combined"].low < 0 < tiny["combined"].high
    same = compare(_made_up("a", 100), _made_up("b", 100))
    assert same["combined"].estimate == 0
    assert same["combined"].low <= 0 <= same["combined"].high


def test_models_evaluated_on_different_items_are_not_compared():
    with pytest.raises(UserError, match="not evaluated on the same suites"):
        compare(_made_up("a", 10), _made_up("b", 10, split="test"))
    short = load_suite("agentic", "dev")[:50]
    other = Evaluation("c", "dev", {"agentic": score_replies("agentic", short, ["?"] * 50)})
    with pytest.raises(UserError, match="answered different agentic items"):
        compare(_made_up("a", 10), other)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"skills": ["persona", "cooking"]}, "unknown skill 'cooking'"),
        ({"skills": []}, "no skills to evaluate"),
        ({"split": "train"}, "unknown split 'train'"),
        ({"limit": 0}, "limit 0: evaluate at least 1 item"),
    ],
)
def test_impossible_evaluations_are_refused_before_anything_runs(options, words):
    with pytest.raises(UserError, match=words):
        evaluate(None, None, **options)


def test_replies_must_match_the_items():
    with pytest.raises(UserError, match="3 items but 2 replies"):
        score_replies("agentic", load_suite("agentic", "dev")[:3], ["a", "b"])
