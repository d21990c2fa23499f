"""The exercises of lesson 04: trim, elect a sign, merge what agrees, and TIES from the three."""

from autograder.exercises.ties.disjoint_merge import DISJOINT_MERGE
from autograder.exercises.ties.elect_sign import ELECT_SIGN
from autograder.exercises.ties.ties import TIES
from autograder.exercises.ties.trim import TRIM

EXERCISES = (TRIM, ELECT_SIGN, DISJOINT_MERGE, TIES)
