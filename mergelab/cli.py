"""The command `mergelab`: merge, compare, inspect, evaluate, chat, and what other packages plug in.

Heavy imports wait inside the commands, so that `--help` and a mistyped option answer at once.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer

from mergelab.errors import UserError

app = typer.Typer(
    name="mergelab",
    help="Merge language models, look at what a merge did, and learn how it works.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Options that more than one command takes.
Json = Annotated[bool, typer.Option("--json", help="Print plain JSON instead of a table.")]
Seed = Annotated[int, typer.Option(min=0, help="Names the random numbers of DARE.")]
Split = Annotated[str, typer.Option(help="Which items: dev (to choose) or test.")]
Skills = Annotated[str, typer.Option(help="Which suites, with commas: persona, agentic, digest.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Use only so many items of each suite.")]
AllowPickle = Annotated[
    bool, typer.Option("--allow-pickle", help="Read weights stored as pickles, tensors only.")
]
AllowUnrelated = Annotated[
    bool,
    typer.Option("--allow-unrelated", help="Merge models that do not seem to share a base."),
]
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
        _print_json({"out": str(out), "report": report.to_dict()})
        return
    _print(report_table(report))
    for line in report_lines(report):
        _print(line)
    _print(
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

        _print(f"Written to {write_page(out, found, file)}")
    elif as_json:
        _print_json(found.to_dict())
    else:
        _print(report_table(found, tensors=tensors))
        for line in report_lines(found):
            _print(line)


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
        _print_json(found.to_dict())
    else:
        _print(found)
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

    with _progress("inspecting") as progress:
        found = inspect_models(models, base=base, top=top, progress=progress)
    if as_json:
        _print_json(found.to_dict())
        return
    _print(inspection_table(found))
    _print(f"Changed: among the top {top:.0%} of a tensor's changes by magnitude.")
    _print(f"Try first: {found.advice}. Why: {found.reason}.")
    _print(f"Take care: {found.doubt} `mergelab compare` holds recipes against the plain average.")


@app.command()
def evaluate(
    models: Annotated[list[str], typer.Argument(help="Model folders, adapters, shipped names.")],
    split: Split = "test",
    skills: Skills = "persona,agentic",
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Score models on the persona and agentic suites, or on those of --skills, with 95% intervals.

    Example: `mergelab evaluate task_api_persona task_api_agentic merged`
    """
    from mergelab.checkpoints.loading import load_model
    from mergelab.evaluation import evaluate as evaluate_model
    from mergelab.evaluation import results_table

    asked = _skills(skills, split)
    _quiet_transformers()
    results = []
    with _progress("evaluating") as progress:
        for done, (name, reference) in enumerate(zip(_labels(models), models, strict=True)):
            progress(done, len(models), name)
            model, tokenizer = load_model(reference)
            results.append(
                evaluate_model(model, tokenizer, skills=asked, split=split, limit=limit, name=name)
            )
    if as_json:
        _print_json([result.to_dict(outcomes=False) for result in results])
        return
    _print(results_table(results))


@app.command()
def compare(
    recipes: Annotated[list[Path], typer.Argument(help="Recipes, in YAML.")],
    best: Annotated[
        Path | None, typer.Option(help="Keep the merge that comes first in this folder.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write summaries and every reply to this folder.")
    ] = None,
    split: Split = "dev",
    skills: Skills = "persona,agentic",
    limit: Limit = None,
    seed: Seed = 0,
    allow_pickle: AllowPickle = False,
    allow_unrelated: AllowUnrelated = False,
    as_json: Json = False,
) -> None:
    """Merge, evaluate and rank RECIPES, with a plain average beside them; which lead is real?

    Example: `mergelab compare data/recipes/ties.yaml data/recipes/slerp.yaml --best merged`
    """
    asked = _skills(skills, split)
    for folder in (best, out):
        if folder is not None and os.path.lexists(folder):
            raise UserError(f"{folder}: exists already; choose another name or remove it first")
    if best is not None and out is not None and best.absolute() == out.absolute():
        raise UserError(f"--best and --out both name {out}; write two folders")
    from mergelab.checkpoints import whole_folder
    from mergelab.evaluation.candidates import candidates
    from mergelab.evaluation.comparison import compare_merges, comparison_table, write_comparison

    _quiet_transformers()
    allowed = {"allow_pickle": allow_pickle, "allow_unrelated": allow_unrelated}
    merges, notes = candidates(recipes, **allowed)
    options = {"seed": seed, **allowed}
    with _progress("comparing") as progress:
        found = compare_merges(
            merges,
            notes=notes,
            skills=asked,
            split=split,
            limit=limit,
            options=options,
            progress=progress,
        )
    if as_json:
        _print_json(found.to_dict())
    else:
        _print(comparison_table(found))
        _print(found.conclusion())
        for note in found.notes:
            _print(f"Note: {note}")
    if out is not None:
        with whole_folder(out) as folder:
            write_comparison(found, folder)
    if best is not None:
        next(m for m in merges if m.name == found.leader.name).keep(best, **options)
    if as_json:
        return
    if out is not None:
        _print(f"Written to {out}: summary.csv, summary.json, summary.md and items.csv.")
    if best is not None:
        noise = [name for name, lead in found.leads.items() if not lead.beyond_noise]
        _print(
            f"{found.leader.name} is kept in {best}"
            + (f", though its lead over {', '.join(noise)} is within noise. " if noise else ". ")
            + ("It was chosen on dev; for the final figure: " if split == "dev" else "Next: ")
            + f"mergelab evaluate {best}"
        )


@app.command()
def tables(
    out: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("data/tables"),
    limit: Limit = None,
) -> None:
    """Make the course's tables again: overview (as figure, too), random drops, ladder of conflict.

    Example: `mergelab tables --out /tmp/tables`
    """
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from mergelab.evaluation import results_table
    from mergelab.evaluation.dare_table import ITEMS as DROP_ITEMS
    from mergelab.evaluation.dare_table import random_drops, write_drops
    from mergelab.evaluation.ladder import ladder, prepare_worker, write_ladder
    from mergelab.evaluation.overview import overview, write_csv
    from mergelab.notebook.overview_plot import overview_plot

    _quiet_transformers()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be created ({error.strerror})") from None
    with _progress("evaluating") as progress:
        rows = overview(limit=limit, progress=progress)
    write_csv(rows, out / "overview.csv")
    overview_plot(rows).savefig(out / "overview.png", metadata={"Software": None})
    with _progress("dropping at random") as progress:
        write_drops(random_drops(limit=limit or DROP_ITEMS, progress=progress), out / "dare.csv")
    _print(results_table([row.evaluation for row in rows]))
    # One thread in each of two processes: small models gain more from it than from two threads.
    workers = ProcessPoolExecutor(2, get_context("spawn"), initializer=prepare_worker)
    with workers, _progress("climbing the ladder") as progress:
        write_ladder(ladder(limit=limit, executor=workers, progress=progress), out / "ladder.csv")
    _print(f"Written to {out}: overview.csv, overview.png, dare.csv and ladder.csv")


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

    _quiet_transformers()
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


def _skills(skills: str, split: str) -> list[str]:
    """The suites that --skills names; an unknown one is refused before any model is loaded."""
    from mergelab.evaluation import load_suite

    asked = [skill.strip() for skill in skills.split(",") if skill.strip()]
    if not asked:
        raise UserError(
            "--skills: no skills to evaluate; name one or more of persona, agentic, digest"
        )
    for skill in asked:
        load_suite(skill, split)
    return asked


def _labels(references: list[str]) -> list[str]:
    """Short names for a table; the whole reference where two would read the same."""
    short = [Path(reference).name or reference for reference in references]
    return [r if short.count(s) > 1 else s for r, s in zip(references, short, strict=True)]


def _quiet_transformers() -> None:
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


@contextmanager
def _progress(verb: str) -> Iterator[Any]:
    """A progress bar on stderr where that is a terminal; yields `report(done, total, name)`."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn(verb),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, name: bar.update(
            task, completed=done, total=total, description=name
        )


def _print(content: Any) -> None:
    from rich.console import Console

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 120
    Console(width=width, highlight=False, soft_wrap=isinstance(content, str), markup=False).print(
        content
    )


def _print_json(value: Any) -> None:
    from mergelab.report import finite

    print(json.dumps(finite(value), indent=2, allow_nan=False))


def main() -> None:
    """Run the command line; bad input prints one line and exits with status 2."""
    # Threads that wait asleep: on a busy machine spinning ones slow each other down many times.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for plugged in entry_points(group="mergelab.commands"):
        function = plugged.load()
        settings = getattr(function, "context_settings", None)
        app.command(name=plugged.name, context_settings=settings)(function)
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
