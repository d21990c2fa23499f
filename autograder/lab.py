"""Opens the course in JupyterLab: lessons in place, nbgrader set up, the start page in front."""

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from autograder.courses import Course, api, environment, succeed
from autograder.missing_names import STARTUP
from autograder.release import contents
from autograder.startpage import START, refresh
from autograder.workbench import Placed, place
from mergelab.errors import UserError

# JupyterLab asks about news on its first start, and shows Markdown as text: neither helps here.
SETTINGS = {
    "@jupyterlab/apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
    },
    "@jupyterlab/docmanager-extension/plugin": {
        "defaultViewers": {"markdown": "Markdown Preview"},
    },
}


def set_up(course: Course) -> Placed:
    """Everything before the server starts; on a second run only what has changed.

    Raises `UserError` if there is no lesson to put into place.
    """
    if not course.released():
        raise UserError(f"{course.lessons}: holds no lessons; run `mergelab lessons`")
    placed = furnish(course)
    _release(course)
    return placed


def furnish(course: Course) -> Placed:
    """A learner's folder: lessons and start page in place, and Jupyter's own folders."""
    try:
        placed = place(course.lessons, course.work)
        refresh(course)
        settle(course)
    except OSError as error:
        raise UserError(
            f"{error.filename or course.root}: cannot be written ({error.strerror})"
        ) from None
    return placed


def settle(course: Course) -> None:
    """Jupyter's own folders, with settings for a first start. Raises `OSError`."""
    variables = course.prepare()
    _write_settings(Path(variables["JUPYTERLAB_SETTINGS_DIR"]))
    _write_startup(Path(variables["IPYTHONDIR"]))


def command(course: Course, arguments: Sequence[str], *, instructor: bool = False) -> list[str]:
    """The command line that serves the course; `arguments` go to JupyterLab as they are.

    A learner sees `work/` and the start page; an instructor the whole repository, as Formgrader
    and Create Assignment need it.
    """
    return [
        sys.executable,
        "-m",
        "jupyterlab",
        f"--ServerApp.root_dir={course.root if instructor else course.work}",
        *server_options("" if instructor else START),
        *(["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
        *arguments,
    ]


def address(page: str) -> str:
    """Where a page of the course's folder opens in JupyterLab, below the server's address."""
    return f"/lab{f'/tree/{page}' if page else ''}"


def server_options(page: str = "") -> list[str]:
    """What every server of the course is told; `page` is the one that it opens on."""
    return [
        f"--LabApp.default_url={address(page)}",
        # No language servers come with the course, and looking for them leaves traces.
        "--LanguageServerManager.autodetect=False",
        # A login shell, the default, may set PATH anew and then finds no `mergelab`.
        f"--ServerApp.terminado_settings=shell_command={[os.environ.get('SHELL') or 'sh']}",
    ]


def serve(course: Course, arguments: Sequence[str], *, instructor: bool = False) -> None:
    """Become the JupyterLab server."""
    os.chdir(course.root if instructor else course.work)
    variables = {**os.environ, **course.environment()}
    line = command(course, arguments, instructor=instructor)
    sys.stdout.flush()
    os.execve(line[0], line, variables)


def _write_settings(folder: Path) -> None:
    """Settings for a first start; what a person has changed since stays."""
    for name, values in SETTINGS.items():
        path = folder / f"{name}.jupyterlab-settings"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _write_startup(folder: Path) -> None:
    """What every notebook kernel of the course runs first."""
    path = folder / "profile_default" / "startup" / "mergelab.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(STARTUP, encoding="utf-8")


def _release(course: Course) -> None:
    """Put the released lessons into the exchange, so that JupyterLab's Assignment List has them."""
    stamp = course.state / "released.json"
    digests = {
        lesson: hashlib.sha256(repr(contents(course.lessons / lesson)).encode()).hexdigest()
        for lesson in course.released()
    }
    try:
        before = json.loads(stamp.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = {}
    stale = [lesson for lesson, digest in digests.items() if before.get(lesson) != digest]
    if not stale:
        return
    with environment(course.environment()):
        grader = api(course)
        for lesson in stale:
            grader.coursedir.assignment_id = lesson
            from nbgrader.utils import capture_log

            sender = grader.exchange.ReleaseAssignment(
                coursedir=grader.coursedir, authenticator=grader.authenticator, parent=grader
            )
            sender.force = True
            succeed(capture_log(sender), f"{lesson}: cannot be put into the exchange")
    stamp.write_text(json.dumps(digests, indent=1) + "\n", encoding="utf-8")
