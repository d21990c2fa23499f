"""One person's server on the Hub: their folder set up, then JupyterLab in it.

It runs as that person, so nothing is done in a home folder that the person could not do. All lies
in `~/mergelab`, which nobody else can enter: `work/` with what has been handed out, and nbgrader's
and Jupyter's own folders.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from autograder.courses import COURSE_VARIABLE, PACKAGE, ROOT_VARIABLE, Course
from autograder.gradebook.database import GRADEBOOK_VARIABLE
from autograder.hub.shared import Shared, link
from autograder.lab import address, furnish, server_options, settle
from autograder.startpage import START
from mergelab.errors import UserError

SHARED_VARIABLE = "MERGELAB_SHARED"
LEARNERS_SETTINGS = Path(__file__).parent / "learner"
# Formgrader is a page inside JupyterLab's page, which JupyterHub does not allow of itself.
FRAME = "{'headers': {'Content-Security-Policy': \"frame-ancestors 'self'\"}}"


def own_course(shared: Shared) -> Course:
    """The course of this account: folders of its own, and only the exchange shared."""
    root = Path.home() / "mergelab"
    root.mkdir(mode=0o700, exist_ok=True)
    root.chmod(0o700)
    course = Course(root, root / "course")
    course.state.mkdir(exist_ok=True)
    link(course.lessons, shared.released)
    link(course.exchange, shared.exchange)
    return course


def learner(own: Course) -> tuple[dict[str, str], Path, list[str]]:
    """Environment, folder and options of a learner's server."""
    furnish(own)
    paths = os.pathsep.join([str(LEARNERS_SETTINGS), str(PACKAGE)])
    # JupyterHub leads to the server's own page, not to JupyterLab's.
    options = [*server_options(START), f"--ServerApp.default_url={address(START)}"]
    return {**own.environment(), "JUPYTER_CONFIG_PATH": paths}, own.work, options


def instructor(own: Course) -> tuple[dict[str, str], Path, list[str]]:
    """The same for an instructor, who works in the course's clone; Jupyter's folders are their own.

    What an instructor writes belongs to the group, and learners must be able to read feedback.
    """
    settle(own)
    os.umask(0o002)
    kept = (ROOT_VARIABLE, COURSE_VARIABLE, GRADEBOOK_VARIABLE)
    theirs = {name: os.environ.get(name, "") for name in kept}
    options = [*server_options(), f"--ServerApp.tornado_settings={FRAME}"]
    return {**own.environment(), **theirs}, Path(theirs[ROOT_VARIABLE]), options


def main(arguments: Sequence[str]) -> None:
    """Become the server that JupyterHub waits for; `arguments` are JupyterHub's."""
    own = own_course(Shared(Path(os.environ[SHARED_VARIABLE])))
    role = instructor if os.environ.get(COURSE_VARIABLE) else learner
    variables, folder, options = role(own)
    os.chdir(folder)
    line = [sys.executable, "-m", "jupyterhub.singleuser", f"--ServerApp.root_dir={folder}"]
    os.execve(line[0], [*line, *options, *arguments], {**os.environ, **variables})


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(f"error: {error}")
