"""Flushing beside the merge: enough of it, of the right file, and no error of the disk is lost."""

import errno
import os
import threading

import pytest
import torch

from mergelab.checkpoints import CheckpointWriter, Slot
from mergelab.checkpoints.flushing import Flusher


@pytest.fixture
def flushed(monkeypatch):
    """The files that were flushed, in order; each flush sets `happened`."""
    files, happened = [], threading.Semaphore(0)

    def fdatasync(descriptor):
        files.append(descriptor)
        happened.release()

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    return files, happened


def test_a_file_is_flushed_each_time_enough_was_written_to_it_and_no_other(flushed):
    files, happened = flushed
    flusher = Flusher(every=10)
    for descriptor, nbytes in ((5, 9), (6, 9), (5, 1)):
        flusher.wrote(descriptor, nbytes)
    assert happened.acquire(timeout=10)
    flusher.wrote(6, 30)
    assert happened.acquire(timeout=10)
    flusher.wrote(5, 9)
    flusher.stop()
    assert files == [5, 6]


def test_little_is_left_to_the_end_and_needs_no_thread(flushed):
    files, _ = flushed
    flusher = Flusher(every=10)
    flusher.wrote(5, 9)
    flusher.stop()
    assert files == []
    assert flusher._thread is None


def test_an_error_of_the_disk_comes_out_at_the_end_and_only_once(monkeypatch):
    def fdatasync(descriptor):
        raise OSError(errno.EIO, "disk broken")

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    flusher = Flusher(every=1)
    flusher.wrote(5, 1)
    flusher._thread.join(timeout=10)
    with pytest.raises(OSError, match="disk broken"):
        flusher.stop()
    flusher.stop()


def test_a_writer_does_not_close_over_an_error_of_a_flush(monkeypatch, tmp_path):
    def fdatasync(descriptor):
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    writer = CheckpointWriter(tmp_path, [Slot("w", torch.float32, (4,))])
    writer._flusher._every = 1
    writer.write("w", torch.ones(4))
    writer._flusher._thread.join(timeout=10)
    with pytest.raises(OSError, match="disk full"):
        writer.close()
    writer.abandon()
