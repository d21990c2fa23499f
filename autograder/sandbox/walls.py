"""The sandbox as a bubblewrap command: what a learner's process sees of this computer.

It sees a Python, the libraries listed here and nothing else: no course, no `mergelab`, no home, no
network, no other process. What it may write lies in memory and is gone afterwards. Nothing needs
to be installed but bubblewrap itself.
"""

import glob
import importlib.metadata
import os
import re
import shutil
import site
import sys
import sysconfig
from functools import cache
from pathlib import Path

from packaging.requirements import Requirement

import mergelab
from autograder.courses import PACKAGE
from mergelab.errors import UserError

# What learners' functions may import, with all that these need.
LIBRARIES = ("torch", "numpy", "scipy", "ipython")
SHARED = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/local/lib", "/etc/ld.so.cache")
INSIDE = ("__init__.py", "calling.py", "essential.py", "sandbox/__init__.py", "sandbox/inside.py")
INSIDE += ("sandbox/wire.py",)
LENT = {"mergelab": "sandbox/lent_package.py", "mergelab/notebook": "sandbox/lent_notebook.py"}
TEMPORARY = 64_000_000
HOME = "/tmp"


def command(*inside: str) -> list[str]:
    """The command that runs Python with these arguments in the sandbox.

    Raises `UserError` where bubblewrap is not installed.
    """
    found = shutil.which("bwrap")
    if found is None:
        raise UserError("bubblewrap is not installed: apt install bubblewrap")
    words = [found, "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
    words += ["--unshare-cgroup-try", "--hostname", "sandbox", "--die-with-parent", "--new-session"]
    words += ["--cap-drop", "ALL"]
    if os.getuid() == 0:
        # Learners' processes become another user: the kernel exempts root from process limits.
        for each in ("CAP_SETUID", "CAP_SETGID", "CAP_KILL"):
            words += ["--cap-add", each]
    else:
        words += ["--unshare-user"]
    words += ["--proc", "/proc", "--dev", "/dev"]
    for path in SHARED:
        words += ["--ro-bind-try", path, path]
    shown = {path: path for path in _interpreter()}
    shown |= {f"/site/{name}": path for name, path in libraries().items()}
    shown |= {f"/grader/{name}": path for name, path in _grader().items()}
    # Folders that bubblewrap makes by itself are for root alone.
    for folder in sorted({str(parent) for place in shown for parent in Path(place).parents[:-1]}):
        words += ["--perms", "0755", "--dir", folder]
    for place, path in shown.items():
        words += ["--ro-bind", path, place]
    for path in _hidden():
        words += ["--tmpfs", path, "--remount-ro", path]
    for path in ("/tmp", "/dev/shm"):
        words += ["--perms", "1777", "--size", str(TEMPORARY), "--tmpfs", path]
    # These lie in memory and have no size: where the host is not root, the learner owns them.
    words += ["--remount-ro", "/dev", "--remount-ro", "/"]
    words += ["--chdir", HOME, "--clearenv"]
    for name, value in _variables().items():
        words += ["--setenv", name, value]
    return [*words, "--", os.path.realpath(sys.executable), "-I", "-S", "-B", *inside]


@cache
def libraries() -> dict[str, str]:
    """The modules and packages of `LIBRARIES` and of what they need: name to path."""
    found: dict[str, str] = {}
    waiting, seen = list(LIBRARIES), set()
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        # `distribution.files` would make an object for each of torch's ten thousand files.
        record = (distribution.read_text("RECORD") or "").splitlines()
        for top in {re.split("[/,]", line, maxsplit=1)[0] for line in record}:
            if top in ("", "..", "__pycache__") or top.endswith((".dist-info", ".pth")):
                continue
            found[top] = str(distribution.locate_file(top))
        for line in distribution.requires or ():
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                waiting.append(need.name)
    return {name: path for name, path in sorted(found.items()) if os.path.exists(path)}


def _grader() -> dict[str, str]:
    """The grader's own side of the wall, and the few helpers that lessons lend to solutions."""
    files = {f"autograder/{name}": PACKAGE / name for name in INSIDE}
    files |= {f"{place}/__init__.py": PACKAGE / name for place, name in LENT.items()}
    home = Path(mergelab.__file__).parent
    files |= {f"mergelab/{name}": home / name for name in ("errors.py", "notebook/experiments.py")}
    return {place: str(path) for place, path in files.items()}


def _interpreter() -> list[str]:
    """Paths that this Python needs to start: itself, its standard library, its own libpython."""
    base = {"platbase": sys.base_exec_prefix}
    paths = [os.path.realpath(sys.executable), sysconfig.get_path("stdlib")]
    paths += [sysconfig.get_path("platstdlib", vars=base)]
    paths += glob.glob(os.path.join(sysconfig.get_config_var("LIBDIR") or "", "libpython*"))
    return [path for path in dict.fromkeys(paths) if not path.startswith(("/usr/lib", "/lib"))]


def _hidden() -> list[str]:
    """Folders inside those shown that hold installed packages or the course."""
    hidden = [
        *site.getsitepackages(),
        sysconfig.get_path("purelib", vars={"base": sys.base_prefix}),
    ]
    hidden += [os.path.join(sysconfig.get_path("stdlib"), "site-packages")]
    hidden += glob.glob("/usr/lib/python3*/dist-packages")
    hidden += glob.glob("/usr/local/lib/python3*/*-packages")
    hidden += [str(PACKAGE.parent)]
    shown = (*SHARED, *_interpreter())
    return [
        path
        for path in dict.fromkeys(hidden)
        if os.path.isdir(path) and any(Path(path).is_relative_to(each) for each in shown)
    ]


def _variables() -> dict[str, str]:
    return {
        "HOME": HOME,
        "PATH": "/nowhere",
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
