"""Which method to try first: the published rule, what speaks for it here, and what against it.

One rule for the command `mergelab inspect` and for the lessons' chooser.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mergelab.errors import UserError

if TYPE_CHECKING:
    from mergelab.interference import Overlap

SIMILAR, DISTINCT = "similar", "distinct"
SIMILAR_COSINE = 0.5
UNEVEN_NORMS = 1.25  # beyond this the smaller model visibly loses elections by mass


def first_choice(
    models: int, kind: str, *, compressed: bool = False
) -> tuple[str, dict[str, float]]:
    """Return the method, with its parameters, that is usually advised for so many models.

    `kind`: "similar" or "distinct"; `compressed`: the change is to be stored sparsely.

    >>> first_choice(2, "distinct"), first_choice(2, "similar")
    (('ties', {'density': 0.5}), ('slerp', {'t': 0.5}))
    """
    if compressed:
        return "dare_ties", {"density": 0.3}
    if models == 2 and kind == SIMILAR:
        return "slerp", {"t": 0.5}
    return "ties", {"density": 0.5}


def advise(total: Overlap) -> tuple[str, str]:
    """Return the strategy to try first for models with this overlap, and why.

    It follows from their number and the angle between them. It is a starting point, to be compared
    with the linear baseline on an evaluation.
    """
    count = len(total.relative_norms)
    low, high = min(total.relative_norms), max(total.relative_norms)
    if low == 0:
        return (
            "no merge",
            "one of the models changes nothing in the base, so the others already are the merge",
        )
    cosine = total.cosine if total.cosine is not None else 0.0
    kind = SIMILAR if cosine > SIMILAR_COSINE else DISTINCT
    method, parameters = first_choice(count, kind)
    advice = ", ".join([method, *(f"{name}: {value:g}" for name, value in parameters.items())])
    number = "two" if count == 2 else str(count)
    angle = math.degrees(math.acos(max(-1.0, min(1.0, cosine))))
    mean = "" if count == 2 else "mean "
    seen = f"{number} {kind} models ({mean}cosine of the task vectors {cosine:.2f}, {angle:.0f}°)"
    if high / low > UNEVEN_NORMS:
        seen += (
            f", one {high / low:.1f} times as large as the {'other' if count == 2 else 'smallest'}"
        )
    kept = math.sqrt(max(0.0, (1 + (count - 1) * cosine) / count))
    if method == "slerp":
        return advice, (
            f"{seen}; the arc between them keeps their length, of which an average keeps {kept:.0%}"
        )
    because = (
        f"{seen}; an average leaves 1/{count} of each change, while ties keeps what agrees at full "
        f"size and drops the losing side of every conflict ({total.conflict_mass:.0%} of the "
        "magnitude before trimming)"
    )
    if high / low > UNEVEN_NORMS:
        because += "; the larger one has more say in the vote, so give the smaller more weight"
    return advice, because


def doubt(total: Overlap, top: float) -> str:
    """Return what these measurements do not tell, with the figures that show it.

    `top` is the share of each model's entries that counted as changed.
    """
    count = len(total.relative_norms)
    chance = 1 - 2 * (1 - top / 2) ** count + (1 - top) ** count
    text = (
        "None of these figures tells which merge will be best: "
        f"{total.opposite_sign:.1%} of the entries are changed in opposite directions, and models "
        f"that have nothing to do with each other would show {chance:.1%}."
    )
    scale = _scale_in_ladder()
    return text + (f" {scale}" if scale else "") + " So try the scale, too, and measure."


def _scale_in_ladder() -> str:
    """What the shipped table says of sign election against a plain sum of the best scale."""
    from mergelab.evaluation.ladder import read_ladder

    try:
        rows = read_ladder()
    except UserError:
        return ""
    gaps: list[Any] = [
        row.ties_ahead
        for row in rows
        if (row.method, row.scale) == ("task_arithmetic", "best") and row.ties_ahead
    ]
    ahead = sum(gap.low > 0 for gap in gaps)
    behind = sum(gap.high < 0 for gap in gaps)
    return (
        f"On the course's {len(gaps)} pairs of growing conflict (data/tables/ladder.csv), with the "
        f"best scale for each, ties was better than a plain sum in {ahead or 'none'}, worse in "
        f"{behind or 'none'}, and within noise in {len(gaps) - ahead - behind or 'none'}."
    )
