"""A PostgreSQL server of one's own: a fresh data folder, a socket in a temporary folder, no TCP.

PostgreSQL refuses to run as root, so root runs it as another user.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

USER, PASSWORD = "grader", "pass%word"  # with a sign that a URL has to escape
ESCAPED = "pass%25word"


class Server:
    """A running server; `url` names one of its databases."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket

    def url(self, database: str, *, password: str = ESCAPED, scheme: str = "postgresql") -> str:
        return f"{scheme}://{USER}:{password}@/{database}?host={self.socket}"

    def create(self, database: str) -> str:
        """Make an empty database; returns its URL."""
        self.query("postgres", f'create database "{database}"')
        return self.url(database)

    def query(self, database: str, text: str) -> list[tuple[Any, ...]]:
        """The rows that a query gives, if it gives rows."""
        import psycopg

        with psycopg.connect(
            host=str(self.socket), user=USER, password=PASSWORD, dbname=database, autocommit=True
        ) as connection:
            found = connection.execute(text)
            return found.fetchall() if found.description else []


@contextmanager
def postgres_server() -> Iterator[Server]:
    """Start a server for the length of a block; it is stopped and its files removed at the end."""
    programs = _programs()
    # Not under pytest's temporary folder: another user must get in, and sockets want short paths.
    home = Path(tempfile.mkdtemp(prefix="pg-"))
    other = _other_user()
    if other:
        os.chown(home, other["user"], other["group"])
    try:
        password = home / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        how = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
        who = [f"--username={USER}", f"--pwfile={password}"]
        _run([programs / "initdb", "-D", home / "data", *who, *how], home, other)
        command = [programs / "postgres", "-D", home / "data", "-k", home]
        command += ["-c", "listen_addresses=", "-c", "fsync=off"]
        with (home / "log").open("wb") as log:
            guard = subprocess.Popen(
                ["/bin/sh", "-c", GUARD, "guard", *map(str, command)],
                cwd=home,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **other,
            )
        try:
            server = Server(home)
            _wait(server, guard)
            yield server
        finally:
            guard.communicate()
    finally:
        shutil.rmtree(home)


# The server ends when the pipe does: at the end of the block, or when the tests are killed.
GUARD = """
"$@" & server=$!
read -r _
kill -QUIT $server
wait $server
"""


def _wait(server: Server, guard: subprocess.Popen[bytes]) -> None:
    """Until the server answers; up to two minutes, since machines that test are busy."""
    import psycopg

    end = time.monotonic() + 120
    while True:
        try:
            server.query("postgres", "select 1")
            return
        except psycopg.OperationalError as error:
            if guard.poll() is not None or time.monotonic() > end:
                log = (server.socket / "log").read_text()
                raise AssertionError(f"PostgreSQL does not answer: {error}{log}") from None
            time.sleep(0.1)


def _programs() -> Path:
    """The folder of `initdb`: Debian keeps it off the search path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if not found and not on_path:
        raise AssertionError(
            "PostgreSQL's initdb is not installed; the gradebook's tests need it: apt-get install "
            "postgresql"
        )
    return found[-1].parent if found else Path(on_path or "").parent


def _other_user() -> dict[str, Any]:
    """User and group for a server started by root: postgres, or else nobody."""
    if os.getuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("postgres") or names["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _run(command: list[Any], home: Path, other: dict[str, Any]) -> None:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
        **other,
    )
    if done.returncode:
        raise AssertionError(f"{command[0]}: {done.stdout}")
