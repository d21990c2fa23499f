"""Work spread over processes: in order, with one thread each, and through the loss of a worker."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from mergelab.errors import UserError
from mergelab.workers import workers

pytestmark = pytest.mark.slow


def square(number):
    return number * number


def threads(_):
    import torch

    return torch.get_num_threads()


def die_once(folder, number):
    """Bring the process down at the first try of task 3."""
    mark = Path(folder) / "died"
    if number == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_always(_):
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(number):
    if number == 2:
        raise UserError("two: not this one")
    return number


@pytest.mark.parametrize("count", [None, 2])
def test_results_come_in_the_order_of_the_tasks(count):
    seen = {}
    with workers(count) as here:
        assert here.map(square, [3, 1, 2], seen.__setitem__) == [9, 1, 4]
        assert here.map(square, []) == []
    assert seen == {0: 9, 1: 1, 2: 4}


@pytest.mark.parametrize("count", [None, 1])
def test_a_task_has_one_thread_and_the_setting_here_comes_back(count):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with workers(count) as here:
            assert here.map(threads, [0]) == [1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_lost_process_costs_nothing_but_time(tmp_path):
    with workers(2) as here:
        assert here.map(partial(die_once, str(tmp_path)), range(6)) == list(range(6))
    assert (tmp_path / "died").exists()


def test_processes_that_keep_dying_are_said():
    with workers(1) as here, pytest.raises(UserError, match="worker processes keep dying"):
        here.map(die_always, [0])


@pytest.mark.parametrize("count", [None, 2])
def test_what_a_task_raises_reaches_the_caller(count):
    with workers(count) as here, pytest.raises(UserError, match="two: not this one"):
        here.map(refuse, [1, 2, 3])


def test_no_scheduler_is_said():
    address = "tcp://127.0.0.1:9"
    with pytest.raises(UserError, match=f"{address}: no Dask"), workers(2, address):
        pass


def test_processes_end_with_the_one_that_started_them():
    program = (
        "import os\n"
        "from mergelab.workers import workers\n"
        "if __name__ == '__main__':\n"
        "    with workers(1) as here:\n"
        "        here.map(abs, [0])\n"
        "        print(*here._executor._processes, flush=True)\n"
        "        os.kill(os.getpid(), 9)\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "starts.py"
        path.write_text(program)
        done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True)
    worker = int(done.stdout.split()[-1])
    deadline = time.monotonic() + 30
    while psutil.pid_exists(worker) and psutil.Process(worker).status() != "zombie":
        assert time.monotonic() < deadline
        time.sleep(0.1)
