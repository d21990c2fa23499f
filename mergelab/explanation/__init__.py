"""One weight's way through a merge: recomputed, told step by step, and held against the output."""

from mergelab.explanation.entry import explain
from mergelab.explanation.record import Explanation, Step

__all__ = ["Explanation", "Step", "explain"]
