"""A merge report as one HTML page that needs nothing else: tables, plots, recipe, versions."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping
from pathlib import Path

from mergelab.companions import RECIPE_NAME
from mergelab.errors import UserError
from mergelab.notebook.report_plots import report_plots
from mergelab.notebook.result_tables import merge_report_table
from mergelab.notebook.tables import Table
from mergelab.report import MergeReport, Summary
from mergelab.report_table import counted, factor_range, row_cells

PAGE_NAME = "merge_report.html"

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --faint: #57606a; --page: #ffffff;
        --panel: #f4f5f7; --line: #d3d6da; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8ea; --faint: #a9b1b9; --page: #16191d; --panel: #22272d; --line: #434a52; } }
body { margin: 0 auto; padding: 1.5rem; max-width: 70rem; background: var(--page);
       color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
p.lead { color: var(--faint); margin: 0 0 1.2rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.2rem; margin: 0; }
dt { color: var(--faint); } dd { margin: 0; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
tbody th { white-space: nowrap !important; }
thead th { white-space: normal !important; overflow-wrap: break-word; min-width: 5.5rem; }
table { font-variant-numeric: tabular-nums; }
tbody tr + tr { border-top: 1px solid var(--line); }
figure { margin: 0 0 1rem; padding: .6rem; background: #ffffff; border: 1px solid var(--line);
         border-radius: .4rem; } figure img { display: block; width: 100%; }
pre { background: var(--panel); padding: .8rem 1rem; border-radius: .4rem; overflow-x: auto; }
summary { cursor: pointer; }
:focus-visible { outline: 3px solid #0072b2; outline-offset: 2px; }
"""


def write_page(out: Path, report: MergeReport, file: Path | None = None) -> Path:
    """Write the page of the merge in `out` to `file`, beside the report by default.

    An earlier page there is replaced, whole. Raises `UserError` if the file cannot be written.
    """
    recipe = out / RECIPE_NAME
    try:
        text = recipe.read_text(encoding="utf-8") if recipe.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{recipe}: cannot be read ({error})") from None
    file = file or out / PAGE_NAME
    draft = file.with_name(f".{file.name}.partial-{os.getpid()}")
    try:
        draft.write_text(report_page(report, title=out.resolve().name, recipe=text), "utf-8")
        draft.replace(file)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise UserError(f"{file}: cannot be written ({error.strerror})") from None
    return file


def report_page(report: MergeReport, *, title: str, recipe: str = "") -> str:
    """The page as HTML text; `title` names the merged model, `recipe` is its YAML."""
    sources = " and ".join(report.sources)
    base = f" on {report.base}" if report.base else ""
    lead = f"{report.method} of {sources}{base}"
    parts = [
        f"<h1>{html.escape(title)}</h1><p class=lead>{html.escape(lead)}</p>",
        _described(_facts(report)),
        *([_section("Notes", _list(report.notes))] if report.notes else []),
    ]
    if report.tensors:
        figures = "".join(f"<figure>{p.img()}</figure>" for p in report_plots(report))
        parts.append(_section("Plots", figures))
        parts.append(_section("By layer", _scrolling(merge_report_table(report), "by layer")))
        inside = _scrolling(_tensor_table(report), "by tensor")
        shown = f"{len(report.tensors)} merged tensors"
        parts.append(
            _section("By tensor", f"<details><summary>{shown}</summary>{inside}</details>")
        )
    if recipe:
        parts.append(_section("Recipe", f"<pre tabindex=0>{html.escape(recipe.rstrip())}</pre>"))
    if report.versions:
        parts.append(_section("Versions", _described(report.versions)))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}: merge report</title><style>{_STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _facts(report: MergeReport) -> dict[str, str]:
    """The merge in total, by name."""
    total, parameters = report.total(), report.parameters()
    facts = {
        "Parameters": f"{parameters['total']:,}: {parameters['merged']:,} merged, "
        f"{parameters['copied']:,} copied",
        "Merged as": "full weights" if report.space == "weights" else "changes to the base",
    }
    if report.removed_word:
        word = report.removed_word.capitalize()
        for n, name in enumerate(report.sources):
            facts[f"{word}, {name}"] = _removed(total, n)
    if total.conflicts is not None and total.entries:
        facts["Sign conflicts"] = counted(total.conflicts, total.conflicts / total.entries)
    if total.resolved:
        facts["Resolved by a vote"] = f"{total.resolved:,}"
    if total.magnitude_kept is not None:
        facts["Magnitude kept"] = f"{total.magnitude_kept:.3f}"
    if total.angle is not None:
        facts["Angle between changes" if report.base else "Angle"] = f"{total.angle:.1f}°"
    if total.weight_angle is not None and report.base:
        facts["Angle between weights"] = f"{total.weight_angle:.1f}°"
    if total.linear_fallbacks:
        facts["Straight line instead of an arc"] = f"{total.linear_fallbacks} tensors"
    if total.truncation_error is not None:
        facts["Truncation error"] = f"{total.truncation_error:.2%} of the merged change's norm"
    if report.removed_word == "dropped":
        facts["Seed"] = str(report.seed)
    if report.seconds:
        facts["Time"] = ", ".join(f"{k} {value:.1f} s" for k, value in report.seconds.items())
    return facts


def _removed(total: Summary, n: int) -> str:
    if total.removed[n] is None:
        return "has no part"
    text = counted(total.removed[n], total.removed_share[n])
    if total.rescale and total.rescale[n]:
        text += f", the rest times {factor_range(total.rescale[n])}"
    return text


def _tensor_table(report: MergeReport) -> Table:
    columns = merge_report_table(report).columns
    rows = [row_cells(report, summary) for summary in report.per_tensor()]
    return Table(columns, rows)


def _section(name: str, inside: str) -> str:
    return f"<section><h2>{name}</h2>{inside}</section>"


def _scrolling(table: Table, label: str) -> str:
    return (
        f'<div class=wide tabindex=0 role=region aria-label="{label}">{table._repr_html_()}</div>'
    )


def _list(lines: list[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"


def _described(facts: Mapping[str, str]) -> str:
    rows = (f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in facts.items())
    return f"<dl>{''.join(rows)}</dl>"
