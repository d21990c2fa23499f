"""One pickled weights file (`.bin`), read the way a safetensors file is, and only when asked for.

A pickle is a program. `torch.load(weights_only=True)` runs it with nothing but the parts that
rebuild tensors, and everything that comes out is checked again here: plain tensors only, which do
not claim more memory than their file holds.
"""

from __future__ import annotations

import os
import pickle
import warnings
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from mergelab.checkpoints.reading import open_file
from mergelab.checkpoints.safetensors_file import DTYPE_NAMES, TensorEntry
from mergelab.errors import UserError
from mergelab.kernels.operands import as_matrix

ALLOW = "--allow-pickle"


class PickledFile:
    """The tensors of one file written by `torch.save`, by name; see `SafetensorsFile`.

    Values stay in the file until they are read, where the file's format allows it. Raises
    `UserError` when it is missing or damaged, or holds anything but tensors.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        try:
            with open_file(self.path) as file:
                self.size = os.fstat(file.fileno()).st_size
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({error.strerror})") from None
        self._tensors = self._checked(self._load())
        self.entries = {
            name: TensorEntry(tensor.dtype, tuple(tensor.shape), 0, tensor.nbytes)
            for name, tensor in self._tensors.items()
        }

    def _load(self) -> object:
        try:
            mapped = zipfile.is_zipfile(self.path)  # what PyTorch wrote before 1.6 is no archive
            if mapped:
                self._refuse_compressed()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return torch.load(self.path, map_location="cpu", weights_only=True, mmap=mapped)
        except UserError:
            raise
        except pickle.UnpicklingError:
            raise self._refused("something that is no tensor") from None
        except Exception as error:  # a damaged pickle may raise anything
            raise UserError(
                f"{self.path}: not a whole file of weights ({type(error).__name__}); "
                "download or copy it again"
            ) from None

    def _refuse_compressed(self) -> None:
        """Nobody writes such an archive; mapped, its packed bytes would be taken for weights."""
        with zipfile.ZipFile(self.path) as archive:
            if any(item.compress_type != zipfile.ZIP_STORED for item in archive.infolist()):
                raise UserError(
                    f"{self.path}: is a compressed archive, as PyTorch writes none; refused"
                )

    def _checked(self, loaded: object) -> dict[str, Tensor]:
        if not isinstance(loaded, dict):
            raise self._refused(f"a {type(loaded).__name__}")
        places: set[tuple[int, ...]] = set()
        claimed = 0
        tensors: dict[str, Tensor] = {}
        for name, value in loaded.items():
            plain = type(value) in (Tensor, torch.nn.Parameter) and isinstance(name, str)
            if not plain:
                raise self._refused(f"'{name}' ({type(value).__name__})")
            if (
                value.layout != torch.strided
                or value.device.type != "cpu"
                or value.dtype not in DTYPE_NAMES
            ):
                raise self._refused(f"'{name}', a tensor of an unusual kind")
            place = (value.data_ptr(), value.nbytes, *value.shape)
            if value.nbytes and place in places:
                continue  # an output head that is the embeddings: safetensors keep it once, too
            places.add(place)
            claimed += value.nbytes
            if claimed > self.size:
                raise UserError(
                    f"{self.path}: its tensors claim {claimed:,} bytes of {self.size:,}; refused"
                )
            tensors[name] = value.detach().contiguous()
        return tensors

    def _refused(self, what: str) -> UserError:
        return UserError(
            f"{self.path}: this pickle holds {what}, only tensors by name are read; "
            "save the model again with transformers or PEFT, which write safetensors"
        )

    def read(self, name: str) -> Tensor:
        """The tensor `name`, in its stored dtype, as new memory."""
        return self._tensors[name].clone()

    def read_rows(self, name: str, start: int, stop: int) -> Tensor:
        """Rows `start` to `stop` of the tensor seen as a matrix, as `read`."""
        tensor = self._tensors[name]
        return tensor.reshape(as_matrix(tuple(tensor.shape)))[start:stop].clone()

    def middle(self, name: str, count: int) -> bytes:
        """Up to `count` bytes from the middle of a tensor."""
        flat = self._tensors[name].reshape(-1).view(torch.uint8)
        start = max(0, (flat.numel() - count) // 2)
        return bytes(flat[start : start + count].numpy())
