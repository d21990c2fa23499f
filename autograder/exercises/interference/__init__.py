"""The exercises of lesson 01: task vectors, changes from LoRA factors, overlap, and conflict."""

from autograder.exercises.interference.conflict_mass import CONFLICT_MASS
from autograder.exercises.interference.lora_delta import LORA_DELTA
from autograder.exercises.interference.overlap_shares import OVERLAP_SHARES
from autograder.exercises.interference.task_vector import TASK_VECTOR

EXERCISES = (TASK_VECTOR, LORA_DELTA, OVERLAP_SHARES, CONFLICT_MASS)
