"""Fresh items: new ones, of the right skill, the same for the same seed."""

import pytest

from mergelab.errors import UserError
from mergelab.evaluation.suites import SKILLS, SPLITS, load_suite
from mergelab.zoo.fresh import fresh_items


@pytest.mark.parametrize("skill", SKILLS)
def test_they_are_new_and_differ_with_the_seed(skill):
    shipped = {item.input for split in SPLITS for item in load_suite(skill, split)}
    first, other = fresh_items(skill, "one", 300), fresh_items(skill, "two", 30)
    assert first[:30] == fresh_items(skill, "one", 30)
    assert {item.skill for item in first} == {skill}
    assert len({item.input for item in first}) == 300
    assert not shipped & {item.input for item in first + other}
    assert first[:30] != other


def test_an_unknown_skill_is_an_error():
    with pytest.raises(UserError, match="known skills"):
        fresh_items("cooking", "one", 3)
