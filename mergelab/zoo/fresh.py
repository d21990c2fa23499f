"""Fresh items: like those of the test suites, drawn for a seed, in none of the shipped files."""

from __future__ import annotations

import random
from functools import cache
from itertools import cycle

from mergelab.errors import UserError
from mergelab.evaluation.suites import SKILLS, SPLITS, Item, load_suite
from mergelab.zoo.suites import MAKERS


@cache
def fresh_items(skill: str, seed: str, count: int) -> tuple[Item, ...]:
    """So many new items of one skill, on held-out templates and values; the seed decides which.

    Raises `UserError` for an unknown skill.

    >>> first, again = (fresh_items("digest", seed, 3) for seed in ("a", "a"))
    >>> first == again, len(first)
    (True, 3)
    """
    if skill not in SKILLS:
        raise UserError(f"unknown skill {skill!r}; known skills are {', '.join(SKILLS)}")
    draw = random.Random(f"fresh {skill} {seed}")
    known = {item.input for split in SPLITS for item in load_suite(skill, split)}
    module, make = MAKERS[skill]
    templates = module.templates("test")
    draw.shuffle(templates)
    items: list[Item] = []
    for template in cycle(templates):
        if len(items) == count:
            break
        fields = make(template, "test", draw)
        # Templates without a slot have one prompt each, which the shipped suites hold.
        if fields["input"] not in known:
            known.add(str(fields["input"]))
            name = f"{skill}-fresh-{len(items) + 1:04d}"
            items.append(Item(id=name, template=template.name, **fields))
    return tuple(items)
