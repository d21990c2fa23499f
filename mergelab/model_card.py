"""The README.md beside a merged model: what it was made from, how, and how to use it.

The same merge gives the same text: no dates, no times, no paths of the machine it was made on.
"""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import yaml

from mergelab.checkpoints import Source, hub_name
from mergelab.checkpoints.reading import read_text
from mergelab.recipes import Plan
from mergelab.recipes.yaml_text import documents
from mergelab.report import MergeReport

Output = Literal["model", "adapter"]

NOT_STATED = "not stated"
_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)
_LARGEST = 500_000  # bytes of a model's card
_LONGEST = 100  # characters of a licence's name

_LOADING = {
    "model": """\
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "path/to/this/folder"
model = AutoModelForCausalLM.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)""",
    "adapter": """\
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = "{base}"
model = PeftModel.from_pretrained(
    AutoModelForCausalLM.from_pretrained(base), "path/to/this/folder"
)
tokenizer = AutoTokenizer.from_pretrained(base)""",
}


def model_card(plan: Plan, report: MergeReport, *, output: Output) -> str:
    """The card of a merge as Markdown, with the front matter that the Hugging Face hub reads.

    Licences are those that the models' own cards state; where these differ, or one states none,
    the merge's is `other`, to be checked by hand.

    >>> from mergelab.engine import merge
    >>> persona, agentic = ({"model": f"task_api_{name}"} for name in ("persona", "agentic"))
    >>> result = merge({"merge_method": "linear", "models": [persona, agentic]})
    >>> print(model_card(result.plan, result.report, output="model").splitlines()[-1])
    Before you use it, evaluate it on what each of its sources can do: ...
    """
    parts = [_Part.of_base(plan)] if plan.base is not None else []
    parts += [_Part.of_source(source) for source in plan.sources]
    agreed = _agreed([part.licence for part in parts])
    named = " and ".join(part.label for part in parts[plan.base is not None :])
    sections = [
        _front_matter(parts, agreed, output),
        f"# {plan.method.name} of {named}\n\n{_what_it_is(plan, parts, output)}",
        f"## Sources\n\n{_sources(parts, agreed)}",
        f"## Recipe\n\n{_fenced(_recipe(plan), 'yaml')}\n\n{_versions(output)}",
        f"## What the merge did\n\n{_totals(report)}",
        f"## Loading it\n\n{_loading(plan, output)}",
        f"## Before you use it\n\n{_SAFETY}",
    ]
    return "\n\n".join(sections) + "\n"


_SAFETY = """\
The licences of the sources carry over to this merge, with whatever they ask of those who use it.
Nothing in a merge makes a model safe or right, and what one source had learnt may be lost.
Before you use it, evaluate it on what each of its sources can do: a merge can keep one skill and \
lose the other."""


class _Part:
    """A model that went into the merge: its label, its name for the hub, its licence."""

    def __init__(self, role: str, label: str, path: Path) -> None:
        self.role, self.label = role, label
        self.name = "/".join(hub_name(path).split("/")[:2]) if hub_name(path) else label
        self.licence = stated_licence(path)

    @classmethod
    def of_base(cls, plan: Plan) -> _Part:
        return cls("base", _label(plan.recipe.base_model or "", plan.base.path), plan.base.path)

    @classmethod
    def of_source(cls, source: Source) -> _Part:
        role = "model" if source.adapter is None else "adapter"
        return cls(role, _label(source.reference, source.path), source.path)


def _label(reference: str, path: Path) -> str:
    """A model as the recipe names it: its id and revision on the hub, or its folder's name."""
    hub = hub_name(path)
    if hub is None:
        return Path(path).absolute().name
    revision = reference.rpartition("+")[2].partition("@")[2]
    return f"{hub}@{revision}" if revision else hub


def stated_licence(folder: Path) -> str:
    """The licence in the front matter of a model's README.md, or "not stated".

    >>> from mergelab.paths import data_path
    >>> stated_licence(data_path("models", "base"))
    'apache-2.0'
    """
    try:
        text = read_text(Path(folder) / "README.md", _LARGEST)
        match = _FRONT_MATTER.match(text)
        data = documents(match[1])[0] if match else None
    except (OSError, ValueError, IndexError):
        return NOT_STATED
    if not isinstance(data, dict):
        return NOT_STATED
    stated = data.get("license")
    if stated == "other" and isinstance(data.get("license_name"), str):
        stated = f"other ({data['license_name']})"
    names = stated if isinstance(stated, list) else [stated]
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        return NOT_STATED
    # a stranger wrote it: letters, digits and what licences' names are made of
    plain = re.sub(r"[^\w .,+()-]+", " ", ", ".join(names))
    return " ".join(plain.split())[:_LONGEST] or NOT_STATED


def _agreed(licences: list[str]) -> str | None:
    """The one licence of all models, None where they differ or it is not known."""
    one = licences[0] if len(set(licences)) == 1 else NOT_STATED
    return None if one in (NOT_STATED, "other") else one


def _front_matter(parts: list[_Part], agreed: str | None, output: Output) -> str:
    data: dict[str, Any] = {
        "base_model": list(dict.fromkeys(part.name for part in parts)),
        "base_model_relation": "merge",
        "library_name": "transformers" if output == "model" else "peft",
        "license": agreed or "other",
        "tags": ["merge", "mergelab"],
    }
    if agreed and agreed.startswith("other ("):  # the hub has no short name for it
        data |= {"license": "other", "license_name": agreed[len("other (") : -1]}
    elif agreed and ", " in agreed:
        data["license"] = agreed.split(", ")
    return f"---\n{yaml.safe_dump(data, sort_keys=False)}---"


def _what_it_is(plan: Plan, parts: list[_Part], output: Output) -> str:
    sort = "A language model" if output == "model" else f"A LoRA adapter for {parts[0].label}"
    count = len(plan.sources)
    merged = f"{count} models" if count > 1 else "one model"
    return f"{sort}, merged from {merged} by mergelab, without any training."


def _sources(parts: list[_Part], agreed: str | None) -> str:
    rows = [f"| {part.label} | {part.role} | {part.licence} |" for part in parts]
    table = "\n".join(["| name | part | licence |", "|---|---|---|", *rows])
    if agreed is None:
        table += (
            "\n\nThe licences differ or are not all stated. Check what they allow together before "
            "you pass this on, and set `license` above."
        )
    return table


def _recipe(plan: Plan) -> str:
    """The recipe as YAML, with models named so that the text says nothing of this machine."""
    written = plan.recipe.model_dump(exclude_none=True, exclude_defaults=True, mode="json")
    shown = {source.reference: _reference(source) for source in plan.sources}
    if plan.base is not None and plan.recipe.base_model:
        name = plan.recipe.base_model
        shown.setdefault(name, _label(name, plan.base.path))
    for key in ("base_model", "tokenizer_source"):
        if key in written:
            written[key] = _shown(written[key], shown)
    entries = written.get("models") or [
        source for part in written["slices"] for source in part["sources"]
    ]
    for entry in entries:
        entry["model"] = _shown(entry["model"], shown)
    return yaml.safe_dump(written, sort_keys=False, allow_unicode=True).rstrip()


def _reference(source: Source) -> str:
    label = _label(source.reference, source.path)
    if source.base is None or "+" not in source.reference or "+" in source.path.name:
        return label
    return f"{_label(source.reference.rpartition('+')[0], source.base.path)}+{label}"


def _shown(reference: str, shown: dict[str, str]) -> str:
    """A reference as the card shows it; of one that is no source only the last part, if a path."""
    if reference in shown:
        return shown[reference]
    path_like = reference.startswith((".", "/", "~")) or reference.count("/") > 1
    return Path(reference).name if path_like else reference


def _versions(output: Output) -> str:
    packages = ["mergelab", "torch", "transformers"] + (["peft"] if output == "adapter" else [])
    made = ", ".join(f"{package} {version(package)}" for package in packages)
    return f"Made with {made}."


def _totals(report: MergeReport) -> str:
    """What the report says in total, in three lines."""
    total = report.total()
    merged = f"{total.entries:,} parameters in {total.tensors} tensors were merged"
    copied = f"{report.copied_entries:,} in {report.copied} are as they were"
    removed = "Nothing was trimmed or dropped"
    if report.removed_word and total.entries:
        shares = (f"{name} {n / total.entries:.1%}" for name, n in _removed(report, total.removed))
        removed = f"{report.removed_word.capitalize()}: {', '.join(shares)}"
    if total.conflicts is not None and total.entries:
        removed += f"; sign conflicts at {total.conflicts / total.entries:.1%} of the parameters"
    kept, angle = total.magnitude_kept, total.angle
    if report.space == "weights" and total.weight_angle is not None:
        angle = total.weight_angle
    size = "Magnitude kept: " + ("not defined" if kept is None else f"{kept:.3f}")
    if angle is not None:
        size += f"; mean angle between the sources: {angle:.1f}°"
    return f"- {merged}; {copied}.\n- {removed}.\n- {size}."


def _removed(report: MergeReport, removed: tuple[int, ...]) -> list[tuple[str, int]]:
    names = [Path(source).name if "/" in source else source for source in report.sources]
    return list(zip(names, removed, strict=True)) if len(names) == len(removed) else []


def _loading(plan: Plan, output: Output) -> str:
    base = ""
    if plan.base is not None:
        base = hub_name(plan.base.path) or f"path/to/{_label('', plan.base.path)}"
    return _fenced(_LOADING[output].replace("{base}", base), "python")


def _fenced(text: str, language: str) -> str:
    longest = max(map(len, re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
