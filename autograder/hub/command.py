"""The command that starts JupyterHub for a class.

Heavy imports wait inside the command, so that `--help` answers at once.
"""

from __future__ import annotations

import grp
import importlib.util
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from autograder.courses import ROOT_VARIABLE, find_course
from mergelab.errors import UserError

INSTRUCTORS_VARIABLE = "MERGELAB_INSTRUCTORS"
PROXY = "configurable-http-proxy"


def hub(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(help="Passed to JupyterHub as they are, such as --ssl-key=FILE."),
    ] = None,
    instructors: Annotated[
        str, typer.Option(help="The group whose members teach.")
    ] = "instructors",
    folder: Annotated[
        Path, typer.Option(help="Where exchange, gradebook and submissions lie.")
    ] = Path("/srv/mergelab"),
    url: Annotated[
        str, typer.Option(help="Where the Hub answers; http://0.0.0.0:8000 is for everybody.")
    ] = "http://127.0.0.1:8000",
) -> None:
    """Serve a class by JupyterHub: an account of this machine for each person, one exchange.

    Example: `mergelab hub --instructors teachers --url http://0.0.0.0:8000`
    """
    from autograder.hub.shared import Shared, open_to_others
    from autograder.hub.user_server import SHARED_VARIABLE

    course = find_course()
    _check(instructors, url)
    if not open_to_others(Path(sys.executable)):
        raise UserError(
            f"{sys.executable}: other accounts cannot run this Python; install where everybody may "
            f"read, such as /opt/mergelab"
        )
    shared = Shared(folder.resolve())
    shared.prepare(instructors)
    if course.solutions.is_dir() and open_to_others(course.solutions):
        print(
            f"Note: every account can read {course.solutions}; to keep learners out: "
            f"chgrp -R {instructors} {course.root} && chmod -R o= {course.root}",
            file=sys.stderr,
        )
    print(f"JupyterHub: {url} (instructors: {instructors}; {shared.folder})")
    sys.stdout.flush()
    settings = Path(__file__).with_name("jupyterhub_config.py")
    line = [sys.executable, "-m", "jupyterhub", f"--config={settings}"]
    line += [f"--JupyterHub.bind_url={url}", *(arguments or [])]
    variables = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        ROOT_VARIABLE: str(course.root),
        SHARED_VARIABLE: str(shared.folder),
        INSTRUCTORS_VARIABLE: instructors,
    }
    os.chdir(shared.hub)
    os.execve(line[0], line, variables)


# Options that are not ours belong to JupyterHub.
hub.context_settings = {"ignore_unknown_options": True}


def find_proxy() -> str:
    """JupyterHub's proxy: on the path, or in the environment that runs this.

    Raises `UserError` where it is in neither.
    """
    beside = Path(sys.prefix) / "hub" / "node_modules" / ".bin" / PROXY
    found = shutil.which(PROXY) or (str(beside) if beside.exists() else "")
    if not found:
        raise UserError(
            f"{PROXY} is not installed: npm install --prefix {sys.prefix}/hub {PROXY}@5.3.0"
        )
    return found


def _check(instructors: str, url: str) -> None:
    """Raises `UserError` for whatever is missing on this machine."""
    if os.geteuid() != 0:
        raise UserError("only root can start servers for other accounts; run this with sudo")
    if importlib.util.find_spec("jupyterhub") is None:
        raise UserError("JupyterHub is not installed: pip install -c constraints.txt '.[hub]'")
    if shutil.which("node") is None:
        raise UserError("node, which JupyterHub's proxy needs, is missing: apt install nodejs npm")
    find_proxy()
    try:
        grp.getgrnam(instructors)
    except KeyError:
        raise UserError(
            f"{instructors}: no such group on this machine; groupadd {instructors}, and usermod "
            f"-aG {instructors} NAME for each who teaches"
        ) from None
    where = urlsplit(url)
    try:
        place = where.hostname or "", where.port or {"http": 80, "https": 443}[where.scheme]
        # As the proxy will: a connection that has just ended is in nobody's way.
        socket.create_server(place).close()
    except (KeyError, ValueError):
        raise UserError(f"{url}: is no address; write --url http://127.0.0.1:8000") from None
    except OSError as error:
        raise UserError(f"{url}: {error.strerror}; --url names another place") from None
