"""`merge`: from a recipe to a folder that appears whole or not at all, or to tensors in memory."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from mergelab.checkpoints import AdapterWriter, CheckpointWriter, Slot, whole_folder
from mergelab.checkpoints.hub import hub_name
from mergelab.checkpoints.loading import load_model, load_tokenizer, model_from_state
from mergelab.checkpoints.writer import MAX_SHARD_BYTES
from mergelab.companions import write_companions, write_configs, write_tokenizer
from mergelab.engine.run import (
    InMemory,
    Progress,
    Run,
    Watch,
    WriteFactors,
    WriteParts,
    refuse_without_rank,
)
from mergelab.engine.tensor_merges import Setting
from mergelab.engine.whole_model import with_global_numbers, workers_for
from mergelab.errors import UserError
from mergelab.kernels import Backend, choose
from mergelab.recipes import Plan, Recipe, make_plan, parse_recipe, read_recipe
from mergelab.report import MergeReport


@dataclass
class MergeResult:
    """What a merge gave: its report, the folder it lies in, or the tensors if it has none."""

    plan: Plan
    report: MergeReport
    path: Path | None = None
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def load(self) -> tuple[Any, Any]:
        """The merged model in fp32 and its tokenizer, ready to generate."""
        if self.path is not None:
            return load_model(str(self.path.absolute()))
        with TemporaryDirectory() as folder:
            write_configs(self.plan, Path(folder))
            write_tokenizer(self.plan, Path(folder))
            model = model_from_state(Path(folder), self.tensors, self.plan.skeleton.path)
            return model, load_tokenizer(Path(folder))


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
    allow_pickle: bool = False,
    allow_unrelated: bool = False,
    progress: Progress | None = None,
    watching: Callable[[MergeReport, int], Watch] | None = None,
) -> MergeResult:
    """Merge models as a recipe says.

    `recipe`: a YAML file, a mapping, or a `Recipe`. `out`: the folder to write, which must not
    exist; without it the merged tensors stay in memory. `seed` names the random numbers of DARE.
    `dtype` overrides the recipe's output dtype; `device` is where tensors are merged, `workers`
    how many at once (by default one for each processor), `backend` what does the inner loops
    ("auto", "torch", "cpu"; "triton" on a GPU, whose products of factors may differ in the last
    bit). `max_shard_bytes`: the largest file of weights. `allow_pickle` reads weights stored as
    pickles, tensors only; `allow_unrelated` merges models that do not seem to come from one base.
    `progress` is called with (tensors done, tensors in all, name); `watching` is given the report
    and the number of tensors, and what it returns is called with each tensor's report as it is
    done.

    Raises `UserError`, one line, for whatever in recipe, models or output cannot be used; then
    nothing is written.

    >>> persona, agentic = ({"model": f"task_api_{name}"} for name in ("persona", "agentic"))
    >>> recipe = {"merge_method": "ties", "models": [persona, agentic]}
    >>> merge(recipe | {"parameters": {"density": 0.5}}).report.method
    'ties'
    """
    began = time.perf_counter()
    options = {"dtype": dtype, "allow_pickle": allow_pickle, "allow_unrelated": allow_unrelated}
    plan, folders = _plan(recipe, options)
    if plan.output == "adapter":
        _check_adapter(plan, out)
    setting = Setting(seed, _device(device), _backend(backend, plan, device))
    workers = 1 if setting.backend.interpreted else workers_for(workers)
    plan = with_global_numbers(plan, setting, workers)
    run = Run(plan, setting, workers, progress)
    if watching:
        run.watch = watching(run.report, len(plan.tensors))
    if out is None:
        kept = InMemory(plan)
        run.into(WriteParts(kept.write_part))
        return MergeResult(plan, run.report, tensors=kept.tensors)
    run.report.folders = [os.path.relpath(folder, Path(out).absolute()) for folder in folders]
    with whole_folder(Path(out)) as folder:
        if plan.output == "adapter":
            _write_adapter(run, folder, Path(out).absolute(), dtype)
        else:
            _write_model(run, folder, max_shard_bytes)
        write_companions(plan, run.report, folder)
        run.report.seconds["total"] = time.perf_counter() - began
        run.report.save(folder)
    return MergeResult(plan, run.report, path=Path(out))


def _plan(
    recipe: Recipe | Mapping[str, Any] | str | Path, options: Mapping[str, Any]
) -> tuple[Plan, Sequence[Path]]:
    """The plan, and the folders in which the recipe's relative paths were looked for."""
    if isinstance(recipe, Recipe):
        return make_plan(recipe, **options), (Path(),)
    if isinstance(recipe, Mapping):
        return make_plan(parse_recipe(dict(recipe)), **options), (Path(),)
    path = Path(recipe)
    parsed = read_recipe(path)
    folders = (path.resolve().parent, Path())
    try:
        return make_plan(parsed, folders=folders, **options), folders
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _write_model(run: Run, folder: Path, max_shard_bytes: int) -> None:
    slots = [Slot(t.name, t.dtype, t.shape) for t in run.plan.tensors]
    writer = CheckpointWriter(folder, slots, max_shard_bytes)
    try:
        run.into(WriteParts(writer.write_part))
        began = time.perf_counter()
        writer.close()
        run.add_seconds({"write": time.perf_counter() - began})
    finally:
        writer.abandon()


def _write_adapter(run: Run, folder: Path, out: Path, dtype: str | None) -> None:
    recipe, base = run.plan.recipe, run.plan.base
    wanted = dtype or recipe.out_dtype or recipe.dtype or "float32"
    writer = AdapterWriter(
        folder,
        _base_name(run.plan, out),
        getattr(torch, wanted),
        fan_in_fan_out=base.stores_transposed,
        base=base,
    )
    run.into(WriteFactors(writer, run.plan.rank))
    began = time.perf_counter()
    writer.close()
    run.add_seconds({"write": time.perf_counter() - began})


def _base_name(plan: Plan, out: Path) -> str:
    """What a merged adapter calls its base: the hub's name, or a path that is found from there."""
    on_hub = hub_name(plan.base.path)
    if on_hub:
        return on_hub
    for source in plan.sources:
        name = source.adapter.base_name if source.adapter and source.base is plan.base else None
        if name and any((folder / name / "config.json").exists() for folder in out.parents):
            return name
    return str(plan.base.path.absolute())


def _check_adapter(plan: Plan, out: Path | str | None) -> None:
    if out is None:
        raise UserError("output: adapter is written to a folder; name one")
    refuse_without_rank(plan)


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
