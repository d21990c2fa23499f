"""`compat: mergekit` gives mergekit 0.1.5's numbers: 200 random merges over all its methods.

mergekit computes in the dtype of the tensors, we in fp32 with one rounding at the end. So what may
differ is its rounding: a handful of operations, each by half a unit in the last place of what is
added up (`OPERATIONS` of them are allowed). Where a sign election comes out within that rounding
of a draw either side may win, and the entry is not compared; it is asserted that such entries are
few. In half precision the base is 0, so that the changes mergekit subtracts are exact; in fp32 they
are taken after its subtraction.
"""

import pytest
import torch
from mergekit.merge_methods import generalized_task_arithmetic
from mergekit.merge_methods.api import merge_tensors
from random_recipes import (
    DTYPES,
    ROUNDING,
    assert_within,
    distinct,
    draw,
    inject,
    merged,
    undecided,
)

from mergelab.methods import keep_probability, slerp
from mergelab.recipes.compat import COMPAT

OPERATIONS = 16
SPARSE = (
    "task_arithmetic",
    "ties",
    "dare_linear",
    "dare_ties",
    "della",
    "della_linear",
    "breadcrumbs",
    "breadcrumbs_ties",
)
VOTING = ("ties", "dare_ties", "della", "breadcrumbs_ties")
OTHERS = (
    "linear",
    "slerp",
    "nuslerp",
    "multislerp",
    "karcher",
    "model_stock",
    "sce",
    "nearswap",
    "arcee_fusion",
    "passthrough",
)


def based(case):
    """A base and the changes as mergekit sees them: added to it and subtracted again."""
    if case.dtype != torch.float32:
        return torch.zeros_like(case.deltas[0]), case.deltas
    base = distinct(case.chance, tuple(case.deltas[0].shape), case.dtype) / 4
    changes = [(base + delta) - base for delta in case.deltas]
    assert all(c.abs().unique().numel() == c.numel() for c in changes)
    return base, changes


def by_mergekit(method, base, changes, parameters):
    models = [base + change for change in changes]
    return merge_tensors([base, *models], method, parameters=parameters, base_index=0) - base


def assert_probabilities(method, case, changes, parameters, drawn):
    """Masks are injected; so that they are drawn with mergekit's probabilities is asked here."""
    preset = COMPAT["mergekit"][method]
    epsilon = parameters.get("epsilon", preset["epsilon"])
    pairs = [(c, d) for c, d in zip(changes, case.densities, strict=True) if d < 1]
    for (change, density), theirs in zip(pairs, drawn, strict=True):
        ours = keep_probability(change, density, epsilon, preset["window"]).reshape(theirs.shape)
        # ranks are counted in the tensors' dtype there, which holds whole numbers to 256 only
        assert_within(ours, theirs, torch.full_like(ours, OPERATIONS * ROUNDING[case.dtype]))


@pytest.mark.parametrize("number", range(140))
def test_task_arithmetic_and_what_sparsifies_before_it(number, monkeypatch):
    method, dtype = SPARSE[number % len(SPARSE)], DTYPES[number // len(SPARSE) % 3]
    case = draw(number, dtype)
    base, changes = based(case)
    parameters = {"weight": case.weights}
    if case.flag():
        parameters["lambda"] = case.one_of(0.75, -0.5)
    if case.flag():
        parameters["normalize"] = case.flag()
    if method != "task_arithmetic":
        parameters["density"] = case.densities
        if case.flag():
            parameters["rescale"] = case.flag()
    if method.startswith("breadcrumbs") and case.flag():
        parameters["gamma"] = case.one_of(0.0, 0.07, 0.3)
    if method.startswith("della"):
        case.densities[:] = [0.25 if d < 0.2 else 0.66 if d == 0.9 else d for d in case.densities]
        if case.flag():
            parameters["epsilon"] = case.one_of(0.02, 0.24)
    if case.one_of(False, False, False, True):
        parameters.pop("density", None)
        case.densities[:] = [1.0] * len(case.densities)
    if method not in VOTING and abs(sum(case.weights)) < 0.5:
        parameters["normalize"] = False  # dividing by next to nothing is refused here
    drawn = inject(monkeypatch, case)
    sparse = []
    plain = generalized_task_arithmetic.sparsify
    monkeypatch.setattr(
        generalized_task_arithmetic,
        "sparsify",
        lambda *args, **kwargs: sparse.append(plain(*args, **kwargs)) or sparse[-1],
    )
    theirs = by_mergekit(method, base, changes, parameters)
    ours = merged("mergekit", method, changes, parameters)
    if method.startswith("della"):
        assert_probabilities(method, case, changes, parameters, drawn)
    terms = [w * d.double() for w, d in zip(case.weights, sparse or changes, strict=True)]
    unit = OPERATIONS * ROUNDING[dtype]
    if method in VOTING:
        scale = theirs.double().abs()  # all that is added up has one sign
    else:
        divisor = sum(case.weights) if parameters.get("normalize") else 1.0
        scale = torch.stack(terms).abs().sum(0) * abs(parameters.get("lambda", 1.0) / divisor)
    before = [w * change for w, change in zip(case.weights, changes, strict=True)]
    votes = undecided(terms, before, unit) if method in VOTING else None
    assert_within(ours, theirs, unit * (scale + 2 * base.double().abs()), but=votes)


@pytest.mark.parametrize("number", range(60))
def test_the_other_methods(number):
    method, dtype = OTHERS[number % len(OTHERS)], DTYPES[number // len(OTHERS) % 3]
    if method in ("sce", "arcee_fusion"):
        dtype = torch.float32  # both choose by a rank among numbers that half precision makes alike
    single, two = ("nearswap", "arcee_fusion", "passthrough"), ("slerp", "nuslerp")
    case = draw(number, dtype, count=2 if method in (*single, *two) else None, positive=True)
    base, changes = based(case)
    if method in single:
        changes = changes[:1]
    elif method == "sce":
        small = 2.0 ** -(number // len(OTHERS) % 2 * 11)  # so small that mergekit weights all alike
        base, changes = base * 0, [change * small for change in case.deltas]
    parameters = {
        "linear": case.one_of({}, {"normalize": False}) | {"weight": case.weights},
        "slerp": {"t": case.one_of(0.0, 0.25, 0.5, 1.0)},
        "nuslerp": {"weight": case.weights[: len(changes)]},
        "multislerp": {"weight": case.weights},
        "sce": case.one_of({}, {"select_topk": 0.37}),
        "nearswap": {"t": case.one_of(0.05, 0.3, 2.0)},
        "passthrough": case.one_of({}, {"scale": -0.75}),
    }.get(method, {})
    models = [base + change for change in changes]
    if method in ("linear", "karcher", "passthrough"):
        theirs = merge_tensors(models, method, parameters=parameters)
        ours = merged("mergekit", method, models, parameters)
    elif method == "slerp":
        theirs = merge_tensors(models, method, parameters=parameters, base_index=0)
        how = {k: COMPAT["mergekit"]["slerp"][k] for k in ("norm", "dot_threshold")}
        ours = slerp(*models, parameters["t"], **how)
    else:
        theirs = by_mergekit(method, base, changes, parameters)
        more = {"base": base} if method == "arcee_fusion" else {}
        ours = merged("mergekit", method, changes, parameters, **more)
    # Those on the sphere divide by norms and sines that were themselves rounded, so what they
    # may be off by goes with the whole vector and not with the entry.
    scale = theirs.double().abs().max() + base.double().abs().max()
    assert_within(ours, theirs, 3 * OPERATIONS * ROUNDING[dtype] * scale)


def test_one_entry_is_kept_where_the_density_asks_for_less():
    changes = [torch.tensor([0.5, -2.0, 1.0]), torch.tensor([3.0, 0.25, 1.5])]
    parameters = {"weight": [1.0, 1.0], "density": [0.1, 0.2]}
    theirs = by_mergekit("ties", torch.zeros(3), changes, parameters)
    assert theirs.tolist() == [3.0, -2.0, 0.0]
    assert merged("mergekit", "ties", changes, parameters).equal(theirs)


def test_slerp_is_a_straight_line_for_nearly_parallel_weights_as_there():
    case = draw(1, torch.float32, count=2, shapes=((16, 24),))
    first = case.deltas[0]
    second = first + 0.02 * case.deltas[1]
    theirs = merge_tensors([first, second], "slerp", parameters={"t": 0.5}, base_index=0)
    ours = slerp(first, second, 0.5, dot_threshold=COMPAT["mergekit"]["slerp"]["dot_threshold"])
    assert_within(ours, theirs, 4 * ROUNDING[torch.float32] * theirs.double().abs())
    torch.testing.assert_close(ours, (first + second) / 2)


def test_every_method_that_both_have_was_compared():
    from mergekit.merge_methods.registry import registered_methods

    theirs = {method.spec.name for method in registered_methods()}
    assert set(COMPAT["mergekit"]) == {*SPARSE, *OTHERS}
    assert set(COMPAT["mergekit"]) <= theirs
