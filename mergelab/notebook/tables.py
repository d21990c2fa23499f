"""Tables that read well on a page, in a terminal and through a screen reader."""

from __future__ import annotations

import html
from collections.abc import Collection, Sequence
from typing import Any

from mergelab.evaluation.results import Evaluation, compare
from mergelab.report import MergeReport, Summary

_CELL = "padding:.25em .8em;text-align:{};vertical-align:top;white-space:{};border:0"


class Table:
    """Rows of text under column headings; the first cell of a row names it.

    `text_columns` are aligned left and may wrap, the others hold numbers and align right; `strong`
    numbers the rows to set in bold. A cell that starts with "|" keeps its line breaks.

    >>> print(Table(["", "score"], [["linear", ".78"], ["ties", ".885"]], caption="Dev split"))
    Dev split
            score
    linear    .78
    ties     .885
    """

    def __init__(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        *,
        caption: str = "",
        text_columns: Collection[int] = (),
        strong: Collection[int] = (),
    ) -> None:
        self.columns = [str(column) for column in columns]
        self.rows = [[str(cell) for cell in row] for row in rows]
        self.caption, self.strong = caption, set(strong)
        self.text_columns = {0, *text_columns}
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{len(row)} cells in a row of a table of {len(self.columns)}")

    def __repr__(self) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        text = [
            "  ".join(
                cell.ljust(width) if i in self.text_columns else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        return "\n".join(([self.caption] if self.caption else []) + text)

    def _repr_html_(self) -> str:
        head = "".join(self._cell("th", i, text, "col") for i, text in enumerate(self.columns))
        body = "".join(
            f'<tr style="{"font-weight:bold;" if n in self.strong else ""}background:none">'
            + "".join(
                self._cell("td" if i else "th", i, text, "" if i else "row", n in self.strong)
                for i, text in enumerate(row)
            )
            + "</tr>"
            for n, row in enumerate(self.rows)
        )
        caption = (
            f'<caption style="caption-side:top;text-align:left;padding:.3em .8em;'
            f'font-weight:bold;color:inherit">{html.escape(self.caption)}</caption>'
            if self.caption
            else ""
        )
        return (
            f'<table style="border-collapse:collapse;margin:.3em 0;font-size:.95em">{caption}'
            f'<thead style="border-bottom:1px solid #8c9196"><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table>"
        )

    def _cell(self, tag: str, i: int, text: str, scope: str, strong: bool = False) -> str:
        left = i in self.text_columns
        style = _CELL.format("left" if left else "right", "normal" if left else "nowrap")
        style += f";font-weight:{'bold' if scope == 'col' or strong else 'normal'}"
        named = f' scope="{scope}"' if scope else ""
        return f'<{tag}{named} style="{style}">{html.escape(text)}</{tag}>'


def scores_table(evaluations: Sequence[Evaluation], *, caption: str = "") -> Table:
    """A row for each model: its rate on every skill and combined, with 95% intervals."""
    skills = list(dict.fromkeys(skill for e in evaluations for skill in e.skills))
    first = next(iter(evaluations[0].skills.values()))
    rows = [
        [e.model, *(str(e.skills[s].rate) if s in e.skills else "" for s in skills), e.combined]
        for e in evaluations
    ]
    note = f"{evaluations[0].split} split, {len(first.outcomes)} items a skill, 95% intervals"
    return Table(["", *skills, "combined"], rows, caption=f"{caption}: {note}" if caption else note)


def differences_table(
    pairs: Sequence[tuple[str, Evaluation, Evaluation]], *, caption: str = ""
) -> Table:
    """A row for each comparison: first minus second on the same items, with 95% intervals."""
    rows = []
    for label, first, second in pairs:
        found = compare(first, second)
        rows.append(
            [label, *(f"{d.estimate:+.3f} [{d.low:+.3f}, {d.high:+.3f}]" for d in found.values())]
        )
    skills = list(compare(pairs[0][1], pairs[0][2]))
    return Table(["", *skills], rows, caption=caption)


def merge_report_table(report: MergeReport) -> Table:
    """What a merge did, a row for each layer and one for the total, as `mergelab merge` prints."""
    removed = [f"{report.removed_word}: {_short(s)}" for s in report.sources]
    columns = ["", "entries", *(removed if report.removed_word else [])]
    columns += ["sign conflicts", "resolved", "magnitude kept", "angle"]
    summaries = [*report.per_layer(), report.total()]
    return Table(
        columns,
        [_report_row(report, summary) for summary in summaries],
        caption=f"{report.method} of {' and '.join(report.sources)}",
        strong={len(summaries) - 1},
    )


def _report_row(report: MergeReport, summary: Summary) -> list[str]:
    cells = [summary.label, f"{summary.entries:,}"]
    if report.removed_word:
        cells += [_share(count, summary.entries) for count in summary.removed]
    kept, angle = summary.magnitude_kept, summary.angle
    return [
        *cells,
        "-" if summary.conflicts is None else _share(summary.conflicts, summary.entries),
        f"{summary.resolved:,}",
        "-" if kept is None else f"{kept:.3f}",
        "-" if angle is None else f"{angle:.1f}°",
    ]


def _share(count: int, entries: int) -> str:
    return f"{count:,} ({count / entries:.1%})" if entries else "0"


def _short(name: str) -> str:
    return name.removeprefix("task_api_")
