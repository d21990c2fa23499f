"""Building data/: what is made, in which order, and how it gets into place.

Everything is made in a folder aside and put in place at the end, so an interrupted build leaves
the shipped models and suites as they were.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from multiprocessing import active_children, get_context
from pathlib import Path

from mergelab.errors import UserError
from mergelab.evaluation.suites import SKILLS, SPLITS
from mergelab.zoo.cards import adapter_card, base_card
from mergelab.zoo.dialogues import slots
from mergelab.zoo.dialogues.mixture import BASE, dialogues
from mergelab.zoo.models import (
    ADAPTERS,
    BASE_SCHEDULE,
    BASE_SEED,
    Adapter,
    build_adapter,
    build_base,
    prepare_libraries,
)
from mergelab.zoo.suites import suite_text
from mergelab.zoo.tokenizer import save_tokenizer, train_tokenizer

Report = Callable[[str], None]
STEPS = ("suites", "base", "adapters")


def tokenizer_text() -> list[str]:
    """Return what the tokenizer learns from: replies, prompts, and every title on its own."""
    said = [
        message["content"]
        for dialogue in islice(dialogues(BASE, BASE_SEED), 20_000)
        for message in dialogue
    ]
    # A title follows a space in a prompt and a quotation mark in a call.
    alone = [f"{mark}{title}" for title in slots.titles("train") for mark in ('"', " ")]
    return said + 3 * alone


def build(
    steps: Sequence[str] = STEPS,
    out: Path = Path("data"),
    *,
    training_steps: int | None = None,
    only: Sequence[str] = (),
) -> None:
    """Make the named steps and put them into `out`; a new base brings new adapters with it.

    `training_steps` replaces every schedule's own number of steps, for a trial of the whole build.
    `only` names the adapters to train; all of them by default, and always for a new base.

    Raises `UserError` for an unknown step or adapter, for adapters without a base to train them
    on, and for `only` where it does not fit the steps.
    """
    unknown = [step for step in steps if step not in STEPS]
    if unknown:
        raise UserError(f"unknown step {unknown[0]!r}; the steps are {', '.join(STEPS)}")
    wanted = set(steps) | ({"adapters"} if "base" in steps else set())
    chosen = _chosen(only, wanted)
    base = out / "models" / "base"
    if "adapters" in wanted and "base" not in wanted and not (base / "config.json").is_file():
        raise UserError(f"{base}: no base model to train adapters on; add the step `base`")
    if training_steps is not None and training_steps < 1:
        raise UserError(f"training steps {training_steps}: train at least 1 step")
    out.mkdir(parents=True, exist_ok=True)
    if wanted & {"base", "adapters"}:
        prepare_libraries()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=out, prefix=".building-") as aside_name:
        aside = Path(aside_name)
        for step in STEPS:
            if step in wanted:
                _say(f"{step}: started", started)
                report = partial(_say, started=started)
                if step == "adapters":
                    _make_adapters(aside, out, report, training_steps, chosen)
                else:
                    _MAKERS[step](aside, report, training_steps)
        _swap_in(aside, out)
    _say(f"done: {', '.join(step for step in STEPS if step in wanted)} in {out}", started)


def _chosen(only: Sequence[str], wanted: set[str]) -> list[Adapter]:
    """Return the adapters to train, in the order of the list."""
    known = [adapter.name for adapter in ADAPTERS]
    unknown = [name for name in only if name not in known]
    if unknown:
        raise UserError(f"unknown adapter {unknown[0]!r}; the adapters are {', '.join(known)}")
    if only and ("adapters" not in wanted or "base" in wanted):
        raise UserError("single adapters are trained on the base as it is: use the step `adapters`")
    return [adapter for adapter in ADAPTERS if not only or adapter.name in only]


def _say(line: str, started: float) -> None:
    print(f"{time.monotonic() - started:6.0f} s  {line}", flush=True)


def _make_suites(aside: Path, report: Report, training_steps: int | None) -> None:
    folder = aside / "suites"
    folder.mkdir()
    for skill in SKILLS:
        for split in SPLITS:
            (folder / f"{skill}_{split}.jsonl").write_text(suite_text(skill, split), "utf-8")


def _make_base(aside: Path, report: Report, training_steps: int | None) -> None:
    folder = aside / "models" / "base"
    folder.mkdir(parents=True)
    save_tokenizer(train_tokenizer(tokenizer_text()), folder)
    schedule = BASE_SCHEDULE.shortened(training_steps)
    build_base(folder, report=lambda line: report(f"base: {line}"), schedule=schedule)
    (folder / "README.md").write_text(base_card(), "utf-8")


def _make_adapters(
    aside: Path, out: Path, report: Report, training_steps: int | None, chosen: Sequence[Adapter]
) -> None:
    base = aside / "models" / "base"
    base = base if base.exists() else out / "models" / "base"
    jobs = [
        (adapter.shortened(training_steps), base, aside / "adapters" / adapter.name)
        for adapter in chosen
    ]
    # Two at a time, one thread each; fresh processes, so that none inherits another's state.
    with ProcessPoolExecutor(max_workers=2, mp_context=get_context("spawn")) as pool:
        try:
            for name in pool.map(_make_adapter, jobs):
                report(f"{name}: written")
        except BaseException:
            # An interrupted build does not wait for trainings that nobody will use.
            pool.shutdown(wait=False, cancel_futures=True)
            for process in active_children():
                process.terminate()
            raise


def _make_adapter(job: tuple[Adapter, Path, Path]) -> str:
    adapter, base, folder = job
    prepare_libraries()
    started = time.monotonic()
    report = partial(_say, started=started)
    build_adapter(adapter, base, folder, report=lambda line: report(f"{adapter.name}: {line}"))
    (folder / "README.md").write_text(adapter_card(adapter), "utf-8")
    return adapter.name


_MAKERS = {"suites": _make_suites, "base": _make_base}


def _swap_in(aside: Path, out: Path) -> None:
    """Put each finished folder in the place of its predecessor."""
    with tempfile.TemporaryDirectory(dir=out, prefix=".replaced-") as old:
        for number, new in enumerate([*aside.glob("models/*"), *aside.glob("adapters/*"),
                                      *aside.glob("suites")]):  # fmt: skip
            place = out / new.relative_to(aside)
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.exists():
                shutil.move(place, Path(old) / str(number))
            shutil.move(new, place)
