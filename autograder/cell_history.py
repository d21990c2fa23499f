"""What a notebook's history says about a function: was its newest cell ever accepted by Python?

A cell with a syntax error defines nothing, so the function that a check receives is the older one,
often the empty one, and "not written yet" would puzzle whoever has just written it.
"""

import ast
import re
import sys
from collections.abc import Sequence


def unread_cell(name: str) -> str:
    """A sentence if the newest cell that defines `name` has a syntax error; "" otherwise."""
    interactive = sys.modules.get("IPython")
    shell = interactive.get_ipython() if interactive is not None else None
    return "" if shell is None else syntax_error_in(list(shell.user_ns.get("In", ())), name)


def syntax_error_in(cells: Sequence[str], name: str) -> str:
    """The same for given cells, the newest last.

    >>> cells = ["def trim(x):\\n    return x", "def trim(x)\\n    return x"]
    >>> syntax_error_in(cells, "trim").partition(",")[0]
    "The newest cell that defines `trim` has a syntax error in line 1 (expected ':')"
    """
    for source in reversed(cells):
        if not re.search(rf"^\s*def\s+{name}\b", source, re.MULTILINE):
            continue
        try:
            ast.parse(source)
        except SyntaxError as error:
            return (
                f"The newest cell that defines `{name}` has a syntax error in line {error.lineno} "
                f"({error.msg}), so Python did not run it and the older `{name}` is still in use: "
                f"repair that line and run the cell again."
            )
        return ""
    return ""
