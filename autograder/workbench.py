"""Puts the released lessons into `work/` without ever overwriting a learner's file.

A file that a learner has changed is never touched; when its lesson is updated, the new version is
put beside it as `<name>.new.ipynb`. What was placed when is remembered in `work/.placed.json`.
"""

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from mergelab.errors import UserError
from mergelab.files import write_whole

RECORD = ".placed.json"


@dataclass
class Placed:
    """What one run did, by path relative to the work folder."""

    new: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)


def place(lessons: Path, work: Path) -> Placed:
    """Copy every file of the released lessons into `work`.

    A missing file appears. A file that is still as it was placed is updated. A file that is not
    stays as it is, and a newer release is put beside it, once.

    Raises `UserError` if `work` cannot be a folder.
    """
    done = Placed()
    record = Record(work)
    for source in sorted(lessons.rglob("*")):
        relative = source.relative_to(lessons)
        if source.is_file() and not any(part.startswith(".") for part in relative.parts):
            place_file(source.read_bytes(), relative, work, record, done)
    record.save()
    return done


def place_file(content: bytes, relative: Path, work: Path, record: "Record", done: Placed) -> None:
    """Place one file; see `place`."""
    name, target, digest = relative.as_posix(), work / relative, _digest(content)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(
            f"{target.parent}: is a file where a lesson's folder belongs; move it away"
        ) from None
    if _create(target, content):
        record.placed[name] = digest
        done.new.append(name)
        return
    present = _digest(target.read_bytes()) if target.is_file() else None
    if present == digest:
        record.placed[name] = digest
    elif present is not None and present == record.placed.get(name):
        write_whole(target, content)
        record.placed[name] = digest
        done.updated.append(name)
    elif record.placed.get(name) != digest:
        done.beside.append(_beside(relative, content, work, record))
        # The learner keeps an older version: remember that this one has been offered.
        record.placed[name] = digest


def _beside(relative: Path, content: bytes, work: Path, record: "Record") -> str:
    number = 1
    while True:
        middle = ".new" if number == 1 else f".new{number}"
        path = relative.with_name(f"{relative.stem}{middle}{relative.suffix}")
        name, target = path.as_posix(), work / path
        if _create(target, content):
            break
        if target.is_file() and _digest(target.read_bytes()) == record.placed.get(name):
            write_whole(target, content)
            break
        number += 1
    record.placed[name] = _digest(content)
    return name


class Record:
    """Digests of the files that were placed, as they were placed."""

    def __init__(self, work: Path) -> None:
        self.path = work / RECORD
        self.placed: dict[str, str] = {}
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            self.placed = {str(name): str(digest) for name, digest in found.items()}
        except (OSError, ValueError, AttributeError):
            # Without a record nothing counts as ours: files stay, new versions go beside them.
            self.placed = {}

    def save(self) -> None:
        write_whole(self.path, json.dumps(self.placed, indent=1, sort_keys=True) + "\n")


def _create(target: Path, content: bytes) -> bool:
    """Write a file that must not exist; False if anything is there."""
    if os.path.lexists(target):
        return False
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    partial.write_bytes(content)
    try:
        os.link(partial, target)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        with open(target, "xb") as file:
            file.write(content)
    finally:
        partial.unlink()
    return True


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
