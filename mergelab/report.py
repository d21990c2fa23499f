"""What a merge did: per tensor, per layer, in total; in memory and as JSON beside the output.

Trimmed: entries of one task vector set to zero by trim. Dropped: the same, at random; both as a
share of the entries of the tensors that the source changes. Conflict: an entry where, after that,
two task vectors are nonzero with opposite signs (None where there is no base, and so no task
vectors); resolved: one side was elected. Angle: between task vectors (or between full weights),
mean over pairs, in degrees.

Magnitude kept: the norm of the merged task vector over the weighted mean norm of the task vectors,
`|merged| / sum_i |s_i tau_i|`. A source's share is `s_i = |w_i| / sum_j |w_j|`; where weights
differ from tensor to tensor each tensor of `tau_i` is multiplied by the share it has there, so that
`|s_i tau_i|^2 = sum_t s_ti^2 |tau_ti|^2`. Truncation error: `|written - merged| / |merged|` of
task vectors written as factors of a lower rank. Norms are Frobenius norms.

Squares and products are added, and only then are roots and angles taken, so a total is that of the
whole model. Sums are exact to the last rounding in any order.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any

from mergelab.checkpoints.reading import MAX_JSON, read_text
from mergelab.errors import UserError

FILE_NAME = "merge_report.json"
FORMAT = 1  # of the JSON; a change that old readers would misread counts it up
_PACKAGES = ("mergelab", "torch", "transformers", "safetensors", "numpy")


def versions() -> dict[str, str]:
    """The versions that a result depends on: Python's and those of the packages that compute it.

    >>> sorted(versions())[-1]
    'transformers'
    """
    found = {"python": python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # a checkout that is not installed
            continue
    return found


@dataclass(frozen=True)
class TensorReport:
    """What happened to one tensor. Tuples hold one number per source that it was merged from.

    `sources` says which those are, as places in the report's list; empty means all, in order.
    `weights` are the sources' weights; `gram` the inner products of the task vectors (of full
    weights where the merge had no base), `weight_gram` those of full weights where they were what
    was merged. `rescale` is the factor put on what was not dropped. `truncation_error` is the
    relative error of the factors written, None where the whole tensor was. `seconds` by stage.
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
    sources: tuple[int, ...] = ()
    truncation_error: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def places(self) -> tuple[int, ...]:
        """For each number in the tuples, the source's place in the report."""
        return self.sources or tuple(range(len(self.removed)))


@dataclass(frozen=True)
class Summary:
    """The same over a group of tensors: a layer, or the whole merge.

    Tuples hold one number per source of the report, None for a source that has no part here.
    `removed_share` is of the entries of the tensors that the source changes; `rescale` holds the
    smallest and the largest factor.
    """

    label: str
    tensors: int
    entries: int
    removed: tuple[int | None, ...]
    conflicts: int | None
    resolved: int
    magnitude_kept: float | None
    angle: float | None
    weight_angle: float | None
    linear_fallbacks: int
    removed_share: tuple[float | None, ...] = ()
    rescale: tuple[tuple[float, float] | None, ...] = ()
    truncation_error: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass
class MergeReport:
    """Everything a merge did. `removed_word` is "trimmed", "dropped" or "" where nothing is.

    `fingerprints` name the content of the sources, in their order, and that of the base last;
    `folders` are the places, seen from the output, that the recipe's relative paths start from.
    """

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
    versions: dict[str, str] = field(default_factory=versions)
    fingerprints: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)

    def sort(self, names: Sequence[str]) -> None:
        """Bring the tensors, finished in any order, into that of `names`: the plan's."""
        place = {name: number for number, name in enumerate(names)}
        self.tensors.sort(key=lambda tensor: place[tensor.name])

    def per_layer(self) -> list[Summary]:
        """One summary for each layer, the tensors outside the layers first."""
        groups: dict[int | None, list[TensorReport]] = defaultdict(list)
        for tensor in self.tensors:
            groups[tensor.layer].append(tensor)
        order = sorted(groups, key=lambda layer: (layer is not None, layer or 0))
        return [summarise(layer_label(k), groups[k], len(self.sources)) for k in order]

    def per_tensor(self) -> list[Summary]:
        """One summary for each merged tensor."""
        return [summarise(t.name, [t], len(self.sources)) for t in self.tensors]

    def total(self) -> Summary:
        """One summary for the whole merge."""
        return summarise("total", self.tensors, len(self.sources))

    def parameters(self) -> dict[str, int]:
        """How many entries of the output were merged, how many copied, and how many there are."""
        merged = sum(tensor.entries for tensor in self.tensors)
        return {
            "merged": merged,
            "copied": self.copied_entries,
            "total": merged + self.copied_entries,
        }

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data, with the summaries per layer and in total."""
        return {
            "format": FORMAT,
            **asdict(self),
            "parameters": self.parameters(),
            "layers": [asdict(summary) for summary in self.per_layer()],
            "total": asdict(self.total()),
        }

    def save(self, folder: Path) -> None:
        """Write the report into a merge's output folder."""
        text = json.dumps(finite(self.to_dict()), indent=1)
        (folder / FILE_NAME).write_text(text + "\n")


def load_report(folder: Path | str) -> MergeReport:
    """The report saved beside a merged model.

    Raises `UserError`, one line, if there is none, if it is damaged, or if another version of
    mergelab wrote it in another format.
    """
    from pydantic import TypeAdapter, ValidationError

    path = Path(folder) / FILE_NAME
    try:
        text = read_text(path, MAX_JSON)
        data = json.loads(text)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a merge report ({error})") from None
    found = data.get("format") if isinstance(data, dict) else None
    if type(found) is not int:
        raise UserError(f"{path}: not a merge report of this version; merge again to get one")
    if found != FORMAT:
        do = "update mergelab" if found > FORMAT else "merge again to get a new one"
        raise UserError(f"{path}: is in format {found}, this mergelab reads {FORMAT}; {do}")
    try:
        report = TypeAdapter(MergeReport).validate_json(text, strict=True)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(map(str, problem["loc"]))
        raise UserError(f"{path}: not a merge report ({place}: {problem['msg']})") from None
    for tensor in report.tensors:
        if not _fits(tensor, len(report.sources)):
            raise UserError(
                f"{path}: not a merge report (the numbers of {tensor.name} are damaged)"
            )
    return report


def _fits(tensor: TensorReport, sources: int) -> bool:
    """Whether a tensor's tuples go with one another and with the report's sources."""
    count = len(tensor.removed)
    matrices = [tensor.gram] + ([tensor.weight_gram] if tensor.weight_gram is not None else [])
    return (
        len(tensor.places()) == len(tensor.weights) == count
        and len(tensor.rescale) in (0, count)
        and all(0 <= place < sources for place in tensor.places())
        and all(len(m) == count and all(len(row) == count for row in m) for m in matrices)
        and all(m[i][i] >= 0 for m in matrices for i in range(count))
        and min(tensor.merged_square, tensor.entries) >= 0
    )


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


def layer_label(layer: int | None) -> str:
    """What a layer is called in tables.

    >>> layer_label(3), layer_label(None)
    ('layer 3', 'outside layers')
    """
    return "outside layers" if layer is None else f"layer {layer}"


def summarise(label: str, tensors: Sequence[TensorReport], sources: int | None = None) -> Summary:
    """Add up the figures of several tensors: squares and products add, angles do not.

    `sources`: how many the report has; by default as many as the tensors name.

    >>> one = TensorReport("x", 0, 4, (2, 2), 1, 1, (1.0, 1.0), ((4.0, 0.0), (0.0, 4.0)), 2.0)
    >>> both = summarise("both", [one, one])
    >>> both.removed, both.removed_share, both.conflicts, both.angle, round(both.magnitude_kept, 4)
    ((4, 4), (0.5, 0.5), 2, 90.0, 0.7071)
    """
    if sources is None:
        sources = 1 + max((place for t in tensors for place in t.places()), default=-1)
    removed: list[list[int]] = [[] for _ in range(sources)]
    changed = [0] * sources
    rescale: list[list[float]] = [[] for _ in range(sources)]
    for tensor in tensors:
        for i, place in enumerate(tensor.places()):
            removed[place].append(tensor.removed[i])
            changed[place] += tensor.entries * (tensor.gram[i][i] > 0)
            rescale[place] += tensor.rescale[i : i + 1]
    counts = [sum(numbers) if numbers else None for numbers in removed]
    return Summary(
        label=label,
        tensors=len(tensors),
        entries=sum(t.entries for t in tensors),
        removed=tuple(counts),
        conflicts=None
        if any(t.conflicts is None for t in tensors)
        else sum(t.conflicts for t in tensors),
        resolved=sum(t.resolved for t in tensors),
        magnitude_kept=_magnitude_kept(tensors),
        angle=_angle(tensors, [t.gram for t in tensors]),
        weight_angle=_angle(tensors, [t.weight_gram for t in tensors]),
        linear_fallbacks=sum(t.linear_fallback for t in tensors),
        removed_share=tuple(
            n / size if n is not None and size else None
            for n, size in zip(counts, changed, strict=True)
        ),
        rescale=tuple((min(f), max(f)) if f else None for f in rescale) if any(rescale) else (),
        truncation_error=_truncation_error(tensors),
        seconds=_add(t.seconds for t in tensors),
    )


def _occurrences(tensor: TensorReport) -> Iterator[tuple[int, int]]:
    """A key for each input: the source's place, and how often it came before (in slices it may)."""
    seen: Counter[int] = Counter()
    for place in tensor.places():
        yield place, seen[place]
        seen[place] += 1


def _magnitude_kept(tensors: Sequence[TensorReport]) -> float | None:
    squares: dict[tuple[int, int], list[float]] = defaultdict(list)
    for tensor in tensors:
        total = sum(map(abs, tensor.weights))
        for i, key in enumerate(_occurrences(tensor)):
            share = abs(tensor.weights[i]) / total if total else 0.0
            squares[key].append(share * share * tensor.gram[i][i])
    mean = math.fsum(math.sqrt(math.fsum(terms)) for terms in squares.values())
    return math.sqrt(math.fsum(t.merged_square for t in tensors)) / mean if mean else None


Gram = Sequence[Sequence[float]]


def _angle(tensors: Sequence[TensorReport], grams: Sequence[Gram | None]) -> float | None:
    """Mean over pairs of sources, each over the tensors that both have a part in."""
    pairs: dict[Any, list[tuple[float, float, float]]] = defaultdict(list)
    for tensor, gram in zip(tensors, grams, strict=True):
        for i, one in enumerate(_occurrences(tensor) if gram is not None else ()):
            for j, other in enumerate(_occurrences(tensor)):
                if one < other:
                    pairs[one, other].append((gram[i][j], gram[i][i], gram[j][j]))
    angles = []
    for terms in pairs.values():
        product, a, b = (math.fsum(column) for column in zip(*terms, strict=True))
        angle = mean_angle(((a, product), (product, b)))
        if angle is not None:
            angles.append(angle)
    return math.fsum(angles) / len(angles) if angles else None


def mean_angle(gram: Gram) -> float | None:
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


def _truncation_error(tensors: Sequence[TensorReport]) -> float | None:
    cut = [t for t in tensors if t.truncation_error is not None]
    if not cut:
        return None
    whole = math.fsum(t.merged_square for t in cut)
    lost = math.fsum(t.truncation_error**2 * t.merged_square for t in cut)
    return math.sqrt(lost / whole) if whole else 0.0


def _add(times: Iterable[Mapping[str, float]]) -> dict[str, float]:
    columns: dict[str, list[float]] = defaultdict(list)
    for seconds in times:
        for stage, value in seconds.items():
            columns[stage].append(value)
    return {stage: math.fsum(values) for stage, values in columns.items()}
