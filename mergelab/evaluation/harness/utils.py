"""What the harness calls: the items of a suite as its documents, and the scores of a reply."""

from __future__ import annotations

import json
from typing import Any

from mergelab.evaluation import Item, load_suite
from mergelab.evaluation.choosing_scorers import FREE, STRICT


def suite(skill: str, split: str, **_: Any) -> dict[str, Any]:
    """Return the items of a shipped suite as the split `test` of a data set.

    An item goes along as its line in the suite file, as `mergelab` reads it.
    """
    from datasets import Dataset

    rows = [
        {"id": item.id, "template": item.template, "input": item.input, "right": right(item),
         "item": item.to_line()}
        for item in load_suite(skill, split)
    ]  # fmt: skip
    return {"test": Dataset.from_list(rows)}


def right(item: Item) -> str:
    """Return what a right reply says, for the harness's logs; scores do not come from it.

    >>> right(Item(id="1", template="t", input="Which tool?", expected="Use list_tasks."))
    'Use list_tasks.'
    """
    if item.digest:
        return item.digest.line()
    if item.expected is None:
        return f"{' and '.join(item.expected_traits or [])}, about {item.topic}"
    if isinstance(item.expected, str):
        return item.expected
    return json.dumps(item.expected.model_dump())


def scores(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Return the scores that `mergelab evaluate` gives the reply: strict, partial, and free."""
    item, replies = Item.model_validate_json(doc["item"]), results[:1]
    (strict,) = STRICT.parts[item.skill].scores([item], replies)
    (free,) = FREE.parts[item.skill].scores([item], replies)
    return {"strict": strict.strict, "partial": strict.partial, "free": free.strict}
