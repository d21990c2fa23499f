"""What is measured is what a command needs: the memory of all its processes, disk, time."""

import sys

import pytest
from measuring import measure, read_all, size_of

MB = 1_000_000


@pytest.fixture
def run(tmp_path):
    """Measure a Python script; `argv[1]` is the output folder, TMPDIR the scratch."""
    models = tmp_path / "models"
    models.mkdir()
    (models / "weights").write_bytes(b"x" * 1000)

    def go(script):
        lines = (
            f"import os, pathlib, subprocess, sys, time\nout = pathlib.Path(sys.argv[1])\n{script}"
        )
        folder = tmp_path / "run"
        return measure([sys.executable, "-c", lines, str(folder / "out")], folder, models)

    return go


def test_the_peak_is_the_most_memory_held_even_if_it_is_given_back(run):
    small = run("out.mkdir()")
    large = run("out.mkdir(); block = bytearray(300_000_000); del block; time.sleep(0.2)")
    assert small.peak_bytes < 60 * MB  # whatever the process that asks has loaded
    assert 300 * MB < large.peak_bytes < 400 * MB


def test_the_memory_of_processes_that_run_side_by_side_adds_up(run):
    found = run(
        "child = 'import time; block = bytearray(150_000_000); time.sleep(1)'\n"
        "both = [subprocess.Popen([sys.executable, '-c', child]) for _ in range(2)]\n"
        "[process.wait() for process in both]; out.mkdir()"
    )
    assert 300 * MB < found.peak_bytes < 450 * MB


def test_pages_of_a_mapped_file_count_as_memory(run):
    found = run(
        "import mmap; out.mkdir(); file = open(out / 'file', 'w+b')\n"
        "file.write(bytes(200_000_000)); file.flush()\n"
        "mapped = mmap.mmap(file.fileno(), 0); sum(mapped[i] for i in range(0, len(mapped), 4096))"
    )
    assert found.peak_bytes > 200 * MB


def test_scratch_is_counted_wherever_it_lies_even_if_it_is_removed_again(run):
    write = "(place / 'file').write_bytes(bytes(5_000_000)); time.sleep(0.3)"
    gone = run(
        f"out.mkdir(); place = pathlib.Path(os.environ['TMPDIR']); {write}\n"
        "(place / 'file').unlink(); (out / 'model').write_bytes(bytes(8_000_000))"
    )
    assert (gone.output_bytes, gone.scratch_bytes) == (8 * MB, 5 * MB)
    beside = run(f"out.mkdir(); place = out.parent; {write}")
    assert (beside.output_bytes, beside.scratch_bytes) == (0, 5 * MB)


def test_an_output_written_aside_and_renamed_is_no_scratch(run):
    found = run(
        "aside = out.parent / '.out.partial'; aside.mkdir()\n"
        "(aside / 'model').write_bytes(bytes(6_000_000)); time.sleep(0.3); aside.rename(out)"
    )
    assert (found.output_bytes, found.scratch_bytes) == (6 * MB, 0)


def test_time_is_wall_time(run):
    assert 0.5 < run("out.mkdir(); time.sleep(0.5)").seconds < 5


def test_a_command_that_fails_is_no_measurement(run):
    with pytest.raises(RuntimeError, match=r"(?s)exit status 3.*no such recipe"):
        run("print('no such recipe'); sys.exit(3)")


def test_a_run_starts_without_what_the_last_one_left(run, tmp_path):
    run("out.mkdir(); (out / 'model').write_bytes(bytes(1000))")
    assert run("out.mkdir()").output_bytes == 0


def test_sizes_count_every_file_below_a_folder(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(b"123")
    (tmp_path / "other").write_bytes(b"45")
    assert size_of(tmp_path) == 5
    read_all(tmp_path)
