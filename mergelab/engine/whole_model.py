"""Numbers that belong to the whole model: a trim among all tensors, a majority of all entries.

The papers' code flattens a model into one vector before it trims and elects. Here the model is
read in passes instead: two to find each source's threshold by radix selection, one more to count
the elected signs where draws go to the majority. The plan that comes back holds these numbers for
each tensor, and is then merged like any other.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from mergelab.engine.tensor_merges import Setting, one_thread_each, planned_merge
from mergelab.errors import UserError
from mergelab.kernels import Merge, tiles
from mergelab.kernels.combining import majority_of, options_of, sign_total
from mergelab.kernels.operands import Operand, Zeros
from mergelab.kernels.preparing import before_trim, prepare
from mergelab.kernels.selection import DIGITS, Selection
from mergelab.methods.trimming import kept_count
from mergelab.recipes import Plan, TensorPlan


def with_global_numbers(plan: Plan, setting: Setting, workers: int) -> Plan:
    """The plan with thresholds, and the majority, of all changed tensors together.

    The same plan where the recipe asks for no global trim. Raises `UserError` where a source's
    density, or another number of the trim, differs from tensor to tensor.
    """
    if not any(tensor.settings.get("trim_scope") == "global" for tensor in plan.tensors):
        return plan
    with one_thread_each(), ThreadPoolExecutor(workers) as pool:
        passes = _Passes(plan, setting, pool)
        passes.find_thresholds()
        if any(t.settings.get("zero_sign") == "majority" for t in passes.tensors):
            passes.find_majority()
    found = {tensor.name: tensor for tensor in passes.tensors}
    return replace(plan, tensors=tuple(found.get(t.name, t) for t in plan.tensors))


class _Passes:
    """The tensors that some source changes, and what is found out about all of them."""

    def __init__(self, plan: Plan, setting: Setting, pool: ThreadPoolExecutor) -> None:
        self.plan, self.setting, self.pool = plan, setting, pool
        self.tensors = [t for t in plan.tensors if planned_merge(plan, t, setting) is not None]

    def find_thresholds(self) -> None:
        entries = sum(math.prod(tensor.shape) for tensor in self.tensors)
        thresholds: dict[int, float] = {}
        searches: dict[int, Selection] = {}
        for number in range(len(self.plan.sources)):
            kept = kept_count(entries, *self._share(number))
            if kept in (0, entries):
                thresholds[number] = 0.0 if kept else math.inf
            else:
                searches[number] = Selection(kept)
        while any(search.threshold is None for search in searches.values()):
            totals = {number: np.zeros(DIGITS, dtype=np.int64) for number in searches}
            for counts in self._each(partial(self._digits, searches)):
                for number, count in counts.items():
                    totals[number] += count
            for number, search in searches.items():
                search.narrow(totals[number])
        thresholds.update({number: s.threshold for number, s in searches.items()})
        self.tensors = [_with_thresholds(tensor, thresholds) for tensor in self.tensors]

    def find_majority(self) -> None:
        sign = majority_of(sum(self._each(_sign_total)))
        self.tensors = [replace(t, settings={**t.settings, "majority": sign}) for t in self.tensors]

    def _share(self, number: int) -> tuple[float, str]:
        """What fraction of a source's entries is kept, and how that is counted."""
        shares = set()
        for tensor in self.tensors:
            for (source, _), own in zip(tensor.inputs, tensor.per_source, strict=True):
                if source == number:
                    share = tensor.settings.get("trim_after", own["density"])
                    shares.add((share, tensor.settings["trim_count"]))
        if len(shares) != 1:
            raise UserError(
                f"trim_scope: global trims all tensors of {self.plan.sources[number].name} "
                "together; give it one density for all of them, or write 'trim_scope: tensor'"
            )
        return shares.pop()

    def _each(self, function: Callable[[Merge, TensorPlan], Any]) -> Iterator[Any]:
        """The function's result for every tensor, computed by the pool."""

        def one(tensor: TensorPlan) -> Any:
            return function(planned_merge(self.plan, tensor, self.setting), tensor)

        return self.pool.map(one, self.tensors)

    def _digits(
        self, searches: dict[int, Selection], merge: Merge, tensor: TensorPlan
    ) -> dict[int, np.ndarray]:
        """The digits of one tensor's magnitudes, for each source that is searched."""
        streams = merge.streams or [0] * len(merge.changes)
        found = {}
        for (number, _), change, own, stream in zip(
            tensor.inputs, merge.changes, merge.per_source, streams, strict=True
        ):
            if number in searches:
                options = {**merge.settings, **own, "seed": merge.seed, "stream": stream}
                operand = before_trim(merge.method, change, backend=merge.backend, **options)
                found[number] = self._count(operand, searches[number].upper)
        return found

    def _count(self, operand: Operand, upper: int | None) -> np.ndarray:
        counts = np.zeros(DIGITS, dtype=np.int64)
        if isinstance(operand, Zeros):
            counts[0] = math.prod(operand.shape) if not upper else 0
            return counts
        for tile in tiles(operand.shape):
            self.setting.backend.digits(operand.rows(*tile), upper, counts)
        return counts


def _with_thresholds(tensor: TensorPlan, thresholds: dict[int, float]) -> TensorPlan:
    own = [
        {**each, "threshold": thresholds[number]}
        for each, (number, _) in zip(tensor.per_source, tensor.inputs, strict=True)
    ]
    return replace(tensor, per_source=tuple(own))


def _sign_total(merge: Merge, tensor: TensorPlan) -> float:
    numbers: Sequence[Any] = (merge.settings, merge.per_source)
    prepared = prepare(
        merge.method, merge.changes, *numbers, merge.seed, merge.streams, merge.backend
    )
    return sign_total(prepared, options_of(*numbers))


def workers_for(asked: int | None) -> int:
    """How many tensors to work on at once: as asked, or one for each processor.

    Raises `UserError` if fewer than one are asked for.
    """
    if asked is not None and asked < 1:
        raise UserError(f"workers must be at least 1, got {asked}")
    if asked is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return asked
