"""Merging one tensor on the device it lies on, and counting what happened to it.

`merge_tensor` is the one place where the implementation is chosen. The reference one runs the
functions of `mergelab.methods` step by step.
"""

from mergelab.kernels.reference import Counts, Merged, gram, merge_tensor, opposed

__all__ = ["Counts", "Merged", "gram", "merge_tensor", "opposed"]
