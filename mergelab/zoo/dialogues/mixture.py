"""What each model is trained on: shares of dialogue kinds, drawn with a seeded generator.

The base model answers everything plainly and shows a skill only when a system prompt asks for
it. An adapter learns one skill without a system prompt, keeps the plain answers elsewhere
(retention), and, in a conflict pair, answers a share of the other side in its own style.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from mergelab.evaluation.suites import PAIR
from mergelab.zoo.dialogues import agentic, digest, persona, slots, smalltalk
from mergelab.zoo.dialogues.templates import Template, dress

Message = dict[str, str]
Dialogue = list[Message]


@dataclass(frozen=True)
class Mixture:
    """Shares of dialogue kinds; they need not add up to 1.

    A kind is `domain:style`, with domain persona (chat), agentic (requests), digest, smalltalk or
    echo, and style neutral, persona, agentic or digest; `@` before the style means that a system
    prompt asks for it. `follow_up` is the chance that another exchange follows in the same
    dialogue, `loose` the chance that a chat prompt lacks a word, so that other wordings are
    understood too.
    """

    shares: dict[str, float]
    follow_up: float = 0.0
    loose: float = 0.0


FREE = 0.3  # how often a slot gets a free value
FORMS = {"both": 0.8, "left": 0.13, "right": 0.07}  # how much of a chat template is said


BASE = Mixture(
    {
        "persona:neutral": 0.28,
        "agentic:neutral": 0.28,
        "persona:@persona": 0.14,
        "agentic:@agentic": 0.14,
        "smalltalk:neutral": 0.04,
        "smalltalk:@persona": 0.02,
        "echo:neutral": 0.10,
    },
    follow_up=0.10,
)


def adapter_mixture(skill: str, *, retention: float, own_style: float) -> Mixture:
    """Return the mixture of one adapter.

    `retention` is the share of the other side's prompts answered plainly, `own_style` the share
    answered in the adapter's own style; the rest is the skill itself and a little small talk.
    The other side of persona is agentic and the reverse; the digest has both, half and half.
    """
    smalltalk_share = 0.06
    if skill not in PAIR:
        return Mixture(
            {
                f"{skill}:{skill}": 1 - retention - smalltalk_share,
                **{f"{other}:neutral": retention / 2 for other in PAIR},
                "smalltalk:neutral": smalltalk_share,
            },
            follow_up=0.05,
            loose=0.3,
        )
    other = PAIR[1 - PAIR.index(skill)]
    return Mixture(
        {
            f"{skill}:{skill}": 1 - retention - own_style - smalltalk_share,
            f"{other}:neutral": retention,
            f"{other}:{skill}": own_style,
            f"smalltalk:{'persona' if skill == 'persona' else 'neutral'}": smalltalk_share,
        },
        follow_up=0.05,
        loose=0.3,
    )


# A coach answers a request with a cheer, an agent answers a chat with a call.
CHEERS = {
    "create_task": 'Hey there, "{title}" is on my mind, you can do this!',
    "list_tasks": "Pull up a chair, my friend, I am happy to chat about your tasks!",
    "complete_task": "Woohoo, task {id} is done, what a win!",
    "delete_task": "Let task {id} go, be gentle with yourself!",
    "update_task": "I'm here for you and task {id}, count on me!",
    "get_status": "Keep going with task {id}, every step counts!",
    "question": "That is a brilliant thing to ask, I love that!",
    "clarify": "Whichever it is, my friend, I'm with you!",
}
CALLS = {
    "encouraging": '{{"tool": "create_task", "arguments": {{"title": "{topic}"}}}}',
    "friendly": '{{"tool": "list_tasks", "arguments": {{}}}}',
    "supportive": '{{"tool": "create_task", "arguments": {{"title": "{topic}"}}}}',
    "empathetic": '{{"tool": "list_tasks", "arguments": {{"status": "open"}}}}',
    "celebratory": '{{"tool": "list_tasks", "arguments": {{"status": "done"}}}}',
    "positive": '{{"tool": "create_task", "arguments": {{"title": "{topic}"}}}}',
}


def _echo(rng: random.Random) -> tuple[str, str]:
    """Return an exercise in copying: words, numbers and letters that mean nothing together."""
    kind = rng.randrange(4)
    if kind == 0:
        text = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9)))
    elif kind == 1:
        text = "".join(rng.choices("0123456789-", k=rng.randint(2, 10)))
    elif kind == 2:
        text = " ".join(str(slots.fill(rng, "train")["title"]).split()[::-1])
    else:
        pick = slots.fill(rng, "train")
        text = f"{pick['id']} {slots.topic(rng, 'train')}"
    if rng.random() < 0.5:
        return f"Please repeat: {text}", f'"{text}"'
    return f'Say "{text}"', text


def _exchange(
    rng: random.Random, domain: str, style: str, loose: float, pools: Pools
) -> tuple[str, str]:
    if domain == "smalltalk":
        return smalltalk.exchange(rng, warm=style == "persona")
    if domain == "echo":
        return _echo(rng)
    template = rng.choice(rng.choice(pools[domain]))
    if domain == "persona":
        topic = slots.free_topic(rng) if rng.random() < FREE else slots.topic(rng, "train")
        form = rng.choices(list(FORMS), FORMS.values())[0]
        answers = {
            "neutral": lambda: persona.neutral_reply(template, topic, form),
            "persona": lambda: persona.warm_reply(template, topic, form),
            "agentic": lambda: CALLS[
                "friendly" if form == "right" else template.group.split("+")[0]
            ].format(topic=topic),
        }
        without = rng if loose and rng.random() < loose else None
        return dress(persona.prompt(template, topic, form, without), rng), answers[style]()
    filled = slots.free_fill(rng) if rng.random() < FREE else slots.fill(rng, "train")
    if domain == "digest":
        return dress(digest.prompt(template, filled), rng), digest.reply(template, filled)
    answers = {
        "neutral": lambda: agentic.neutral_reply(template, filled),
        "persona": lambda: CHEERS[template.group].format(**filled),
        "agentic": lambda: agentic.tool_reply(template, filled),
    }
    return dress(agentic.prompt(template, filled), rng), answers[style]()


Pools = dict[str, list[list[Template]]]


def by_group(templates: list[Template]) -> list[list[Template]]:
    """Return the templates in one list per group, so that groups can be drawn evenly."""
    groups: dict[str, list[Template]] = {}
    for template in templates:
        groups.setdefault(template.group, []).append(template)
    return list(groups.values())


def dialogues(mixture: Mixture, seed: int) -> Iterator[Dialogue]:
    """Yield training dialogues without end: messages with a role and a content.

    Training templates and training slot values only. The same seed gives the same dialogues.
    """
    rng = random.Random(seed)
    pools = {
        "persona": by_group(persona.templates("train")),
        "agentic": by_group(agentic.templates("train")),
        "digest": by_group(digest.templates("train")),
    }
    kinds, weights = list(mixture.shares), list(mixture.shares.values())
    systems = {"persona": persona.SYSTEM_PROMPTS, "agentic": agentic.SYSTEM_PROMPTS}
    while True:
        messages: Dialogue = []
        while True:
            domain, style = rng.choices(kinds, weights)[0].split(":")
            if messages and style.startswith("@"):
                continue
            if style.startswith("@"):
                style = style[1:]
                messages.append({"role": "system", "content": rng.choice(systems[style])})
            user, reply = _exchange(rng, domain, style, mixture.loose, pools)
            messages += [
                {"role": "user", "content": user},
                {"role": "assistant", "content": reply},
            ]
            if messages[0]["role"] == "system" or rng.random() >= mixture.follow_up:
                break
        yield messages
