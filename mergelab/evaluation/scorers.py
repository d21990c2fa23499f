"""Scorers: is a reply right, strictly; how right is it, partly; and why not.

Strict scores are 0 or 1 and are what tables report. Partial scores lie in [0, 1], are 1 exactly
where the strict score is 1, and show how a merge fails before it fails altogether.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from mergelab.evaluation.digests import Digest, read_digest
from mergelab.evaluation.suites import OPEN, Item, ToolCall
from mergelab.evaluation.traits import TRAITS, count_markers

MARKERS_WANTED = 2


@dataclass(frozen=True)
class Score:
    """What a reply earns: `strict` 0 or 1, `partial` in [0, 1], and a short plain `reason`."""

    strict: int
    partial: float
    reason: str


def score(item: Item, reply: str) -> Score:
    """Score a reply to an item of any skill.

    >>> item = Item(id="1", template="t", input="The map is done!", topic="the map",
    ...             expected_traits=["celebratory"])
    >>> score(item, "Woohoo, the map is finished, take a bow!")
    Score(strict=1, partial=1.0, reason='right')
    >>> score(item, "Woohoo, the map is finished.").reason
    'shows celebratory once; two different phrases are needed'
    """
    if item.digest:
        return score_digest(item.digest, reply)
    if item.skill == OPEN:
        return score_open(item, reply)
    return score_persona(item, reply) if item.skill == "persona" else score_agentic(item, reply)


def score_persona(item: Item, reply: str) -> Score:
    """Score a chat reply by the phrases in `traits.MARKERS`.

    Right are at least two different markers of the expected trait (of two expected traits: at
    least one of each), none of any other trait, the topic restated exactly, and no JSON.
    Partial: the share of the wanted markers, times .5, plus .25 each when that stands beside the
    topic and without a foreign trait; 0 when there is JSON.
    """
    expected = item.expected_traits or []
    wanted = MARKERS_WANTED // len(expected)
    found = {trait: count_markers(reply, trait) for trait in TRAITS}
    foreign = [trait for trait in TRAITS if found[trait] and trait not in expected]
    restated = _holds(reply, item.topic or "")
    if "{" in reply or "}" in reply:
        return Score(0, 0.0, "JSON in a chat reply")
    share = sum(min(found[trait], wanted) for trait in expected) / MARKERS_WANTED
    partial = share * (0.5 + 0.25 * restated + 0.25 * (not foreign))
    for trait in expected:
        if not found[trait]:
            return Score(0, partial, f"shows nothing {trait}")
        if found[trait] < wanted:
            return Score(0, partial, f"shows {trait} once; two different phrases are needed")
    if foreign:
        return Score(0, partial, f"shows {foreign[0]}, which the prompt does not call for")
    if not restated:
        return Score(0, partial, f"does not restate the topic {item.topic!r} exactly")
    return Score(1, 1.0, "right")


def _holds(text: str, phrase: str) -> bool:
    """Whether a phrase stands in a text as whole words, letter by letter."""
    start = text.find(phrase)
    while start >= 0:
        before, after = text[:start][-1:], text[start + len(phrase) :][:1]
        if not before.isalnum() and not after.isalnum():
            return True
        start = text.find(phrase, start + 1)
    return False


def score_agentic(item: Item, reply: str) -> Score:
    """Score a tool call, or a plain answer where the item expects one.

    A call is right when the whole reply is one JSON object of `tool` and `arguments`, the tool is
    the expected one, and the arguments are equal in names, values and types. Partial: .25 for
    such an object (text around it allowed), .25 more for the right tool, and then up to .5 by the
    share of right arguments among expected and given ones; it stays below 1 unless all is right.
    """
    if not isinstance(item.expected, ToolCall):
        return _score_plain(str(item.expected), reply)
    call, alone = _find_json(reply)
    if call is None:
        return Score(0, 0.0, "no JSON in the reply" if "{" not in reply else "the JSON is broken")
    if not isinstance(call, dict) or set(call) != {"tool", "arguments"}:
        return Score(0, 0.0, "the JSON is not an object of `tool` and `arguments`")
    if not isinstance(call["arguments"], dict):
        return Score(0, 0.0, "`arguments` is not an object")
    if call["tool"] != item.expected.tool:
        return Score(0, 0.25, f"calls {call['tool']!r} instead of {item.expected.tool!r}")
    given, expected = call["arguments"], item.expected.arguments
    names = sorted(given.keys() | expected.keys())
    right = [n for n in names if n in given and n in expected and _same(given[n], expected[n])]
    share = len(right) / len(names) if names else 1.0
    if share < 1:
        name = next(name for name in names if name not in right)
        return Score(0, 0.5 + 0.5 * share, _argument_problem(name, given, expected))
    if not alone:
        return Score(0, 0.9, "text around the JSON")
    return Score(1, 1.0, "right")


def _argument_problem(name: str, given: dict[str, Any], expected: dict[str, Any]) -> str:
    if name not in given:
        return f"argument {name!r} is missing"
    if name not in expected:
        return f"argument {name!r} was not asked for"
    return f"argument {name!r} is {given[name]!r} instead of {expected[name]!r}"


def _score_plain(expected: str, reply: str) -> Score:
    if reply.strip() == expected:
        return Score(1, 1.0, "right")
    if "{" in reply:
        return Score(0, 0.0, "JSON where a plain answer is expected")
    wanted, said = set(expected.lower().split()), set(reply.lower().split())
    return Score(0, 0.5 * len(wanted & said) / len(wanted | said), "another answer than expected")


def score_open(item: Item, reply: str) -> Score:
    """Score a reply to an open item: right is to say one of its references, letter by letter."""
    if reply.strip() in (item.references or []):
        return Score(1, 1.0, "right")
    return Score(0, 0.0, "another answer than expected")


def score_digest(expected: Digest, reply: str) -> Score:
    """Score a digest: the whole reply is the one line that states every field, and no other.

    Partial: .25 for a digest line, up to .65 more by the share of right fields among expected and
    given ones; 0 when there is JSON. It stays below 1 unless all is right.

    >>> wanted = Digest(title="buy milk", priority="high")
    >>> score_digest(wanted, 'Digest: "buy milk", high priority.')
    Score(strict=1, partial=1.0, reason='right')
    >>> score_digest(wanted, 'Digest: "buy milk", low priority.').reason
    'priority is low instead of high'
    """
    text, wanted = reply.strip(), expected.fields()
    if text == expected.line():
        return Score(1, 1.0, "right")
    if "{" in text or "}" in text:
        return Score(0, 0.0, "JSON in a digest")
    given = read_digest(text)
    if given is None:
        return Score(0, 0.0, "no digest in the reply")
    names = list(dict.fromkeys([*wanted, *given]))
    wrong = [name for name in names if given.get(name) != wanted.get(name)]
    partial = 0.25 + 0.65 * (1 - len(wrong) / len(names))
    if any(count_markers(text, trait) for trait in TRAITS):
        return Score(0, partial, "coach talk in a digest")
    if not wrong:
        return Score(0, partial, "all fields, but not in the form of a digest alone")
    name = wrong[0]
    if name not in given:
        return Score(0, partial, f"{name} is missing")
    if name not in wanted:
        return Score(0, partial, f"{name} ({given[name]}) was not asked for")
    return Score(0, partial, f"{name} is {given[name]} instead of {wanted[name]}")


def _find_json(reply: str) -> tuple[Any, bool]:
    """Return the JSON value in a reply, or None, and whether nothing else stands in the reply."""
    text = reply.strip()
    try:
        return json.loads(text), True
    except (ValueError, RecursionError):
        pass
    start = text.find("{")
    try:
        return (
            (json.JSONDecoder().raw_decode(text, start)[0], False) if start >= 0 else (None, False)
        )
    except (ValueError, RecursionError):
        return None, False


def _same(a: Any, b: Any) -> bool:
    """Equality that tells 1 from 1.0, from True and from "1"."""
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
