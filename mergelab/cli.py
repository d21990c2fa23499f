"""The command `mergelab`: merge, compare, inspect, evaluate, chat, and what other packages plug in.

Heavy imports wait inside the commands, so that `--help` and a mistyped option answer at once.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from contextlib import ExitStack
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer

from mergelab.bench_command import bench
from mergelab.console import (
    AllowPickle,
    AllowUnrelated,
    Json,
    Seed,
    progress_bar,
    quiet_transformers,
    show,
    show_json,
)
from mergelab.errors import UserError
from mergelab.evaluation_commands import compare, evaluate, harness
from mergelab.tables_command import tables
from mergelab.tune_command import tune

app = typer.Typer(
    name="mergelab",
    help="Merge language models, look at what a merge did, and learn how it works.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

BAD_INPUT = 2
INTERRUPTED = 130


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"mergelab {version('mergelab')}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def merge(
    recipe: Annotated[Path, typer.Argument(help="A recipe, in YAML.")],
    out: Annotated[Path, typer.Argument(help="The folder to write; it must not exist.")],
    device: Annotated[str, typer.Option(help="Where tensors are merged: cpu, cuda.")] = "cpu",
    dtype: Annotated[
        str | None, typer.Option(help="Dtype of the output: float32, float16 or bfloat16.")
    ] = None,
    seed: Seed = 0,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Tensors merged at once; one per processor if unsaid.")
    ] = None,
    backend: Annotated[
        str, typer.Option(help="What does the inner loops: auto, torch, cpu, triton.")
    ] = "auto",
    max_shard_size: Annotated[
        str, typer.Option(help="Largest file of weights, such as 5GB or 500MB.")
    ] = "5GB",
    allow_pickle: AllowPickle = False,
    allow_unrelated: AllowUnrelated = False,
    as_json: Json = False,
) -> None:
    """Merge models as RECIPE says and write the result to OUT.

    Example: `mergelab merge data/recipes/ties.yaml merged`
    """
    if dtype not in (None, "float32", "float16", "bfloat16"):
        raise UserError(f"--dtype {dtype}: use float32, float16 or bfloat16")
    from mergelab import engine
    from mergelab.report_table import LiveReport, report_lines, report_table

    with ExitStack() as live:
        report = engine.merge(
            recipe,
            out,
            seed=seed,
            dtype=dtype,
            device=device,
            backend=backend,
            workers=workers,
            max_shard_bytes=_bytes(max_shard_size),
            allow_pickle=allow_pickle,
            allow_unrelated=allow_unrelated,
            watching=lambda report, total: live.enter_context(LiveReport(report, total)),
        ).report
    if as_json:
        show_json({"out": str(out), "report": report.to_dict()})
        return
    show(report_table(report))
    for line in report_lines(report):
        show(line)
    show(
        f"Written to {out} in {report.seconds['total']:.1f} s. Next: mergelab evaluate {out}, or "
        f"mergelab report {out} --html"
    )


def _bytes(size: str) -> int:
    """A size as people write it, in bytes: `5GB`, `500 MB`, `1000000`."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?\s*", size, re.IGNORECASE)
    count = float(match[1]) * 1000 ** " KMGT".index(match[2].upper() or " ") if match else 0.0
    if count < 1:
        raise UserError(f"--max-shard-size {size}: write a number and a unit, such as 5GB or 500MB")
    return int(count)


@app.command()
def report(
    out: Annotated[Path, typer.Argument(help="The folder that a merge wrote.")],
    file: Annotated[
        Path | None, typer.Argument(help="Where --html writes to: OUT/merge_report.html if unsaid.")
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="Write one page, with plots.")] = False,
    tensors: Annotated[bool, typer.Option("--tensors", help="A row for each tensor.")] = False,
    as_json: Json = False,
) -> None:
    """Print the report of a finished merge again, or write it as an HTML page.

    Example: `mergelab report merged --html`
    """
    from mergelab.report import load_report
    from mergelab.report_table import report_lines, report_table

    if file is not None and not (html and file.suffix in (".html", ".htm")):
        raise UserError(f"{file}: write --html and a name that ends in .html to get a page")
    found = load_report(out)
    if html:
        from mergelab.notebook.report_page import write_page

        show(f"Written to {write_page(out, found, file)}")
    elif as_json:
        show_json(found.to_dict())
    else:
        show(report_table(found, tensors=tensors))
        for line in report_lines(found):
            show(line)


@app.command()
def explain(
    out: Annotated[Path, typer.Argument(help="The folder that a merge wrote.")],
    weight: Annotated[str, typer.Argument(help="A tensor and an entry: 'NAME[10, 33]'.")],
    folder: Annotated[
        list[Path] | None,
        typer.Option(help="Where relative paths in its recipe start, if not found otherwise."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Follow one weight through a finished merge; status 1 if OUT is not what its sources give.

    Example: `mergelab explain merged 'model.layers.2.mlp.up_proj.weight[10, 33]'`
    """
    from mergelab.explanation import explain as explain_weight

    found = explain_weight(out, weight, folders=folder or ())
    if as_json:
        show_json(found.to_dict())
    else:
        show(found)
    raise typer.Exit(0 if found.belongs else 1)


@app.command()
def inspect(
    models: Annotated[list[str], typer.Argument(help="Two or more models or adapters.")],
    base: Annotated[str | None, typer.Option(help="Their base, if they do not name it.")] = None,
    top: Annotated[
        float, typer.Option(help="Share of each tensor's entries that counts as changed.")
    ] = 0.2,
    as_json: Json = False,
) -> None:
    """Measure how models interfere, layer by layer, and advise a strategy.

    Example: `mergelab inspect task_api_persona task_api_agentic`
    """
    from mergelab.interference import inspect_models, inspection_table

    with progress_bar("inspecting") as progress:
        found = inspect_models(models, base=base, top=top, progress=progress)
    if as_json:
        show_json(found.to_dict())
        return
    show(inspection_table(found))
    show(f"Changed: among the top {top:.0%} of a tensor's changes by magnitude.")
    show(f"Try first: {found.advice}. Why: {found.reason}.")
    show(f"Take care: {found.doubt} `mergelab compare` holds recipes against the plain average.")


for measure in (evaluate, compare, tune, tables, harness):
    app.command()(measure)
app.add_typer(bench)


@app.command()
def chat(
    model: Annotated[str, typer.Argument(help="A model folder, an adapter, a shipped name.")],
    system: Annotated[str | None, typer.Option(help="A system prompt.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest reply.")] = 96,
    memory: Annotated[
        bool,
        typer.Option("--memory", help="Keep the conversation; the course's models know one turn."),
    ] = False,
) -> None:
    """Talk to a model; an empty line or Ctrl-D ends it. Each prompt stands alone, or --memory.

    Example: `mergelab chat task_api_persona`
    """
    from mergelab.chat import Chat
    from mergelab.checkpoints.loading import load_model

    quiet_transformers()
    talk = Chat(*load_model(model), system=system, max_new_tokens=max_tokens, memory=memory)
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="replace")  # piped text need not be UTF-8
    interactive = sys.stdin.isatty()
    if interactive:
        print(f"{model} is listening. An empty line or Ctrl-D ends the conversation.")
    while True:
        try:
            prompt = input("you> " if interactive else "").strip()
        except EOFError:
            break
        if not prompt:
            break
        reply = talk.say(prompt)
        print(f"{model}> {reply}" if interactive else reply, flush=True)


def plug_in() -> typer.Typer:
    """The command line, with the commands that installed packages add to it."""
    for plugged in entry_points(group="mergelab.commands"):
        function = plugged.load()
        settings = getattr(function, "context_settings", None)
        app.command(name=plugged.name, context_settings=settings)(function)
    return app


def main() -> None:
    """Run the command line; bad input prints one line and exits with status 2."""
    # Threads that wait asleep: on a busy machine spinning ones slow each other down many times.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    plug_in()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        status = app(standalone_mode=False)
    except UserError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(1) from None
    except Exception as error:
        # typer carries its own copy of click; its usage errors know how to say what is wrong.
        if not hasattr(error, "format_message"):
            raise
        _fail(f"{error.format_message()} (see mergelab --help)", getattr(error, "exit_code", 2))
    if status == INTERRUPTED:  # what typer makes of Ctrl-C, without a word
        _fail("interrupted; nothing half-written is left", status=INTERRUPTED)
    raise SystemExit(status if isinstance(status, int) else 0)


def _fail(message: str, status: int = BAD_INPUT) -> None:
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(status)
