"""The merge methods: pure functions on tensors, as the papers write them.

Ground floor: this package imports nothing of `mergelab` and only torch and numpy, so that it can
be read, tested and run by itself. Each method has its file; `REGISTRY` maps the name a recipe
uses to the method's declaration.

>>> REGISTRY["ties"].paper
'Yadav et al. 2023, arXiv 2306.01708'
"""

from mergelab.methods import concat as _concat
from mergelab.methods import core_space as _core_space
from mergelab.methods import dare as _dare
from mergelab.methods import della as _della
from mergelab.methods import iso_c as _iso_c
from mergelab.methods import knots_ties as _knots_ties
from mergelab.methods import linear as _linear
from mergelab.methods import model_stock as _model_stock
from mergelab.methods import passthrough as _passthrough
from mergelab.methods import pruning as _pruning
from mergelab.methods import sce as _sce
from mergelab.methods import slerp as _slerp
from mergelab.methods import spherical as _spherical
from mergelab.methods import swap as _swap
from mergelab.methods import ties as _ties
from mergelab.methods import tsv_merge as _tsv_merge
from mergelab.methods.concat import concat, svd, truncate
from mergelab.methods.core_space import core_space
from mergelab.methods.dare import dare, dare_linear, dare_ties, drop, keep_mask
from mergelab.methods.declaration import Method, Parameter
from mergelab.methods.della import della, della_linear, keep_probability, magprune
from mergelab.methods.factors import Delta, Factors
from mergelab.methods.factorwise import merge_factors
from mergelab.methods.iso_c import iso_c
from mergelab.methods.knots_ties import knots_ties
from mergelab.methods.linear import linear, task_arithmetic
from mergelab.methods.model_stock import interpolation_ratio, model_stock
from mergelab.methods.passthrough import passthrough
from mergelab.methods.pruning import band, breadcrumbs, breadcrumbs_ties, magnitude_prune
from mergelab.methods.sce import sce
from mergelab.methods.slerp import angle, slerp
from mergelab.methods.spherical import karcher, multislerp, nuslerp
from mergelab.methods.swap import arcee_fusion, nearswap
from mergelab.methods.ties import disjoint_merge, elect_sign, ties
from mergelab.methods.trimming import kept_count, norm_ratio, trim
from mergelab.methods.tsv_merge import tsv_merge

REGISTRY: dict[str, Method] = {
    method.name: method
    for module in (
        _linear,
        _slerp,
        _spherical,
        _ties,
        _dare,
        _della,
        _pruning,
        _model_stock,
        _sce,
        _swap,
        _concat,
        _tsv_merge,
        _iso_c,
        _knots_ties,
        _core_space,
        _passthrough,
    )
    for method in module.METHODS
}

__all__ = [
    "REGISTRY",
    "Delta",
    "Factors",
    "Method",
    "Parameter",
    "angle",
    "arcee_fusion",
    "band",
    "breadcrumbs",
    "breadcrumbs_ties",
    "concat",
    "core_space",
    "dare",
    "dare_linear",
    "dare_ties",
    "della",
    "della_linear",
    "disjoint_merge",
    "drop",
    "elect_sign",
    "interpolation_ratio",
    "iso_c",
    "karcher",
    "keep_mask",
    "keep_probability",
    "kept_count",
    "knots_ties",
    "linear",
    "magnitude_prune",
    "magprune",
    "merge_factors",
    "model_stock",
    "multislerp",
    "nearswap",
    "norm_ratio",
    "nuslerp",
    "passthrough",
    "sce",
    "slerp",
    "svd",
    "task_arithmetic",
    "ties",
    "trim",
    "truncate",
    "tsv_merge",
]
