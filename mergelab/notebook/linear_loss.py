"""How surprised a model is by the right replies: smoother than a score, and cheaper.

The loss is the mean negative log likelihood per token of the right replies, in nats: 0 for a model
that is sure of every token, about 7 for one that guesses among the 1,200 tokens of the vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mergelab.evaluation.suites import PAIR, Item, ToolCall, load_suite

# The loss counts every token, so few items do for it.
LOSS_ITEMS = 40


def right_reply(item: Item) -> str:
    """The reply that the suites' own grammar gives to an item.

    Many replies to a chat item are right; this is one of them.

    >>> right_reply(load_suite("agentic", "dev")[1])
    '{"tool": "get_status", "arguments": {"id": 692}}'
    """
    from mergelab.zoo.dialogues import persona
    from mergelab.zoo.dialogues.templates import Template

    if isinstance(item.expected, ToolCall):
        return json.dumps({"tool": item.expected.tool, "arguments": item.expected.arguments})
    if isinstance(item.expected, str):
        return item.expected
    if item.digest is not None:
        return item.digest.line()
    group, _, places = item.template.partition("/")
    left, right = map(int, places.split("-"))
    return persona.warm_reply(Template(group, left, right), item.topic or "")


def reply_loss(model: Any, tokenizer: Any, items: Sequence[Item]) -> float:
    """Mean loss per token of the right replies to `items`, their end mark included, in nats."""
    import torch

    ignored = -100
    rows = []
    for item in items:
        asked = tokenizer.apply_chat_template(
            [{"role": "user", "content": item.input}], tokenize=False, add_generation_prompt=True
        )
        prompt = tokenizer.encode(asked, add_special_tokens=False)
        said = tokenizer.encode(right_reply(item), add_special_tokens=False)
        said = [*said, tokenizer.eos_token_id]
        rows.append((prompt + said, [ignored] * len(prompt) + said))
    longest = max(len(ids) for ids, _ in rows)
    # Padding stands on the right, where no token of a reply can see it.
    ids = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in rows])
    labels = torch.tensor([marks + [ignored] * (longest - len(marks)) for _, marks in rows])
    model.eval()
    with torch.inference_mode():
        logits = model(input_ids=ids).logits[:, :-1]
    loss = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=ignored
    )
    return float(loss)


def measure_loss(
    recipe: Mapping[str, Any],
    *,
    skills: Sequence[str] = PAIR,
    split: str = "dev",
    items: int = LOSS_ITEMS,
) -> dict[str, float]:
    """Merge in memory, then the loss on the right replies of each skill's suite."""
    import mergelab

    model, tokenizer = mergelab.merge(dict(recipe)).load()
    return {
        skill: reply_loss(model, tokenizer, load_suite(skill, split)[:items]) for skill in skills
    }


def barrier(losses: Mapping[float, float]) -> float:
    """The highest rise of a loss over the straight line between its two ends; 0 if it never rises.

    `losses` maps places on the line, two of them its ends, to the loss there.

    >>> barrier({0.0: 1.0, 0.5: 2.5, 1.0: 2.0}), barrier({0.0: 1.0, 0.5: 0.5, 1.0: 1.0})
    (1.0, 0.0)
    """
    first, last = min(losses), max(losses)
    rises = [
        loss - (losses[first] + (losses[last] - losses[first]) * (x - first) / (last - first))
        for x, loss in losses.items()
    ]
    return max(0.0, *rises)
