"""Tool calls in free text: found in prose or in code, and compared with some tolerance.

A model that was trained on other data than the course's writes a right call in a form of its own.
What is tolerated is written at `find_calls` and `same_value`; all else is wrong here, too.
"""

from __future__ import annotations

import ast
import json
import re
import unicodedata
import warnings
from collections.abc import Iterator
from typing import Any

from mergelab.evaluation.suites import ToolCall

_NAMES = ("tool", "name", "tool_name", "function", "action")
_ARGUMENTS = ("arguments", "parameters", "args", "kwargs", "input", "action_input")
_BESIDE = {"type", "id"}  # what may stand beside a name that has no arguments
_OPENING = re.compile(r"(?<![\w.])[A-Za-z_][\w.]*\(")
_MOST_BRACKETS = 20  # closing brackets tried for one opening one
_WORDS = {"true": True, "false": False, "null": None}


def find_calls(text: str) -> list[ToolCall]:
    """Return the different tool calls in a text, in their order, the same call only once.

    First JSON, wherever it stands (alone, in prose, in a code fence): an object with a name
    (`tool`, `name`, `tool_name`, `function` or `action`) and arguments (`arguments`,
    `parameters`, `args`, `kwargs`, `input` or `action_input`; an object, or a string that holds
    one; they may be left out), such an object as the value of `function`, or lists of them, also
    under `tool_calls`. Only if there is none, function syntax with named, literal arguments.

    >>> find_calls('Sure: {"name": "get_status", "parameters": {"id": "7"}}')
    [ToolCall(tool='get_status', arguments={'id': '7'})]
    >>> find_calls("[tasks.create_task(title='buy milk (two)', due=None)]")
    [ToolCall(tool='tasks.create_task', arguments={'title': 'buy milk (two)', 'due': None})]
    >>> find_calls("I would use get_status(id) for the task(s).")
    []
    """
    found = [call for value in _json_values(text) for call in _calls_in(value)]
    different: list[ToolCall] = []
    for call in found or _written_as_code(text):
        if not any(same_call(call, other) for other in different):
            different.append(call)
    return different


def _json_values(text: str) -> Iterator[Any]:
    """Every JSON object in a text; what lies within one is not given again."""
    decoder, start = json.JSONDecoder(), text.find("{")
    while start >= 0:
        try:
            value, end = decoder.raw_decode(text, start)
            yield value
        except (ValueError, RecursionError):
            end = start + 1
        start = text.find("{", end)


def _calls_in(value: Any) -> Iterator[ToolCall]:
    if isinstance(value, list):
        for part in value:
            yield from _calls_in(part)
    if not isinstance(value, dict):
        return
    for key in ("tool_calls", "function"):
        if isinstance(value.get(key), dict | list):
            yield from _calls_in(value[key])
            return
    name = next((key for key in _NAMES if isinstance(value.get(key), str) and value[key]), None)
    given = next((key for key in _ARGUMENTS if key in value), None)
    if name is None or (given is None and value.keys() - _BESIDE - {name}):
        return
    arguments = value[given] if given else {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return
    if isinstance(arguments, dict):
        yield ToolCall(tool=value[name], arguments=arguments)


def _written_as_code(text: str) -> Iterator[ToolCall]:
    end = 0
    for opening in _OPENING.finditer(text):
        if opening.start() < end:  # within the call before
            continue
        for closing in range(_MOST_BRACKETS):
            end = text.find(")", end if closing else opening.end()) + 1
            if not end:
                return
            call = _parsed(text[opening.start() : end])
            if call is not None:
                yield call
                break
        else:
            end = opening.end()


def _parsed(code: str) -> ToolCall | None:
    """The call that a piece of code is, if all its arguments are named and literal."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of code that is none
            node = ast.parse(code, mode="eval").body
        if not isinstance(node, ast.Call) or node.args or any(k.arg is None for k in node.keywords):
            return None
        arguments = {k.arg: _literal(k.value) for k in node.keywords}
        return ToolCall(tool=ast.unparse(node.func), arguments=arguments)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return None


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Name) and node.id in _WORDS:
        return _WORDS[node.id]
    return ast.literal_eval(node)


def same_call(given: ToolCall, expected: ToolCall) -> bool:
    """Whether two calls are of the same tool with the same arguments, all tolerances applied.

    >>> same_call(ToolCall(tool="api.getStatus", arguments={"ID": "7"}),
    ...           ToolCall(tool="get_status", arguments={"id": 7}))
    True
    """
    wrong, _ = differing(given, expected)
    return same_name(given.tool, expected.tool) and not wrong


def differing(given: ToolCall, expected: ToolCall) -> tuple[list[str], int]:
    """Return the names of the arguments that differ, and how many there are in both together.

    An argument that is None or an empty text counts as not given.
    """
    ours, theirs = _by_plain_name(given.arguments), _by_plain_name(expected.arguments)
    names = {**theirs, **ours}
    wrong = [
        name
        for key, (name, _) in names.items()
        if key not in ours or key not in theirs or not same_value(ours[key][1], theirs[key][1])
    ]
    return wrong, len(names)


def _by_plain_name(arguments: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    return {
        _plain_name(name): (name, value)
        for name, value in arguments.items()
        if value is not None and value != ""
    }


def same_name(given: str, expected: str) -> bool:
    """Whether two names are alike but for case, separators and what stands before a last dot."""
    return _plain_name(given) == _plain_name(expected)


def _plain_name(name: str) -> str:
    """Its letters and digits, the case folded; the name itself where it has none."""
    return re.sub(r"[\W_]", "", name.rpartition(".")[2]).casefold() or name


def same_value(given: Any, expected: Any) -> bool:
    """Whether two arguments mean the same.

    Numbers are equal as numbers, written as a number or as text; true and false likewise, and they
    are no numbers. Texts are equal but for case, white space, quotation marks around them and a
    full stop behind them. Lists are equal in their order, objects by key.

    >>> same_value("7", 7), same_value(7.0, 7), same_value("07", 7), same_value(True, 1)
    (True, True, True, False)
    >>> same_value(" Buy  milk.", "buy milk"), same_value("buy the milk", "buy milk")
    (True, False)
    """
    if isinstance(given, dict) and isinstance(expected, dict):
        return given.keys() == expected.keys() and all(
            same_value(given[key], expected[key]) for key in given
        )
    if isinstance(given, list | tuple) and isinstance(expected, list | tuple):
        return len(given) == len(expected) and all(map(same_value, given, expected))
    if isinstance(expected, bool) or isinstance(given, bool):
        return plain_text(str(given)) == plain_text(str(expected))
    if isinstance(expected, int | float) or isinstance(given, int | float):
        try:
            return float(given) == float(expected)
        except (TypeError, ValueError, OverflowError):
            return False
    if isinstance(given, str) and isinstance(expected, str):
        return plain_text(given) == plain_text(expected)
    return given is expected


def plain_text(text: str) -> str:
    """A text without what does not change its meaning as an argument or a short answer.

    >>> plain_text(' "Use  list_tasks." ')
    'use list_tasks'
    """
    words = " ".join(unicodedata.normalize("NFKC", text).replace("\u2019", "'").casefold().split())
    return words.strip("\"'`").rstrip(".").rstrip().strip("\"'`")
