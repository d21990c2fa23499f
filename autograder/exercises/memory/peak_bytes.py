"""Exercise `peak_bytes`: how much memory a merge needs, all at once or tensor by tensor."""

from collections.abc import Sequence

from autograder.cases import Draw
from autograder.exercise import Case, Exercise, Misconception, Points

Shapes = Sequence[tuple[int, int]]

CONTRACT = """
Write `peak_bytes(shapes, sources, rank=None, bits=16, one_by_one=False, rows=None)`: the bytes that
are in memory at the peak of a merge. `shapes` is a list of one or more pairs `(m, n)`, the matrices
of the base; `sources` is the number of models merged into it, at least 1.

For one matrix of m rows and n columns, these are in memory together:

- the **base's matrix**, `bits` bits for each of its m · n numbers (16, 8 or 4; 8 bits are a byte);
- for **each source** what is stored of it. A full fine-tune (`rank=None`): 2 bytes for each of
  m · n numbers. An adapter of rank r (`rank=r`): its two factors, m × r and r × n, 4 bytes for
  each of their numbers;
- **work copies** in float32, 4 bytes a number: one task vector for each source, and one for the
  result. They have n columns and m rows, or, if `rows` is given, at most `rows` rows at a time.

If `one_by_one` is `False`, everything is loaded before merging starts: the matrices add up, and
`rows` is ignored. If it is `True`, one matrix is finished and let go before the next is read: the
peak is that of the most expensive matrix.

Return one number.
"""

HINTS = (
    "Write a helper that gives the bytes of *one* matrix. Then either add up over all of them or "
    "take the largest.",
    "For one matrix, with `p = m if rows is None else min(rows, m)`: `m * n * bits / 8`, plus "
    "`sources` times `2 * m * n` or `4 * rank * (m + n)`, plus `4 * (sources + 1) * p * n`.",
)


def of_one(
    shape: tuple[int, int],
    sources: int,
    rank: int | None,
    bits: int,
    rows: int | None = None,
    *,
    copies: int | None = None,
) -> float:
    """The bytes of one matrix; `copies`: how many work copies there are."""
    m, n = shape
    part = m if rows is None else min(rows, m)
    stored = 2 * m * n if rank is None else 4 * rank * (m + n)
    copies = sources + 1 if copies is None else copies
    return m * n * bits / 8 + sources * stored + 4 * copies * part * n


def peak_bytes(
    shapes: Shapes,
    sources: int,
    rank: int | None = None,
    bits: int = 16,
    one_by_one: bool = False,
    rows: int | None = None,
) -> float:
    """The bytes in memory at the peak of a merge, as the contract counts them.

    >>> peak_bytes([(100, 10)], 1), peak_bytes([(100, 10)], 1, one_by_one=True, rows=5)
    (12000.0, 4400.0)
    """
    if one_by_one:
        return max(of_one(shape, sources, rank, bits, rows) for shape in shapes)
    return sum(of_one(shape, sources, rank, bits) for shape in shapes)


# Wrong implementations ---------------------------------------------------------------------------


def bits_as_bytes(shapes, sources, rank=None, bits=16, one_by_one=False, rows=None):
    return peak_bytes(shapes, sources, rank, 8 * bits, one_by_one, rows)


def ignores_bits(shapes, sources, rank=None, bits=16, one_by_one=False, rows=None):
    return peak_bytes(shapes, sources, rank, 16, one_by_one, rows)


def without_base(shapes, sources, rank=None, bits=16, one_by_one=False, rows=None):
    return peak_bytes(shapes, sources, rank, 0, one_by_one, rows)


def _copies(count, shapes, sources, rank, bits, one_by_one, rows):
    together = max if one_by_one else sum
    rows = rows if one_by_one else None
    return together(of_one(s, sources, rank, bits, rows, copies=count) for s in shapes)


def without_work(shapes, sources, rank=None, bits=16, one_by_one=False, rows=None):
    return _copies(0, shapes, sources, rank, bits, one_by_one, rows)


def without_result(shapes, sources, rank=None, bits=16, one_by_one=False, rows=None):
    return _copies(sources, shapes, sources, rank, bits, one_by_one, rows)


def one_copy(shapes, sources, rank=None, bits=16, one_by_one=False, rows=None):
    return _copies(1, shapes, sources, rank, bits, one_by_one, rows)


def always_adds(shapes, sources, rank=None, bits=16, one_by_one=False, rows=None):
    return sum(of_one(s, sources, rank, bits, rows if one_by_one else None) for s in shapes)


def always_all(shapes, sources, rank=None, bits=16, one_by_one=False, rows=None):
    return peak_bytes(shapes, sources, rank, bits)


def most_entries(shapes, sources, rank=None, bits=16, one_by_one=False, rows=None):
    if not one_by_one:
        return peak_bytes(shapes, sources, rank, bits)
    largest = max(shapes, key=lambda shape: shape[0] * shape[1])
    return of_one(largest, sources, rank, bits, rows)


def multiplied_out(shapes, sources, rank=None, bits=16, one_by_one=False, rows=None):
    return peak_bytes(shapes, sources, None, bits, one_by_one, rows)


def one_factor(shapes, sources, rank=None, bits=16, one_by_one=False, rows=None):
    whole = peak_bytes(shapes, sources, rank, bits, one_by_one, rows)
    if rank is None:
        return whole
    counts = [of_one(s, sources, rank, bits, rows if one_by_one else None) for s in shapes]
    less = [c - 4 * rank * n * sources for c, (_, n) in zip(counts, shapes, strict=True)]
    return max(less) if one_by_one else sum(less)


def short_factors(shapes, sources, rank=None, bits=16, one_by_one=False, rows=None):
    # half of the bytes of a factor: as if it had half of the rank
    return peak_bytes(shapes, sources, rank and rank / 2, bits, one_by_one, rows)


def rows_beyond_end(shapes, sources, rank=None, bits=16, one_by_one=False, rows=None):
    if not one_by_one or rows is None:
        return peak_bytes(shapes, sources, rank, bits, one_by_one)
    return max(
        of_one((m, n), sources, rank, bits) + 4 * (sources + 1) * (rows - m) * n for m, n in shapes
    )


def rows_all_at_once(shapes, sources, rank=None, bits=16, one_by_one=False, rows=None):
    together = max if one_by_one else sum
    return together(of_one(shape, sources, rank, bits, rows) for shape in shapes)


def forgets_rows(shapes, sources, rank=None, bits=16, one_by_one=False, rows=None):
    return peak_bytes(shapes, sources, rank, bits, one_by_one)


def one_source(shapes, sources, rank=None, bits=16, one_by_one=False, rows=None):
    return peak_bytes(shapes, 1, rank, bits, one_by_one, rows)


WRONG = (
    Misconception(
        "bits taken for bytes",
        bits_as_bytes,
        "You counted `bits` bytes for each number of the base: eight bits are one byte, so divide "
        "by 8.",
    ),
    Misconception(
        "bits ignored",
        ignores_bits,
        "You count 2 bytes for each number of the base whatever `bits` says: a base of 4 bits "
        "takes half a byte a number.",
        (0.5, 0.95),
    ),
    Misconception(
        "base forgotten",
        without_base,
        "You left out the base's own matrix: it is in memory beside the sources and the work "
        "copies.",
    ),
    Misconception(
        "no work copies",
        without_work,
        "You counted only what is stored: the merge computes in float32, so each source has a work "
        "copy of 4 bytes a number, and the result has one.",
    ),
    Misconception(
        "no copy for the result",
        without_result,
        "You counted a work copy for each source, but none for the result: it takes one as well, "
        "so there are `sources + 1`.",
    ),
    Misconception(
        "one work copy in all",
        one_copy,
        "You counted a single work copy: the task vector of every source is there at the same "
        "time, and the result, so there are `sources + 1`.",
    ),
    Misconception(
        "adds up when one by one",
        always_adds,
        "You added the matrices up although they come one by one: a matrix is let go before the "
        "next is read, so the peak is the largest, not the sum.",
    ),
    Misconception(
        "one_by_one ignored",
        always_all,
        "You load everything at once whatever `one_by_one` says: one by one, the peak is that of "
        "the most expensive matrix alone.",
    ),
    Misconception(
        "the matrix with most entries",
        most_entries,
        "You looked only at the matrix with the most entries: with factors or with few rows at a "
        "time another one can cost more, so work out the bytes of each and take the largest.",
        (0.5, 0.95),
    ),
    Misconception(
        "adapters multiplied out",
        multiplied_out,
        "You stored adapters as if they were full models: an adapter stays as its two factors, "
        "which hold r · (m + n) numbers of 4 bytes.",
    ),
    Misconception(
        "one factor of two",
        one_factor,
        "You counted one factor of each adapter: it has two, m × r and r × n.",
    ),
    Misconception(
        "factors of 2 bytes",
        short_factors,
        "You counted 2 bytes for each number of a factor: the contract stores factors in float32, "
        "4 bytes a number.",
    ),
    Misconception(
        "more rows than there are",
        rows_beyond_end,
        "You counted `rows` rows even for a matrix that has fewer: a part never has more rows than "
        "the matrix, so take the smaller of the two.",
        (0.5, 0.95),
    ),
    Misconception(
        "rows while all is loaded",
        rows_all_at_once,
        "You used `rows` although everything is loaded at once: it only counts where matrices come "
        "one by one.",
        (0.5, 0.95),
    ),
    Misconception(
        "rows ignored",
        forgets_rows,
        "You made work copies of whole matrices: with `rows` given, a work copy holds at most that "
        "many rows at a time.",
        (0.5, 0.95),
    ),
    Misconception(
        "one source only",
        one_source,
        "You counted one source: what is stored, and the work copy, is there once for each of the "
        "`sources`.",
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_loop(shapes, sources, rank=None, bits=16, one_by_one=False, rows=None):
    total = peak = 0
    for m, n in shapes:
        here = m * n * bits // 8 if m * n * bits % 8 == 0 else m * n * bits / 8
        for _ in range(sources):
            here += 2 * m * n if rank is None else 4 * m * rank + 4 * rank * n
        height = m
        if one_by_one and rows is not None and rows < m:
            height = rows
        for _ in range(sources + 1):
            here += 4 * height * n
        total += here
        peak = max(peak, here)
    return peak if one_by_one else total


def in_bits(shapes, sources, rank=None, bits=16, one_by_one=False, rows=None):
    found = []
    for m, n in shapes:
        part = min(m, rows or m) if one_by_one else m
        stored = 16 * m * n if rank is None else 32 * (m + n) * rank
        found.append(bits * m * n + sources * stored + 32 * (sources + 1) * part * n)
    return (sorted(found)[-1] if one_by_one else sum(found)) / 8


VISIBLE = (
    Case("full fine-tunes, all at once", ([(100, 10)], 1), core=True),
    Case("full fine-tunes, all at once", ([(100, 10), (10, 10)], 2), core=True),
    Case("adapters, all at once", ([(100, 10)], 2, 3), core=True),
    Case("one by one", ([(10, 10), (100, 10), (20, 20)], 2), {"one_by_one": True}, core=True),
    Case("a base of 8 or 4 bits", ([(100, 10)], 1, None, 8), weight=2),
    Case("a base of 8 or 4 bits", ([(100, 10)], 2, 3, 4), weight=2),
    Case("a few rows at a time", ([(100, 10)], 1, None, 16, True, 5), weight=3),
    Case("a few rows at a time", ([(10, 40), (40, 10)], 2, 1, 16, True, 4), weight=3),
    Case(
        "a wide matrix beside a larger one", ([(100, 10), (10, 90)], 2, 1, 16, True, 10), weight=2
    ),
    Case("fewer rows than allowed", ([(10, 10)], 1, 2, 16, True, 64), weight=2),
    Case("`rows` with everything loaded", ([(10, 10), (5, 8)], 1), {"rows": 2}),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"memory/peak_bytes/{seed}").random

    def shapes(count: int) -> list[tuple[int, int]]:
        return [(draw.randrange(20, 400), draw.randrange(20, 400)) for _ in range(count)]

    n, rank = draw.randrange(30, 60), draw.choice((2, 4, 8))
    rows = draw.randrange(5, 15)
    wide = [(40 * n, n), (n, 30 * n)]
    return [
        Case("full fine-tunes, all at once", (shapes(5), draw.randrange(2, 6)), core=True),
        Case("adapters, all at once", (shapes(4), draw.randrange(2, 6), rank), core=True),
        Case("one by one", (shapes(6), draw.randrange(2, 6)), {"one_by_one": True}, core=True),
        Case("one by one", (shapes(6), 2, rank), {"one_by_one": True}, core=True),
        Case("a single matrix", (shapes(1), 2)),
        Case("a base of 8 or 4 bits", (shapes(3), 2, None, 8), weight=3),
        Case("a base of 8 or 4 bits", (shapes(3), 3, rank, 4), {"one_by_one": True}, weight=3),
        Case("a few rows at a time", (shapes(5), 3, None, 16, True, rows), weight=3),
        Case("a few rows at a time", (shapes(5), 2, rank, 8, True, rows), weight=3),
        Case("a wide matrix beside a larger one", (wide, 2, rank, 16, True, rows), weight=3),
        Case("fewer rows than allowed", (shapes(3), 2, rank, 16, True, 500), weight=2),
        Case("`rows` with everything loaded", (shapes(3), 2), {"rows": rows}, weight=2),
        Case("an 8B model's largest matrix", ([(14336, 4096)], 2, 16, 16, True, 64)),
    ]


PEAK_BYTES = Exercise(
    id="memory/peak_bytes",
    lesson="07_memory_and_kernels",
    title="the memory of a merge",
    signature="peak_bytes(shapes, sources, rank=None, bits=16, one_by_one=False, rows=None)",
    contract=CONTRACT,
    example="`peak_bytes([(100, 10)], sources=1)`: the base 2,000 bytes, the source 2,000, two "
    "work copies of 4,000: `12000`. With `one_by_one=True, rows=5` each work copy holds 5 rows, "
    "200 bytes: `4400`.",
    reference=peak_bytes,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 4),
    minutes=7,
    difficulty=2,
    misconceptions=WRONG,
    alternatives={"by loop": by_loop, "in bits": in_bits},
    hints=HINTS,
)
