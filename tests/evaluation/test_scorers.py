"""Scorers: strict is strict, partial shows how close, the reason says why."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergelab.evaluation import Digest, Item, ToolCall, score

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

TASK = Item(
    id="5",
    template="t",
    input="Digest task 417: buy milk, due 2026-03-14, high priority.",
    digest=Digest(title="buy milk", due="2026-03-14", priority="high", id=417),
)
COMMA = Item(
    id="7",
    template="t",
    input="Digest buy milk, bread, low priority.",
    digest=Digest(title="buy milk, bread", priority="low"),
)
ALONE = Item(id="6", template="t", input="Digest buy milk.", digest=Digest(title="buy milk"))
FULL = 'Digest: "buy milk", due 2026-03-14, high priority, task 417.'


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
        (TASK, FULL),
        (TASK, f" {FULL}\n"),
        (ALONE, 'Digest: "buy milk".'),
        (COMMA, 'Digest: "buy milk, bread", low priority.'),
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
        (TASK, "", "no digest in the reply"),
        (TASK, 'Understood: "buy milk" is a new task.', "no digest in the reply"),
        (TASK, FULL.replace("Digest: ", ""), "no digest in the reply"),
        (TASK, FULL.replace("milk", "silk"), "title is buy silk instead of buy milk"),
        (TASK, FULL.replace("milk", "Milk"), "title is buy Milk instead of buy milk"),
        (TASK, FULL.replace('"', ""), "title is missing"),
        (TASK, FULL.replace("-14", "-15"), "due is 2026-03-15 instead of 2026-03-14"),
        (TASK, FULL.replace("high", "low"), "priority is low instead of high"),
        (TASK, FULL.replace("417", "0417"), "id is 0417 instead of 417"),
        (TASK, FULL.replace(", high priority", ""), "priority is missing"),
        (TASK, FULL[:-1] + ", soon.", "part 5 (soon) was not asked for"),
        (TASK, FULL + "\nDone.", "all fields, but not in the form of a digest alone"),
        (TASK, "Sure. " + FULL, "all fields, but not in the form of a digest alone"),
        (
            TASK,
            'Digest: "buy milk", high priority, due 2026-03-14, task 417.',
            "all fields, but not in the form of a digest alone",
        ),
        (TASK, FULL + "\nYou can do this!", "coach talk in a digest"),
        (TASK, f"Woohoo! {FULL}", "coach talk in a digest"),
        (TASK, json.dumps(CALL), "JSON in a digest"),
        (TASK, FULL + ' {"tool": "create_task"}', "JSON in a digest"),
        (ALONE, 'Digest: "buy milk"', "all fields, but not in the form of a digest alone"),
        (
            COMMA,
            'Digest: "buy milk", low priority.',
            "title is buy milk instead of buy milk, bread",
        ),
        (ALONE, 'Digest: "buy milk", high priority.', "priority (high) was not asked for"),
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


def test_partial_scores_rise_as_a_digest_comes_closer():
    replies = [
        'Understood: "buy milk" is a new task.',
        "Digest: milk",
        'Digest: "buy milk".',
        'Digest: "buy milk", due 2026-03-14.',
        'Digest: "buy milk", due 2026-03-14, low priority, task 417.',
        "Sure. " + FULL,
        FULL,
    ]
    partial = [score(TASK, reply).partial for reply in replies]
    # .25 for a digest, .65 by the share of right fields out of four.
    assert partial == pytest.approx([0.0, 0.25, 0.4125, 0.575, 0.7375, 0.9, 1.0])


@given(reply=st.one_of(st.text(), st.text().map(lambda text: f"Digest: {text}")))
def test_any_text_gets_a_score(reply):
    for item in (PARTY, MIXED, REQUEST, QUESTION, TASK, COMMA, ALONE):
        result = score(item, reply)
        assert result.strict in (0, 1)
        assert 0 <= result.partial <= 1
        assert (result.strict == 1) == (result.partial == 1)


def test_deeply_nested_json_is_wrong_and_not_an_error():
    assert score(REQUEST, '{"a":' * 100_000).strict == 0
