"""What is written loads elsewhere, and a folder appears whole or not at all."""

import errno
import glob
import json
import multiprocessing
import os
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file
from tiny_models import weights

from mergelab.checkpoints import CheckpointWriter, Slot, whole_folder
from mergelab.errors import UserError


def some_tensors():
    generator = torch.Generator().manual_seed(1)
    return {
        "a.weight": torch.randn(5, 3, generator=generator),
        "b.weight": torch.randn(7, generator=generator).bfloat16(),
        "c.scalar": torch.randn((), generator=generator).double(),
        "d.empty": torch.zeros(0, 4, dtype=torch.float16),
        "e.count": torch.arange(6).reshape(2, 3),
        "f.flag": torch.tensor([True, False, True]),
    }


def slots_of(tensors):
    return [Slot(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()]


def write(folder, tensors, order=None, **options):
    writer = CheckpointWriter(folder, slots_of(tensors), **options)
    for name in order or tensors:
        writer.write(name, tensors[name])
    writer.close()


def open_descriptors():
    return len(os.listdir("/proc/self/fd"))


def test_one_file_loads_with_the_safetensors_library(tmp_path):
    tensors = some_tensors()
    write(tmp_path, tensors)
    loaded = load_file(tmp_path / "model.safetensors")
    assert set(loaded) == set(tensors)
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert loaded[name].equal(tensor)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}  # transformers asks for it
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


@given(limit=st.integers(1, 200), seed=st.integers(0, 5))
def test_shards_hold_every_tensor_once_and_their_index_says_where(tmp_path_factory, limit, seed):
    tensors = some_tensors()
    order = list(tensors)
    torch.manual_seed(seed)
    order = [order[i] for i in torch.randperm(len(order))]
    folder = tmp_path_factory.mktemp("shards")
    write(folder, tensors, order, max_shard_bytes=limit)
    shards = sorted(folder.glob("*.safetensors"))
    found = weights(folder)
    assert all(found[name].equal(tensor) for name, tensor in tensors.items())
    if len(shards) == 1:
        assert shards[0].name == "model.safetensors"
        return
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    total = sum(tensor.nbytes for tensor in tensors.values())
    assert index["metadata"] == {"total_size": total}
    count = len(shards)
    for i, shard in enumerate(shards, start=1):
        assert shard.name == f"model-{i:05d}-of-{count:05d}.safetensors"
        inside = load_file(shard)
        assert {n for n, file in index["weight_map"].items() if file == shard.name} == set(inside)
        assert len(inside) == 1 or sum(t.nbytes for t in inside.values()) <= limit


def test_values_are_rounded_once_to_the_slots_dtype(tmp_path):
    values = torch.tensor([1.0, 1.00390625, 3.3])
    writer = CheckpointWriter(tmp_path, [Slot("x", torch.bfloat16, (3,))])
    writer.write("x", values)
    writer.close()
    # bfloat16 has 8 bits: 1.00390625 = 1 + 2**-8 lies half way and goes to the even neighbour
    assert weights(tmp_path)["x"].tolist() == [1.0, 1.0, 3.296875]


def test_a_tensor_of_another_shape_or_one_never_written_is_a_mistake_in_the_program(tmp_path):
    writer = CheckpointWriter(tmp_path, [Slot("x", torch.float32, (3,)), Slot("y", torch.int8, ())])
    with pytest.raises(ValueError, match="x"):
        writer.write("x", torch.ones(4))
    with pytest.raises(RuntimeError, match="y"):
        writer.close()
    writer.abandon()


def test_a_folder_appears_only_when_the_block_ended(tmp_path):
    out = tmp_path / "deep" / "out"
    with whole_folder(out) as folder:
        (folder / "file").write_text("content")
        assert not out.exists()
        assert folder.parent == out.parent
        number = folder.stat().st_ino
    assert out.stat().st_ino == number  # the folder itself took the name, nothing was moved into it
    assert (out / "file").read_text() == "content"
    assert [path.name for path in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, UserError])
def test_an_exception_leaves_nothing_and_comes_through(tmp_path, error):
    before = open_descriptors()
    with pytest.raises(error), whole_folder(tmp_path / "out") as folder:
        (folder / "file").write_text("half")
        raise error("stop")
    assert list(tmp_path.iterdir()) == []
    assert open_descriptors() == before


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "disk is full"),
        (errno.EFBIG, "cannot be written"),
        (errno.EIO, "cannot be written"),
    ],
)
def test_a_disk_that_refuses_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, number, words):
    real = os.pwrite
    written = 0

    def limited(descriptor, data, offset):
        nonlocal written
        if written > 100:
            raise OSError(number, os.strerror(number))
        written += len(data)
        return real(descriptor, data, offset)

    before = open_descriptors()
    monkeypatch.setattr(os, "pwrite", limited)
    with pytest.raises(UserError, match=words) as refused, whole_folder(tmp_path / "out") as folder:
        writer = CheckpointWriter(folder, slots_of(some_tensors()), max_shard_bytes=10)
        try:
            for name, tensor in some_tensors().items():
                writer.write(name, tensor)
        finally:
            writer.abandon()
    assert str(tmp_path / "out") in str(refused.value)
    assert list(tmp_path.iterdir()) == []
    assert open_descriptors() == before


@pytest.mark.parametrize("kind", ["folder", "empty folder", "file", "dangling link"])
def test_an_existing_output_is_refused_and_left_as_it_is(tmp_path, kind):
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
    elif kind == "dangling link":
        out.symlink_to(tmp_path / "nowhere")
    else:
        out.mkdir()
        if kind == "folder":
            (out / "mine").touch()
    with pytest.raises(UserError, match="exists already"), whole_folder(out):
        raise AssertionError("never entered")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert kind != "folder" or (out / "mine").exists()


def test_an_output_that_appears_meanwhile_is_left_as_it_is(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(UserError, match="appeared while"), whole_folder(out) as folder:
        (folder / "file").touch()
        out.mkdir()
        (out / "theirs").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "theirs"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be created"), whole_folder(tmp_path / "file" / "x"):
        raise AssertionError("never entered")


def test_a_name_too_long_for_a_folder_is_one_line(tmp_path):
    with (
        pytest.raises(UserError, match="x: cannot be created"),
        whole_folder(tmp_path / ("x" * 300)),
    ):
        pass


@pytest.mark.parametrize("name", ["out", "with [brackets] and *"])
def test_what_a_killed_run_left_is_removed_and_what_a_running_one_holds_is_not(tmp_path, name):
    out = tmp_path / name
    leftover = tmp_path / f".{name}.partial-999999999"
    leftover.mkdir()
    (leftover / "model.safetensors").write_bytes(b"half")
    neighbour = tmp_path / f".{name}2.partial-5"
    neighbour.mkdir()

    ready = multiprocessing.get_context("fork").Event()

    def hold():
        with whole_folder(out):
            ready.set()
            time.sleep(60)

    other = multiprocessing.get_context("fork").Process(target=hold)
    other.start()
    try:
        assert ready.wait(20)
        with whole_folder(out) as folder:
            (folder / "file").touch()
            assert list(tmp_path.glob(f".{glob.escape(name)}.partial-{other.pid}-*"))
        assert (out / "file").exists()
    finally:
        other.kill()
        other.join()
    assert not leftover.exists()
    assert neighbour.exists()


def test_a_leftover_of_a_killed_process_goes_with_the_next_run(tmp_path):
    def die():
        with whole_folder(tmp_path / "out") as folder:
            (folder / "file").touch()
            os._exit(9)

    process = multiprocessing.get_context("fork").Process(target=die)
    process.start()
    process.join()
    assert [path.name[:12] for path in tmp_path.iterdir()] == [".out.partial"]
    with whole_folder(tmp_path / "out"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
