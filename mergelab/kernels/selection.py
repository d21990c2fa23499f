"""The k-th largest magnitude of values that are seen part by part: radix selection, no sorting.

The bits of a non-negative fp32 number, read as a whole number, rise with the number. So the k-th
largest is found digit by digit: count how often each value of the upper 16 bits occurs, see in
which one the k-th largest falls, then count the lower 16 bits among those. Two passes, exact,
65,536 counters, however many values there are; and counts of parts simply add up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

DIGITS = 1 << 16
Digits = Callable[[Tensor, int | None, np.ndarray], np.ndarray]
_MAGNITUDE = 0x7FFFFFFF  # all bits but the sign


class Selection:
    """A search for the k-th largest magnitude, `1 <= k <= n`.

    Until `threshold` is known: add up the `digits` of every part, given `upper`, and hand the sum
    to `narrow`. Raises `ValueError` where k is below 1 or exceeds the number of values seen.

    >>> search = Selection(2)
    >>> parts = [torch.tensor([3.0, -1.0]), torch.tensor([2.0, -5.0])]
    >>> while search.threshold is None:
    ...     search.narrow(sum(digits(part, search.upper) for part in parts))
    >>> search.threshold
    3.0
    """

    def __init__(self, k: int) -> None:
        if k < 1:
            raise ValueError(f"a rank must be at least 1, got {k}")
        self._remaining = k
        self.upper: int | None = None
        self.threshold: float | None = None

    def narrow(self, counts: np.ndarray) -> None:
        """Choose the digit in which the k-th largest falls, from the counts over all values."""
        from_above = np.cumsum(counts[::-1])
        place = int(np.searchsorted(from_above, self._remaining))
        if place == DIGITS:
            raise ValueError(f"there are fewer than {self._remaining} values to select from")
        digit = DIGITS - 1 - place
        self._remaining -= int(from_above[place] - counts[digit])
        if self.upper is None:
            self.upper = digit
        else:
            bits = np.array((self.upper << 16) | digit, dtype=np.uint32)
            self.threshold = float(bits.view(np.float32))


def digits(values: Tensor, upper: int | None, counts: np.ndarray | None = None) -> np.ndarray:
    """How often each value of a magnitude's upper 16 bits occurs, `[65536]` in int64.

    `values`: fp32 of any shape. With `upper` it is the lower 16 bits, of those values alone whose
    upper ones are `upper`. `counts`: of values seen before; these are added to it.

    >>> counts = digits(torch.tensor([1.0, -1.0, 3.0]), None)
    >>> counts.nonzero()[0].tolist(), int(counts[0x3F80])  # 1.0 is 0x3F800000
    ([16256, 16448], 2)
    """
    bits = values.contiguous().view(torch.int32).flatten() & _MAGNITUDE
    found = bits >> 16 if upper is None else bits[(bits >> 16) == upper] & (DIGITS - 1)
    new = torch.bincount(found, minlength=DIGITS).cpu().numpy()
    return new if counts is None else np.add(counts, new, out=counts)


def select(
    searches: Sequence[Selection],
    parts: Callable[[], Iterable[Sequence[Tensor]]],
    digits: Digits = digits,
) -> list[float]:
    """Run several searches over the same parts at once; their thresholds.

    `parts` is called for each pass and gives the parts one by one, each as a tensor per search.
    `digits`: what counts, if it is not the function of that name.

    >>> values = torch.tensor([3.0, -1.0, 2.0, -5.0])
    >>> select([Selection(1), Selection(4)], lambda: [(values, values)])
    [5.0, 1.0]
    """
    while any(search.threshold is None for search in searches):
        totals = [np.zeros(DIGITS, dtype=np.int64) for _ in searches]
        for part in parts():
            for total, search, values in zip(totals, searches, part, strict=True):
                digits(values, search.upper, total)
        for search, total in zip(searches, totals, strict=True):
            search.narrow(total)
    return [search.threshold for search in searches]
