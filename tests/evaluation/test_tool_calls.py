"""Tool calls in free text: every documented form is found, nothing else is, values compared."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergelab.evaluation import Item, ToolCall
from mergelab.evaluation.free_form import score_call_freely
from mergelab.evaluation.tool_calls import find_calls, same_call, same_value

CALL = ToolCall(tool="create_task", arguments={"title": "buy milk", "due": "2026-03-14", "id": 7})
ARGUMENTS = json.dumps(CALL.arguments)
FORMS = [
    '{"tool": "create_task", "arguments": ARGUMENTS}',
    '{"name": "create_task", "parameters": ARGUMENTS}',
    '{"type": "function", "function": {"name": "create_task", "arguments": TEXT}}',
    '{"tool_calls": [{"id": "a", "function": {"name": "create_task", "arguments": ARGUMENTS}}]}',
    '[{"name": "create_task", "args": ARGUMENTS}]',
    '{"action": "create_task", "action_input": ARGUMENTS}',
    '```json\n{\n  "tool": "create_task",\n  "arguments": ARGUMENTS\n}\n```',
    '<tool_call>\n{"name": "create_task", "arguments": ARGUMENTS}\n</tool_call>',
    '<|python_tag|>{"name": "create_task", "parameters": ARGUMENTS}',
    '[create_task(title="buy milk", due="2026-03-14", id=7)]',
    "```python\ntasks.create_task(\n    title='buy milk', due='2026-03-14', id=7,\n)\n```",
    "`createTask(title='buy milk', due='2026-03-14', id=7)`",
]
FORMS = [
    form.replace("ARGUMENTS", ARGUMENTS).replace("TEXT", json.dumps(ARGUMENTS)) for form in FORMS
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("around", ["{}", "Sure, I'll do that (at once): {} Anything else?"])
def test_every_documented_form_is_found_alone_and_in_prose(form, around):
    (found,) = find_calls(around.replace("{}", form))
    assert same_call(found, CALL)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I will create the task(s) now.",
        "Call create_task(title, due) for that.",
        "Call create_task(*titles) or create_task(**task) for that.",
        "create_task(title=the_title)",
        'The settings are {"colour": "red", "size": 3}.',
        '{"name": "Anna", "age": 7}',
        '{"tool": "create_task", "arguments": "buy milk"}',
        '{"tool": 7, "arguments": {}}',
        '{"tool": "create_task", "arguments": {"title": "buy',
        "{" * 3000,
        "a(" * 3000,
        "(" * 3000 + ")" * 3000,
    ],
)
def test_what_is_no_call_is_not_found(text):
    assert find_calls(text) == []


def test_a_call_without_arguments_needs_none():
    for text in ("list_tasks()", '{"tool": "list_tasks"}', '{"name": "list_tasks", "args": {}}'):
        assert find_calls(text) == [ToolCall(tool="list_tasks", arguments={})]


def test_the_same_call_twice_is_one_and_another_is_a_second():
    twice = FORMS[0] + " that is, " + FORMS[1]
    assert len(find_calls(twice)) == 1
    assert len(find_calls(twice + ' {"tool": "list_tasks"}')) == 2


PLAIN = st.text("abcxyz ABC,'()-{}\"\\0123é", max_size=20)
VALUES = st.one_of(
    st.integers(-999, 999), st.booleans(), PLAIN.filter(str.strip), st.lists(PLAIN, max_size=2)
)
NAMES = st.text("abcdefg", min_size=1, max_size=5)
CALLS = st.builds(
    ToolCall,
    tool=NAMES.map("do_{}".format),
    arguments=st.dictionaries(NAMES.map("arg_{}".format), VALUES, max_size=3),
)
PROSE = st.text("abc .,!?:;\n-", max_size=30)


def as_code(call):
    return f"{call.tool}({', '.join(f'{k}={v!r}' for k, v in call.arguments.items())})"


@given(CALLS, PROSE, PROSE, st.sampled_from(["json", "string", "code"]))
def test_any_call_is_found_whatever_prose_stands_around_it(call, before, after, form):
    if form == "code":
        text = as_code(call)
    else:
        given_arguments = call.arguments if form == "json" else json.dumps(call.arguments)
        text = json.dumps({"name": call.tool, "arguments": given_arguments})
    assert find_calls(f"{before} {text} {after}") == [call]


@given(CALLS, st.data())
def test_a_changed_argument_is_never_right(call, data):
    item = Item(id="1", template="t", input="?", expected=call)
    assert score_call_freely(item, as_code(call)).strict == 1
    changed = {**call.arguments, "arg_more": 1}
    if call.arguments:
        name = data.draw(st.sampled_from(sorted(call.arguments)))
        changed = {k: v for k, v in call.arguments.items() if k != name}
    score = score_call_freely(item, as_code(ToolCall(tool=call.tool, arguments=changed)))
    assert score.strict == 0 and 0.25 <= score.partial < 1


@given(st.text(max_size=200))
def test_any_text_at_all_is_read_without_an_error(text):
    assert isinstance(find_calls(text), list)


@pytest.mark.parametrize(
    ("given_value", "expected", "same"),
    [
        (7, 7, True),
        ("7", 7, True),
        (7.0, 7, True),
        (7, "7", True),
        (8, 7, False),
        ("seven", 7, False),
        (True, 1, False),
        ("true", True, True),
        (True, False, False),
        ("Buy Milk", "buy milk", True),
        (" buy   milk. ", "buy milk", True),
        ("'buy milk'", "buy milk", True),
        ("buy some milk", "buy milk", False),
        ("2026-03-15", "2026-03-14", False),
        (["a", "B"], ["A", "b"], True),
        (["b", "a"], ["a", "b"], False),
        ({"x": "1"}, {"x": 1}, True),
        ({"x": 1, "y": 2}, {"x": 1}, False),
        (10**400, 10**400 + 1, False),
        (None, None, True),
        (None, 0, False),
        ([1], 1, False),
    ],
)
def test_values_are_compared_with_the_documented_tolerance_and_no_more(given_value, expected, same):
    assert same_value(given_value, expected) is same


REQUEST = Item(id="1", template="t", input="Add it.", expected=CALL)


@pytest.mark.parametrize(
    ("reply", "partial", "reason"),
    [
        ("I added it.", 0, "no tool call in the reply"),
        ('{"tool": "delete_task", "arguments": {"id": 7}}', 0, "calls 'delete_task' instead of"),
        ('{"tool": "create_task", "arguments": {"title": "buy milk"}}', 2 / 3, "'due' differs"),
        (FORMS[0] + FORMS[0].replace("milk", "tea"), 0.25, "makes 2 different calls"),
        (FORMS[0].replace('"id"', '"note": null, "id"'), 1, "right"),
        (FORMS[0].replace('"id"', '"note": "now", "id"'), 0.875, "'note' differs"),
    ],
)
def test_a_wrong_call_earns_its_part_and_a_reason(reply, partial, reason):
    score = score_call_freely(REQUEST, reply)
    assert score.partial == pytest.approx(partial)
    assert reason in score.reason
    assert score.strict == (partial == 1)


@pytest.mark.parametrize(
    ("expected", "reply", "right"),
    [
        ("Use delete_task.", "You can use the `delete_task` tool for that.", True),
        ("Use delete_task.", "Use `delete_task()`.", True),
        ("Use delete_task.", "Use `delete_task(id)` for that.", True),
        ("Use delete_task.", "Use delete_task or complete_task.", False),
        ("Use delete_task.", "The deletion tool.", False),
        ("Use delete_task.", '{"tool": "delete_task"}', False),
        ("Use delete_task.", "delete_task(id=3)", False),
        ("Which task? Give me its id.", "Sure! What is the id of the task?", True),
        ("Which task? Give me its id.", "I deleted it.", False),
        ("Which task? Give me its id.", "Shall I? delete_task(id=3)", False),
        ("Done.", " done ", True),
        ("Done.", "It is done.", False),
    ],
)
def test_a_plain_answer_names_the_tool_or_asks_or_says_the_same(expected, reply, right):
    item = Item(id="1", template="t", input="?", expected=expected)
    assert score_call_freely(item, reply).strict == right
