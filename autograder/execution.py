"""What runs when a submission is graded: definitions and grade cells, not demonstrations.

From every code cell run the imports, the definitions and the simple assignments: constants,
lambdas, arithmetic, and calls of builtins or of torch, math, functools, itertools and operator.
Anything else in a cell (plots, model loading, widgets, loops, prints) is left out, and so is an
assignment that needs a variable made there. In a solution cell every assignment runs, whatever it
calls. Grade cells run as they are. So a lesson that takes a minute to run top to bottom is graded
in seconds, helpers in extra cells work, and a broken demonstration costs no points.
"""

import ast
import builtins
from typing import Any

from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode
from nbgrader.preprocessors import Execute
from nbgrader.utils import is_grade, is_solution

MODULES = {"torch", "math", "functools", "itertools", "operator", "partial", "np", "numpy"}
BUILTINS = set(dir(builtins)) - {
    "breakpoint",
    "compile",
    "eval",
    "exec",
    "exit",
    "help",
    "input",
    "open",
    "print",
    "quit",
    "__import__",
}
DECORATORS = MODULES | BUILTINS | {"cache", "lru_cache", "wraps", "dataclass", "no_grad"}
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
IMPORTS = (ast.Import, ast.ImportFrom)
ASSIGNMENTS = (ast.Assign, ast.AnnAssign, ast.AugAssign)


def essential(source: str, missing: set[str] | None = None, *, solution: bool = False) -> str:
    """The part of a cell that runs when a submission is graded; line numbers stay as they were.

    `missing` holds the names that earlier cells would have made in parts left out, and is brought
    up to date. `solution` says that it is a solution cell. A cell that cannot be parsed comes back
    whole, so that its error is seen.

    >>> essential("import math\\nk = 3\\nprint(k)\\nmodel = load('x')\\ndef f(): return k")
    'import math\\nk = 3\\n\\n\\ndef f(): return k'
    >>> essential("%matplotlib inline")
    ''
    >>> essential("model = load('x')\\ndepth = len(model)\\nrate = 0.5")
    '\\n\\nrate = 0.5'
    """
    missing = set() if missing is None else missing
    try:
        # Magics become calls of get_ipython, which are left out like any other call.
        plain = TransformerManager().transform_cell(source)
        statements = ast.parse(plain).body
    except SyntaxError:
        return source
    kept: set[int] = set()
    for statement in statements:
        names = _assigned(statement)
        if _runs(statement, missing, solution):
            missing -= names
            first = min([statement.lineno, *(d.lineno for d in _decorators(statement))])
            kept.update(range(first, (statement.end_lineno or first) + 1))
        else:
            missing |= names
    lines = plain.splitlines()
    return "\n".join(
        line if number in kept else "" for number, line in enumerate(lines, start=1)
    ).rstrip()


def _decorators(statement: ast.stmt) -> list[ast.expr]:
    return getattr(statement, "decorator_list", [])


def _assigned(statement: ast.stmt) -> set[str]:
    if isinstance(statement, DEFINITIONS):
        return {statement.name}
    return {
        node.id
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    } - _inner(statement)


def _inner(part: ast.AST) -> set[str]:
    """Names that live only inside a comprehension or a lambda of this part."""
    names = set()
    for node in ast.walk(part):
        if isinstance(node, ast.comprehension):
            names |= {n.id for n in ast.walk(node.target) if isinstance(n, ast.Name)}
        elif isinstance(node, ast.Lambda):
            names |= {
                argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg)
            }
    return names


def _runs(statement: ast.stmt, missing: set[str], solution: bool) -> bool:
    if isinstance(statement, IMPORTS):
        return True
    if isinstance(statement, DEFINITIONS):
        return all(_root(decorator) in DECORATORS for decorator in statement.decorator_list)
    if isinstance(statement, ASSIGNMENTS):
        value = statement.value
        return value is None or ((solution or _simple(value)) and not _loaded(value) & missing)
    if isinstance(statement, ast.If):
        branches = statement.body + statement.orelse
        return _simple(statement.test) and all(_runs(each, missing, solution) for each in branches)
    if isinstance(statement, ast.Try):
        inside = [*statement.body, *statement.orelse, *statement.finalbody]
        inside += [each for handler in statement.handlers for each in handler.body]
        return all(isinstance(each, ast.Pass) or _runs(each, missing, solution) for each in inside)
    return False


def _loaded(value: ast.expr) -> set[str]:
    return {node.id for node in ast.walk(value) if isinstance(node, ast.Name)} - _inner(value)


def _root(value: ast.expr) -> str | None:
    """The name an expression like `torch.no_grad()` begins with."""
    node: Any = value
    while isinstance(node, ast.Attribute | ast.Call):
        node = node.value if isinstance(node, ast.Attribute) else node.func
    return node.id if isinstance(node, ast.Name) else None


def _simple(value: ast.expr) -> bool:
    """Whether an expression is a value anyone can compute at once: it calls nothing unknown."""
    deferred = {
        id(node)
        for part in ast.walk(value)
        if isinstance(part, ast.Lambda)
        for node in ast.walk(part.body)
    }
    for node in ast.walk(value):
        if isinstance(node, ast.Await | ast.Yield | ast.YieldFrom):
            return False
        if isinstance(node, ast.Call) and id(node) not in deferred:
            method_of_constant = _root(node.func) is None
            if not method_of_constant and _root(node.func) not in MODULES | BUILTINS:
                return False
    return True


class ExecuteDefinitions(Execute):
    """nbgrader's execution step, running only the essential part of each cell."""

    def preprocess(self, nb: NotebookNode, resources: Any, **options: Any) -> Any:
        self.missing: set[str] = set()
        return super().preprocess(nb, resources, **options)

    def preprocess_cell(self, cell: NotebookNode, resources: Any, index: int) -> Any:
        if cell.cell_type != "code" or is_grade(cell):
            return super().preprocess_cell(cell, resources, index)
        source = cell.source
        runs = essential(source, self.missing, solution=is_solution(cell))
        if not runs.strip():
            cell.outputs, cell.execution_count = [], None
            return cell, resources
        cell.source = runs
        try:
            return super().preprocess_cell(cell, resources, index)
        finally:
            cell.source = source
