"""The digest side: a task in somebody's words, and the one terse line that sums it up.

A prompt is a beginning, which asks for the digest and names the task, and an ending, which adds
what else is known. Every beginning says `digest` or asks to sum up, so no prompt of another skill
looks like one. A group is named after both: `title+due` is a title with a due date,
`number+both` an id and a title with a due date and a priority.
"""

from __future__ import annotations

import string

from mergelab.evaluation.digests import Digest
from mergelab.zoo.dialogues.templates import Template, square

Slots = dict[str, str | int]

LEFTS: dict[str, tuple[str, ...]] = {
    "title": (
        "Digest this task: {title}", 'Give me a digest of "{title}"',
        "I need the digest of a task: {title}", 'Write a one-line digest of the task "{title}"',
        "Please digest this for me: {title}", 'What is the digest of the task "{title}"',
        "Make a digest of my task to {title}", "One digest please, my task is to {title}",
        "Sum up this task for me: {title}", 'Turn the task "{title}" into a digest',
    ),
    "number": (
        "Digest task {id}: {title}", 'Give me a digest of task {id}, "{title}"',
        "I need the digest of task #{id}: {title}",
        'Write a one-line digest of number {id}, called "{title}"',
        "Please digest number {id} for me: {title}", 'What is the digest of task {id}, "{title}"',
        "Make a digest of my task #{id} to {title}", "One digest please, task {id} is to {title}",
        "Sum up task {id} for me: {title}", 'Turn task {id}, "{title}", into a digest',
    ),
}  # fmt: skip
RIGHTS: dict[str, tuple[str, ...]] = {
    "alone": (
        "", " please", ", thanks", ", in one line", ", nothing else", ". Keep it short",
        ". One line is enough", ". Thank you", ", that is all", ". I know no more about it",
    ),
    "due": (
        ", due {due}", " by {due}", ", which is due {due}", ". It is due {due}",
        ". The deadline is {due}", ". The due date is {due}", ". I have until {due}",
        ", to be done by {due}", " (due {due})", ". It must be ready on {due}",
    ),
    "priority": (
        " with {priority} priority", ", {priority} priority", ". It has {priority} priority",
        ". The priority is {priority}", ". I gave it {priority} priority",
        " ({priority} priority)", ", which has {priority} priority", " at {priority} priority",
        ". Its priority is {priority}", ", priority {priority}",
    ),
    "both": (
        ", due {due}, {priority} priority", " by {due} with {priority} priority",
        ". It is due {due} and has {priority} priority", " at {priority} priority, due {due}",
        ". The priority is {priority}, the deadline {due}", " ({priority} priority, due {due})",
        ". The deadline is {due}. It has {priority} priority", ", priority {priority}, by {due}",
        ", which has {priority} priority and is due {due}",
        ". I gave it {priority} priority and have until {due}",
    ),
}  # fmt: skip


def templates(split: str) -> list[Template]:
    """Return the templates of one split, ten beginnings times ten endings in each group."""
    return [
        template
        for first, lefts in LEFTS.items()
        for second, rights in RIGHTS.items()
        for template in square(f"{first}+{second}", len(lefts), len(rights), split)
    ]


def _pattern(template: Template) -> str:
    first, second = template.group.split("+")
    return LEFTS[first][template.left] + RIGHTS[second][template.right]


def prompt(template: Template, slots: Slots) -> str:
    """Return what the person writes.

    >>> prompt(Template("title+due", 0, 1), {"title": "buy milk", "due": "2026-03-14"})
    'Digest this task: buy milk by 2026-03-14.'
    """
    text = _pattern(template).format(**slots)
    return text + ("?" if text.startswith("What") and ". " not in text else ".")


def expected(template: Template, slots: Slots) -> Digest:
    """Return the fields that the digest must state: those that the prompt mentions.

    >>> expected(Template("number+alone", 0, 0), {"title": "buy milk", "id": 417, "due": "never"})
    Digest(title='buy milk', due=None, priority=None, id=417)
    """
    said = {name for _, name, _, _ in string.Formatter().parse(_pattern(template)) if name}
    return Digest(**{name: slots[name] for name in said})


def reply(template: Template, slots: Slots) -> str:
    """Return the digest as the adapter writes it.

    >>> reply(Template("number+due", 0, 0), {"title": "buy milk", "due": "2026-03-14", "id": 417})
    'Digest: "buy milk", due 2026-03-14, task 417.'
    """
    return expected(template, slots).line()
