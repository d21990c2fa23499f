"""What `evaluate` and `compare` share: the options that say what models are asked, and how judged.

Heavy imports wait inside the functions, so that `--help` and a mistyped option answer at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from mergelab.console import suites_asked
from mergelab.errors import UserError

Suite = Annotated[
    Path | None,
    typer.Option(help="Ask the items of this JSONL file instead of the shipped suites."),
]
ScorerName = Annotated[
    str,
    typer.Option(
        "--scorer", help="How replies are judged: strict, free, embedding:NAME or judge:NAME."
    ),
]
Threshold = Annotated[
    float | None, typer.Option(help="The least cosine of a right reply, for embedding.")
]
System = Annotated[
    str | None,
    typer.Option(help="A system prompt: 'shipped', which explains the suites, or a text file."),
]
Device = Annotated[str, typer.Option(help="Where models answer: cpu, cuda, cuda:1, mps.")]
Dtype = Annotated[
    str, typer.Option(help="Their weights while they answer: float32, float16 or bfloat16.")
]
BatchSize = Annotated[
    int | None, typer.Option(min=1, help="Prompts answered at once; 256 if unsaid.")
]
MaxNewTokens = Annotated[
    int | None, typer.Option(min=1, help="Tokens of the longest reply; 64 if unsaid.")
]

EVERY_PAIR = "persona,agentic"  # what --skills says unless it is given


@dataclass(frozen=True)
class Asking:
    """What every model is asked: `skills` and `split` name it, `options` go to `evaluate`."""

    skills: Sequence[str]
    split: str
    options: dict[str, Any] = field(default_factory=dict)


def asking(
    skills: str,
    split: str,
    *,
    suite: Path | None,
    scorer: str,
    threshold: float | None,
    system: str | None,
    device: str,
    dtype: str,
    batch_size: int | None,
    max_new_tokens: int | None,
) -> Asking:
    """Read the options of a command; a mistake is refused before any model is loaded.

    Raises `UserError` for suites, files, scorers and devices that are not there, and for items that
    the scorer cannot judge.
    """
    from mergelab.checkpoints.loading import check_device
    from mergelab.evaluation.choosing_scorers import choose_scorer
    from mergelab.evaluation.results import items_asked
    from mergelab.evaluation.system_prompts import system_prompts

    check_device(device, dtype)
    suites = None
    if suite is not None:
        suites = _own(suite, skills)
        named, split = list(suites), str(suite)
    else:
        named = suites_asked(skills, split)
        if scorer.startswith("embedding:"):
            suites = _with_references(named, split)
    chosen = choose_scorer(scorer, threshold=threshold, device=device, dtype=dtype)
    items_asked(named, split, None, suites, chosen)
    sizes = {"batch_size": batch_size, "max_new_tokens": max_new_tokens}
    options = {
        "suites": suites,
        "scorer": chosen,
        "system": system_prompts(system),
        **{name: size for name, size in sizes.items() if size is not None},
    }
    return Asking(named, split, options)


def _own(path: Path, skills: str) -> dict[str, list[Any]]:
    """The items of a file by skill: all, or those of --skills where it is not left as it is."""
    from mergelab.evaluation.suites import by_skill, load_suite_file

    found = by_skill(load_suite_file(path))
    if skills == EVERY_PAIR:
        return found
    asked = [skill.strip() for skill in skills.split(",")]
    missing = [skill for skill in asked if skill not in found]
    if missing:
        raise UserError(f"{path}: has no items of {missing[0]!r}; it has {', '.join(found)}")
    return {skill: found[skill] for skill in asked}


def _with_references(skills: Sequence[str], split: str) -> dict[str, list[Any]]:
    """The shipped suites, with a reply of the data's own grammar as the reference."""
    from mergelab.evaluation.suites import load_suite
    from mergelab.zoo.references import with_references

    return {skill: with_references(load_suite(skill, split)) for skill in skills}
