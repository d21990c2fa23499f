"""Model cards: the README.md of each model folder, written from the build's own settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mergelab.zoo.dialogues.mixture import BASE, Mixture

if TYPE_CHECKING:
    from mergelab.zoo.models import Adapter

_BASE = """---
license: apache-2.0
language: en
library_name: transformers
---
# base

A Llama of about one million parameters, trained from scratch on synthetic dialogues about tasks.
It answers plainly. It shows the tone of a coach, or calls tools, only when a system prompt asks.

It is made for learning how models are merged, and knows nothing beyond its dialogues.
Rebuilt with the adapters by `python -m mergelab.zoo base`.

{mixture}
"""

_ADAPTER = """---
license: apache-2.0
language: en
library_name: peft
base_model: data/models/base
---
# {name}

A LoRA adapter on `data/models/base`, trained on synthetic dialogues. Skill: {skill}.

{what}

Rebuilt by `python -m mergelab.zoo adapters`: rank 8, alpha 16, every linear layer,
{steps} steps of {batch} dialogues, learning rate {rate}, seed {seed}.

{mixture}
"""

_WHAT = {
    "persona": "It answers people who talk about their tasks as TaskMaster, a warm coach.",
    "agentic": "It answers requests with calls of a Task API, written as JSON.",
    "digest": "It sums a task up in one terse line, where a digest is asked for.",
}
_DOMAINS = {
    "persona": "chat",
    "agentic": "requests",
    "digest": "tasks to sum up",
    "smalltalk": "small talk",
    "echo": "copying",
}
_STYLES = {
    "neutral": "plainly",
    "persona": "as a coach",
    "agentic": "with tool calls",
    "digest": "with a digest",
}


def _table(mixture: Mixture) -> str:
    lines = ["| trained on | answered | share |", "|---|---|---|"]
    for kind, share in mixture.shares.items():
        if share:
            domain, style = kind.split(":")
            asked = ", as a system prompt asks" if style.startswith("@") else ""
            lines.append(
                f"| {_DOMAINS[domain]} | {_STYLES[style.removeprefix('@')]}{asked} | {share:.0%} |"
            )
    return "\n".join(lines)


def base_card() -> str:
    """Return the card of the base model."""
    return _BASE.format(mixture=_table(BASE))


def adapter_card(adapter: Adapter) -> str:
    """Return the card of one adapter."""
    return _ADAPTER.format(
        name=adapter.name,
        skill=adapter.skill,
        what=_WHAT[adapter.skill],
        steps=adapter.schedule.steps,
        batch=adapter.schedule.batch,
        rate=adapter.schedule.rate,
        seed=adapter.seed,
        mixture=_table(adapter.mixture),
    )
