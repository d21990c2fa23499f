"""However a merge ends, its output is whole or not there, and the next run cleans up."""

import json
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tiny_models import llama, save_adapter, save_model

from mergelab import merge
from mergelab.errors import UserError

pytestmark = pytest.mark.slow

SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture(scope="module")
def larger(tmp_path_factory):
    """A merge that takes some tenths of a second: a few megabytes in many tensors.

    Two recipes, of a model and of an adapter.
    """
    folder = tmp_path_factory.mktemp("larger")
    model = llama(0, hidden_size=128, intermediate_size=256, layers=6)
    base = save_model(model, folder / "base")
    adapters = [save_adapter(base, folder / f"a{i}", i) for i in range(3)]
    models = [{"model": str(adapter)} for adapter in adapters]
    for name, written in {
        "model": {"merge_method": "dare_ties", "parameters": {"density": 0.5}},
        "adapter": {"merge_method": "linear", "output": "adapter"},
    }.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({**written, "models": models}))
    return folder


@pytest.fixture(scope="module")
def recipe(larger):
    return larger / "model.yaml"


def die(recipe, folder, number, how, count, seed=0):
    """The children's moments, exit statuses and last words, and every kind of step there is."""
    done = subprocess.run(
        [sys.executable, SUPPORT / "die_while_merging.py", recipe, folder]
        + [str(argument) for argument in (int(number), how, count, seed)],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["whole"] == 0
    return found["runs"], set(found["kinds"])


def contents(folder):
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if path.name != "merge_report.json"
    }


def assert_whole_or_absent(folder, count):
    """The numbers of the children that came to their end, whose output must be whole."""
    whole = contents(folder / "whole")
    finished = [i for i in range(count) if (folder / f"out-{i}").exists()]
    for i in finished:
        assert contents(folder / f"out-{i}") == whole
        assert json.loads((folder / f"out-{i}" / "merge_report.json").read_text())
    return finished


STEPS = {"read", "create", "os.mkdir", "header", "write", "fsync", "os.rename"}


@pytest.mark.parametrize(
    ("output", "how", "count"),
    [
        pytest.param("model", "clock", 20, marks=pytest.mark.slow),
        ("model", "steps", 20),
        ("adapter", "steps", 7),
    ],
)
def test_kill_at_any_moment_leaves_a_whole_output_or_none(larger, tmp_path, output, how, count):
    recipe = larger / f"{output}.yaml"
    runs, kinds = die(recipe, tmp_path, signal.SIGKILL, how, count, seed=count)
    assert kinds == STEPS
    shards = len(list((tmp_path / "whole").glob("*.safetensors")))
    assert shards > 5 if output == "model" else shards == 1
    finished = assert_whole_or_absent(tmp_path, count)
    killed = [i for i, (_, status, _) in enumerate(runs) if status == -signal.SIGKILL]
    assert set(range(count)) - set(killed) <= set(finished)
    if how == "steps":
        assert len(killed) == count
    assert set(killed) - set(finished), "no run was ended before it was done"
    # what a killed run left goes with the next one under that name
    for i in set(killed) - set(finished):
        merge(recipe, tmp_path / f"out-{i}", max_shard_bytes=400_000)
        assert contents(tmp_path / f"out-{i}") == contents(tmp_path / "whole")
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("output", ["model", "adapter"])
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "Ctrl-C"]
)
def test_a_polite_end_leaves_nothing_behind_at_once(larger, tmp_path, output, number, status):
    runs, _ = die(larger / f"{output}.yaml", tmp_path, number, "steps", 7)
    finished = assert_whole_or_absent(tmp_path, 7)
    assert not list(tmp_path.glob(".*"))
    assert len(finished) < 3
    for _, code, words in runs:
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


def may_mount(folder):
    """What a command begins with to be allowed to mount: nothing that others would see."""
    for prefix in (
        ["unshare", "--mount"],
        ["unshare", "--mount", "--map-root-user"],
        ["sudo", "--non-interactive", "--preserve-env", "unshare", "--mount"],
    ):
        if shutil.which(prefix[0]):
            command = [*prefix, "mount", "-t", "tmpfs", "tmpfs", folder]
            if subprocess.run(command, capture_output=True).returncode == 0:
                return prefix
    return None


@pytest.mark.parametrize("output", ["model", "adapter"])
def test_a_disk_that_fills_up_at_any_part_is_one_line_and_stays_empty(larger, tmp_path, output):
    prefix = may_mount(tmp_path)
    how, words = ("mount", "the disk is full") if prefix else ("limit", "File too large")
    command = [sys.executable, SUPPORT / "fill_disks.py", larger / f"{output}.yaml", tmp_path]
    done = subprocess.run(
        [*(prefix or []), *command, "5", how], capture_output=True, text=True, check=True
    )
    *small, enough = json.loads(done.stdout)
    assert len(small) == (9 if prefix else 3)
    for part, room, status, complaint, left in small:
        assert (part, status, left) == (part, 2, []), (room, complaint)
        assert complaint.startswith("error: ")
        assert complaint.count("\n") == 1
        assert words in complaint, part
    assert (enough[2], enough[4]) == (0, ["out"]), enough


def test_a_full_disk_while_the_tokenizer_is_copied_leaves_nothing(recipe, tmp_path, monkeypatch):
    import errno

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
