"""What an explanation says, as data, as a table on a terminal and as a table on a page."""

from __future__ import annotations

import html
import io
from dataclasses import asdict, dataclass
from typing import Any

from mergelab.report import finite


@dataclass(frozen=True)
class Step:
    """One line: which step, whose (a source's or a party's name, or ""), the number, the words."""

    step: str
    who: str
    value: float | None
    said: str


@dataclass(frozen=True)
class Explanation:
    """One weight's way through a merge.

    `weight` is the tensor's name and the entry, `method` and `sources` the merge's. `merged` is
    the change that the merge makes to the base, `value` the weight before it is rounded, `rounded`
    after it, `stored` what the output holds; `belongs` says whether that is the same, bit for bit
    (of factors: within their truncation error).
    """

    weight: str
    out: str
    method: str
    sources: tuple[str, ...]
    steps: tuple[Step, ...]
    merged: float | None
    value: float
    rounded: float
    stored: float
    belongs: bool

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return finite(asdict(self))

    @property
    def title(self) -> str:
        """What is explained, in one line."""
        return f"{self.weight} in {self.out}, {self.method} of {', '.join(self.sources)}"

    def rows(self) -> list[tuple[str, str, str, str]]:
        """The steps as text; a step's name stands on its first line only."""
        named = ""
        rows = []
        for line in self.steps:
            rows.append(
                ("" if line.step == named else line.step, line.who, number(line.value), line.said)
            )
            named = line.step
        return rows

    def __rich__(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        table = Table(title=Text(self.title, style="bold"), title_justify="left")
        for heading, how in (
            ("step", {"style": "bold"}),
            ("", {}),
            ("value", {"justify": "right", "no_wrap": True}),
            ("", {}),
        ):
            table.add_column(heading, **how)
        for row in self.rows():
            table.add_row(*map(Text, row))
        return table

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(file=io.StringIO(), width=120, color_system=None)
        console.print(self)
        return console.file.getvalue().rstrip("\n")

    def _repr_html_(self) -> str:
        head = "".join(
            f'<th scope="col" style="text-align:left">{name}</th>'
            for name in ("step", "whose", "value", "what happened")
        )
        body = ""
        for step, who, value, said in self.rows():
            body += f'<tr><th scope="row" style="text-align:left">{html.escape(step)}</th>'
            for text, align in ((who, "left"), (value, "right"), (said, "left")):
                body += f'<td style="text-align:{align};white-space:normal">'
                body += f"{html.escape(text)}</td>"
            body += "</tr>"
        return (
            f'<table><caption style="text-align:left;font-weight:bold;color:inherit">'
            f"{html.escape(self.title)}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table>"
        )


def number(value: float | None) -> str:
    """A weight or a change with its sign, to six digits; nothing for None.

    >>> number(0.0012345678), number(-1.0), number(0.0), number(None)
    ('+0.00123457', '−1', '0', '')
    """
    if value is None:
        return ""
    return f"{value:+.6g}".replace("-", "−") if value else "0"
