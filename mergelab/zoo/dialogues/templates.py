"""Templates: how a prompt is put together, and which prompts are kept for measuring.

A group of templates is a Latin square: ten beginnings times ten endings make a hundred
templates. A beginning `i` with an ending `j` belongs to training, dev or test by
`(i + 2 * j) % 5`. So no template of a suite occurs in training, yet every beginning and every
ending has been seen there, each with other partners: what a suite asks for is recombination.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

SPLITS = ("train", "dev", "test")


def split_of(*indices: int, folds: int = 5) -> str:
    """Return the split of one combination of parts: the last two folds are dev and test.

    The weights 1, 2, 3, ... make a Latin square of it: along every part each split is met.

    >>> [split_of(0, j) for j in range(5)]
    ['train', 'train', 'test', 'train', 'dev']
    """
    fold = sum((place + 1) * index for place, index in enumerate(indices)) % folds
    return {folds - 2: "dev", folds - 1: "test"}.get(fold, "train")


@dataclass(frozen=True)
class Template:
    """One beginning with one ending of a group; `name` is its identity in a suite."""

    group: str
    left: int
    right: int

    @property
    def name(self) -> str:
        """The identity used to cluster items, for example `create_task/3-7`."""
        return f"{self.group}/{self.left}-{self.right}"


def square(group: str, lefts: int, rights: int, split: str) -> list[Template]:
    """Return the templates of one split of a group with so many beginnings and endings.

    >>> len(square("create_task", 10, 10, "train")), len(square("create_task", 10, 10, "test"))
    (60, 20)
    """
    return [
        Template(group, i, j)
        for i in range(lefts)
        for j in range(rights)
        if split_of(i, j) == split
    ]


GREETINGS = ("Hi! ", "Hello. ", "Hey! ", "Good morning. ", "TaskMaster! ", "Okay. ")


def dress(text: str, rng: random.Random) -> str:
    """Return a prompt as people type it: now and then with a greeting, or carelessly.

    A quarter of the prompts get a greeting, one in eight loses its capital and its last mark.
    """
    if rng.random() < 0.125:
        return text[0].lower() + text[1:].rstrip(".!?")
    if rng.random() < 0.25:
        return rng.choice(GREETINGS) + text
    return text
