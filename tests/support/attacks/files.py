"""Submissions whose files are no plain notebook, and folders with odd names."""

import os
import socket
from pathlib import Path

from attacks import STUB, Attack

NOTEBOOK = "90_small.ipynb"
MISSING = "there is no notebook of this lesson"


def _instead(make):
    def files(folder: Path) -> None:
        (folder / NOTEBOOK).unlink()
        make(folder / NOTEBOOK)

    return files


def _socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # the whole path is too long for a socket's name
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)


def _device(path: Path) -> None:
    if os.getuid() == 0:
        os.mknod(path, 0o20666, os.makedev(1, 5))  # /dev/zero
    else:
        os.mkfifo(path)


def _modules(folder: Path) -> None:
    for name in ("torch", "ipykernel_launcher", "sitecustomize", "nbgrader_config", "autograder"):
        text = "open(r'@COURSE@', 'w').write('changed')\nallclose = lambda *a: True\n"
        (folder / f"{name}.py").write_text(text)
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(text)
    (folder / ".jupyter").mkdir()
    (folder / "gradebook.db").write_text("changed")


def _links(folder: Path) -> None:
    os.symlink("/", folder / "root")
    os.symlink("@SOLUTION@", folder / "solution.ipynb")
    (folder / "timestamp.txt").unlink()
    os.symlink("@COURSE@", folder / "timestamp.txt")
    for name in ("..\\..\\x", "a\nb", "x" * 250, "-rf", "<script>", "\udcff", "90_small.ipynb.zip"):
        (folder / name).write_text("x")


def _late_stamp(folder: Path) -> None:
    (folder / "timestamp.txt").write_bytes(b"9999999999-13-77 \xff\0 UTC" * 1000)


def none(name: str, trick: str, files) -> Attack:
    return Attack(name, trick, files=files, points=(0.0, 0.0), refused=MISSING)


ATTACKS = [
    none(
        "linked_notebook",
        "a link to the instructor's notebook",
        _instead(lambda p: p.symlink_to("@SOLUTION@")),
    ),
    none("fifo", "a pipe that never ends", _instead(os.mkfifo)),
    none("device", "a device that never ends", _instead(_device)),
    none("socket", "a socket", _instead(_socket)),
    none("folder_for_notebook", "a folder in place of the notebook", _instead(Path.mkdir)),
    Attack(
        "own_modules",
        "modules in place of torch and of the grader's own",
        {"trim": STUB},
        files=_modules,
    ),
    Attack("links_beside", "links and odd names beside the notebook", {"trim": STUB}, files=_links),
    Attack("odd_stamp", "a time stamp that is none", {"trim": STUB}, files=_late_stamp),
    Attack(
        "name_of_dots", "a student called ..", {"trim": STUB}, student="..", points=None, note=".."
    ),
    Attack(
        "name_with_space",
        "a name with spaces and a command",
        {"trim": STUB},
        student="x; rm -rf $HOME",
        points=None,
        note="rm -rf",
    ),
    Attack(
        "name_of_option",
        "a name like an option",
        {"trim": STUB},
        student="--force",
        points=None,
        note="--force",
    ),
    Attack(
        "name_long",
        "a name of 100 characters",
        {"trim": STUB},
        student="n" * 100,
        points=None,
        note="nnn",
    ),
    Attack(
        "name_unicode",
        "a name that looks like another student's",
        {"trim": STUB},
        student="\u0430_honest",
        points=None,
        note="_honest",
    ),
    Attack(
        "name_markup",
        "a name that is markup",
        {"trim": STUB},
        student="<img src=x onerror=x>",
        points=None,
        note="img",
    ),
    Attack(
        "name_with_plus",
        "a name that reads as another student's submission",
        {"trim": STUB},
        student="a_honest+90_small+2031-01-01 00:00:00 UTC",
        points=None,
    ),
    Attack("name_with_at", "an address for a name", {"trim": STUB}, student="m.x@example.org"),
]
