"""TIES, step by step: worked numbers, and plain loops over entries as an independent reference."""

import itertools

import naive
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergelab.methods import disjoint_merge, elect_sign, kept_count, ties, trim

# Values a float16, a bfloat16 and a float32 hold exactly, with ties among them and zeros.
numbers = st.integers(-40, 40).map(lambda n: n / 16)
densities = st.one_of(st.sampled_from([0.0, 0.2, 0.25, 0.5, 0.75, 1.0]), st.floats(0, 1))
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def vectors(count):
    return st.integers(0, 12).flatmap(
        lambda size: st.lists(
            st.lists(numbers, min_size=size, max_size=size), min_size=count, max_size=count
        )
    )


@st.composite
def several(draw):
    count = draw(st.integers(1, 4))
    weights = st.sampled_from([1.0, 0.5, 2.0, 0.25, -1.0, -0.5])
    return (
        draw(vectors(count)),
        draw(st.lists(weights, min_size=count, max_size=count)),
        draw(st.lists(densities, min_size=count, max_size=count)),
    )


class TestTrim:
    def test_worked_example_keeps_the_large_half(self):
        delta = torch.tensor([0.002, -0.001, 0.150, -0.200])
        assert trim(delta, 0.5).equal(torch.tensor([0.0, 0.0, 0.150, -0.200]))

    @pytest.mark.parametrize(
        ("size", "density", "kept"),
        [
            (4, 0.5, 2),
            (10, 0.25, 3),  # 2.5 rounds up
            (10, 0.24, 2),
            (5, 0.5, 3),
            (3, 0.5, 2),
            (7, 0.2, 1),
            (1000, 0.0001, 1),  # never nothing while density > 0
            (10, 0.0, 0),
            (10, 1.0, 10),
            (1, 0.3, 1),
            (0, 0.5, 0),
            (0, 0.0, 0),
        ],
    )
    def test_kept_count_is_floor_of_density_times_size_plus_a_half(self, size, density, kept):
        assert kept_count(size, density) == kept
        delta = torch.arange(1, size + 1, dtype=torch.float32)
        assert int((trim(delta, density) != 0).sum()) == kept

    def test_every_tie_at_the_threshold_stays(self):
        delta = torch.tensor([3.0, -1.0, 1.0, 1.0, 0.5])
        # k = 2: the second largest magnitude is 1, which three entries share
        assert trim(delta, 0.4).equal(torch.tensor([3.0, -1.0, 1.0, 1.0, 0.0]))

    def test_all_equal_magnitudes_all_stay(self):
        delta = torch.tensor([1.0, -1.0, 1.0, -1.0])
        assert trim(delta, 0.25).equal(delta)

    @given(vectors(1), densities)
    def test_agrees_with_plain_loops(self, deltas, density):
        (delta,) = deltas
        got = trim(torch.tensor(delta, dtype=torch.float32), density)
        assert got.tolist() == naive.trim(delta, density)

    @pytest.mark.parametrize("dtype", DTYPES)
    @given(deltas=vectors(1), density=densities)
    def test_keeps_the_same_entries_in_every_dtype(self, dtype, deltas, density):
        got = trim(torch.tensor(deltas[0], dtype=dtype), density)
        assert got.dtype == dtype
        assert got.double().tolist() == naive.trim(deltas[0], density)

    def test_magnitudes_that_differ_only_in_float64_are_told_apart(self):
        delta = torch.tensor([1.0, 1.0 + 2.0**-50], dtype=torch.float64)
        assert trim(delta, 0.5).tolist() == [0.0, 1.0 + 2.0**-50]

    @given(vectors(1), densities, st.sampled_from([0.5, 4.0, -1.0, -0.25]))
    def test_scaling_the_delta_scales_the_result(self, deltas, density, factor):
        delta = torch.tensor(deltas[0])
        assert trim(delta * factor, density).equal(trim(delta, density) * factor)

    @given(vectors(1), densities)
    def test_trimming_again_changes_nothing(self, deltas, density):
        once = trim(torch.tensor(deltas[0]), density)
        assert trim(once, density).equal(once)

    @pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0), (2, 3, 5), (7, 1)])
    def test_any_shape_is_trimmed_as_one_vector(self, shape):
        delta = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        got = trim(delta, 0.4)
        assert got.shape == delta.shape
        assert got.flatten().tolist() == naive.trim(delta.flatten().tolist(), 0.4)

    def test_rows_far_apart_in_memory_are_read_by_their_index(self):
        wide = torch.randn(6, 10, generator=torch.Generator().manual_seed(2))
        for view in (wide.T, wide[::2, ::3], wide[:, 3]):
            expected = naive.trim(view.contiguous().flatten().tolist(), 0.5)
            assert trim(view, 0.5).flatten().tolist() == expected

    def test_a_delta_that_requires_grad_is_trimmed_like_any_other(self):
        delta = torch.tensor([0.1, 5.0, -3.0], requires_grad=True)
        kept = trim(delta, 0.3)
        kept.sum().backward()
        assert kept.tolist() == [0.0, 5.0, 0.0]
        assert delta.grad.tolist() == [0.0, 1.0, 0.0]

    @pytest.mark.parametrize("density", [-0.01, 1.01, float("nan")])
    def test_a_density_outside_0_to_1_is_refused_by_its_value(self, density):
        with pytest.raises(ValueError, match="density must lie between 0 and 1"):
            trim(torch.ones(3), density)

    def test_agrees_with_a_sort_on_a_large_tensor(self):
        delta = torch.randn(101, 997, generator=torch.Generator().manual_seed(3))
        flat = np.abs(delta.numpy()).ravel()
        keep = int(np.floor(0.3 * flat.size + 0.5))
        largest = set(np.argsort(-flat, kind="stable")[:keep].tolist())
        kept = set(trim(delta, 0.3).flatten().nonzero().flatten().tolist())
        assert kept == largest


class TestElectSign:
    def test_worked_example_elects_plus(self):
        tau = [torch.tensor([0.08]), torch.tensor([-0.05]), torch.tensor([0.12])]
        assert elect_sign(tau).tolist() == [1.0]

    def test_mass_and_count_disagree_where_one_is_larger_than_two(self):
        tau = [torch.tensor([0.30]), torch.tensor([-0.10]), torch.tensor([-0.10])]
        assert elect_sign(tau).tolist() == [1.0]
        assert elect_sign(tau, election="count").tolist() == [-1.0]

    def test_weights_turn_a_mass_election_but_not_an_unweighted_one(self):
        tau = [torch.tensor([0.3]), torch.tensor([-0.2])]
        assert elect_sign(tau, [1.0, 2.0]).tolist() == [-1.0]
        assert elect_sign(tau, [1.0, 2.0], election="mass_unweighted").tolist() == [1.0]

    def test_a_negative_weight_votes_for_the_other_side(self):
        tau = [torch.tensor([0.3]), torch.tensor([0.1])]
        assert elect_sign(tau, [-1.0, 1.0]).tolist() == [-1.0]
        assert elect_sign([*tau, tau[0]], [-1.0, 1.0, -1.0], election="count").tolist() == [-1.0]

    def test_an_exact_draw_elects_what_zero_sign_says(self):
        tau = [torch.tensor([0.5, -1.0, -1.0]), torch.tensor([-0.5, -1.0, 0.25])]
        assert elect_sign(tau).tolist() == [0.0, -1.0, -1.0]
        assert elect_sign(tau, zero_sign="positive").tolist() == [1.0, -1.0, -1.0]
        assert elect_sign(tau, zero_sign="majority").tolist() == [-1.0, -1.0, -1.0]

    @pytest.mark.parametrize("election", ["mass", "mass_unweighted", "count", "count_unweighted"])
    @given(case=several())
    def test_agrees_with_plain_loops(self, election, case):
        deltas, weights, _ = case
        got = elect_sign([torch.tensor(d) for d in deltas], weights, election=election)
        assert got.tolist() == naive.elect(deltas, weights, election)

    def test_unknown_choices_are_refused_by_name(self):
        with pytest.raises(ValueError, match="'vote'"):
            elect_sign([torch.ones(2)], election="vote")
        with pytest.raises(ValueError, match="'minus'"):
            elect_sign([torch.ones(2)], zero_sign="minus")


class TestDisjointMerge:
    def test_worked_example_averages_the_two_that_agree(self):
        tau = [torch.tensor([0.08]), torch.tensor([-0.05]), torch.tensor([0.12])]
        assert disjoint_merge(tau, torch.tensor([1.0])).tolist() == pytest.approx([0.10])

    def test_weights_act_as_shares_of_those_that_agree(self):
        tau = [torch.tensor([1.0]), torch.tensor([-9.0]), torch.tensor([4.0])]
        sign = torch.tensor([1.0])
        assert disjoint_merge(tau, sign, [1.0, 1.0, 3.0]).item() == 13 / 4
        assert disjoint_merge(tau, sign, [1.0, 1.0, 3.0], divisor="count").item() == 13 / 2
        assert disjoint_merge(tau, sign, [1.0, 1.0, 3.0], divisor="none").item() == 13.0

    def test_an_entry_nobody_agrees_on_or_without_a_sign_becomes_zero(self):
        tau = [torch.tensor([1.0, 2.0, 0.0])]
        assert disjoint_merge(tau, torch.tensor([-1.0, 0.0, 1.0])).tolist() == [0.0, 0.0, 0.0]

    def test_a_source_with_weight_0_takes_no_part(self):
        tau = [torch.tensor([2.0]), torch.tensor([6.0])]
        assert disjoint_merge(tau, torch.tensor([1.0]), [0.0, 1.0]).tolist() == [6.0]

    def test_a_source_with_a_negative_weight_is_turned_round(self):
        tau = [torch.tensor([2.0]), torch.tensor([-6.0])]
        # w * tau = +2 and +6, shares 1 and 1
        assert disjoint_merge(tau, torch.tensor([1.0]), [1.0, -1.0]).tolist() == [4.0]

    @pytest.mark.parametrize("divisor", ["weights", "signed_weights", "count", "none"])
    @given(case=several())
    def test_agrees_with_plain_loops(self, divisor, case):
        deltas, weights, _ = case
        elected = naive.elect(deltas, weights)
        sign = torch.tensor(elected, dtype=torch.float32)
        got = disjoint_merge([torch.tensor(d) for d in deltas], sign, weights, divisor=divisor)
        expected = naive.disjoint_mean(deltas, elected, weights, divisor)
        assert got.tolist() == pytest.approx(expected, rel=1e-6)

    def test_mistakes_are_refused_by_name(self):
        tau = [torch.ones(2), torch.ones(2)]
        with pytest.raises(ValueError, match=r"sign must have .*\(2,\), got \(3,\)"):
            disjoint_merge(tau, torch.ones(3))
        with pytest.raises(ValueError, match="'mean'"):
            disjoint_merge(tau, torch.ones(2), divisor="mean")
        with pytest.raises(ValueError, match="2 task vectors, got 3"):
            disjoint_merge(tau, torch.ones(2), [1.0, 1.0, 1.0])


class TestTies:
    def test_worked_example_in_three_entries(self):
        tau = [
            torch.tensor([0.08, 0.002, -0.30]),
            torch.tensor([-0.05, 0.150, 0.20]),
            torch.tensor([0.12, -0.001, 0.01]),
        ]
        # Each keeps 2 of 3 at density 2/3: .002, -.05 and -.001 are trimmed.
        # Signs: +.20; +.150; -.30 + .20 + .01 = -.09.
        # Means of those that agree: (.08 + .12) / 2; .150; -.30.
        assert ties(tau, 2 / 3).tolist() == pytest.approx([0.10, 0.150, -0.30])

    @pytest.mark.parametrize("election", ["mass", "mass_unweighted", "count", "count_unweighted"])
    @pytest.mark.parametrize("divisor", ["weights", "signed_weights", "count", "none"])
    @given(case=several(), lam=st.sampled_from([1.0, 0.5, -1.0]))
    def test_agrees_with_plain_loops(self, election, divisor, case, lam):
        deltas, weights, kept = case
        got = ties(
            [torch.tensor(d) for d in deltas],
            kept,
            weights,
            lam,
            election=election,
            divisor=divisor,
        )
        expected = naive.ties(deltas, kept, weights, lam, election, divisor)
        assert got.tolist() == pytest.approx(expected, rel=1e-6)

    @given(several())
    def test_the_order_of_the_models_does_not_matter(self, case):
        deltas, weights, kept = case
        tau = [torch.tensor(d, dtype=torch.float64) for d in deltas]
        first = ties(tau, kept, weights)
        for order in itertools.permutations(range(len(tau))):
            again = ties(
                [tau[i] for i in order], [kept[i] for i in order], [weights[i] for i in order]
            )
            assert torch.allclose(again, first, rtol=1e-12, atol=0)

    @given(several())
    def test_merging_the_negatives_gives_the_negative(self, case):
        deltas, weights, kept = case
        tau = [torch.tensor(d) for d in deltas]
        assert ties([-d for d in tau], kept, weights).equal(-ties(tau, kept, weights))

    @given(several(), st.sampled_from([0.25, 2.0, 8.0]))
    def test_scaling_all_deltas_scales_the_result(self, case, factor):
        deltas, weights, kept = case
        tau = [torch.tensor(d) for d in deltas]
        scaled = ties([d * factor for d in tau], kept, weights)
        assert scaled.equal(ties(tau, kept, weights) * factor)

    @given(vectors(1), densities)
    def test_one_model_alone_is_only_trimmed(self, deltas, density):
        assert ties([torch.tensor(deltas[0])], density).tolist() == naive.trim(deltas[0], density)

    @given(vectors(1), densities)
    def test_a_model_merged_with_itself_is_only_trimmed(self, deltas, density):
        tau = torch.tensor(deltas[0])
        assert ties([tau, tau], density).tolist() == naive.trim(deltas[0], density)

    @given(several())
    def test_zero_deltas_beside_it_change_nothing_at_density_1(self, case):
        deltas, weights, _ = case
        tau = [torch.tensor(d) for d in deltas]
        more = ties([*tau, torch.zeros_like(tau[0])], 1.0, [*weights, 1.0])
        assert more.equal(ties(tau, 1.0, weights))
