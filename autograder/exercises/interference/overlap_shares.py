"""Exercise `overlap_shares`: where two task vectors meet, and whether they agree there."""

import math

import torch
from torch import Tensor

from autograder.cases import Draw
from autograder.equivalence import PLAIN_NUMBER
from autograder.exercise import Case, Exercise, Misconception, Points
from mergelab.methods import trim

Shares = dict[str, float]
KINDS = ("neither", "one only", "same direction", "opposite")

CONTRACT = """
Write `overlap_shares(first, second, share)`: how much two task vectors meet in one tensor.

- `first` and `second` are float32 tensors of the same shape: a vector, a matrix, or with more
  dimensions, with at least one entry.
- An entry counts as **changed** by a task vector if it belongs to the top `share` of that task
  vector's own magnitudes (absolute values), over the tensor as a whole. `share` is a number from
  0 to 1. Of `n` entries that is `k = floor(share * n + 0.5)`, but at least one when `share` is
  above 0, and none when it is 0. Entries that tie with the k-th largest magnitude count, too. An
  entry of exactly 0 never counts as changed.
- Return a dict with four numbers, each a share of **all** entries, from 0 to 1:
  `"neither"` (changed by neither), `"one only"` (by exactly one of them), `"same direction"` (by
  both, with equal signs), `"opposite"` (by both, with opposite signs). They add up to 1.
- Do not change the inputs.
"""

HINTS = (
    "First make a mask for each task vector: its magnitude is at least the k-th largest, and it is "
    "not zero. Then combine the two masks: `&` is both, `^` is exactly one.",
    "With masks `x` and `y`: `same = x & y & (first.sign() == second.sign())`. The mean of a mask "
    "is its share: `float(same.float().mean())`.",
)


def overlap_shares(first: Tensor, second: Tensor, share: float) -> Shares:
    """Shares of entries changed by neither, by one, by both alike, and by both in opposition.

    >>> shares = overlap_shares(torch.tensor([3.0, 2.0, 0.1]), torch.tensor([4.0, 0.2, 0.1]), 1 / 3)
    >>> {kind: round(value, 2) for kind, value in shares.items()}
    {'neither': 0.67, 'one only': 0.0, 'same direction': 0.33, 'opposite': 0.0}
    """
    return shares_of(trim(first, share), trim(second, share))


def shares_of(first: Tensor, second: Tensor) -> Shares:
    """The four shares, once everything that did not count as changed is zero."""
    product = first.sign() * second.sign()
    both = product != 0
    found = ((first == 0) & (second == 0), (first != 0) ^ (second != 0), product > 0, product < 0)
    assert int(both.sum()) == int(found[2].sum() + found[3].sum())
    return dict(zip(KINDS, (float(each.double().mean()) for each in found), strict=True))


# Wrong implementations ---------------------------------------------------------------------------


def share_as_threshold(first: Tensor, second: Tensor, share: float) -> Shares:
    return shares_of(*(torch.where(d.abs() >= share, d, 0.0) for d in (first, second)))


def one_threshold_for_both(first: Tensor, second: Tensor, share: float) -> Shares:
    return shares_of(*trim(torch.stack([first, second]), share))


def row_by_row(first: Tensor, second: Tensor, share: float) -> Shares:
    def rows(delta: Tensor) -> Tensor:
        if delta.dim() < 2:
            return trim(delta, share)
        return torch.stack([rows(row) for row in delta])

    return shares_of(rows(first), rows(second))


def signed_values(first: Tensor, second: Tensor, share: float) -> Shares:
    def top(delta: Tensor) -> Tensor:
        k = kept(delta.numel(), share)
        if k == 0:
            return torch.zeros_like(delta)
        limit = delta.flatten().sort(descending=True).values[k - 1]
        return torch.where(delta >= limit, delta, 0.0)

    return shares_of(top(first), top(second))


def smallest(first: Tensor, second: Tensor, share: float) -> Shares:
    def bottom(delta: Tensor) -> Tensor:
        return delta - trim(delta, 1 - share)

    return shares_of(bottom(first), bottom(second))


def shares_of_the_changed(first: Tensor, second: Tensor, share: float) -> Shares:
    found = overlap_shares(first, second, share)
    changed = 1 - found["neither"]
    if changed == 0:
        return found
    return {k: found[k] / (1 if k == "neither" else changed) for k in KINDS}


def counts(first: Tensor, second: Tensor, share: float) -> Shares:
    found = overlap_shares(first, second, share)
    return {kind: float(round(value * first.numel())) for kind, value in found.items()}


def percent(first: Tensor, second: Tensor, share: float) -> Shares:
    return {kind: 100 * value for kind, value in overlap_shares(first, second, share).items()}


def at_least_one(first: Tensor, second: Tensor, share: float) -> Shares:
    found = overlap_shares(first, second, share)
    return {**found, "one only": 1 - found["neither"]}


def sides_swapped(first: Tensor, second: Tensor, share: float) -> Shares:
    return overlap_shares(first, -second, share)


def signs_before_the_cut(first: Tensor, second: Tensor, share: float) -> Shares:
    found = overlap_shares(first, second, share)
    product = first * second
    same, opposite = (float(m.double().mean()) for m in (product > 0, product < 0))
    return {**found, "same direction": same, "opposite": opposite}


def strict_inequality(first: Tensor, second: Tensor, share: float) -> Shares:
    def above(delta: Tensor) -> Tensor:
        k = kept(delta.numel(), share)
        if k == 0:
            return torch.zeros_like(delta)
        limit = delta.abs().flatten().sort(descending=True).values[k - 1]
        return torch.where(delta.abs() > limit, delta, 0.0)

    return shares_of(above(first), above(second))


def ties_cut_off(first: Tensor, second: Tensor, share: float) -> Shares:
    def exactly(delta: Tensor) -> Tensor:
        flat = delta.flatten()
        chosen = flat.abs().sort(descending=True, stable=True).indices[: kept(len(flat), share)]
        result = torch.zeros_like(flat)
        result[chosen] = flat[chosen]
        return result.reshape(delta.shape)

    return shares_of(exactly(first), exactly(second))


def zeros_count_as_changed(first: Tensor, second: Tensor, share: float) -> Shares:
    def mask(delta: Tensor) -> Tensor:
        k = kept(delta.numel(), share)
        if k == 0:
            return torch.zeros_like(delta, dtype=torch.bool)
        return delta.abs() >= delta.abs().flatten().sort(descending=True).values[k - 1]

    x, y = mask(first), mask(second)
    alike = first.sign() == second.sign()
    found = (~x & ~y, x ^ y, x & y & alike, x & y & ~alike)
    return dict(zip(KINDS, (float(each.double().mean()) for each in found), strict=True))


def rounded_down(first: Tensor, second: Tensor, share: float) -> Shares:
    def down(delta: Tensor) -> Tensor:
        k = max(1, int(share * delta.numel())) if share else 0
        return trim(delta, k / delta.numel())

    return shares_of(down(first), down(second))


def in_place(first: Tensor, second: Tensor, share: float) -> Shares:
    for delta in (first, second):
        delta.copy_(trim(delta, share) + 0.0)
        delta.mul_(2.0)
    return shares_of(first, second)


def kept(n: int, share: float) -> int:
    """k of the contract, written once more so that the wrong versions can share it."""
    return 0 if share == 0 else max(1, math.floor(share * n + 0.5))


WRONG = (
    Misconception(
        "share as a threshold",
        share_as_threshold,
        "You compared magnitudes with `share` itself: it is a share of the entries, and the "
        "threshold is the k-th largest magnitude.",
    ),
    Misconception(
        "one threshold for both",
        one_threshold_for_both,
        "You ranked both task vectors together: then the larger adapter fills the list; each one "
        "has its own top share.",
    ),
    Misconception(
        "row by row",
        row_by_row,
        "You took the top share of every row: rank the entries of the tensor as a whole.",
    ),
    Misconception(
        "largest values, not magnitudes",
        signed_values,
        "You took the largest values, so that large negative changes do not count: rank by "
        "magnitude (absolute value).",
    ),
    Misconception(
        "smallest changes",
        smallest,
        "You counted the smallest changes: *changed* means among the largest magnitudes.",
    ),
    Misconception(
        "shares of what changed",
        shares_of_the_changed,
        "You divided by the number of changed entries: all four are shares of all entries, so that "
        "they add up to 1.",
    ),
    Misconception(
        "counts",
        counts,
        "You returned numbers of entries: divide by the number of entries in the tensor.",
    ),
    Misconception(
        "percent",
        percent,
        "You returned percentages: a share is a number from 0 to 1.",
    ),
    Misconception(
        "at least one",
        at_least_one,
        "You counted entries that both changed under `one only` as well: it means exactly one of "
        "the two.",
    ),
    Misconception(
        "same and opposite swapped",
        sides_swapped,
        "You swapped the last two: equal signs are the same direction, also when both are "
        "negative.",
    ),
    Misconception(
        "signs of entries that do not count",
        signs_before_the_cut,
        "You compared the signs of all entries: only those that both task vectors changed count, "
        "after the cut.",
    ),
    Misconception(
        "strict inequality",
        strict_inequality,
        "You took only magnitudes above the threshold: the k-th largest itself counts, too (`>=`, "
        "not `>`).",
    ),
    Misconception(
        "ties cut off",
        ties_cut_off,
        "You took exactly k entries, so that position decides among equal magnitudes: every entry "
        "that ties with the k-th largest counts.",
        (0.5, 0.95),
    ),
    Misconception(
        "zeros count as changed",
        zeros_count_as_changed,
        "You counted entries of exactly 0 as changed: when the threshold is 0, ask for a nonzero "
        "entry as well.",
        (0.5, 0.95),
    ),
    Misconception(
        "rounded down",
        rounded_down,
        "You rounded the number of entries down: of 5 entries, a half is 3, because 2.5 is rounded "
        "up.",
        (0.5, 0.95),
    ),
    Misconception(
        "in place",
        in_place,
        "You wrote into the task vectors: the caller still needs them; work on masks or copies.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_loop(first: Tensor, second: Tensor, share: float) -> Shares:
    rows = [delta.flatten().tolist() for delta in (first, second)]
    k = kept(len(rows[0]), share)
    limits = [sorted(map(abs, row))[-k] if k else math.inf for row in rows]
    tally = dict.fromkeys(KINDS, 0)
    for pair in zip(*rows, strict=True):
        changed = [v != 0 and abs(v) >= limit for v, limit in zip(pair, limits, strict=True)]
        if all(changed):
            tally["same direction" if pair[0] * pair[1] > 0 else "opposite"] += 1
        else:
            tally["one only" if any(changed) else "neither"] += 1
    return {kind: number / len(rows[0]) for kind, number in tally.items()}


def by_topk(first: Tensor, second: Tensor, share: float) -> Shares:
    k = kept(first.numel(), share)
    signs = []
    for delta in (first, second):
        flat = delta.reshape(-1).clone()
        limit = flat.abs().topk(k).values.min() if k else torch.tensor(math.inf)
        flat[flat.abs() < limit] = 0
        signs.append(flat.sign())
    same, opposite = ((signs[0] * signs[1] == s).float().mean().item() for s in (1, -1))
    both = same + opposite
    one = sum(sign.abs().mean().item() for sign in signs) - 2 * both
    return {
        "opposite": opposite,
        "same direction": same,
        "one only": one,
        "neither": 1 - one - both,
    }


def t(*values: float) -> Tensor:
    return torch.tensor(values)


FIRST = t(0.50, -0.40, 0.30, 0.02, -0.60, 0.01, 0.70, -0.03)
SECOND = t(0.60, 0.70, 0.01, 0.02, -0.80, 0.03, 0.04, 0.50)

VISIBLE = (
    Case("a plain pair", (FIRST, SECOND, 0.5), core=True),
    Case("a plain pair", (FIRST, SECOND, 0.25), core=True),
    Case("a plain pair", (SECOND, -FIRST, 0.75), core=True),
    Case("one large and one small task vector", (FIRST, SECOND / 100, 0.5), core=True),
    Case(
        "a matrix",
        (
            torch.tensor([[0.9, 0.8, 0.7], [0.1, -0.2, -0.3]]),
            torch.tensor([[-0.5, 0.1, 0.2], [0.3, -0.8, 0.9]]),
            0.5,
        ),
        core=True,
    ),
    Case("equal magnitudes at the threshold", (t(1.0, -1.0, 1.0, 2.0), t(3.0, 1.0, 2.0, 0.5), 0.5)),
    Case("entries that are zero", (t(0.0, 0.0, 1.0, 0.0), t(2.0, 0.0, -1.0, 0.0), 0.5)),
    Case("a count that is not whole", (t(5.0, 4.0, 3.0, 2.0, 1.0), t(-3.0, 5.0, -4.0, 1, 2), 0.5)),
    Case("a share of 0", (FIRST, SECOND, 0.0)),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"interference/overlap_shares/{seed}")
    share = draw.random.choice((0.2, 0.3, 0.4))

    def pair(*shape: int) -> tuple[Tensor, Tensor]:
        return draw.distinct(*shape), draw.distinct(*shape)

    first, second = pair(40)
    return [
        Case("a plain pair", (*pair(60), 0.5), core=True),
        Case("a plain pair", (*pair(50), share), core=True),
        Case("one large and one small task vector", (first, second / 64, 0.5), core=True),
        Case("a matrix", (*pair(6, 10), 0.5), core=True),
        Case("more than two dimensions", (*pair(2, 5, 6), 0.6)),
        Case("a count that is not whole", (*pair(15), 0.5), weight=2),
        Case("a count that is not whole", (*pair(25), 0.3), weight=2),
        Case("equal magnitudes at the threshold", (draw.few(30), draw.few(30), share), weight=2),
        Case("equal magnitudes at the threshold", (draw.few(4, 6), draw.few(4, 6), 0.5), weight=2),
        Case("entries that are zero", (draw.grid(30, zeros=0.8), draw.grid(30, zeros=0.8), 0.5)),
        Case("a task vector of zeros", (torch.zeros(12), draw.distinct(12), 0.5)),
        Case("opposite task vectors", (first, -first, share)),
        Case("a share of 1", (*pair(20), 1.0)),
        Case("a share of 0", (*pair(3, 4), 0.0)),
        Case("a very small share", (*pair(12), 0.001)),
        Case("a single entry", (*pair(1), 0.5)),
        Case("transposed matrices", (*(delta.T for delta in pair(5, 8)), 0.5)),
    ]


OVERLAP_SHARES = Exercise(
    id="interference/overlap_shares",
    lesson="01_interference",
    title="overlap shares",
    signature="overlap_shares(first, second, share)",
    contract=CONTRACT,
    example="With `first = tensor([0.5, -0.4, 0.01, 0.02])`, `second = tensor([0.6, 0.3, 0.02, "
    '0.01])` and `share=0.5`, each changes the first two entries: `{"neither": 0.5, "one only": '
    '0.0, "same direction": 0.25, "opposite": 0.25}`.',
    reference=overlap_shares,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(2, 4),
    minutes=9,
    difficulty=2,
    misconceptions=WRONG,
    alternatives={"by loop": by_loop, "by topk": by_topk},
    hints=HINTS,
    equivalent={
        "cf5f04/forgotten/1": PLAIN_NUMBER,
        "c3704e/forgotten/1": PLAIN_NUMBER,
        "b25482/forgotten/1": PLAIN_NUMBER,
        "8994cd/forgotten/1": PLAIN_NUMBER,
    },
)
