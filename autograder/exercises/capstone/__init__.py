"""The exercises of lesson 08: what a merge kept, three adapters row by row, a card, one's own."""

from autograder.exercises.capstone.card_facts import CARD_FACTS
from autograder.exercises.capstone.merge_rows import MERGE_ROWS
from autograder.exercises.capstone.my_method import MY_METHOD
from autograder.exercises.capstone.retained import RETAINED

EXERCISES = (RETAINED, MERGE_ROWS, MY_METHOD, CARD_FACTS)
