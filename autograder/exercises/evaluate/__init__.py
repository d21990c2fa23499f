"""The exercises of lesson 06: build a suite, compare with its uncertainty, tune, choose."""

from autograder.exercises.evaluate.answers import ANSWERS
from autograder.exercises.evaluate.bootstrap_interval import BOOTSTRAP_INTERVAL
from autograder.exercises.evaluate.build_suite import BUILD_SUITE
from autograder.exercises.evaluate.leader_or_noise import LEADER_OR_NOISE
from autograder.exercises.evaluate.paired_difference import PAIRED_DIFFERENCE
from autograder.exercises.evaluate.tuned import TUNED

EXERCISES = (
    BUILD_SUITE,
    BOOTSTRAP_INTERVAL,
    PAIRED_DIFFERENCE,
    LEADER_OR_NOISE,
    TUNED,
    ANSWERS,
)
