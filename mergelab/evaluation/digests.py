"""The digest: one terse line that names a task's title and what else is known of it."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

OPENING = "Digest: "
# How each field stands in the line, in the order of the line; a comma between, a full stop last.
_FORMS = {"title": '"{}"', "due": "due {}", "priority": "{} priority", "id": "task {}"}
_READ = {
    "title": re.compile(r'"([^"]*)"'),
    "due": re.compile(r"due (\S+)"),
    "priority": re.compile(r"(\S+) priority"),
    "id": re.compile(r"task (\d+)"),
}


class Digest(BaseModel):
    """What a digest must say: the title, and those of due date, priority and id that are known."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    title: str = Field(min_length=1, pattern=r'^[^"\n]*$')
    due: str | None = Field(default=None, min_length=1)
    priority: Literal["low", "medium", "high"] | None = None
    id: int | None = None

    def fields(self) -> dict[str, str]:
        """Return the fields that are known, as text, in the order of the line."""
        return {
            name: str(getattr(self, name)) for name in _FORMS if getattr(self, name) is not None
        }

    def line(self) -> str:
        """Return the digest in its one form.

        >>> Digest(title="buy milk", due="2026-03-04", priority="high").line()
        'Digest: "buy milk", due 2026-03-04, high priority.'
        >>> Digest(title="buy milk", id=417).line()
        'Digest: "buy milk", task 417.'
        """
        parts = [_FORMS[name].format(value) for name, value in self.fields().items()]
        return f"{OPENING}{', '.join(parts)}."


def read_digest(text: str) -> dict[str, str] | None:
    """Return the fields that the first digest in a text states, or None where there is none.

    A part of no known form counts as a field of its own, named by its place.

    >>> read_digest('Sure. Digest: "buy milk", soon, high priority.')
    {'title': 'buy milk', 'part 2': 'soon', 'priority': 'high'}
    """
    start = text.find(OPENING)
    if start < 0:
        return None
    line = text[start + len(OPENING) :].partition("\n")[0].rstrip().removesuffix(".")
    title = re.match(r'"[^"]*"(?=, |$)', line)  # a title may hold a comma of its own
    parts = [title[0]] if title else []
    rest = line[title.end() :].removeprefix(", ") if title else line
    parts += rest.split(", ") if rest else []
    found: dict[str, str] = {}
    for place, part in enumerate(parts, start=1):
        matches = {name: form.fullmatch(part) for name, form in _READ.items()}
        name, match = next(((n, m) for n, m in matches.items() if m), (f"part {place}", None))
        found[name] = match[1] if match else part
    return found
