"""What a merge reads, in the form the Triton kernels take: pointers, kinds, and the tile to use."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mergelab.kernels.operands import InMemory, LowRank, Operand, Zeros, as_matrix, dense
from mergelab.kernels.triton_kernels import DENSE, FACTORS, NOTHING, TUNED

_FLOATS = (torch.float32, torch.bfloat16, torch.float16)


class Tile(NamedTuple):
    """The part of a tensor that one program works on; `columns` is a power of 2, at least 4."""

    rows: int
    columns: int
    warps: int


# Where there are factors a tile is square, so that what is read of them serves many entries, and
# each thread has 16, a square of 4 by 4; else a run is best, and 8 entries leave room for others.
RUN, SQUARE = Tile(1, 2048, 8), Tile(64, 64, 8)


@dataclass(frozen=True)
class Difference:
    """A source known by its full weights: what they differ from the base, in fp32.

    >>> tuned, base = (InMemory(torch.tensor([[x, 1.0]]).bfloat16()) for x in (3.0, 2.5))
    >>> Difference(tuned, base).rows(0, 1)
    tensor([[0.5000, 0.0000]])
    """

    tuned: InMemory
    base: InMemory

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tuned.shape

    def rows(self, start: int, stop: int) -> Tensor:
        return self.tuned.rows(start, stop) - self.base.rows(start, stop)


class Sources:
    """The sources of one merge and its base on a device, and how a kernel is run on their tiles.

    Tensors in memory are read in their own dtype; what is neither that, nor factors, nor known to
    be zero is first made whole in fp32.
    """

    def __init__(
        self, changes: Sequence[Operand], base: Operand | None = None, tile: Tile | None = None
    ) -> None:
        self.base = None if base is None else _whole(base)
        kept = [_kept(change, base) for change in changes]
        tensors = [t for _, *both in kept for t in both if t is not None]
        if self.base is not None:
            tensors.append(self.base)
        self.device = tensors[0].device if tensors else torch.device(changes[0].device)
        self._filler = torch.zeros(1, device=self.device)  # for pointers that are never followed
        self.kinds = tuple(kind.value for kind, _, _ in kept)
        self.firsts = tuple(self._filler if first is None else first for _, first, _ in kept)
        self.seconds = tuple(self._filler if second is None else second for *_, second in kept)
        self.ranks = tuple(0 if second is None else second.shape[0] for *_, second in kept)
        self.shape = as_matrix(tuple(changes[0].shape))
        self.size = self.shape[0] * self.shape[1]
        factored = FACTORS.value in self.kinds
        self.tile = tile or (SQUARE if factored else RUN)
        self.rows, self.columns = self.shape if factored else (1, self.size)
        self.tiles = -(-self.rows // self.tile.rows) * -(-self.columns // self.tile.columns)

    @property
    def aligned(self) -> bool:
        """Whether every row begins with an entry whose number 4 divides."""
        return self.rows == 1 or self.columns % 4 == 0

    def run(
        self, kernel: Any, *first: Tensor, then: tuple = (), every: int = 1, **constants: Any
    ) -> None:
        """Run a kernel on one of `every` tiles, with its own arguments `first` and `then`."""
        base = self._filler if self.base is None else self.base
        with _on(self.device):
            kernel[(-(-self.tiles // every),)](
                *first,
                base,
                self.firsts,
                self.seconds,
                self.ranks,
                *then,
                self.rows,
                self.columns,
                KINDS=self.kinds,
                HAS_BASE=self.base is not None,
                TILE_ROWS=self.tile.rows,
                TILE_COLUMNS=self.tile.columns,
                num_warps=self.tile.warps,
                num_stages=1,  # nothing to prefetch: most ranks take one or two steps
                enable_fp_fusion=False,
                **constants,
            )

    def alone(self, kernel: Any, programs: int, *arguments: Any, **constants: Any) -> None:
        """Run a kernel that does not read the sources, where they are."""
        with _on(self.device):
            kernel[(programs,)](*arguments, **constants)

    def products_of_factors(self) -> Tensor:
        """Inner products of all pairs of factors, `[N, N]` in fp64; 0 for other sources.

        `<B1 A1, B2 A2>` is the sum of `B1^T B2 * A1 A2^T`, entry by entry, for all pairs at once.
        """
        matrix = torch.zeros(len(self.kinds), len(self.kinds), dtype=torch.float64)
        which = [i for i, kind in enumerate(self.kinds) if kind == FACTORS.value]
        if not which:
            return matrix
        b = torch.cat([self.firsts[i].double() for i in which], 1)
        a = torch.cat([self.seconds[i].double() for i in which], 0)
        owner = torch.tensor([i for i in which for _ in range(self.ranks[i])], device=self.device)
        owned = torch.nn.functional.one_hot(owner, len(self.kinds)).double()
        return (owned.T @ ((b.T @ b) * (a @ a.T)) @ owned).cpu()


def _kept(change: Operand, base: Operand | None) -> tuple[Any, Tensor | None, Tensor | None]:
    """A source's kind and its one or two tensors."""
    if isinstance(change, Zeros):
        return NOTHING, None, None
    if isinstance(change, LowRank):
        return FACTORS, change.b.contiguous(), change.a.contiguous()
    if isinstance(change, Difference) and change.base is base and _readable(change.tuned):
        return TUNED, change.tuned.tensor.contiguous(), None
    return DENSE, _whole(change), None


def _whole(operand: Operand) -> Tensor:
    return operand.tensor.contiguous() if _readable(operand) else dense(operand).contiguous()


def _readable(operand: Operand) -> bool:
    return isinstance(operand, InMemory) and operand.tensor.dtype in _FLOATS


def _on(device: torch.device) -> AbstractContextManager:
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
