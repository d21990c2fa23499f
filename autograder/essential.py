"""The part of a notebook that runs when a submission is graded, and nothing else.

From all code cells run the imports, the definitions (def, class) and the assignments that the
graded functions need, directly or through one another, in the notebook's order. Everything else
stays out: plots, model loading, widgets, loops, prints, and imports that only those need. So a
lesson that takes a minute to run top to bottom is graded in seconds, helpers in extra cells work,
and a broken demonstration costs no points.

The sandbox uses this file, too, without the rest of the package: it imports nothing of ours.
"""

import ast
import symtable
from collections.abc import Sequence
from dataclasses import dataclass

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
IMPORTS = (ast.Import, ast.ImportFrom)
ASSIGNMENTS = (ast.Assign, ast.AnnAssign, ast.AugAssign)


@dataclass
class Statement:
    """A statement that may run: its cell, its lines there, the names it makes and needs."""

    cell: int
    lines: range
    makes: set[str]
    needs: set[str]


def essential(sources: Sequence[str], graded: Sequence[bool]) -> list[str]:
    """The part of each cell that runs when a submission is graded; line numbers stay.

    `graded` marks the grade cells, which come back whole, as does a cell that cannot be parsed.

    >>> cells = ["import torch, plots", "def f(x):\\n    return k * x", "k = 2\\nprint(k)"]
    >>> essential([*cells, "plots.show(f)", "grade('id', f)"], [False] * 4 + [True])
    ['', 'def f(x):\\n    return k * x', 'k = 2', '', "grade('id', f)"]
    """
    statements: list[Statement] = []
    needed: set[str] = set()
    whole: set[int] = {index for index, is_graded in enumerate(graded) if is_graded}
    plain = list(sources)
    for index, source in enumerate(sources):
        try:
            plain[index], parsed = _parsed(source)
            found = [(part, *_names(part)) for part in parsed]
        except (SyntaxError, ValueError, RecursionError):
            whole.add(index)
            continue
        for part, makes, needs in found:
            if graded[index]:
                needed |= needs
            elif _may_run(part):
                first = min([part.lineno, *(d.lineno for d in _decorators(part))])
                lines = range(first, (part.end_lineno or first) + 1)
                statements.append(Statement(index, lines, makes, needs))
    kept = _reachable(statements, needed)
    return [
        sources[index] if index in whole else _selected(plain[index], index, kept)
        for index in range(len(sources))
    ]


def _parsed(source: str) -> tuple[str, list[ast.stmt]]:
    """A cell as Python and its statements; magics become calls, left out like any loose call."""
    try:
        return source, ast.parse(source).body
    except SyntaxError:
        from IPython.core.inputtransformer2 import TransformerManager

        plain = TransformerManager().transform_cell(source)
        return plain, ast.parse(plain).body


def _reachable(statements: list[Statement], needed: set[str]) -> list[Statement]:
    kept: list[Statement] = []
    waiting = statements
    while True:
        found = [each for each in waiting if each.makes & needed or "*" in each.makes]
        if not found:
            return kept
        kept += found
        waiting = [each for each in waiting if each not in found]
        needed = needed.union(*(each.needs for each in found))


def _selected(source: str, index: int, kept: list[Statement]) -> str:
    numbers = {number for each in kept if each.cell == index for number in each.lines}
    lines = enumerate(source.splitlines(), start=1)
    return "\n".join(line if number in numbers else "" for number, line in lines).rstrip()


def _may_run(part: ast.stmt) -> bool:
    if isinstance(part, ast.If):
        return all(map(_may_run, part.body + part.orelse))
    if isinstance(part, ast.Try):
        inside = [*part.body, *part.orelse, *part.finalbody]
        inside += [each for handler in part.handlers for each in handler.body]
        return all(isinstance(each, ast.Pass) or _may_run(each) for each in inside)
    return isinstance(part, IMPORTS + DEFINITIONS + ASSIGNMENTS)


def _decorators(part: ast.stmt) -> list[ast.expr]:
    return getattr(part, "decorator_list", [])


def _names(part: ast.stmt) -> tuple[set[str], set[str]]:
    """The global names a statement makes, and those it needs, at any depth."""
    top = symtable.symtable(ast.unparse(part), "cell", "exec")
    makes = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}
    if isinstance(part, ast.ImportFrom) and any(alias.name == "*" for alias in part.names):
        makes.add("*")
    # `table[0] = 1` and `f.count = 0` change what the name stands for.
    for target in ast.walk(part) if isinstance(part, ASSIGNMENTS) else ():
        if isinstance(target, ast.Subscript | ast.Attribute) and isinstance(target.ctx, ast.Store):
            makes |= {node.id for node in ast.walk(target.value) if isinstance(node, ast.Name)}
    needs = {s.get_name() for s in top.get_symbols() if s.is_referenced()}
    tables = top.get_children()
    while tables:
        table = tables.pop()
        tables += table.get_children()
        needs |= {s.get_name() for s in table.get_symbols() if s.is_global()}
    return makes, needs
