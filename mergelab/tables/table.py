"""A table with its uncertainty, and the forms it is written in: CSV, Markdown, HTML."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mergelab.evaluation.statistics import Interval

ENDS = ("", "_low", "_high")


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns; an `Interval` in a cell stands with its limits.

    `name` is the file's, `caption` says what was measured and how. `keys` is the number of leading
    columns that name a row. `figure` is the picture's file name, or "", and `alt` describes it.
    """

    name: str
    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    keys: int = 1
    figure: str = ""
    alt: str = ""

    def csv(self) -> str:
        """One line a row; an interval column becomes three: x, x_low, x_high.

        >>> table = Table("t", "T", "", ("a", "x"), (("m", Interval(0.5, 0.4, 0.6)),))
        >>> print(table.csv(), end="")
        a,x,x_low,x_high
        m,0.5000,0.4000,0.6000
        """
        wide = self._intervals()
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(
            [
                column + end
                for place, column in enumerate(self.columns)
                for end in (ENDS if place in wide else ENDS[:1])
            ]
        )
        for row in self.rows:
            cells: list[str] = []
            for place, cell in enumerate(row):
                if place in wide:
                    bounds = (cell.estimate, cell.low, cell.high) if cell else (None,) * 3
                    cells += [_plain(bound) for bound in bounds]
                else:
                    cells.append(_plain(cell))
            writer.writerow(cells)
        return text.getvalue()

    def markdown(self) -> str:
        """A heading, the table, its caption, its figure."""
        rows = [self.columns, tuple("---:" if self._numbers(n) else "---" for n in self._places())]
        rows += [tuple(_shown(cell) for cell in row) for row in self.rows]
        lines = [f"## {self.title}", ""]
        lines += [
            "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows
        ]
        lines += ["", self.caption]
        if self.figure:
            lines += ["", f"![{self.alt}]({self.figure})"]
        return "\n".join(lines) + "\n"

    def html(self) -> str:
        """The same as a section of a page."""
        numbers = [' class="n"' if self._numbers(place) else "" for place in self._places()]
        heads = "".join(
            f'<th scope="col"{numbers[place]}>{html.escape(column)}</th>'
            for place, column in enumerate(self.columns)
        )
        body = "".join(
            "<tr>"
            + "".join(
                f'<th scope="row">{html.escape(_shown(cell))}</th>'
                if place < self.keys
                else f"<td{numbers[place]}>{html.escape(_shown(cell))}</td>"
                for place, cell in enumerate(row)
            )
            + "</tr>\n"
            for row in self.rows
        )
        picture = (
            f'<img src="{html.escape(self.figure)}" alt="{html.escape(self.alt)}">\n'
            if self.figure
            else ""
        )
        return (
            f'<section id="{html.escape(self.name)}">\n<h2>{html.escape(self.title)}</h2>\n'
            f'{picture}<div class="wide" tabindex="0" role="region" '
            f'aria-label="{html.escape(self.title)}"><table>\n<thead><tr>{heads}</tr></thead>\n'
            f"<tbody>\n{body}</tbody></table></div>\n<p>{html.escape(self.caption)}</p>\n</section>\n"
        )

    def _numbers(self, place: int) -> bool:
        """Whether a column holds numbers, which stand right under each other."""
        cells = [row[place] for row in self.rows if row[place] not in (None, "")]
        return bool(cells) and all(_is_number(cell) for cell in cells)

    def _places(self) -> range:
        return range(len(self.columns))

    def _intervals(self) -> set[int]:
        return {
            place
            for place in self._places()
            if any(isinstance(row[place], Interval) for row in self.rows)
        }


def page(tables: Sequence[Table]) -> str:
    """All tables on one page that needs nothing else but its pictures."""
    links = "".join(
        f'<li><a href="#{html.escape(table.name)}">{html.escape(table.title)}</a></li>'
        for table in tables
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Result tables</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>Result tables</h1>\n<nav><ul>{links}</ul></nav>\n"
        + "".join(table.html() for table in tables)
        + "</main>\n</body>\n</html>\n"
    )


_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;color:#1F2328;background:#fff;margin:0}"
    "main{max-width:72rem;margin:0 auto;padding:1rem}img{max-width:100%;height:auto}"
    ".wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem}"
    "th,td{padding:.25rem .6rem;border-bottom:1px solid #d3d6da;text-align:left;"
    "vertical-align:top}.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}"
    "th[scope=row]{font-weight:400}thead th{font-weight:600;border-bottom:2px solid #66707a}"
    "p{color:#4a525a;max-width:60rem}"
)


def _is_number(cell: Any) -> bool:
    if isinstance(cell, Interval):
        return True
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _plain(cell: Any) -> str:
    """For a machine: four decimals, nothing for what is not there."""
    if cell is None:
        return ""
    return f"{cell:.4f}" if isinstance(cell, float) else str(cell)


def _shown(cell: Any) -> str:
    """For a person."""
    if cell is None:
        return ""
    if isinstance(cell, Interval):
        return f"{cell.estimate:.3f} [{cell.low:.3f}, {cell.high:.3f}]"
    return f"{cell:.3g}" if isinstance(cell, float) else str(cell)
