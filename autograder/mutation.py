"""Small faults in a model solution: what an exercise's cases ought to notice.

A mutant is a solution cell with one fault that people really make: `>` for `>=`, a forgotten
`.abs()`, a dropped line. Mutants come from the syntax tree, always the same ones in the same order.
Only the body of the exercise's function changes; its signature is given to the learner.
"""

import ast
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

ARITHMETIC: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Div,),
    ast.Mod: (ast.Mult,),
    ast.Pow: (ast.Mult,),
    ast.MatMult: (ast.Mult,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.BitXor: (ast.BitOr,),
}
# Of an order: the neighbour at the boundary, and the opposite. Of the rest: the opposite.
COMPARISON: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
ORDERED = (ast.Sub, ast.Div, ast.Pow, ast.MatMult)  # operands that may be taken the wrong way round
SIMILAR = {
    "floor": ("ceil", "trunc"),
    "ceil": ("floor",),
    "round": ("floor",),
    "max": ("min",),
    "min": ("max",),
    "maximum": ("minimum",),
    "minimum": ("maximum",),
    "sum": ("mean",),
    "mean": ("sum", "median"),
    "std": ("var",),
    "any": ("all",),
    "all": ("any",),
    "zeros": ("ones",),
    "ones": ("zeros",),
    "zeros_like": ("ones_like",),
    "ones_like": ("zeros_like",),
    "sin": ("cos",),
    "cos": ("sin",),
    "acos": ("asin",),
    "degrees": ("radians",),
    "lower": ("upper",),
}
# Of these the one in Python's own namespace has no `mean`, and so on: an error, no fault.
ONLY_METHODS = {"sum", "round"}
# Calls that people forget: what is left is the receiver, or the only argument.
FORGOTTEN_METHODS = {
    *("abs", "float", "double", "clone", "to", "flatten", "sign", "sort", "lower", "strip", "view"),
    *("sqrt", "contiguous", "detach", "norm"),
}
FORGOTTEN_FUNCTIONS = {"abs", "float", "int", "sorted", "list", "set", "sign", "sqrt"}
SYMMETRIC = {"min", "max", "minimum", "maximum"}
# Guards against inputs that a contract rules out, and says nothing about valid ones.
GUARDS = {"strict"}
SHOWN = 60


@dataclass(frozen=True)
class Mutant:
    """One fault in one exercise's solution cell.

    `id` stays the same while the faulty line stays the same: a digest of its text, the operator,
    and a number. `line` counts from 1 in the cell; `source` is the whole cell with the fault.
    """

    exercise: str
    id: str
    line: int
    change: str
    source: str

    @property
    def description(self) -> str:
        return f"line {self.line}: {self.change}"


@dataclass
class _Place:
    """Where a node hangs in the tree, so that another can take its place for a moment."""

    parent: ast.AST
    field: str
    index: int | None
    node: Any

    def put(self, node: ast.AST) -> None:
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


Edit = tuple[str, Any, str]  # the operator's name, the node that takes the place, the change


def mutants(exercise: str, source: str, function: str) -> list[Mutant]:
    """Every mutant of `function` in a cell, none of them twice and none equal to the original.

    >>> for each in mutants("a/f", "def f(x):\\n    return x.abs() >= 2", "f")[:3]:
    ...     print(each.id, "-", each.description)
    441abc/compare/1 - line 2: `>=` became `>`
    441abc/compare/2 - line 2: `>=` became `<`
    441abc/forgotten/1 - line 2: `x.abs()` became `x`
    """
    tree = ast.parse(source)
    defined = next(
        part for part in tree.body if isinstance(part, ast.FunctionDef) and part.name == function
    )
    lines = source.splitlines()
    texts = sorted({p.node.value for p in _places(defined) if _is_text(p.node)})
    seen = {ast.dump(tree)}
    numbers: Counter[tuple[str, str]] = Counter()
    found = []
    for place in list(_places(defined)):
        line = place.node.lineno
        digest = hashlib.sha256(" ".join(lines[line - 1].split()).encode()).hexdigest()[:6]
        for operator, node, change in _edits(place, defined, texts):
            place.put(node)
            as_data, as_text = ast.dump(tree), ast.unparse(ast.fix_missing_locations(tree))
            place.put(place.node)
            if as_data in seen:
                continue
            seen.add(as_data)
            numbers[digest, operator] += 1
            name = f"{digest}/{operator}/{numbers[digest, operator]}"
            found.append(Mutant(exercise, name, line, change, as_text))
    return found


def _places(function: ast.FunctionDef) -> Iterator[_Place]:
    """The statements and expressions of a function's body, in the order of the text."""

    def inside(parent: ast.AST) -> Iterator[_Place]:
        for field, value in ast.iter_fields(parent):
            if field in ("args", "decorator_list", "returns") and isinstance(
                parent, ast.FunctionDef
            ):
                continue
            values = value if isinstance(value, list) else [value]
            for index, node in enumerate(values):
                if isinstance(node, ast.stmt | ast.expr):
                    if not _is_docstring(parent, field, index, node):
                        yield _Place(
                            parent, field, index if isinstance(value, list) else None, node
                        )
                        yield from inside(node)
                elif isinstance(node, ast.comprehension) or (
                    isinstance(node, ast.keyword) and node.arg not in GUARDS
                ):
                    yield from inside(node)

    yield from inside(function)


def _is_docstring(parent: ast.AST, field: str, index: int, node: ast.AST) -> bool:
    return (
        isinstance(parent, ast.FunctionDef)
        and (field, index) == ("body", 0)
        and isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
    )


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is str


def _edits(place: _Place, function: ast.FunctionDef, texts: list[str]) -> Iterator[Edit]:
    node = place.node
    if isinstance(node, ast.stmt):
        yield from _dropped(place, function)
        if isinstance(node, ast.AugAssign):
            for other in ARITHMETIC.get(type(node.op), ()):
                new = ast.AugAssign(node.target, other(), node.value)
                yield "arithmetic", new, _became(_sign(node.op) + "=", _sign(other()) + "=")
        return
    if isinstance(node, ast.BinOp):
        yield from _arithmetic(node)
    elif isinstance(node, ast.Compare):
        yield from _comparisons(node)
    elif isinstance(node, ast.BoolOp):
        other = ast.Or if isinstance(node.op, ast.And) else ast.And
        words = ("and", "or") if other is ast.Or else ("or", "and")
        yield "boolean", ast.BoolOp(other(), node.values), _became(*words)
    elif isinstance(node, ast.UnaryOp):
        yield "unary", node.operand, _became(node, node.operand)
    elif isinstance(node, ast.Constant):
        yield from _constants(node, texts)
    elif isinstance(node, ast.Call):
        yield from _calls(node)
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
        yield from _slices(node)
    elif isinstance(node, ast.Dict | ast.List | ast.Tuple | ast.Set):
        yield from _entries(node)
    # A single comparison or `not` is negated above, in its own way.
    if place.field in ("test", "ifs") and not isinstance(node, ast.Compare | ast.UnaryOp):
        new = ast.UnaryOp(ast.Not(), node)
        yield "negated", new, _became(node, new)


def _arithmetic(node: ast.BinOp) -> Iterator[Edit]:
    for other in ARITHMETIC.get(type(node.op), ()):
        new = ast.BinOp(node.left, other(), node.right)
        yield "arithmetic", new, _became(_sign(node.op), _sign(other())) + _in(node)
    if isinstance(node.op, ORDERED):
        new = ast.BinOp(node.right, node.op, node.left)
        yield "swapped", new, _became(node, new)


def _comparisons(node: ast.Compare) -> Iterator[Edit]:
    for i, op in enumerate(node.ops):
        for other in COMPARISON[type(op)]:
            ops = [*node.ops[:i], other(), *node.ops[i + 1 :]]
            new = ast.Compare(node.left, ops, node.comparators)
            yield "compare", new, _became(_sign(op), _sign(other()))


def _constants(node: ast.Constant, texts: list[str]) -> Iterator[Edit]:
    value = node.value
    if type(value) is bool:
        yield "constant", ast.Constant(not value), _became(value, not value)
    elif type(value) in (int, float):
        zero, one = type(value)(0), type(value)(1)
        others = dict.fromkeys([value + 1, value - 1, zero, one, -value])
        for other in others:
            if other != value:
                yield "constant", ast.Constant(other), _became(value, other)
    elif type(value) is str:
        # Another text of the cell is a likelier mistake than one out of nowhere.
        other = texts[(texts.index(value) + 1) % len(texts)] if len(texts) > 1 else value + "_"
        yield "text", ast.Constant(other), _became(repr(value), repr(other))


def _calls(node: ast.Call) -> Iterator[Edit]:
    function, args = node.func, node.args
    method = isinstance(function, ast.Attribute)
    name = function.attr if method else getattr(function, "id", "")
    for other in SIMILAR.get(name, ()) if method or name not in ONLY_METHODS else ():
        func = ast.Attribute(function.value, other, ast.Load()) if method else ast.Name(other)
        yield "similar", ast.Call(func, args, node.keywords), _became(name, other)
    if method and name in FORGOTTEN_METHODS and not _is_module(function.value):
        yield "forgotten", function.value, _became(node, function.value)
    elif name in FORGOTTEN_FUNCTIONS and len(args) == 1:
        yield "forgotten", args[0], _became(node, args[0])
    for i, keyword in enumerate(node.keywords):
        if keyword.arg is not None and keyword.arg not in GUARDS:
            rest = [*node.keywords[:i], *node.keywords[i + 1 :]]
            new = ast.Call(function, args, rest)
            yield "keyword", new, f"`{_clip(ast.unparse(keyword))}` dropped"
    if len(args) >= 2 and name not in SYMMETRIC:
        # The two last ones of `where`: its first is a mask.
        first, second = (len(args) - 2, len(args) - 1) if name == "where" else (0, 1)
        swapped = list(args)
        swapped[first], swapped[second] = args[second], args[first]
        new = ast.Call(function, swapped, node.keywords)
        yield "swapped", new, _became(node, new)


def _slices(node: ast.Subscript) -> Iterator[Edit]:
    part = node.slice
    for bound in ("lower", "upper"):
        if getattr(part, bound) is not None:
            fields = {"lower": part.lower, "upper": part.upper, "step": part.step, bound: None}
            new = ast.Subscript(node.value, ast.Slice(**fields), node.ctx)
            yield "slice", new, _became(node, new)


def _entries(node: Any) -> Iterator[Edit]:
    """One entry less, where entries are data: a dict's, and those of three or more constants."""
    if isinstance(node, ast.Dict):
        for i in range(len(node.keys)) if len(node.keys) > 1 else ():
            keys, values = [[*row[:i], *row[i + 1 :]] for row in (node.keys, node.values)]
            yield "entry", ast.Dict(keys, values), f"`{_entry(node, i)}` dropped"
    elif len(node.elts) > 2 and all(isinstance(each, ast.Constant) for each in node.elts):
        for i, each in enumerate(node.elts):
            rest = [*node.elts[:i], *node.elts[i + 1 :]]
            more = () if isinstance(node, ast.Set) else (node.ctx,)
            yield "entry", type(node)(rest, *more), f"`{ast.unparse(each)}` dropped"


def _dropped(place: _Place, function: ast.FunctionDef) -> Iterator[Edit]:
    """A forgotten statement, unless the function could not run at all without it."""
    node, parent = place.node, place.parent
    if isinstance(node, ast.FunctionDef | ast.Import | ast.ImportFrom | ast.Pass):
        return
    if isinstance(parent, ast.FunctionDef) and isinstance(node, ast.Return):
        return
    if isinstance(parent, ast.If) and len(parent.body) == 1 and not parent.orelse:
        return  # without the whole `if` it is the same
    stored = _names(node, ast.Store)
    used = {
        n.id
        for n in ast.walk(function)
        if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load) and n.lineno > node.end_lineno
    }
    before = {a.arg for a in ast.walk(function) if isinstance(a, ast.arg)} | {
        n.id
        for n in ast.walk(function)
        if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store) and n.lineno < node.lineno
    }
    if stored & used <= before:
        first = ast.unparse(node).splitlines()[0]
        yield "dropped", ast.copy_location(ast.Pass(), node), f"`{_clip(first)}` dropped"


def _names(node: ast.AST, context: type[ast.expr_context]) -> set[str]:
    found = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
    return {n.id for n in found if isinstance(n.ctx, context)}


def _is_module(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("torch", "math", "np", "nb")


def _entry(node: ast.Dict, index: int) -> str:
    key, value = node.keys[index], node.values[index]
    return _clip(f"{ast.unparse(key)}: {ast.unparse(value)}" if key else ast.unparse(value))


def _sign(op: ast.AST) -> str:
    """An operator as it is written, such as `>=`."""
    x, y = ast.Name("x"), ast.Name("y")
    node = ast.Compare(x, [op], [y]) if isinstance(op, ast.cmpop) else ast.BinOp(x, op, y)
    return ast.unparse(node)[2:-2]


def _became(old: Any, new: Any) -> str:
    old, new = (ast.unparse(x) if isinstance(x, ast.AST) else str(x) for x in (old, new))
    return f"`{_clip(old)}` became `{_clip(new)}`"


def _in(node: ast.AST) -> str:
    return f" in `{_clip(ast.unparse(node))}`"


def _clip(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
