"""Held-out items are new, repeatable, and end for any number of them."""

import pytest

from autograder.heldout import held_out
from mergelab.evaluation.suites import SPLITS, load_suite


@pytest.mark.parametrize("skill", ["persona", "agentic"])
def test_no_held_out_prompt_is_in_a_shipped_suite_or_comes_twice(skill):
    items = held_out(skill, "some seed", 300)
    prompts = {item.input for item in items}
    assert len(prompts) == 300
    assert not prompts & {item.input for split in SPLITS for item in load_suite(skill, split)}
    assert {item.skill for item in items} == {skill}


def test_the_seed_decides_and_nothing_else():
    assert held_out("agentic", "0", 20) == held_out("agentic", "0", 40)[:20]
    assert held_out("agentic", "0", 20) != held_out("agentic", "1", 20)
