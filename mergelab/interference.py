"""How much models get in each other's way, measured before anything is merged.

For each tensor an entry counts as *changed* by a model if it is among the top `q` of that model's
changes there by magnitude. Then every entry is changed by nobody, by one model only, by several in
the same direction, or by several in opposite directions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mergelab.advice import advise, doubt
from mergelab.errors import UserError
from mergelab.methods import trim
from mergelab.methods.gram import gram
from mergelab.recipes import Plan, make_plan, parse_recipe
from mergelab.recipes.members import BaseMissing
from mergelab.report import mean_angle

DEFAULT_TOP = 0.2


@dataclass(frozen=True)
class Overlap:
    """Interference in a group of tensors. Shares are of all entries and add up to 1.

    `relative_norms`: size of each model's change over the base's, `|tau_i| / |W0|`; `cosine`: mean
    over pairs of task vectors; `conflict_mass`: the share of the total magnitude that stands
    against the elected sign.
    """

    label: str
    entries: int
    untouched: float
    one_only: float
    same_sign: float
    opposite_sign: float
    conflict_mass: float
    cosine: float | None
    relative_norms: tuple[float, ...]


@dataclass(frozen=True)
class Inspection:
    """Interference per layer and in total, the strategy advised, its reason, and its limits."""

    models: tuple[str, ...]
    base: str
    top: float
    layers: tuple[Overlap, ...]
    total: Overlap
    advice: str
    reason: str
    doubt: str

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return asdict(self)


@dataclass
class _Sums:
    """Running totals that add up exactly over tensors."""

    entries: int = 0
    one: int = 0
    same: int = 0
    opposite: int = 0
    mass: float = 0.0
    against: float = 0.0
    base_square: float = 0.0
    gram: list[list[float]] | None = None

    def add(self, other: _Sums) -> None:
        for name in ("entries", "one", "same", "opposite", "mass", "against", "base_square"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        mine = self.gram or [[0.0] * len(row) for row in other.gram]
        self.gram = [
            [a + b for a, b in zip(*rows, strict=True)]
            for rows in zip(mine, other.gram, strict=True)
        ]

    def overlap(self, label: str) -> Overlap:
        count = max(self.entries, 1)
        changed = self.one + self.same + self.opposite
        angle = mean_angle(self.gram or [])
        base = math.sqrt(self.base_square)
        return Overlap(
            label=label,
            entries=self.entries,
            untouched=1 - changed / count,
            one_only=self.one / count,
            same_sign=self.same / count,
            opposite_sign=self.opposite / count,
            conflict_mass=self.against / self.mass if self.mass else 0.0,
            cosine=None if angle is None else math.cos(math.radians(angle)),
            relative_norms=tuple(
                math.sqrt(row[i]) / base if base else math.nan
                for i, row in enumerate(self.gram or [])
            ),
        )


def overlap_of(deltas: Sequence[Tensor], base: Tensor, top: float = DEFAULT_TOP) -> Overlap:
    """Interference of task vectors in one tensor.

    `deltas`: N tensors of one shape, `base`: the base's tensor of that shape. Raises `ValueError`
    if shapes differ or `top` lies outside [0, 1].

    Source: the two kinds of interference of Yadav et al. 2023 (arXiv 2306.01708), section 3.

    >>> tau = [torch.tensor([0.5, 0.3, 0.0, 0.01]), torch.tensor([0.4, -0.2, 0.0, 0.01])]
    >>> found = overlap_of(tau, torch.ones(4), top=0.5)
    >>> found.untouched, found.one_only, found.same_sign, found.opposite_sign
    (0.5, 0.0, 0.25, 0.25)
    """
    return _sums(deltas, base, top).overlap("")


def _sums(deltas: Sequence[Tensor], base: Tensor, top: float) -> _Sums:
    changed = [trim(delta.float(), top) for delta in deltas]
    plus = sum((tensor > 0).int() for tensor in changed)
    minus = sum((tensor < 0).int() for tensor in changed)
    both = plus + minus
    opposite = (plus > 0) & (minus > 0)
    positive = sum(delta.float().clamp(min=0).double() for delta in deltas)
    negative = sum(-delta.float().clamp(max=0).double() for delta in deltas)
    flat = base.double().flatten()
    return _Sums(
        entries=base.numel(),
        one=int((both == 1).sum()),
        same=int(((both > 1) & ~opposite).sum()),
        opposite=int(opposite.sum()),
        mass=float((positive + negative).sum()),
        against=float(torch.minimum(positive, negative).sum()),
        base_square=float(flat @ flat),
        gram=[list(row) for row in gram(deltas)],
    )


def inspect_models(
    references: Sequence[str],
    *,
    base: str | None = None,
    top: float = DEFAULT_TOP,
    folders: Sequence[Path] = (Path(),),
    progress: Callable[[int, int, str], None] | None = None,
) -> Inspection:
    """Measure how models of one base interfere, per layer and in total.

    `references`: two or more models or adapters; `base`: their base, where adapters do not name
    it. `top`: the share of each tensor's entries that counts as changed. Raises `UserError` if
    the models do not belong together.
    """
    if len(references) < 2:
        raise UserError("inspect compares models; name at least two")
    if len(set(references)) < len(references):
        raise UserError("a model is named twice; inspect compares models that differ")
    if not 0 < top <= 1:
        raise UserError(f"top must be above 0 and at most 1, got {top:g}")
    recipe: dict[str, Any] = {
        "merge_method": "task_arithmetic",
        "models": [{"model": reference} for reference in references],
    }
    if base:
        recipe["base_model"] = base
    try:
        plan = make_plan(parse_recipe(recipe), folders=folders)
    except BaseMissing:
        raise UserError(
            "these are full models; name the one that they were fine-tuned from with --base "
            "(in Python: base=)"
        ) from None
    if len(plan.sources) < len(references):
        raise UserError(
            f"{plan.base.path.name} is the base of the others; name models that differ from it"
        )
    return inspect_plan(plan, top, progress)


def inspect_plan(
    plan: Plan, top: float = DEFAULT_TOP, progress: Callable[[int, int, str], None] | None = None
) -> Inspection:
    """As `inspect_models`, for models already opened by a plan."""
    from mergelab.engine import task_vectors

    groups: dict[int | None, _Sums] = {}
    total = _Sums()
    for done, (tensor, origin, deltas) in enumerate(task_vectors(plan)):
        if progress:
            progress(done, len(plan.tensors), tensor.name)
        sums = _sums(deltas, origin, top)
        groups.setdefault(tensor.layer, _Sums()).add(sums)
        total.add(sums)
    if not groups:
        raise UserError("these models change nothing in their base; there is nothing to merge")
    order = sorted(groups, key=lambda layer: (layer is not None, layer or 0))
    layers = tuple(
        groups[k].overlap("outside layers" if k is None else f"layer {k}") for k in order
    )
    whole = total.overlap("total")
    advice, reason = advise(whole)
    names = tuple(source.name for source in plan.sources)
    return Inspection(
        names, plan.base.path.name, top, layers, whole, advice, reason, doubt(whole, top)
    )


def inspection_table(inspection: Inspection) -> Any:
    """The inspection as a rich table: a row for each layer and one for the total."""
    from rich.table import Table

    title = f"Interference of {' and '.join(inspection.models)} on {inspection.base}"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for heading in ("none", "one\nonly", "same\nsign", "opposite\nsign", "conflict\nmass"):
        table.add_column(heading, justify="right")
    table.add_column("cosine", justify="right")
    for model in inspection.models:
        table.add_column(f"|τ|/|W0|\n{model}", justify="right")
    for row in (*inspection.layers, inspection.total):
        shares = (row.untouched, row.one_only, row.same_sign, row.opposite_sign, row.conflict_mass)
        table.add_row(
            row.label,
            *(f"{share:.1%}" for share in shares),
            "-" if row.cosine is None else f"{row.cosine:+.3f}",
            *(f"{norm:.3f}" for norm in row.relative_norms),
            style="bold" if row is inspection.total else None,
            end_section=row is inspection.layers[-1],
        )
    return table
