"""What holds for every command: an example in its help, and plain JSON where it prints a table."""

import re

import pytest
from command_lines import commands, problems

EXAMPLE = re.compile(r"`(mergelab [^`]+)`")
# These print no table.
WITHOUT_JSON = {
    "chat": "what a model says",
    "harness": "a folder, or a text",
    "hub": "it becomes the server",
    "lab": "it becomes the server",
    "lessons": "a line for each lesson",
    "tables": "it writes files",
}


def options(command) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts}


@pytest.mark.parametrize("name", sorted(commands()))
def test_the_help_of_a_command_has_an_example_that_would_be_understood(name):
    told = commands()[name].help
    assert "Example: `mergelab" in told
    examples = EXAMPLE.findall(told.partition("Example:")[2])
    assert all(line.startswith(f"mergelab {name}") for line in examples)
    assert problems("\n".join(examples)) == []


def test_every_command_that_prints_a_table_also_prints_json():
    without = {name for name, command in commands().items() if "--json" not in options(command)}
    assert without <= set(WITHOUT_JSON)
    assert "merge" in commands() and "grades" in commands()  # own and plugged in


def test_a_command_line_that_would_not_be_understood_is_found():
    assert problems("mergelab merge --nonsense a b") != []
    assert problems("mergelab nonsense") == ["mergelab nonsense: no such command"]
    assert problems("mergelab bench nonsense") == ["mergelab bench nonsense: no such command"]
    assert problems("mergelab bench kernels --nonsense") != []
    assert problems("make nonsense") == ["make nonsense: no target nonsense"]
    assert problems("nbgrader nonsense") == ["nbgrader nonsense: no such command"]
    assert problems("if true; then") != []
    assert problems("ABC=1 .venv/bin/mergelab merge a b --seed 3 | cat && make test ARGS=-x") == []
