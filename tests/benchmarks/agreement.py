"""Whether two merges give the same model, and the right one, before their costs are compared.

Held against each other are the merged changes, merged weight minus base weight, of a sample of
tensors; the measure is the relative distance `|a - b| / |exact|` in Frobenius norms. Its unit is
the `floor`: what rounding the exact weights to the output's dtype costs by itself.

- Ours must be the float64 result rounded once: an error of at most `OURS` floors.
- mergekit rounds several times on the way; its distance to ours may be `THEIRS` floors.
- DARE draws other masks in each program: there the changes are held against their average over
  all masks, on which each must have a regression slope of 1, within `SLOPE`.
- What no adapter changes must be the base's, byte by byte.
"""

from __future__ import annotations

from pathlib import Path

import exact
import torch
from exact import Lora, Model
from torch import Tensor

OURS, THEIRS, SLOPE = 1.02, 6.0, 0.02
SAMPLED = ("self_attn.q_proj", "self_attn.k_proj", "mlp.down_proj")
FORMULAS = {
    "linear": exact.linear,
    "ties": exact.ties,
    "slerp": exact.slerp_of_weights,
    "dare_ties": exact.dare_ties_mean,
}


def compare(method: str, models: Path, ours: Path, theirs: Path | None = None) -> dict[str, object]:
    """The measures of a sample of tensors, and under "agree" the verdict on them."""
    base = Model(models / "base")
    adapters = [Lora(path) for path in sorted(models.glob("adapter_*"))]
    merged = {"ours": Model(ours)} | ({"theirs": Model(theirs)} if theirs else {})
    untouched = all(_leaves_alone(model, base, adapters) for model in merged.values())
    squares: dict[str, float] = {}
    names = sampled(adapters[0].names)
    for name in names:
        origin = base[name].double()
        change = FORMULAS[method](origin, [adapter.delta(name) for adapter in adapters])
        found = {who: model[name].double() - origin for who, model in merged.items()}
        for key, value in _squares(found, change, origin, base[name].dtype).items():
            squares[key] = squares.get(key, 0.0) + value
    measures = _measures(squares, random=method == "dare_ties")
    return {
        "tensors": names,
        "untouched_equal": untouched,
        **measures,
        "agree": untouched and verdict(measures),
    }


def sampled(names: list[str]) -> list[str]:
    """Some projections of the first and of the last layer."""
    layers = sorted({int(name.split(".")[2]) for name in names})
    return [
        f"model.layers.{layer}.{part}.weight"
        for layer in dict.fromkeys((layers[0], layers[-1]))
        for part in SAMPLED
    ]


def _leaves_alone(model: Model, base: Model, adapters: list[Lora]) -> bool:
    changed = {name for adapter in adapters for name in adapter.names}
    return model.names == base.names and all(
        torch.equal(model[name], base[name]) for name in base.names if name not in changed
    )


def _squares(
    found: dict[str, Tensor], change: Tensor, origin: Tensor, dtype: torch.dtype
) -> dict[str, float]:
    rounded = (origin + change).to(dtype).double() - origin
    squares = {"exact": _square(change), "floor": _square(rounded - change)}
    for who, delta in found.items():
        squares[who] = _square(delta - change)
        squares[f"{who}_along"] = float((delta * change).sum())
    if "theirs" in found:
        squares["apart"] = _square(found["ours"] - found["theirs"])
    return squares


def _square(x: Tensor) -> float:
    return float((x * x).sum())


def _measures(squares: dict[str, float], *, random: bool) -> dict[str, float]:
    whole = squares["exact"]
    who = [name for name in ("ours", "theirs") if name in squares]
    if random:
        return {f"slope_{name}": squares[f"{name}_along"] / whole for name in who}
    keys = {"floor": "floor", "apart": "apart", "ours": "error_ours", "theirs": "error_theirs"}
    return {keys[k]: (squares[k] / whole) ** 0.5 for k in keys if k in squares}


def verdict(measures: dict[str, float]) -> bool:
    """Whether the measures are within their limits.

    >>> verdict({"floor": 0.05, "error_ours": 0.05, "error_theirs": 0.13, "apart": 0.12})
    True
    >>> verdict({"slope_ours": 1.001, "slope_theirs": 0.5})
    False
    """
    slopes = [value for key, value in measures.items() if key.startswith("slope")]
    if slopes:
        return all(abs(slope - 1) <= SLOPE for slope in slopes)
    floor = measures["floor"]
    return measures["error_ours"] <= OURS * floor and measures.get("apart", 0.0) <= THEIRS * floor
