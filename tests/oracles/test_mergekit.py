"""Linear, task arithmetic, SLERP, TIES and DARE equal mergekit 0.1.5's on the same tensors.

They agree where the trim counts agree (mergekit keeps `int(d * n)`, so `d * n` is whole here),
where no two magnitudes are equal (mergekit sorts unstably), where no sum of changes is exactly 0
(mergekit elects plus), and with DARE's masks injected. Both compute in fp32 but in another order,
hence a tolerance of a few units in the last place.
"""

import pytest
import torch
from mergekit import sparsify
from mergekit.merge_methods.api import merge_tensors

from mergelab.methods import dare_linear, dare_ties, keep_mask, linear, slerp, task_arithmetic, ties

SHAPES = [(8,), (4, 12), (16, 24), (2, 3, 8)]
WEIGHTS = [[1.0, 1.0, 1.0], [0.2, 0.5, 1.3], [1.0, -0.5, 0.7]]
CLOSE = {"rtol": 1e-5, "atol": 2e-6}


def tensors(count, shape, seed=0):
    """The base and `count` task vectors, in each of which all magnitudes differ."""
    generator = torch.Generator().manual_seed(seed)
    found = [torch.randn(shape, generator=generator) for _ in range(count + 1)]
    if found[0].numel() < 1000:
        assert all(delta.abs().unique().numel() == delta.numel() for delta in found[1:])
    return found


def mergekit_delta(method, base, deltas, **parameters):
    merged = merge_tensors(
        [base, *(base + delta for delta in deltas)], method, parameters=parameters, base_index=0
    )
    return merged - base


def rounded(base, deltas):
    """The changes as mergekit sees them: after adding to the base and subtracting it again."""
    return [(base + delta) - base for delta in deltas]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
@pytest.mark.parametrize("normalize", [True, False])
def test_linear_of_weights_is_mergekits(shape, weights, normalize):
    models = tensors(2, shape)
    theirs = merge_tensors(models, "linear", parameters={"weight": weights, "normalize": normalize})
    torch.testing.assert_close(linear(models, weights, normalize=normalize), theirs, **CLOSE)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
@pytest.mark.parametrize("lam", [1.0, 0.4])
def test_task_arithmetic_is_mergekits(shape, weights, lam):
    base, *tau = tensors(3, shape)
    theirs = mergekit_delta("task_arithmetic", base, tau, weight=weights, **{"lambda": lam})
    torch.testing.assert_close(task_arithmetic(tau, weights, lam), theirs, **CLOSE)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("t", [0.0, 0.3, 0.5, 1.0])
def test_slerp_of_weights_is_mergekits(shape, t):
    first, second = tensors(1, shape)
    theirs = merge_tensors([first, second], "slerp", parameters={"t": t}, base_index=0)
    torch.testing.assert_close(slerp(first, second, t), theirs, **CLOSE)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("t", [0.0, 0.3, 0.5, 1.0])
def test_slerp_of_task_vectors_is_mergekits_nuslerp_with_a_base(shape, t):
    base, *tau = tensors(2, shape)
    theirs = mergekit_delta("nuslerp", base, tau, weight=[1 - t, t])
    torch.testing.assert_close(slerp(*tau, t), theirs, **CLOSE)


def test_slerp_of_nearly_parallel_weights_is_the_straight_line_that_mergekit_takes():
    """Above a cosine of .9995 mergekit interpolates linearly; the arc is within 1e-4 of it."""
    first, change = tensors(1, (40, 40))
    second = first + 0.02 * change
    theirs = merge_tensors([first, second], "slerp", parameters={"t": 0.5}, base_index=0)
    torch.testing.assert_close((first + second) / 2, theirs, **CLOSE)
    torch.testing.assert_close(slerp(first, second, 0.5), theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("weights", WEIGHTS[:2], ids=str)
@pytest.mark.parametrize("density", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("normalize", [True, False])
def test_ties_is_mergekits(shape, weights, density, normalize):
    base, *tau = tensors(3, shape)
    theirs = mergekit_delta(
        "ties", base, tau, weight=weights, density=[density] * 3, normalize=normalize
    )
    divisor = "weights" if normalize else "none"
    ours = ties(rounded(base, tau), density, weights, divisor=divisor)
    torch.testing.assert_close(ours, theirs, **CLOSE)


def test_ties_with_a_density_and_scale_for_each_model_is_mergekits():
    base, *tau = tensors(3, (16, 24))
    theirs = mergekit_delta(
        "ties",
        base,
        tau,
        weight=[1.0, 0.5, 2.0],
        density=[0.25, 0.5, 0.75],
        **{"lambda": 0.7},
    )
    ours = ties(rounded(base, tau), [0.25, 0.5, 0.75], [1.0, 0.5, 2.0], 0.7)
    torch.testing.assert_close(ours, theirs, **CLOSE)


def test_election_by_count_is_mergekits_where_no_vote_is_drawn():
    from mergekit.merge_methods.generalized_task_arithmetic import get_mask

    _, *tau = tensors(3, (16, 24))
    stacked = torch.stack(tau)
    mask = get_mask(stacked, "count")
    ours = ties(tau, 1.0, election="count", divisor="none")
    torch.testing.assert_close(ours, (stacked * mask).sum(0), **CLOSE)


@pytest.fixture
def shared_masks(monkeypatch):
    """mergekit's random drops replaced by ours, in the order it asks for them."""
    calls = []

    def bernoulli(tensor, density, rescale_norm=None):
        assert rescale_norm is None
        calls.append(density)
        mask = keep_mask(tensor.shape, density, seed=5, stream=len(calls) - 1)
        return tensor * mask

    monkeypatch.setattr(sparsify, "bernoulli", bernoulli)
    return calls


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("weights", WEIGHTS[:2], ids=str)
@pytest.mark.parametrize("method", ["dare_linear", "dare_ties"])
def test_dare_with_one_mask_and_no_rescaling_is_mergekits(shape, weights, method, shared_masks):
    base, *tau = tensors(3, shape)
    densities = [0.5, 0.25, 0.75]
    theirs = mergekit_delta(
        method, base, tau, weight=weights, density=densities, rescale=False, normalize=False
    )
    assert shared_masks == densities
    changes = rounded(base, tau)
    if method == "dare_linear":
        ours = dare_linear(changes, densities, weights, seed=5, rescale=False)
    else:
        ours = dare_ties(changes, densities, weights, seed=5, rescale=False, divisor="none")
    torch.testing.assert_close(ours, theirs, **CLOSE)


@pytest.mark.parametrize("normalize", [True, False])
def test_dare_ties_averages_as_mergekit_does_when_it_normalises(normalize, shared_masks):
    base, *tau = tensors(3, (16, 24))
    theirs = mergekit_delta(
        "dare_ties", base, tau, weight=[1.0, 2.0, 0.5], density=[0.5] * 3, rescale=False,
        normalize=normalize,
    )  # fmt: skip
    divisor = "weights" if normalize else "none"
    ours = dare_ties(
        rounded(base, tau), 0.5, [1.0, 2.0, 0.5], seed=5, rescale=False, divisor=divisor
    )
    torch.testing.assert_close(ours, theirs, **CLOSE)


def test_mergekits_rescaling_tends_to_ours_on_a_large_tensor(monkeypatch):
    """mergekit matches the L1 norm, which for many entries is about 1/density."""
    _, delta = tensors(1, (400, 500))
    mask = keep_mask(delta.shape, 0.1, seed=1, stream=0)
    theirs = sparsify.rescaled_masked_tensor(delta, mask.float(), sparsify.RescaleNorm.l1)
    ours = dare_linear([delta], 0.1, seed=1)
    kept = mask & (delta != 0)
    ratio = theirs[kept] / ours[kept]
    assert float(ratio.min()) == pytest.approx(float(ratio.max()), rel=1e-5)
    assert float(ratio.mean()) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_we_are_nearer_to_the_exact_result_than_mergekit(dtype):
    base, *tau = tensors(3, (64, 64))
    base, tau = base.to(dtype), [(delta * 0.05).to(dtype) for delta in tau]
    exact = ties([delta.double() for delta in tau], 0.5)
    ours = (base.float() + ties([delta.float() for delta in tau], 0.5)).to(dtype)
    theirs = merge_tensors(
        [base, *(base + delta for delta in tau)],
        "ties",
        parameters={"weight": [1.0] * 3, "density": [0.5] * 3},
        base_index=0,
    )
    target = base.double() + exact
    our_error = (ours.double() - target).norm()
    assert float(our_error) < 0.75 * float((theirs.double() - target).norm())
