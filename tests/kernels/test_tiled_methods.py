"""Merged in tiles of any size, every method gives what its own function makes of whole tensors."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiled_merges import KINDS, SHAPES, by_function, outcome, random_case, run, same_bits

from mergelab.kernels.operands import LowRank
from mergelab.methods import REGISTRY, Factors
from mergelab.methods.ties import DIVISORS, ELECTIONS
from mergelab.methods.trimming import TRIM_COUNTS

pytestmark = pytest.mark.filterwarnings("error")

WEIGHTS = {"weight": (1.0, 0.5, -0.75, 2.0)}
TRIM = {"density": (0.4, 0.75, 0.1, 1.0), **WEIGHTS}
BAND = {"gamma": (0.1, 0.3, 0.0, 0.9), **TRIM}
DELLA = {"density": (0.5, 0.7, 0.0, 1.0), "epsilon": (0.2, 0.1), **WEIGHTS}
SIGNS = [
    {"election": e, "zero_sign": z, "divisor": d}
    for (e, z), d in zip(
        itertools.product(ELECTIONS, ("zero", "majority", "positive")),
        itertools.cycle(DIVISORS),
        strict=False,
    )
]


def every(name, values):
    return [{name: value} for value in values]


# What runs entry by entry through the very function that whole tensors take.
EXACT = {
    "linear": (WEIGHTS, [{}, {"normalize": False}]),
    "task_arithmetic": (WEIGHTS, [{}, {"lam": 0.3, "normalize": True}]),
    "ties": (TRIM, [*every("trim_count", TRIM_COUNTS), {"rescale": True, "lam": 0.7}, *SIGNS]),
    "magnitude_prune": (
        TRIM,
        [*every("trim_count", TRIM_COUNTS), {"rescale": True}, {"normalize": True, "lam": 0.5}],
    ),
    "breadcrumbs": (
        BAND,
        [
            *every("trim_count", TRIM_COUNTS),
            {"trim_scope": "row"},
            {"rescale": True, "normalize": True, "lam": 2.0},
        ],
    ),
    "breadcrumbs_ties": (
        BAND,
        [{"trim_scope": "row"}, {"rescale": True, "trim_count": "floor", "lam": 0.5}, *SIGNS[:3]],
    ),
    "dare_linear": (
        TRIM,
        [
            *every("rescale", (True, False)),
            {"trim_after": 0.3, "trim_count": "floor"},
            {"normalize": True, "lam": 0.5},
        ],
    ),
    "dare_ties": (
        TRIM,
        [
            {"trim_after": 0.2, "trim_count": "ceil_plus_1"},
            {"rescale": False, "lam": 0.5},
            *SIGNS[1:4],
        ],
    ),
    "della": (DELLA, [{"window": "whole"}, {"rescale": False, "lam": 0.5}, *SIGNS[4:7]]),
    "della_linear": (DELLA, [{"window": "whole"}, {"normalize": True, "lam": 0.5}]),
    "nearswap": ({}, [{"t": 0.3}, {"t": 0.0}]),
    "arcee_fusion": ({}, [{}]),
    "sce": ({}, [{}, {"select_topk": 0.4}, {"select_topk": 0.7, "energy_floor": 1e-6}]),
    "passthrough": (WEIGHTS, [{}]),
}
# What needs a norm or inner products of the whole, added up part by part, or goes through factors.
ROUNDED = {
    "ties": (TRIM, every("rescale", ("l1", "l2", "linf"))),
    "magnitude_prune": (TRIM, every("rescale", ("l1", "l2", "linf"))),
    "breadcrumbs": (BAND, [{"rescale": "l1"}, {"rescale": "l2", "trim_scope": "row"}]),
    "dare_linear": (TRIM, every("rescale", ("l1", "l2", "linf"))),
    "della_linear": (DELLA, every("rescale", ("l1", "l2", "linf"))),
    "slerp": (
        {},
        [{"t": 0.3}, {"t": 0.5, "norm": "interpolate"}, {"t": 0.9, "dot_threshold": 0.1}],
    ),
    "nuslerp": ({"weight": (1.0, 0.25)}, [{}, {"row_wise": True}]),
    "multislerp": ({"weight": (1.0, 0.5, 2.0)}, [{}]),
    "karcher": ({}, [{}, {"max_iter": 2}, {"tol": 1e-9, "max_iter": 50}]),
    "model_stock": ({}, [{}, {"filter_wise": True}]),
    "concat": (WEIGHTS, [{"lam": 0.5}]),
    "svd": (WEIGHTS, [{"rank": 2}, {"rank": 30, "lam": 0.5}]),
    "tsv_merge": (WEIGHTS, [{}, {"rank_share": 0.5, "lam": 0.5}]),
    "iso_c": (WEIGHTS, [{"mean_over": "rank"}, {"mean_over": "matrix", "lam": 0.5}]),
    "knots_ties": (WEIGHTS, [{"density": 1.0, "lam": 0.5}]),
    "core_space": (WEIGHTS, [{"lam": 0.5}, {"method": "tsv_merge"}]),
}
# Small roundings decide what these trim and elect among singular vectors: on the same factors.
ON_FACTORS = {
    "svd": (WEIGHTS, [{}, {"rank": 3}]),
    "tsv_merge": (WEIGHTS, every("share_of", ("matrix", "task_vector"))),
    "knots_ties": (WEIGHTS, [{"density": 0.5, **signs} for signs in SIGNS[::4]]),
    "core_space": (
        WEIGHTS,
        [{"method": "ties", "density": 0.5, "basis": "factors", **signs} for signs in SIGNS[1::4]],
    ),
}
IN_WEIGHTS = ("linear", "slerp", "nuslerp", "multislerp", "karcher", "passthrough")


def variants(table):
    return [
        pytest.param(name, setting, each, id=f"{name}, {setting}")
        for name, (each, found) in table.items()
        for setting in found
    ]


def test_every_method_is_run_here_with_each_of_its_settings():
    tried = {name: set() for name in REGISTRY}
    for table in (EXACT, ROUNDED, ON_FACTORS):
        for name, (each, found) in table.items():
            tried[name].update(each, *found)
    of_the_whole_model = {"space", "trim_scope"}
    for name, method in REGISTRY.items():
        declared = {parameter.name for parameter in method.parameters}
        assert declared - of_the_whole_model <= tried[name], name


@st.composite
def cases(draw, name, setting, each):
    method = REGISTRY[name]
    shape = draw(st.sampled_from(SHAPES))
    most = method.max_sources or 4
    count = draw(st.integers(min(most, max(2, method.min_sources)), most))
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=count, max_size=count))
    based = method.needs_base or name == "arcee_fusion" or draw(st.booleans())
    return random_case(
        name,
        setting,
        each,
        number=draw(st.integers(0, 10_000)),
        shape=shape,
        kinds=kinds,
        base=based,
        in_weights=based and name in IN_WEIGHTS and draw(st.booleans()),
    )


@pytest.mark.parametrize(("name", "setting", "each"), variants(EXACT))
@settings(max_examples=30)
@given(data=st.data(), tile=st.sampled_from((1, 7, 64)))
def test_to_the_last_bit_where_entries_are_merged_one_by_one(name, setting, each, data, tile):
    case = data.draw(cases(name, setting, each))
    expected = outcome(by_function, case)
    got = outcome(lambda: run(case, tile)[0])
    if isinstance(expected, str):
        assert got == expected
    else:
        assert same_bits(got, expected)


@pytest.mark.parametrize(("name", "setting", "each"), variants(ROUNDED))
@settings(max_examples=30)
@given(data=st.data(), tile=st.sampled_from((1, 7, 64)))
def test_up_to_rounding_where_a_number_of_the_whole_tensor_takes_part(
    name, setting, each, data, tile
):
    case = data.draw(cases(name, setting, each))
    expected = outcome(by_function, case)
    got = outcome(lambda: run(case, tile)[0])
    if isinstance(expected, str):
        assert got == expected
    else:
        assert got.shape == expected.shape
        largest = max([float(t.abs().max()) for t in (expected, *case.wholes) if t.numel()] or [0])
        assert torch.allclose(got, expected, rtol=0, atol=2e-6 * max(largest, 1.0))


@pytest.mark.parametrize(("name", "setting", "each"), variants(ON_FACTORS))
@settings(max_examples=20)
@given(
    number=st.integers(0, 10_000),
    shape=st.sampled_from([(1, 9), (9, 1), (3, 5), (12, 10)]),
    kinds=st.lists(st.sampled_from(("factors", "fp32")), min_size=2, max_size=4),
    tile=st.sampled_from((1, 7, 64)),
)
def test_methods_on_factors_are_given_factors_and_give_some(
    name, setting, each, number, shape, kinds, tile
):
    case = random_case(name, setting, each, number=number, shape=shape, kinds=kinds)
    sources = [
        Factors(o.b, o.a) if isinstance(o, LowRank) else w
        for o, w in zip(case.operands, case.wholes, strict=True)
    ]
    weights = [own["weight"] for own in case.per_source]
    expected = case.method.function(sources, weights=weights, **setting)
    merged, merge = run(case, tile)
    factored = set(kinds) == {"factors"}
    assert isinstance(expected, Factors) == isinstance(merge.low_rank(), Factors) == factored
    change = expected.dense() if factored else expected
    assert torch.allclose(merged, case.base + change, rtol=0, atol=1e-5 * len(kinds))
