"""The record of a search: what was measured so far, on disk before the next trial starts.

It is a folder with Optuna's own storage in it, an SQLite file that survives a kill at any moment.
The folder belongs to one search: it opens again for the same recipe, models and options only.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from mergelab.checkpoints import whole_folder
from mergelab.errors import UserError
from mergelab.evaluation.dev_scores import Scores
from mergelab.evaluation.search_space import Dimension

STORAGE = "search.db"
_STUDY = "tune"
_WORDS = {"models": "models (their weights changed)", "items": "dev items"}


class Record:
    """The folder of a search, for one process at a time; `with Record(...) as record`.

    `settings`, plain data, say what the search is. A folder that does not exist is made; one that
    holds the same search is opened. Raises `UserError` for a folder of anything else, and while
    another process works in it.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], dimensions: Sequence[Dimension]
    ) -> None:
        self.folder = Path(os.path.abspath(folder))
        self._distributions = {d.name: distribution(d) for d in dimensions}
        if not os.path.lexists(self.folder):
            with whole_folder(self.folder) as new, closing(_Storage(new / STORAGE)) as storage:
                self._create(storage, settings)
        if not (self.folder / STORAGE).is_file():
            raise UserError(
                f"{folder}: exists already and holds no search; choose another name or remove it"
            )
        self._lock = self._locked(folder)
        with ExitStack() as refused:
            refused.callback(os.close, self._lock)
            self._storage = refused.enter_context(closing(_Storage(self.folder / STORAGE)))
            self._study = self._opened(folder, settings)
            trials = self._study.trials
            refused.pop_all()  # all is well: they stay open
        self._known = {key(trial.params): trial.user_attrs["outcome"] for trial in trials}

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *_: Any) -> None:
        self._storage.close()
        os.close(self._lock)

    def __len__(self) -> int:
        return len(self._known)

    def outcome(self, values: Mapping[str, float]) -> Scores | str | None:
        """What was measured with these values: scores, or why there are none; None if nothing."""
        return _outcome(self._known.get(key(values)))

    def note(self, values: Mapping[str, float], outcome: Scores | str) -> None:
        """Keep what was measured with these values; it is on disk when this returns."""
        from optuna.exceptions import StorageInternalError
        from optuna.trial import TrialState, create_trial

        said = outcome if isinstance(outcome, str) else outcome.to_dict()
        good = isinstance(outcome, Scores)
        trial = create_trial(
            state=TrialState.COMPLETE if good else TrialState.FAIL,
            values=[rate.estimate for rate in outcome.skills.values()] if good else None,
            params=dict(values),
            distributions=self._distributions,
            user_attrs={"outcome": said},
        )
        try:
            self._study.add_trial(trial)
        except StorageInternalError as error:  # the disk is full, the file is gone
            reason = getattr(error.__cause__, "orig", error)
            raise UserError(
                f"{self.folder / STORAGE}: cannot be written ({reason}); what was measured is "
                "kept, and the same command goes on after it"
            ) from None
        self._known[key(values)] = said

    @property
    def given(self) -> Scores | None:
        """The scores of the recipe as it was given, once they are measured."""
        return _outcome(self._study.user_attrs.get("given"))

    @given.setter
    def given(self, scores: Scores) -> None:
        self._study.set_user_attr("given", scores.to_dict())

    def _create(self, storage: _Storage, settings: Mapping[str, Any]) -> None:
        study = quiet_optuna().create_study(
            storage=storage.optuna,
            study_name=_STUDY,
            directions=["maximize"] * len(settings["skills"]),
        )
        study.set_user_attr("settings", json.loads(json.dumps(settings)))

    def _opened(self, folder: Path, settings: Mapping[str, Any]) -> Any:
        study = quiet_optuna().load_study(study_name=_STUDY, storage=self._storage.optuna)
        kept, asked = study.user_attrs["settings"], json.loads(json.dumps(settings))
        other = [name for name in asked if kept.get(name) != asked[name]]
        if {"skills", "limit"} & set(other):  # other items follow from that
            other.remove("items")
        if other:
            said = ", ".join(_WORDS.get(name, name) for name in other)
            raise UserError(
                f"{folder}: holds a search that differs in {said}; choose another folder, or "
                "repeat the command as it was"
            )
        return study

    def _locked(self, folder: Path) -> int:
        lock = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise UserError(f"{folder}: another search is at work there; wait for it") from None
        return lock


class _Storage:
    """Optuna's storage in a file, whatever the file's path looks like as a URL."""

    def __init__(self, path: Path) -> None:
        import sqlite3

        from sqlalchemy.pool import NullPool

        engine = {"creator": lambda: sqlite3.connect(path, timeout=60), "poolclass": NullPool}
        try:
            self.optuna = quiet_optuna().storages.RDBStorage("sqlite://", engine_kwargs=engine)
        except Exception as error:  # SQLAlchemy's and Optuna's own, for a file that is no storage
            reason = str(error).splitlines()[0]
            raise UserError(f"{path}: cannot be opened ({reason}); choose another folder") from None

    def close(self) -> None:
        self.optuna.remove_session()
        self.optuna.engine.dispose()


def quiet_optuna() -> Any:
    """Optuna, told to say nothing about ordinary events."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def distribution(dimension: Dimension) -> Any:
    """A dimension as Optuna describes it."""
    from optuna.distributions import FloatDistribution, IntDistribution

    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high))
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def key(values: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """Values as a key, whatever their order.

    >>> key({"t": 0.5, "lambda": 1.0}) == key({"lambda": 1, "t": 0.5})
    True
    """
    return tuple(sorted(values.items()))


def _outcome(said: Any) -> Scores | str | None:
    return Scores.from_dict(said) if isinstance(said, dict) else said
