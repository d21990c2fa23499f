"""The exercises of lesson 07: peak memory, bytes moved, one program of a kernel, a threshold."""

from autograder.exercises.memory.merge_program import MERGE_PROGRAM
from autograder.exercises.memory.merge_seconds import MERGE_SECONDS
from autograder.exercises.memory.peak_bytes import PEAK_BYTES
from autograder.exercises.memory.radix_threshold import RADIX_THRESHOLD

EXERCISES = (PEAK_BYTES, MERGE_SECONDS, MERGE_PROGRAM, RADIX_THRESHOLD)
