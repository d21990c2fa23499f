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

_DIGITS = 1 << 16
_MAGNITUDE = 0x7FFFFFFF  # all bits but the sign


class Selection:
    """A search for the k-th largest magnitude, `1 <= k <= n`.

    Until `threshold` is known: hand every part to `count`, add the counts up, and give the sum to
    `narrow`. Raises `ValueError` where k exceeds the number of values seen.

    >>> search = Selection(2)
    >>> parts = [torch.tensor([3.0, -1.0]), torch.tensor([2.0, -5.0])]
    >>> while search.threshold is None:
    ...     search.narrow(sum(search.count(part) for part in parts))
    >>> search.threshold
    3.0
    """

    def __init__(self, k: int) -> None:
        self._remaining = k
        self._upper: int | None = None
        self.threshold: float | None = None

    def count(self, values: Tensor) -> np.ndarray:
        """How often each digit occurs among the candidates in a part, `[65536]`.

        `values`: fp32 of any shape.
        """
        bits = values.contiguous().view(torch.int32).flatten() & _MAGNITUDE
        if self._upper is None:
            digits = bits >> 16
        else:
            digits = bits[(bits >> 16) == self._upper] & (_DIGITS - 1)
        return torch.bincount(digits, minlength=_DIGITS).cpu().numpy()

    def narrow(self, counts: np.ndarray) -> None:
        """Choose the digit in which the k-th largest falls, from the counts over all values."""
        from_above = np.cumsum(counts[::-1])
        place = int(np.searchsorted(from_above, self._remaining))
        if place == _DIGITS:
            raise ValueError(f"there are fewer than {self._remaining} values to select from")
        digit = _DIGITS - 1 - place
        self._remaining -= int(from_above[place] - counts[digit])
        if self._upper is None:
            self._upper = digit
        else:
            bits = np.array((self._upper << 16) | digit, dtype=np.uint32)
            self.threshold = float(bits.view(np.float32))


def select(
    searches: Sequence[Selection], parts: Callable[[], Iterable[Sequence[Tensor]]]
) -> list[float]:
    """Run several searches over the same parts at once; their thresholds.

    `parts` is called for each pass and gives the parts one by one, each as a tensor per search.

    >>> values = torch.tensor([3.0, -1.0, 2.0, -5.0])
    >>> select([Selection(1), Selection(4)], lambda: [(values, values)])
    [5.0, 1.0]
    """
    while any(search.threshold is None for search in searches):
        totals = [np.zeros(_DIGITS, dtype=np.int64) for _ in searches]
        for part in parts():
            for total, search, values in zip(totals, searches, part, strict=True):
                total += search.count(values)
        for search, total in zip(searches, totals, strict=True):
            search.narrow(total)
    return [search.threshold for search in searches]
