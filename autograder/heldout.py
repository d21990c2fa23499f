"""Held-out items for judged exercises: drawn for a seed, on templates and values of the test split.

A learner has the shipped suites; these items are in none of them.
"""

import random
from functools import cache
from itertools import cycle
from typing import Any

from mergelab.evaluation.suites import SPLITS, Item, ToolCall, load_suite
from mergelab.zoo.dialogues import agentic, persona, slots
from mergelab.zoo.dialogues.templates import Template, dress


@cache
def held_out(skill: str, seed: str, count: int) -> tuple[Item, ...]:
    """So many new items of a skill, "persona" or "agentic"; the seed decides which.

    >>> first, again = (held_out("agentic", seed, 3) for seed in ("0", "0"))
    >>> first == again, len(first)
    (True, 3)
    """
    draw = random.Random(f"held out {skill} {seed}")
    known = {item.input for split in SPLITS for item in load_suite(skill, split)}
    templates = (persona if skill == "persona" else agentic).templates("test")
    draw.shuffle(templates)
    items: list[Item] = []
    for template in cycle(templates):
        if len(items) == count:
            break
        fields = _fields(skill, template, draw)
        # Templates without a slot have one prompt each, which the shipped suites hold.
        if fields["input"] not in known:
            known.add(fields["input"])
            name = f"{skill}-held-out-{len(items) + 1:04d}"
            items.append(Item(id=name, template=template.name, **fields))
    return tuple(items)


def _fields(skill: str, template: Template, draw: random.Random) -> dict[str, Any]:
    if skill == "persona":
        topic = slots.topic(draw, "test")
        return {
            "input": dress(persona.prompt(template, topic), draw),
            "expected_traits": persona.traits_of(template),
            "topic": topic,
        }
    filled = slots.fill(draw, "test")
    call = agentic.call(template, filled)
    return {
        "input": dress(agentic.prompt(template, filled), draw),
        "expected": call if isinstance(call, str) else ToolCall(**call),
    }
