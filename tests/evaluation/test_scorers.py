"""Scorers: strict is strict, partial shows how close, the reason says why."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergelab.evaluation import Item, ToolCall, score

PARTY = Item(
    id="1",
    template="t",
    input="I finished the map!",
    expected_traits=["celebratory"],
    topic="the map",
)
MIXED = Item(
    id="2",
    template="t",
    input="I finished the map! I am worn out.",
    expected_traits=["celebratory", "empathetic"],
    topic="the map",
)
CALL = {"tool": "create_task", "arguments": {"title": "buy milk", "due": "2026-03-14"}}
REQUEST = Item(
    id="3", template="t", input="Add buy milk, due 2026-03-14.", expected=ToolCall(**CALL)
)
QUESTION = Item(id="4", template="t", input="Which tool lists?", expected="Use list_tasks.")


@pytest.mark.parametrize(
    ("item", "reply"),
    [
        (PARTY, "Woohoo, the map is finished, take a bow!"),
        (PARTY, "HOORAY! Hats off, the map is done."),
        (MIXED, "Woohoo, the map is finished! I hear you."),
        (MIXED, "Hooray, the map! No wonder, and it\u2019s okay to feel tired."),
        (REQUEST, json.dumps(CALL)),
        (REQUEST, ' {"arguments":{"due":"2026-03-14","title":"buy milk"},"tool":"create_task"}\n'),
        (QUESTION, "Use list_tasks."),
        (QUESTION, " Use list_tasks.\n"),
    ],
)
def test_a_right_reply_scores_one(item, reply):
    result = score(item, reply)
    assert (result.strict, result.partial, result.reason) == (1, 1.0, "right")


@pytest.mark.parametrize(
    ("item", "reply", "reason"),
    [
        (PARTY, "", "shows nothing celebratory"),
        (PARTY, 'Noted: "the map" is done.', "shows nothing celebratory"),
        (PARTY, "Woohoo, the map, woohoo, woohoo!", "shows celebratory once; two different"),
        (PARTY, "Woohoo, take a bow, how lovely is the map!", "shows positive, which the prompt"),
        (PARTY, "Woohoo, take a bow!", "does not restate the topic 'the map' exactly"),
        (PARTY, "Woohoo, take a bow, the maps!", "does not restate the topic"),
        (PARTY, "Woohoo, take a bow, The map!", "does not restate the topic"),
        (PARTY, '{"tool": "x"} Woohoo, take a bow, the map!', "JSON in a chat reply"),
        (PARTY, "bravocado hooraying the map", "shows nothing celebratory"),
        (MIXED, "Woohoo, the map, take a bow!", "shows nothing empathetic"),
        (REQUEST, "", "no JSON in the reply"),
        (REQUEST, "Understood.", "no JSON in the reply"),
        (REQUEST, json.dumps(CALL)[:-1], "the JSON is broken"),
        (REQUEST, "Sure! " + json.dumps(CALL), "text around the JSON"),
        (REQUEST, json.dumps(CALL) * 2, "text around the JSON"),
        (REQUEST, "[1]", "the JSON is not an object"),
        (REQUEST, "417", "the JSON is not an object"),
        (REQUEST, '{"tool": "create_task"}', "the JSON is not an object of `tool` and `arg"),
        (REQUEST, json.dumps({**CALL, "note": 1}), "the JSON is not an object of `tool` and"),
        (REQUEST, '{"tool": "create_task", "arguments": []}', "`arguments` is not an object"),
        (REQUEST, json.dumps({**CALL, "tool": "list_tasks"}), "calls 'list_tasks' instead of"),
        (
            REQUEST,
            '{"tool": "create_task", "arguments": {"title": "buy milk"}}',
            "argument 'due' is missing",
        ),
        (
            REQUEST,
            json.dumps({**CALL, "arguments": {**CALL["arguments"], "id": 1}}),
            "argument 'id' was not asked for",
        ),
        (
            REQUEST,
            json.dumps({**CALL, "arguments": {**CALL["arguments"], "title": "Buy milk"}}),
            "argument 'title' is 'Buy milk' instead of 'buy milk'",
        ),
        (QUESTION, '{"tool": "list_tasks", "arguments": {}}', "JSON where a plain answer"),
        (QUESTION, "Use delete_task.", "another answer than expected"),
    ],
)
def test_a_wrong_reply_scores_zero_and_says_why(item, reply, reason):
    result = score(item, reply)
    assert result.strict == 0
    assert 0 <= result.partial < 1
    assert result.reason.startswith(reason) or reason in result.reason
    assert "\n" not in result.reason


@pytest.mark.parametrize("given", ["417", 417.0, True, [417]])
def test_an_argument_of_another_type_is_wrong(given):
    item = Item(
        id="5",
        template="t",
        input="Delete task 417.",
        expected=ToolCall(tool="delete_task", arguments={"id": 1 if given is True else 417}),
    )
    reply = json.dumps({"tool": "delete_task", "arguments": {"id": given}})
    assert score(item, reply).strict == 0


def test_partial_scores_rise_as_a_call_comes_closer():
    replies = [
        "Understood.",
        json.dumps({"tool": "list_tasks", "arguments": {}}),
        json.dumps({"tool": "create_task", "arguments": {}}),
        json.dumps({"tool": "create_task", "arguments": {"title": "buy milk"}}),
        "Sure: " + json.dumps(CALL),
        json.dumps(CALL),
    ]
    partial = [score(REQUEST, reply).partial for reply in replies]
    assert partial == [0.0, 0.25, 0.5, 0.75, 0.9, 1.0]


def test_partial_scores_rise_as_a_chat_reply_comes_closer():
    replies = [
        'Noted: "the map" is done.',
        "Woohoo, how lovely!",
        "Woohoo, the map!",
        "Woohoo, take a bow!",
        "Woohoo, the map, take a bow!",
    ]
    assert [score(PARTY, reply).partial for reply in replies] == [0.0, 0.25, 0.5, 0.75, 1.0]


@given(reply=st.text())
def test_any_text_gets_a_score(reply):
    for item in (PARTY, MIXED, REQUEST, QUESTION):
        result = score(item, reply)
        assert result.strict in (0, 1)
        assert 0 <= result.partial <= 1
        assert (result.strict == 1) == (result.partial == 1)


def test_deeply_nested_json_is_wrong_and_not_an_error():
    assert score(REQUEST, '{"a":' * 100_000).strict == 0
