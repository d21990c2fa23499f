"""A report on a terminal: as a table, and as rows that fill up while the merge runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mergelab.report import MergeReport, Summary, TensorReport, layer_label, summarise

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def report_table(report: MergeReport, *, tensors: bool = False) -> Table:
    """The report as a rich table: a row for each layer (or tensor) and one for the total."""
    table = _empty(report)
    rows = report.per_tensor() if tensors else report.per_layer()
    for summary in rows:
        table.add_row(*row_cells(report, summary), end_section=summary is rows[-1])
    if rows:
        table.add_row(*row_cells(report, report.total()), style="bold")
    return table


def _empty(report: MergeReport) -> Table:
    from rich.table import Table

    table = Table(title=f"{report.method} of {', '.join(report.sources)}", title_justify="left")
    table.add_column("")
    table.add_column("entries", justify="right")
    if report.removed_word:
        for source in report.sources:
            table.add_column(f"{report.removed_word}\n{source}", justify="right")
    for heading in ("sign\nconflicts", "resolved", "magnitude\nkept", "angle"):
        table.add_column(heading, justify="right")
    return table


def row_cells(report: MergeReport, summary: Summary) -> list[str]:
    """One row of the report's table as text: name, counts with shares, magnitude kept, angle."""
    cells = [summary.label, f"{summary.entries:,}"]
    if report.removed_word:
        cells += [
            "-" if count is None else counted(count, share)
            for count, share in zip(summary.removed, summary.removed_share, strict=True)
        ]
    kept = summary.magnitude_kept
    angle = summary.weight_angle if report.space == "weights" else summary.angle
    conflicts = summary.conflicts
    return [
        *cells,
        "-"
        if conflicts is None
        else counted(conflicts, conflicts / summary.entries if summary.entries else None),
        f"{summary.resolved:,}",
        "-" if kept is None else f"{kept:.3f}",
        "-" if angle is None else f"{angle:.1f}°",
    ]


def counted(count: int, share: float | None) -> str:
    """A count with its share, where there is one.

    >>> counted(1200, 0.25), counted(0, None)
    ('1,200 (25.0%)', '0')
    """
    return f"{count:,}" if share is None else f"{count:,} ({share:.1%})"


def report_lines(report: MergeReport) -> list[str]:
    """What stands below the table: parameters, factors in effect, errors, times, and the notes."""
    parameters = report.parameters()
    lines = [
        f"Parameters: {parameters['total']:,}, of which {parameters['merged']:,} merged and "
        f"{parameters['copied']:,} copied from the base, where no source changes them."
        if report.copied
        else f"Parameters: {parameters['total']:,}, all merged."
    ]
    total = report.total()
    if any(total.rescale):
        factors = [
            f"{name} ×{factor_range(factors)}"
            for name, factors in zip(report.sources, total.rescale, strict=True)
            if factors
        ]
        lines.append(f"What was not dropped was enlarged: {', '.join(factors)}.")
    if total.truncation_error is not None:
        lines.append(
            f"Truncation error: {total.truncation_error:.2%} of the merged change's norm was lost "
            "in writing it as factors."
        )
    if report.seconds:
        times = ", ".join(f"{stage} {value:.1f} s" for stage, value in report.seconds.items())
        lines.append(f"Time: {times}.")
    return [*lines, *(f"Note: {note}." for note in report.notes)]


def factor_range(factors: Sequence[float]) -> str:
    """The smallest and the largest of some factors, or the one that they all are.

    >>> factor_range((2.0, 2.0)), factor_range((1.5, 2.25))
    ('2', '1.5 to 2.25')
    """
    low, high = min(factors), max(factors)
    return f"{low:.4g}" if f"{low:.4g}" == f"{high:.4g}" else f"{low:.4g} to {high:.4g}"


class LiveReport:
    """A progress bar and the layers' rows, filling up on a terminal; elsewhere nothing.

    Enter it before the merge and call it after each tensor: with its report, or with nothing for
    a tensor that was copied. When it is left its lines are wiped, to make room for the table.
    """

    def __init__(self, report: MergeReport, total: int, console: Console | None = None) -> None:
        from rich.console import Console

        self.report, self.total = report, total
        self.console = console or Console(stderr=True)
        self._done = 0
        self._layers: dict[int | None, list[TensorReport]] = {}
        self._live: Any = None

    def __enter__(self) -> LiveReport:
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            from rich.live import Live
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

            self._bar = Progress(
                "merging", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
            )
            self._task = self._bar.add_task("", total=self.total)
            self._live = Live(get_renderable=self._picture, console=self.console, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, tensor: TensorReport | None = None) -> None:
        """One more tensor is done."""
        self._done += 1
        if tensor is not None:
            self._layers.setdefault(tensor.layer, []).append(tensor)
        if self._live is not None:
            self._bar.update(self._task, completed=self._done)

    def _picture(self) -> Any:
        """The table of the last layers that fit on the screen, above the bar."""
        from rich.console import Group

        table = _empty(self.report)
        room = max(1, self.console.height - 9)  # title, headings, rules, the bar
        order = sorted(self._layers, key=lambda layer: (layer is not None, layer or 0))
        for layer in order[-room:]:
            tensors = list(self._layers[layer])
            summary = summarise(layer_label(layer), tensors, len(self.report.sources))
            table.add_row(*row_cells(self.report, summary))
        return Group(table, self._bar) if order else self._bar
