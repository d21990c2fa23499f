"""The judged exercise of the capstone: one merge for a whole run."""

from autograder.exercise import find
from autograder.exercises.capstone.trial import real_deltas

MY_METHOD = find("capstone/my_method")


def test_a_merge_that_changes_from_call_to_call_is_refused():
    first, second, _ = MY_METHOD.cases("hidden", "any")
    first.given["merge"] = {name: three[0] for name, three in real_deltas().items()}
    other = {name: three[1] for name, three in real_deltas().items()}
    assert "another merge" in MY_METHOD.judged(other, second)


def test_a_run_knows_nothing_of_the_run_before_it():
    for part in ("visible", "hidden"):
        before, after = MY_METHOD.cases(part, "any"), MY_METHOD.cases(part, "any")
        assert all(case.given is before[0].given for case in before)
        assert after[0].given is not before[0].given
