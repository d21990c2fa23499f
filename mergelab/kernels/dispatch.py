"""Which class runs a merge: in parts anywhere, or in fused passes on a CPU or a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from mergelab.kernels.tiled import Merge, TiledMerge

if TYPE_CHECKING:
    from mergelab.kernels.fused import FusedMerge


def open_merge(merge: Merge, dtype: torch.dtype = torch.float32) -> TiledMerge | FusedMerge:
    """The merge ready to be run, by the kernels of its backend where they take it.

    `dtype`: of the merged weights where the kernels round them; in parts they are fp32. Raises
    `ValueError` as the method does.

    >>> from mergelab.kernels.operands import Zeros
    >>> from mergelab.methods import REGISTRY
    >>> merge = Merge(REGISTRY["linear"], [Zeros((2, 3))], {}, [{"weight": 1.0}])
    >>> type(open_merge(merge)).__name__
    'TiledMerge'
    """
    if merge.backend.name == "cpu":  # imported where they are needed: each loads a compiler
        from mergelab.kernels.cpu_merge import CompiledMerge, takes

        if takes(merge):
            return CompiledMerge(merge, dtype)
    if merge.backend.name == "triton":
        from mergelab.kernels.fused_settings import takes
        from mergelab.kernels.triton_merge import TritonMerge

        if takes(merge):
            return TritonMerge(merge, dtype)
    return TiledMerge(merge)
