"""The merge methods: pure functions on tensors, as the papers write them.

Ground floor: this package imports nothing of `mergelab` and only torch and numpy, so that it can
be read, tested and run by itself. Each method has its file; `REGISTRY` maps the name a recipe
uses to the method's declaration.

>>> sorted(REGISTRY)
['dare_linear', 'dare_ties', 'linear', 'slerp', 'task_arithmetic', 'ties']
"""

from mergelab.methods import dare as _dare
from mergelab.methods import linear as _linear
from mergelab.methods import slerp as _slerp
from mergelab.methods import ties as _ties
from mergelab.methods.dare import dare, dare_linear, dare_ties, drop, keep_mask
from mergelab.methods.declaration import Method, Parameter
from mergelab.methods.linear import linear, task_arithmetic
from mergelab.methods.slerp import angle, slerp
from mergelab.methods.ties import disjoint_merge, elect_sign, kept_count, ties, trim

REGISTRY: dict[str, Method] = {
    method.name: method for module in (_linear, _slerp, _ties, _dare) for method in module.METHODS
}

__all__ = [
    "REGISTRY",
    "Method",
    "Parameter",
    "angle",
    "dare",
    "dare_linear",
    "dare_ties",
    "disjoint_merge",
    "drop",
    "elect_sign",
    "keep_mask",
    "kept_count",
    "linear",
    "slerp",
    "task_arithmetic",
    "ties",
    "trim",
]
