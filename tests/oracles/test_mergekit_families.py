"""The methods beyond TIES and DARE equal mergekit 0.1.5's on the same tensors.

Inputs are fp32 with distinct magnitudes, because mergekit breaks ties by an unstable sort. Both
compute in fp32 in different orders, hence the tolerance of a few units in the last place.
"""

import pytest
import torch
from mergekit.merge_methods.api import merge_tensors
from mergekit.sparsify import magnitude_outliers

from mergelab.methods import (
    arcee_fusion,
    band,
    breadcrumbs,
    breadcrumbs_ties,
    della,
    karcher,
    keep_probability,
    kept_count,
    magnitude_prune,
    magprune,
    model_stock,
    multislerp,
    nearswap,
    nuslerp,
    sce,
    task_arithmetic,
    trim,
)

SHAPES = [(7,), (6, 5), (16, 24)]
CLOSE = {"rtol": 2e-5, "atol": 2e-6}


def tensors(count: int, shape: tuple[int, ...], seed: int = 0) -> list[torch.Tensor]:
    """The base and `count` task vectors, no two entries of equal magnitude."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for _ in range(count + 1)]


def mergekit_delta(method, base, deltas, parameters=None, with_base=True):
    """What mergekit adds to the base for these task vectors."""
    models = [base + delta for delta in deltas]
    inputs = [base, *models] if with_base else models
    merged = merge_tensors(
        inputs, method, parameters=parameters, base_index=0 if with_base else None
    )
    return merged - base


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weights", [[1.0, 1.0], [0.2, 0.8], [3.0, 1.0]])
def test_nuslerp_of_task_vectors_is_mergekits(shape, weights):
    base, *tau = tensors(2, shape)
    theirs = mergekit_delta("nuslerp", base, tau, {"weight": weights})
    torch.testing.assert_close(nuslerp(tau, weights), theirs, **CLOSE)


def test_nuslerp_by_rows_is_mergekits():
    base, *tau = tensors(2, (9, 12))
    rows = {"weight": [0.3, 0.7], "nuslerp_flatten": False}
    theirs = mergekit_delta("nuslerp", base, tau, rows)
    torch.testing.assert_close(nuslerp(tau, [0.3, 0.7], row_wise=True), theirs, **CLOSE)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [2, 3, 5])
def test_multislerp_is_mergekits(shape, count):
    base, *tau = tensors(count, shape)
    weights = [0.5 + i for i in range(count)]
    theirs = mergekit_delta("multislerp", base, tau, {"weight": weights})
    torch.testing.assert_close(multislerp(tau, weights), theirs, **CLOSE)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [2, 3, 5])
def test_karcher_mean_is_mergekits(shape, count):
    zero, *vectors = tensors(count, shape)
    theirs = mergekit_delta("karcher", zero * 0, vectors, with_base=False)
    torch.testing.assert_close(karcher(vectors), theirs, rtol=1e-4, atol=1e-5)


def test_karcher_mean_minimises_the_squared_arcs():
    _, *vectors = tensors(4, (30,))
    units = [(v / v.norm()).double() for v in vectors]
    mean = karcher(vectors, max_iter=200, tol=1e-9)
    mean = (mean / mean.norm()).double()

    def cost(point):
        return sum(torch.acos((point @ u).clamp(-1, 1)) ** 2 for u in units)

    generator = torch.Generator().manual_seed(1)
    for _ in range(50):
        other = mean + 0.01 * torch.randn(30, generator=generator, dtype=torch.float64)
        assert cost(mean) <= cost(other / other.norm()) + 1e-9


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("filter_wise", [False, True])
def test_model_stock_is_mergekits(shape, count, filter_wise):
    base, *tau = tensors(count, shape)
    theirs = mergekit_delta("model_stock", base, tau, {"filter_wise": filter_wise})
    torch.testing.assert_close(
        model_stock(tau, filter_wise=filter_wise), theirs, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("select_topk", [1.0, 0.5, 0.2])
def test_sce_is_mergekits(shape, select_topk):
    base, *tau = tensors(3, shape)
    theirs = mergekit_delta("sce", base * 0, tau, {"select_topk": select_topk})
    torch.testing.assert_close(sce(tau, select_topk=select_topk), theirs, **CLOSE)


@pytest.mark.parametrize("t", [0.0, 0.05, 10.0])
def test_nearswap_is_mergekits_and_is_clipping(t):
    base, delta = tensors(1, (8, 9))
    theirs = mergekit_delta("nearswap", base * 0, [delta], {"t": t})
    torch.testing.assert_close(nearswap([delta], t=t), theirs, **CLOSE)


@pytest.mark.parametrize("shape", [(6, 5), (16, 24)])
def test_arcee_fusion_is_mergekits(shape):
    base, delta = tensors(1, shape)
    theirs = mergekit_delta("arcee_fusion", base, [delta])
    torch.testing.assert_close(arcee_fusion([delta], base), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("density", "gamma"), [(0.4, 0.1), (0.5, 0.0), (0.2, 0.05)])
def test_a_band_of_magnitudes_is_mergekits_where_both_count_alike(density, gamma):
    _, delta = tensors(1, (20, 20))  # 400 entries: density and gamma are whole numbers of entries
    theirs = magnitude_outliers(delta, density, gamma=gamma)
    torch.testing.assert_close(band(delta, density, gamma), theirs, rtol=0, atol=0)


def test_breadcrumbs_is_mergekits():
    base, *tau = tensors(2, (20, 20))
    parameters = {"weight": [0.6, 0.7], "density": 0.4, "gamma": 0.1}
    theirs = mergekit_delta("breadcrumbs", base * 0, tau, parameters)
    torch.testing.assert_close(breadcrumbs(tau, 0.4, [0.6, 0.7], 1.0, 0.1), theirs, **CLOSE)


def test_breadcrumbs_ties_is_mergekits_summed():
    base, *tau = tensors(3, (20, 20))
    parameters = {"weight": [0.6, 0.7, 0.5], "density": 0.4, "gamma": 0.1}
    theirs = mergekit_delta("breadcrumbs_ties", base * 0, tau, parameters)
    ours = breadcrumbs_ties(tau, 0.4, [0.6, 0.7, 0.5], 1.0, 0.1, divisor="none")
    torch.testing.assert_close(ours, theirs, **CLOSE)


def test_breadcrumbs_keeps_its_density_where_gamma_asks_too_much():
    _, delta = tensors(1, (100,))
    kept = band(delta, density=0.9, gamma=0.5)
    assert int((kept != 0).sum()) == 90
    assert float(kept.abs().max()) < float(delta.abs().max())


def test_magnitude_prune_is_trim_and_sum_by_hand():
    tau = [torch.tensor([3.0, -1.0, 0.5, 0.2]), torch.tensor([-0.1, 4.0, 0.3, -2.0])]
    merged = magnitude_prune(tau, density=0.5, weights=[1.0, 0.5], lam=2.0)
    assert merged.tolist() == [6.0, 2.0, 0.0, -2.0]


def test_della_keeps_with_the_probabilities_that_mergekit_draws_from(monkeypatch):
    _, delta = tensors(1, (6, 11))
    drawn = []
    monkeypatch.setattr(torch, "bernoulli", lambda p: drawn.append(p) or torch.ones_like(p))
    from mergekit.sparsify import della_magprune

    della_magprune(delta, density=0.6, epsilon=0.2)
    torch.testing.assert_close(keep_probability(delta, 0.6, 0.2), drawn[0], rtol=1e-5, atol=1e-6)


def test_magprune_keeps_the_expected_value_and_the_expected_share():
    delta = torch.tensor([[4.0, -1.0, 2.0, 0.5], [0.1, 0.2, 0.3, -0.4]])
    draws = torch.stack([magprune(delta, 0.5, 0.3, stream=s) for s in range(4000)])
    probability = keep_probability(delta, 0.5, 0.3)
    error = (delta.abs() * ((1 - probability) / probability).sqrt()) / 4000**0.5
    assert bool(((draws.mean(0) - delta).abs() < 4.5 * error).all())
    share = (draws != 0).float().mean(0)
    assert bool(((share - probability).abs() < 4.5 * (0.25 / 4000) ** 0.5).all())


def test_della_at_full_density_elects_and_averages_as_ties_does():
    tau = [torch.tensor([0.5, -0.2]), torch.tensor([-0.1, -0.4])]
    assert della(tau).tolist() == pytest.approx([0.5, -0.3])


@pytest.mark.parametrize(("density", "epsilon"), [(0.1, 0.1), (0.9, 0.2), (0.5, -0.1)])
def test_della_refuses_a_window_outside_zero_and_one(density, epsilon):
    with pytest.raises(ValueError, match="epsilon"):
        keep_probability(torch.ones(3), density, epsilon)


def test_trim_is_mergekits_magnitude_where_both_count_alike():
    from mergekit.sparsify import magnitude

    _, delta = tensors(1, (20, 20))
    for density in (0.1, 0.25, 0.5, 1.0):
        assert kept_count(400, density) == int(density * 400)
        assert torch.equal(trim(delta, density), magnitude(delta, density))


@pytest.mark.parametrize("normalize", [False, True])
def test_task_arithmetic_with_and_without_normalize_is_mergekits(normalize):
    base, *tau = tensors(3, (6, 5))
    parameters = {"weight": [0.6, 0.7, -0.2], "normalize": normalize, "lambda": 0.8}
    theirs = mergekit_delta("task_arithmetic", base * 0, tau, parameters)
    ours = task_arithmetic(tau, [0.6, 0.7, -0.2], 0.8, normalize=normalize)
    torch.testing.assert_close(ours, theirs, **CLOSE)
