"""Merging one tensor on the device it lies on, and counting what happened to it."""

from mergelab.kernels.backends import BACKENDS, Backend, choose
from mergelab.kernels.counting import Counts, opposed
from mergelab.kernels.dispatch import open_merge
from mergelab.kernels.operands import tiles
from mergelab.kernels.tiled import Merge, Part, TiledMerge

__all__ = [
    "BACKENDS",
    "Backend",
    "Counts",
    "Merge",
    "Part",
    "TiledMerge",
    "choose",
    "open_merge",
    "opposed",
    "tiles",
]
