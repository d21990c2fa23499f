"""A task vector known by two thin factors, as LoRA stores it, and the small space it lives in.

Multiplying by a matrix with orthonormal columns or rows changes no singular value and carries
singular vectors along. So whatever a merge does with singular vectors of `b_1 @ a_1`, `b_2 @ a_2`,
... can be done with small *cores* between two shared orthonormal bases, and the big `[m, n]`
matrices are never multiplied out. A dense task vector is its own core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mergelab.methods.declaration import computing


@dataclass(frozen=True, eq=False)
class Factors:
    """A matrix `[m, n]` known by two thin factors: `b @ a`.

    `b`: `[m, r]`; `a`: `[r, n]`. Any scaling is already in one of them. Raises `ValueError` if the
    two do not fit together.

    >>> delta = Factors(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0, 0.0, 1.0]]))
    >>> delta.shape, delta.rank
    (torch.Size([2, 3]), 1)
    >>> delta.dense()
    tensor([[3., 0., 1.],
            [6., 0., 2.]])
    """

    b: Tensor
    a: Tensor

    def __post_init__(self) -> None:
        shapes = f"{tuple(self.b.shape)} and {tuple(self.a.shape)}"
        if self.b.dim() != 2 or self.a.dim() != 2 or self.b.shape[1] != self.a.shape[0]:
            raise ValueError(f"factors must be [m, r] and [r, n], got {shapes}")

    @property
    def shape(self) -> torch.Size:
        """`[m, n]`, the shape of the product."""
        return torch.Size((self.b.shape[0], self.a.shape[1]))

    @property
    def rank(self) -> int:
        """The inner dimension `r`; the product has this rank or a lower one."""
        return self.b.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the product: fp64 if a factor is fp64, else fp32."""
        return result_dtype([self])

    def dense(self) -> Tensor:
        """The product `[m, n]`, in fp32 (fp64 if a factor is fp64)."""
        return self.b.to(self.dtype) @ self.a.to(self.dtype)


Delta = Factors | Tensor


def same_shape(deltas: Sequence[Delta] | Tensor) -> list[Delta]:
    """The task vectors as a list. Raises `ValueError` if there are none or their shapes differ.

    >>> same_shape([torch.zeros(2, 3), Factors(torch.zeros(2, 1), torch.zeros(1, 4))])
    Traceback (most recent call last):
    ValueError: task vectors must share one shape, got [(2, 3), (2, 4)]
    """
    deltas = list(deltas)
    if not deltas:
        raise ValueError("no task vectors were given; a merge needs at least one")
    shapes = {tuple(delta.shape) for delta in deltas}
    if len(shapes) > 1:
        raise ValueError(f"task vectors must share one shape, got {sorted(shapes)}")
    return deltas


def are_matrices(deltas: Sequence[Delta]) -> bool:
    """Whether singular vectors make sense: norms, biases and scalars have none."""
    return len(deltas[0].shape) >= 2


def all_factors(deltas: Sequence[Delta]) -> bool:
    """Whether every task vector is known by its factors, so that the result can be too."""
    return all(isinstance(delta, Factors) for delta in deltas)


def dense(delta: Delta) -> Tensor:
    """A task vector as a plain tensor in computing precision."""
    return delta.dense() if isinstance(delta, Factors) else computing(delta)


def result_dtype(deltas: Sequence[Delta]) -> torch.dtype:
    """fp64 if any tensor among the task vectors is fp64, else fp32 (also for half precision)."""
    tensors = [t for d in deltas for t in ((d.b, d.a) if isinstance(d, Factors) else (d,))]
    return torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32


@dataclass(frozen=True, eq=False)
class SharedSpace:
    """Task vectors between two shared orthonormal bases: `delta_i = left @ cores[i] @ right`.

    `cores`: N fp64 matrices `[p, q]`. `left`: `[m, p]` and `right`: `[q, n]`, or None for both
    where a core is the matrix itself. `shape` and `dtype` are those of a merge's result, and
    `factored` says whether it is to be `Factors`.
    """

    cores: list[Tensor]
    left: Tensor | None
    right: Tensor | None
    shape: torch.Size
    dtype: torch.dtype
    factored: bool

    @property
    def smaller_side(self) -> int:
        """How many singular values a matrix of the full shape has, zeros included."""
        return min(_as_matrix(self.shape))

    def to_left(self, columns: Tensor) -> Tensor:
        """Columns `[p, k]` in full coordinates `[m, k]`."""
        return columns if self.left is None else self.left @ columns

    def to_right(self, rows: Tensor) -> Tensor:
        """Rows `[k, q]` in full coordinates `[k, n]`."""
        return rows if self.right is None else rows @ self.right

    def result(self, b: Tensor, a: Tensor) -> Delta:
        """`b @ a`, given in full coordinates: as `Factors` if the inputs were, else multiplied."""
        if self.factored:
            return Factors(b.to(self.dtype), a.to(self.dtype))
        return (b @ a).reshape(self.shape).to(self.dtype)


def shared_space(deltas: Sequence[Delta]) -> SharedSpace:
    """The bases that span all factors, and each task vector's core between them; nothing is lost.

    `deltas`: N of one shape, two dimensions or more; a tensor of more is seen as
    `[product of the leading ones, last]`. As soon as one is dense, all are taken as dense.

    >>> one = Factors(torch.ones(40, 1), torch.ones(1, 60))
    >>> two = Factors(torch.ones(40, 2), torch.ones(2, 60))
    >>> [tuple(core.shape) for core in shared_space([one, two]).cores]
    [(3, 3), (3, 3)]
    """
    shape, dtype = deltas[0].shape, result_dtype(deltas)
    if not all_factors(deltas):
        cores = [dense(delta).reshape(_as_matrix(shape)).double() for delta in deltas]
        return SharedSpace(cores, None, None, shape, dtype, factored=False)
    bs = [delta.b.double() for delta in deltas]
    as_ = [delta.a.double() for delta in deltas]
    left = torch.linalg.qr(torch.cat(bs, 1)).Q
    right = torch.linalg.qr(torch.cat(as_, 0).T).Q.T
    cores = [(left.T @ b) @ (a @ right.T) for b, a in zip(bs, as_, strict=True)]
    return SharedSpace(cores, left, right, shape, dtype, factored=True)


def nonzero_svd(
    matrix: Tensor, dtype: torch.dtype, norm: Tensor | float | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Thin SVD `u, s, vt` of an fp64 matrix, without what is only rounding of inputs in `dtype`.

    A low-rank matrix that was rounded to fp32 has tiny singular values where it should have none.
    Rounding moves a matrix by less than `eps * norm`, in Frobenius norm, and no singular value by
    more; those below 4 times that (plus what the computation itself adds) count as zero. `norm` is
    the matrix's own, or that of the terms it is the sum of.

    >>> _, s, _ = nonzero_svd(torch.tensor([[2.0, 0.0], [0.0, 1e-9]]).double(), torch.float32)
    >>> s.tolist()
    [2.0]
    """
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    norm = matrix.norm() if norm is None else norm
    computation = max(matrix.shape) * torch.finfo(torch.float64).eps
    kept = int((s > norm * (4 * torch.finfo(dtype).eps + computation)).sum())
    return u[:, :kept], s[:kept], vt[:kept]


def fix_signs(columns: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Turn each pair of a column and a row so that the column's largest entry is positive.

    The SVD leaves the sign of a pair of singular vectors open; this makes it repeatable.

    >>> fix_signs(torch.tensor([[1.0], [-2.0]]), torch.tensor([[3.0]]))
    (tensor([[-1.],
            [ 2.]]), tensor([[-3.]]))
    """
    if columns.numel() == 0:
        return columns, rows
    largest = columns.gather(0, columns.abs().argmax(0, keepdim=True))
    signs = torch.where(largest < 0, -1.0, 1.0).to(columns.dtype)
    return columns * signs, rows * signs.T


def _as_matrix(shape: torch.Size) -> tuple[int, int]:
    rows = 1
    for side in shape[:-1]:
        rows *= side
    return rows, shape[-1]
