"""Exercise `merge_program`: what one program of a merge kernel does."""

from collections.abc import Sequence

import torch
from torch import Tensor

from autograder.cases import Draw
from autograder.equivalence import WIDER
from autograder.exercise import Case, Exercise, Misconception, Points, Tolerance

Result = tuple[Tensor, Tensor, Tensor]

CONTRACT = """
Write `merge_program(program, tile, base, deltas, weights)`: the work of **one** program of a kernel
that computes `base + weights[0] * deltas[0] + weights[1] * deltas[1] + ...`.

- `base` is a flat tensor with n ≥ 1 entries, `deltas` a list of one or more tensors of the same
  length; all are float32, float16 or bfloat16. `weights` is a list with one number per delta.
- A kernel cuts the n entries into tiles of `tile` entries; program 0 has the first tile, program 1
  the next, and so on. `program` is the number of this program. The last tile may stick out beyond
  the end, and there may even be programs whose whole tile lies beyond it.

Return a tuple of three tensors, each with exactly `tile` entries:

1. the **offsets**: the numbers of the entries that belong to this program, int64; those beyond the
   end are listed as well;
2. the **mask**: true where an offset is inside the tensor, false beyond its end;
3. the **values**: the merged entries, computed and returned in float32, and 0 where the mask is
   false.

Nothing beyond the end may be read. Do not change the inputs.
"""

HINTS = (
    "`offsets = program * tile + torch.arange(tile)`. Which comparison gives the mask?",
    "Read only what is there: `inside = offsets[mask]`, then `base[inside]` and `delta[inside]`. "
    "Begin with `torch.zeros(tile)` and write the result into `values[mask]`. Convert what you "
    "read with `.float()` before you calculate.",
)


def merge_program(
    program: int, tile: int, base: Tensor, deltas: Sequence[Tensor], weights: Sequence[float]
) -> Result:
    """Offsets, mask and merged values of one program's tile, each `[tile]`.

    >>> merge_program(1, 2, torch.ones(3), [torch.ones(3)], [0.5])
    (tensor([2, 3]), tensor([ True, False]), tensor([1.5000, 0.0000]))
    """
    offsets = program * tile + torch.arange(tile)
    mask = offsets < len(base)
    total = load(base, offsets, mask)
    for weight, delta in zip(weights, deltas, strict=True):
        total = total + weight * load(delta, offsets, mask)
    return offsets, mask, torch.where(mask, total, 0.0)


def load(tensor: Tensor, offsets: Tensor, mask: Tensor) -> Tensor:
    """What a kernel's masked load gives: fp32, and 0 beyond the end."""
    found = torch.zeros(len(offsets))
    found[mask] = tensor[offsets[mask]].float()
    return found


def merged_at(offsets, base, deltas, weights, size):
    """The frame of several wrong versions: right values at offsets of their own."""
    mask = (offsets >= 0) & (offsets < size)
    total = load(base, offsets, mask)
    for weight, delta in zip(weights, deltas, strict=True):
        total = total + weight * load(delta, offsets, mask)
    return offsets, mask, torch.where(mask, total, 0.0)


# Wrong implementations ---------------------------------------------------------------------------


def always_first_tile(program, tile, base, deltas, weights):
    return merged_at(torch.arange(tile), base, deltas, weights, len(base))


def no_stride(program, tile, base, deltas, weights):
    return merged_at(program + torch.arange(tile), base, deltas, weights, len(base))


def counts_from_one(program, tile, base, deltas, weights):
    offsets = (program - 1) * tile + torch.arange(tile)
    return merged_at(offsets, base, deltas, weights, len(base))


def interleaved(program, tile, base, deltas, weights):
    programs = -(-len(base) // tile)
    offsets = program + programs * torch.arange(tile)
    return merged_at(offsets, base, deltas, weights, len(base))


def local_offsets(program, tile, base, deltas, weights):
    offsets, mask, values = merge_program(program, tile, base, deltas, weights)
    return offsets - program * tile, mask, values


def no_mask(program, tile, base, deltas, weights):
    offsets = program * tile + torch.arange(tile)
    total = base[offsets].float()
    for weight, delta in zip(weights, deltas, strict=True):
        total = total + weight * delta[offsets].float()
    return offsets, torch.ones(tile, dtype=torch.bool), total


def reads_one_beyond(program, tile, base, deltas, weights):
    offsets = program * tile + torch.arange(tile)
    mask = offsets <= len(base)
    total = base[offsets[mask]].float()
    for weight, delta in zip(weights, deltas, strict=True):
        total = total + weight * delta[offsets[mask]].float()
    values = torch.zeros(tile)
    values[mask] = total
    return offsets, mask, values


def starts_over(program, tile, base, deltas, weights):
    offsets, mask, _ = merge_program(program, tile, base, deltas, weights)
    return offsets, mask, _unmasked(offsets % len(base), base, deltas, weights)


def repeats_the_last(program, tile, base, deltas, weights):
    offsets, mask, _ = merge_program(program, tile, base, deltas, weights)
    return offsets, mask, _unmasked(offsets.clamp(max=len(base) - 1), base, deltas, weights)


def _unmasked(at, base, deltas, weights):
    total = base[at].float()
    for weight, delta in zip(weights, deltas, strict=True):
        total = total + weight * delta[at].float()
    return total


def only_inside(program, tile, base, deltas, weights):
    offsets, mask, values = merge_program(program, tile, base, deltas, weights)
    return offsets[mask], mask[mask], values[mask]


def mask_upside_down(program, tile, base, deltas, weights):
    offsets, mask, values = merge_program(program, tile, base, deltas, weights)
    return offsets, ~mask, values


def without_base(program, tile, base, deltas, weights):
    return merge_program(program, tile, torch.zeros_like(base), deltas, weights)


def without_weights(program, tile, base, deltas, weights):
    return merge_program(program, tile, base, deltas, [1.0] * len(deltas))


def averages(program, tile, base, deltas, weights):
    total = sum(weights)
    return merge_program(program, tile, base, deltas, [w / total for w in weights])


def first_delta_only(program, tile, base, deltas, weights):
    return merge_program(program, tile, base, deltas[:1], weights[:1])


def in_stored_type(program, tile, base, deltas, weights):
    offsets, mask, _ = merge_program(program, tile, base, deltas, weights)
    inside = offsets[mask]
    total = base[inside]
    for weight, delta in zip(weights, deltas, strict=True):
        total = total + weight * delta[inside]
    values = torch.zeros(tile)
    values[mask] = total.float()
    return offsets, mask, values


def in_place(program, tile, base, deltas, weights):
    result = merge_program(program, tile, base, deltas, weights)
    offsets, mask, values = result
    base[offsets[mask]] = values[mask].to(base.dtype)
    return result


WRONG = (
    Misconception(
        "always the first tile",
        always_first_tile,
        "Every program of yours works on the first tile: offsets start at `program * tile`.",
    ),
    Misconception(
        "tiles overlap",
        no_stride,
        "Your tiles overlap: program number p starts at `p * tile`, not at p.",
    ),
    Misconception(
        "programs counted from one",
        counts_from_one,
        "You counted programs from 1: they are numbered from 0, so program 1 has the second tile.",
    ),
    Misconception(
        "every so many entries",
        interleaved,
        "You dealt the entries out like cards: a tile is a run of neighbouring entries, which is "
        "what makes reading fast.",
    ),
    Misconception(
        "offsets within the tile",
        local_offsets,
        "Your offsets count from the start of the tile: they are numbers of entries in the whole "
        "tensor, so add `program * tile`.",
    ),
    Misconception(
        "no mask",
        no_mask,
        "You read the whole tile without a mask: where the last tile sticks out there is nothing "
        "to read, so compare the offsets with the length first.",
    ),
    Misconception(
        "one entry beyond",
        reads_one_beyond,
        "Your mask lets one entry beyond the end through: the last entry has number n - 1, so the "
        "mask is `offsets < n`.",
    ),
    Misconception(
        "starts over at the end",
        starts_over,
        "Beyond the end your program starts over at the first entry: masked entries are 0, and "
        "nothing is read for them.",
    ),
    Misconception(
        "repeats the last entry",
        repeats_the_last,
        "Beyond the end your program repeats the last entry: masked values are 0.",
    ),
    Misconception(
        "only what is inside",
        only_inside,
        "You returned only the entries inside: a program always has exactly `tile` lanes, and the "
        "mask says which of them count.",
    ),
    Misconception(
        "mask upside down",
        mask_upside_down,
        "Your mask is true beyond the end: it is true for the entries that exist.",
    ),
    Misconception(
        "base forgotten",
        without_base,
        "You left out the base: the kernel writes the merged weights, base plus changes.",
    ),
    Misconception(
        "weights forgotten",
        without_weights,
        "You added the task vectors without their weights.",
    ),
    Misconception(
        "divides by the weights",
        averages,
        "You divided by the sum of the weights: this kernel adds up, each task vector times its "
        "weight.",
    ),
    Misconception(
        "first task vector only",
        first_delta_only,
        "You used the first task vector only: the list may hold one, two or more.",
    ),
    Misconception(
        "computes in the stored type",
        in_stored_type,
        "You computed in 16 bits: each step then rounds, so convert what you read with `.float()` "
        "and calculate in float32.",
        (0.5, 0.95),
    ),
    Misconception(
        "writes into the base",
        in_place,
        "You wrote the result into `base`: another program, or the caller, still needs it.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_loop(program, tile, base, deltas, weights):
    offsets, mask, values = [], [], []
    for lane in range(tile):
        entry = program * tile + lane
        inside = entry < base.numel()
        value = 0.0
        if inside:
            value = float(base[entry])
            for weight, delta in zip(weights, deltas, strict=True):
                value += weight * float(delta[entry])
        offsets.append(entry)
        mask.append(inside)
        values.append(value)
    return torch.tensor(offsets), torch.tensor(mask), torch.tensor(values, dtype=torch.float32)


def on_slices(program, tile, base, deltas, weights):
    start = program * tile
    part = slice(start, start + tile)
    total = base[part].clone().float()
    for weight, delta in zip(weights, deltas, strict=True):
        total += weight * delta[part].float()
    values = torch.cat([total, torch.zeros(tile - len(total))])
    lanes = torch.arange(start, start + tile, dtype=torch.int64)
    return [lanes, lanes.lt(base.shape[0]), values]


def last_first(program, tile, base, deltas, weights):
    offsets, mask, _ = merge_program(program, tile, base, deltas, weights)
    total = torch.zeros(tile)
    for weight, delta in reversed(list(zip(weights, deltas, strict=True))):
        total += weight * load(delta, offsets, mask)
    return offsets, mask, total + load(base, offsets, mask)


def vector(*values: float) -> Tensor:
    return torch.tensor(values)


TEN = vector(0.5, 1.0, -0.5, 0.25, 2.0, -1.0, 0.75, 1.5, -2.0, 3.0)
ONE = vector(1.0, -1.0, 2.0, 0.5, -0.5, 1.5, -2.0, 0.25, 1.0, -3.0)
TWO = vector(-0.5, 0.5, 1.0, 2.0, 1.0, -1.0, 0.5, 4.0, -1.0, 2.0)

VISIBLE = (
    Case("the first tile", (0, 4, TEN, [ONE, TWO], [1.0, 0.5]), core=True),
    Case("a tile in the middle", (1, 4, TEN, [ONE, TWO], [0.5, 2.0]), core=True),
    Case("a tile that sticks out", (2, 4, TEN, [ONE, TWO], [1.0, 0.5]), core=True),
    Case("a tile that ends at the end", (1, 5, TEN, [ONE, TWO], [1.0, 1.0])),
    Case("a tile beyond the end", (3, 4, TEN, [ONE, TWO], [1.0, 0.5])),
    Case("a single task vector", (1, 8, TEN, [ONE], [-1.0])),
    Case(
        "bfloat16",
        (
            0,
            4,
            vector(1.0, 2.0, 3.0).bfloat16(),
            [vector(0.0078125, 0.0117, 0.0039).bfloat16(), vector(0.004, -0.003, 0.008).bfloat16()],
            [0.3, 0.7],
        ),
        weight=2,
    ),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"memory/merge_program/{seed}")

    def tensors(size: int, count: int, dtype: torch.dtype = torch.float32) -> tuple:
        every = [draw.distinct(size, dtype=dtype) for _ in range(count + 1)]
        return every[0], every[1:], draw.weights(count)

    def uneven(size: int, dtype: torch.dtype) -> tuple:
        """Values for which each rounding to 16 bits shows."""
        every = [
            torch.tensor([draw.random.uniform(-1, 1) for _ in range(size)]).to(dtype)
            for _ in range(4)
        ]
        return every[0], every[1:], [0.3, -0.7, 1.1]

    tile = draw.random.choice((6, 7, 9))
    return [
        Case("the first tile", (0, tile, *tensors(5 * tile + 2, 2)), core=True),
        Case("a tile in the middle", (3, tile, *tensors(5 * tile + 2, 2)), core=True),
        Case("a tile that sticks out", (5, tile, *tensors(5 * tile + 2, 2)), core=True),
        Case("a tile that sticks out", (2, 16, *tensors(33, 3)), core=True),
        Case("a tile that ends at the end", (4, tile, *tensors(5 * tile, 2))),
        Case("a tile beyond the end", (7, tile, *tensors(5 * tile + 2, 2))),
        Case("a single task vector", (1, tile, *tensors(3 * tile, 1))),
        Case("five task vectors", (1, tile, *tensors(3 * tile, 5))),
        Case("a tile longer than the tensor", (0, 64, *tensors(10, 2))),
        Case("a tile of one entry", (4, 1, *tensors(10, 2))),
        Case("a single entry", (0, 4, *tensors(1, 2))),
        Case("a negative weight", (1, tile, *tensors(3 * tile, 2)[:2], [1.0, -0.5])),
        Case("bfloat16", (2, 16, *uneven(40, torch.bfloat16)), weight=3),
        Case("float16", (2, 16, *uneven(40, torch.float16)), weight=2),
    ]


MERGE_PROGRAM = Exercise(
    id="memory/merge_program",
    lesson="07_memory_and_kernels",
    title="one program of a kernel",
    signature="merge_program(program, tile, base, deltas, weights)",
    contract=CONTRACT,
    example="With 3 entries and `tile=2`, program 1 has offsets 2 and 3, of which only 2 exists. "
    "`merge_program(1, 2, tensor([1., 1., 1.]), [tensor([1., 1., 1.])], [0.5])` returns "
    "`(tensor([2, 3]), tensor([True, False]), tensor([1.5, 0.0]))`.",
    reference=merge_program,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 4),
    minutes=7,
    difficulty=2,
    misconceptions=WRONG,
    alternatives={"by loop": by_loop, "on slices": on_slices, "last first": last_first},
    hints=HINTS,
    # Sums of a few terms in another order, of values that may cancel.
    tolerance=Tolerance(absolute=2e-6),
    equivalent={
        "e45f62/forgotten/1": WIDER,
    },
)
