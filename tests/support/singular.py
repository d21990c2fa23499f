"""What tests of the singular-vector methods share: random adapters, and every method once."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from mergelab.methods import Factors, concat, core_space, iso_c, knots_ties, svd, tsv_merge

# Each is called with task vectors, weights and lambda.
METHODS: dict[str, Callable] = {
    "concat": concat,
    "svd": partial(svd, rank=2),
    "tsv_merge": tsv_merge,
    "tsv_merge, share of rank": partial(tsv_merge, share_of="task_vector"),
    "iso_c": iso_c,
    "iso_c over matrix": partial(iso_c, mean_over="matrix"),
    "knots_ties": lambda deltas, *rest: knots_ties(deltas, 0.6, *rest),
    "core_space": core_space,
    "core_space, ties": partial(core_space, method="ties", density=0.6),
    "core_space, tsv_merge": partial(core_space, method="tsv_merge"),
}
WEIGHTS = [1.0, 0.5, -0.75]


def adapter(m, n, rank, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return Factors(
        torch.randn(m, rank, generator=generator, dtype=torch.float64).to(dtype),
        torch.randn(rank, n, generator=generator, dtype=torch.float64).to(dtype),
    )


def adapters(m=20, n=14, ranks=(3, 2, 4), seed=0, dtype=torch.float64):
    return [adapter(m, n, rank, 100 * seed + i, dtype) for i, rank in enumerate(ranks)]


def whole(delta):
    return delta.dense() if isinstance(delta, Factors) else delta


def close(ours, expected, tolerance=1e-9):
    ours = np.asarray(whole(ours).double())
    expected = np.asarray(expected)
    size = max(1.0, np.abs(expected).max(initial=0.0))
    return ours.shape == expected.shape and np.allclose(
        ours, expected, rtol=0, atol=tolerance * size
    )


def as_numpy(deltas):
    return [np.asarray(whole(delta).double()) for delta in deltas]
