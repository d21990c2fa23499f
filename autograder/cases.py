"""Inputs for cases, drawn from a seed.

Values lie on a binary grid (multiples of 1/64) wherever a result could hang on rounding: sums of
them are exact in fp32 in any order, so an exact draw between signs is a draw for every correct
implementation.
"""

import random
from collections.abc import Sequence

import torch
from torch import Tensor

GRID = 64


class Draw:
    """A stream of tensors and numbers that depends on `seed` alone.

    >>> a, b = Draw("x"), Draw("x")
    >>> torch.equal(a.distinct(2, 3), b.distinct(2, 3))
    True
    """

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)

    def distinct(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Nonzero values on the grid, no two of one magnitude (up to 256 entries)."""
        size = _size(shape)
        magnitudes = self.random.sample(range(1, max(size + 1, min(257, 3 * size + 8))), size)
        values = [m * self.random.choice((-1, 1)) / GRID for m in magnitudes]
        return torch.tensor(values, dtype=dtype).reshape(shape)

    def grid(
        self, *shape: int, span: int = 40, zeros: float = 0.2, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Values on the grid between plus and minus span/64, a share of them zero."""
        values = [
            0.0 if self.random.random() < zeros else self.random.randint(-span, span) / GRID
            for _ in range(_size(shape))
        ]
        return torch.tensor(values, dtype=dtype).reshape(shape)

    def few(self, *shape: int, levels: Sequence[float] = (0.25, 0.5, 1.0)) -> Tensor:
        """Values of only a few magnitudes, so that many tie."""
        values = [
            self.random.choice(levels) * self.random.choice((-1, 1)) for _ in range(_size(shape))
        ]
        return torch.tensor(values).reshape(shape)

    def weights(self, count: int, *, negative: bool = False) -> list[float]:
        """Distinct weights whose products with grid values are exact."""
        weights = self.random.sample((0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0), count)
        if negative:
            weights[self.random.randrange(count)] *= -1
        return weights


def _size(shape: Sequence[int]) -> int:
    size = 1
    for extent in shape:
        size *= extent
    return size
