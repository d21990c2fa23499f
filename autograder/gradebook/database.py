"""Where the gradebook lies: a file of the course, or a database server named by URL.

`MERGELAB_GRADEBOOK` names another than the file, for every nbgrader command alike:

    postgresql://user@host/database
    postgresql:///database?host=/var/run/postgresql     (a socket's folder)
    sqlite:////absolute/path/gradebook.db

A password does best in PostgreSQL's password file (~/.pgpass). Written into the URL it is handed on
in the environment (PGPASSWORD): nbgrader logs its URL, and cannot upgrade a database whose URL
holds a percent sign, as an escaped password does.
"""

import importlib
import os
from functools import cache
from pathlib import Path

from mergelab.errors import UserError

GRADEBOOK_VARIABLE = "MERGELAB_GRADEBOOK"
SECONDS_TO_CONNECT = 5
_EXAMPLE = "write postgresql://user@host/database"
# What names psycopg 3 for SQLAlchemy, which takes the first two for psycopg 2.
_POSTGRESQL = ("postgresql", "postgres", "postgresql+psycopg")


def gradebook_url(named: str, own: Path) -> str:
    """The SQLAlchemy URL of the gradebook that `named` stands for; "" stands for the file `own`.

    A server is asked for a connection, so that whoever names a wrong one learns it here. Its URL
    comes back without the password, which is in PGPASSWORD from then on.

    Raises `UserError`, which never holds a password, if it is no such URL, if the driver is not
    installed, or if the server cannot be reached within 5 seconds.

    >>> gradebook_url("", Path("/course/gradebook.db"))
    'sqlite:////course/gradebook.db'
    """
    if not named:
        return f"sqlite:///{own}"
    scheme, separator, rest = named.partition("://")
    if not separator:
        raise UserError(f"{GRADEBOOK_VARIABLE}: is no database URL; {_EXAMPLE}")
    if scheme == "sqlite":
        path = Path(rest.removeprefix("/").partition("?")[0])
        if not (path.is_absolute() and path.parent.is_dir()):
            raise UserError(
                f"{GRADEBOOK_VARIABLE}: sqlite:// needs the absolute path of a file in a folder "
                f"that exists, with four slashes: sqlite:////srv/class/gradebook.db"
            )
        return named
    if scheme not in _POSTGRESQL:
        raise UserError(
            f"{GRADEBOOK_VARIABLE}: {scheme}:// is not supported; {_EXAMPLE}, or leave it out for "
            f"a file"
        )
    # The rest stays as written: SQLAlchemy would escape the path of a socket on the way.
    password = _connect(f"postgresql+psycopg://{rest}")
    if password:
        os.environ["PGPASSWORD"] = password
        who, at, place = rest.partition("@")
        rest = f"{who.partition(':')[0]}{at}{place}"
    return f"postgresql+psycopg://{rest}"


@cache  # nbgrader reads its settings twice for each command; a failure is tried again
def _connect(url: str) -> str:
    """Connect once; returns the URL's password, "" if it has none."""
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    try:
        parsed = make_url(url)
    except (SQLAlchemyError, ValueError):
        raise UserError(f"{GRADEBOOK_VARIABLE}: is no database URL; {_EXAMPLE}") from None
    if not parsed.database:
        raise UserError(f"{GRADEBOOK_VARIABLE}: names no database; {_EXAMPLE}")
    if "password" in parsed.query:
        raise UserError(f"{GRADEBOOK_VARIABLE}: write a password as user:password@host")
    try:
        importlib.import_module("psycopg")
    except ImportError:
        raise UserError(
            f"{GRADEBOOK_VARIABLE}: the driver for PostgreSQL is not installed; "
            f"pip install 'mergelab[postgres]'"
        ) from None
    try:
        engine = create_engine(
            parsed, poolclass=NullPool, connect_args={"connect_timeout": SECONDS_TO_CONNECT}
        )
        engine.connect().close()
    except Exception as error:  # the driver has errors of its own for options it does not know
        place = parsed.host or parsed.query.get("host") or "this machine"
        raise UserError(
            f"{GRADEBOOK_VARIABLE}: no connection to {parsed.database} on {place}: "
            f"{_reason(getattr(error, 'orig', error), str(parsed.password or ''))}"
        ) from None
    return str(parsed.password or "")


def _reason(error: object, password: str) -> str:
    """The server's own words on one line, without a password that they might repeat."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines else type(error).__name__
    if "server running" in text and len(lines) > 1:  # libpq's question after the reason
        text = lines[-2]
    return text.replace(password, "***") if password else text
