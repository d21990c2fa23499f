"""What to write instead of a word that a recipe does not know."""

from __future__ import annotations

import difflib
from typing import Any

# What people write for a key or a method of another name.
_ALIASES = {
    "lam": "lambda",
    "scale": "lambda",
    "scaling": "lambda",
    "normalise": "normalize",
    "alpha": "weight",
    "drop_rate": "density",
    "p": "density",
    "k": "density",
    "base": "base_model",
    "method": "merge_method",
    "average": "linear",
    "mean": "linear",
    "lerp": "linear",
    "soup": "linear",
    "model_soup": "linear",
    "dare": "dare_ties",
    "magnitude": "magnitude_prune",
    "frankenmerge": "passthrough",
    "stack": "passthrough",
    "tokenizer_src": "tokenizer_source",
}
_REMARKS = {
    "drop_rate": ", which is 1 minus the drop rate",
    "p": ", which is 1 minus the drop rate",
    "k": ", a fraction between 0 and 1",
}


# What mergekit's recipes may say and this one does not, with what to write instead.
REFUSED = {
    "modules": "merges of models made of several parts are not supported; write 'models' or "
    "'slices' in its place",
    "residual_weight": "not supported, in mergekit it has no effect either; leave it out",
    "override_architecture": "not supported; the architecture is the one in config.json",
    "seed": "belongs to the run, not to the recipe; write 'mergelab merge --seed N'",
}
REFUSED_IN_SLICE = {
    "base_model": "one base holds for all slices; write 'base_model' beside 'slices'",
}


def suggestion(word: str, allowed: Any) -> str:
    """What to write instead of `word`: the nearest allowed one, or all of them.

    >>> suggestion("densty", ["weight", "density"]), suggestion("zzz", ["weight", "density"])
    ("did you mean 'density'?", 'use one of density, weight')
    """
    names = sorted(str(name) for name in allowed)
    if _ALIASES.get(word) in names:
        return f"write '{_ALIASES[word]}'{_REMARKS.get(word, '')}"
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else f"use one of {', '.join(names)}"
