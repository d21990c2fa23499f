"""Opening files that strangers made: a pipe or a device in a file's place is not waited for.

Everything here fails as an `OSError` whose words fit after "cannot be read".
"""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

from mergelab.errors import UserError

MAX_JSON = 200_000_000  # bytes; the largest tokenizers have a sixth of it
_MAX_DEPTH = 100


def open_file(path: Path) -> BinaryIO:
    """The regular file at `path`, opened to be read, unbuffered.

    Raises `OSError` if it cannot be opened, or is a folder, a pipe or a device.

    >>> open_file(Path(os.devnull))
    Traceback (most recent call last):
    OSError: [Errno 22] it is a pipe or a device: '/dev/null'
    """
    # A pipe that nobody writes to would keep a plain open waiting.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb", buffering=0)
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "it is a pipe or a device", str(path))


def read_bytes(path: Path, at_most: int = MAX_JSON) -> bytes:
    """What a file of at most `at_most` bytes holds; raises `OSError` if it is larger."""
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > at_most:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes, at most {at_most:,} are read")
        return file.read(at_most)


def read_text(path: Path, at_most: int) -> str:
    """As `read_bytes`, for UTF-8 text; raises `UnicodeDecodeError` if it is none."""
    return read_bytes(path, at_most).decode("utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file, or a `UserError` that names the file."""
    try:
        value = json.loads(read_text(path, MAX_JSON))
        _refuse_deep(value)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except RecursionError:
        raise UserError(f"{path}: not valid JSON (nested too deeply)") from None
    except (ValueError, MemoryError) as error:
        raise UserError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: must hold a JSON object")
    return value


def _refuse_deep(value: Any) -> None:
    """Raise `RecursionError` for what could be read, but not copied and written again."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(_MAX_DEPTH):
        inner = [item.values() if isinstance(item, dict) else item for item in level]
        level = [x for items in inner for x in items if isinstance(x, dict | list)]
        if not level:
            return
    raise RecursionError
