"""Inner products of tensors: all that the methods on the sphere need to know about them.

SLERP, the Karcher mean and Model Stock give a combination of their inputs whose factors depend on
lengths and angles only. So they are functions of the Gram matrix, `gram[i][j] = <x_i, x_j>`, which
can be summed part by part.
"""

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

Gram = Sequence[Sequence[float]]


def gram(tensors: Sequence[Tensor]) -> tuple[tuple[float, ...], ...]:
    """Inner products of all pairs of same-shaped tensors, summed in fp64, as an N x N tuple.

    >>> import torch
    >>> gram([torch.tensor([1.0, 2.0]), torch.tensor([3.0, -1.0])])
    ((5.0, 1.0), (1.0, 10.0))
    """
    flat = [tensor.double().flatten() for tensor in tensors]
    upper = {(i, j): float(flat[i] @ flat[j]) for i in range(len(flat)) for j in range(i + 1)}
    indices = range(len(flat))
    return tuple(tuple(upper[max(i, j), min(i, j)] for j in indices) for i in indices)


def norms(gram: Gram) -> list[float]:
    """Euclidean norms, the square roots of the diagonal.

    >>> norms([[4.0, 0.0], [0.0, 9.0]])
    [2.0, 3.0]
    """
    return [math.sqrt(gram[i][i]) for i in range(len(gram))]


def angle_between(gram: Gram, i: int = 0, j: int = 1) -> float:
    """Angle between two of the tensors in radians; NaN where one of them is zero.

    >>> round(angle_between([[1.0, 0.0], [0.0, 4.0]]), 4)
    1.5708
    """
    lengths = math.sqrt(gram[i][i]) * math.sqrt(gram[j][j])
    if not lengths > 0:  # zero, or NaN, which must not pass for parallel
        return math.nan
    return math.acos(max(-1.0, min(1.0, gram[i][j] / lengths)))


def cosines(gram: Gram) -> np.ndarray:
    """Cosines of all pairs, `[N, N]` in fp64; 0 where a tensor is zero.

    >>> float(cosines([[4.0, 2.0], [2.0, 4.0]])[0, 1])
    0.5
    """
    matrix = np.array(gram, dtype=np.float64)
    lengths = np.sqrt(np.diag(matrix))
    scale = np.where(lengths > 0, lengths, 1.0)
    return np.clip(matrix / np.outer(scale, scale), -1.0, 1.0)
