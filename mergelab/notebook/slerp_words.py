"""Sentences and tables about SLERP, written from what was measured or from what the tool does."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from mergelab.errors import UserError
from mergelab.evaluation.results import Evaluation, compare
from mergelab.evaluation.statistics import Interval
from mergelab.methods import slerp
from mergelab.notebook.tables import Table
from mergelab.notebook.verdicts import beyond_noise, signed_short


def size_or_path(size: Interval, path: Interval) -> str:
    """Which part of SLERP's lead over linear is size, and which is the path it takes.

    `size`: the linear merge stretched to SLERP's size, minus the plain one; `path`: SLERP minus the
    stretched one.

    >>> print(size_or_path(Interval(0.13, 0.09, 0.17), Interval(-0.01, -0.05, 0.03)))
    Size gives +.13, more than noise; the arc on top of it gives −.01, within noise. Nothing is left
    of SLERP's lead that these items can show: it was the size.
    """
    text = (
        f"Size gives {signed_short(size.estimate)}, {_noise(size)}; the arc on top of it gives "
        f"{signed_short(path.estimate)}, {_noise(path)}. "
    )
    arc, length = beyond_noise(path), beyond_noise(size)
    if arc > 0 and length > 0:
        return text + "Size explains a part of the lead, and the arc adds to it."
    if arc > 0:
        return text + "Here the lead is the arc's, not the size's."
    if arc < 0:
        return text + "At the same size the straight line is better than the arc."
    if length > 0:
        return text + (
            "Nothing is left of SLERP's lead that these items can show: it was the size."
        )
    return text + "There is no lead here that these items can show."


def published_lead(
    arc: Mapping[float, Evaluation],
    chord: Mapping[float, Evaluation],
    published_arc: Mapping[float, float],
    published_chord: Mapping[float, float],
) -> str:
    """SLERP's lead over linear at each published t, theirs beside ours, and what holds of it."""
    at = sorted(published_arc)
    theirs = [published_arc[t] - published_chord[t] for t in at]
    ours = [compare(arc[t], chord[t])["combined"] for t in at]
    best = max(at, key=lambda t: arc[t].combined.estimate)
    positions = _list([f"{t:g}" for t in at])
    text = (
        f"SLERP minus linear at t = {positions}. Published: "
        f"{_list([signed_short(x, 3) for x in theirs])}. Here: "
        f"{_list([signed_short(x.estimate, 3) for x in ours])}. "
    )
    signs = [beyond_noise(x) for x in ours]
    if all(sign > 0 for sign in signs):
        text += "That SLERP is ahead holds here at every t, by more than noise"
        larger = all(x.low > max(theirs) for x in ours)
        text += ", and by more than was published. " if larger else ". "
    elif any(sign > 0 for sign in signs):
        where = _list([f"{t:g}" for t, sign in zip(at, signs, strict=True) if sign > 0])
        text += f"SLERP is ahead by more than noise at t = {where} only. "
    elif any(sign < 0 for sign in signs):
        text += "SLERP is behind by more than noise somewhere, and ahead nowhere. "
    else:
        text += "No difference here is more than noise. "
    peak = max(at, key=lambda t: published_arc[t])
    agrees = "as published" if best == peak else f"where the published best is {peak:g}"
    return f"{text}Of these three, the best t of SLERP here is {best:g}, {agrees}."


def slerp_edges() -> Table:
    """What `mergelab.methods.slerp` and a recipe do at the edges, computed on the spot."""

    def vector(*values: float) -> Tensor:
        return torch.tensor(values)

    a = vector(1.0, 2.0)
    cases: list[tuple[str, str, Callable[[], object]]] = [
        ("parallel", "[1, 2] and [3, 6], t = .5", lambda: slerp(a, 3 * a, 0.5)),
        ("opposite, half way", "[1, 2] and [−1, −2], t = .5", lambda: slerp(a, -a, 0.5)),
        ("opposite, other norm", "[1, 2] and [−3, −6], t = .5", lambda: slerp(a, -3 * a, 0.5)),
        ("a zero vector", "[0, 0] and [1, 2], t = .25", lambda: slerp(0 * a, a, 0.25)),
        (
            "different norms",
            "[2, 0] and [0, 1], t = .5",
            lambda: slerp(vector(2.0, 0.0), vector(0.0, 1.0), 0.5),
        ),
        (
            "the same with norm: interpolate",
            "[2, 0] and [0, 1], t = .5",
            lambda: slerp(vector(2.0, 0.0), vector(0.0, 1.0), 0.5, norm="interpolate"),
        ),
        ("an empty tensor", "[] and [], t = .5", lambda: slerp(vector(), vector(), 0.5)),
        ("one entry", "[.5] and [−.25], t = .5", lambda: slerp(vector(0.5), vector(-0.25), 0.5)),
        ("t outside 0 to 1", "[1, 2] and [3, 1], t = 1.5", lambda: slerp(a, a.flip(0), 1.5)),
        ("a recipe with t = 1.5", "persona, agentic", lambda: _merge(2, 1.5)),
        ("a recipe with three models", "persona, agentic and a third", lambda: _merge(3, 0.5)),
    ]
    rows = []
    for label, what, run in cases:
        try:
            rows.append([label, what, _shown(run())])
        except (ValueError, UserError) as error:
            rows.append([label, what, f"error: {error}"])
    return Table(["", "input", "result"], rows, text_columns=range(3))


def _merge(models: int, t: float) -> object:
    import mergelab

    names = ["task_api_persona", "task_api_agentic", "task_api_persona_conflict"][:models]
    return mergelab.merge(
        {
            "merge_method": "slerp",
            "base_model": "base",
            "models": [{"model": name} for name in names],
            "parameters": {"t": t},
            "dtype": "float32",
        }
    )


def _shown(value: object) -> str:
    if not isinstance(value, Tensor):
        return "merged"
    text = ", ".join(f"{x + 0.0:.3g}" for x in value.tolist()).replace("-", "−")
    return f"[{text}], norm {float(value.norm()):.3g}"


def _noise(difference: Interval) -> str:
    return "more than noise" if beyond_noise(difference) else "within noise"


def _list(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
