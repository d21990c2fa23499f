"""Two vectors in the plane they span, and the two ways from one to the other: chord and arc.

Any two tensors span a plane. Their norms and the angle between them say all there is to know about
the paths, so a picture of two arrows in two dimensions is exact for a million weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import Tensor

from mergelab.methods.gram import gram, norms
from mergelab.methods.slerp import angle, coefficients, is_linear

PATHS = ("chord", "arc")


@dataclass(frozen=True)
class Walk:
    """A place `t` on the way between two vectors, given by their norms and their angle in degrees.

    >>> half = Walk((1.0, 1.0), 90.0, 0.5)
    >>> round(half.length("chord"), 3), round(half.length("arc"), 3)
    (0.707, 1.0)
    """

    norms: tuple[float, float]
    degrees: float
    t: float = 0.5
    names: tuple[str, str] = ("first", "second")

    @property
    def straight(self) -> bool:
        """Whether there is no arc: parallel or opposite vectors, or one that is zero."""
        return 0.0 in self.norms or is_linear(math.radians(self.degrees))

    def to(self, t: float) -> Walk:
        """The same two vectors at another `t`."""
        return replace(self, t=t)

    def ends(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The tips of the two vectors: the first lies on the horizontal axis."""
        theta = math.radians(self.degrees)
        a, b = self.norms
        return (a, 0.0), (b * math.cos(theta), b * math.sin(theta))

    def factors(self, path: str) -> tuple[float, float]:
        """What the two vectors are multiplied by at `t`."""
        if path == "chord" or self.straight:
            return 1 - self.t, self.t
        return coefficients(math.radians(self.degrees), self.t)

    def point(self, path: str) -> tuple[float, float]:
        """Where the path is at `t`, in the plane of `ends`."""
        (x, y), (at_first, at_second) = self.ends(), self.factors(path)
        return at_first * x[0] + at_second * y[0], at_first * x[1] + at_second * y[1]

    def length(self, path: str) -> float:
        """The norm at `t`."""
        return math.hypot(*self.point(path))

    def between(self) -> float:
        """The norm that lies between the two: `(1 - t) |first| + t |second|`."""
        return (1 - self.t) * self.norms[0] + self.t * self.norms[1]


def walk_between(
    first: Tensor, second: Tensor, t: float = 0.5, *, names: tuple[str, str] = ("first", "second")
) -> Walk:
    """The walk between two tensors of one shape.

    >>> import torch
    >>> found = walk_between(torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0]))
    >>> found.norms, found.degrees
    ((3.0, 4.0), 90.0)
    """
    a, b = norms(gram([first, second]))
    theta = angle(first, second)
    return Walk((a, b), 0.0 if math.isnan(theta) else math.degrees(theta), t, names)


def walk_sentence(walk: Walk) -> str:
    """What a walk shows, in words.

    >>> print(walk_sentence(Walk((1.0, 1.0), 90.0, 0.5)))
    The two vectors have the norms 1.00 and 1.00 and are 90.0° apart. At t = 0.50 the norm that lies
    between the two is 0.50 × 1.00 + 0.50 × 1.00 = 1.000. The chord has norm 0.707, which is 71% of
    it; the arc has norm 1.000, which is 100% of it. The arc is 0.707 × first + 0.707 × second.
    """
    a, b = walk.norms
    text = f"The two vectors have the norms {a:.2f} and {b:.2f} and are {walk.degrees:.1f}° apart. "
    chord, arc = (walk.length(path) for path in PATHS)
    whole = walk.between() or 1.0
    said = (
        f"At t = {walk.t:.2f} the norm that lies between the two is {1 - walk.t:.2f} × {a:.2f} + "
        f"{walk.t:.2f} × {b:.2f} = {walk.between():.3f}. The chord has norm {chord:.3f}, which is "
        f"{chord / whole:.0%} of it; "
    )
    if walk.straight:
        why = "one of them is zero" if 0.0 in walk.norms else "there is no single arc between them"
        return f"{text}{said}{why}, so SLERP takes the chord, too."
    same = " It is the chord, for all one can see." if abs(arc - chord) < 0.005 * whole else ""
    first, second = (f"{factor:.3f}" for factor in walk.factors("arc"))
    return (
        f"{text}{said}the arc has norm {arc:.3f}, which is {arc / whole:.0%} of it.{same} "
        f"The arc is {first} × {walk.names[0]} + {second} × {walk.names[1]}."
    )
