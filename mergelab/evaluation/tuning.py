"""Tuning: a search over the numbers of a recipe, by what its merges score on dev.

A trial is a recipe with certain values, merged and scored. Optuna proposes the values, a whole
generation at a time, before any of it is measured; so what is proposed depends on the seed and on
earlier scores, never on which worker was faster. A search that was stopped starts from its first
trial again and finds every trial that was measured in its record: it proposes the same, and goes
on where it was.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from mergelab.errors import UserError
from mergelab.evaluation.dev_scores import Conditions, Scores, scores_or_problem
from mergelab.evaluation.search_space import SearchSpace
from mergelab.evaluation.tuning_record import Record, distribution, key, quiet_optuna
from mergelab.recipes import Recipe
from mergelab.workers import Workers

SEARCHES = ("grid", "random", "evolutionary")
# A generation: large enough to mix, small enough that several fit into the trials.
_GENERATIONS, _SMALLEST, _LARGEST = 5, 4, 20

Measure = Callable[[Recipe, Conditions], Scores | str]
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Trial:
    """One point of the search: its number from 1, its values, and what it scored on dev.

    Number 0 is the recipe as it was given. `scores` is None where it could not be merged, and
    `problem` says why.
    """

    number: int
    values: Mapping[str, float]
    scores: Scores | None
    problem: str = ""

    @classmethod
    def of(cls, number: int, values: Mapping[str, float], outcome: Scores | str) -> Trial:
        """A trial from what came of it."""
        if isinstance(outcome, str):
            return cls(number, values, None, outcome)
        return cls(number, values, outcome)


def run_search(
    space: SearchSpace,
    how: str,
    trials: int,
    conditions: Conditions,
    record: Record,
    *,
    workers: Workers | None = None,
    measure: Measure = scores_or_problem,
    progress: Progress = lambda done, total, name: None,
) -> list[Trial]:
    """Score the recipe as it was given, then `trials` points of the space (of a grid, at most).

    `how`: "grid", "random" or "evolutionary" (NSGA-II with one objective for each skill). What is
    in `record` is not measured again, and what is measured goes there at once. `progress` is called
    with (trials measured, trials in all, the best so far).

    Raises `UserError` if the recipe as given cannot be merged, or none of the trials.
    """
    study, total, at_once = _study(space, how, trials, conditions)
    spread = {d.name: distribution(d) for d in space.dimensions}
    task = partial(measure, conditions=conditions)
    progress(0, total, "the recipe as given")
    found = [_given(space.recipe, record, task)]
    while len(found) <= total:
        asked = [study.ask(spread) for _ in range(min(at_once, total + 1 - len(found)))]
        values = [
            {d.name: d.rounded(one.params[d.name]) for d in space.dimensions} for one in asked
        ]
        report = partial(_report, progress, total, found, values, record)
        _measure(space, values, record, task, workers or Workers(), report)
        for one, each in zip(asked, values, strict=True):
            trial = Trial.of(len(found), each, record.outcome(each))
            found.append(trial)
            _tell(study, one, trial)
    if not any(trial.scores for trial in found[1:]):
        raise UserError(f"none of the {total} trials can be merged; the first: {found[1].problem}")
    return found


def _study(
    space: SearchSpace, how: str, trials: int, conditions: Conditions
) -> tuple[Any, int, int]:
    """The study, in memory; how many trials it will have, how many are asked for at once."""
    optuna = quiet_optuna()
    at_once = total = trials
    if how == "evolutionary":
        at_once = max(_SMALLEST, min(_LARGEST, trials // _GENERATIONS))
        sampler: Any = _nsga(at_once, conditions.seed, len(space.dimensions))
    else:
        sampler = optuna.samplers.RandomSampler(seed=conditions.seed)
    study = optuna.create_study(sampler=sampler, directions=["maximize"] * len(conditions.skills))
    if how == "grid":
        points = space.grid(trials)
        at_once = total = len(points)
        for point in points:
            study.enqueue_trial(point)
    return study, total, at_once


def _nsga(population: int, seed: int, dimensions: int) -> Any:
    """NSGA-II that blends its parents' values; exchanging whole values would hardly find new ones.

    Of a single dimension every second child is drawn anew, of more one value in each child.
    """
    from optuna.exceptions import ExperimentalWarning
    from optuna.samplers import NSGAIISampler
    from optuna.samplers.nsgaii import BLXAlphaCrossover

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return NSGAIISampler(
            population_size=population,
            crossover=BLXAlphaCrossover(),
            mutation_prob=min(0.5, 1 / dimensions),
            seed=seed,
        )


def _given(recipe: Recipe, record: Record, task: Callable[[Recipe], Scores | str]) -> Trial:
    if record.given is None:
        (outcome,) = Workers().map(task, [recipe])
        if isinstance(outcome, str):
            raise UserError(outcome)
        record.given = outcome
    return Trial(0, {}, record.given)


def _measure(
    space: SearchSpace,
    values: Sequence[Mapping[str, float]],
    record: Record,
    task: Callable[[Recipe], Scores | str],
    workers: Workers,
    report: Callable[[], None],
) -> None:
    """Measure what the record does not have yet, equal values once."""
    missing = list({key(each): each for each in values if record.outcome(each) is None}.values())

    def note(place: int, outcome: Scores | str) -> None:
        record.note(missing[place], outcome)
        report()

    report()
    workers.map(task, [space.recipe_with(each) for each in missing], note)


def _report(
    progress: Progress,
    total: int,
    found: Sequence[Trial],
    values: Sequence[Mapping[str, float]],
    record: Record,
) -> None:
    """Say how far the search is: earlier generations, and what is measured of this one."""
    outcomes = [(n, record.outcome(each)) for n, each in enumerate(values, start=len(found))]
    measured = [Trial.of(n, {}, outcome) for n, outcome in outcomes if outcome is not None]
    trial = best([*found, *measured])
    name = f"trial {trial.number}" if trial.number else "the recipe as given"
    words = f"best on dev: {trial.scores.combined.estimate:.3f}, {name}"
    progress(len(found) - 1 + len(measured), total, words)


def _tell(study: Any, asked: Any, trial: Trial) -> None:
    from optuna.trial import TrialState

    if trial.scores is None:
        study.tell(asked, state=TrialState.FAIL)
    else:
        study.tell(asked, [rate.estimate for rate in trial.scores.skills.values()])


def best(trials: Sequence[Trial]) -> Trial:
    """The trial with the highest combined score on dev; of equals the first, which changes least.

    >>> from mergelab.evaluation.statistics import Interval
    >>> scores = [Scores({}, Interval(rate, 0, 1)) for rate in (0.5, 0.7, 0.7)]
    >>> best([Trial(n, {}, each) for n, each in enumerate(scores)]).number
    1
    """
    return max((t for t in trials if t.scores), key=lambda t: t.scores.combined.estimate)


def front(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that no other beats: none is as good on every skill and better on one.

    >>> from mergelab.evaluation.statistics import Interval
    >>> def scored(number, *rates):
    ...     skills = {str(n): Interval(rate, 0, 1) for n, rate in enumerate(rates)}
    ...     return Trial(number, {}, Scores(skills, Interval(sum(rates) / 2, 0, 1)))
    >>> points = [scored(0, 0.9, 0.1), scored(1, 0.5, 0.5), scored(2, 0.4, 0.5)]
    >>> [trial.number for trial in front(points)]
    [0, 1]
    """
    points = {
        trial.number: [rate.estimate for rate in trial.scores.skills.values()]
        for trial in trials
        if trial.scores
    }

    def beaten(mine: Sequence[float]) -> bool:
        return any(
            other != mine and all(a >= b for a, b in zip(other, mine, strict=True))
            for other in points.values()
        )

    return [t for t in trials if t.number in points and not beaten(points[t.number])]
