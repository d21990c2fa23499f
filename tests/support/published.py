"""What the code that the methods' authors published computes, written again with plain loops.

None of it is installed or copied: these functions follow, entry by entry and in double precision,
what the repositories do that are named at each. A model is a mapping from names to arrays, its
task vector likewise. Random choices are handed in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

Changes = Mapping[str, np.ndarray]


def sign(x: float) -> int:
    return int(x > 0) - int(x < 0)


def flat(change: Changes) -> list[float]:
    """All tensors one after the other, by name, as both repositories of TIES do it."""
    return [float(x) for name in sorted(change) for x in change[name].ravel()]


def shaped(values: Sequence[float], like: Changes) -> dict[str, np.ndarray]:
    out, start = {}, 0
    for name in sorted(like):
        stop = start + like[name].size
        out[name] = np.array(values[start:stop]).reshape(like[name].shape)
        start = stop
    return out


def without_smallest(values: Sequence[float], dropped: int) -> list[float]:
    """Zero below the magnitude that comes at place `dropped`; that one itself stays."""
    threshold = sorted(abs(x) for x in values)[dropped - 1]
    return [x if abs(x) >= threshold else 0.0 for x in values]


def elect_and_average(vectors: Sequence[Sequence[float]]) -> list[float]:
    """One sign for each entry, by unweighted mass; the mean of the nonzero ones that have it."""
    signs = [sign(sum(entries)) for entries in zip(*vectors, strict=True)]
    majority = sign(sum(signs))
    merged = []
    for entries, own in zip(zip(*vectors, strict=True), signs, strict=True):
        # Where the majority is a draw too nothing takes part, as in MergeLM; ties-merging then
        # keeps the negative entries.
        agreeing = [x for x in entries if x != 0 and sign(x) == (own or majority)]
        merged.append(sum(agreeing) / max(len(agreeing), 1))
    return merged


def ties(changes: Sequence[Changes], keep: float = 0.2, lam: float = 1.0) -> dict[str, np.ndarray]:
    """github.com/prateeky2806/ties-merging: the whole task vector is trimmed as one."""
    vectors = [flat(change) for change in changes]
    size = len(vectors[0])
    trimmed = [without_smallest(v, size - int(size * keep)) for v in vectors]
    return shaped([lam * x for x in elect_and_average(trimmed)], changes[0])


def dare(change: Changes, drop_rate: float, dropped: Changes) -> dict[str, np.ndarray]:
    """github.com/yule-BUAA/MergeLM: every tensor by itself, survivors over one minus the rate."""
    return {
        name: np.where(dropped[name], 0.0, tensor) / (1 - drop_rate)
        for name, tensor in change.items()
    }


def dare_linear(
    changes: Sequence[Changes], rates: Sequence[float], dropped: Sequence[Changes], lam: float
) -> dict[str, np.ndarray]:
    """The same repository, task arithmetic on what is left."""
    left = [dare(*three) for three in zip(changes, rates, dropped, strict=True)]
    return {name: lam * sum(change[name] for change in left) for name in changes[0]}


def dare_ties(
    changes: Sequence[Changes],
    rates: Sequence[float],
    dropped: Sequence[Changes],
    lam: float,
    trimmed_rate: float = 0.8,
) -> dict[str, np.ndarray]:
    """The same repository: what is left is trimmed as one vector, then merged as in TIES."""
    vectors = [flat(dare(*three)) for three in zip(changes, rates, dropped, strict=True)]
    trimmed = [without_smallest(v, int(len(v) * trimmed_rate)) for v in vectors]
    return shaped([lam * x for x in elect_and_average(trimmed)], changes[0])


def della(
    changes: Sequence[np.ndarray],
    weights: Sequence[float],
    densities: Sequence[float],
    window: float,
    uniform: Sequence[np.ndarray],
    lam: float,
) -> np.ndarray:
    """github.com/declare-lab/della, one tensor: `uniform` numbers below the probability keep."""
    left = []
    for change, density, numbers in zip(changes, densities, uniform, strict=True):
        if density >= 1:
            left.append(change)
            continue
        rows = np.atleast_2d(change)
        sparse = np.zeros_like(rows)
        for i, row in enumerate(rows):
            by_size = sorted(range(len(row)), key=lambda j: abs(row[j]))
            for rank, j in enumerate(by_size):
                probability = density - window / 2 + rank / (len(row) - 1) * window
                if np.atleast_2d(numbers)[i, j] < probability:
                    sparse[i, j] = row[j] / probability
        left.append(sparse.reshape(change.shape))
    merged = np.zeros_like(changes[0])
    for place in np.ndindex(merged.shape):
        terms = [(w, w * change[place]) for w, change in zip(weights, left, strict=True)]
        side = 1 if sum(t for _, t in terms) >= 0 else -1
        agreeing = [(w, t) for w, t in terms if sign(t) == side]
        merged[place] = sum(t for _, t in agreeing) / (sum(w for w, _ in agreeing) or 1.0)
    return lam * merged


def breadcrumbs(
    changes: Sequence[np.ndarray], keep: float, remove: float, lam: float
) -> np.ndarray:
    """github.com/rezazzr/breadcrumbs, one tensor: bands of the rows, added up."""
    total = np.zeros_like(changes[0])
    for change in changes:
        rows, out = np.atleast_2d(change), np.atleast_2d(total)
        for row, into in zip(rows, out, strict=True):
            by_size = sorted(range(len(row)), key=lambda j: -abs(row[j]))
            rest = by_size[int(len(row) * remove) :]
            for j in rest[: int(len(row) * keep)]:
                into[j] += row[j]
    return lam * total
