"""What a merge did: per tensor, per layer, in total; as a table, as JSON, as numbers to plot.

Trimmed: entries of one task vector set to zero by trim. Dropped: the same, at random. Conflict:
an entry where, after that, two task vectors are nonzero with opposite signs (None where there is
no base, and so no task vectors); resolved: one side was elected. Magnitude kept: norm of the
merged task vector over the weighted mean norm of the task vectors. Angle: between task vectors
(or between full weights), mean over pairs, in degrees.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mergelab.errors import UserError

FILE_NAME = "merge_report.json"


@dataclass(frozen=True)
class TensorReport:
    """What happened to one tensor. Tuples hold one number per source, in the report's order.

    `weights` are the sources' weights; `gram` the inner products of the task vectors (of full
    weights where the merge had no base), `weight_gram` those of full weights where they were what
    was merged. `rescale` is the factor put on what was not dropped.
    """

    name: str
    layer: int | None
    entries: int
    removed: tuple[int, ...]
    conflicts: int | None
    resolved: int
    weights: tuple[float, ...]
    gram: tuple[tuple[float, ...], ...]
    merged_square: float
    weight_gram: tuple[tuple[float, ...], ...] | None = None
    linear_fallback: bool = False
    rescale: tuple[float, ...] = ()


@dataclass(frozen=True)
class Summary:
    """The same over a group of tensors: a layer, or the whole merge."""

    label: str
    tensors: int
    entries: int
    removed: tuple[int, ...]
    conflicts: int | None
    resolved: int
    magnitude_kept: float | None
    angle: float | None
    weight_angle: float | None
    linear_fallbacks: int


@dataclass
class MergeReport:
    """Everything a merge did. `removed_word` is "trimmed", "dropped" or "" where nothing is."""

    method: str
    sources: list[str]
    base: str | None
    space: str
    seed: int
    removed_word: str
    tensors: list[TensorReport] = field(default_factory=list)
    copied: int = 0
    copied_entries: int = 0
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def per_layer(self) -> list[Summary]:
        """One summary for each layer, the tensors outside the layers first."""
        groups: dict[int | None, list[TensorReport]] = {}
        for tensor in self.tensors:
            groups.setdefault(tensor.layer, []).append(tensor)
        order = sorted(groups, key=lambda layer: (layer is not None, layer or 0))
        return [
            summarise("outside layers" if layer is None else f"layer {layer}", groups[layer])
            for layer in order
        ]

    def total(self) -> Summary:
        """One summary for the whole merge."""
        return summarise("total", self.tensors)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data, with the summaries per layer and in total."""
        return {
            **asdict(self),
            "layers": [asdict(summary) for summary in self.per_layer()],
            "total": asdict(self.total()),
        }

    def save(self, folder: Path) -> None:
        """Write the report into a merge's output folder."""
        text = json.dumps(finite(self.to_dict()), indent=1)
        (folder / FILE_NAME).write_text(text + "\n")


def load_report(folder: Path) -> MergeReport:
    """The report saved beside a merged model. Raises `UserError` if there is none."""
    path = Path(folder) / FILE_NAME
    try:
        data = json.loads(path.read_text())
        names = set(MergeReport.__dataclass_fields__)
        tensors = [
            TensorReport(**{key: _tuples(value) for key, value in tensor.items()})
            for tensor in data["tensors"]
        ]
        return MergeReport(**{**{k: data[k] for k in names}, "tensors": tensors})
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a merge report ({error})") from None


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def finite(value: Any) -> Any:
    """Plain data fit for JSON, which has no NaN or infinity: an undefined figure becomes None.

    >>> finite({"angle": math.nan, "norms": (1.0, math.inf)})
    {'angle': None, 'norms': [1.0, None]}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def summarise(label: str, tensors: Sequence[TensorReport]) -> Summary:
    """Add up the figures of several tensors, exactly: squares and products add, angles do not.

    >>> one = TensorReport("x", 0, 4, (2, 2), 1, 1, (1.0, 1.0), ((4.0, 0.0), (0.0, 4.0)), 2.0)
    >>> both = summarise("both", [one, one])
    >>> both.removed, both.conflicts, both.angle, round(both.magnitude_kept, 4)
    ((4, 4), 2, 90.0, 0.7071)
    """
    count = max((len(tensor.removed) for tensor in tensors), default=0)
    whole = [tensor for tensor in tensors if len(tensor.removed) == count]
    gram = _add_grams(t.gram for t in whole)
    weight_grams = [t.weight_gram for t in whole if t.weight_gram is not None]
    return Summary(
        label=label,
        tensors=len(tensors),
        entries=sum(t.entries for t in tensors),
        removed=tuple(sum(t.removed[i] for t in whole) for i in range(count)),
        conflicts=None
        if any(t.conflicts is None for t in tensors)
        else sum(t.conflicts for t in tensors),
        resolved=sum(t.resolved for t in tensors),
        magnitude_kept=_magnitude_kept(whole, gram),
        angle=mean_angle(gram),
        weight_angle=mean_angle(_add_grams(weight_grams)) if weight_grams else None,
        linear_fallbacks=sum(t.linear_fallback for t in tensors),
    )


def _add_grams(grams: Iterable[Sequence[Sequence[float]]]) -> list[list[float]]:
    total: list[list[float]] = []
    for gram in grams:
        if not total:
            total = [[0.0] * len(gram) for _ in gram]
        for i, row in enumerate(gram):
            for j, value in enumerate(row):
                total[i][j] += value
    return total


def _magnitude_kept(
    tensors: Sequence[TensorReport], gram: Sequence[Sequence[float]]
) -> float | None:
    if not tensors:
        return None
    weights = [abs(w) for w in tensors[0].weights]
    norms = [math.sqrt(gram[i][i]) for i in range(len(gram))]
    mean = sum(w * n for w, n in zip(weights, norms, strict=True))
    if mean == 0:
        return None
    return math.sqrt(sum(t.merged_square for t in tensors)) * sum(weights) / mean


def mean_angle(gram: Sequence[Sequence[float]]) -> float | None:
    """Mean angle over all pairs in degrees, from inner products; None where a norm is zero.

    >>> mean_angle([[1.0, 0.0], [0.0, 4.0]])
    90.0
    """
    angles = []
    for i in range(len(gram)):
        for j in range(i):
            norms = math.sqrt(gram[i][i]) * math.sqrt(gram[j][j])
            if norms > 0:
                cosine = max(-1.0, min(1.0, gram[i][j] / norms))
                angles.append(math.degrees(math.acos(cosine)))
    return sum(angles) / len(angles) if angles else None


def report_table(report: MergeReport) -> Any:
    """The report as a rich table: a row for each layer and one for the total."""
    from rich.table import Table

    table = Table(title=f"{report.method} of {', '.join(report.sources)}", title_justify="left")
    table.add_column("")
    table.add_column("entries", justify="right")
    if report.removed_word:
        for source in report.sources:
            table.add_column(f"{report.removed_word}\n{source}", justify="right")
    table.add_column("sign\nconflicts", justify="right")
    table.add_column("resolved", justify="right")
    table.add_column("magnitude\nkept", justify="right")
    table.add_column("angle", justify="right")
    rows = report.per_layer()
    for summary in rows:
        table.add_row(*row_cells(report, summary), end_section=summary is rows[-1])
    if rows:
        table.add_row(*row_cells(report, report.total()), style="bold")
    return table


def row_cells(report: MergeReport, summary: Summary) -> list[str]:
    """One row of the report's table as text: name, counts with shares, magnitude kept, angle."""
    cells = [summary.label, f"{summary.entries:,}"]
    if report.removed_word:
        cells += [_share(count, summary.entries) for count in summary.removed]
    kept = summary.magnitude_kept
    angle = summary.weight_angle if report.space == "weights" else summary.angle
    return [
        *cells,
        "-" if summary.conflicts is None else _share(summary.conflicts, summary.entries),
        f"{summary.resolved:,}",
        "-" if kept is None else f"{kept:.3f}",
        "-" if angle is None else f"{angle:.1f}°",
    ]


def _share(count: int, entries: int) -> str:
    return f"{count:,} ({count / entries:.1%})" if entries else "0"
