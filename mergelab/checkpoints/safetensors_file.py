"""One safetensors file, read tensor by tensor without mapping it into memory.

The format (https://huggingface.co/docs/safetensors): eight bytes give the length of a JSON header,
the header gives each tensor's dtype, shape and byte range, then come the bytes. Reading by
position keeps the process's memory at the size of what it asked for, where a memory map counts
every page touched; and a header that does not fit the file is refused before anything is read.
"""

from __future__ import annotations

import json
import math
import os
import struct
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mergelab.checkpoints.reading import open_file
from mergelab.errors import UserError
from mergelab.kernels.operands import as_matrix

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}

_MAX_HEADER = 100_000_000
_LARGE_HEADER, _PER_TENSOR = 10_000_000, 16  # bytes; brackets and commas in an entry
_MAX_DIMENSIONS, _MAX_ENTRIES = 64, 2**63
_clock = threading.local()


def seconds_reading() -> float:
    """How long the current thread has spent reading tensors from files, ever."""
    return getattr(_clock, "seconds", 0.0)


@dataclass(frozen=True)
class TensorEntry:
    """Where one tensor lies in its file: dtype, shape, first byte and number of bytes."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    nbytes: int


class SafetensorsFile:
    """The tensors of one `.safetensors` file, by name.

    Opening reads and checks only the header. Raises `UserError` when the file is missing, cut
    short, or its header is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        try:
            with open_file(self.path) as file:
                self.size = os.fstat(file.fileno()).st_size
                self.entries = self._read_header(file)
        except OSError as error:
            raise self._unreadable(error) from None

    def _read_header(self, file) -> dict[str, TensorEntry]:
        prefix = file.read(8)
        if len(prefix) < 8:
            raise self._damaged("it ends inside its header")
        (length,) = struct.unpack("<Q", prefix)
        if length > min(_MAX_HEADER, self.size - 8):
            raise self._damaged(f"its header claims {length:,} bytes of {self.size:,}")
        try:
            text = file.read(length)
            if length > _LARGE_HEADER and sum(map(text.count, (b"{", b"[", b","))) > (
                _PER_TENSOR * min(map(text.count, (b'"dtype"', b'"shape"', b'"data_offsets"')))
            ):  # before it becomes gigabytes of objects
                raise ValueError("it describes more than tensors")
            header = json.loads(text.decode("utf-8"), object_pairs_hook=_unique)
            if not isinstance(header, dict):
                raise ValueError("the header is no object")
            if not isinstance(header.pop("__metadata__", {}), dict):
                raise ValueError("its metadata is no object")
            entries = {name: _entry(value, 8 + length) for name, value in header.items()}
        except (ValueError, KeyError, TypeError, RecursionError, MemoryError) as error:
            raise self._damaged(f"its header is not valid ({error})") from None
        position = 8 + length
        for name, entry in sorted(
            entries.items(), key=lambda item: (item[1].start, item[1].nbytes)
        ):
            if entry.start != position:
                raise self._damaged(f"tensor '{name}' does not start where the one before it ends")
            position += entry.nbytes
        if position != self.size:
            raise self._damaged(
                f"its header describes {position:,} bytes, the file has {self.size:,}"
            )
        return entries

    def _unreadable(self, error: OSError) -> UserError:
        return UserError(f"{self.path}: cannot be read ({error.strerror})")

    def _damaged(self, reason: str) -> UserError:
        return UserError(
            f"{self.path}: not a whole safetensors file, {reason}; download or copy it again"
        )

    def read(self, name: str) -> Tensor:
        """The tensor `name`, in its stored dtype, as new memory.

        Raises `UserError` if the file went away or became shorter since it was opened.
        """
        entry = self.entries[name]
        return self._bytes(entry.start, entry.nbytes).view(entry.dtype).reshape(entry.shape)

    def read_rows(self, name: str, start: int, stop: int) -> Tensor:
        """Rows `start` to `stop` of the tensor seen as a matrix, `[rows, columns]`, as `read`."""
        entry = self.entries[name]
        columns = as_matrix(entry.shape)[1]
        width = columns * entry.dtype.itemsize
        data = self._bytes(entry.start + start * width, (stop - start) * width)
        return data.view(entry.dtype).reshape(stop - start, columns)

    def middle(self, name: str, count: int) -> bytes:
        """Up to `count` bytes from the middle of a tensor."""
        entry = self.entries[name]
        start = entry.start + max(0, (entry.nbytes - count) // 2)
        return bytes(self._bytes(start, min(count, entry.nbytes)).numpy())

    def _bytes(self, start: int, count: int) -> Tensor:
        began = time.perf_counter()
        buffer = torch.empty(count, dtype=torch.uint8)
        view = memoryview(buffer.numpy())
        try:
            with open_file(self.path) as file:
                file.seek(start)
                done = 0
                while done < count:
                    got = file.readinto(view[done:])
                    if not got:
                        raise self._damaged("it became shorter while it was read")
                    done += got
        except OSError as error:
            raise self._unreadable(error) from None
        _clock.seconds = seconds_reading() + time.perf_counter() - began
        return buffer


@dataclass(frozen=True)
class Stored:
    """A tensor in a file as an operand: the rows asked for are read, in fp32."""

    file: SafetensorsFile
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.file.entries[self.name].shape

    def rows(self, start: int, stop: int) -> Tensor:
        return self.file.read_rows(self.name, start, stop).float()


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name occurs twice")
    return result


def _entry(value: dict, data_start: int) -> TensorEntry:
    if value["dtype"] not in DTYPES:
        raise ValueError(f"dtype {value['dtype']!r} is not known")
    dtype = DTYPES[value["dtype"]]
    shape = tuple(value["shape"])
    start, end = value["data_offsets"]
    numbers = (*shape, start, end)
    if len(shape) > _MAX_DIMENSIONS:
        raise ValueError(f"a tensor of {len(shape)} dimensions")
    if any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError("sizes and offsets must be whole numbers")
    if math.prod(max(size, 1) for size in shape) >= _MAX_ENTRIES:
        raise ValueError(f"a tensor of shape {list(shape)}")
    if math.prod(shape) * dtype.itemsize != end - start:
        raise ValueError(f"{end - start} bytes do not hold a {list(shape)} tensor of {dtype}")
    return TensorEntry(dtype, shape, data_start + start, end - start)
