"""Verdicts on interference follow the numbers, whichever way they fall."""

import pytest
import torch

from mergelab.evaluation.results import Evaluation, SkillResult
from mergelab.evaluation.statistics import Interval
from mergelab.notebook.interference_views import Cosine, Ledger, Shares, shares_by_chance
from mergelab.notebook.interference_words import (
    chance_sentence,
    cosine_sentence,
    layer_table,
    ledger_sentence,
    overlap_verdict,
    shares_and_scores,
    ten_table,
)
from mergelab.notebook.weights import Changes

SHARES = [n / 100 for n in range(5, 61)]


def account(mass):
    return Ledger(0.5, mass, mass, 0.3, 0.3, 0.3)


def merge(rate):
    skill = SkillResult("s", Interval(rate, rate - 0.05, rate + 0.05), rate, ())
    return Evaluation("m", "dev", {"s": skill})


def test_shares_that_never_reach_the_published_one_are_not_confirmed():
    curve = {q: Shares(1 - q / 10, q / 10, 0.0, 0.0) for q in SHARES}
    assert overlap_verdict(curve).endswith("It never passes the published 70%: not confirmed here.")


def test_a_split_far_from_the_published_one_is_not_confirmed():
    curve = {q: Shares((1 - q) ** 2, 2 * q * (1 - q), q * q, 0.0) for q in SHARES}
    assert "split into same and opposite is not confirmed here" in overlap_verdict(curve)


def test_published_shares_met_without_chance_are_told_apart_from_chance():
    curve = {q: Shares(1 - q, 0.0, q / 2, q / 2) for q in SHARES}
    said = overlap_verdict(curve)
    assert "where the top 30% count" in said
    assert said.endswith("The published shares are met, and chance would not give them.")


def test_overlap_far_from_chance_is_called_related():
    assert "close to chance" in chance_sentence({0.2: shares_by_chance(0.2)})
    said = chance_sentence({0.2: Shares(0.7, 0.2, 0.08, 0.02)})
    assert "They are in the same direction more often than chance" in said


@pytest.mark.parametrize(
    ("taken", "given", "words"),
    [(0.3, 0.3, "nothing cancels"), (0.5, 0.1, "cancel in part"), (0.1, 0.5, "reinforce")],
)
def test_a_ledger_says_what_the_balance_is(taken, given, words):
    assert words in ledger_sentence(Ledger(0.5, 0.1, 0.1, taken, given, 0.3))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.001, "know nothing of each other"),
        (0.02, "no accident, but small"),
        (0.6, "the same way more than chance"),
        (-0.6, "opposite ways more than chance"),
    ],
)
def test_a_cosine_is_held_against_chance_and_against_a_right_angle(value, words):
    whole = Cosine("all", value, 0.002)
    assert words in cosine_sentence([whole], whole)


def test_like_shares_with_unlike_merges_refuse_the_prediction():
    like = [Shares(0.6, 0.36, 0.02, 0.02)] * 2
    accounts, scores = [account(0.14), account(0.13)], [merge(0.8), merge(0.5)]
    said = shares_and_scores(like, accounts, scores, Interval(0.3, 0.2, 0.4))
    assert "the shares do not predict" in said
    assert "the worse merge has no more of it" in said
    turned = shares_and_scores(like, accounts, scores[::-1], Interval(-0.3, -0.4, -0.2))
    assert "14.0% in the pair with the worse merge" in turned
    assert turned.endswith("too close to predict it.")


def test_more_mass_in_the_worse_merge_points_the_right_way():
    like = [Shares(0.6, 0.36, 0.02, 0.02)] * 2
    said = shares_and_scores(
        like, [account(0.1), account(0.2)], [merge(0.8), merge(0.5)], Interval(0.3, 0.2, 0.4)
    )
    assert said.endswith("That points the right way.")


def test_merges_within_noise_predict_nothing():
    like = [Shares(0.6, 0.36, 0.02, 0.02)] * 2
    accounts = [account(0.1)] * 2
    said = shares_and_scores(like, accounts, [merge(0.8), merge(0.79)], Interval(0.01, -0.1, 0.1))
    assert said.endswith("so nothing is predicted.")


def test_the_table_of_ten_leaves_rows_to_be_filled_in():
    table = ten_table({"average": torch.arange(10) / 100, "later": None})
    assert [row[0] for row in table.rows] == ["persona", "agentic", "average", "later"]
    assert table.rows[2][1:4] == ["0", "+0.01", "+0.02"]
    assert table.rows[3][1:] == ["…"] * 10


def test_the_table_of_layers_ends_with_all_layers_and_chance():
    names = [f"model.layers.{n}.w" for n in range(2)]
    deltas = {name: [torch.ones(4), -torch.ones(4)] for name in names}
    table = layer_table(Changes(("a", "b"), {n: torch.ones(4) for n in names}, deltas), 0.5)
    assert [row[0] for row in table.rows] == ["layer 0", "layer 1", "all layers", "chance"]
    assert table.rows[2][4:] == ["100.0%", "50.0%", "−1.000"]
    assert table.rows[3][4] == "12.5%"
