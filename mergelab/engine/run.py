"""Carrying out a plan: several tensors at once, each part by part, and what they tell the report.

Where the values go is a sink's business: a checkpoint, memory, or an adapter's factors.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from mergelab.checkpoints import AdapterWriter
from mergelab.checkpoints.hub import short_name
from mergelab.checkpoints.safetensors_file import seconds_reading
from mergelab.engine.tensor_merges import Setting, in_words, one_thread_each, planned_merge
from mergelab.engine.tensor_reports import labels, tensor_report
from mergelab.errors import UserError
from mergelab.finite import check, rounded
from mergelab.kernels import Part, TiledMerge, open_merge, tiles
from mergelab.kernels.operands import as_matrix
from mergelab.methods import truncate
from mergelab.recipes import Plan, TensorPlan
from mergelab.recipes.inputs import stored_tensor
from mergelab.report import MergeReport, TensorReport

NEAR_BASE = 0.25  # a merge that keeps less of the magnitude is pointed out

Progress = Callable[[int, int, str], None]
Watch = Callable[[TensorReport | None], None]


class Sink(Protocol):
    """Where a tensor's values go; called from several threads, for one tensor from one."""

    def take(self, tensor: TensorPlan, parts: Iterator[Part], run: TiledMerge | None) -> Taken:
        """Take all parts of a tensor. `run` is what merges it, None where it is copied."""
        ...


@dataclass(frozen=True)
class Taken:
    """What came of handing a tensor over: seconds spent writing, and an adapter's error."""

    seconds: float = 0.0
    truncation_error: float | None = None


class WriteParts:
    """Hands every part, rounded to its output dtype, to `write_part(name, first entry, values)`."""

    def __init__(self, write_part: Callable[[str, int, Tensor], None]) -> None:
        self._write_part = write_part

    def take(self, tensor: TensorPlan, parts: Iterator[Part], run: TiledMerge | None) -> Taken:
        columns, seconds = as_matrix(tensor.shape)[1], 0.0
        for part in parts:
            values = rounded(part.weights, tensor.dtype, tensor.name)
            began = time.perf_counter()
            self._write_part(tensor.name, part.start * columns, values)
            seconds += time.perf_counter() - began
        return Taken(seconds)


class InMemory:
    """Keeps the merged tensors."""

    def __init__(self, plan: Plan) -> None:
        self.tensors = {t.name: torch.empty(t.shape, dtype=t.dtype) for t in plan.tensors}

    def write_part(self, name: str, first: int, values: Tensor) -> None:
        flat = self.tensors[name].view(-1)
        flat[first : first + values.numel()] = values.flatten()


class WriteFactors:
    """Hands every changed tensor to an adapter's writer: its factors, or the whole of it.

    Exact where the merge gives factors of at most `rank`, else the best ones of that rank. Norms,
    biases, and embeddings that the base shares with its head, are kept whole.
    """

    def __init__(self, writer: AdapterWriter, rank: int | None) -> None:
        self._writer, self._rank = writer, rank

    def take(self, tensor: TensorPlan, parts: Iterator[Part], run: TiledMerge | None) -> Taken:
        if run is None:
            for _ in parts:  # still looked at for NaN
                pass
            return Taken()
        if not self._writer.takes_factors(tensor.base, len(tensor.shape)):
            self._writer.whole(tensor.base, _gathered(tensor, parts, "weights"))
            return Taken()
        factors, change = run.low_rank(), None
        if factors is None:
            change = _gathered(tensor, parts, "change")
        else:
            for _ in parts:  # for the counts
                pass
        error = 0.0
        if factors is None or (self._rank is not None and factors.rank > self._rank):
            factors, error = truncate(change if factors is None else factors, self._rank)
        self._writer.factors(tensor.base, factors.b, factors.a)
        return Taken(truncation_error=error)


def _gathered(tensor: TensorPlan, parts: Iterator[Part], which: str) -> Tensor:
    whole = torch.empty(as_matrix(tensor.shape))
    for part in parts:
        whole[part.start : part.stop] = getattr(part, which)
    return whole.reshape(tensor.shape)


class _Stopped(Exception):
    """Another tensor failed, or somebody pressed Ctrl-C; this one need not be finished."""


class Run:
    """One run of a plan: merges its tensors, several at once, and keeps the report."""

    def __init__(
        self,
        plan: Plan,
        setting: Setting,
        workers: int,
        progress: Progress | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.plan, self.setting, self.workers = plan, setting, workers
        self.progress, self.watch = progress, watch
        self._stopped = False
        method = plan.method
        removed = "dropped" if method.random else "trimmed" if method.prepare else ""
        if plan.space == "factors":
            removed = ""  # it happens to factors, not to entries
        bases = [plan.base] if plan.base else []
        self.report = MergeReport(
            method=method.name,
            sources=labels(plan),
            base=short_name(plan.base.path) if plan.base else None,
            space=plan.space,
            seed=setting.seed,
            removed_word=removed,
            notes=list(plan.notes),
            fingerprints=[model.fingerprint for model in (*plan.sources, *bases)],
        )

    def add_seconds(self, seconds: Mapping[str, float]) -> None:
        """Add to the seconds that each stage took, over all workers."""
        for stage, value in seconds.items():
            self.report.seconds[stage] = self.report.seconds.get(stage, 0.0) + value

    def into(self, sink: Sink) -> None:
        """Merge every tensor and hand it to `sink`.

        Raises `UserError` for the first tensor, in the plan's order, that cannot be merged.
        """
        tensors = self.plan.tensors
        with one_thread_each(), ThreadPoolExecutor(self.workers) as pool:
            futures = [pool.submit(self._one, tensor, sink) for tensor in tensors]
            try:
                for done, (tensor, future) in enumerate(zip(tensors, futures, strict=True)):
                    if self.progress:
                        self.progress(done, len(tensors), tensor.name)
                    self._record(tensor, *future.result())
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

    def _record(
        self, tensor: TensorPlan, report: TensorReport | None, seconds: Mapping[str, float]
    ) -> None:
        self.add_seconds(seconds)
        if report is None:
            self.report.copied += 1
            self.report.copied_entries += math.prod(tensor.shape)
        else:
            self.report.tensors.append(replace(report, seconds=dict(seconds)))
        if self.watch:
            self.watch(report)

    def _one(
        self, tensor: TensorPlan, sink: Sink
    ) -> tuple[TensorReport | None, Mapping[str, float]]:
        began, reading = time.perf_counter(), seconds_reading()
        try:
            merge = planned_merge(self.plan, tensor, self.setting)
            run = None if merge is None else open_merge(merge, tensor.dtype)
            parts = self._copy(tensor) if run is None else run.parts()
            taken = sink.take(tensor, self._until_stopped(parts), run)
        except ValueError as error:
            raise in_words(tensor, error) from None
        reading = seconds_reading() - reading
        merging = time.perf_counter() - began - reading - taken.seconds
        seconds = {"read": reading, "merge": merging, "write": taken.seconds}
        if run is None:
            return None, seconds
        return tensor_report(self.plan, tensor, run, taken.truncation_error), seconds

    def _until_stopped(self, parts: Iterator[Part]) -> Iterator[Part]:
        for part in parts:
            if self._stopped:
                raise _Stopped
            yield part

    def _copy(self, tensor: TensorPlan) -> Iterator[Part]:
        """A tensor that nobody changes, as it is stored."""
        model, name = stored_tensor(self.plan, tensor)
        where = f"{short_name(model.path)}: '{tensor.name}'"
        for start, stop in tiles(tensor.shape):
            values = model.read_rows(name, start, stop)
            if values.is_floating_point():
                check(values, where)
            yield Part(start, stop, values, values)


def refuse_without_rank(plan: Plan) -> None:
    """Refuse an adapter whose merged change has no low rank of its own, and no `rank` is given."""
    summed = plan.method.coefficients is not None and plan.method.prepare is None
    low_rank = summed or plan.method.factored or plan.space == "factors"
    if plan.rank is None and not (low_rank and all(source.adapter for source in plan.sources)):
        raise UserError(
            f"output: adapter: what {plan.method.name} makes of these models has no low rank; "
            "write 'rank: 16', or another, for the nearest adapter of that rank"
        )
