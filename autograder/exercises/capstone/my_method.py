"""Exercise `my_method`: a merge of three by a rule of one's own. Merged and asked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from autograder.exercise import Case, Exercise, Misconception, Points
from autograder.exercises.capstone.trial import (
    DEV,
    ITEMS,
    SHARE,
    SKILLS,
    Deltas,
    alike,
    problem_with_form,
    problem_with_merge,
    real_deltas,
)
from mergelab.methods import ties

CONTRACT = f"""
Write `my_method(deltas)`: merge the three adapters by any rule you like, so that **every** skill
survives.

- `deltas` maps the name of each changed tensor to a list of three task vectors, always in this
  order: persona, agentic, digest. All are float32 matrices.
- Return a dict with the same names, and for each the merged change: one float32 tensor of the same
  shape, without NaN. It will be added to the base. Do not change the inputs.
- Everything that uses only `deltas` is allowed: a scale, weights, a vote, a trim, random drops
  (with a generator of your own and a fixed seed, because the function is called several times and
  must give the same merge each time). Nothing may be loaded, and a call may take a few seconds.
- Your merge is asked {ITEMS} items of each skill. It passes a skill if it gets right at least
  **{SHARE:g} of what that skill's adapter alone gets right** on the same items. There are points
  only if it passes all three.
- Here the items are the first of the dev suites. When you hand in they are new ones of the same
  kind, which nobody has seen: leave room above the bar.
- One check takes up to a minute, because it merges and asks models.
"""

HINTS = (
    "Start with a plain weighted sum and ask which scale each skill needs. The average of three is "
    "the sum at scale 1/3. Section 3 shows what happens along the scale.",
    "`{name: 0.7 * sum(three) for name, three in deltas.items()}` is a complete answer to the "
    "exercise. Then make it yours: other weights, a vote where two oppose each other, a scale for "
    "each kind of matrix.",
)


@dataclass(frozen=True)
class OnItems(Case):
    """A trial on some items: "dev", or the seed of fresh ones.

    `given` holds the first merge of a run, and all cases of the run share it.
    """

    items: str = DEV
    given: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


def judged(value: Any, case: Case) -> str | None:
    if not isinstance(case, OnItems):
        return problem_with_merge(value, case.kind.split()[0], DEV)
    problem = problem_with_form(value)
    # Else a method could hand in one adapter after the other, each for its own skill.
    if problem is None and not alike(case.given.setdefault("merge", value), value):
        problem = "gave another merge than at its first call: make it the same each time"
    return problem or problem_with_merge(value, case.kind.split()[0], case.items)


def cases(items: str) -> list[Case]:
    given: dict[str, Any] = {}
    return [
        OnItems(f"{skill} items", (real_deltas(),), core=True, items=items, given=given)
        for skill in SKILLS
    ]


class Visible(Sequence[Case]):
    """The visible cases, made when they are asked for: they hold the adapters' weights."""

    def __len__(self) -> int:
        return len(SKILLS)

    def __getitem__(self, index: Any) -> Any:
        return cases(DEV)[index]

    def __iter__(self) -> Iterator[Case]:
        return iter(cases(DEV))


def summed(deltas: Deltas, scale: float) -> dict[str, Tensor]:
    return {name: scale * (three[0] + three[1] + three[2]) for name, three in deltas.items()}


def my_method(deltas: Deltas) -> dict[str, Tensor]:
    return summed(deltas, 0.7)


# Wrong methods -----------------------------------------------------------------------------------


def average(deltas: Deltas) -> dict[str, Tensor]:
    return summed(deltas, 1 / 3)


def only_first(deltas: Deltas) -> dict[str, Tensor]:
    return {name: three[0].clone() for name, three in deltas.items()}


def negated(deltas: Deltas) -> dict[str, Tensor]:
    return summed(deltas, -0.7)


def divided_twice(deltas: Deltas) -> dict[str, Tensor]:
    return {name: ties(three) / 3 for name, three in deltas.items()}


def median(deltas: Deltas) -> dict[str, Tensor]:
    return {name: torch.stack(three).median(0).values for name, three in deltas.items()}


def one_tensor_each(deltas: Deltas) -> list[Tensor]:
    return [0.7 * sum(three) for three in deltas.values()]  # type: ignore[misc]


def in_place(deltas: Deltas) -> dict[str, Tensor]:
    return {
        name: three[0].add_(three[1]).add_(three[2]).mul_(0.7) for name, three in deltas.items()
    }


WRONG = (
    Misconception(
        "plain average",
        average,
        "You averaged the three: each keeps a third of its size, and skills that need more of it "
        "are gone. Try a sum with a larger scale.",
    ),
    Misconception(
        "a copy of one",
        only_first,
        "You returned one adapter as it is: it has its own skill and neither of the others.",
    ),
    Misconception(
        "sign flipped",
        negated,
        "You subtracted what the adapters learned: the merged change is added to the base, so a "
        "minus makes the model forget.",
    ),
    Misconception(
        "divided twice",
        divided_twice,
        "You divided a mean by three once more: a disjoint mean already has an adapter's size.",
    ),
    Misconception(
        "median",
        median,
        "You took the median of three: where one adapter has a strong opinion and two have none, "
        "that is nearly nothing.",
    ),
    Misconception(
        "a list",
        one_tensor_each,
        "You returned a list: return a dict, so that each merged tensor finds its place by name.",
    ),
    Misconception(
        "in place",
        in_place,
        "You merged into the first adapter's own tensors: work on new ones, the caller still needs "
        "the task vectors.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_vote(deltas: Deltas) -> dict[str, Tensor]:
    return {name: ties(three, density=0.5) for name, three in deltas.items()}


def a_little_smaller(deltas: Deltas) -> dict[str, Tensor]:
    result = {}
    for name in reversed(deltas):
        total = torch.zeros_like(deltas[name][0])
        for delta in deltas[name]:
            total += 0.65 * delta
        result[name] = total
    return result


MY_METHOD = Exercise(
    id="capstone/my_method",
    lesson="08_capstone",
    title="a method of your own",
    signature="my_method(deltas)",
    contract=CONTRACT,
    example="The form of an answer (it copies persona, so it does not pass): "
    "`return {name: three[0].clone() for name, three in deltas.items()}`.",
    reference=my_method,
    visible=Visible(),
    hidden=cases,
    points=Points(2, 5),
    minutes=12,
    difficulty=3,
    misconceptions=WRONG,
    alternatives={"by vote": by_vote, "a little smaller": a_little_smaller},
    hints=HINTS,
    judged=judged,
)
