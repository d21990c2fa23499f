"""Exercise `card_facts`: what a model card must say about licences, gaps and losses."""

from collections.abc import Callable
from typing import Any

from autograder.cases import Draw
from autograder.exercise import Case, Exercise, Misconception, Points

CONTRACT = """
Write `card_facts(licences, kept, floor=0.9)`: three facts for the card of a merge.

- `licences` maps the name of every model that went in, the base too, to the licence that its own
  card states, or to `None` where none is stated. There is at least one model.
- `kept` maps every skill of the sources to the share that the merge kept of it, or to `None` where
  nobody has measured it. It may be empty.
- `floor` is the share from which on a skill counts as kept: a share equal to it is kept.
- Return a dict with exactly three keys:
  - `"license"`: the one licence that **all** models state. Where two differ, or one states none, it
    is `"other"`. Licences are compared without regard to capital letters, and given in small
    letters.
  - `"check"`: the names of the models that state no licence, a list in alphabetical order.
  - `"limits"`: a list of the skills that a user must be warned of, in alphabetical order: those
    below the floor, and those that nobody has measured.
- Do not change the inputs.
"""

HINTS = (
    "Put the licences into a set. When does it hold exactly one real licence?",
    "Not measured is not the same as kept. `share is None or share < floor` is the condition of a "
    "limit.",
)

Licences = dict[str, str | None]
Kept = dict[str, float | None]


def agreed(licences: Licences) -> str:
    stated = {None if x is None else x.lower() for x in licences.values()}
    return stated.pop() or "other" if len(stated) == 1 else "other"


def build(
    licences: Licences,
    kept: Kept,
    floor: float,
    *,
    licence: Callable[[Licences], str | None] = agreed,
    limit: Callable[[float | None, float], bool] = lambda s, floor: s is None or s < floor,
) -> dict[str, Any]:
    return {
        "license": licence(licences),
        "check": sorted(name for name, x in licences.items() if x is None),
        "limits": sorted(skill for skill, share in kept.items() if limit(share, floor)),
    }


def card_facts(licences: Licences, kept: Kept, floor: float = 0.9) -> dict[str, Any]:
    return build(licences, kept, floor)


# Wrong implementations ---------------------------------------------------------------------------


def first_licence(licences: Licences, kept: Kept, floor: float = 0.9) -> dict[str, Any]:
    first = next(iter(licences.values()))
    return build(licences, kept, floor, licence=lambda _: (first or "other").lower())


def most_common(licences: Licences, kept: Kept, floor: float = 0.9) -> dict[str, Any]:
    stated = [x.lower() for x in licences.values() if x is not None]
    common = max(sorted(set(stated)), key=stated.count) if stated else "other"
    return build(licences, kept, floor, licence=lambda _: common)


def ignores_missing(licences: Licences, kept: Kept, floor: float = 0.9) -> dict[str, Any]:
    stated = {name: x for name, x in licences.items() if x is not None}
    return build(licences, kept, floor, licence=lambda _: agreed(stated) if stated else "other")


def unmeasured_is_kept(licences: Licences, kept: Kept, floor: float = 0.9) -> dict[str, Any]:
    return build(licences, kept, floor, limit=lambda s, floor: s is not None and s < floor)


def what_is_kept(licences: Licences, kept: Kept, floor: float = 0.9) -> dict[str, Any]:
    return build(licences, kept, floor, limit=lambda s, floor: s is not None and s >= floor)


def at_or_below(licences: Licences, kept: Kept, floor: float = 0.9) -> dict[str, Any]:
    return build(licences, kept, floor, limit=lambda s, floor: s is None or s <= floor)


def own_floor(licences: Licences, kept: Kept, floor: float = 0.9) -> dict[str, Any]:
    return build(licences, kept, 0.9)


def as_written(licences: Licences, kept: Kept, floor: float = 0.9) -> dict[str, Any]:
    stated = set(licences.values())
    one = stated.pop() or "other" if len(stated) == 1 else "other"
    return build(licences, kept, floor, licence=lambda _: one)


def unsorted(licences: Licences, kept: Kept, floor: float = 0.9) -> dict[str, Any]:
    found = build(licences, kept, floor)
    return {
        **found,
        "check": [name for name in licences if name in found["check"]],
        "limits": [skill for skill in kept if skill in found["limits"]],
    }


WRONG = (
    Misconception(
        "first licence",
        first_licence,
        "You took the first model's licence: a merge contains all of them, and each one's terms "
        "carry over.",
    ),
    Misconception(
        "most common licence",
        most_common,
        "You took the licence that most models state: the one that differs binds the merge too.",
    ),
    Misconception(
        "ignores a missing licence",
        ignores_missing,
        "You skipped models without a licence: not stated does not mean free, so the merge's is "
        "other until somebody has checked.",
        (0.0, 0.98),
    ),
    Misconception(
        "not measured means kept",
        unmeasured_is_kept,
        "You left out skills that nobody has measured: what was not tested is a limit, too.",
        (0.3, 0.98),
    ),
    Misconception(
        "lists what is kept",
        what_is_kept,
        "You listed the skills that were kept: the limits are the others.",
    ),
    Misconception(
        "floor excluded",
        at_or_below,
        "You warn of a skill exactly at the floor: equal to the floor counts as kept.",
        (0.6, 0.98),
    ),
    Misconception(
        "a floor of one's own",
        own_floor,
        "You always use 0.9: the floor is an argument.",
        (0.6, 0.98),
    ),
    Misconception(
        "capital letters",
        as_written,
        "You compared licences as they are written: Apache-2.0 and apache-2.0 are one licence, "
        "and the card gives it in small letters.",
        (0.6, 0.98),
    ),
    Misconception(
        "not sorted",
        unsorted,
        "Your lists are in the order of the inputs: the contract asks for alphabetical order, so "
        "that the same merge gives the same card.",
        (0.3, 0.98),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_loop(licences: Licences, kept: Kept, floor: float = 0.9) -> dict[str, Any]:
    check, limits, seen = [], [], []
    for name in sorted(licences):
        stated = licences[name]
        if stated is None:
            check.append(name)
        elif stated.lower() not in seen:
            seen.append(stated.lower())
    for skill in sorted(kept):
        share = kept[skill]
        if share is None or not share >= floor:
            limits.append(skill)
    return {
        "limits": limits,
        "check": check,
        "license": seen[0] if len(seen) == 1 and not check else "other",
    }


def by_first(licences: Licences, kept: Kept, floor: float = 0.9) -> dict[str, Any]:
    first = (next(iter(licences.values())) or "").lower()
    same = first and all((x or "").lower() == first for x in licences.values())
    good = {skill for skill, share in kept.items() if share is not None and share >= floor}
    return {
        "license": first if same else "other",
        "check": sorted(n for n in licences if not licences[n]),
        "limits": sorted(kept.keys() - good),
    }


SAME = {"base": "apache-2.0", "persona": "apache-2.0"}
VISIBLE = (
    Case("one licence for all", (SAME, {"persona": 0.95, "agentic": 0.5}), core=True),
    Case(
        "licences that differ",
        ({"base": "apache-2.0", "persona": "mit", "x": "mit"}, {"x": 0.25}),
        core=True,
    ),
    Case("a licence that is not stated", ({"base": "mit", "x": None}, {"x": 0.95})),
    Case("a skill that was not measured", (SAME, {"persona": 0.95, "safety": None})),
    Case("a share at the floor", (SAME, {"persona": 0.9, "agentic": 0.875})),
    Case("another floor", (SAME, {"persona": 0.75, "agentic": 0.95, "digest": 0.4}, 0.5)),
    Case("capital letters", ({"base": "Apache-2.0", "x": "apache-2.0"}, {"x": 1.0})),
    Case("names out of order", ({"z": None, "a": None}, {"s": 0.1, "b": 0.2})),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"capstone/card_facts/{seed}")
    names = draw.random.sample(("ada", "bee", "cat", "dog", "eel", "fox"), 4)
    names = sorted(names)
    one, other = draw.random.sample(("mit", "apache-2.0", "cc-by-4.0", "gpl-3.0", "llama3.1"), 2)
    low, high = draw.random.randint(5, 50) / 64, draw.random.randint(60, 80) / 64
    same = dict.fromkeys(names, one)
    kept = {"agentic": low, "persona": high}
    odd = {**same, names[0]: other}
    return [
        Case("one licence for all", (same, kept), core=True),
        Case(
            "one licence for all", ({names[0]: other}, {"agentic": high, "persona": low}), core=True
        ),
        Case("licences that differ", (odd, kept), core=True),
        Case("a licence that is not stated", ({**same, names[2]: None}, kept)),
        Case("a licence that is not stated", ({names[0]: one, names[1]: None}, {})),
        Case("only licences that are not stated", (dict.fromkeys(names), kept)),
        Case("a skill that was not measured", (same, {**kept, "safety": None})),
        Case("no skills", (odd, {})),
        Case("a share at the floor", (same, {"a": 0.75, "b": high}), {"floor": 0.75}),
        Case("another floor", (same, {"a": 0.5 + low / 4, "b": high, "c": 0.1}), {"floor": 0.5}),
        Case("capital letters", ({names[0]: one.upper(), names[1]: one}, kept)),
        Case(
            "names out of order",
            ({n: None for n in reversed(names)}, {"z": low, "m": None, "a": low}),
        ),
    ]


CARD_FACTS = Exercise(
    id="capstone/card_facts",
    lesson="08_capstone",
    title="facts for a model card",
    signature="card_facts(licences, kept, floor=0.9)",
    contract=CONTRACT,
    example='`card_facts({"base": "mit", "chat": None}, {"chat": 0.95, "tools": 0.5})` returns '
    '`{"license": "other", "check": ["chat"], "limits": ["tools"]}`.',
    reference=card_facts,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 2),
    minutes=5,
    difficulty=1,
    misconceptions=WRONG,
    alternatives={"by loop": by_loop, "by first": by_first},
    hints=HINTS,
)
