"""From `out` and `name[10, 33]` to the explanation of that entry."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from mergelab.checkpoints import Checkpoint
from mergelab.checkpoints.adapter import Adapter
from mergelab.companions import RECIPE_NAME
from mergelab.engine.tensor_merges import Setting
from mergelab.engine.whole_model import with_global_numbers, workers_for
from mergelab.errors import UserError
from mergelab.explanation.record import Explanation, Step, number
from mergelab.explanation.rerun import Rerun, rerun
from mergelab.explanation.steps import Told
from mergelab.kernels.operands import as_matrix
from mergelab.recipes import Plan, Recipe, TensorPlan, make_plan, read_recipe
from mergelab.recipes.compat import NOT_REPRODUCED
from mergelab.report import MergeReport, load_report

PARTIES = {"paper": "paper", "mergekit": "mergekit", "peft": "PEFT"}  # presets, and their names
_WEIGHT = re.compile(r"\s*(?P<name>[^\[\]\s]+)\s*\[(?P<index>[^\[\]]*)\]\s*")


def explain(out: Path | str, weight: str, *, folders: Sequence[Path | str] = ()) -> Explanation:
    """How one weight of a finished merge came about, step by step.

    `out`: the folder that a merge wrote; its sources must still be there. `weight`: a tensor's
    name and an entry, counted from 0, negative from the end: `model.norm.weight[3]`,
    `...up_proj.weight[10, 33]`. `folders`: where relative paths in the recipe start, if the merge
    was moved away from its sources.

    Raises `UserError`, one line, if there is no such weight, if `out` is not a merge's output, or
    if its sources are not found.

    >>> import tempfile
    >>> from mergelab import merge
    >>> recipe = {"merge_method": "ties", "models": [{"model": "task_api_persona"}]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = merge(recipe, folder + "/out").path
    ...     found = explain(path, "model.layers.0.mlp.up_proj.weight[10, 33]")
    >>> found.belongs, [step.step for step in found.steps][:3]
    (True, ['base', 'changes', 'trim'])
    """
    out = Path(out)
    report = load_report(out)
    recipe = read_recipe(out / RECIPE_NAME)
    places = [*map(Path, folders), *(out / folder for folder in report.folders)]
    places += [Path(), out.absolute().parent]
    plan = _plan(recipe, places, report.seed)
    tensor, index = _find(plan, weight)
    return _Explained(out, report, recipe, places, plan, tensor, index).explanation()


def _plan(recipe: Recipe, places: Sequence[Path], seed: int) -> Plan:
    try:
        plan = make_plan(recipe, folders=places)
        return with_global_numbers(plan, Setting(seed), workers_for(None))
    except UserError as error:
        raise UserError(
            f"{error}; a merge is explained from its sources, name the folder that its recipe's "
            "paths start from with --folder (in Python: folders=)"
        ) from None


def _find(plan: Plan, weight: str) -> tuple[TensorPlan, tuple[int, ...]]:
    match = _WEIGHT.fullmatch(weight)
    name = match["name"] if match else weight.strip()
    tensors = {tensor.name: tensor for tensor in plan.tensors}
    if name not in tensors:
        near = difflib.get_close_matches(name, tensors, n=2, cutoff=0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UserError(f"the merge has no tensor '{name}'{hint}")
    tensor = tensors[name]
    return tensor, _index(tensor, match["index"] if match else None)


def _index(tensor: TensorPlan, text: str | None) -> tuple[int, ...]:
    shape = tensor.shape
    example = ", ".join(str(size // 2) for size in shape)
    usage = f"write {tensor.name}[{example}]; its shape is {list(shape)}"
    if text is None:
        raise UserError(f"which entry? {usage}")
    try:
        index = tuple(int(part) for part in text.split(",")) if text.strip() else ()
    except ValueError:
        raise UserError(f"[{text}] is no entry; {usage}") from None
    if len(index) != len(shape):
        raise UserError(f"[{text}] has {len(index)} numbers for {len(shape)} dimensions; {usage}")
    for i, size in zip(index, shape, strict=True):
        if not -size <= i < size:
            raise UserError(f"[{text}] lies outside the tensor, entries count from 0; {usage}")
    return tuple(i % size for i, size in zip(index, shape, strict=True))


@dataclass(frozen=True)
class _Explained:
    """Puts the explanation of one entry together."""

    out: Path
    report: MergeReport
    recipe: Recipe
    places: Sequence[Path]
    plan: Plan
    tensor: TensorPlan
    index: tuple[int, ...]

    @cached_property
    def place(self) -> int:
        """The entry's place in the flat tensor."""
        place = 0
        for i, size in zip(self.index, self.tensor.shape, strict=True):
            place = place * size + i
        return place

    @cached_property
    def names(self) -> list[str]:
        """What the report calls the sources."""
        names = [source.name for source in self.plan.sources]
        return self.report.sources if len(self.report.sources) == len(names) else names

    def explanation(self) -> Explanation:
        run = rerun(self.plan, self.tensor, self.report.seed)
        steps = [*self._where(), *(self._copied() if run is None else self._way(run))]
        merged = None if run is None or run.merged is None else self._at(run.merged)
        value = self._origin() if run is None else run.value
        stored, belongs, said = self._stored(value, run)
        rounded = self._rounded(value, stored)
        steps += [
            Step("result", "", self._at(value), self._sum_in_words(run)),
            Step("rounded", "", float(rounded), f"to {_name_of(stored.dtype)}"),
            Step("stored", "", float(stored), said),
            *(self._others(run, stored.dtype) if run is not None else ()),
        ]
        return Explanation(
            weight=f"{self.tensor.name}[{', '.join(map(str, self.index))}]",
            out=self.out.name,
            method=self.plan.method.name,
            sources=tuple(self.names),
            steps=tuple(steps),
            merged=merged,
            value=self._at(value),
            rounded=float(rounded),
            stored=float(stored),
            belongs=belongs,
        )

    def _at(self, tensor: Tensor) -> float:
        return float(tensor.flatten()[self.place])

    def _where(self) -> Iterator[Step]:
        """In a merge of slices, the layers that the tensor comes from."""
        for source, name in self.tensor.inputs:
            if name != self.tensor.name:
                yield Step("layer", self.names[source], None, f"taken from {name}")

    def _origin(self) -> Tensor:
        """The tensor that was copied, as it is stored."""
        source, name = self.tensor.inputs[0]
        if self.tensor.base is not None:
            return self.plan.base.read(self.tensor.base)
        return self.plan.sources[source].model.read(name)

    def _copied(self) -> Iterator[Step]:
        origin = self._origin()
        said = "no source changes this tensor; it is copied"
        if not origin.is_floating_point():
            said = "whole numbers are not merged; the tensor is copied"
        yield Step("base", "", self._at(origin), said)

    def _way(self, run: Rerun) -> Iterator[Step]:
        inputs = [source for source, _ in self.tensor.inputs]
        order = list(range(len(inputs)))
        if not self.plan.method.ordered:  # as the recipe lists them
            order.sort(key=inputs.__getitem__)
        told = Told(run, self.place, [self.names[n] for n in inputs], order)
        if run.base is not None:
            yield Step("base", "", self._at(run.base), f"in {self.plan.base.path.name}")
        yield from told.changes()
        if run.apart:
            said = "product of A's and B's that were merged apart, as PEFT does"
            yield Step("merged", "", self._at(run.combined), said)
            return
        yield from told.prepared()
        yield from told.combined()

    def _sum_in_words(self, run: Rerun | None) -> str:
        if run is None:
            return "as it was"
        if run.base is None or run.merged is None:
            return "the merged weight"
        if run.in_weights:
            return f"the merged weight, {number(self._at(run.merged))} from the base"
        return "base plus merged change"

    def _rounded(self, value: Tensor, stored: Tensor) -> Tensor:
        return value.flatten()[self.place].to(stored.dtype)

    def _stored(self, value: Tensor, run: Rerun | None) -> tuple[Tensor, bool, str]:
        """The output's own value, whether it is what its sources give, and that in words."""
        row, column = divmod(self.place, max(as_matrix(self.tensor.shape)[1], 1))
        if (self.out / "adapter_config.json").exists():
            return self._in_factors(run, row, column)
        written = Checkpoint(self.out)
        if self.tensor.name not in written:
            raise UserError(f"{self.out}: has no tensor '{self.tensor.name}'; it was changed")
        if written.entry(self.tensor.name).shape != self.tensor.shape:
            raise UserError(f"{self.out}: '{self.tensor.name}' has another shape; it was changed")
        stored = written.read_rows(self.tensor.name, row, row + 1).flatten()[column]
        if _bits(self._rounded(value, stored)) == _bits(stored):
            return stored, True, f"in {self.out.name}: the same, bit for bit"
        return stored, False, f"in {self.out.name}: {self._changed()}"

    def _in_factors(self, run: Rerun | None, row: int, column: int) -> tuple[Tensor, bool, str]:
        """As `_stored`, for an adapter: what its factors add to the base."""
        operand = Adapter(self.out).task_vector(self.tensor.name, self.plan.base)
        change = torch.zeros(()) if operand is None else operand.rows(row, row + 1)[0, column]
        merged = torch.zeros(1) if run is None else run.merged
        reports = {tensor.name: tensor for tensor in self.report.tensors}
        error = getattr(reports.get(self.tensor.name), "truncation_error", None) or 0.0
        allowed = (error * 1.001 + 1e-5) * float(merged.double().norm())
        missed = float(change) - (self._at(merged) if run is not None else 0.0)
        stored = self._at(self._origin() if run is None else run.base) + change
        said = f"base plus what the factors in {self.out.name} give, {number(float(change))}"
        if abs(missed) <= allowed:
            return stored, True, f"{said}; {number(missed)} by truncation"
        return stored, False, f"{said}; {self._changed()}"

    def _changed(self) -> str:
        now = [source.fingerprint for source in self.plan.sources]
        now += [self.plan.base.fingerprint] if self.plan.base else []
        names = [*self.names, self.report.base]
        then = self.report.fingerprints
        changed = [n for n, a, b in zip(names, now, then, strict=False) if a != b]
        what = f"{' and '.join(changed)} changed since" if changed else "something changed since"
        return f"not what its sources give now; the output no longer belongs to them ({what})"

    def _others(self, run: Rerun, dtype: torch.dtype) -> Iterator[Step]:
        """What each party's choices make of the same entry, with this merge's random numbers."""
        for party, name in PARTIES.items():
            try:
                recipe = self.recipe.model_copy(update={"compat": party})
                plan = make_plan(recipe, folders=self.places)
                plan = with_global_numbers(plan, Setting(self.report.seed), workers_for(None))
                tensor = next(t for t in plan.tensors if t.name == self.tensor.name)
                other = rerun(plan, tensor, self.report.seed)
            except UserError as error:
                reason = str(error).removeprefix("compat: ")
                yield Step("others", name, None, f"left out: {reason}")
                continue
            value, change = self._at(other.value.to(dtype)), self._at(_change(other))
            said = f"from a merged change of {number(change)}"
            if change == self._at(_change(run)):
                said = "the same"
            elif value == self._at(run.value.to(dtype)):
                said += ", the same once rounded"
            remark = NOT_REPRODUCED[party].get(plan.method.name)
            yield Step("others", name, value, f"{said}; {remark}" if remark else said)


def _change(run: Rerun) -> Tensor:
    """What the merge adds to the base; where there is none, the merged weights."""
    return run.combined if run.merged is None else run.merged


def _bits(value: Tensor) -> bytes:
    return value.reshape(1).contiguous().view(torch.uint8).numpy().tobytes()


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
