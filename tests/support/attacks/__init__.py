"""Attacks on the grader as data: each is one submission, with what it tries and what must hold.

The lesson under attack has two exercises, `trim` and `elect_sign`, of 4 points each. Unless an
attack says otherwise it spoils `trim` alone and solves `elect_sign` honestly, so that it earns 0
and 4. Attacks that are the code of a function and nothing else go two into a submission. Words
like @COURSE@ stand for what only a running test knows.
"""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nbformat

STUB = "def trim(delta, density):\n    return delta\n"


@dataclass(frozen=True)
class Attack:
    """One hostile submission.

    `answers` go into the solution cells, `extra` cells before them, `change` is done to the
    notebook, `files` to the submission's folder in the exchange once the notebook lies there.
    `student` is the name it is handed in under. `points` of the two exercises, `reason` and
    `refused` are what must come of it (`None`: it is no submission at all, and a note says so);
    each text is part of what the instructor reads.
    """

    name: str
    trick: str
    answers: Mapping[str, str] = field(default_factory=dict)
    extra: Sequence[str] = ()
    change: Callable[[nbformat.NotebookNode], object] | None = None
    files: Callable[[Path], object] | None = None
    student: str = ""
    points: tuple[float, float] | None = (0.0, 4.0)
    reason: str = ""
    refused: str = ""
    note: str = ""
    code: tuple[str, tuple[str, ...]] | None = None


def body(*lines: str) -> str:
    """A `trim` of these lines."""
    return "def trim(delta, density):\n" + textwrap.indent(
        textwrap.dedent("\n".join(lines)), "    "
    )


def cheat(name: str, trick: str, *lines: str, reason: str = "", before: str = "") -> Attack:
    """An attack by the code of `trim`, which earns nothing."""
    source = f"{before}\n{body(*lines)}\n"
    return Attack(name, trick, {"trim": source}, reason=reason, code=(before, lines))


def elect_sign(attack: Attack) -> str:
    """The same attack from `elect_sign`, so that one submission can make two."""
    before, lines = attack.code
    first = "def elect_sign(deltas, weights=None):\n    delta, density = deltas[0], 0.5\n"
    return f"{before}\n{first}{textwrap.indent(chr(10).join(lines), '    ')}\n"


def everything() -> list[Attack]:
    """All attacks, each name once."""
    from attacks import cheats, files, harm, leaks, messages, notebooks, walls

    modules = (cheats, harm, walls, messages, leaks, notebooks, files)
    found = [attack for module in modules for attack in module.ATTACKS]
    assert len({attack.name for attack in found}) == len(found)
    return found
