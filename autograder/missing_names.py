"""A sentence under Python's NameError: in a notebook it mostly means that a cell has not run.

`mergelab lab` puts a start-up file for notebook kernels beside its other settings, so the sentence
comes even where the restarted kernel has imported nothing yet.
"""

from types import TracebackType
from typing import Any

STARTUP = '__import__("autograder.missing_names", fromlist=["install"]).install()\n'


def install() -> None:
    """Add the sentence to every NameError of this kernel; without IPython, do nothing."""
    from IPython import get_ipython

    shell = get_ipython()
    if shell is not None:
        shell.set_custom_exc((NameError,), explain)


def explain(
    shell: Any,
    kind: type[BaseException],
    error: NameError,
    trace: TracebackType | None,
    tb_offset: int | None = None,
) -> None:
    """Show the error as ever, then the sentence; what IPython calls for a NameError."""
    shell.showtraceback((kind, error, trace), tb_offset=tb_offset)
    if error.name and not isinstance(error, UnboundLocalError):
        print(sentence(error.name))


def sentence(name: str) -> str:
    """What to do about a name that is not there.

    >>> print(sentence("trim"))
    There is no `trim` yet: the cell that makes it has not run since the kernel started, or the
    name is misspelt. Choose Run, Run All Above Selected Cell, and then run this cell again.
    """
    return (
        f"There is no `{name}` yet: the cell that makes it has not run since the kernel started, "
        f"or the\nname is misspelt. Choose Run, Run All Above Selected Cell, and then run this "
        f"cell again."
    )
