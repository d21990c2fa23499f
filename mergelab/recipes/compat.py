"""Presets: `compat: paper | mergekit | peft` makes a merge what that party makes of it.

Where the published implementations disagree, each choice is a parameter of the method. A preset
is one party's choice of defaults for them; what a recipe writes itself wins over the preset.

- paper: the code that the method's authors published (TIES: prateeky2806/ties-merging; DARE:
  yule-BUAA/MergeLM; DELLA: declare-lab/della; Model Breadcrumbs: rezazzr/breadcrumbs).
- mergekit: version 0.1.5. Words that mean something else there are read as there: `rescale: true`
  matches the L1 norm, `normalize: true` divides by the sum of the weights, signs and all.
- peft: PEFT 0.21, `add_weighted_adapter`. On adapters `space: factors` gives its plain kinds
  (linear, ties, ...), `space: task_vectors` what its kinds in _svd cut to a rank afterwards.

Arithmetic stays as it is here: fp32, and one rounding at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mergelab.errors import UserError
from mergelab.methods import Parameter


class _Required:
    """Stands where a party has no default, so that the recipe has to say."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED = _Required()

# In an election where even the majority is a draw nobody takes part, as in MergeLM; ties-merging
# then keeps the negative entries.
_AUTHORS_TIES = {
    "trim_scope": "global",
    "election": "mass_unweighted",
    "zero_sign": "majority",
    "divisor": "count",
}
_PAPER = {
    "linear": {"normalize": True},
    "task_arithmetic": {"lam": 1.0, "normalize": False},
    "ties": {"density": 0.2, "trim_count": "floor_plus_1", "rescale": False, **_AUTHORS_TIES},
    "dare_linear": {"density": 0.9, "rescale": True, "trim_after": 1.0, "normalize": False},
    "dare_ties": {
        "density": 0.9,
        "rescale": True,
        "trim_after": 0.2,
        "trim_count": "ceil_plus_1",
        **_AUTHORS_TIES,
    },
    "della": {
        "density": 1.0,
        "epsilon": 0.0,
        "window": "whole",
        "rescale": True,
        "election": "mass",
        "zero_sign": "positive",
        "divisor": "signed_weights",
    },
    "breadcrumbs": {
        "density": 0.2,
        "gamma": 0.1,
        "lam": 0.4,
        "trim_count": "floor",
        "trim_scope": "row",
        "rescale": False,
        "normalize": False,
    },
}

_MERGEKIT_TIES = {"election": "mass", "zero_sign": "positive"}
_MERGEKIT = {
    "linear": {"normalize": True, "space": "weights"},
    "task_arithmetic": {"lam": 1.0, "normalize": False},
    "slerp": {"space": "weights", "norm": "formula", "dot_threshold": 0.9995},
    "nuslerp": {},
    "multislerp": {},
    "karcher": {"space": "weights"},
    "ties": {
        "density": 1.0,
        "trim_count": "floor_min_1",
        "trim_scope": "tensor",
        "rescale": False,
        "divisor": "signed_weights",
        **_MERGEKIT_TIES,
    },
    "dare_linear": {"density": 1.0, "rescale": "l1", "trim_after": 1.0, "normalize": False},
    "dare_ties": {
        "density": 1.0,
        "rescale": "l1",
        "trim_after": 1.0,
        "divisor": "none",
        **_MERGEKIT_TIES,
    },
    "della": {
        "density": 1.0,
        "epsilon": 0.15,
        "window": "each_side",
        "rescale": "l1",
        "divisor": "signed_weights",
        **_MERGEKIT_TIES,
    },
    "della_linear": {
        "density": 1.0,
        "epsilon": 0.15,
        "window": "each_side",
        "rescale": "l1",
        "normalize": False,
    },
    "breadcrumbs": {
        "density": 1.0,
        "gamma": 0.01,
        "trim_count": "floor",
        "trim_scope": "tensor",
        "rescale": False,
        "normalize": False,
    },
    "breadcrumbs_ties": {
        "density": 1.0,
        "gamma": 0.01,
        "trim_count": "floor",
        "trim_scope": "tensor",
        "rescale": False,
        "divisor": "none",
        **_MERGEKIT_TIES,
    },
    "model_stock": {"filter_wise": False},
    "sce": {"select_topk": 1.0, "energy_floor": 1e-6},
    "nearswap": {},
    "arcee_fusion": {},
    "passthrough": {},
}

_PEFT_VOTE = {"election": "mass_unweighted", "zero_sign": "positive", "divisor": "count"}
_PEFT_TRIM = {"trim_count": "floor", "trim_scope": "tensor", "rescale": False}
_PEFT_DARE = {"density": REQUIRED, "rescale": True, "trim_after": 1.0, "space": "factors"}
_PEFT = {
    "linear": {"normalize": False, "space": "factors"},
    "task_arithmetic": {"lam": 1.0, "normalize": False},
    "ties": {"density": REQUIRED, "space": "factors", **_PEFT_TRIM, **_PEFT_VOTE},
    "dare_linear": {**_PEFT_DARE, "normalize": False},
    "dare_ties": {**_PEFT_DARE, **_PEFT_VOTE},
    "magnitude_prune": {
        "density": REQUIRED,
        "normalize": False,
        "space": "factors",
        **_PEFT_TRIM,
    },
    "concat": {},
    "svd": {},
}

COMPAT: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "paper": _PAPER,
    "mergekit": _MERGEKIT,
    "peft": _PEFT,
}

# What a flag of a recipe means for a parameter that is more than a flag; None: without a preset.
_WORDS: Mapping[str | None, Mapping[str, Mapping[bool, str]]] = {
    None: {"divisor": {True: "weights", False: "none"}},
    "paper": {"divisor": {True: "count", False: "none"}},
    "mergekit": {"divisor": {True: "signed_weights", False: "none"}, "rescale": {True: "l1"}},
    "peft": {"divisor": {True: "count", False: "none"}},
}

_DRAWS = "its masks are drawn here from the seed, there from a generator that no recipe can set"
_DELLA = "in tensors of three or more dimensions it ranks along the second one, here along the last"
# Where a preset cannot give a party's very numbers; said in the notes of every such merge.
NOT_REPRODUCED: Mapping[str, Mapping[str, str]] = {
    "paper": {
        "dare_linear": _DRAWS,
        "dare_ties": _DRAWS,
        "della": _DRAWS,
        "breadcrumbs": "where density and gamma exceed 1 together, it keeps less than density",
    },
    "mergekit": {
        "dare_linear": _DRAWS,
        "dare_ties": _DRAWS,
        "della": f"{_DRAWS}; {_DELLA}",
        "della_linear": f"{_DRAWS}; {_DELLA}",
        "model_stock": "two changes whose norms multiply to under 1e-6 it takes for less alike",
        "nearswap": "for t below 1e-6 it takes over even less",
        "arcee_fusion": "in tensors of more than a million entries it draws a million at random "
        "for the quartiles, here all count",
    },
    "peft": {"dare_linear": _DRAWS, "dare_ties": _DRAWS},
}


@dataclass(frozen=True)
class Preset:
    """One party's defaults for one method; without a party, the methods' own."""

    party: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    @property
    def min_sources(self) -> int:
        """PEFT leaves a single adapter as it is, whatever the method is to do with it."""
        return 2 if self.party == "peft" else 1

    @property
    def first_value_outside_layers(self) -> bool:
        """Whether a list's first value holds for the final norm and the head too."""
        return self.party == "mergekit"

    def default(self, parameter: Parameter) -> Any:
        """The value where the recipe says nothing. Raises `UserError` where the party has none.

        >>> from mergelab.methods import REGISTRY
        >>> ties = REGISTRY["ties"]
        >>> preset("paper", "ties").default(ties.parameter("density"))
        0.2
        """
        value = self.defaults.get(parameter.name, parameter.default)
        if value is REQUIRED:
            key = parameter.recipe_key
            raise UserError(f"compat: {self.party} has no default for {key}; write '{key}: '")
        return value

    def meaning(self, parameter: Parameter, value: Any) -> Any:
        """What a recipe's value means: a flag may stand for one of a parameter's words.

        >>> from mergelab.methods import REGISTRY
        >>> rescale = REGISTRY["dare_ties"].parameter("rescale")
        >>> preset("mergekit", "dare_ties").meaning(rescale, True)
        'l1'
        """
        if not isinstance(value, bool):
            return value
        return _WORDS[self.party].get(parameter.name, {}).get(value, value)


def preset(party: str | None, method: str) -> Preset:
    """The preset of a party for a method. Raises `UserError` if the party lacks the method.

    >>> preset("peft", "sce")
    Traceback (most recent call last):
    mergelab.errors.UserError: compat: peft has no sce; it has concat, dare_linear, ...
    """
    if party is None:
        return Preset()
    if method not in COMPAT[party]:
        whose = "the papers' published code has" if party == "paper" else f"{party} has"
        raise UserError(f"compat: {whose} no {method}; it has {', '.join(sorted(COMPAT[party]))}")
    note = NOT_REPRODUCED[party].get(method, "")
    if note:
        note = f"compat: {party} is not reproduced to the last number for {method}: {note}"
    return Preset(party, COMPAT[party][method], note)
