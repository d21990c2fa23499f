"""Exercise `radix_threshold`: the k-th largest magnitude of many parts, by counting."""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from autograder.cases import Draw
from autograder.exercise import EXACT, Case, Exercise, Misconception, Points

MAGNITUDE = 0x7FFFFFFF  # all bits but the sign
PARTS, PART = 8, 1 << 13
LARGEST = 1 << 17  # bytes: twice a part in int64, half of all parts in fp32

CONTRACT = """
Write `radix_threshold(parts, k)`: the k-th largest magnitude (absolute value) among all numbers of
all parts, exactly.

- `parts` is a list of one or more float32 tensors of any shape and size, in any order; some may be
  empty. Together they hold n ≥ 1 finite numbers: the parts of one task vector, as a merge reads
  them. `k` is a whole number from 1 to n; equal magnitudes count as often as they occur.
- Return one number, the magnitude itself: not its bits, and never negative.
- Some cases have eight parts of 8,192 numbers. There, no tensor that your function makes may be
  larger than **131,072 bytes** (a part in int64 takes 65,536; all parts in float32 take 262,144).
  So you can neither put all parts together nor sort them: go over the parts, count, and keep only
  the counts. Keep the numbers in tensors, not in Python lists.
- Do not change the parts.

How: the bits of a magnitude, read as a whole number, rise with the magnitude.
`part.view(torch.int32) & 0x7FFFFFFF` gives that whole number, without the sign. Take it as four
digits of 8 bits. In each of four rounds, count how often each value of the current digit occurs
**among the numbers that have the digits already found**; walk down from digit 255 until the counts
reach the rank you look for; subtract what you passed from the rank.
"""

HINTS = (
    "Keep two things between rounds: `found`, the leading digits so far as one whole number, and "
    "`rank`, which k has become. In the round with `shift` in (24, 16, 8, 0), only numbers with "
    "`bits >> (shift + 8) == found` count (in the first round that holds for all).",
    "One round: add up `torch.bincount((bits[same] >> shift) & 255, minlength=256)` over the "
    "parts. Then `digit = 255`; `while counts[digit] < rank: rank -= counts[digit]; digit -= 1`; "
    "`found = (found << 8) | digit`. After four rounds `found` is the bits of the answer: "
    "`torch.tensor(found, dtype=torch.int32).view(torch.float32).item()`.",
)


def bits_of(part: Tensor) -> Tensor:
    return part.flatten().view(torch.int32) & MAGNITUDE


def as_number(bits: int) -> float:
    return torch.tensor(bits, dtype=torch.int32).view(torch.float32).item()


def search(parts: Sequence[Tensor], k: int, *, drops: bool = True, narrows: bool = True) -> float:
    """Digit by digit; `drops` and `narrows` can be switched off for the wrong versions."""
    found, rank = 0, k
    for shift in (24, 16, 8, 0):
        counts = torch.zeros(256, dtype=torch.int64)
        for part in parts:
            bits = bits_of(part)
            if narrows:
                bits = bits[(bits >> shift >> 8) == found]
            counts += torch.bincount((bits >> shift) & 255, minlength=256)
        often, digit = counts.tolist(), 255
        while digit > 0 and often[digit] < rank:
            rank -= often[digit]
            digit -= 1
        if not drops:
            rank = k
        found = (found << 8) | digit
    return as_number(found)


def radix_threshold(parts: Sequence[Tensor], k: int) -> float:
    """The k-th largest magnitude of all parts, by four rounds of counting.

    >>> radix_threshold([torch.tensor([3.0, -1.0]), torch.tensor([2.0, -5.0])], 2)
    3.0
    """
    return search(parts, k)


def together(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts]).abs()


# Wrong implementations ---------------------------------------------------------------------------


def sorts_all(parts, k):
    return float(together(parts).sort(descending=True).values[k - 1])


def signed_values(parts, k):
    values = torch.cat([part.flatten() for part in parts])
    return float(values.sort(descending=True).values[k - 1])


def kth_smallest(parts, k):
    return float(together(parts).sort().values[k - 1])


def counts_from_zero(parts, k):
    ordered = together(parts).sort(descending=True).values
    return float(ordered[min(k, len(ordered) - 1)])


def one_too_few(parts, k):
    return float(together(parts).sort(descending=True).values[max(k - 2, 0)])


def first_part_only(parts, k):
    values = next((part for part in parts if part.numel()), parts[0]).flatten().abs()
    return float(values.sort(descending=True).values[min(k, len(values)) - 1])


def mean_of_parts(parts, k):
    share = k / sum(part.numel() for part in parts)
    found = []
    for part in parts:
        if part.numel():
            rank = min(part.numel(), max(1, round(share * part.numel())))
            found.append(float(part.flatten().abs().sort(descending=True).values[rank - 1]))
    return sum(found) / len(found)


def rank_never_falls(parts, k):
    return search(parts, k, drops=False)


def forgets_found_digits(parts, k):
    return search(parts, k, narrows=False)


def two_digits_only(parts, k):
    bits = torch.tensor(search(parts, k)).view(torch.int32)
    return float((bits & 0x7FFF0000).view(torch.float32))


def returns_bits(parts, k):
    return int(torch.tensor(search(parts, k)).view(torch.int32))


def distinct_only(parts, k):
    ordered = together(parts).unique().flip(0)
    return float(ordered[min(k, len(ordered)) - 1])


def in_place(parts, k):
    for part in parts:
        part.abs_()
    return search(parts, k)


WRONG = (
    Misconception(
        "puts all parts together",
        sorts_all,
        "Right number, but your function makes a tensor about as large as all parts together: go "
        "over the parts one at a time and keep only counts.",
    ),
    Misconception(
        "signed values",
        signed_values,
        "You ranked the signed values, so large negative numbers are lost: remove the sign bit "
        "with `& 0x7FFFFFFF`.",
    ),
    Misconception(
        "k-th smallest",
        kth_smallest,
        "You found the k-th smallest magnitude: walk down from the largest digit, 255, not up from "
        "0.",
    ),
    Misconception(
        "one too far",
        counts_from_zero,
        "You went one number too far: k = 1 asks for the largest magnitude, so stop at the first "
        "digit at which the counts reach the rank.",
    ),
    Misconception(
        "one too few",
        one_too_few,
        "You stopped one number too early: k = 2 asks for the second largest magnitude.",
    ),
    Misconception(
        "first part only",
        first_part_only,
        "You looked at one part only: the counts of all parts are added up before you choose a "
        "digit.",
    ),
    Misconception(
        "mean of the parts",
        mean_of_parts,
        "You took a threshold in each part and averaged: parts can have very different sizes of "
        "changes, so add up their counts and choose one digit for all.",
    ),
    Misconception(
        "rank never falls",
        rank_never_falls,
        "You looked for rank k in every round: subtract the counts of the digits you passed, for "
        "those numbers are larger than all that are left.",
    ),
    Misconception(
        "forgets the digits found",
        forgets_found_digits,
        "In later rounds you counted all numbers again: count only those that begin with the "
        "digits already found.",
    ),
    Misconception(
        "stops after two digits",
        two_digits_only,
        "You stopped after two of four digits: the threshold is then rounded down, and too many "
        "entries lie at or above it.",
        (0.0, 0.5),
    ),
    Misconception(
        "returns the bits",
        returns_bits,
        "You returned the bits as a whole number: view them as float32 to get the magnitude.",
    ),
    Misconception(
        "counts each magnitude once",
        distinct_only,
        "You counted equal magnitudes once: each number counts, so with 5, 5, 3 the second largest "
        "is 5.",
        (0.0, 0.95),
    ),
    Misconception(
        "changes the parts",
        in_place,
        "You took the absolute value in the parts themselves: the merge still needs their signs.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_halving(parts, k):
    """One bit a round: is the k-th largest at least this?"""
    found = 0
    for bit in range(30, -1, -1):
        tried = found | (1 << bit)
        if sum(int((bits_of(part) >= tried).sum()) for part in parts) >= k:
            found = tried
    return as_number(found)


def with_numpy(parts, k):
    import numpy as np

    flat = [np.abs(part.contiguous().numpy()).ravel().view(np.uint32) for part in parts]
    prefix, rank = 0, k
    for shift in (24, 16, 8, 0):
        counts = np.zeros(256, dtype=np.int64)
        for bits in flat:
            same = (bits.astype(np.int64) >> (shift + 8)) == prefix
            counts += np.bincount((bits[same] >> shift) & 255, minlength=256)
        for digit in range(255, -1, -1):
            if counts[digit] >= rank:
                break
            rank -= int(counts[digit])
        prefix = prefix * 256 + digit
    return torch.tensor(float(np.uint32(prefix).view(np.float32)))


def numbers(*values: float) -> Tensor:
    return torch.tensor(values)


@cache
def large(seed: int) -> tuple[Tensor, ...]:
    """Parts whose numbers have quite different sizes, as the tensors of a model do."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(PART, generator=generator) * 2.0 ** (n % 5 - 6) for n in range(PARTS))


def large_case(seed: int, k: int) -> Case:
    return Case("many parts, little memory", (list(large(seed)), k), core=True, largest=LARGEST)


VISIBLE = (
    Case("one part", ([numbers(3.0, 1.0, 2.0, 5.0)], 2), core=True),
    Case("one part", ([numbers(0.25, 1.5, 1.75, 0.5, 1.625)], 3), core=True),
    Case("negative numbers", ([numbers(3.0, -1.0, 2.0, -5.0)], 1), core=True),
    Case(
        "several parts",
        ([numbers(1.0, -8.0), numbers(0.5), numbers(4.0, -2.0, 6.0)], 3),
        core=True,
    ),
    Case("numbers that are close", ([numbers(1.0, 1.0000002, 1.0000001, 0.9999999)], 2), weight=2),
    Case("equal magnitudes", ([numbers(5.0, -5.0, 3.0), numbers(3.0, 1.0)], 2), weight=2),
    Case("the smallest and the largest rank", ([numbers(2.0, -7.0, 0.0)], 3)),
    Case("the smallest and the largest rank", ([numbers(2.0, -7.0, 0.0)], 1)),
    Case("empty parts", ([torch.zeros(0), numbers(2.0, 1.0), torch.zeros(0, 3)], 1)),
    large_case(0, PARTS * PART // 2),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"memory/radix_threshold/{seed}")
    random = draw.random
    total = PARTS * PART

    def close(count: int) -> Tensor:
        """Numbers that differ in their last bits only."""
        first = torch.tensor(random.uniform(0.5, 2.0)).view(torch.int32)
        steps = torch.tensor(random.sample(range(200), count), dtype=torch.int32)
        return (first + steps).view(torch.float32)

    sizes = [draw.distinct(20) * scale for scale in (1.0, 0.001, 1000.0)]
    random.shuffle(sizes)
    tied, seeds = random.randrange(30, 40), random.randrange(1, 1000)
    return [
        Case("one part", ([draw.distinct(40)], random.randrange(5, 35)), core=True),
        Case("one part", ([draw.distinct(25).abs()], random.randrange(5, 20)), core=True),
        Case("negative numbers", ([-draw.distinct(30).abs()], random.randrange(5, 25)), core=True),
        Case("several parts", ([draw.distinct(n) for n in (7, 12, 1, 20)], 15), core=True),
        Case("several parts", (sizes, random.randrange(25, 36)), core=True),
        Case("matrices", ([draw.distinct(4, 6), draw.distinct(2, 3, 5)], 21)),
        Case("a transposed matrix", ([draw.distinct(5, 8).T, draw.distinct(24)[::2]], 17)),
        Case("numbers that are close", ([close(20), close(20)], random.randrange(3, 38)), weight=3),
        Case("numbers that are close", ([close(30)], random.randrange(3, 28)), weight=3),
        Case("equal magnitudes", ([draw.few(20), draw.few(4, 6)], tied), weight=3),
        Case("zeros", ([draw.grid(30, zeros=0.7)], 28), weight=2),
        Case("zeros", ([torch.zeros(5), torch.zeros(2, 2)], 4), weight=2),
        Case("the smallest and the largest rank", ([draw.distinct(12), draw.distinct(9)], 1)),
        Case("the smallest and the largest rank", ([draw.distinct(12), draw.distinct(9)], 21)),
        Case("very large and very small numbers", ([numbers(3e38, -1e-42, 1e-30, -2e20)], 3)),
        Case("a single number", ([numbers(-0.625)], 1)),
        Case("empty parts", ([torch.zeros(0), draw.distinct(9), torch.zeros(0, 3)], 4)),
        large_case(seeds, total // 2 + random.randrange(-999, 999)),
        large_case(seeds, random.randrange(total // 3, total // 2)),
    ]


RADIX_THRESHOLD = Exercise(
    id="memory/radix_threshold",
    lesson="07_memory_and_kernels",
    title="a threshold by counting",
    signature="radix_threshold(parts, k)",
    contract=CONTRACT,
    example="`radix_threshold([tensor([3., -1.]), tensor([2., -5.])], 2)` returns `3.0`: the "
    "magnitudes are 5, 3, 2, 1.",
    reference=radix_threshold,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 5),
    minutes=10,
    difficulty=3,
    misconceptions=WRONG,
    alternatives={"by halving": by_halving, "with numpy": with_numpy},
    hints=HINTS,
    tolerance=EXACT,
    equivalent={
        "d73fd6/keyword/1": (
            "Differs only where more than 2**24 numbers share a digit: a case of that size "
            "would take too long."
        ),
        "e4ba72/forgotten/2": (
            "Computes the same: a view of another type keeps any shape, and the mask flattens "
            "what it selects."
        ),
    },
)
