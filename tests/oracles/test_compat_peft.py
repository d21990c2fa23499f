"""`compat: peft` gives PEFT 0.21's numbers: 200 random merges over all that it can combine.

Half of them hold the methods against PEFT's functions on dense task vectors, half hold merged
factors against `add_weighted_adapter` on a small module. PEFT prunes and elects in the dtype of the
adapter and then multiplies by fp32 weights; we compute in fp32 and round once. So a few roundings
of what is added up are allowed (`OPERATIONS` of them), and where a sign election comes out within
them of a draw the entry is not compared; it is asserted that such entries are few.
"""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.utils import merge_utils
from random_recipes import (
    DTYPES,
    ROUNDING,
    Draw,
    assert_within,
    distinct,
    draw,
    inject,
    merged,
    undecided,
)

from mergelab.methods import REGISTRY, merge_factors
from mergelab.recipes.compat import COMPAT

OPERATIONS = 8
KINDS = ("linear", "ties", "dare_linear", "dare_ties", "magnitude_prune")
VOTING = ("ties", "dare_ties")
pytestmark = pytest.mark.filterwarnings("ignore:The density:UserWarning")


def parameters_of(kind, case):
    """A recipe's parameters; PEFT has one density for all, and two ways to vote."""
    parameters = {"weight": case.weights}
    if kind != "linear":
        parameters["density"] = case.densities[0]
    if kind in VOTING and case.flag():
        parameters["election"] = "count_unweighted"
    return parameters


def to_peft(parameters):
    arguments = {k: v for k, v in parameters.items() if k == "density"}
    if "election" in parameters:
        arguments["majority_sign_method"] = "frequency"
    return arguments


def one_density(case):
    """The same draw with the first source's density for all of them, and masks to match."""
    masks = [torch.from_numpy(case.chance.random(m.shape) < case.densities[0]) for m in case.masks]
    densities = [case.densities[0]] * len(case.densities)
    return Draw(case.dtype, case.deltas, case.weights, densities, masks, case.chance)


def not_compared(kind, sparse, before, parameters, unit):
    """Entries where rounding may turn a vote of the pruned task vectors."""
    if kind not in VOTING or "election" in parameters:
        return None
    return undecided(sparse, before, unit)


@pytest.fixture
def pruned(monkeypatch):
    """What PEFT's pruning gives, in the order it is asked for."""
    seen = []
    plain = merge_utils.prune
    monkeypatch.setattr(
        merge_utils, "prune", lambda *a, **k: seen.append(plain(*a, **k)) or seen[-1]
    )
    return seen


@pytest.mark.parametrize("number", range(100))
def test_on_task_vectors(number, monkeypatch, pruned):
    kind, dtype = KINDS[number % len(KINDS)], DTYPES[number // len(KINDS) % 3]
    case = one_density(draw(number, dtype))
    parameters = parameters_of(kind, case)
    inject(monkeypatch, case)
    function = merge_utils.task_arithmetic if kind == "linear" else getattr(merge_utils, kind)
    theirs = function(case.deltas, torch.tensor(case.weights), **to_peft(parameters))
    ours = merged("peft", kind, case.deltas, parameters)
    unit = OPERATIONS * ROUNDING[dtype]
    terms = [w * d.double().abs() for w, d in zip(case.weights, pruned or case.deltas, strict=True)]
    scale = torch.stack(terms).abs().sum(0)
    but = not_compared(kind, pruned, case.deltas, parameters, unit)
    assert_within(ours, theirs, unit * scale, but=but)


class Small(torch.nn.Module):
    """One layer, to hang adapters on."""

    def __init__(self, rows, columns):
        super().__init__()
        self.layer = torch.nn.Linear(columns, rows, bias=False)


def with_adapters(factors, alphas, dtype):
    """A PEFT model whose adapters, named by their number, have the given factors."""
    model = Small(factors[0][1].shape[0], factors[0][0].shape[1])
    for i, ((a, b), alpha) in enumerate(zip(factors, alphas, strict=True)):
        config = LoraConfig(r=a.shape[0], lora_alpha=alpha, target_modules=["layer"])
        if i == 0:
            model = get_peft_model(model, config, adapter_name="0", autocast_adapter_dtype=False)
        else:
            model.add_adapter(str(i), config, autocast_adapter_dtype=False)
        model.base_model.model.layer.lora_A[str(i)].weight.data = a
        model.base_model.model.layer.lora_B[str(i)].weight.data = b
    return model


@pytest.mark.parametrize("number", range(80))
def test_on_factors(number, monkeypatch, pruned):
    kind, dtype = KINDS[number % len(KINDS)], DTYPES[number // len(KINDS) % 3]
    case = one_density(draw(number, dtype, shapes=((4, 12), (3, 20), (8, 9))))  # these are A's
    rank = case.deltas[0].shape[0]
    factors = [(a, distinct(case.chance, (14, rank), dtype)) for a in case.deltas]
    alphas = [int(case.one_of(rank, 2 * rank, rank // 2)) for _ in factors]
    parameters = parameters_of(kind, case)
    b_masks = [torch.from_numpy(case.chance.random((14, rank)) < d) for d in case.densities]
    everything = Draw(dtype, [], [], case.densities * 2, [*case.masks, *b_masks], case.chance)
    streams = range(len(factors))
    inject(monkeypatch, everything, streams=[*streams, *(s ^ 1 << 63 for s in streams)])
    model = with_adapters(factors, alphas, dtype)
    model.add_weighted_adapter(
        [str(i) for i in streams],
        case.weights,
        "merged",
        combination_type=kind,
        **to_peft(parameters),
    )
    layer = model.base_model.model.layer
    theirs = layer.lora_A["merged"].weight, layer.lora_B["merged"].weight
    assert COMPAT["peft"][kind]["space"] == "factors"

    def function(tensors, weights, **more):
        given = {**parameters, "weight": list(weights)}
        return merged("peft", kind, tensors, given, **more)

    ours = merge_factors(
        function,
        [a for a, _ in factors],
        [b for _, b in factors],
        case.weights,
        [alpha / rank for alpha in alphas],
        **({"streams": list(streams)} if REGISTRY[kind].random else {}),
    )
    unit = OPERATIONS * ROUNDING[dtype]
    roots = [abs(w * a / rank) ** 0.5 for w, a in zip(case.weights, alphas, strict=True)]
    whole = [list(half) for half in zip(*factors, strict=True)]
    halves = [pruned[: len(factors)], pruned[len(factors) :]] if pruned else whole
    for mine, its, sparse, before in zip(ours, theirs, halves, whole, strict=True):
        terms = [root * tensor.double().abs() for root, tensor in zip(roots, sparse, strict=True)]
        scale = torch.stack(terms).sum(0)
        vote = not_compared(kind, sparse, before, parameters, unit)
        assert_within(mine, its.detach(), unit * scale, but=vote)


@pytest.mark.parametrize("number", range(20))
def test_before_the_svd_of_the_kinds_that_cut_to_a_rank(number, monkeypatch):
    """At full rank the SVD cuts nothing; it rounds at some 1e-6 of the largest singular value."""
    kind = KINDS[number % len(KINDS)]
    case = one_density(draw(number, torch.float32, shapes=((3, 10),)))
    factors = [(a, distinct(case.chance, (8, 3), torch.float32)) for a in case.deltas]
    changes = [2 * b @ a for a, b in factors]
    case = Draw(
        case.dtype,
        changes,
        case.weights,
        case.densities,
        [torch.from_numpy(case.chance.random((8, 10)) < d) for d in case.densities],
        case.chance,
    )
    parameters = parameters_of(kind, case)
    inject(monkeypatch, case)
    model = with_adapters(factors, [6] * len(factors), torch.float32)
    model.add_weighted_adapter(
        [str(i) for i in range(len(factors))],
        case.weights,
        "merged",
        combination_type="svd" if kind == "linear" else f"{kind}_svd",
        svd_rank=8,
        **to_peft(parameters),
    )
    theirs = model.base_model.model.layer.get_delta_weight("merged").detach()
    method = "task_arithmetic" if kind == "linear" else kind
    ours = merged("peft", method, changes, parameters)
    assert_within(ours, theirs, 1e-5 * theirs.double().norm().expand_as(theirs))


def test_every_kind_that_peft_has_was_compared():
    """`cat` and the cut of `svd` are methods of their own, with their own tests."""
    assert set(COMPAT["peft"]) - {"concat", "svd"} == {*KINDS, "task_arithmetic"}
