"""Numbers on interference: against counts by hand, and against what chance really gives."""

import math

import pytest
import torch

from mergelab.evaluation.results import Evaluation, Outcome, SkillResult
from mergelab.evaluation.scorers import Score
from mergelab.evaluation.statistics import Interval
from mergelab.evaluation.suites import Item
from mergelab.interference import overlap_of
from mergelab.notebook.interference_views import (
    by_layer,
    cosine,
    ledger,
    overlap_curve,
    shares_by_chance,
    wrong_manner,
)
from mergelab.notebook.ten import ten_parameters
from mergelab.notebook.weights import Changes


def pair_of(first, second, name="w"):
    return Changes(("a", "b"), {name: torch.zeros_like(first)}, {name: [first, second]})


def random_pair(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator) for _ in range(2)]


def test_the_ten_parameters_meet_as_counted_by_hand():
    shares = overlap_curve(pair_of(*ten_parameters()), [0.5])[0.5]
    assert (shares.neither, shares.one_only) == pytest.approx((0.4, 0.2))
    assert (shares.same, shares.opposite) == pytest.approx((0.2, 0.2))
    assert shares.no_overlap == pytest.approx(0.6)


def test_the_conflict_mass_of_the_ten_parameters_is_as_added_up_by_hand():
    account = ledger(pair_of(*ten_parameters()))
    assert account.opposing == pytest.approx(0.6)
    assert account.mass == pytest.approx(0.147 / 1.139, abs=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.55, 1.0])
def test_unrelated_vectors_meet_as_chance_says(share):
    measured = overlap_curve(pair_of(*random_pair(60_000)), [share])[share]
    expected = shares_by_chance(share)
    for kind in ("neither", "one_only", "same", "opposite"):
        assert getattr(measured, kind) == pytest.approx(getattr(expected, kind), abs=0.008)


def test_tensors_count_by_their_number_of_entries():
    deltas = {"big": [torch.ones(9), torch.ones(9)], "small": [torch.ones(1), -torch.ones(1)]}
    found = Changes(("a", "b"), {n: d[0] for n, d in deltas.items()}, deltas)
    shares = overlap_curve(found, [1.0])[1.0]
    assert (shares.same, shares.opposite) == pytest.approx((0.9, 0.1))


def test_views_agree_with_the_inspection_of_the_package():
    first, second = random_pair(30, 40, seed=3)
    theirs = overlap_of([first, second], torch.ones(30, 40), top=0.3)
    shares, account = (
        overlap_curve(pair_of(first, second), [0.3])[0.3],
        ledger(pair_of(first, second)),
    )
    assert shares.opposite == pytest.approx(theirs.opposite_sign)
    assert shares.same == pytest.approx(theirs.same_sign)
    assert account.mass == pytest.approx(theirs.conflict_mass)
    assert cosine(pair_of(first, second)).value == pytest.approx(theirs.cosine)


def test_what_is_left_in_the_ledger_is_the_squared_norm_of_the_sum():
    first, second = random_pair(500, seed=1)
    second = second + 0.5 * first
    account = ledger(pair_of(first, second))
    squares = first.square().sum() + second.square().sum()
    assert account.left == pytest.approx(float((first + second).square().sum() / squares), rel=1e-5)


def test_a_coin_for_each_sign_gives_what_the_ledger_says_on_average():
    first, second = random_pair(40, seed=2)
    generator = torch.Generator().manual_seed(5)
    taken, mass = [], []
    for _ in range(400):
        coin = torch.randint(0, 2, (40,), generator=generator) * 2.0 - 1
        account = ledger(pair_of(first, second * coin))
        taken.append(account.taken)
        mass.append(account.mass)
    assert sum(taken) / 400 == pytest.approx(account.by_coin, rel=0.03)
    assert sum(mass) / 400 == pytest.approx(account.mass_by_coin, rel=0.03)


def test_chance_of_a_cosine_holds_for_low_rank_changes_turned_at_random():
    generator = torch.Generator().manual_seed(4)

    def low_rank():
        return torch.randn(24, 2, generator=generator) @ torch.randn(2, 20, generator=generator)

    found = [cosine(pair_of(low_rank(), low_rank())) for _ in range(400)]
    spread = math.sqrt(sum(each.value**2 for each in found) / len(found))
    assert spread == pytest.approx(1 / math.sqrt(24 * 20), rel=0.12)
    assert found[0].chance == pytest.approx(1 / math.sqrt(24 * 20))


def test_empty_changes_give_zeros_and_not_errors():
    account = ledger(pair_of(torch.zeros(3), torch.zeros(3)))
    assert (account.mass, account.left) == (0, 1)
    assert cosine(pair_of(torch.zeros(3), torch.ones(3))).value == 0


def test_layers_keep_all_tensors_and_name_what_is_outside():
    names = ["model.layers.0.a", "model.layers.11.b", "model.embed", "model.layers.0.c"]
    found = Changes((), {n: torch.zeros(1) for n in names}, {n: [] for n in names})
    groups = by_layer(found)
    assert list(groups) == ["layer 0", "layer 11", "outside layers"]
    assert list(groups["layer 0"].deltas) == ["model.layers.0.a", "model.layers.0.c"]


def test_three_task_vectors_are_refused():
    found = Changes(("a", "b", "c"), {"w": torch.zeros(1)}, {"w": [torch.ones(1)] * 3})
    with pytest.raises(ValueError, match="w: 3 task vectors; this compares exactly two"):
        ledger(found)


def scored(skill, answers):
    """An evaluation of (reply, what the item expects)."""
    outcomes = tuple(
        Outcome(Item(id=f"{n}", template=f"t{n}", input="hello", **want), reply, Score(1, 1.0, ""))
        for n, (reply, want) in enumerate(answers)
    )
    return Evaluation("m", "dev", {skill: SkillResult(skill, Interval(1, 1, 1), 1.0, outcomes)})


def test_replies_in_the_wrong_manner_are_counted_on_the_suite_they_belong_to():
    chat = {"expected_traits": ["positive"], "topic": "my essay"}
    talk = scored("persona", [(reply, chat) for reply in ('{"tool": 1}', "Woohoo!", "Fine.")])
    assert wrong_manner(talk) == {"chats answered with JSON": pytest.approx(1 / 3)}
    call = {"expected": {"tool": "get_status", "arguments": {"id": 1}}}
    replies = [
        ("Woohoo, done!", call),
        ('{"tool": 1}', call),
        ("Hooray", {"expected": "Use delete_task."}),
    ]
    assert wrong_manner(scored("agentic", replies)) == {
        "requests answered as a coach": 0.5,
        "requests answered without JSON": 0.5,
    }
