"""A merge method of one's own: declared and registered, it is merged by like any other."""

import pytest
import torch
from tiny_models import weights

from mergelab import merge
from mergelab.errors import UserError
from mergelab.methods import REGISTRY, Method, Parameter
from mergelab.methods.declaration import WEIGHT

STRENGTH = Parameter("strength", 1.0, "how strongly this model counts", per_source=True)
POWER = Parameter("power", 2.0, "the power of the mean", low=1.0)


@pytest.fixture
def register(monkeypatch):
    def put(**declared):
        method = Method(
            name="mine",
            function=declared["combine"],
            summary="for a test",
            paper="none",
            **declared,
        )
        monkeypatch.setitem(REGISTRY, "mine", method)

    return put


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr("mergelab.kernels.operands.TILE_ENTRIES", 64)


def changes(tiny, name):
    return [tiny.deltas[source][name].float() for source in ("persona", "agentic")]


def changed(tiny):
    return [name for name in weights(tiny.base) if tiny.deltas["persona"][name].any()]


def test_one_that_looks_at_the_whole_tensor(tiny, register, small_tiles):
    def largest(deltas):
        """Of two task vectors the longer one."""
        seen.append(tuple(deltas[0].shape))
        return max(deltas, key=lambda delta: float(delta.norm()))

    seen = []
    register(combine=largest)
    got = merge(tiny.recipe("mine")).tensors
    base = weights(tiny.base)
    assert changed(tiny)
    for name in changed(tiny):
        expected = max(changes(tiny, name), key=lambda delta: float(delta.norm()))
        assert torch.allclose(got[name], base[name] + expected, atol=1e-6)
    shapes = sorted(tuple(base[name].shape) for name in changed(tiny))
    assert sorted(seen) == shapes


def test_one_that_looks_at_single_entries_is_given_tiles(tiny, register, small_tiles):
    def power_mean(deltas, power=2.0, strength=None):
        seen.append(deltas[0].numel())
        total = sum(s * d.abs() ** power for s, d in zip(strength, deltas, strict=True))
        return total ** (1 / power)

    seen = []
    register(combine=power_mean, by_entry=True, parameters=(POWER, STRENGTH))
    recipe = tiny.recipe("mine", parameters={"power": 3.0})
    recipe["models"][1]["parameters"] = {"strength": 0.5}
    got, base = merge(recipe).tensors, weights(tiny.base)
    for name in changed(tiny):
        one, other = changes(tiny, name)
        expected = (one.abs() ** 3 + 0.5 * other.abs() ** 3) ** (1 / 3)
        assert torch.allclose(got[name], base[name] + expected, atol=1e-6)
    assert max(seen) <= 64


@pytest.mark.parametrize("by_entry", [False, True])
def test_one_that_asks_for_the_base_is_given_its_values(tiny, register, small_tiles, by_entry):
    def shrink(deltas, base, weights):
        return weights[0] * deltas[0] - 0.25 * base

    register(combine=shrink, by_entry=by_entry, parameters=(WEIGHT,))
    got, base = merge(tiny.recipe("mine", parameters={"weight": 0.5})).tensors, weights(tiny.base)
    for name in changed(tiny):
        expected = 0.75 * base[name] + 0.5 * changes(tiny, name)[0]
        assert torch.allclose(got[name], expected, atol=1e-6)


def test_one_with_a_first_half_has_what_it_removes_counted(tiny, register, small_tiles):
    def only_positive(delta, above=0.0):
        return torch.where(delta > above, delta, torch.zeros_like(delta))

    def add(deltas):
        return sum(deltas)

    parameters = (Parameter("above", 0.0, "what counts as positive"),)
    register(combine=add, prepare=only_positive, by_entry=True, parameters=parameters)
    result = merge(tiny.recipe("mine", parameters={"above": 0.001}))
    base = weights(tiny.base)
    for report in result.report.tensors:
        deltas = changes(tiny, report.name)
        kept = [torch.where(delta > 0.001, delta, 0.0) for delta in deltas]
        assert torch.allclose(result.tensors[report.name], base[report.name] + sum(kept), atol=1e-6)
        assert report.removed == tuple(int((d <= 0.001).sum() - (d == 0).sum()) for d in deltas)


@pytest.mark.parametrize("by_entry", [False, True])
def test_one_that_returns_another_shape_is_refused_by_name(tiny, register, by_entry):
    register(combine=lambda deltas: deltas[0].sum(dim=0, keepdim=True), by_entry=by_entry)
    with pytest.raises(UserError, match=r"mine makes a tensor of shape .* must keep their shape"):
        merge(tiny.recipe("mine"))
