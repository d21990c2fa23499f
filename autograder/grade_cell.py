"""Reads a grade cell without running it, and without loading what running it would need."""

import ast


def parse_call(source: str) -> tuple[str, str, str] | None:
    """Exercise id, function name and part of a grade cell's source; None if it is no such cell.

    >>> parse_call('# note\\ngrade("ties/trim", trim, part="hidden")')
    ('ties/trim', 'trim', 'hidden')
    >>> parse_call("1 + 1") is None
    True
    """
    try:
        statements = ast.parse(source).body
    except SyntaxError:
        return None
    match statements:
        case [
            ast.Expr(
                value=ast.Call(
                    func=ast.Name(id="grade"),
                    args=[ast.Constant(value=str(exercise)), ast.Name(id=function)],
                    keywords=[ast.keyword(arg="part", value=ast.Constant(value=str(part)))],
                )
            )
        ]:
            return exercise, function, part
    return None
