"""Interference before a merge: shares, cosines and norms as NumPy counts them, and the advice."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import weights

from mergelab.advice import doubt
from mergelab.errors import UserError
from mergelab.interference import advise, inspect_models, overlap_of

numbers = st.integers(-8, 8).map(lambda n: n / 4)


@st.composite
def models(draw):
    count, size = draw(st.integers(2, 4)), draw(st.integers(1, 12))
    row = st.lists(numbers, min_size=size, max_size=size)
    return draw(st.lists(row, min_size=count, max_size=count))


def shares(deltas, top):
    """Entry by entry: who is among the top of their own magnitudes, and do they agree."""
    size = len(deltas[0])
    keep = max(1, math.floor(top * size + 0.5))
    found = {"untouched": 0, "one_only": 0, "same_sign": 0, "opposite_sign": 0}
    limits = [sorted(map(abs, delta), reverse=True)[keep - 1] for delta in deltas]
    for i in range(size):
        signs = [
            math.copysign(1, delta[i])
            for delta, limit in zip(deltas, limits, strict=True)
            if delta[i] != 0 and abs(delta[i]) >= limit
        ]
        kind = ("untouched", "one_only")[len(signs)] if len(signs) < 2 else "same_sign"
        found["opposite_sign" if len(set(signs)) == 2 else kind] += 1
    return {kind: count / size for kind, count in found.items()}


@given(models(), st.sampled_from([0.1, 0.2, 0.5, 1.0]))
def test_every_entry_is_counted_once_in_the_right_share(deltas, top):
    found = overlap_of([torch.tensor(d) for d in deltas], torch.ones(len(deltas[0])), top)
    for kind, share in shares(deltas, top).items():
        assert getattr(found, kind) == pytest.approx(share)


@given(models())
def test_conflict_mass_is_what_stands_against_the_larger_side(deltas):
    found = overlap_of([torch.tensor(d) for d in deltas], torch.ones(len(deltas[0])))
    array = np.array(deltas)
    positive, negative = np.clip(array, 0, None).sum(0), np.clip(-array, 0, None).sum(0)
    mass = positive.sum() + negative.sum()
    expected = np.minimum(positive, negative).sum() / mass if mass else 0
    assert found.conflict_mass == pytest.approx(expected)


def test_two_adapters_are_measured_per_layer_and_in_total(tiny):
    found = inspect_models([str(tiny.persona), str(tiny.agentic)], top=0.3)
    assert found.models == ("persona", "agentic")
    assert [row.label for row in found.layers] == ["layer 0", "layer 1", "layer 2"]
    base = weights(tiny.base)
    names = [n for n, delta in tiny.deltas["persona"].items() if delta.any()]
    one, two = (
        np.concatenate([tiny.deltas[s][n].numpy().ravel() for n in names])
        for s in ("persona", "agentic")
    )
    origin = np.concatenate([base[n].double().numpy().ravel() for n in names])
    total = found.total
    assert total.entries == one.size == sum(row.entries for row in found.layers)
    norms = [np.linalg.norm(x) / np.linalg.norm(origin) for x in (one, two)]
    assert total.relative_norms == pytest.approx(norms, rel=1e-5)
    cosine = one @ two / np.linalg.norm(one) / np.linalg.norm(two)
    assert total.cosine == pytest.approx(cosine, abs=1e-6)
    counts = {"untouched": 0.0, "one_only": 0.0, "same_sign": 0.0, "opposite_sign": 0.0}
    for name in names:
        pair = [tiny.deltas[s][name].float().flatten().tolist() for s in ("persona", "agentic")]
        for kind, share in shares(pair, 0.3).items():
            counts[kind] += share * len(pair[0])
    for kind, count in counts.items():
        assert getattr(total, kind) == pytest.approx(count / total.entries)


def test_full_models_are_compared_by_their_changes_to_the_base(tiny):
    found = inspect_models([str(tiny.first), str(tiny.second)], base=str(tiny.base))
    assert found.base == "base"
    assert found.layers[0].label == "outside layers"
    # independent noise: at right angles but for chance, of one size
    assert abs(found.total.cosine) < 0.03
    assert found.total.relative_norms[0] == pytest.approx(found.total.relative_norms[1], rel=0.05)


def test_one_model_no_base_and_a_share_of_nothing_are_one_line(tiny):
    with pytest.raises(UserError, match="at least two"):
        inspect_models([str(tiny.persona)])
    with pytest.raises(UserError, match=r"name the one .* --base"):
        inspect_models([str(tiny.first), str(tiny.second)])
    for top in (0, 1.2, -1):
        with pytest.raises(UserError, match="top"):
            inspect_models([str(tiny.persona), str(tiny.agentic)], top=top)


def overlap(*rows):
    return overlap_of([torch.tensor(row) for row in rows], torch.ones(len(rows[0])))


@pytest.mark.parametrize(
    ("rows", "strategy", "reason"),
    [
        (([1.0, 2.0, 3.0], [1.1, 2.0, 2.9]), "slerp", "two similar models"),
        (([1.0, 0.1, 0.0], [0.0, 0.2, 1.0]), "ties", "two distinct models"),
        (([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]), "ties", "3 distinct models"),
        (([1.0, 0.0], [0.0, 10.0]), "ties", "10.0 times"),
        (([1.0, 0.0], [0.0, 0.0]), "no merge", "changes nothing"),
    ],
)
def test_the_advice_names_a_strategy_and_why(rows, strategy, reason):
    advice, why = advise(overlap(*rows))
    assert advice.startswith(strategy)
    assert reason in why


def test_the_doubt_holds_opposite_signs_against_chance_and_names_the_measured_table():
    """Of unrelated signs, .1 plus and .1 minus for each of two: 2 * .1 * .1 meet in opposition."""
    said = doubt(overlap([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]), top=0.2)
    assert "0.0% of the entries are changed in opposite directions" in said
    assert "would show 2.0%" in said
    assert "data/tables/ladder.csv" in said
