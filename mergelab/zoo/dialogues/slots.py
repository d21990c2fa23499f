"""What fills the gaps of a template: topics, titles, dates, priorities and ids.

Every value belongs to one split by the Latin rule of `templates.split_of` with ten folds, so a
suite's topics, titles, dates and ids are new to every model, while their words are not. Training
adds free values of other forms, made-up words among them, so that models learn to copy what
they have never seen; no suite has such a value.
"""

from __future__ import annotations

import random
from datetime import date, timedelta
from functools import cache

from mergelab.zoo.dialogues.templates import split_of

OWNERS = ("the", "Anna's", "Ben's", "Chloe's", "the team's", "the club's", "Omar's")
THEMES = (
    "garden", "kitchen", "history", "spring", "travel", "music", "science", "summer", "winter",
    "family", "office", "school", "city", "holiday", "chess", "book", "safety", "cooking",
    "charity", "film", "sports", "art", "climate", "library", "museum", "health", "theatre",
)  # fmt: skip
WORKS = (
    "report", "essay", "plan", "project", "list", "poster", "guide", "survey", "speech", "diary",
    "newsletter", "map", "budget", "schedule", "proposal", "album", "checklist", "review",
    "course", "article", "page", "slides", "video", "notes", "booklet", "brochure",
)  # fmt: skip

ERRANDS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (
        ("buy", "order", "pick up", "look for", "bring"),
        ("milk", "bread", "stamps", "coffee beans", "printer paper", "light bulbs", "new shoes",
         "cat food", "a desk lamp", "flower seeds", "batteries", "a phone case", "apples",
         "a birthday card"),
    ),
    (
        ("call", "email", "thank", "meet", "write to"),
        ("the dentist", "the plumber", "the landlord", "the bank", "the new intern", "the editor",
         "the school office", "the travel agent", "grandma", "the neighbours", "the coach",
         "the printer shop", "the accountant", "the librarian"),
    ),
    (
        ("draft", "review", "send", "print", "update"),
        ("the invoice", "the contract", "the meeting notes", "the tax form", "the cover letter",
         "the price list", "the menu", "the training plan", "the insurance claim", "the agenda",
         "the seating chart", "the test report", "the guest list", "the job advert"),
    ),
    (
        ("clean", "repair", "paint", "measure", "tidy"),
        ("the bike", "the garden fence", "the kitchen shelf", "the garage", "the balcony",
         "the front door", "the fridge", "the attic", "the fish tank", "the bathroom",
         "the old chair", "the workbench", "the hallway", "the car"),
    ),
    (
        ("book", "plan", "cancel", "check", "move"),
        ("the flight", "the hotel", "the train ticket", "the swim lesson", "the team lunch",
         "the eye test", "the guitar class", "the budget meeting", "the museum visit",
         "the haircut", "the ferry", "the parent evening", "the workshop", "the interview"),
    ),
)  # fmt: skip
ENDS = ("", "for Anna", "for Ben", "for the team", "with Omar", "before lunch", "after work")

PRIORITIES = ("low", "medium", "high")
FIRST_DAY = date(2026, 1, 1)
DAYS = 730


@cache
def topics(split: str) -> tuple[str, ...]:
    """Return the topics of one split, such as `the garden plan` or `Anna's chess poster`."""
    return tuple(
        f"{owner} {theme} {work}"
        for o, owner in enumerate(OWNERS)
        for t, theme in enumerate(THEMES)
        for w, work in enumerate(WORKS)
        if split_of(w, t, o, folds=10) == split
    )


@cache
def titles(split: str) -> tuple[str, ...]:
    """Return the task titles of one split, such as `buy milk` or `call the bank for Ben`."""
    return tuple(
        f"{verb} {thing} {end}".strip()
        for verbs, things in ERRANDS
        for v, verb in enumerate(verbs)
        for t, thing in enumerate(things)
        for e, end in enumerate(ENDS)
        if split_of(t, v, e, folds=10) == split
    )


@cache
def dates(split: str) -> tuple[str, ...]:
    """Return the ISO dates of one split, such as `2026-03-14`, out of two years."""
    days = (FIRST_DAY + timedelta(days=n) for n in range(DAYS))
    return tuple(
        day.isoformat() for day in days if split_of(day.day, day.month, day.year, folds=10) == split
    )


@cache
def ids(split: str) -> tuple[int, ...]:
    """Return the task ids of one split, three digits each; every digit occurs in every place."""
    return tuple(
        n for n in range(100, 1000) if split_of(n % 10, n // 10 % 10, n // 100, folds=10) == split
    )


def topic(rng: random.Random, split: str) -> str:
    """Return one topic of a split."""
    return rng.choice(topics(split))


def fill(rng: random.Random, split: str) -> dict[str, str | int]:
    """Return one value of a split for every slot of a request: title, due, priority, id."""
    return {
        "title": rng.choice(titles(split)),
        "due": rng.choice(dates(split)),
        "priority": rng.choice(PRIORITIES),
        "id": rng.choice(ids(split)),
    }


# Free values, for training only. None of these nouns ends a topic or a title of a split.
NOUNS = (
    "homework", "thesis", "exam", "dinner", "laundry", "dog", "novel", "soup", "rent", "concert",
    "race", "wedding", "puzzle", "resume", "drawing", "recipe", "lecture", "playlist", "painting",
    "package", "passport", "garden", "plants", "windows", "dishes", "groceries", "keys", "mom",
    "dad", "doctor", "lawyer", "teacher", "piano", "violin", "match", "game", "story", "poem",
    "letter", "blog", "sofa", "desk", "roof", "boat", "tent", "camera", "laptop", "phone", "lamp",
    "application", "taxes", "bills", "marathon", "interview prep", "code", "database", "server",
    "team meeting", "school play", "job search", "house move", "physics test", "new website",
    "first chapter", "final exam", "science fair", "birthday party", "weekly plan", "big launch",
)  # fmt: skip
VERBS = (
    "water", "wash", "feed", "fix", "finish", "read", "write", "learn", "prepare", "pay", "find",
    "sell", "pack", "cook", "bake", "study", "sort", "share", "visit", "start", "practise", "save",
    "buy", "call", "clean", "send", "print", "check",
)  # fmt: skip
SYLLABLES = (
    "ba", "ker", "lo", "min", "tor", "fe", "sal", "ri", "dun", "ga", "pe", "vis", "mo", "hal", "zi",
    "cra", "ton", "ber", "lu", "na", "shi", "wo", "ple", "gor", "ix", "ta", "en", "ru", "jo", "kel",
)  # fmt: skip


def _noun(rng: random.Random) -> str:
    if rng.random() < 0.5:
        return rng.choice(NOUNS)
    return "".join(rng.choices(SYLLABLES, k=rng.randint(2, 3)))


def free_topic(rng: random.Random) -> str:
    """Return a topic of a form that no suite has, such as `my homework` or `the kermoba`."""
    return f"{rng.choice(('my', 'my', 'our', 'the', 'this'))} {_noun(rng)}"


def free_fill(rng: random.Random) -> dict[str, str | int]:
    """Return values of forms that no suite has: free titles, other years, ids of other lengths."""
    digits = rng.choice((1, 2, 2, 4, 5))
    article = rng.choice(("", "the ", "my ", "a "))
    return {
        "title": f"{rng.choice(VERBS)} {article}{_noun(rng)}",
        "due": f"{rng.choice((2024, 2025, 2028))}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}",
        "priority": rng.choice(PRIORITIES),
        "id": rng.randrange(10 ** (digits - 1), 10**digits),
    }
