"""The methods once more, written from the papers with plain Python loops over single entries.

Slow and obvious on purpose, and independent of the package: these are what tests hold it against.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Vector = list[float]


def trim(delta: Sequence[float], density: float) -> Vector:
    count = len(delta)
    keep = min(count, math.floor(density * count + 0.5))
    if density > 0 and count > 0:
        keep = max(keep, 1)
    if keep == 0:
        return [0.0] * count
    threshold = sorted((abs(x) for x in delta), reverse=True)[keep - 1]
    return [x if abs(x) >= threshold else 0.0 for x in delta]


def sign(x: float) -> int:
    return (x > 0) - (x < 0)


def elect(
    deltas: Sequence[Sequence[float]], weights: Sequence[float], how: str = "mass"
) -> list[int]:
    elected = []
    for entries in zip(*deltas, strict=True):
        if how == "mass":
            total = sum(w * x for w, x in zip(weights, entries, strict=True))
        elif how == "mass_unweighted":
            total = sum(entries)
        elif how == "count_unweighted":
            total = sum(sign(x) for x in entries)
        else:
            total = sum(sign(w * x) for w, x in zip(weights, entries, strict=True))
        elected.append(sign(total))
    return elected


def disjoint_mean(
    deltas: Sequence[Sequence[float]],
    elected: Sequence[int],
    weights: Sequence[float],
    divisor: str = "weights",
    unweighted: bool = False,
) -> Vector:
    merged = []
    for entries, side in zip(zip(*deltas, strict=True), elected, strict=True):
        taking_part = [
            (w, x)
            for w, x in zip(weights, entries, strict=True)
            if side != 0 and sign(x if unweighted else w * x) == side
        ]
        if not taking_part:
            merged.append(0.0)
            continue
        total = sum(w * x for w, x in taking_part)
        by = {
            "weights": sum(abs(w) for w, _ in taking_part),
            "signed_weights": sum(w for w, _ in taking_part) or 1,
            "count": len(taking_part),
            "none": 1,
        }
        merged.append(total / by[divisor])
    return merged


def ties(
    deltas: Sequence[Sequence[float]],
    densities: Sequence[float],
    weights: Sequence[float],
    lam: float = 1.0,
    election: str = "mass",
    divisor: str = "weights",
) -> Vector:
    trimmed = [trim(delta, d) for delta, d in zip(deltas, densities, strict=True)]
    elected = elect(trimmed, weights, election)
    unweighted = election.endswith("unweighted")
    return [lam * x for x in disjoint_mean(trimmed, elected, weights, divisor, unweighted)]


def weighted_sum(deltas: Sequence[Sequence[float]], weights: Sequence[float]) -> Vector:
    return [
        sum(w * x for w, x in zip(weights, entries, strict=True))
        for entries in zip(*deltas, strict=True)
    ]


def angle(a: np.ndarray, b: np.ndarray) -> float:
    """Kahan's formula, accurate at every angle, in extended precision where there is one."""
    x, y = a.astype(np.longdouble).ravel(), b.astype(np.longdouble).ravel()
    x, y = x / np.sqrt((x * x).sum()), y / np.sqrt((y * y).sum())
    return float(2 * np.arctan2(np.sqrt(((x - y) ** 2).sum()), np.sqrt(((x + y) ** 2).sum())))


def slerp(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    theta = angle(a, b)
    x, y = a.astype(np.float64), b.astype(np.float64)
    return (math.sin((1 - t) * theta) * x + math.sin(t * theta) * y) / math.sin(theta)


def philox(counter: Sequence[int], key: Sequence[int]) -> list[int]:
    """Philox4x32-10 on Python's integers, after the paper: two multiplies, a swap, a key."""
    word = 2**32
    x, k = list(counter), list(key)
    for round_number in range(10):
        if round_number:
            k = [(k[0] + 0x9E3779B9) % word, (k[1] + 0xBB67AE85) % word]
        a, b = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
        x = [b // word ^ x[1] ^ k[0], b % word, a // word ^ x[3] ^ k[1], a % word]
    return x


def random_word(index: int, seed: int, stream: int) -> int:
    """The random number of one entry: word `index % 4` of counter `(index // 4, stream)`."""
    word = 2**32
    block = index // 4
    counter = [block % word, block // word, stream % word, stream // word % word]
    return philox(counter, [seed % word, seed // word % word])[index % 4]
