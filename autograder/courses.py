"""Where a course lies, and nbgrader's own machinery set up for it.

A course is a repository with `solutions/` and `lessons/`, plus one folder for everything that
grading writes (exchange, gradebook, submissions, feedback).
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autograder.gradebook.database import GRADEBOOK_VARIABLE
from mergelab.errors import UserError

if TYPE_CHECKING:
    from nbgrader.apps.api import NbGraderAPI
    from traitlets.config import Config

PACKAGE = Path(__file__).resolve().parent
COURSE_VARIABLE = "MERGELAB_COURSE"
ROOT_VARIABLE = "MERGELAB_ROOT"
# How learners' code is run when it is graded.
MODE_VARIABLE = "MERGELAB_GRADING"
TRUSTED, STOCK = "trusted", "stock"
SEED_VARIABLE = "MERGELAB_HIDDEN_SEED"


@dataclass(frozen=True)
class Course:
    """The folders of one course, and the URL of its gradebook if that is no file of its own."""

    root: Path
    state: Path
    gradebook: str = ""

    @property
    def solutions(self) -> Path:
        return self.root / "solutions"

    @property
    def lessons(self) -> Path:
        return self.root / "lessons"

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def exchange(self) -> Path:
        return self.state / "exchange"

    def released(self) -> list[str]:
        """Names of the lessons that are released, in order."""
        return sorted(path.parent.name for path in self.lessons.glob("*/*.ipynb"))

    def release(self, lesson: str) -> Path:
        """The released notebook of a lesson.

        Raises `UserError` if there is none, naming those that exist.
        """
        path = self.lessons / lesson / f"{lesson}.ipynb"
        if not path.is_file():
            raise UserError(
                f"{lesson}: no such lesson; {_there_are(self.released(), 'no lessons are built')}"
            )
        return path

    def environment(self) -> dict[str, str]:
        """Environment variables with which Jupyter neither needs nor changes a home folder."""
        jupyter = self.state / "jupyter"
        return {
            COURSE_VARIABLE: str(self.state),
            ROOT_VARIABLE: str(self.root),
            GRADEBOOK_VARIABLE: self.gradebook,
            "JUPYTER_CONFIG_PATH": str(PACKAGE),
            "JUPYTER_CONFIG_DIR": str(jupyter / "config"),
            "JUPYTER_DATA_DIR": str(jupyter / "data"),
            "JUPYTER_RUNTIME_DIR": str(jupyter / "runtime"),
            "JUPYTERLAB_SETTINGS_DIR": str(jupyter / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(jupyter / "workspaces"),
            "JUPYTER_PREFER_ENV_PATH": "1",
            "IPYTHONDIR": str(jupyter / "ipython"),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        }

    def prepare(self) -> dict[str, str]:
        """Make the folders that Jupyter writes to; returns `environment()`."""
        variables = self.environment()
        for name, value in variables.items():
            if name.startswith(("JUPYTER", "IPYTHON")) and value.startswith(str(self.state)):
                Path(value).mkdir(parents=True, exist_ok=True)
        return variables


def find_course() -> Course:
    """The course this installation belongs to: named by MERGELAB_ROOT, beside the package, or above
    the current folder.

    Raises `UserError` if there is none.

    >>> find_course().lessons.name
    'lessons'
    """
    named = os.environ.get(ROOT_VARIABLE)
    here = Path.cwd()
    places = [Path(named)] if named else [PACKAGE.parent, here, *here.parents]
    for place in places:
        if (place / "solutions").is_dir() or (place / "lessons").is_dir():
            state = os.environ.get(COURSE_VARIABLE)
            root = place.resolve()
            return Course(
                root,
                Path(state).resolve() if state else root / "autograder" / "course",
                os.environ.get(GRADEBOOK_VARIABLE, ""),
            )
    raise UserError(
        f"{named or here}: no lessons here; run this in a clone of the repository, or set "
        f"{ROOT_VARIABLE} to one"
    )


def hidden_seed() -> str:
    """The seed of the hidden cases, which an instructor changes by `MERGELAB_HIDDEN_SEED`."""
    return os.environ.get(SEED_VARIABLE, "0")


def configuration(course: Course, **directories: str) -> "Config":
    """The settings of `nbgrader_config.py` for this course; `directories` replace course folders.

    Keywords are the traits of nbgrader's `CourseDirectory`: root, source_directory, and so on.

    Raises `UserError` if the gradebook cannot be reached or `course.toml` is not right.
    """
    from traitlets.config.loader import PyFileConfigLoader

    with environment(course.environment()):
        try:
            config = PyFileConfigLoader("nbgrader_config.py", path=str(PACKAGE)).load_config()
        except SystemExit as error:
            raise UserError(str(error).removeprefix("error: ")) from None
    for name, value in directories.items():
        config.CourseDirectory[name] = value
    return config


def api(course: Course, **directories: str) -> "NbGraderAPI":
    """nbgrader's interface for this course, quiet."""
    import logging

    from nbgrader.apps.api import NbGraderAPI
    from traitlets.log import get_logger

    logger = get_logger()
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.propagate = False
    course.exchange.mkdir(parents=True, exist_ok=True)
    return NbGraderAPI(config=configuration(course, **directories))


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the length of a block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def succeed(result: dict[str, Any], doing: str) -> None:
    """Turn nbgrader's failure report into one line.

    Raises `UserError` with the last error nbgrader logged.
    """
    if result["success"]:
        return
    lines = [line.strip() for line in result.get("log", "").splitlines() if "ERROR" in line]
    lines += [line.strip() for line in result.get("error", "").splitlines() if line.strip()]
    raise UserError(f"{doing}: {lines[-1] if lines else 'nbgrader failed without a reason'}")


def no_instructor_notebook(path: Path) -> str:
    """What to say where the notebook that holds a lesson's hidden cases is missing.

    >>> print(no_instructor_notebook(Path("here/04_ties.ipynb")))
    here/04_ties.ipynb: not found; grading with hidden cases needs the instructor notebook, which
    comes with a clone of the repository; `mergelab check 04_ties` works without it
    """
    if path.with_suffix(".py").is_file():
        return f"{path}: not found; run `mergelab lessons {path.stem}`"
    return (
        f"{path}: not found; grading with hidden cases needs the instructor notebook, which comes "
        f"with a clone of the repository; `mergelab check {path.stem}` works without it"
    )


def _there_are(names: list[str], otherwise: str) -> str:
    return f"there are {', '.join(names)}" if names else otherwise
