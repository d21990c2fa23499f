"""Writing a model so that it appears whole or not at all.

Files are laid out from the shapes alone, tensors are then written one by one at their place, so
that a merge never holds more than one of them; everything happens in a folder beside the output,
which takes the output's name only when it is complete and on disk.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import json
import os
import shutil
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mergelab.checkpoints.flushing import Flusher
from mergelab.checkpoints.safetensors_file import DTYPE_NAMES
from mergelab.errors import UserError

MAX_SHARD_BYTES = 5_000_000_000


@dataclass(frozen=True)
class Slot:
    """The name, dtype and shape of a tensor that is going to be written."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def entries(self) -> int:
        return torch.Size(self.shape).numel()

    @property
    def nbytes(self) -> int:
        return self.dtype.itemsize * self.entries


@dataclass
class _Place:
    """Where a tensor goes: the file, its first byte there, and how many entries are missing."""

    descriptor: int
    start: int
    slot: Slot
    missing: int


class CheckpointWriter:
    """Writes `slots` as one safetensors file `name`, or as shards of at most `max_shard_bytes`.

    `write`, or `write_part` for runs of entries, may be called in any order; `close` makes sure
    that all came.
    """

    def __init__(
        self,
        folder: Path,
        slots: Sequence[Slot],
        max_shard_bytes: int = MAX_SHARD_BYTES,
        name: str = "model",
    ) -> None:
        self.folder = folder
        self._places: dict[str, _Place] = {}
        self._lock = threading.Lock()
        self._descriptors: list[int] = []
        self._flusher = Flusher()
        shards = _into_shards(slots, max_shard_bytes)
        names = [f"{name}.safetensors"]
        if len(shards) > 1:
            count = len(shards)
            names = [f"{name}-{k + 1:05d}-of-{count:05d}.safetensors" for k in range(count)]
        weight_map = {}
        for file_name, shard in zip(names, shards, strict=True):
            try:
                self._lay_out(file_name, shard)
            except OSError:
                self.abandon()
                raise
            weight_map.update(dict.fromkeys((slot.name for slot in shard), file_name))
        if len(shards) > 1:
            total = sum(slot.nbytes for slot in slots)
            index = {"metadata": {"total_size": total}, "weight_map": weight_map}
            text = json.dumps(index, indent=2, sort_keys=True)
            (folder / f"{name}.safetensors.index.json").write_text(text + "\n")

    def _lay_out(self, file_name: str, shard: Sequence[Slot]) -> None:
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        position = 0
        for slot in shard:
            header[slot.name] = {
                "dtype": DTYPE_NAMES[slot.dtype],
                "shape": list(slot.shape),
                "data_offsets": [position, position + slot.nbytes],
            }
            position += slot.nbytes
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        descriptor = os.open(self.folder / file_name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self._descriptors.append(descriptor)
        _write_all(descriptor, struct.pack("<Q", len(text)) + text, 0)
        start = 8 + len(text)
        for slot in shard:
            self._places[slot.name] = _Place(descriptor, start, slot, missing=slot.entries)
            start += slot.nbytes

    def write(self, name: str, tensor: Tensor) -> None:
        """Write one tensor; its shape must be the slot's, its values are rounded to its dtype."""
        shape = self._places[name].slot.shape
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name}: laid out as {shape}, got {tuple(tensor.shape)}")
        self.write_part(name, 0, tensor)

    def write_part(self, name: str, first: int, values: Tensor) -> None:
        """Write a run of a tensor's entries, from entry `first` on; several threads may do so.

        Every entry is written once. Raises `ValueError` if that would not be so.
        """
        place = self._places[name]
        with self._lock:
            place.missing -= values.numel()
        if place.missing < 0 or first + values.numel() > place.slot.entries:
            raise ValueError(f"{name}: more entries were given than its {place.slot.entries}")
        if values.numel():
            flat = values.to("cpu", place.slot.dtype).contiguous().flatten()
            start = place.start + first * place.slot.dtype.itemsize
            _write_all(place.descriptor, memoryview(flat.view(torch.uint8).numpy()), start)
            self._flusher.wrote(place.descriptor, flat.nbytes)

    def close(self) -> None:
        """Bring everything to disk. Raises `RuntimeError` if a tensor was never written."""
        missing = sorted(name for name, place in self._places.items() if place.missing)
        if missing:
            raise RuntimeError(f"never written: {', '.join(missing)}")
        self._flusher.stop()
        for descriptor in self._descriptors:
            os.fsync(descriptor)
        self.abandon()

    def abandon(self) -> None:
        """Close the files as they are; the folder is about to be removed, or is complete."""
        with suppress(OSError):  # of files that nobody will read
            self._flusher.stop()
        while self._descriptors:
            os.close(self._descriptors.pop())


def _into_shards(slots: Sequence[Slot], limit: int) -> list[list[Slot]]:
    shards: list[list[Slot]] = [[]]
    size = 0
    for slot in slots:
        if shards[-1] and size + slot.nbytes > limit:
            shards.append([])
            size = 0
        shards[-1].append(slot)
        size += slot.nbytes
    return shards


def _write_all(descriptor: int, data: bytes | memoryview, start: int) -> None:
    view = memoryview(data)
    done = 0
    while done < len(view):
        done += os.pwrite(descriptor, view[done:], start + done)


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `out` when the block ends well and vanishes when it does not.

    Raises `UserError` if `out` exists or cannot be written, or the disk is full. What an earlier
    run left when it was killed is removed first.
    """
    out = Path(os.path.abspath(out))
    if os.path.lexists(out):
        raise UserError(f"{out}: exists already; choose another name or remove it first")
    folder = out.parent / f".{out.name}.partial-{os.getpid()}-{os.urandom(4).hex()}"
    new = [parent for parent in out.parents if not os.path.exists(parent)]
    with ExitStack() as afterwards:  # when all went well there is nothing left for it to remove
        afterwards.callback(_remove_empty, new)
        afterwards.callback(shutil.rmtree, folder, ignore_errors=True)
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(out)
            lock = _make_and_lock(folder)
        except OSError as error:
            raise _cannot(error, out, "created") from None
        afterwards.callback(os.close, lock)
        try:
            yield folder
            _fsync(*folder.iterdir(), folder)
            _take_name(folder, out)
        except OSError as error:
            raise _cannot(error, out, "written") from None


def _cannot(error: OSError, out: Path, what: str) -> UserError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(f"{out}: the disk is full; free some space or choose another")
    return UserError(f"{out}: cannot be {what} ({error.strerror})")


def _make_and_lock(folder: Path) -> int:
    """A new folder; the descriptor returned holds its lock, a sign that somebody works in it."""
    while True:
        folder.mkdir()
        lock = os.open(folder, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return lock
        os.close(lock)  # before it was locked another merge took it for a leftover


def _fsync(*paths: Path) -> None:
    """Wait until files, or the names in folders, are on disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders that were made for an output that did not come, the innermost first."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _take_name(folder: Path, out: Path) -> None:
    try:
        os.rename(folder, out)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise UserError(f"{out}: appeared while this merge ran; it was left as it is") from None
        raise
    _fsync(out.parent)


def _remove_leftovers(out: Path) -> None:
    for folder in out.parent.glob(f".{glob.escape(out.name)}.partial-*"):
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue  # another merge removed it, or it is none of ours
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # another merge is at work in it
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)
