"""A table that reads well on a page, in a terminal and through a screen reader."""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Sequence
from typing import Any

_CELL = "padding:.25em .8em;text-align:{};vertical-align:top;white-space:{};border:0"


class Table:
    """Rows of text under column headings; the first cell of a row names it.

    `text_columns` are aligned left and may wrap, the others hold numbers and align right; `strong`
    numbers the rows to set in bold.

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
        return f'<{tag}{named} style="{style}">{_breakable(text)}</{tag}>'


def _breakable(text: str) -> str:
    """Escaped, with places to break in long words, which broken models like to say."""
    pieces = re.split(r"(\S{24})(?=\S)", text)
    return "<wbr>".join(html.escape(piece) for piece in pieces if piece)
