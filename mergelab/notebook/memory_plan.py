"""The memory of a merge, by an arithmetic of bytes: what lies in memory at the peak."""

from __future__ import annotations

from dataclasses import dataclass

from mergelab.zoo.shapes import SHAPES, Shape

GB = 1e9
WAYS = ("all at once", "tensor by tensor", "a few rows at a time")
ROWS = 64  # at a time, in the last of them
MODELS = {
    "1B (Llama-3.2-1B)": SHAPES["1b"],
    "3B (Llama-3.2-3B)": SHAPES["3b"],
    "8B (Llama-3.1-8B)": SHAPES["8b"],
    "70B (Llama-3.1-70B)": Shape(8192, 80, 28672, 64, 8, 128, tied=False, rope_factor=8.0),
}


@dataclass(frozen=True)
class MemoryPlan:
    """What is in memory at the peak, in bytes: base and sources as stored, and fp32 work copies."""

    base: float
    sources: float
    task_vectors: float
    result: float

    @property
    def parts(self) -> dict[str, float]:
        """The four parts by their names."""
        return {
            "base as stored": self.base,
            "sources as stored": self.sources,
            "task vectors in float32": self.task_vectors,
            "result in float32": self.result,
        }

    @property
    def total(self) -> float:
        return self.base + self.sources + self.task_vectors + self.result

    def __add__(self, other: MemoryPlan) -> MemoryPlan:
        return MemoryPlan(
            self.base + other.base,
            self.sources + other.sources,
            self.task_vectors + other.task_vectors,
            self.result + other.result,
        )


def plan_memory(
    shape: Shape,
    sources: int = 2,
    *,
    rank: int | None = None,
    bits: int = 16,
    way: str = WAYS[0],
) -> MemoryPlan:
    """The peak of merging `sources` models into a base of this shape.

    `rank`: of adapters, None for full fine-tunes, stored in 2 bytes a number; factors take 4.
    `bits`: of a number of the base. Work copies are fp32: a task vector for each source, and the
    result.
    Adapters change the linear projections alone, other tensors are copied. Norms count nothing.

    Raises `ValueError` if `way` is none of `WAYS`.

    >>> plan = plan_memory(SHAPES["8b"], rank=16, way="tensor by tensor")
    >>> plan.total < plan_memory(SHAPES["8b"]).total / 100
    True
    """
    if way not in WAYS:
        raise ValueError(f"way must be one of {', '.join(WAYS)}, got {way!r}")
    linear = {f"{name}.weight" for name, _ in shape.linears()}
    each = [
        _of_one(dims, sources, rank, bits, ROWS if way == WAYS[2] else None, name in linear)
        for name, dims in shape.tensors().items()
        if len(dims) == 2
    ]
    if way == WAYS[0]:
        return sum(each, MemoryPlan(0, 0, 0, 0))
    return max(each, key=lambda plan: plan.total)


def _of_one(
    dims: tuple[int, ...], sources: int, rank: int | None, bits: int, rows: int | None, linear: bool
) -> MemoryPlan:
    m, n = dims
    base = m * n * bits / 8
    if rank is not None and not linear:
        # Copied as it is stored; the tool does that in parts, too.
        return MemoryPlan(base if rows is None else min(rows, m) * n * bits / 8, 0, 0, 0)
    stored = 2 * m * n if rank is None else 4 * rank * (m + n)
    work = 4 * (m if rows is None else min(rows, m)) * n
    return MemoryPlan(base, sources * stored, sources * work, work)


def in_gb(size: float) -> str:
    """Bytes as a short text.

    >>> in_gb(16.06e9), in_gb(0.253e9)
    ('16 GB', '0.25 GB')
    """
    gigabytes = size / GB
    return f"{gigabytes:.0f} GB" if gigabytes >= 9.95 else f"{gigabytes:.2g} GB"


def plan_sentence(plan: MemoryPlan, limit: float = 16 * GB) -> str:
    """Whether a plan fits, and what takes most of it.

    >>> print(plan_sentence(MemoryPlan(16e9, 32e9, 64e9, 32e9)))
    At the peak 144 GB are in memory: 9.0 times the 16 GB there are. Most of it is task vectors in
    float32 (64 GB).
    """
    name, size = max(plan.parts.items(), key=lambda part: part[1])
    if plan.total > limit:
        fits = f"{plan.total / limit:.1f} times the {in_gb(limit)} there are"
    else:
        fits = f"that fits into {in_gb(limit)}"
    return (
        f"At the peak {in_gb(plan.total)} are in memory: {fits}. Most of it is {name} "
        f"({in_gb(size)})."
    )
