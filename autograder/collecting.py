"""Takes submissions out of the exchange and looks at each before anything else does.

Only the lesson's notebook is taken, read as a plain file and never through a link; whatever else
lies in a submission stays behind. Nothing here stops for one bad submission: it is refused, with a
reason, and the others go on.
"""

import os
import pwd
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbgrader.utils import parse_utc

from autograder.courses import Course
from autograder.intake import NOTEBOOK_LIMIT, read_submission
from mergelab.errors import UserError
from mergelab.files import write_whole

STUDENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,63}")
TIMESTAMP = "timestamp.txt"
# nbgrader hands the feedback back to whoever has this.
BESIDE = (TIMESTAMP, "submission_secret.txt")
CHECKED = "checked"


@dataclass
class Handed:
    """What one student handed in for a lesson: the notebook as it may be graded, or why not."""

    student: str
    notebook: NotebookNode
    notes: list[str] = field(default_factory=list)
    refused: str = ""


def collect(course: Course, lesson: str) -> list[str]:
    """Copy the newest submission of each student from the exchange to `submitted/`; returns notes.

    What has been submitted before stays unless the exchange has a newer one. Where the student has
    an account on this machine, nobody else's folder is taken for the student's.
    """
    newest: dict[str, tuple[datetime, Path]] = {}
    notes = []
    for folder in _folders(course.exchange / "mergelab" / "inbound"):
        student, found, when = _named(folder.name)
        if found != lesson:
            continue
        if when is None or not STUDENT.fullmatch(student):
            notes.append(f"{folder.name!r}: is no submission by a student")
        elif not _may_be_of(student, folder):
            notes.append(f"{folder.name!r}: belongs to another account and was not taken")
        elif student not in newest or newest[student][0] < when:
            newest[student] = when, folder
    for student, (when, folder) in sorted(newest.items()):
        target = submitted(course) / student / lesson
        if _when(target) is None or _when(target) < when:
            note = _take(folder, target, lesson)
            if note:
                notes.append(f"{student}: {note}")
    return notes


def handed_in(course: Course, lesson: str) -> list[Handed]:
    """Every submission of a lesson, each read and set right, or refused with a reason."""
    release = nbformat.read(course.release(lesson), as_version=4)
    found = []
    for folder in _folders(submitted(course)):
        if not STUDENT.fullmatch(folder.name) or not os.path.lexists(folder / lesson):
            continue
        notes: list[str] = []
        path = folder / lesson / f"{lesson}.ipynb"
        try:
            _look(folder / lesson)
            _look(path)
            notebook = read_submission(path, release, notes)
            found.append(Handed(folder.name, notebook, notes))
        except UserError as error:
            reason = str(error).removeprefix(f"{path}: ")
            found.append(Handed(folder.name, _empty(release, reason), notes, reason))
    return found


def write_checked(course: Course, lesson: str, handed: Handed) -> bytes:
    """Put a submission, set right, where nbgrader takes it from; returns the bytes written."""
    folder = course.state / CHECKED / handed.student / lesson
    folder.mkdir(parents=True, exist_ok=True)
    content = nbformat.writes(handed.notebook).encode()
    write_whole(folder / f"{lesson}.ipynb", content)
    origin = submitted(course) / handed.student / lesson
    for name in BESIDE:
        (folder / name).unlink(missing_ok=True)
        # nbgrader stops at a time stamp that is no time.
        if _plain(origin / name) and (name != TIMESTAMP or _when(origin) is not None):
            write_whole(folder / name, _read(origin / name, 200))
    return content


def submitted(course: Course) -> Path:
    return course.state / "submitted"


def _folders(place: Path) -> Iterator[Path]:
    """The real folders in a place, by name."""
    if place.is_dir():
        for path in sorted(place.iterdir()):
            if stat.S_ISDIR(path.lstat().st_mode):
                yield path


def _may_be_of(student: str, folder: Path) -> bool:
    """Whether a folder of the exchange, where anyone may write, can come from this student."""
    try:
        account = pwd.getpwnam(student).pw_uid
    except KeyError:  # names in the course are not those of accounts
        return True
    return folder.lstat().st_uid in (account, os.getuid(), 0)


def _named(name: str) -> tuple[str, str, datetime | None]:
    """Student, lesson and time in the name that nbgrader gives to a submission in the exchange."""
    parts = name.rsplit("+", 3)
    if len(parts) < 3:
        return name, "", None
    try:
        return parts[0], parts[1], parse_utc(parts[2])
    except (ValueError, OverflowError):
        return parts[0], parts[1], None


def _when(folder: Path) -> datetime | None:
    """When a submission was handed in, by its time stamp."""
    path = folder / TIMESTAMP
    try:
        return parse_utc(_read(path, 200).decode().strip()) if _plain(path) else None
    except (ValueError, OverflowError, OSError):
        return None


def _take(folder: Path, target: Path, lesson: str) -> str:
    """Copy notebook and time stamp of one submission; what is odd about it, or ""."""
    target.mkdir(parents=True, exist_ok=True)
    names = sorted(path.name for path in folder.iterdir())
    for name in (f"{lesson}.ipynb", *BESIDE):
        (target / name).unlink(missing_ok=True)
        if _plain(folder / name):
            write_whole(target / name, _read(folder / name, NOTEBOOK_LIMIT + 1))
    odd = [name for name in names if not _plain(folder / name)]
    if odd:
        return f"{odd[0]!r} is a link or no plain file, and was not followed"
    return "" if f"{lesson}.ipynb" in names else f"holds no {lesson}.ipynb"


def _look(path: Path) -> None:
    """Raises `UserError` unless a path is there and no link."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        raise UserError("there is no notebook of this lesson") from None
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UserError("is a link or no plain file")


def _plain(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _read(path: Path, limit: int) -> bytes:
    """The start of a plain file; a link that has taken its place since is not followed."""
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(number, "rb") as file:
        return file.read(limit)


def _empty(release: NotebookNode, reason: str) -> NotebookNode:
    """The release with the reason why nothing else could be graded, as a comment."""
    text = " ".join(f"# This submission could not be graded: {reason}."[:400].split())
    notebook = nbformat.from_dict(dict(release))
    notebook.cells = [nbformat.v4.new_code_cell(text, id="refused"), *release.cells]
    return notebook
