"""The exercises of lesson 03: angle, slerp with its edge cases, magnitude kept, a fair rival."""

from autograder.exercises.slerp.angle import ANGLE
from autograder.exercises.slerp.magnitude_kept import MAGNITUDE_KEPT
from autograder.exercises.slerp.rescaled_linear import RESCALED_LINEAR
from autograder.exercises.slerp.slerp import SLERP

EXERCISES = (ANGLE, SLERP, MAGNITUDE_KEPT, RESCALED_LINEAR)
