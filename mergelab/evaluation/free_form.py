"""Scorers for replies in a model's own words, where `scorers` wants the words of the course's data.

They answer the same question, does the reply show the trait or make the call, and let pass what a
model cannot know that was trained on other data. They are more lenient and more often wrong than
the strict ones: read some of the replies that they pass before you trust a figure of theirs.
"""

from __future__ import annotations

import re

from mergelab.evaluation.lexicon import sentences_showing, written_out
from mergelab.evaluation.scorers import Score
from mergelab.evaluation.suites import Item, ToolCall
from mergelab.evaluation.tool_calls import differing, find_calls, plain_text, same_name

_NO_TOPIC = frozenset(
    ["a", "an", "the", "my", "our", "your", "his", "her", "its", "their", "this", "that"]
)
_IDENTIFIER = re.compile(r"\b[A-Za-z]\w*_\w+\b")


def score_persona_freely(item: Item, reply: str) -> Score:
    """Score a chat reply in any words by `lexicon.LEXICON`, sentence by sentence.

    Right are: each expected trait in at least one sentence; no other trait in more sentences than
    the expected one that is shown in most; the words of the topic, in any order and case, without
    articles and owners ("Anna's climate map" needs "climate" and "map"); and no tool call.
    Partial: as in the strict score, with the share of expected traits that are shown.

    >>> item = Item(id="1", template="t", input="I finished Anna's map!", topic="Anna's map",
    ...             expected_traits=["celebratory"])
    >>> score_persona_freely(item, "Congrats on the map! Time to celebrate.").strict
    1
    >>> score_persona_freely(item, "The map sounds exhausting. Congrats, but how painful.").reason
    'shows empathetic in more sentences than celebratory'
    """
    if find_calls(reply):
        return Score(0, 0.0, "a tool call in a chat reply")
    expected = item.expected_traits or []
    found = sentences_showing(reply)
    most = max(expected, key=lambda trait: found[trait])
    louder = next((t for t in found if t not in expected and found[t] > found[most]), None)
    missing = _missing_words(item.topic or "", reply)
    unseen = [trait for trait in expected if not found[trait]]
    share = 1 - len(unseen) / len(expected)
    partial = share * (0.5 + 0.25 * (not missing) + 0.25 * (louder is None))
    if unseen:
        return Score(0, partial, f"shows nothing {unseen[0]}")
    if louder:
        return Score(0, partial, f"shows {louder} in more sentences than {most}")
    if missing:
        return Score(0, partial, f"does not speak of the topic: {missing[0]!r} is missing")
    return Score(1, 1.0, "right")


def _missing_words(topic: str, reply: str) -> list[str]:
    """The words that make out a topic and are not in the reply."""
    words = re.findall(r"[\w'-]+", topic.lower().replace("\u2019", "'"))
    wanted = [w for w in words if w not in _NO_TOPIC and not w.endswith(("'s", "s'"))] or words
    said = set(re.findall(r"[\w'-]+", reply.lower().replace("\u2019", "'")))
    said |= set(re.findall(r"\w+", written_out(reply)))
    return [word for word in wanted if word not in said]


def score_call_freely(item: Item, reply: str) -> Score:
    """Score a tool call in any of the forms of `find_calls`, with the tolerances of `same_value`.

    Right is one call, as often as the reply may repeat it, with any text around it. Partial: .25
    for calls of which one names the right tool, .5 and up to .5 more by the share of right
    arguments where that is the only call; below 1 unless all is right.

    Where a plain answer is expected, no call may stand in the reply. If the answer names tools
    (words with an underscore), right is to name the same and no other such word, and empty brackets
    behind a name make no call of it; if it asks, right is to ask, too; any other must be the same
    but for case, white space and a full stop at the end.

    >>> item = Item(id="1", template="t", input="Is task 7 done?",
    ...             expected=ToolCall(tool="get_status", arguments={"id": 7}))
    >>> score_call_freely(item, "I'll check: `getStatus(id='7')`").strict
    1
    >>> score_call_freely(item, '{"tool": "get_status", "arguments": {"id": 8}}').reason
    "argument 'id' differs"
    """
    calls = find_calls(reply)
    if not isinstance(item.expected, ToolCall):
        return _score_answer(str(item.expected), reply, calls)
    if not calls:
        return Score(0, 0.0, "no tool call in the reply")
    named = any(same_name(call.tool, item.expected.tool) for call in calls)
    if len(calls) > 1:
        return Score(0, 0.25 * named, f"makes {len(calls)} different calls")
    if not named:
        return Score(0, 0.0, f"calls {calls[0].tool!r} instead of {item.expected.tool!r}")
    wrong, names = differing(calls[0], item.expected)
    if wrong:
        return Score(0, 0.5 + 0.5 * (1 - len(wrong) / names), f"argument {wrong[0]!r} differs")
    return Score(1, 1.0, "right")


def _score_answer(expected: str, reply: str, calls: list[ToolCall]) -> Score:
    tools = set(_IDENTIFIER.findall(expected))
    if any(call.arguments for call in calls) or (calls and ("{" in reply or not tools)):
        return Score(0, 0.0, "a tool call where a plain answer is expected")
    if tools:
        named = set(_IDENTIFIER.findall(reply))
        if named == tools:
            return Score(1, 1.0, "right")
        return Score(0, 0.5 * bool(named & tools), "names other tools than expected")
    if "?" in expected and "?" in reply:
        return Score(1, 1.0, "right")
    return _score_same([expected], reply)


def score_open_freely(item: Item, reply: str) -> Score:
    """Score a reply by an item's references: the same as one but for case, white space, full stop.

    >>> item = Item(id="1", template="t", input="Capital of France?", references=["Paris"])
    >>> score_open_freely(item, " paris. ").strict
    1
    """
    return _score_same(item.references or [], reply)


def _score_same(references: list[str], reply: str) -> Score:
    if any(plain_text(reference) == plain_text(reply) for reference in references):
        return Score(1, 1.0, "right")
    return Score(0, 0.0, "another answer than expected")
