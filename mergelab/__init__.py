"""mergelab: learn to merge language models, and merge your own.

>>> import mergelab
>>> sorted(mergelab.__all__)
['MergeResult', 'UserError', 'data_path', 'explain', 'load_model', 'merge']
"""

from importlib import import_module
from typing import TYPE_CHECKING

from mergelab.errors import UserError
from mergelab.paths import data_path

if TYPE_CHECKING:
    from mergelab.checkpoints.loading import load_model
    from mergelab.engine import MergeResult, merge
    from mergelab.explanation import explain

__all__ = ["MergeResult", "UserError", "data_path", "explain", "load_model", "merge"]

# Heavy imports wait until they are used, so that `mergelab --help` answers at once.
_LAZY = {
    "merge": "mergelab.engine",
    "MergeResult": "mergelab.engine",
    "explain": "mergelab.explanation",
    "load_model": "mergelab.checkpoints.loading",
}


def __getattr__(name: str):
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'mergelab' has no attribute {name!r}")
