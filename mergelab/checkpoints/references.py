"""From what a person writes for a model to the files it means.

A reference is a folder (a full model, or a bare adapter), `base+adapter`, the name of a model that
ships with the course (`task_api_persona`), or a hub id (`org/name`, `org/name@revision`,
`org/name/folder`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mergelab.checkpoints.adapter import Adapter
from mergelab.checkpoints.checkpoint import Checkpoint
from mergelab.checkpoints.hub import download, short_name
from mergelab.errors import UserError
from mergelab.paths import data_path

_MOST_PLUS = 10  # a folder's name may have some of its own
_SHIPPED = ("adapters", "models")


@dataclass(frozen=True)
class Source:
    """One model of a merge: a full checkpoint, or an adapter with the base it sits on.

    `reference` is what the person wrote; `base` is None for a full model.
    """

    reference: str
    model: Checkpoint | None = None
    adapter: Adapter | None = None
    base: Checkpoint | None = None

    @property
    def path(self) -> Path:
        """The folder the source's own weights lie in."""
        return (self.adapter or self.model).path

    @property
    def name(self) -> str:
        """A short name for tables: the folder's, or the repository's on the hub."""
        return short_name(self.path)

    @property
    def fingerprint(self) -> str:
        """Names the content of the source's own weights; see `Adapter` and `Checkpoint`."""
        return (self.adapter or self.model).fingerprint


class References:
    """Resolves references; relative paths are looked for in `folders`, first to last.

    The same folder is opened once, so that two adapters on one base share its headers. Weights
    stored as pickles are read only with `allow_pickle`.
    """

    def __init__(self, folders: Sequence[Path] = (Path(),), *, allow_pickle: bool = False) -> None:
        self.folders = [Path(folder) for folder in folders]
        self.allow_pickle = allow_pickle
        self._checkpoints: dict[Path, Checkpoint] = {}

    def source(self, reference: str) -> Source:
        """The model that `reference` names. Raises `UserError` if it cannot be found or read."""
        folder = self._folder(reference, optional="+" in reference)
        if folder is None:
            if reference.count("+") > _MOST_PLUS:
                raise UserError(f"'{reference}': write base+adapter, two models")
            base_text, _, adapter_text = reference.rpartition("+")
            base, adapter = self.source(base_text.strip()), self.source(adapter_text.strip())
            if base.model is None or adapter.adapter is None:
                raise UserError(f"'{reference}': write base+adapter, a full model first")
            return Source(reference, adapter=adapter.adapter, base=base.model)
        if (folder / "adapter_config.json").exists():
            adapter = Adapter(folder, allow_pickle=self.allow_pickle)
            return Source(reference, adapter=adapter, base=self._own_base(adapter))
        if (folder / "config.json").exists():
            return Source(reference, model=self.checkpoint(folder))
        raise UserError(
            f"{folder}: neither a model (config.json) nor an adapter (adapter_config.json)"
        )

    def model_folder(self, reference: str) -> Path:
        """The folder that a reference other than `base+adapter` names, whatever lies in it.

        Raises `UserError` if it cannot be found.
        """
        return self._folder(reference)

    def checkpoint(self, folder: Path) -> Checkpoint:
        """The full model in `folder`, opened once."""
        key = folder.resolve()
        if key not in self._checkpoints:
            self._checkpoints[key] = Checkpoint(folder, allow_pickle=self.allow_pickle)
        return self._checkpoints[key]

    def _folder(self, reference: str, optional: bool = False) -> Path | None:
        text = reference.strip()
        path = Path(os.path.expanduser(text))
        for folder in self.folders:  # os.path answers no for names that no file can have
            if os.path.isdir(folder / path):
                return folder / path
            if os.path.isfile(folder / path):
                raise UserError(f"{folder / path}: is a file; name the folder that holds the model")
        if path.name == text:
            for kind in _SHIPPED:
                try:
                    return data_path(kind, text)
                except UserError:
                    continue
        if optional:
            return None
        if self._is_path(text):
            places = " or ".join(dict.fromkeys(str(f.absolute()) for f in self.folders))
            raise UserError(f"model '{reference}': no such folder (looked in {places})")
        return download(text, allow_pickle=self.allow_pickle)

    def _is_path(self, text: str) -> bool:
        """Whether a name that no folder has can only be a folder's, and no hub id."""
        name = text.partition("@")[0]
        first = name.partition("/")[0]
        return (
            text.startswith((".", "/", "~"))
            or "/" not in name
            # a longer name starts with a repository, unless it starts with a folder here
            or (name.count("/") > 1 and any(os.path.isdir(f / first) for f in self.folders))
        )

    def _own_base(self, adapter: Adapter) -> Checkpoint | None:
        """The base an adapter's config names, found upwards from the adapter or from here.

        What lies nearest to the adapter comes first: another copy of the same tree has its own.
        """
        name = adapter.base_name
        if name is None:
            return None
        above = [adapter.path.absolute(), *adapter.path.absolute().parents]
        for folder in (*above, *self.folders):
            if os.path.exists(folder / name / "config.json"):
                return self.checkpoint(folder / name)
        return None

    def base_of(self, source: Source) -> Checkpoint:
        """The base of an adapter, fetched from the hub if it is named by its id there.

        Raises `UserError` when the adapter names none that can be found.
        """
        if source.base is not None:
            return source.base
        name = source.adapter.base_name
        hint = "name it as base_model in the recipe, or write base+adapter"
        if name is None:
            raise UserError(f"{source.path}: names no base model; {hint}")
        if name.count("/") != 1 or name.startswith((".", "/", "~")):
            raise UserError(f"{source.path}: its base '{name}' is not found here; {hint}")
        revision = source.adapter.config.get("revision")
        return self.checkpoint(
            download(f"{name}@{revision}" if revision else name, allow_pickle=self.allow_pickle)
        )
