"""What the published implementations do differently, switch by switch, in numbers done by hand."""

import pytest
import torch

from mergelab.methods import (
    band,
    breadcrumbs,
    dare,
    dare_linear,
    dare_ties,
    disjoint_merge,
    elect_sign,
    keep_mask,
    keep_probability,
    magprune,
    merge_factors,
    sce,
    task_arithmetic,
    ties,
)
from mergelab.methods.sce import energy_weights
from mergelab.methods.ties import elect_and_merge


def vector(*numbers):
    return torch.tensor(numbers)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class TestElection:
    tau = (vector(0.4, -0.1), vector(0.3, -0.1), vector(-0.9, 0.3))

    def test_mass_and_count_disagree_where_one_large_change_faces_two_small_ones(self):
        assert elect_sign(self.tau, election="mass_unweighted").tolist() == [-1.0, 1.0]
        assert elect_sign(self.tau, election="count_unweighted").tolist() == [1.0, -1.0]

    def test_a_negative_weight_turns_a_vote_only_where_votes_are_weighted(self):
        weights = [1.0, 1.0, -1.0]
        assert elect_sign(self.tau, weights, election="count").tolist() == [1.0, -1.0]
        assert elect_sign(self.tau, [-1.0, -1.0, 1.0], election="count").tolist() == [-1.0, 1.0]
        unweighted = elect_sign(self.tau, [-1.0, -1.0, 1.0], election="count_unweighted")
        assert unweighted.tolist() == [1.0, -1.0]

    def test_agreement_goes_by_what_was_voted_with(self):
        tau, weights = [vector(0.5), vector(0.25)], [1.0, -1.0]
        # By mass .5 wins over -.25 and stands alone; without weights both are plus and take part.
        assert elect_and_merge(tau, weights, divisor="none").tolist() == [0.5]
        assert elect_and_merge(
            tau, weights, election="mass_unweighted", divisor="none"
        ).tolist() == [0.25]

    def test_the_majority_of_the_whole_decides_draws_in_a_part(self):
        tau = [vector(1.0, 2.0, 3.0, -1.0), vector(-1.0, 1.0, 1.0, -1.0)]
        whole = elect_sign(tau, zero_sign="majority")
        assert whole.tolist() == [1.0, 1.0, 1.0, -1.0]
        part = [t[[0, 3]] for t in tau]
        assert elect_sign(part, zero_sign="majority").tolist() == [-1.0, -1.0]
        assert elect_sign(part, zero_sign="majority", majority=1.0).tolist() == [1.0, -1.0]


class TestDivisor:
    def test_weights_that_are_all_negative_forget_or_come_back(self):
        tau = [vector(0.4), vector(0.2)]
        sign = vector(-1.0)
        weights = [-1.0, -0.5]
        assert disjoint_merge(tau, sign, weights).tolist() == pytest.approx([-0.5 / 1.5])
        signed = disjoint_merge(tau, sign, weights, divisor="signed_weights")
        assert signed.tolist() == pytest.approx([0.5 / 1.5])

    def test_signed_weights_that_cancel_divide_nothing(self):
        tau = [vector(0.4), vector(-0.2)]
        merged = disjoint_merge(tau, vector(1.0), [1.0, -1.0], divisor="signed_weights")
        assert merged.tolist() == pytest.approx([0.6])


class TestDare:
    def test_a_part_that_knows_its_place_is_that_part_of_the_whole(self):
        delta = normal(200)
        whole = dare(delta, 0.3, seed=4, stream=9)
        for start, stop in ((0, 7), (7, 50), (50, 200)):
            part = dare(delta[start:stop], 0.3, seed=4, stream=9, offset=start)
            assert part.equal(whole[start:stop])

    @pytest.mark.parametrize("order", [1, 2, float("inf")])
    def test_the_norm_is_matched(self, order):
        delta = normal(40)
        norm = {1: "l1", 2: "l2"}.get(order, "linf")
        kept = dare(delta, 0.3, seed=1, rescale=norm)
        mask = keep_mask((40,), 0.3, seed=1, stream=0)
        ratio = delta.double().norm(p=order) / (delta * mask).double().norm(p=order)
        assert torch.allclose(kept.double(), (delta * mask).double() * ratio, rtol=1e-6)

    def test_the_trim_afterwards_keeps_the_largest_survivors(self):
        delta = torch.arange(1.0, 101.0)
        survivors = [x for x in dare(delta, 0.5, seed=2).tolist() if x]
        assert len(survivors) > 20
        trimmed = dare(delta, 0.5, seed=2, trim_after=0.2)
        assert [x for x in trimmed.tolist() if x] == sorted(survivors)[-20:]

    def test_a_trim_that_asks_for_more_than_survives_changes_nothing(self):
        delta = normal(50)
        assert dare(delta, 0.1, trim_after=0.5).equal(dare(delta, 0.1))

    def test_both_methods_pass_all_of_it_on(self):
        tau = [normal(60, seed=1), normal(60, seed=2)]
        how = {"rescale": "l2", "trim_after": 0.3, "trim_count": "floor_plus_1"}
        sparse = [dare(t, 0.5, seed=7, stream=i, **how) for i, t in enumerate(tau)]
        assert dare_linear(tau, 0.5, seed=7, **how).equal(task_arithmetic(sparse))
        assert dare_ties(tau, 0.5, seed=7, **how).equal(elect_and_merge(sparse))


class TestDella:
    def test_the_whole_window_is_half_as_wide_to_each_side(self):
        delta = normal(5, 8)
        whole = keep_probability(delta, 0.5, 0.4, "whole")
        assert whole.equal(keep_probability(delta, 0.5, 0.2))
        assert float(whole.max()) == pytest.approx(0.7)

    def test_a_window_is_refused_by_the_width_it_has(self):
        delta = vector(1.0, 2.0)
        keep_probability(delta, 0.8, 0.3, "whole")
        with pytest.raises(ValueError, match="density \\+ epsilon below 1"):
            keep_probability(delta, 0.8, 0.3)
        with pytest.raises(ValueError, match="window must be each_side or whole"):
            keep_probability(delta, 0.8, 0.1, "half")

    def test_one_common_factor_brings_the_l1_norm_back(self):
        delta = normal(12, 30)
        kept = magprune(delta, 0.4, 0.2, seed=3, rescale="l1")
        plain = magprune(delta, 0.4, 0.2, seed=3, rescale=False)
        assert float(kept.abs().sum()) == pytest.approx(float(delta.abs().sum()), rel=1e-6)
        ratios = (kept / plain)[plain != 0]
        assert float(ratios.max() - ratios.min()) < 1e-6


class TestBand:
    delta = torch.tensor([[9.0, 1.0, -2.0, 0.5], [0.01, 0.04, -0.03, 0.02]])

    def test_rows_have_bands_of_their_own(self):
        by_row = band(self.delta, 0.5, 0.25, trim_scope="row")
        assert by_row[0].tolist() == [0.0, 1.0, -2.0, 0.0]
        assert by_row[1].tolist() == pytest.approx([0.0, 0.0, -0.03, 0.02])

    def test_a_tensor_has_one_band(self):
        whole = band(self.delta, 0.5, 0.25)
        assert whole[0].tolist() == [0.0, 1.0, 0.0, 0.5]
        assert whole[1].tolist() == pytest.approx([0.0, 0.04, -0.03, 0.0])

    def test_counts_are_cut_off_where_asked(self):
        delta = torch.arange(1.0, 11.0)
        rounded = band(delta, 0.37, 0.17)  # 4 kept below 2 removed
        assert rounded.nonzero().flatten().tolist() == [4, 5, 6, 7]
        cut = band(delta, 0.37, 0.17, trim_count="floor")  # 3 kept below 1 removed
        assert cut.nonzero().flatten().tolist() == [6, 7, 8]

    def test_the_methods_pass_it_on(self):
        got = breadcrumbs([self.delta], 0.5, gamma=0.25, trim_scope="row")
        assert got.equal(band(self.delta, 0.5, 0.25, trim_scope="row"))

    def test_an_unknown_scope_is_refused(self):
        with pytest.raises(ValueError, match="trim_scope must be tensor or row"):
            band(self.delta, 0.5, trim_scope="global")


class TestSce:
    def test_energies_below_the_floor_count_alike(self):
        small, large = vector(3e-4, 0.0), vector(0.0, 1e-4)
        assert energy_weights([small, large]) == pytest.approx([0.9, 0.1])
        assert energy_weights([small, large], 1e-6) == [0.5, 0.5]

    def test_the_merge_of_small_changes_depends_on_it(self):
        tau = [vector(3e-4, 1e-4), vector(1e-4, 1e-4)]
        shares = [10 / 12, 2 / 12]
        assert sce(tau).tolist() == pytest.approx(
            [shares[0] * 3e-4 + shares[1] * 1e-4, 1e-4], rel=1e-5
        )
        assert sce(tau, energy_floor=1e-6).tolist() == pytest.approx([2e-4, 1e-4], rel=1e-5)


class TestFactors:
    def test_the_product_of_sums_has_the_cross_terms(self):
        a = [vector(1.0, 0.0)[None], vector(0.0, 1.0)[None]]
        b = [vector(1.0, 2.0)[:, None], vector(3.0, 4.0)[:, None]]
        merged_a, merged_b = merge_factors(task_arithmetic, a, b)
        exact = b[0] @ a[0] + b[1] @ a[1]
        cross = b[0] @ a[1] + b[1] @ a[0]
        assert (merged_b @ merged_a).equal(exact + cross)

    def test_one_adapter_alone_is_scaled_exactly(self):
        a, b = normal(2, 5), normal(4, 2)
        for weight in (0.7, -0.7):
            merged = merge_factors(task_arithmetic, [a], [b], [weight], [2.0], lam=0.5)
            torch.testing.assert_close(merged[1] @ merged[0], weight * 2.0 * 0.5 * (b @ a))

    def test_the_method_acts_on_each_factor_by_itself(self):
        a, b = [normal(2, 9, seed=s) for s in (1, 2)], [normal(7, 2, seed=s) for s in (3, 4)]
        got = merge_factors(ties, a, b, [4.0, 9.0], [1.0, 4.0], density=0.5, divisor="none")
        roots = [2.0, 6.0]
        assert got[0].equal(ties(a, 0.5, roots, divisor="none"))
        assert got[1].equal(ties(b, 0.5, roots, divisor="none"))

    def test_the_two_factors_of_a_source_are_dropped_independently(self):
        ones = torch.ones(1, 400)
        a, b = merge_factors(dare_linear, [ones], [ones.T], density=0.5, streams=[5])
        both = float(((a.flatten() != 0) & (b.flatten() != 0)).float().mean())
        assert abs(both - 0.25) < 4.5 * (0.25 * 0.75 / 400) ** 0.5

    def test_factors_of_different_rank_are_refused(self):
        with pytest.raises(ValueError, match="one shape"):
            merge_factors(ties, [normal(2, 5), normal(3, 5)], [normal(4, 2), normal(4, 3)])
