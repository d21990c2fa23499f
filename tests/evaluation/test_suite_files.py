"""Suite files: a bad line is named by file and line, in one sentence."""

import json

import pytest

from mergelab.errors import UserError
from mergelab.evaluation import Digest, Item, ToolCall, load_suite, load_suite_file

CHAT = {
    "id": "a",
    "template": "t/0-0",
    "input": "I finished the map!",
    "expected_traits": ["celebratory"],
    "topic": "the map",
}
CALL = {"tool": "delete_task", "arguments": {"id": 417}}
DIGEST = {
    "id": "d",
    "template": "t/0-2",
    "input": "Digest this task: buy milk, low priority.",
    "digest": {"title": "buy milk", "priority": "low"},
}
REQUEST = {"id": "b", "template": "t/0-1", "input": "Delete task 417.", "expected": CALL}


def _write(tmp_path, *lines):
    path = tmp_path / "suite.jsonl"
    path.write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines), "utf-8")
    return path


def test_items_of_all_kinds_are_read(tmp_path):
    plain = {**REQUEST, "id": "c", "expected": "Use list_tasks."}
    chat, request, question = load_suite_file(_write(tmp_path, CHAT, "", REQUEST, plain, ""))
    assert (chat.skill, request.skill, question.skill) == ("persona", "agentic", "agentic")
    assert request.expected == ToolCall(**CALL)
    assert question.expected == "Use list_tasks."
    (digest,) = load_suite_file(_write(tmp_path, DIGEST))
    assert digest.skill == "digest"
    assert digest.digest == Digest(title="buy milk", priority="low")


def test_an_item_written_as_a_line_is_read_back_the_same(tmp_path):
    items = load_suite_file(_write(tmp_path, CHAT, REQUEST, DIGEST))
    assert load_suite_file(_write(tmp_path, *(item.to_line() for item in items))) == items


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{not json", "not valid JSON; write one JSON object on one line"),
        ("[1, 2]", "Input should be an object"),
        ({**CHAT, "expected_trait": ["positive"]}, "unknown key 'expected_trait'; known keys are"),
        ({**CHAT, "expected_traits": ["jolly"]}, "unknown trait 'jolly'; known traits are"),
        ({**CHAT, "expected_traits": []}, "expected_traits: List should have at least 1 item"),
        ({**CHAT, "topic": None}, "needs `expected_traits` and `topic`, or `expected`"),
        ({**CHAT, "expected": "Hi."}, "keep one kind"),
        ({**CHAT, "digest": {"title": "x"}}, "keep one kind"),
        ({**REQUEST, "digest": {"title": "x"}}, "keep one kind"),
        ({**DIGEST, "digest": {"due": "2026-03-14"}}, "digest.title: Field required"),
        ({**DIGEST, "digest": {"title": "x", "priority": "urgent"}}, "digest.priority: "),
        ({**DIGEST, "digest": {"title": "x", "id": "417"}}, "digest.id: Input should be a valid"),
        (
            {**DIGEST, "digest": {"title": "x", "owner": "Anna"}},
            "unknown key 'digest.owner'; known keys are title, due",
        ),
        ({**CHAT, "input": ""}, "input: String should have at least 1 character"),
        ({k: v for k, v in CHAT.items() if k != "id"}, "id: Field required"),
        ({**REQUEST, "expected": {"tool": "x"}}, "expected.arguments: Field required"),
        ({**REQUEST, "id": 7}, "id: Input should be a valid string"),
        ({**REQUEST, "id": "a"}, "id 'a' is already used on line 1"),
    ],
)
def test_a_bad_line_is_named_with_file_and_line_number(tmp_path, line, words):
    path = _write(tmp_path, CHAT, "", line)
    with pytest.raises(UserError) as error:
        load_suite_file(path)
    message = str(error.value)
    assert message.startswith(f"{path}, line 3: ")
    assert words in message
    assert "\n" not in message


def test_a_missing_an_empty_and_a_binary_file_are_each_refused_in_words(tmp_path):
    with pytest.raises(UserError, match=r"none\.jsonl: cannot be read"):
        load_suite_file(tmp_path / "none.jsonl")
    with pytest.raises(UserError, match="no items"):
        load_suite_file(_write(tmp_path, "", ""))
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not UTF-8"):
        load_suite_file(tmp_path / "binary.jsonl")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("personal",), "unknown skill 'personal'; known skills are persona, agentic, digest"),
        (("persona", "train"), "unknown split 'train'; known splits are dev, test"),
        (("../persona", "dev"), "unknown skill"),
    ],
)
def test_an_unknown_shipped_suite_is_refused_with_the_known_ones(arguments, words):
    with pytest.raises(UserError, match=words):
        load_suite(*arguments)


def test_any_first_part_of_a_suite_is_a_fair_sample_of_its_groups():
    for skill in ("persona", "agentic", "digest"):
        items = load_suite(skill, "dev")
        groups = {item.template.split("/")[0] for item in items}
        assert {item.template.split("/")[0] for item in items[:150]} == groups


def test_an_item_cannot_be_changed():
    with pytest.raises(Exception, match="frozen"):
        Item(**CHAT).topic = "the list"
