"""SLERP: walk from one vector to another along the sphere instead of along the chord.

Shoemake 1985, "Animating rotation with quaternion curves", used on weights by mergekit. The
midpoint of a straight line between two vectors at right angles has lost 1 - 1/sqrt(2), about
29%, of their length; the point half way along the arc has lost none.
"""

import math

from torch import Tensor

from mergelab.methods.declaration import Method, Parameter, as_deltas, common_dtype

SIN_THRESHOLD = 1e-4


def angle(a: Tensor, b: Tensor) -> float:
    """Angle between two tensors seen as flat vectors, in radians, from 0 to pi.

    `a` and `b` have one shape; sums run in fp64. The angle with a zero or an empty vector is
    undefined and comes back as NaN, as does one with NaN in it. Raises `ValueError` if the
    shapes differ.

    >>> import torch
    >>> round(angle(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])), 4)
    1.5708
    """
    if a.shape != b.shape:
        raise ValueError(f"an angle needs one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    x, y = a.double().flatten(), b.double().flatten()
    norms = math.sqrt(float(x @ x)) * math.sqrt(float(y @ y))
    if not norms > 0:  # zero, or NaN, which must not pass for parallel
        return math.nan
    return math.acos(max(-1.0, min(1.0, float(x @ y) / norms)))


def coefficients(
    theta: float, t: float, sin_threshold: float = SIN_THRESHOLD
) -> tuple[float, float]:
    """The two factors of Shoemake's formula, and those of a straight line where it has no plane.

    `theta` in radians (NaN when a norm is zero), `t` in [0, 1]. When `sin(theta)` is below
    `sin_threshold` the vectors are parallel or antiparallel (or one is zero), the arc between them
    is not defined, and the factors are those of linear interpolation.

    >>> [round(c, 4) for c in coefficients(math.pi / 2, 0.5)], coefficients(0.0, 0.25)
    ([0.7071, 0.7071], (0.75, 0.25))
    """
    if is_linear(theta, sin_threshold):
        return 1.0 - t, t
    return math.sin((1.0 - t) * theta) / math.sin(theta), math.sin(t * theta) / math.sin(theta)


def is_linear(theta: float, sin_threshold: float = SIN_THRESHOLD) -> bool:
    """Whether slerp falls back to linear interpolation at this angle (NaN: a norm is zero)."""
    return math.isnan(theta) or math.sin(theta) < sin_threshold


def slerp(a: Tensor, b: Tensor, t: float, *, sin_threshold: float = SIN_THRESHOLD) -> Tensor:
    """Point at fraction `t` of the arc from `a` (t = 0) to `b` (t = 1).

    `sin((1-t) theta)/sin(theta) * a + sin(t theta)/sin(theta) * b`, with `theta` the angle between
    the two, acting on the vectors as they are, norms and all. `a` and `b` are full weights or task
    vectors of one shape; the result has their shape and dtype.

    Where the arc is undefined (`sin(theta) < sin_threshold`: parallel, antiparallel, or a zero
    vector) the result is `(1-t) a + t b`; between antiparallel vectors that passes through zero.

    Raises `ValueError` if the shapes differ or `t` lies outside [0, 1].

    Source: Shoemake 1985, SIGGRAPH, section 3.3; mergekit's `slerp`.

    >>> import torch
    >>> x, y = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    >>> slerp(x, y, 0.5)
    tensor([0.7071, 0.7071])
    >>> slerp(x, 3 * x, 0.5)
    tensor([2., 0.])
    """
    if not 0.0 <= t <= 1.0:
        raise ValueError(f"t must lie between 0 and 1, got {t}")
    x, y = as_deltas([a, b])
    at_a, at_b = coefficients(angle(x, y), t, sin_threshold)
    return (at_a * x + at_b * y).to(common_dtype([a, b]))


def _slerp_pair(deltas: list[Tensor], t: float = 0.5) -> Tensor:
    if len(deltas) != 2:
        raise ValueError(f"slerp merges exactly two models, got {len(deltas)}")
    return slerp(deltas[0], deltas[1], t)


SPACE = Parameter(
    "space",
    "auto",
    "what the arc joins: full weights, or the changes made to the base "
    "(auto: task vectors where there is a base)",
    choices=("auto", "weights", "task_vectors"),
    source="mergekit: slerp joins weights, nuslerp with a base joins task vectors",
)

METHODS = (
    Method(
        name="slerp",
        function=slerp,
        combine=_slerp_pair,
        summary="along the arc between exactly two models; keeps the norm a straight line loses",
        paper="Shoemake 1985",
        parameters=(
            Parameter(
                "t",
                0.5,
                "how far from the first model (0) to the second (1)",
                low=0.0,
                high=1.0,
                source="Shoemake 1985, section 3.3",
            ),
            SPACE,
        ),
        min_sources=2,
        max_sources=2,
        ordered=True,
        needs_base=False,
    ),
)
