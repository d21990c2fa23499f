"""A sandbox answers for a learner's functions, whoever runs it and whatever they do."""

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from autograder.courses import PACKAGE
from autograder.exercise import Case, find
from autograder.judging import judge
from autograder.sandbox.host import Limits, Sandbox
from autograder.sandbox.learner import Learner

AS_ANOTHER_USER = """
import os
if os.getuid() == 0:
    os.setgroups([])
    os.setresgid({user}, {user}, {user})
    os.setresuid({user}, {user}, {user})
from autograder.exercise import Case
from autograder.sandbox.host import Sandbox
from autograder.sandbox.learner import Learner

def ask(sandbox, body):
    with Learner(sandbox, ["import os\\ndef f():\\n    " + body], ["f"]) as learner:
        found = learner.function("f").ask(Case("x", ()))
        return found.value if found.failure is None else found.failure.kind

with Sandbox() as sandbox:
    print(ask(sandbox, "return os.getuid()"))
    print(ask(sandbox, "return os.path.exists({course!r})"))
    print(ask(sandbox, "os.kill(os.getppid(), 9) or os._exit(0)"))
    print(ask(sandbox, "return 'still here'"))
    print(ask(sandbox, "[os.fork() for _ in range(10**6)]"))
"""


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(Limits(call=3.0, exercise=20.0)) as sandbox:
        yield sandbox


def learner(sandbox: Sandbox, source: str, *names: str) -> Learner:
    return Learner(sandbox, [source], list(names) or ["f"])


def ask(sandbox: Sandbox, source: str, *args):
    with learner(sandbox, source) as found:
        return found.function("f").ask(Case("x", args))


@pytest.fixture
def for_everybody():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def runs_for_others(program: str) -> bool:
    """Whether another user could run this Python."""
    return all(os.stat(p).st_mode & 0o005 == 0o005 for p in Path(program).resolve().parents)


def shown_to_others(paths: list[str], place: Path) -> tuple[list[str], list[str]]:
    """Words that run a program where another user can enter these folders, and their names there.

    A clone may lie in a folder that only its owner can enter; `place` is one for everybody.
    """
    mounts, names = [], []
    for number, path in enumerate(paths):
        name = path
        if os.getuid() == 0 and not runs_for_others(f"{path}/anything"):
            name = str(place / str(number))
            os.mkdir(name)
            mounts.append(f"mount --bind {shlex.quote(path)} {shlex.quote(name)}")
        names.append(name)
    inside = " && ".join([*mounts, 'exec "$@"'])
    return (["unshare", "--mount", "sh", "-c", inside, "sh"] if mounts else []), names


def test_it_works_for_a_user_who_is_not_root(for_everybody):
    candidates = [sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"]
    program = next(p for p in candidates if os.getuid() or runs_for_others(p))
    paths = [str(PACKAGE.parent), *(p for p in sys.path if p.endswith("site-packages"))]
    words, paths = shown_to_others(paths, for_everybody)
    done = subprocess.run(
        [*words, program, "-c", AS_ANOTHER_USER.format(user=12_345, course=paths[0])],
        env={"PYTHONPATH": os.pathsep.join(paths), "PATH": os.environ["PATH"], "HOME": "/tmp"},
        cwd="/tmp",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    user = os.getuid() or 12_345
    assert done.stdout.split("\n")[:5] == [
        str(user),
        "False",
        "Ended",
        "still here",
        "BlockingIOError",
    ]


def test_a_known_function_is_judged_as_if_it_were_here(sandbox):
    source = (
        "import torch\n"
        "def helper(size, density):\n    return max(1, int(density * size + 0.5))\n"
        "def trim(delta, density):\n"
        "    if density == 0 or delta.numel() == 0:\n        return torch.zeros_like(delta)\n"
        "    k = helper(delta.numel(), density)\n"
        "    limit = delta.abs().flatten().topk(k).values[-1]\n"
        "    return torch.where(delta.abs() >= limit, delta, 0)\n"
        "raise SystemExit"
    )
    with learner(sandbox, source, "trim") as found:
        for part in ("visible", "hidden"):
            assert judge(find("ties/trim"), found.function("trim"), part).passed


def test_functions_that_are_given_functions_can_call_them(sandbox):
    source = "def f(g, x):\n    return [g(x), g(x * 2, add=1)]"
    found = ask(sandbox, source, lambda x, add=0: x + add, torch.ones(2))
    assert [each.tolist() for each in found.value] == [[1.0, 1.0], [3.0, 3.0]]
    failing = ask(sandbox, "def f(g):\n    return g('no number')", lambda x: 1 / x)
    assert (failing.failure.kind, failing.failure.message) == ("RuntimeError", "TypeError")


def test_changed_inputs_are_seen_and_ours_stay(sandbox):
    tensor = torch.zeros(2)
    found = ask(sandbox, "def f(x):\n    x += 1\n    return x", tensor)
    assert found.mutated and found.value.tolist() == [1.0, 1.0] and tensor.tolist() == [0.0, 0.0]


def test_a_function_that_does_not_end_costs_its_own_time_only(sandbox):
    found = ask(sandbox, "import time\ndef f():\n    time.sleep(1000)")
    assert found.failure.kind == "OutOfTime"
    assert ask(sandbox, "def f():\n    return 1").value == 1


def test_memory_is_limited_over_all_processes_together():
    source = (
        "import os, time\n"
        "def f():\n"
        "    for _ in range(8):\n"
        "        if os.fork() == 0:\n"
        "            block = bytearray(80_000_000)\n"
        "            for i in range(0, len(block), 4096): block[i] = 1\n"
        "            time.sleep(60)\n"
        "    time.sleep(60)"
    )
    with Sandbox(Limits(memory=300_000_000, call=30.0)) as small:
        assert ask(small, source).failure.kind == "OutOfMemory"
        assert ask(small, "def f():\n    return 1").value == 1


def test_nothing_of_one_call_is_left_for_the_next(sandbox):
    source = (
        "import os, subprocess, sys\n"
        "def f():\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        while True: pass\n"
        "    return 1"
    )
    assert ask(sandbox, source).value == 1
    here = ask(
        sandbox, "import os\ndef f():\n    return [p for p in os.listdir('/proc') if p.isdigit()]"
    )
    assert len(here.value) <= 3  # the sandbox's first process, the server, this one


def test_why_a_function_is_not_there_is_known(sandbox):
    with learner(sandbox, "def f(:\n    pass") as broken:
        assert broken.states == {"f": "missing"}
        ((_, kind, _, line),) = broken.problems
        assert (kind, line) == ("SyntaxError", 1)
    with learner(sandbox, "f = 3", "f", "g") as other:
        assert other.states == {"f": "int", "g": "missing"}
        assert other.function("f") is None
    with learner(sandbox, "import time\nf = time.sleep(1) or len") as slow:
        assert slow.states == {"f": "function"}
