"""The folders that a class shares on one machine, and who may do what in them.

    exchange/    what is handed out, handed in, and given back: everybody, within nbgrader's rules
    course/      gradebook, submissions, feedback: instructors
    hub/         JupyterHub's database and its secrets: root

A learner's own work lies in their home folder.
"""

import grp
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from mergelab.errors import UserError


@dataclass(frozen=True)
class Shared:
    """The shared folders below one folder."""

    folder: Path

    @property
    def exchange(self) -> Path:
        return self.folder / "exchange"

    @property
    def released(self) -> Path:
        """Where nbgrader puts the lessons that are handed out."""
        return self.exchange / "mergelab" / "outbound"

    @property
    def course(self) -> Path:
        return self.folder / "course"

    @property
    def hub(self) -> Path:
        return self.folder / "hub"

    def prepare(self, instructors: str) -> None:
        """Make the folders as root, or set their modes right; `instructors` is a group's name.

        nbgrader would make those of the exchange itself, but then whoever comes first owns them.
        Raises `UserError` where something else lies in their place.
        """
        group, any_group = grp.getgrnam(instructors).gr_gid, -1
        place = self.exchange / "mergelab"
        for path, mode, owners in (
            (self.folder, 0o755, any_group),
            (self.exchange, 0o1777, any_group),  # nbgrader's rule: everybody may write
            (place, 0o2775, group),
            (self.released, 0o2775, group),
            # Learners put submissions in, under names with a secret part, and cannot list them.
            (place / "inbound", 0o2773, group),
            (place / "feedback", 0o2771, group),
            (self.course, 0o2770, group),
            (self.hub, 0o700, any_group),
        ):
            path.mkdir(parents=True, exist_ok=True)
            found = path.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                raise UserError(f"{path}: is not root's own folder; move it away")
            os.chown(path, -1, owners)
            path.chmod(mode)
        link(self.course / "exchange", self.exchange)


def link(place: Path, target: Path) -> None:
    """Make `place` a link to `target`; one that leads elsewhere is made anew.

    Raises `UserError` where a file or folder is in its place.
    """
    if place.is_symlink():
        if Path(os.readlink(place)) == target:
            return
        place.unlink()
    try:
        place.symlink_to(target)
    except FileExistsError:
        raise UserError(f"{place}: belongs to the class's set-up; move it away") from None


def open_to_others(path: Path) -> bool:
    """Whether any account may read this, by its mode and those of the folders above it."""
    path = path.resolve()
    wanted = stat.S_IROTH | (stat.S_IXOTH if path.is_dir() else 0)
    return path.stat().st_mode & wanted == wanted and all(
        parent.stat().st_mode & stat.S_IXOTH for parent in path.parents
    )
