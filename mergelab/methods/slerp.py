"""SLERP: walk from one vector to another along the sphere instead of along the chord.

Shoemake 1985, "Animating rotation with quaternion curves", used on weights by mergekit. The
midpoint of a straight line between two vectors at right angles has lost 1 - 1/sqrt(2), about
29%, of their length; the point half way along the arc has lost none.
"""

import math

from torch import Tensor

from mergelab.methods.declaration import Method, Parameter, as_deltas, common_dtype
from mergelab.methods.gram import Gram, angle_between, gram, norms

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
    return angle_between(gram([a, b]))


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


def sine_of(dot_threshold: float) -> float:
    """The `sin_threshold` that a threshold on the cosine means: mergekit's .9995 is 0.0316.

    >>> round(sine_of(0.9995), 4), sine_of(1.0)
    (0.0316, 0.0)
    """
    return math.sqrt(1.0 - dot_threshold**2)


def slerp_coefficients(
    gram: Gram, t: float = 0.5, norm: str = "formula", dot_threshold: float | None = None
) -> tuple[float, float]:
    """The factors of two vectors on the arc between them, from their inner products.

    `norm`: "formula" lets the factors act on the vectors as they are; "interpolate" takes the
    arc between the directions alone and gives the result the norm `(1-t) |a| + t |b|`.
    `dot_threshold`: the straight line is taken where the cosine's size exceeds it (default: where
    the sine is below 1e-4). Raises `ValueError` if there are not two vectors, if `t` lies outside
    [0, 1], or if `norm` is unknown.

    >>> [round(c, 4) for c in slerp_coefficients([[1.0, 0.0], [0.0, 9.0]], norm="interpolate")]
    [1.4142, 0.4714]
    """
    if len(gram) != 2:
        raise ValueError(f"slerp merges exactly two models, got {len(gram)}")
    if not 0.0 <= t <= 1.0:
        raise ValueError(f"t must lie between 0 and 1, got {t}")
    if norm not in ("formula", "interpolate"):
        raise ValueError(f"norm must be formula or interpolate, got {norm!r}")
    threshold = SIN_THRESHOLD if dot_threshold is None else sine_of(dot_threshold)
    at_a, at_b = coefficients(angle_between(gram), t, threshold)
    lengths = norms(gram)
    if norm == "formula" or 0.0 in lengths:
        return at_a, at_b
    wanted = (1.0 - t) * lengths[0] + t * lengths[1]
    at_a, at_b = at_a / lengths[0], at_b / lengths[1]
    square = at_a * at_a * gram[0][0] + 2.0 * at_a * at_b * gram[0][1] + at_b * at_b * gram[1][1]
    if square <= 0.0:  # antiparallel, half way: no direction is left to give a norm to
        return 0.0, 0.0
    scale = wanted / math.sqrt(square)
    return at_a * scale, at_b * scale


def slerp(
    a: Tensor,
    b: Tensor,
    t: float,
    *,
    norm: str = "formula",
    dot_threshold: float | None = None,
) -> Tensor:
    """Point at fraction `t` of the arc from `a` (t = 0) to `b` (t = 1).

    `sin((1-t) theta)/sin(theta) * a + sin(t theta)/sin(theta) * b`, with `theta` the angle between
    the two, acting on the vectors as they are, norms and all. `a` and `b` are full weights or task
    vectors of one shape; the result has their shape and dtype.

    Where the arc is undefined (`sin(theta) < 1e-4`: parallel, antiparallel, or a zero vector) the
    result is `(1-t) a + t b`; between antiparallel vectors that passes through zero. `norm` and
    `dot_threshold` as in `slerp_coefficients`.

    Raises `ValueError` if the shapes differ, `t` lies outside [0, 1], or `norm` is unknown.

    Source: Shoemake 1985, SIGGRAPH, section 3.3; mergekit's `slerp`.

    >>> import torch
    >>> x, y = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    >>> slerp(x, y, 0.5)
    tensor([0.7071, 0.7071])
    >>> slerp(x, 3 * x, 0.5)
    tensor([2., 0.])
    """
    x, y = as_deltas([a, b])
    at_a, at_b = slerp_coefficients(gram([x, y]), t, norm, dot_threshold)
    return (at_a * x + at_b * y).to(common_dtype([a, b]))


def _slerp_pair(
    deltas: list[Tensor],
    t: float = 0.5,
    norm: str = "formula",
    dot_threshold: float | None = None,
) -> Tensor:
    if len(deltas) != 2:
        raise ValueError(f"slerp merges exactly two models, got {len(deltas)}")
    return slerp(deltas[0], deltas[1], t, norm=norm, dot_threshold=dot_threshold)


SPACE = Parameter(
    "space",
    "auto",
    "what the arc joins: full weights, or the changes made to the base "
    "(auto: task vectors where there is a base)",
    choices=("auto", "weights", "task_vectors"),
    source="mergekit: slerp joins weights, nuslerp with a base joins task vectors",
)
NORM = Parameter(
    "norm",
    "formula",
    "formula: the arc's factors act on the vectors as they are; "
    "interpolate: directions along the arc, norms along a line",
    choices=("formula", "interpolate"),
    source="formula: Shoemake 1985 and mergekit",
)
DOT_THRESHOLD = Parameter(
    "dot_threshold",
    sine_of(SIN_THRESHOLD),  # sine and cosine change places: sqrt(1 - x^2) is its own inverse
    "a straight line is taken where the cosine between the two exceeds this",
    low=0.0,
    high=1.0,
    source="mergekit: .9995",
)

METHODS = (
    Method(
        name="slerp",
        function=slerp,
        combine=_slerp_pair,
        coefficients=slerp_coefficients,
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
            NORM,
            DOT_THRESHOLD,
        ),
        min_sources=2,
        max_sources=2,
        ordered=True,
        needs_base=False,
    ),
)
