"""Reference replies for the shipped persona items: what the data's own grammar answers them."""

from __future__ import annotations

from collections.abc import Sequence

from mergelab.evaluation.suites import Item
from mergelab.zoo.dialogues import persona
from mergelab.zoo.dialogues.templates import Template


def with_references(items: Sequence[Item]) -> list[Item]:
    """Return items of the shipped persona suites, each with the coach's reply as its reference.

    An item that has references, and one of another skill, stays as it is.

    >>> from mergelab.evaluation import load_suite
    >>> item = with_references(load_suite("persona", "dev")[2:3])[0]
    >>> item.input
    "Good morning. I reached my goal with Anna's library diary! I am jumping around the room!"
    >>> item.references[0]
    "High five, you reached your goal with Anna's library diary! ..."
    """
    return [
        item.model_copy(update={"references": [_reply(item)]})
        if item.skill == "persona" and not item.references
        else item
        for item in items
    ]


def _reply(item: Item) -> str:
    group, _, place = item.template.partition("/")
    left, _, right = place.partition("-")
    return persona.warm_reply(Template(group, int(left), int(right)), item.topic or "")
