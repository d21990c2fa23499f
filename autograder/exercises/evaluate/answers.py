"""Exercise `answers`: which method for which job, and for which reason."""

from dataclasses import dataclass
from typing import Any

from autograder.exercise import Case, Exercise, Misconception, Points

METHODS = ("linear", "task_arithmetic", "slerp", "ties", "dare_ties", "more_items")
LETTERS = "abcd"
# Scenario: the method, and the letter of the reason.
KEY = {
    1: ("linear", "c"),
    2: ("slerp", "b"),
    3: ("ties", "d"),
    4: ("dare_ties", "a"),
    5: ("more_items", "b"),
    6: ("task_arithmetic", "c"),
}

CONTRACT = """
Write `answers()`: for each scenario, what you would do **first**, and the reason that carries it.
Return a dict from the scenario's number to a pair, such as `{1: ("ties", "a"), 2: ...}`, with all
six scenarios. The first of the pair is one of `"linear"`, `"task_arithmetic"`, `"slerp"`, `"ties"`,
`"dare_ties"`, or `"more_items"` (merge nothing new, measure more). Method and reason are graded
apart; the cases you can check here look at the form only.

1. *Five minutes, two new adapters, nothing known about them.* Whatever you try later, you need a
   merge to compare it with.
   **a** it always scores best, **b** it resolves sign conflicts, **c** at equal weights it has
   nothing to choose, so whatever beats it must owe that to something, **d** it keeps the size of
   both
2. *Two similar fine-tunes, and one dial that turns from the one to the other.* The straight line
   between them comes out too small. You want the size of one at every setting of the dial, without
   choosing a scale for each.
   **a** it resolves the conflicts, **b** it turns from one task vector to the other and keeps
   the length, for exactly two, **c** it drops what is not needed, **d** it takes any number of
   models
3. *Four adapters for four jobs, which often want opposite signs.* No file size to save.
   **a** it takes exactly two models at a time, **b** a random half of each is enough, **c** an
   average of four keeps each at full size, **d** it takes any number, and at each weight only
   those that agree are averaged
4. *Two distinct adapters with conflicts; the merged change must be stored sparsely.* 70% of each
   task vector has to go, without a look at its values.
   **a** survivors are scaled up so that each entry keeps its expected value, then signs are
   elected, **b** the smallest entries go, so nothing is lost, **c** zeros make a dense file
   smaller, **d** its result is the same for every seed
5. *TIES .90, SLERP .88, linear .85, on 50 items each.* Your team wants to announce a winner.
   **a** TIES is ahead in every column, so it has won, **b** the lead is smaller than what
   chance does to 50 items, and the winner was picked after looking, **c** published tables say
   the same order, so this is confirmed, **d** a mean over three methods would be fairer
6. *A model has learned to answer in a style it must lose.* You have an adapter of that style.
   **a** an average with the base forgets it, **b** sign election removes what is outvoted,
   **c** a task vector may be subtracted: a negative weight, without normalising, **d** slerp
   past t = 1 turns the style round
"""

HINTS = (
    "Ask of each scenario: how many models, is there a conflict to settle, a size to keep, "
    "is something to be dropped or taken away? And is there anything to decide yet?",
    "A reason must be true of the method **and** be what the scenario is about. Some reasons are "
    "true of another method, and some of none.",
)

Answer = dict[int, tuple[str, str]]


@dataclass(frozen=True)
class Question(Case):
    """What is looked at: the form of all answers, or one side of the answer to a scenario.

    The key is the same for every `seed`.
    """

    scenario: int = 0
    side: int = 0
    seed: str = ""


def answers() -> Answer:
    """The answers of the key."""
    return dict(KEY)


def form_problem(value: Any) -> str | None:
    if type(value) is not dict or set(value) != set(KEY):
        return f"did not return a dict with the scenarios {', '.join(map(str, KEY))} as keys"
    for pair in value.values():
        if type(pair) not in (tuple, list) or len(pair) != 2:
            return "has an answer that is not a pair of a method and a letter"
        method, letter = pair
        if type(method) is not str or method not in METHODS:
            return f"names something other than {', '.join(METHODS)}"
        if type(letter) is not str or len(letter) != 1 or letter not in LETTERS:
            return "gives a reason other than a, b, c or d"
    return None


def judged(value: Any, case: Case) -> str | None:
    problem = form_problem(value)
    if problem is not None or not isinstance(case, Question) or not case.scenario:
        return problem
    if value[case.scenario][case.side] == KEY[case.scenario][case.side]:
        return None
    return ("chooses another method", "gives a reason that does not carry it")[case.side]


# Wrong answers -----------------------------------------------------------------------------------


def ties_for_all() -> Answer:
    return {number: ("ties", "d") for number in KEY}


def leader_announced() -> Answer:
    return {**KEY, 5: ("ties", "a")}


def dare_trims() -> Answer:
    return {**KEY, 4: ("dare_ties", "b")}


def average_keeps_size() -> Answer:
    return {**KEY, 2: ("linear", "d"), 3: ("linear", "c")}


def slerp_for_many() -> Answer:
    return {**KEY, 3: ("slerp", "d")}


def zeros_shrink() -> Answer:
    return {**KEY, 4: ("dare_ties", "c")}


def letters_only() -> dict[int, str]:
    return {number: letter for number, (_, letter) in KEY.items()}


WRONG = (
    Misconception(
        "TIES for everything",
        ties_for_all,
        "You chose TIES everywhere: it answers conflicts, and not every scenario has one.",
        (0.1, 0.5),
    ),
    Misconception(
        "the leader announced",
        leader_announced,
        "You took a lead of .02 to .05 on 50 items for a result: compare it with its standard "
        "error first.",
        (0.5, 0.95),
    ),
    Misconception(
        "DARE trims",
        dare_trims,
        "You said that DARE drops the smallest entries: trim does; DARE drops at random and scales "
        "up what is left.",
        (0.5, 0.98),
    ),
    Misconception(
        "averages keep the size",
        average_keeps_size,
        "You said that an average keeps the size: it gives each of N models a share of 1/N.",
        (0.4, 0.9),
    ),
    Misconception(
        "SLERP for many",
        slerp_for_many,
        "You chose SLERP for four models: it turns from one vector to exactly one other.",
        (0.5, 0.98),
    ),
    Misconception(
        "zeros shrink files",
        zeros_shrink,
        "You said that zeros shrink a dense file: they take as much room as other numbers, unless "
        "they are stored sparsely.",
        (0.5, 0.98),
    ),
    Misconception(
        "letters only",
        letters_only,
        "You returned letters alone: each answer is a pair of a method and a letter.",
    ),
)

# Right in another way ----------------------------------------------------------------------------


def as_lists() -> dict[int, list[str]]:
    return {number: list(pair) for number, pair in KEY.items()}


def last_first() -> Answer:
    return {number: KEY[number] for number in sorted(KEY, reverse=True)}


VISIBLE = (Question("the form of the answers", ()),)


def hidden(seed: str) -> list[Case]:
    return [
        Question(f"scenario {number}, {side}", (), scenario=number, side=place, seed=seed)
        for number in KEY
        for place, side in enumerate(("the method", "the reason"))
    ]


ANSWERS = Exercise(
    id="evaluate/answers",
    lesson="06_evaluate_and_tune",
    title="which method, and why",
    signature="answers()",
    contract=CONTRACT,
    example='`{1: ("ties", "a"), 2: ("ties", "a"), ...}` has the right form (and is mostly wrong).',
    reference=answers,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 6),
    minutes=6,
    difficulty=2,
    misconceptions=WRONG,
    alternatives={"as lists": as_lists, "last first": last_first},
    hints=HINTS,
    judged=judged,
)
