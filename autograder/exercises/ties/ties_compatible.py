"""Exercise `ties_compatible`: is there anything for TIES to resolve, and if not, why?"""

import torch
from torch import Tensor

from autograder.cases import Draw
from autograder.exercise import EXACT, Case, Exercise, Misconception, Points

Changes = dict[str, Tensor]
Answer = tuple[bool, str]
YES = (True, "conflicts")

CONTRACT = """
Write `ties_compatible(first, second, bases)`: whether TIES has anything to resolve between two
models, and the reason.

- `first` and `second` are dicts: the name of each tensor that the model changes (its *targets*),
  and the change there, of dtype float32, float16 or bfloat16. Often they are trimmed already, so
  many entries are zero.
- `bases` is a list of two texts: the base on which the first was trained, and that of the second.
- Return a tuple `(answer, reason)`, by the first line that applies:
  1. `(False, "different base")`: the two texts differ.
  2. `(False, "no shared target")`: no name is in both dicts.
  3. `(False, "different shapes")`: a name in both has two shapes ([2, 3] is not [3, 2]).
  4. `(False, "no conflict")`: in the tensors that both change, nowhere do the signs oppose.
  5. `(True, "conflicts")`: somewhere one entry goes up and the other down.
- An entry that is zero has no sign, so it opposes nothing. Names in only one dict do not matter.
- Changes can be so small that a product of two is rounded to zero: compare signs.
- Do not change the inputs.
"""

HINTS = (
    "Write the five lines of the contract as five steps, each with its own `return`. "
    "`first.keys() & second.keys()` are the names in both.",
    "Opposite signs in one tensor: `(first[name].sign() * second[name].sign() < 0).any()`. Only "
    'when no name has any may you return `(False, "no conflict")`.',
)


def opposed(a: Tensor, b: Tensor) -> bool:
    return bool((a.sign() * b.sign() < 0).any())


def ties_compatible(first: Changes, second: Changes, bases: list[str]) -> Answer:
    """Whether TIES has anything to resolve between two models, and the reason.

    >>> ties_compatible({"w": torch.tensor([0.1])}, {"w": torch.tensor([-0.2])}, ["a", "a"])
    (True, 'conflicts')
    """
    if bases[0] != bases[1]:
        return False, "different base"
    shared = sorted(first.keys() & second.keys())
    if not shared:
        return False, "no shared target"
    if any(first[name].shape != second[name].shape for name in shared):
        return False, "different shapes"
    if not any(opposed(first[name], second[name]) for name in shared):
        return False, "no conflict"
    return YES


# Wrong implementations ---------------------------------------------------------------------------


def forgets_the_base(first: Changes, second: Changes, bases: list[str]) -> Answer:
    return ties_compatible(first, second, ["same", "same"])


def no_when_they_conflict(first: Changes, second: Changes, bases: list[str]) -> Answer:
    answer, reason = ties_compatible(first, second, bases)
    return (not answer if "conflict" in reason else answer), reason


def zeros_oppose(first: Changes, second: Changes, bases: list[str]) -> Answer:
    answer, reason = ties_compatible(first, second, bases)
    if reason != "no conflict":
        return answer, reason
    shared = first.keys() & second.keys()
    differ = any((first[n].sign() != second[n].sign()).any() for n in shared)
    return YES if differ else (answer, reason)


def one_tensor_only(first: Changes, second: Changes, bases: list[str]) -> Answer:
    answer, reason = ties_compatible(first, second, bases)
    if not answer:
        return answer, reason
    name = sorted(first.keys() & second.keys())[0]
    return YES if opposed(first[name], second[name]) else (False, "no conflict")


def every_tensor(first: Changes, second: Changes, bases: list[str]) -> Answer:
    answer, reason = ties_compatible(first, second, bases)
    if not answer:
        return answer, reason
    everywhere = all(opposed(first[n], second[n]) for n in first.keys() & second.keys())
    return YES if everywhere else (False, "no conflict")


def all_targets_the_same(first: Changes, second: Changes, bases: list[str]) -> Answer:
    if bases[0] == bases[1] and first.keys() != second.keys():
        return False, "no shared target"
    return ties_compatible(first, second, bases)


def counts_entries(first: Changes, second: Changes, bases: list[str]) -> Answer:
    answer, reason = ties_compatible(first, second, bases)
    if reason != "different shapes":
        return answer, reason
    flat = [{name: change.flatten() for name, change in each.items()} for each in (first, second)]
    return ties_compatible(*flat, bases)


def base_last(first: Changes, second: Changes, bases: list[str]) -> Answer:
    answer, reason = ties_compatible(first, second, ["same", "same"])
    if answer and bases[0] != bases[1]:
        return False, "different base"
    return answer, reason


def sums_of_tensors(first: Changes, second: Changes, bases: list[str]) -> Answer:
    answer, reason = ties_compatible(first, second, bases)
    if "conflict" not in reason:
        return answer, reason
    shared = first.keys() & second.keys()
    apart = any(opposed(first[n].float().sum(), second[n].float().sum()) for n in shared)
    return YES if apart else (False, "no conflict")


def multiplies(first: Changes, second: Changes, bases: list[str]) -> Answer:
    answer, reason = ties_compatible(first, second, bases)
    if not answer:
        return answer, reason
    shared = first.keys() & second.keys()
    return YES if any((first[n] * second[n] < 0).any() for n in shared) else (False, "no conflict")


def answer_alone(first: Changes, second: Changes, bases: list[str]) -> bool:
    return ties_compatible(first, second, bases)[0]


def takes_names_out(first: Changes, second: Changes, bases: list[str]) -> Answer:
    result = ties_compatible(first, second, bases)
    for name in list(first.keys() - second.keys()):
        del first[name]
    return result


WRONG = (
    Misconception(
        "forgets the base",
        forgets_the_base,
        "You did not compare the bases: a task vector means something only beside the base it was "
        "measured from.",
    ),
    Misconception(
        "no when they conflict",
        no_when_they_conflict,
        "You answered no where signs oppose: conflicts are what TIES resolves, so they are the "
        "reason to say yes.",
    ),
    Misconception(
        "zeros oppose",
        zeros_oppose,
        "You counted a zero against a change as a conflict: a zero has no sign, only plus against "
        "minus opposes.",
    ),
    Misconception(
        "one tensor only",
        one_tensor_only,
        "You looked at one shared tensor only: a conflict in any of them is a conflict.",
        (0.5, 0.97),
    ),
    Misconception(
        "every tensor",
        every_tensor,
        "You asked for a conflict in every shared tensor: one tensor with a conflict is enough.",
        (0.5, 0.97),
    ),
    Misconception(
        "all targets the same",
        all_targets_the_same,
        "You asked for the same names in both: one shared name is enough, the others are merged "
        "without a vote.",
        (0.5, 0.97),
    ),
    Misconception(
        "counts entries",
        counts_entries,
        "You compared how many entries there are: [2, 3] and [3, 2] are different shapes.",
        (0.5, 0.97),
    ),
    Misconception(
        "base last",
        base_last,
        "You looked at the bases last: where several reasons apply, the contract's first one is "
        "the answer.",
        (0.5, 0.97),
    ),
    Misconception(
        "sums of tensors",
        sums_of_tensors,
        "You compared the sums of whole tensors: signs oppose entry by entry, which a sum hides.",
    ),
    Misconception(
        "multiplies",
        multiplies,
        "You multiplied the changes: a product of two very small numbers is rounded to zero, so "
        "multiply their signs.",
        (0.5, 0.97),
    ),
    Misconception(
        "answer alone",
        answer_alone,
        "You returned the answer without its reason: return both, as `return answer, reason`.",
    ),
    Misconception(
        "takes names out",
        takes_names_out,
        "You took names out of `first`: the caller still needs it whole, so only look.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_loop(first: Changes, second: Changes, bases: list[str]) -> Answer:
    one, other = bases
    if one != other:
        return (False, "different base")
    met, apart, found = False, False, False
    for name, change in first.items():
        if name not in second:
            continue
        met = True
        if tuple(change.shape) != tuple(second[name].shape):
            apart = True
            continue
        for a, b in zip(change.flatten().tolist(), second[name].flatten().tolist(), strict=True):
            found = found or (a < 0 < b) or (b < 0 < a)
    if not met:
        return (False, "no shared target")
    if apart:
        return (False, "different shapes")
    return YES if found else (False, "no conflict")


def by_masks(first: Changes, second: Changes, bases: list[str]) -> Answer:
    if len(set(bases)) > 1:
        return False, "different base"
    pairs = [(change, second[name]) for name, change in first.items() if name in second]
    if len(pairs) == 0:
        return False, "no shared target"
    if {a.shape == b.shape for a, b in pairs} != {True}:
        return False, "different shapes"
    count = sum(int((((a > 0) & (b < 0)) | ((a < 0) & (b > 0))).sum()) for a, b in pairs)
    return count > 0, "conflicts" if count else "no conflict"


def vector(*values: float, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.tensor(values, dtype=dtype)


SAME = ["base", "base"]
VISIBLE = (
    Case(
        "signs that oppose",
        ({"q": vector(0.25, 0.5, 0.75)}, {"q": vector(0.5, -0.25, 0.5)}, SAME),
        core=True,
    ),
    Case(
        "signs that never oppose",
        ({"q": vector(0.5, 0.0, -0.25)}, {"q": vector(0.25, -0.5, -0.25)}, SAME),
        core=True,
    ),
    Case(
        "two bases",
        ({"q": vector(0.5)}, {"q": vector(-0.5)}, ["base", "other base"]),
        core=True,
    ),
    Case("no name in both", ({"q": vector(0.5)}, {"v": vector(-0.5)}, SAME), core=True),
    Case("two shapes", ({"q": vector(0.5)}, {"q": vector(-0.5, 0.25)}, SAME), core=True),
    Case("a transposed matrix", ({"q": torch.ones(2, 3)}, {"q": -torch.ones(3, 2)}, SAME)),
    Case(
        "targets that only one has",
        ({"q": vector(0.5), "k": vector(1.0)}, {"q": vector(-0.5), "v": vector(1.0)}, SAME),
    ),
    Case(
        "a conflict in one of several tensors",
        ({"k": vector(0.5), "q": vector(0.5)}, {"k": vector(0.25), "q": vector(-0.5)}, SAME),
    ),
    Case(
        "a conflict in one of several tensors",
        ({"k": vector(0.5), "q": vector(0.5)}, {"k": vector(-0.5), "q": vector(0.25)}, SAME),
    ),
    Case(
        "several reasons at once",
        ({"q": vector(0.5)}, {"v": vector(0.5)}, ["base", "other base"]),
    ),
    Case("very small changes", ({"q": vector(1e-30)}, {"q": vector(-1e-30)}, SAME)),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"ties/ties_compatible/{seed}")
    names = draw.random.sample([f"layer.{n}.{m}" for n in range(6) for m in ("q", "v", "up")], 5)
    base, other = draw.random.sample(["small-1", "small-2", "large-1"], 2)
    same = [base, base]

    def changes(*chosen: str, dtype: torch.dtype = torch.float32) -> Changes:
        return {name: draw.grid(3, 5, zeros=0.3, dtype=dtype) for name in chosen}

    def against(found: Changes) -> Changes:
        """Some entries opposed, but the sums of tensors on one side."""
        made = {name: change.abs() + 0.5 for name, change in found.items()}
        for change in made.values():
            change[draw.random.randrange(3), draw.random.randrange(5)] = -0.25
        return made

    def positive(found: Changes) -> Changes:
        return {name: change.abs() + 0.25 for name, change in found.items()}

    def agreeing(found: Changes) -> Changes:
        """The same signs, or zero."""
        return {name: change * draw.random.choice((0.5, 2.0)) for name, change in found.items()}

    a = changes(*names[:3])
    plain, sparse = positive(a), changes(*names[:2])
    disjoint = {name: torch.where(change == 0, 0.5, 0.0) for name, change in sparse.items()}
    reasons = [draw.random.choice(([other, base], [base, other])) for _ in range(2)]
    flipped = {**plain, names[1]: -plain[names[1]].T}
    tiny = torch.full((4,), 1e-5).half()
    halves = [changes(*names[:2], dtype=dtype) for dtype in (torch.float16, torch.bfloat16)]
    # One look at one tensor is not enough, whichever it is.
    ends = [{**plain, name: -plain[name]} for name in (min(plain), max(plain))]
    return [
        Case("signs that oppose", (plain, against(plain), same), core=True),
        Case("signs that oppose", (against(sparse), positive(sparse), same), core=True),
        Case("signs that never oppose", (a, agreeing(a), same), core=True),
        Case("signs that never oppose", (sparse, disjoint, same), core=True),
        Case("two bases", (plain, against(plain), [base, other]), core=True),
        Case("two bases", (against(plain), plain, [other, base]), core=True),
        Case("no name in both", (plain, changes(*names[3:]), same), core=True),
        Case(
            "two shapes",
            (plain, {**against(plain), names[1]: draw.grid(4, 5)}, same),
            core=True,
        ),
        Case("a transposed matrix", (plain, flipped, same)),
        Case(
            "targets that only one has",
            ({**plain, names[3]: draw.grid(2)}, {**against(plain), names[4]: draw.grid(2)}, same),
        ),
        *(Case("a conflict in one of several tensors", (plain, end, same)) for end in ends),
        Case("several reasons at once", (plain, changes(*names[3:]), reasons[0])),
        Case("several reasons at once", (plain, flipped, reasons[1])),
        Case("very small changes", ({"w": tiny}, {"w": -tiny}, same)),
        Case("very small changes", ({"w": vector(1e-30)}, {"w": vector(-1e-30)}, same)),
        Case("float16", (halves[0], agreeing(halves[0]), same)),
        Case("bfloat16", (positive(halves[1]), against(halves[1]), same)),
        Case("a model that changes nothing", ({}, plain, same)),
    ]


TIES_COMPATIBLE = Exercise(
    id="ties/ties_compatible",
    lesson="04_ties",
    title="anything to resolve?",
    signature="ties_compatible(first, second, bases)",
    contract=CONTRACT,
    example='`ties_compatible({"q": torch.tensor([0.1, 0.2])}, {"q": torch.tensor([0.3, -0.1])}, '
    '["base", "base"])` returns `(True, "conflicts")`: the second entries oppose each other.',
    reference=ties_compatible,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 2),
    minutes=4,
    difficulty=1,
    misconceptions=WRONG,
    alternatives={"by loop": by_loop, "by masks": by_masks},
    hints=HINTS,
    tolerance=EXACT,
    equivalent={
        "d477fc/constant/5": (
            "Outside the contract: `bases` has two entries, so the last is the second."
        ),
        "f9ef11/forgotten/1": (
            "Computes the same: one of the two signs is enough, the product keeps its sign."
        ),
        "f9ef11/forgotten/2": (
            "Computes the same: one of the two signs is enough, the product keeps its sign."
        ),
    },
)
