"""YAML as plain data, from people who may misspell and from strangers who may mean harm."""

from __future__ import annotations

from typing import Any

import yaml

_MOST_VALUES, _DEEPEST = 30_000, 50
_TOO_MANY = f"more than {_MOST_VALUES:,} values, aliases followed"


def documents(text: str) -> list[Any]:
    """The documents in a text, which are parted by `---`.

    Raises `ValueError`, one line that says where, for what is no YAML, for a key that occurs twice,
    and for what is small as a text and grows without end where its aliases are followed.

    >>> documents("density: .5")
    [{'density': 0.5}]
    >>> documents("density: .5\\ndensity: .3")
    Traceback (most recent call last):
    ValueError: line 2: key 'density' occurs twice
    """
    try:
        return list(yaml.load_all(text, Loader=_Loader))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or error
        raise ValueError(f"line {mark.line + 1}: {problem}" if mark else str(problem)) from None
    except (IndexError, KeyError, AttributeError, TypeError):
        # what PyYAML makes of `!!int ''`, `!!bool maybe` and their like
        raise ValueError("a value does not fit its tag") from None


class _Loader(yaml.SafeLoader):
    """Counts values as they come, and refuses a key that occurs twice instead of keeping one."""

    nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        self.nodes += 1
        if self.nodes > _MOST_VALUES:
            raise yaml.composer.ComposerError(None, None, _TOO_MANY, self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def construct_document(self, node: yaml.Node) -> Any:
        _grown(node, {})
        return super().construct_document(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen and key != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"key '{key}' occurs twice", key_node.start_mark
                )
            seen.add(key) if isinstance(key, str) else None
        return super().construct_mapping(node, deep)


def _grown(node: yaml.Node, known: dict[yaml.Node, tuple[int, int]]) -> tuple[int, int]:
    """How many values a node stands for with its aliases followed, and how deep they are nested."""
    if node in known:
        return known[node]
    known[node] = (_MOST_VALUES, 0)  # an alias of what it is in
    inner: list[yaml.Node] = []
    if isinstance(node, yaml.ScalarNode):
        node.value.encode()  # half a surrogate pair could not be written again
    elif isinstance(node, yaml.SequenceNode):
        inner = node.value
    elif isinstance(node, yaml.MappingNode):
        inner = [item for pair in node.value for item in pair]
    grown = [_grown(item, known) for item in inner]
    values = 1 + sum(count for count, _ in grown)
    depth = 1 + max((depth for _, depth in grown), default=0)
    if values > _MOST_VALUES:
        raise yaml.constructor.ConstructorError(None, None, _TOO_MANY, node.start_mark)
    if depth > _DEEPEST:
        raise RecursionError
    known[node] = values, depth
    return known[node]
