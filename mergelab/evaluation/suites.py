"""Suites: files of items, one JSON line each, that say what to ask and what counts as right."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mergelab.errors import UserError
from mergelab.evaluation.digests import Digest
from mergelab.evaluation.traits import TRAITS
from mergelab.paths import data_path

SKILLS = ("persona", "agentic", "digest")
# What is evaluated unless other skills are named: the two that every pair of adapters has.
PAIR = SKILLS[:2]
SPLITS = ("dev", "test")
# Items of one's own that are judged by their references or by a criterion; no suite ships them.
OPEN = "open"
Trait = Literal["encouraging", "friendly", "supportive", "empathetic", "celebratory", "positive"]
Text = Annotated[str, Field(min_length=1)]


class ToolCall(BaseModel):
    """The call an agentic item expects: a tool and its arguments, exactly."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    tool: str = Field(min_length=1)
    arguments: dict[str, Any]


class Item(BaseModel):
    """One question with what counts as a right answer.

    A persona item has `expected_traits` (one or two) and the `topic` to restate; an agentic item
    has `expected`, a tool call or a plain answer; a digest item has `digest`, the fields to state;
    an open item has `references`, right replies, or a `criterion`, a statement that is true of a
    right reply. A persona item may have `references` and a `criterion`, too. `system` is a system
    prompt of the item's own. Items of one `template` are alike, and the statistics treat them so.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: str = Field(min_length=1)
    template: str = Field(min_length=1)
    input: str = Field(min_length=1)
    expected_traits: list[Trait] | None = Field(default=None, min_length=1, max_length=2)
    topic: str | None = Field(default=None, min_length=1)
    expected: ToolCall | str | None = None
    digest: Digest | None = None
    references: list[Text] | None = Field(default=None, min_length=1)
    criterion: str | None = Field(default=None, min_length=1)
    system: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one_kind(self) -> Item:
        kinds, judged = self._kinds(), bool(self.references or self.criterion)
        if len(kinds) > 1:
            raise ValueError(
                "expects more than one of `expected_traits` or `topic`, `expected`, `digest`: "
                "keep one kind"
            )
        half = kinds == ["persona"] and not (self.expected_traits and self.topic)
        if half or not (kinds or judged):
            raise ValueError(
                "needs `expected_traits` and `topic`, or `expected`, or `digest`, or `references` "
                "or a `criterion`"
            )
        if judged and kinds not in ([], ["persona"]):
            raise ValueError(
                f"`references` and `criterion` do not go with an item of {kinds[0]}: its one right "
                "answer is known"
            )
        return self

    def _kinds(self) -> list[str]:
        """The skills whose fields the item has: of a valid item one, or none if it is open."""
        has = {
            "persona": bool(self.expected_traits or self.topic),
            "agentic": self.expected is not None,
            "digest": self.digest is not None,
        }
        return [skill for skill in SKILLS if has[skill]]

    @property
    def skill(self) -> str:
        """`persona`, `agentic`, `digest` or `open`, by what the item expects.

        >>> Item(id="1", template="t", input="Which tool?", expected="Use list_tasks.").skill
        'agentic'
        """
        return next(iter(self._kinds()), OPEN)

    def to_line(self) -> str:
        """Return the item as its line in a suite file, without the line's end."""
        return json.dumps(self.model_dump(exclude_none=True), ensure_ascii=False)


def parse_suite(lines: Iterable[str], where: str) -> list[Item]:
    """Read the lines of a suite; empty lines are skipped.

    Raises `UserError` with file and line number for a line that is no item, and for an id used
    twice.

    >>> parse_suite(['{"id": "1", "template": "t", "input": "Hi", "expected": "Hi."}'], "s")[0].id
    '1'
    """
    items: list[Item] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            item = Item.model_validate_json(line)
        except ValidationError as error:
            raise UserError(f"{where}, line {number}: {_first_problem(error)}") from None
        if item.id in seen:
            raise UserError(
                f"{where}, line {number}: id {item.id!r} is already used on line {seen[item.id]}; "
                "give each item its own id"
            )
        seen[item.id] = number
        items.append(item)
    if not items:
        raise UserError(f"{where}: no items; a suite holds one JSON object on each line")
    return items


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"] if part not in ("ToolCall", "str"))
    if problem["type"] == "json_invalid":
        return "not valid JSON; write one JSON object on one line"
    if problem["type"] == "extra_forbidden":
        known = {"digest": Digest, "expected": ToolCall}.get(field.partition(".")[0], Item)
        return f"unknown key {field!r}; known keys are {', '.join(known.model_fields)}"
    if problem["type"] == "literal_error":
        return f"{field}: unknown trait {problem['input']!r}; known traits are {', '.join(TRAITS)}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{field}: {message}" if field else message


def load_suite_file(path: str | Path) -> list[Item]:
    """Load a suite from a file.

    Raises `UserError` for a missing file and, with the line number, for a bad line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not UTF-8 text; save the suite as UTF-8") from None
    return parse_suite(text.split("\n"), str(path))


def by_skill(items: Iterable[Item]) -> dict[str, list[Item]]:
    """Return items by their skill, in the order in which skills and items first appear.

    >>> items = parse_suite(['{"id": "1", "template": "t", "input": "Hi", "expected": "Hi."}'], "s")
    >>> [(skill, len(found)) for skill, found in by_skill(items).items()]
    [('agentic', 1)]
    """
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(item.skill, []).append(item)
    return found


def load_suite(skill: str, split: str = "test") -> list[Item]:
    """Load one of the shipped suites: skill persona, agentic or digest, split dev or test.

    Choose anything on dev; report on test.

    >>> len(load_suite("persona", "dev"))
    1000
    """
    if skill not in SKILLS:
        raise UserError(f"unknown skill {skill!r}; known skills are {', '.join(SKILLS)}")
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r}; known splits are {', '.join(SPLITS)}")
    return load_suite_file(data_path("suites", f"{skill}_{split}.jsonl"))
