"""A plan becomes a merged model: read, merge, write, one tensor at a time.

Nothing is multiplied out for more than one tensor, everything is computed in fp32, and each value
is rounded once, when it is written.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from mergelab.checkpoints import CheckpointWriter, Slot, whole_folder
from mergelab.checkpoints.loading import load_tokenizer, model_from_state
from mergelab.errors import UserError
from mergelab.kernels import gram, merge_tensor, opposed
from mergelab.kernels.operands import dense
from mergelab.methods.slerp import angle, is_linear
from mergelab.recipes import Plan, Recipe, TensorPlan, make_plan, parse_recipe, read_recipe
from mergelab.recipes.inputs import change_operands
from mergelab.report import MergeReport, TensorReport

NEAR_BASE = 0.25  # a merge that keeps less of the magnitude is pointed out
RECIPE_NAME = "mergelab_recipe.yaml"
_CARRIED = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "chat_template*",
)

Progress = Callable[[int, int, str], None]


@dataclass
class MergeResult:
    """What a merge gave: its report, the folder it lies in, or the tensors if it has none."""

    plan: Plan
    report: MergeReport
    path: Path | None = None
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def load(self) -> tuple[Any, Any]:
        """The merged model in fp32 and its tokenizer, ready to generate."""
        tensors = self.tensors
        if self.path is not None:
            from mergelab.checkpoints import Checkpoint

            written = Checkpoint(self.path)
            tensors = {name: written.read(name) for name in written.names}
        model = model_from_state(self.plan.skeleton, tensors, layers=self.plan.layers)
        return model, load_tokenizer(self.plan.tokenizer.path)


def merge(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    out: Path | str | None = None,
    *,
    seed: int = 0,
    dtype: str | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> MergeResult:
    """Merge models as a recipe says.

    `recipe`: a YAML file, a mapping, or a `Recipe`. `out`: the folder to write, which must not
    exist; without it the merged tensors stay in memory. `seed` names the random numbers of DARE.
    `dtype` overrides the recipe's output dtype; `device` is where tensors are merged. `progress`
    is called with (tensors done, tensors in all, name).

    Raises `UserError`, one line, for whatever in recipe, models or output cannot be used; then
    nothing is written.

    >>> persona, agentic = ({"model": f"task_api_{name}"} for name in ("persona", "agentic"))
    >>> recipe = {"merge_method": "ties", "models": [persona, agentic]}
    >>> merge(recipe | {"parameters": {"density": 0.5}}).report.method
    'ties'
    """
    plan = _plan(recipe, dtype)
    if plan.space == "factors":
        raise UserError("space: factors cannot be merged yet; write 'space: task_vectors'")
    run = _Run(plan, seed, _device(device), progress)
    if out is None:
        result = MergeResult(plan, run.report)
        run.each(result.tensors.__setitem__)
        return result
    with whole_folder(Path(out)) as folder:
        slots = [Slot(t.name, t.dtype, t.shape) for t in plan.tensors]
        writer = CheckpointWriter(folder, slots)
        try:
            run.each(writer.write)
            with run.timed("write"):
                writer.close()
        finally:
            writer.abandon()
        _write_companions(plan, folder)
        run.report.save(folder)
    return MergeResult(plan, run.report, path=Path(out))


def _plan(recipe: Recipe | Mapping[str, Any] | str | Path, dtype: str | None) -> Plan:
    if isinstance(recipe, Recipe):
        return make_plan(recipe, dtype=dtype)
    if isinstance(recipe, Mapping):
        return make_plan(parse_recipe(dict(recipe)), dtype=dtype)
    path = Path(recipe)
    parsed = read_recipe(path)
    try:
        return make_plan(parsed, folders=(path.resolve().parent, Path()), dtype=dtype)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError):
        raise UserError(f"device '{name}': not available here; use cpu") from None
    return device


class _Run:
    """One run of a plan: merges its tensors one by one and keeps the report."""

    def __init__(
        self, plan: Plan, seed: int, device: torch.device, progress: Progress | None
    ) -> None:
        self.plan, self.seed, self.device, self.progress = plan, seed, device, progress
        method = plan.method
        removed = "dropped" if method.random else "trimmed" if method.prepare else ""
        self.report = MergeReport(
            method=method.name,
            sources=_labels(plan),
            base=plan.base.path.name if plan.base else None,
            space=plan.space,
            seed=seed,
            removed_word=removed,
            notes=list(plan.notes),
        )
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[stage] += time.perf_counter() - start
            self.report.seconds = dict(self._seconds)

    def each(self, put: Callable[[str, Tensor], None]) -> None:
        """Merge every tensor and hand it to `put`, rounded to its output dtype."""
        total = len(self.plan.tensors)
        for done, tensor in enumerate(self.plan.tensors):
            if self.progress:
                self.progress(done, total, tensor.name)
            value = self._merged(tensor)
            with self.timed("write"):
                put(tensor.name, _rounded(tensor, value))
        if self.progress:
            self.progress(total, total, "")
        kept = self.report.total().magnitude_kept
        if kept is not None and kept < NEAR_BASE:
            self.report.notes.append(
                f"{kept:.0%} of the task vectors' magnitude is left, so the merge is close to its "
                "base; evaluate it before you use it"
            )

    def _merged(self, tensor: TensorPlan) -> Tensor:
        if not tensor.dtype.is_floating_point:  # positions, masks: nothing to average
            with self.timed("read"):
                number, name = tensor.inputs[0]
                model = self.plan.base or self.plan.sources[number].model
                return self._copied(model.read(tensor.base or name))
        with self.timed("read"):
            base = self.plan.base.read(tensor.base) if self.plan.base else None
            changes = [None if c is None else dense(c) for c in change_operands(self.plan, tensor)]
        if base is not None and all(change is None for change in changes):
            self._check_finite(tensor, base, changes)
            return self._copied(base)
        with self.timed("merge"):
            return self._combine(tensor, base, changes)

    def _copied(self, value: Tensor) -> Tensor:
        self.report.copied += 1
        self.report.copied_entries += value.numel()
        return value

    def _combine(
        self, tensor: TensorPlan, base: Tensor | None, changes: Sequence[Tensor | None]
    ) -> Tensor:
        plan = self.plan
        origin = None if base is None else base.to(self.device).float()
        inputs = [
            torch.zeros_like(origin) if change is None else change.to(self.device)
            for change in changes
        ]
        self._check_finite(tensor, origin, inputs)
        in_weights = origin is not None and plan.space == "weights"
        operands = [origin + change for change in inputs] if in_weights else inputs
        try:
            merged = merge_tensor(
                plan.method,
                operands,
                tensor.settings,
                tensor.per_source,
                base=origin,
                seed=self.seed,
                streams=streams_of(plan, tensor) if plan.method.random else (),
            )
        except ValueError as error:
            raise UserError(f"{tensor.name}: {error}") from None
        value = merged.value if in_weights or origin is None else origin + merged.value
        change = merged.value - origin if in_weights else merged.value
        counts = merged.counts
        conflicts = counts.conflicts
        square = counts.merged_square
        if in_weights:
            flat = change.double().flatten()
            square = float(flat @ flat)
            conflicts = int(opposed(inputs).sum())
        listed = sorted(range(len(inputs)), key=lambda i: tensor.inputs[i][0])
        task_gram = gram(inputs) if in_weights else counts.gram
        self.report.tensors.append(
            TensorReport(
                name=tensor.name,
                layer=tensor.layer,
                entries=counts.entries,
                removed=tuple(counts.removed[i] for i in listed),
                conflicts=None if origin is None else conflicts,
                resolved=counts.resolved,
                weights=tuple(tensor.per_source[i].get("weight", 1.0) for i in listed),
                gram=_reorder(task_gram, listed),
                merged_square=square,
                weight_gram=_reorder(counts.gram, listed) if plan.space == "weights" else None,
                linear_fallback=plan.method.ordered and is_linear(angle(*operands)),
                rescale=tuple(_rescale(plan, tensor, i) for i in listed)
                if plan.method.random
                else (),
            )
        )
        return value

    def _check_finite(
        self, tensor: TensorPlan, base: Tensor | None, changes: Sequence[Tensor | None]
    ) -> None:
        """Refuse NaN and infinity before merging: trim and election would lose track of them."""
        operands = [] if base is None else [(self.plan.base.path.name, base)]
        for (number, _), change in zip(tensor.inputs, changes, strict=True):
            if change is not None:
                operands.append((self.plan.sources[number].name, change))
        for name, operand in operands:
            if not _is_finite(operand):
                raise UserError(
                    f"{name}: '{tensor.name}' holds NaN or infinity; it cannot be merged"
                )


def _rounded(tensor: TensorPlan, value: Tensor) -> Tensor:
    """The one rounding of a merge, on the CPU; refused where a value does not fit the dtype."""
    rounded = value.to("cpu", tensor.dtype)
    if tensor.dtype.is_floating_point and not _is_finite(rounded):
        narrow = tensor.dtype == torch.float16 and _is_finite(value)
        advice = "use bfloat16 or float32" if narrow else "use smaller weights"
        dtype = str(tensor.dtype).removeprefix("torch.")
        raise UserError(f"{tensor.name}: values do not fit {dtype}; {advice}")
    return rounded


def _is_finite(tensor: Tensor) -> bool:
    """Whether all entries are finite; a finite sum says so in one pass, without a mask."""
    values = tensor.float() if tensor.dtype.itemsize == 1 else tensor
    return math.isfinite(float(values.sum())) or bool(torch.isfinite(values).all())


def task_vectors(plan: Plan) -> Iterator[tuple[TensorPlan, Tensor, list[Tensor]]]:
    """Every tensor that a source changes: its plan, the base's values and the changes, in fp32.

    The changes are in the order of the plan's sources; a source that leaves a tensor alone gives
    zeros.
    """
    for tensor in plan.tensors:
        base = plan.base.read(tensor.base)
        if not base.is_floating_point():
            continue
        inputs = sorted(tensor.inputs)
        changes = change_operands(plan, replace(tensor, inputs=tuple(inputs)))
        if any(change is not None for change in changes):
            origin = base.float()
            yield (
                tensor,
                origin,
                [torch.zeros_like(origin) if c is None else dense(c) for c in changes],
            )


def _labels(plan: Plan) -> list[str]:
    """The sources' names, or what the recipe calls them where two names are the same."""
    names = [source.name for source in plan.sources]
    return [
        source.reference if names.count(name) > 1 else name
        for source, name in zip(plan.sources, names, strict=True)
    ]


def _rescale(plan: Plan, tensor: TensorPlan, i: int) -> float:
    density = tensor.per_source[i]["density"]
    return 1 / density if density > 0 and tensor.settings["rescale"] else 1.0


def _reorder(matrix: Sequence[Sequence[float]], order: Sequence[int]) -> tuple:
    return tuple(tuple(matrix[i][j] for j in order) for i in order)


def streams_of(plan: Plan, tensor: TensorPlan) -> list[int]:
    """The random stream of each input of a tensor: from the source's content and the name only.

    Sources of one content get different streams, numbered in the canonical order of the inputs.
    """
    seen: Counter[str] = Counter()
    streams = []
    for number, _ in tensor.inputs:
        fingerprint = plan.sources[number].fingerprint
        text = f"{fingerprint}#{seen[fingerprint]}|{tensor.name}"
        seen[fingerprint] += 1
        streams.append(
            int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
        )
    return streams


def _write_companions(plan: Plan, folder: Path) -> None:
    """Config, tokenizer, generation config and the recipe, beside the weights."""
    config = dict(plan.skeleton.config)
    if "num_hidden_layers" in config:
        config["num_hidden_layers"] = plan.layers
    floating = [t.dtype for t in plan.tensors if t.dtype.is_floating_point]
    if floating:
        name = str(max(sorted(set(floating), key=str), key=floating.count)).removeprefix("torch.")
        config.pop("torch_dtype", None)
        config["dtype"] = name
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    generation = plan.skeleton.path / "generation_config.json"
    if generation.exists():
        shutil.copyfile(generation, folder / generation.name)
    for pattern in _CARRIED:
        for file in sorted(plan.tokenizer.path.glob(pattern)):
            if file.is_file():
                shutil.copyfile(file, folder / file.name)
    template = plan.recipe.chat_template
    if template and template != "auto":
        (folder / "chat_template.jinja").write_text(template)
    written = plan.recipe.model_dump(exclude_none=True, mode="json")
    (folder / RECIPE_NAME).write_text(yaml.safe_dump(written, sort_keys=False))
