"""Where the shipped data lies, in a checkout and in an installed wheel alike."""

import os
from pathlib import Path

from mergelab.errors import UserError

_PACKAGE = Path(__file__).resolve().parent


def data_path(*parts: str) -> Path:
    """Path of a file or folder that ships under `data/`.

    A wheel carries the folder inside the package; a checkout has it beside the package.

    Raises `UserError` when neither place has it.

    >>> data_path("recipes").name
    'recipes'
    """
    for root in (_PACKAGE / "data", _PACKAGE.parent / "data"):
        path = root.joinpath(*parts)
        if os.path.exists(path):
            return path
    wanted = "/".join(("data", *parts))
    raise UserError(f"{wanted}: not found beside the package; reinstall, or run `make models`")
