"""However a merge ends, its output is whole or not there, and the next run cleans up."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tiny_models import llama, save_adapter, save_model

from mergelab import merge
from mergelab.errors import UserError

DRIVER = Path(__file__).parents[1] / "support" / "die_while_merging.py"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A merge that takes some tenths of a second: a few megabytes in many tensors."""
    folder = tmp_path_factory.mktemp("larger")
    model = llama(0, hidden_size=128, intermediate_size=256, layers=6)
    base = save_model(model, folder / "base")
    adapters = [save_adapter(base, folder / f"a{i}", i) for i in range(3)]
    written = {
        "merge_method": "dare_ties",
        "models": [{"model": str(adapter)} for adapter in adapters],
        "parameters": {"density": 0.5},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(written))
    return folder / "recipe.yaml"


def die(recipe, folder, number, moments):
    done = subprocess.run(
        [sys.executable, DRIVER, recipe, folder, str(int(number)), *map(str, moments)],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["whole"] == 0
    return found["runs"]


def contents(folder):
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if path.name != "merge_report.json"
    }


def assert_whole_or_absent(folder, moments):
    whole = contents(folder / "whole")
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= set(whole)
    finished = [m for m in moments if (folder / f"out-{m}").exists()]
    for moment in finished:
        assert contents(folder / f"out-{moment}") == whole
        assert json.loads((folder / f"out-{moment}" / "merge_report.json").read_text())
    return finished


def moments_of(count, seed):
    """Spread over a merge and a little beyond, each at random within its part."""
    chance = random.Random(seed)
    return [round((i + chance.random()) / count * 1.15, 4) for i in range(count)]


@pytest.mark.parametrize(
    "count", [6, pytest.param(20, marks=pytest.mark.slow)], ids=["6 moments", "20 moments"]
)
def test_kill_at_any_moment_leaves_a_whole_output_or_none(recipe, tmp_path, count):
    moments = moments_of(count, seed=count)
    runs = die(recipe, tmp_path, signal.SIGKILL, moments)
    finished = assert_whole_or_absent(tmp_path, moments)
    killed = [moment for moment, status, _ in runs if status == -signal.SIGKILL]
    assert killed, "no run was ended before it was done"
    assert set(moments) - set(killed) <= set(finished)
    # what a killed run left goes with the next one under that name
    for moment in killed:
        if moment not in finished:
            merge(recipe, tmp_path / f"out-{moment}")
            assert contents(tmp_path / f"out-{moment}") == contents(tmp_path / "whole")
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "Ctrl-C"]
)
def test_a_polite_end_leaves_nothing_behind_at_once(recipe, tmp_path, number, status):
    moments = [0.2, 0.4, 0.6, 0.8]
    runs = die(recipe, tmp_path, number, moments)
    finished = assert_whole_or_absent(tmp_path, moments)
    assert not list(tmp_path.glob(".*"))
    ended = [run for run in runs if run[0] not in finished]
    assert ended, "no run was ended before it was done"
    for _, code, words in ended:
        assert code == status
        assert "Traceback" not in words
        if number == signal.SIGINT:
            assert words == "error: interrupted; nothing half-written is left\n"


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
import mergelab.cli
mergelab.cli.entry_points = lambda **_: ()
sys.argv = ["mergelab", "merge", *sys.argv[2:]]
mergelab.cli.main()
"""


@pytest.mark.parametrize("limit", [1000, 300_000])
def test_a_file_that_cannot_grow_is_one_line_and_leaves_nothing(recipe, tmp_path, limit):
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit), recipe, tmp_path / "out"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"{tmp_path / 'out'}: cannot be written" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("after", [0, 50_000, 1_000_000])
def test_a_full_disk_is_one_line_and_leaves_nothing(recipe, tmp_path, monkeypatch, after):
    import errno

    real, written = os.pwrite, 0

    def pwrite(descriptor, data, offset):
        nonlocal written
        written += len(data)
        if written > after:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(UserError, match="the disk is full"):
        merge(recipe, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_while_the_tokenizer_is_copied_leaves_nothing(recipe, tmp_path, monkeypatch):
    import errno
    import shutil

    def copyfile(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    with pytest.raises(UserError, match="the disk is full"):
        merge(recipe, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_two_merges_into_one_name_give_one_whole_output_and_one_refusal(recipe, tmp_path):
    command = [sys.executable, "-c", LIMITED, str(2**40), recipe, tmp_path / "out"]
    both = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    words = [process.communicate()[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 2]
    assert any("exists already" in text or "appeared while" in text for text in words)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    merge(recipe, tmp_path / "alone")
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")
