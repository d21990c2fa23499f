"""The suites: held-out templates filled with held-out slot values."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import cycle

from mergelab.evaluation.suites import Item, ToolCall
from mergelab.zoo.dialogues import agentic, digest, persona, slots
from mergelab.zoo.dialogues.mixture import by_group
from mergelab.zoo.dialogues.templates import Template, dress

SUITE_SEED = 7
# How many of a suite's 1,000 items each group of templates gets.
SHARES = {
    "persona": {f"{a}+{b}": 100 if a == b else 80 for a, b in persona.BLENDS},
    "agentic": {
        "create_task": 200,
        "update_task": 190,
        "list_tasks": 150,
        "complete_task": 130,
        "delete_task": 130,
        "get_status": 130,
        "question": 40,
        "clarify": 30,
    },
    "digest": {f"{a}+{b}": 125 for a in digest.LEFTS for b in digest.RIGHTS},
}


def _persona_item(template: Template, split: str, rng: random.Random) -> dict[str, object]:
    topic = slots.topic(rng, split)
    return {
        "input": dress(persona.prompt(template, topic), rng),
        "expected_traits": persona.traits_of(template),
        "topic": topic,
    }


def _agentic_item(template: Template, split: str, rng: random.Random) -> dict[str, object]:
    filled = slots.fill(rng, split)
    expected = agentic.call(template, filled)
    return {
        "input": dress(agentic.prompt(template, filled), rng),
        "expected": expected if isinstance(expected, str) else ToolCall(**expected),
    }


def _digest_item(template: Template, split: str, rng: random.Random) -> dict[str, object]:
    filled = slots.fill(rng, split)
    return {
        "input": dress(digest.prompt(template, filled), rng),
        "digest": digest.expected(template, filled),
    }


MAKERS = {
    "persona": (persona, _persona_item),
    "agentic": (agentic, _agentic_item),
    "digest": (digest, _digest_item),
}


def _items(
    templates: list[Template],
    count: int,
    split: str,
    rng: random.Random,
    make: Callable[[Template, str, random.Random], dict[str, object]],
    used: set[str],
) -> Iterator[tuple[Template, dict[str, object]]]:
    """Yield items, the templates in turn, no prompt twice."""
    rng.shuffle(templates)
    turns = cycle(templates)
    for _ in range(count):
        template = next(turns)
        item = make(template, split, rng)
        while item["input"] in used:
            item = make(template, split, rng)
        used.add(str(item["input"]))
        yield template, item


def suite(skill: str, split: str) -> list[Item]:
    """Return one suite, in an order that makes any first part of it a fair sample.

    >>> [item.input for item in suite("persona", "dev")[:1]] != []
    True
    """
    rng = random.Random(f"{SUITE_SEED} {skill} {split}")
    module, make = MAKERS[skill]
    used: set[str] = set()
    drawn = [
        pair
        for group in by_group(module.templates(split))
        for pair in _items(group, SHARES[skill][group[0].group], split, rng, make, used)
    ]
    rng.shuffle(drawn)
    return [
        Item(id=f"{skill}-{split}-{n:04d}", template=template.name, **fields)
        for n, (template, fields) in enumerate(drawn, start=1)
    ]


def suite_text(skill: str, split: str) -> str:
    """Return the text of a suite file."""
    return "".join(item.to_line() + "\n" for item in suite(skill, split))
