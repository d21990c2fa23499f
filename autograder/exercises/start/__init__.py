"""The exercises of lesson 00: add a task vector, merge two models, find out what does not fit."""

from autograder.exercises.start.add_task_vector import ADD_TASK_VECTOR
from autograder.exercises.start.merge_two import MERGE_TWO
from autograder.exercises.start.misfits import MISFITS

EXERCISES = (ADD_TASK_VECTOR, MERGE_TWO, MISFITS)
