"""The commands `mergelab bench ...`: what the kernels cost on this machine.

Heavy imports wait inside the command, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mergelab.console import Json, progress_bar, show, show_json
from mergelab.errors import UserError

if TYPE_CHECKING:
    from mergelab.benchmarks.kernels import Setting

bench = typer.Typer(name="bench", help="Measure on this machine.", no_args_is_help=True)

DEFAULT_SIZE = "4096x6144"
PACKAGES = ("mergelab", "torch", "triton", "numba", "numpy")
_WRONG = 1


@bench.callback()
def _measure() -> None:
    """Measure on this machine.

    Example: `mergelab bench kernels --device cpu --size 512x512`
    """


@bench.command()
def kernels(
    device: Annotated[str, typer.Option(help="Where: cpu, cuda, cuda:1.")] = "cpu",
    backend: Annotated[
        str, typer.Option(help="What does the inner loops: auto, torch, cpu, triton.")
    ] = "auto",
    dtype: Annotated[
        str, typer.Option(help="Of base, dense sources and output: float32, float16 or bfloat16.")
    ] = "bfloat16",
    size: Annotated[str, typer.Option(help="Of the tensor: ROWSxCOLUMNS.")] = DEFAULT_SIZE,
    sources: Annotated[int, typer.Option(min=1, help="How many are merged.")] = 2,
    rank: Annotated[int, typer.Option(min=1, help="Of LoRA factors.")] = 16,
    methods: Annotated[
        str | None, typer.Option(help="Only these methods, with commas; all if unsaid.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Runs that are counted.")] = 9,
    model_shape: Annotated[
        str | None,
        typer.Option(
            help="Also merge every matrix of a Llama of this shape by TIES, beside a copy of its "
            "base: tiny, 1b, 3b, 8b."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write NAME.json and NAME.md to this folder.")
    ] = None,
    name: Annotated[str, typer.Option(help="NAME of those files.")] = "kernels",
    as_json: Json = False,
) -> None:
    """Check every fused kernel against float64, then time it beside a plain copy of the same bytes.

    A kernel whose result is wrong stops everything: one line, status 1, and no times.

    Example: `mergelab bench kernels --device cuda --backend triton --model-shape 8b`
    """
    _check_folder(out, name)
    setting = _setting(device, backend, dtype, size, sources, rank, repeats)
    from mergelab.benchmarks.cases import METHODS
    from mergelab.benchmarks.checking import WrongResult
    from mergelab.benchmarks.kernel_tables import markdown, notes, rich_tables, to_json
    from mergelab.benchmarks.kernels import kernels_of, time_kernels
    from mergelab.benchmarks.record import circumstances, device_named, save
    from mergelab.benchmarks.whole_model import time_model
    from mergelab.engine import one_thread_each
    from mergelab.zoo.shapes import SHAPES

    chosen = _chosen("--methods", methods, METHODS)
    if not kernels_of(chosen, sources):
        raise UserError(f"--methods {methods}: slerp joins exactly 2, not --sources {sources}")
    if model_shape is not None:
        _chosen("--model-shape", model_shape, tuple(SHAPES))
    about = circumstances(_command(), PACKAGES) | {"device": device_named(device)}
    with (
        one_thread_each() if device == "cpu" else nullcontext(),
        progress_bar("measuring") as progress,
    ):
        try:
            timings = time_kernels(setting, chosen, progress)
            model = None if model_shape is None else time_model(model_shape, setting, progress)
        except WrongResult as wrong:
            print(f"error: {wrong}; no times are given", file=sys.stderr)
            raise typer.Exit(_WRONG) from None
        except (MemoryError, RuntimeError) as error:
            raise _too_large(error, size, device) from None
    results = to_json(setting, timings, model)
    if out is not None:
        title, parts = markdown(setting, timings, model)
        save(out, name, title, about, results, parts)
    if as_json:
        show_json(about | results)
        return
    for table in rich_tables(setting, timings, model):
        show(table)
    for note in notes(setting, timings, model):
        show(note)
    if out is not None:
        show(f"Written to {out}: {name}.json, {name}.md")


def _check_folder(out: Path | None, name: str) -> None:
    """Refuse what could not be written, before anything is measured."""
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise UserError(f"--name {name}: a name of letters, digits, '_', '-' and '.'")
    if out is not None and out.exists() and not (out.is_dir() and os.access(out, os.W_OK)):
        raise UserError(f"{out}: is no folder that can be written to; choose another")


def _setting(
    device: str, backend: str, dtype: str, size: str, sources: int, rank: int, repeats: int
) -> Setting:
    from mergelab.benchmarks.kernels import Setting
    from mergelab.checkpoints.loading import DTYPES, check_device
    from mergelab.kernels import choose

    found = re.fullmatch(r"([1-9]\d*)[xX×]([1-9]\d*)", size)
    if not found:
        raise UserError(f"--size {size}: write rows and columns, such as {DEFAULT_SIZE}")
    if device.partition(":")[0] not in ("cpu", "cuda"):
        raise UserError(f"--device {device}: use cpu or cuda")
    check_device(device, dtype)
    rows, columns = int(found[1]), int(found[2])
    try:
        chosen = choose(backend, device=device, entries=rows * columns)
    except ValueError as error:
        raise UserError(str(error)) from None
    shape = rows, columns
    return Setting(shape, DTYPES[dtype], sources, rank, device, chosen, repeats)


def _chosen(option: str, names: str | None, known: tuple[str, ...]) -> tuple[str, ...]:
    chosen = known if names is None else tuple(name.strip() for name in names.split(","))
    for name in chosen:
        if name not in known:
            raise UserError(f"{option}: {name!r} is not one of {', '.join(known)}")
    return chosen


def _too_large(error: MemoryError | RuntimeError, size: str, device: str) -> Exception:
    """One line where memory ran out; any other error as it is."""
    import torch

    out_of_it = isinstance(error, MemoryError | torch.OutOfMemoryError)
    if out_of_it or "can't allocate memory" in str(error):  # a GPU says the one, a CPU the other
        return UserError(
            f"--size {size}: too large for the memory of {device}; write a smaller one"
        )
    return error


def _command() -> str:
    """The command that repeats this, without the folder it wrote to."""
    words, kept = iter(sys.argv[1:]), []
    for word in words:
        if word == "--out":
            next(words, None)
        elif not word.startswith("--out=") and word != "--json":
            kept.append(word)
    return shlex.join(["mergelab", *kept])
