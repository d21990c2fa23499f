"""Tables made in small: the same bytes however the work is spread, and nothing half-written."""

import csv
import os
import signal
import subprocess
import sys

import pytest
from clusters import local_cluster

from mergelab.errors import UserError
from mergelab.evaluation import measuring
from mergelab.tables.making import NAMES, Settings, make_tables
from mergelab.workers import Workers, workers

pytestmark = pytest.mark.slow

SOME = ("ties_density", "interference")


def made(out, names=SOME, limit=2, **options):
    with workers(options.pop("count", None), options.pop("scheduler", None)) as shared:
        make_tables(names, Settings(out, shared, limit=limit, **options))
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    return made(tmp_path_factory.mktemp("here"))


def test_files_and_rows_are_there(here):
    names = {f"{name}.{form}" for name in SOME for form in ("csv", "md", "png")}
    assert set(here) == names | {"ties_density_items.csv"}
    rows = list(csv.DictReader(here["ties_density.csv"].decode().splitlines()))
    assert len(rows) == 22 and rows[0]["pair"] == "low conflict"
    items = list(csv.DictReader(here["ties_density_items.csv"].decode().splitlines()))
    assert len(items) == 44 and all(len(row["right"]) == 2 for row in items)


def test_the_same_bytes_from_two_processes(here, tmp_path):
    assert made(tmp_path, count=2) == here


def test_the_same_bytes_with_two_threads(here, tmp_path):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert made(tmp_path) == here
    finally:
        torch.set_num_threads(before)


def test_the_same_bytes_from_dask_though_a_worker_is_killed(here, tmp_path):
    with local_cluster(3) as cluster:
        victim = next(iter(cluster.workers.values())).pid

        def kill(done, total, name):
            nonlocal victim
            if done == 4 and victim is not None:
                os.kill(victim, signal.SIGKILL)
                victim = None

        assert made(tmp_path, scheduler=cluster.scheduler_address, progress=kill) == here
        assert victim is None


def test_an_unknown_table_is_named(tmp_path):
    with pytest.raises(UserError, match="ties_densities: no such table; there are overview"):
        make_tables(["ties_densities"], Settings(tmp_path, Workers()))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--out .*file.*: cannot be created"):
        make_tables(SOME, Settings(tmp_path / "file", Workers()))


def test_a_failure_leaves_the_old_tables(tmp_path, monkeypatch):
    (tmp_path / "ties_density.csv").write_text("old")

    def fail(what):
        raise UserError("no disk")

    monkeypatch.setattr(measuring, "measure", fail)
    with pytest.raises(UserError, match="no disk"):
        make_tables(["ties_density"], Settings(tmp_path, Workers(), limit=2))
    assert (tmp_path / "ties_density.csv").read_text() == "old"


def test_a_killed_run_goes_on_where_it_stopped(here, tmp_path, monkeypatch):
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from mergelab.tables.making import Settings, make_tables\n"
        "from mergelab.workers import Workers\n"
        "def stop(done, total, name):\n"
        "    if done == 5: os.kill(os.getpid(), 9)\n"
        f"make_tables({SOME!r}, Settings(Path(sys.argv[1]), Workers(), limit=2, progress=stop))\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True)
    assert killed.returncode == -9, killed.stderr.decode()

    seen = []
    found = made(tmp_path, progress=lambda done, total, name: seen.append(done))
    assert seen[0] == 5
    assert found == here


def test_choosing_again_reads_no_test_suite(tmp_path, monkeypatch):
    """Scales are chosen before a test item is touched: without test suites the choice is made."""
    from mergelab.evaluation import results
    from mergelab.tables.making import _Making

    read = []
    load = results.load_suite
    monkeypatch.setattr(
        results, "load_suite", lambda skill, split: read.append(split) or load(skill, split)
    )
    few = {key: each for n, (key, each) in enumerate(_trials(1).items()) if n % 20 == 0}
    monkeypatch.setattr("mergelab.tables.strategies.trials", lambda items: few)
    (tmp_path / "work").mkdir()
    making = _Making(
        ("strategies",), Settings(tmp_path, Workers(), limit=1, full=True), tmp_path / "work"
    )
    assert making.chosen
    assert read and set(read) == {"dev"}
    assert (making.aside / "choices.csv").is_file()


def _trials(items):
    from mergelab.tables import strategies

    return strategies.trials(items)


def test_names_are_those_of_the_files():
    assert len(NAMES) == len(set(NAMES)) and "strategies" in NAMES
