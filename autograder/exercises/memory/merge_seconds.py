"""Exercise `merge_seconds`: the bytes a merge moves, and the time that takes."""

from autograder.cases import Draw
from autograder.exercise import Case, Exercise, Misconception, Points

CONTRACT = """
Write `merge_seconds(entries, sources, bandwidth, fused=True, stored=4)`: how long
`base + w1 * d1 + w2 * d2 + ...` must take if only the bytes count that go from and to memory.

`entries` is the number of entries of the base and of each of the `sources` task vectors (at least
1 of them); `bandwidth` is in bytes per second. In memory a number takes `stored` bytes: 4
(float32) or 2 (bfloat16); all arithmetic is in float32. The weights are a few numbers and count
nothing.

- **Fused**: one pass. Base and task vectors are each read once as they are stored, and the result
  is written once in the same form.
- **Plain** (`fused=False`): every operation is a pass of its own, which reads its inputs from
  memory and writes its result to memory.
  1. Only if `stored` is 2: the base and each task vector are converted: read 2 bytes, write 4, for
     each entry.
  2. For each source: `w * d` reads one float32 tensor and writes one; adding that to the sum so
     far reads two and writes one. The sum starts as the base itself, which costs nothing.
  3. Only if `stored` is 2: the result is rounded: read 4 bytes, write 2.

Return the seconds, a number.
"""

HINTS = (
    "Count bytes for a single entry first; multiply by `entries` and divide by `bandwidth` at the "
    "end.",
    "Per entry, fused: `(sources + 2) * stored`. Plain: each source costs `(1 + 1) + (2 + 1)` "
    "float32 numbers, 20 bytes; with `stored=2` add 6 bytes for each of the `sources + 1` inputs "
    "and 6 for the result.",
)


def merge_seconds(
    entries: int, sources: int, bandwidth: float, fused: bool = True, stored: int = 4
) -> float:
    """The time of a merge that only memory holds up, in seconds.

    >>> merge_seconds(1000, 2, 16_000), merge_seconds(1000, 2, 16_000, fused=False)
    (1.0, 2.5)
    """
    if fused:
        each = (sources + 2) * stored
    else:
        each = 20 * sources + (6 * (sources + 2) if stored == 2 else 0)
    return entries * each / bandwidth


def seconds(entries, bandwidth, each):
    return entries * each / bandwidth


# Wrong implementations ---------------------------------------------------------------------------


def plain_as_fused(entries, sources, bandwidth, fused=True, stored=4):
    return merge_seconds(entries, sources, bandwidth, True, stored)


def forgets_writes(entries, sources, bandwidth, fused=True, stored=4):
    if fused:
        return seconds(entries, bandwidth, (sources + 1) * stored)
    extra = 2 * (sources + 1) + 4 if stored == 2 else 0
    return seconds(entries, bandwidth, 12 * sources + extra)


def forgets_base(entries, sources, bandwidth, fused=True, stored=4):
    if fused:
        return seconds(entries, bandwidth, (sources + 1) * stored)
    return merge_seconds(entries, sources, bandwidth, False, stored)


def sum_stays_near(entries, sources, bandwidth, fused=True, stored=4):
    whole = merge_seconds(entries, sources, bandwidth, fused, stored)
    return whole if fused else whole - seconds(entries, bandwidth, 4 * sources)


def products_stay_near(entries, sources, bandwidth, fused=True, stored=4):
    whole = merge_seconds(entries, sources, bandwidth, fused, stored)
    return whole if fused else whole - seconds(entries, bandwidth, 8 * sources)


def starts_from_zero(entries, sources, bandwidth, fused=True, stored=4):
    whole = merge_seconds(entries, sources, bandwidth, fused, stored)
    return whole if fused else whole + seconds(entries, bandwidth, 12)


def never_converts(entries, sources, bandwidth, fused=True, stored=4):
    if fused:
        return merge_seconds(entries, sources, bandwidth, True, stored)
    return seconds(entries, bandwidth, 20 * sources)


def passes_in_stored(entries, sources, bandwidth, fused=True, stored=4):
    if fused:
        return merge_seconds(entries, sources, bandwidth, True, stored)
    return seconds(entries, bandwidth, 5 * sources * stored)


def base_not_converted(entries, sources, bandwidth, fused=True, stored=4):
    whole = merge_seconds(entries, sources, bandwidth, fused, stored)
    return whole - seconds(entries, bandwidth, 6) if stored == 2 and not fused else whole


def writes_float32(entries, sources, bandwidth, fused=True, stored=4):
    if fused:
        return seconds(entries, bandwidth, (sources + 1) * stored + 4)
    return merge_seconds(entries, sources, bandwidth, False, stored)


def always_four_bytes(entries, sources, bandwidth, fused=True, stored=4):
    return merge_seconds(entries, sources, bandwidth, fused, 4)


def bytes_alone(entries, sources, bandwidth, fused=True, stored=4):
    return merge_seconds(entries, sources, 1.0, fused, stored)


def upside_down(entries, sources, bandwidth, fused=True, stored=4):
    return 1 / merge_seconds(entries, sources, bandwidth, fused, stored)


def numbers_not_bytes(entries, sources, bandwidth, fused=True, stored=4):
    return seconds(entries, bandwidth, sources + 2 if fused else 5 * sources)


def two_sources(entries, sources, bandwidth, fused=True, stored=4):
    return merge_seconds(entries, 2, bandwidth, fused, stored)


WRONG = (
    Misconception(
        "plain counted as fused",
        plain_as_fused,
        "You counted one pass in both cases: the plain version writes every product and every sum "
        "to memory and reads it again.",
    ),
    Misconception(
        "writes forgotten",
        forgets_writes,
        "You counted only what is read: what an operation writes goes through the same memory and "
        "takes as long.",
    ),
    Misconception(
        "base forgotten",
        forgets_base,
        "In the fused pass you left out the base: it is read once, like each task vector.",
    ),
    Misconception(
        "sum so far not read",
        sum_stays_near,
        "In the plain version the sum so far lies in memory, too: adding a product to it reads two "
        "tensors and writes one.",
    ),
    Misconception(
        "products not stored",
        products_stay_near,
        "In the plain version each product is a tensor of its own: it is written to memory by one "
        "operation and read from there by the next.",
    ),
    Misconception(
        "starts from zeros",
        starts_from_zero,
        "You added the base in a pass of its own: the sum starts as the base itself, so that costs "
        "nothing.",
    ),
    Misconception(
        "no conversions",
        never_converts,
        "With `stored=2` the plain version converts every input to float32 before it computes, and "
        "rounds the result at the end: those are passes, too.",
        (0.5, 0.95),
    ),
    Misconception(
        "computes in the stored type",
        passes_in_stored,
        "With `stored=2` you let the plain version compute in 2 bytes: arithmetic is in float32, "
        "so products and sums take 4 bytes, and conversions come on top.",
        (0.5, 0.95),
    ),
    Misconception(
        "one conversion forgotten",
        base_not_converted,
        "With `stored=2` you left out 6 bytes an entry: each of the `sources + 1` inputs is "
        "converted, the base as well, and the result is rounded at the end.",
        (0.5, 0.95),
    ),
    Misconception(
        "fused writes float32",
        writes_float32,
        "Your fused pass writes 4 bytes an entry: the result is stored like the inputs, in "
        "`stored` bytes.",
        (0.5, 0.95),
    ),
    Misconception(
        "always 4 bytes",
        always_four_bytes,
        "You counted 4 bytes a number whatever `stored` says: the fused pass reads and writes "
        "numbers as they are stored.",
        (0.5, 0.95),
    ),
    Misconception(
        "bytes instead of seconds",
        bytes_alone,
        "You returned bytes: divide them by the bandwidth to get seconds.",
    ),
    Misconception(
        "upside down",
        upside_down,
        "You divided the bandwidth by the bytes: seconds are bytes divided by bytes per second.",
    ),
    Misconception(
        "numbers instead of bytes",
        numbers_not_bytes,
        "You counted numbers, not bytes: a float32 number takes four of them.",
    ),
    Misconception(
        "two sources only",
        two_sources,
        "You counted two sources: there may be one, three or more.",
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_loop(entries, sources, bandwidth, fused=True, stored=4):
    reads = writes = 0
    if fused:
        for _ in range(sources + 1):
            reads += entries * stored
        writes += entries * stored
        return (reads + writes) / bandwidth
    if stored != 4:
        for _ in range(sources + 1):
            reads, writes = reads + 2 * entries, writes + 4 * entries
    for _ in range(sources):
        reads, writes = reads + 4 * entries, writes + 4 * entries
        reads, writes = reads + 8 * entries, writes + 4 * entries
    if stored != 4:
        reads, writes = reads + 4 * entries, writes + 2 * entries
    return reads / bandwidth + writes / bandwidth


def per_entry(entries, sources, bandwidth, fused=True, stored=4):
    plain = {4: 20 * sources, 2: 26 * sources + 12}[stored]
    return entries / bandwidth * ((2 + sources) * stored if fused else plain)


VISIBLE = (
    Case("one fused pass", (1000, 2, 16_000.0), core=True),
    Case("one fused pass", (1000, 3, 1000.0), core=True),
    Case("pass by pass", (1000, 2, 16_000.0, False), core=True),
    Case("pass by pass", (100, 1, 1000.0, False), core=True),
    Case("bfloat16, fused", (1000, 2, 16_000.0, True, 2), weight=2),
    Case("bfloat16, pass by pass", (1000, 2, 1000.0, False, 2), weight=3),
    Case("bfloat16, pass by pass", (100, 1, 1000.0, False, 2), weight=3),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"memory/merge_seconds/{seed}").random

    def call(sources: int, *more: object) -> tuple[object, ...]:
        return (draw.randrange(10**4, 10**6), sources, draw.randrange(1, 90) * 1e4, *more)

    return [
        Case("one fused pass", call(2), core=True),
        Case("one fused pass", call(draw.randrange(3, 12)), core=True),
        Case("pass by pass", call(2, False), core=True),
        Case("pass by pass", call(draw.randrange(3, 12), False), core=True),
        Case("a single source", call(1)),
        Case("a single source", call(1, False)),
        Case("bfloat16, fused", call(draw.randrange(3, 9), True, 2), weight=3),
        Case("bfloat16, pass by pass", call(2, False, 2), weight=4),
        Case("bfloat16, pass by pass", call(draw.randrange(3, 9), False, 2), weight=4),
        Case("8 billion entries at 10 GB/s", (8_000_000_000, 2, 1e10, draw.random() < 0.5, 2)),
    ]


MERGE_SECONDS = Exercise(
    id="memory/merge_seconds",
    lesson="07_memory_and_kernels",
    title="the time that the bytes take",
    signature="merge_seconds(entries, sources, bandwidth, fused=True, stored=4)",
    contract=CONTRACT,
    example="1,000 entries, 2 sources, 16,000 bytes per second. Fused: (2 + 1) reads and 1 write "
    "of 4 bytes, 16 bytes an entry: `1.0` seconds. Plain: 2 · (2 + 3) numbers of 4 bytes, 40 bytes "
    "an entry: `2.5` seconds.",
    reference=merge_seconds,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 3),
    minutes=5,
    difficulty=1,
    misconceptions=WRONG,
    alternatives={"by loop": by_loop, "per entry": per_entry},
    hints=HINTS,
)
