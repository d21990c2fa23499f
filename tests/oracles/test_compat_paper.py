"""`compat: paper` gives the numbers of the authors' own code: 200 random merges.

That code is not installed; `published` says again, with plain loops in double precision, what it
does. We compute in fp32 and round once to the dtype, so a few roundings of what is added up are
allowed (`OPERATIONS` of them).

The whole task vector is one flat tensor here, as trimming with global scope sees it.
"""

import numpy as np
import published
import pytest
import torch
from random_recipes import DTYPES, ROUNDING, assert_within, draw, inject, merged

from mergelab.recipes.compat import COMPAT

OPERATIONS = 8
METHODS = (
    "linear",
    "task_arithmetic",
    "ties",
    "dare_linear",
    "dare_ties",
    "della",
    "breadcrumbs",
)
VOTING = ("ties", "dare_ties", "della")
NAMES = ("a.weight", "b.weight", "c.bias")


def split(tensor):
    """A flat task vector as three tensors of a model, by name."""
    values = tensor.double().numpy().ravel()
    first, second = len(values) // 2, len(values) // 4
    parts = (values[:first], values[first : first + second], values[first + second :])
    return dict(zip(NAMES, parts, strict=True))


def joined(model):
    return torch.tensor(published.flat(model), dtype=torch.float64)


@pytest.mark.parametrize("number", range(200))
def test_a_random_merge(number, monkeypatch):
    method, dtype = METHODS[number % len(METHODS)], DTYPES[number // len(METHODS) % 3]
    flat = method in ("ties", "dare_linear", "dare_ties")
    case = draw(number, dtype, shapes=((41,), (300,))) if flat else draw(number, dtype)
    if case.one_of(False, False, True):
        density = {}
        case.densities[:] = [0.9 if "dare" in method else 1.0] * len(case.densities)
    else:
        density = {"density": case.densities}
    lam = case.one_of(None, 0.75, 0.3)
    parameters = {} if lam is None else {"lambda": lam}
    lam = lam or (0.4 if method == "breadcrumbs" else 1.0)
    arrays = [delta.double().numpy() for delta in case.deltas]
    models = [split(delta) for delta in case.deltas] if flat else []
    masks = [split(~mask) for mask in case.masks] if flat else []
    rates = [1 - d for d in case.densities]
    if method == "linear":
        parameters = {}
        theirs = torch.tensor(np.mean(arrays, axis=0))
    elif method == "task_arithmetic":
        theirs = torch.tensor(lam * np.sum(arrays, axis=0))
    elif method == "ties":
        keep = case.one_of(None, 0.1, 0.37, 0.9)
        if keep:
            parameters["density"] = keep
        theirs = joined(published.ties(models, keep or 0.2, lam))
    elif method == "dare_linear":
        parameters |= density
        inject(monkeypatch, case)
        theirs = joined(published.dare_linear(models, rates, masks, lam))
    elif method == "dare_ties":
        trim_after = case.one_of(None, 0.1, 0.5)
        if trim_after:
            parameters["trim_after"] = trim_after
        parameters |= density
        inject(monkeypatch, case)
        rate = 1 - (trim_after or 0.2)
        theirs = joined(published.dare_ties(models, rates, masks, lam, rate))
    elif method == "della":
        window = case.one_of(None, 0.1, 0.18)
        case.densities[:] = [max(d, 0.13) for d in case.densities]
        parameters |= {"weight": case.weights} | density
        if window:
            parameters["epsilon"] = window
        uniform = [case.chance.random(a.shape) for a in arrays]
        for i, numbers in enumerate(uniform):
            numbers.flat[:2] = 0.0 if i < 2 else 0.999  # what was planted survives
        words = [torch.from_numpy(u * 2**32).long() for u in uniform]
        inject(monkeypatch, case, words=words)
        theirs = published.della(arrays, case.weights, case.densities, window or 0, uniform, lam)
        theirs = torch.tensor(theirs)
    else:
        keep, remove = case.one_of((None, None), (0.15, 0.006), (0.4, 0.3))
        if keep:
            parameters |= {"density": keep, "gamma": remove}
        theirs = torch.tensor(published.breadcrumbs(arrays, keep or 0.2, remove or 0.1, lam))
    ours = merged("paper", method, case.deltas, parameters)
    unit = OPERATIONS * ROUNDING[dtype]
    if method in VOTING:
        scale = theirs.abs()  # all that is added up has one sign
    else:
        scale = sum(delta.double().abs() for delta in case.deltas) / min(case.densities)
    assert_within(ours, theirs, unit * scale)


def test_every_method_with_published_code_was_compared():
    assert set(COMPAT["paper"]) == set(METHODS)
