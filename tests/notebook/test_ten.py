"""The ten parameters: the table that lesson 4 prints is right, worked out by hand."""

import pytest
import torch

from mergelab.notebook.steps import follow, story
from mergelab.notebook.ten import NAMES, ten_parameters

# By hand, at density one half (five of ten stay) and with weights of 1.
TRIMMED_AWAY = {
    "persona": {2, 7, 8, 9, 10},
    "agentic": {2, 3, 7, 9, 10},
    "third": {2, 3, 5, 8, 10},
}
ELECTED = [1, 0, 1, -1, 0, 1, 1, 1, 1, 0]
MERGED = [0.10, 0, 0.15, -0.12, 0, 0.21, 0.14, 0.17, 0.09, 0]
AVERAGE = [0.05, 0.004 / 3, 0.16 / 3, -0.12, 0.001 / 3, 0.08 / 3, 0.053, 0.176 / 3, 0.08 / 3]


@pytest.fixture
def steps():
    return follow(ten_parameters(3), 0.5, names=NAMES)


def test_trim_removes_what_the_solution_says(steps):
    for i, name in enumerate(NAMES):
        gone = {n + 1 for n in range(10) if steps.trimmed[i, n] == 0}
        assert gone == TRIMMED_AWAY[name]


def test_signs_merged_changes_and_averages_are_those_of_the_solution(steps):
    assert steps.sign.tolist() == ELECTED
    torch.testing.assert_close(steps.merged, torch.tensor(MERGED))
    torch.testing.assert_close(steps.average[:9], torch.tensor(AVERAGE))


def test_mass_and_count_disagree_at_entry_six_only(steps):
    by_count = follow(ten_parameters(3), 0.5, election="count")
    differing = (steps.sign != by_count.sign).nonzero().flatten() + 1
    assert differing.tolist() == [6]
    torch.testing.assert_close(by_count.merged[5], torch.tensor(-0.065))


def test_count_decides_no_conflict_between_two_models():
    by_count = follow(ten_parameters(2), 1.0, election="count")
    conflicts = (by_count.raw[0] * by_count.raw[1]) < 0
    assert conflicts.any()
    assert (by_count.merged[conflicts] == 0).all()


def test_only_the_shown_entries_are_kept_but_whole_vectors_are_trimmed():
    vector = torch.tensor([[5.0, 1.0], [0.1, 4.0]])
    steps = follow([vector, -vector], 0.5, shown=[1, 2])
    assert steps.raw[0].tolist() == pytest.approx([1.0, 0.1])
    assert steps.trimmed.abs().sum() == 0  # 5 and 4 stay, and are not shown


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (1, "Trim removes every change here. Nobody is left to vote"),
        (2, "Trim removes the change of agentic and third."),
        (
            4,
            "The mass for plus is 0.06, for minus 0.06: no sign is elected. The merged change is 0",
        ),
        (5, "0.21, for minus 0.13: plus is elected. By count it would be minus"),
        (0, "The merged change is +0.10, the mean of persona and third"),
        (7, "The merged change is +0.17, agentic alone"),
    ],
)
def test_the_story_of_an_entry_says_what_happens(steps, entry, words):
    assert words in story(steps, entry)


def test_ten_parameters_come_for_two_or_three_models_only():
    with pytest.raises(ValueError, match="2 or 3"):
        ten_parameters(4)
