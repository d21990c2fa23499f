"""Items of one's own, system prompts, references: what is asked, and what results say about it."""

import json
import re

import pytest

from mergelab.checkpoints.loading import load_model
from mergelab.errors import UserError
from mergelab.evaluation import (
    Item,
    ToolCall,
    evaluate,
    generate_replies,
    load_suite,
    load_suite_file,
    results_table,
    score,
    score_replies,
)
from mergelab.evaluation.choosing_scorers import FREE, choose_scorer
from mergelab.evaluation.generation import encode_chat
from mergelab.evaluation.results import Evaluation, compare
from mergelab.evaluation.suites import by_skill
from mergelab.evaluation.system_prompts import SYSTEM, system_prompts
from mergelab.zoo.references import with_references

OPEN = {"id": "o", "template": "t", "input": "Capital of France?", "references": ["Paris"]}
CHAT = {
    "id": "p",
    "template": "t",
    "input": "It is done!",
    "expected_traits": ["celebratory"],
    "topic": "the map",
}
CALL = {"id": "a", "template": "t", "input": "Is 7 done?", "expected": "Use get_status."}


def write(path, *lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_open_items_are_read_and_grouped_and_written_back(tmp_path):
    judged = {**OPEN, "id": "j", "criterion": "The reply is short."}
    del judged["references"]
    both = {**CHAT, "id": "b", "references": ["Hooray!"], "criterion": "c", "system": "Be kind."}
    items = load_suite_file(write(tmp_path / "own.jsonl", OPEN, CALL, judged, both))
    assert {s: [i.id for i in found] for s, found in by_skill(items).items()} == {
        "open": ["o", "j"],
        "agentic": ["a"],
        "persona": ["b"],
    }
    assert (items[3].references, items[3].criterion, items[3].system) == (
        ["Hooray!"],
        "c",
        "Be kind.",
    )
    assert [json.loads(item.to_line()) for item in items] == [OPEN, CALL, judged, both]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({**OPEN, "references": []}, "references: List should have at least 1 item"),
        ({**OPEN, "references": [""]}, "references.0: String should have at least 1 character"),
        ({**OPEN, "references": "Paris"}, "references: Input should be a valid array"),
        ({**CALL, "references": ["x"]}, "do not go with an item of agentic"),
        ({**CALL, "criterion": "x"}, "do not go with an item of agentic"),
        ({"id": "x", "template": "t", "input": "?"}, "or `references` or a `criterion`"),
        ({**CHAT, "topic": None, "criterion": "x"}, "needs `expected_traits` and `topic`"),
        ({**OPEN, "sytem": "x"}, "unknown key 'sytem'; known keys are id, template, input"),
    ],
)
def test_a_bad_line_of_ones_own_is_named_with_its_number(tmp_path, line, words):
    path = write(tmp_path / "own.jsonl", CALL, {**line, "id": "second"})
    with pytest.raises(UserError, match=rf"own.jsonl, line 2: .*{re.escape(words)}"):
        load_suite_file(path)


def test_the_strict_score_of_an_open_item_is_letter_by_letter():
    item = Item(**OPEN)
    assert [score(item, reply).strict for reply in (" Paris\n", "paris", "It is Paris")] == [
        1,
        0,
        0,
    ]


@pytest.fixture(scope="module")
def base():
    return load_model("base")


def test_own_items_are_asked_and_named_in_results(base):
    suites = by_skill([Item(**OPEN), Item(**{**OPEN, "id": "o2"}), Item(**CHAT)])
    found = evaluate(
        *base, suites=suites, split="own.jsonl", scorer=FREE, max_new_tokens=4, batch_size=1
    )
    assert {skill: len(result.outcomes) for skill, result in found.skills.items()} == {
        "open": 2,
        "persona": 1,
    }
    assert {s: part["scorer"] for s, part in found.to_dict()["skills"].items()} == {
        "open": "free",
        "persona": "free",
    }
    caption = results_table([found]).caption
    assert caption == (
        "own.jsonl, 2 open, 1 persona, 95% intervals; judged by: open free; persona free"
    )
    limited = evaluate(*base, suites=suites, split="own.jsonl", limit=1, max_new_tokens=1)
    assert [len(result.outcomes) for result in limited.skills.values()] == [1, 1]


def test_items_that_the_scorer_cannot_judge_are_refused_before_anything_is_asked():
    item = Item(id="7", template="t", input="?", criterion="It is short.")
    with pytest.raises(UserError, match="item '7': scorer strict needs `references`"):
        evaluate(None, None, suites={"open": [item]})


def test_figures_of_different_scorers_are_not_compared():
    items = load_suite("agentic", "dev")[:3]
    strict, free = (
        Evaluation("m", "dev", {"agentic": score_replies("agentic", items, ["?"] * 3, scorer)})
        for scorer in (choose_scorer("strict"), FREE)
    )
    with pytest.raises(UserError, match=r"scored differently \(strict, free\)"):
        compare(strict, free)


def test_a_call_in_another_form_is_right_only_for_the_free_scorer():
    item = Item(
        id="1", template="t", input="?", expected=ToolCall(tool="get_status", arguments={"id": 7})
    )
    reply = ['```json\n{"name": "getStatus", "parameters": {"id": "7"}}\n```']
    assert score_replies("agentic", [item], reply).rate.estimate == 0
    assert score_replies("agentic", [item], reply, FREE).rate.estimate == 1


class Recording:
    """A tokenizer that notes what it is asked to encode."""

    def __init__(self, tokenizer):
        self.tokenizer, self.seen = tokenizer, []

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)

    def apply_chat_template(self, messages, **options):
        self.seen.append([(m["role"], m["content"]) for m in messages])
        return self.tokenizer.apply_chat_template(messages, **options)


def test_the_items_own_system_prompt_comes_before_that_of_its_skill(base):
    model, tokenizer = base
    recording = Recording(tokenizer)
    items = [Item(**OPEN), Item(**{**CHAT, "system": "Be kind."}), Item(**CHAT), "Hello"]
    generate_replies(model, recording, items, max_new_tokens=1, system={"persona": "Be brief."})
    user = ("user", CHAT["input"])
    assert recording.seen == [
        [("user", OPEN["input"])],
        [("system", "Be kind."), user],
        [("system", "Be brief."), user],
        [("user", "Hello")],
    ]


def test_a_template_that_takes_no_system_prompt_is_named_in_words(base):
    _, tokenizer = base
    with pytest.raises(UserError, match="does not take messages of wizard and user"):
        encode_chat(tokenizer, [{"role": r, "content": "x"} for r in ("wizard", "user")])


def test_system_prompts_come_from_the_package_or_from_a_file(tmp_path):
    assert system_prompts(None) == {}
    assert system_prompts("shipped") == SYSTEM
    (tmp_path / "own.txt").write_text("Be brief.\n")
    assert set(system_prompts(str(tmp_path / "own.txt")).values()) == {"Be brief."}
    assert set(system_prompts(str(tmp_path / "own.txt"))) == {
        "persona",
        "agentic",
        "digest",
        "open",
    }
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\xff")
    for name, words in (("empty", "is empty"), ("bytes", "not UTF-8"), ("none", "cannot be read")):
        with pytest.raises(UserError, match=words):
            system_prompts(str(tmp_path / f"{name}.txt"))


@pytest.mark.parametrize("split", ["dev", "test"])
def test_the_shipped_system_prompt_tells_of_every_tool_and_argument_of_the_suites(split):
    told = {
        name: {argument.strip(" ?") for argument in arguments.split(",")}
        for name, arguments in re.findall(r"^- (\w+)\((.*)\)$", SYSTEM["agentic"], re.MULTILINE)
    }
    calls = [item.expected for item in load_suite("agentic", split)]
    for call in calls:
        if isinstance(call, ToolCall):
            assert set(call.arguments) <= told[call.tool]
    assert {call.tool for call in calls if isinstance(call, ToolCall)} == set(told)
    for item in load_suite("persona", split):
        assert all(trait in SYSTEM["persona"] for trait in item.expected_traits)


@pytest.mark.parametrize("split", ["dev", "test"])
def test_the_references_of_the_shipped_persona_items_are_right_replies(split):
    items = with_references(load_suite("persona", split))
    assert all(score(item, item.references[0]).strict for item in items)
    calls = load_suite("agentic", split)[:3]
    assert with_references(calls) == calls
