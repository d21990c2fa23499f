"""The exercises of lesson 04: the three steps, TIES from them, and two looks at a merge."""

from autograder.exercises.ties.disjoint_merge import DISJOINT_MERGE
from autograder.exercises.ties.elect_sign import ELECT_SIGN
from autograder.exercises.ties.read_report import READ_REPORT
from autograder.exercises.ties.ties import TIES
from autograder.exercises.ties.ties_compatible import TIES_COMPATIBLE
from autograder.exercises.ties.trim import TRIM

EXERCISES = (TRIM, ELECT_SIGN, DISJOINT_MERGE, TIES, TIES_COMPATIBLE, READ_REPORT)
