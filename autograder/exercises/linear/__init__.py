"""The exercises of lesson 02: the weighted average, adding up, real weights, forgetting."""

from autograder.exercises.linear.effective_weights import EFFECTIVE_WEIGHTS
from autograder.exercises.linear.forget import FORGET
from autograder.exercises.linear.linear import LINEAR
from autograder.exercises.linear.task_arithmetic import TASK_ARITHMETIC

EXERCISES = (LINEAR, TASK_ARITHMETIC, EFFECTIVE_WEIGHTS, FORGET)
