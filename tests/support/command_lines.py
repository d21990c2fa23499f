"""Whether a command line that is shown somewhere would be understood, without running it."""

from __future__ import annotations

import re
import shlex
import subprocess
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from guides import ROOT

ENDS = {"|", "||", "&&", "&", ";", ">", ">>", "<", "2>"}
TARGET = re.compile(r"^([a-z./-]+):", re.MULTILINE)


@cache
def commands() -> dict[str, Any]:
    """Every command of `mergelab` by name, those of other packages, too, as click knows them.

    One of a group has two words, as "bench kernels".
    """
    import typer.main

    from mergelab.cli import app

    own = list(app.registered_commands)
    for plugged in entry_points(group="mergelab.commands"):
        function = plugged.load()
        settings = getattr(function, "context_settings", None)
        app.command(name=plugged.name, context_settings=settings)(function)
    found = _flat(typer.main.get_command(app).commands)
    app.registered_commands[:] = own
    return found


def _flat(commands: dict[str, Any], group: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, command in commands.items():
        inner = getattr(command, "commands", None)
        found |= _flat(inner, f"{group}{name} ") if inner else {f"{group}{name}": command}
    return found


def problems(script: str) -> list[str]:
    """What is wrong with the command lines of a shell script; nothing is run.

    Looked at are its syntax, and the lines that begin with mergelab, make and nbgrader.
    """
    syntax = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    found = syntax.stderr.splitlines()
    for words in _lines(script):
        name = words[0].rpartition("/")[2]
        problem = {"mergelab": _mergelab, "make": _make, "nbgrader": _nbgrader}.get(name)
        if problem:
            found += [f"{shlex.join(words)}: {said}" for said in problem(words[1:])]
    return found


def _lines(script: str) -> list[list[str]]:
    found: list[list[str]] = []
    for line in script.replace("\\\n", " ").splitlines():
        try:
            lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            words = list(lexer)
        except ValueError:  # inside a text of several lines
            continue
        piece: list[str] = []
        for word in [*words, ";"]:
            if word in ENDS:
                while piece and re.fullmatch(r"[A-Z_]+=.*", piece[0]):
                    piece.pop(0)
                if piece:
                    found.append(piece)
                piece = []
            else:
                piece.append(word)
    return found


def _mergelab(words: list[str]) -> list[str]:
    if not words or words[0] in ("--help", "-h", "--version"):
        return []
    count = 1 if words[0] in commands() else 2
    name = " ".join(words[:count])
    command = commands().get(name)
    if command is None:
        return ["no such command"]
    try:
        command.make_context(name, list(words[count:]))
    except Exception as error:  # typer carries its own click; its errors have these names
        if type(error).__name__ not in ("MissingParameter", "Exit"):
            return [getattr(error, "message", str(error))]
    return []


def _make(words: list[str]) -> list[str]:
    known = TARGET.findall((ROOT / "Makefile").read_text("utf-8"))
    targets = [word for word in words if "=" not in word and not word.startswith("-")]
    return [f"no target {target}" for target in targets if target not in known]


def _nbgrader(words: list[str]) -> list[str]:
    from nbgrader.apps.nbgraderapp import NbGraderApp

    if not words or words[0] in NbGraderApp.subcommands:
        return []
    return ["no such command"]
