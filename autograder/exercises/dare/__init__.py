"""The exercises of lesson 05: drop, rescale, DARE with a sum or a vote, and a judged merge."""

from autograder.exercises.dare.dare_linear import DARE_LINEAR
from autograder.exercises.dare.dare_ties import DARE_TIES
from autograder.exercises.dare.drop import DROP
from autograder.exercises.dare.estimate_expectation import ESTIMATE_EXPECTATION
from autograder.exercises.dare.rescale import RESCALE
from autograder.exercises.dare.seventy_percent import SEVENTY_PERCENT

EXERCISES = (DROP, RESCALE, ESTIMATE_EXPECTATION, DARE_LINEAR, DARE_TIES, SEVENTY_PERCENT)
