"""One model on some items, as a task that any process can do, and its outcome item by item.

Tables are made of these: a `Measurement` says everything that decides its outcome and nothing else,
so two tables that ask for the same one share it, and a run that was killed goes on after those it
has.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mergelab.evaluation.suites import PAIR, Item, load_suite

if TYPE_CHECKING:
    from mergelab.evaluation.results import Evaluation
    from mergelab.workers import Workers


@dataclass(frozen=True)
class Measurement:
    """What to measure: a model, or a recipe as JSON text, on the first `items` of each suite."""

    model: str
    split: str
    items: int
    skills: tuple[str, ...] = PAIR
    seed: int = 0

    @classmethod
    def of(cls, model: str | Mapping[str, Any], split: str, items: int, **more: Any) -> Measurement:
        """The same from a recipe as a mapping.

        >>> Measurement.of({"merge_method": "linear"}, "dev", 10).model
        '{"merge_method": "linear"}'
        """
        text = model if isinstance(model, str) else json.dumps(model, sort_keys=True)
        return cls(text, split, items, **more)


@dataclass(frozen=True)
class Measured:
    """Which items were right, as a string of 0 and 1 for each skill; the size of the merged change.

    `size` is the report's `magnitude kept`: the norm of the merged change over the mean norm of the
    task vectors, None where nothing was merged.
    """

    right: dict[str, str]
    size: float | None = None

    def evaluation(self, name: str, split: str) -> Evaluation:
        """As an evaluation, with intervals and comparisons; replies are not kept.

        >>> Measured({"persona": "0111"}).evaluation("m", "dev").skills["persona"].rate.estimate
        0.75
        """
        from mergelab.evaluation.results import Evaluation, Outcome, SkillResult
        from mergelab.evaluation.scorers import Score

        skills = {}
        for skill, right in self.right.items():
            outcomes = [
                Outcome(item, "", Score(int(mark), float(mark), ""))
                for item, mark in zip(_items(skill, split), right, strict=False)
            ]
            skills[skill] = SkillResult.of(skill, outcomes)
        return Evaluation(name, split, skills)


def measure(what: Measurement) -> Measured:
    """Load or merge the model in memory, ask it the items, and score its replies strictly."""
    from mergelab.checkpoints.loading import load_model
    from mergelab.engine import merge
    from mergelab.evaluation.results import evaluate

    size = None
    if what.model.startswith("{"):
        merged = merge(json.loads(what.model), seed=what.seed)
        size = merged.report.total().magnitude_kept
        model, tokenizer = merged.load()
    else:
        model, tokenizer = load_model(what.model)
    found = evaluate(model, tokenizer, skills=what.skills, split=what.split, limit=what.items)
    right = {
        skill: "".join(str(outcome.score.strict) for outcome in result.outcomes)
        for skill, result in found.skills.items()
    }
    return Measured(right, size)


def measure_all(
    wanted: Iterable[Measurement],
    workers: Workers,
    *,
    kept: Path | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> dict[Measurement, Measured]:
    """Measure each once. `kept` is a file of earlier outcomes, to which new ones are added.

    `progress` is called with (measured, in all, split).
    """
    todo = list(dict.fromkeys(wanted))
    known = _read(kept) if kept else {}
    found = {each: known[_key(each)] for each in todo if _key(each) in known}
    missing = [each for each in todo if each not in found]
    # Equal sizes at a time leave no worker with a long one at the end.
    missing.sort(key=lambda each: -each.items * len(each.skills))

    def note(place: int, result: Measured) -> None:
        found[missing[place]] = result
        if kept is not None:
            _append(kept, _key(missing[place]), result)
        progress(len(found), len(todo), f"{missing[place].split} items")

    progress(len(found), len(todo), "")
    workers.map(measure, missing, note)
    return found


def _read(path: Path) -> dict[str, Measured]:
    """Earlier outcomes; a line that a kill cut short is left out."""
    known = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
                known[entry["key"]] = Measured(entry["right"], entry["size"])
            except (ValueError, KeyError, TypeError):
                continue
    return known


def _append(path: Path, key: str, result: Measured) -> None:
    with path.open("a", encoding="utf-8") as file:
        # A line that a kill cut short ends here.
        file.write("\n" + json.dumps({"key": key, **asdict(result)}) + "\n")


def _key(what: Measurement) -> str:
    text = json.dumps(asdict(what), sort_keys=True)
    return hashlib.sha256((text + _state()).encode()).hexdigest()


@cache
def _state() -> str:
    """A digest of what decides an outcome beside the measurement: the code, models and suites."""
    import mergelab
    from mergelab.paths import data_path

    summed = hashlib.sha256()
    home = Path(mergelab.__file__).parent
    files = sorted(home.rglob("*.py"))
    for folder in ("models", "adapters", "suites"):
        files += sorted(path for path in data_path(folder).rglob("*") if path.is_file())
    for path in files:
        summed.update(path.name.encode() + path.read_bytes())
    return summed.hexdigest()


@cache
def _items(skill: str, split: str) -> list[Item]:
    return load_suite(skill, split)
