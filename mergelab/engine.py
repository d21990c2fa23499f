"""A plan becomes a merged model: read, merge, write, tensor by tensor and part by part.

Several tensors are in the works at once, each in runs of rows that fit a core's cache; nothing is
multiplied out whole, everything is computed in fp32, and each value is rounded once, when it is
written. What comes out depends on the recipe, the models and the seed alone: not on the number of
workers, the size of shards, or the order in which the recipe lists the models.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from mergelab.checkpoints import CheckpointWriter, Slot, whole_folder
from mergelab.checkpoints.loading import load_tokenizer, model_from_state
from mergelab.checkpoints.safetensors_file import seconds_reading
from mergelab.checkpoints.writer import MAX_SHARD_BYTES
from mergelab.companions import write_companions
from mergelab.errors import UserError
from mergelab.finite import check, checked, rounded
from mergelab.kernels import Backend, Merge, TiledMerge, choose, tiles
from mergelab.kernels.operands import Operand, Zeros, as_matrix, dense, on_device
from mergelab.methods.gram import angle_between
from mergelab.methods.slerp import SIN_THRESHOLD, is_linear, sine_of
from mergelab.recipes import Plan, Recipe, TensorPlan, make_plan, parse_recipe, read_recipe
from mergelab.recipes.inputs import base_operand, change_operands
from mergelab.report import MergeReport, TensorReport

NEAR_BASE = 0.25  # a merge that keeps less of the magnitude is pointed out

Progress = Callable[[int, int, str], None]
Watch = Callable[[TensorReport], None]
Parts = Iterator[tuple[int, int, Tensor]]  # first row, the one after the last, values


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
    backend: str = "auto",
    workers: int | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> MergeResult:
    """Merge models as a recipe says.

    `recipe`: a YAML file, a mapping, or a `Recipe`. `out`: the folder to write, which must not
    exist; without it the merged tensors stay in memory. `seed` names the random numbers of DARE.
    `dtype` overrides the recipe's output dtype; `device` is where tensors are merged, `workers`
    how many at once (by default one for each processor), `backend` what does the inner loops
    ("auto", "torch", "cpu"); neither changes a bit of the result. `progress` is called with
    (tensors done, tensors in all, name), `watch` with what was found out about each merged tensor.

    Raises `UserError`, one line, for whatever in recipe, models or output cannot be used; then
    nothing is written.

    >>> persona, agentic = ({"model": f"task_api_{name}"} for name in ("persona", "agentic"))
    >>> recipe = {"merge_method": "ties", "models": [persona, agentic]}
    >>> merge(recipe | {"parameters": {"density": 0.5}}).report.method
    'ties'
    """
    plan = _plan(recipe, dtype)
    _refuse_what_is_missing(plan)
    chosen = _device(device), _workers(workers), _backend(backend, plan, device)
    run = _Run(plan, seed, *chosen, progress, watch)
    if out is None:
        sink = _InMemory(plan.tensors)
        run.each(sink)
        return MergeResult(plan, run.report, tensors=sink.tensors)
    with whole_folder(Path(out)) as folder:
        slots = [Slot(t.name, t.dtype, t.shape) for t in plan.tensors]
        writer = CheckpointWriter(folder, slots, max_shard_bytes)
        try:
            run.each(writer)
            began = time.perf_counter()
            writer.close()
            run.add_seconds(write=time.perf_counter() - began)
        finally:
            writer.abandon()
        write_companions(plan, folder)
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


def _refuse_what_is_missing(plan: Plan) -> None:
    """No choice of a recipe is passed over in silence, those that cannot be merged yet neither."""
    if plan.space == "factors":
        raise UserError("space: factors cannot be merged yet; write 'space: task_vectors'")
    if any(tensor.settings.get("trim_scope") == "global" for tensor in plan.tensors):
        raise UserError("trim_scope: global cannot be merged yet; write 'trim_scope: tensor'")


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError):
        raise UserError(f"device '{name}': not available here; use cpu") from None
    return device


def _backend(name: str, plan: Plan, device: str) -> Backend:
    entries = sum(math.prod(t.shape) for t in plan.tensors if t.layer is not None)
    try:
        return choose(name, device=device, entries=entries)
    except ValueError as error:
        raise UserError(str(error)) from None


def _workers(asked: int | None) -> int:
    if asked is not None and asked < 1:
        raise UserError(f"workers must be at least 1, got {asked}")
    if asked is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return asked


class Sink(Protocol):
    """Where merged values go, run by run, from several threads."""

    def write_part(self, name: str, first: int, values: Tensor) -> None: ...


class _InMemory:
    """Keeps the merged tensors."""

    def __init__(self, planned: Sequence[TensorPlan]) -> None:
        self.tensors = {t.name: torch.empty(t.shape, dtype=t.dtype) for t in planned}

    def write_part(self, name: str, first: int, values: Tensor) -> None:
        flat = self.tensors[name].view(-1)
        flat[first : first + values.numel()] = values.flatten()


@dataclass(frozen=True)
class _Outcome:
    """What came of one tensor: its report (None for a copy), and the seconds of each stage."""

    report: TensorReport | None
    seconds: Mapping[str, float]


class _Stopped(Exception):
    """Another tensor failed, or somebody pressed Ctrl-C; this one need not be finished."""


class _Run:
    """One run of a plan: merges its tensors, several at once, and keeps the report."""

    def __init__(
        self,
        plan: Plan,
        seed: int,
        device: torch.device,
        workers: int,
        backend: Backend,
        progress: Progress | None,
        watch: Watch | None,
    ) -> None:
        self.plan, self.seed, self.device, self.workers = plan, seed, device, workers
        self.backend = backend
        self.progress, self.watch = progress, watch
        self._stopped = False
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

    def add_seconds(self, **stages: float) -> None:
        """Add to the seconds that each stage took, over all workers."""
        for stage, seconds in stages.items():
            self.report.seconds[stage] = self.report.seconds.get(stage, 0.0) + seconds

    def each(self, sink: Sink) -> None:
        """Merge every tensor and hand it to `sink`, rounded to its output dtype."""
        tensors = self.plan.tensors
        with one_thread_each(), ThreadPoolExecutor(self.workers) as pool:
            futures = [pool.submit(self._one, tensor, sink) for tensor in tensors]
            try:
                for done, (tensor, future) in enumerate(zip(tensors, futures, strict=True)):
                    if self.progress:
                        self.progress(done, len(tensors), tensor.name)
                    self._record(tensor, future.result())
            except BaseException:
                self._stopped = True
                pool.shutdown(cancel_futures=True)
                raise
        if self.progress:
            self.progress(len(tensors), len(tensors), "")
        kept = self.report.total().magnitude_kept
        if kept is not None and kept < NEAR_BASE:
            self.report.notes.append(
                f"{kept:.0%} of the task vectors' magnitude is left, so the merge is close to its "
                "base; evaluate it before you use it"
            )

    def _record(self, tensor: TensorPlan, outcome: _Outcome) -> None:
        self.add_seconds(**outcome.seconds)
        if outcome.report is None:
            self.report.copied += 1
            self.report.copied_entries += torch.Size(tensor.shape).numel()
            return
        self.report.tensors.append(outcome.report)
        if self.watch:
            self.watch(outcome.report)

    def _one(self, tensor: TensorPlan, sink: Sink) -> _Outcome:
        began, reading = time.perf_counter(), seconds_reading()
        writing = 0.0
        try:
            parts, report = self._parts(tensor)
            for start, _, values in parts:
                if self._stopped:
                    raise _Stopped
                part = rounded(values, tensor.dtype, tensor.name)
                putting = time.perf_counter()
                sink.write_part(tensor.name, start * as_matrix(tensor.shape)[1], part)
                writing += time.perf_counter() - putting
        except ValueError as error:
            raise UserError(f"{tensor.name}: {error}") from None
        reading = seconds_reading() - reading
        merging = time.perf_counter() - began - reading - writing
        return _Outcome(report(), {"read": reading, "merge": merging, "write": writing})

    def _parts(self, tensor: TensorPlan) -> tuple[Parts, Callable[[], TensorReport | None]]:
        """The tensor's values part by part, and what gives its report when all are taken."""
        plan = self.plan
        changes = change_operands(plan, tensor)
        floating = tensor.dtype.is_floating_point
        if not floating or (plan.base and all(change is None for change in changes)):
            return self._copy(tensor), lambda: None
        base = base_operand(plan, tensor)
        run = TiledMerge(
            Merge(
                plan.method,
                [
                    self._ready(change, plan.sources[number].name, tensor)
                    for change, (number, _) in zip(changes, tensor.inputs, strict=True)
                ],
                tensor.settings,
                tensor.per_source,
                base=None if base is None else self._ready(base, plan.base.path.name, tensor),
                in_weights=base is not None and plan.space == "weights",
                seed=self.seed,
                streams=streams_of(plan, tensor) if plan.method.random else (),
                backend=self.backend,
            )
        )
        return run.parts(), lambda: _report(plan, tensor, run)

    def _copy(self, tensor: TensorPlan) -> Parts:
        """A tensor that nobody changes, as it is stored."""
        number, name = tensor.inputs[0]
        model = self.plan.base or self.plan.sources[number].model
        name = tensor.base or name
        where = f"{model.path.name}: '{tensor.name}'"
        for start, stop in tiles(tensor.shape):
            values = model.read_rows(name, start, stop)
            yield start, stop, check(values, where) if values.is_floating_point() else values

    def _ready(self, operand: Operand | None, source: str, tensor: TensorPlan) -> Operand:
        """An operand on the device that refuses NaN and infinity in the source's name."""
        if operand is None:
            return Zeros(tensor.shape, self.device)
        return on_device(checked(operand, f"{source}: '{tensor.name}'"), self.device)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let each worker compute in one thread: workers share the processors already.

    It also fixes the order in which a product or a sum of one part is added up.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _report(plan: Plan, tensor: TensorPlan, run: TiledMerge) -> TensorReport:
    """What a finished merge of one tensor says, in the order of the plan's sources."""
    listed = sorted(range(len(tensor.inputs)), key=lambda i: tensor.inputs[i][0])
    counts, in_weights = run.counts, plan.space == "weights"
    return TensorReport(
        name=tensor.name,
        layer=tensor.layer,
        entries=counts.entries,
        removed=tuple(counts.removed[i] for i in listed),
        conflicts=None if plan.base is None else counts.conflicts,
        resolved=counts.resolved,
        weights=tuple(tensor.per_source[i].get("weight", 1.0) for i in listed),
        gram=_reorder(run.gram, listed),
        merged_square=counts.merged_square,
        weight_gram=_reorder(run.weight_gram, listed) if in_weights else None,
        linear_fallback=plan.method.ordered and _is_straight(run.weight_gram, tensor.settings),
        rescale=tuple(_rescale(tensor, i) for i in listed) if plan.method.random else (),
    )


def _is_straight(gram: Sequence[Sequence[float]], settings: Mapping[str, Any]) -> bool:
    """Whether a slerp of two tensors took the straight line."""
    threshold = settings.get("dot_threshold")
    sine = SIN_THRESHOLD if threshold is None else sine_of(threshold)
    return is_linear(angle_between(gram), sine)


def _rescale(tensor: TensorPlan, i: int) -> float:
    density = tensor.per_source[i]["density"]
    return 1 / density if density > 0 and tensor.settings["rescale"] else 1.0


def task_vectors(plan: Plan) -> Iterator[tuple[TensorPlan, Tensor, list[Tensor]]]:
    """Every tensor that a source changes: its plan, the base's values and the changes, in fp32.

    The changes are in the order of the plan's sources; a source that leaves a tensor alone gives
    zeros.
    """
    for tensor in plan.tensors:
        ordered = replace(tensor, inputs=tuple(sorted(tensor.inputs)))
        changes = change_operands(plan, ordered)
        if not tensor.dtype.is_floating_point or all(change is None for change in changes):
            continue
        origin = dense(base_operand(plan, tensor))
        yield tensor, origin, [torch.zeros_like(origin) if c is None else dense(c) for c in changes]


def _labels(plan: Plan) -> list[str]:
    """The sources' names, or what the recipe calls them where two names are the same."""
    names = [source.name for source in plan.sources]
    return [
        source.reference if names.count(name) > 1 else name
        for source, name in zip(plan.sources, names, strict=True)
    ]


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
