"""Ways to spoil the files of a merge, by hand and by chance; each is a function of a folder.

The folder holds `base`, `shards` (the base in several files), the adapters `persona` and `agentic`
on it, and `recipe.yaml`, which merges the two. A function spoils some of it and may return options
for `mergelab.merge`.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch

Spoil = Callable[[Path], dict | None]

BASE, ADAPTER = "base/model.safetensors", "persona/adapter_model.safetensors"
CONFIG, SETTINGS = "base/config.json", "persona/adapter_config.json"
TOKENIZER, INDEX = "base/tokenizer.json", "shards/model.safetensors.index.json"
RECIPE = "recipe.yaml"
Q_PROJ = "layers.1.self_attn.q_proj"  # both adapters change it
CHANGED = f"model.{Q_PROJ}.weight"
MARKER = "code-was-run"

MODELS = """\
models:
  - {model: persona, parameters: {weight: 0.5}}
  - {model: agentic, parameters: {weight: 0.5}}
"""
GOOD = "merge_method: task_arithmetic\nbase_model: base\n" + MODELS

# What is to come of a case
REFUSED, COMPUTED = "is refused", "is computed"
EITHER = "is refused or computed"  # one bit anywhere may be seen, or not
FINITE = "is computed where all numbers are finite, else refused"


class Cases(dict[str, tuple[str, Spoil]]):
    """By name: what is to come of a case, and how to make it."""

    def add(self, outcome: str, name: str, spoil: Spoil) -> None:
        assert name not in self
        self[name] = outcome, spoil


def shown(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:50]} ... of {len(text)} letters"


# What a file can be replaced by


def written(name: str, content: bytes | str) -> Spoil:
    data = content.encode() if isinstance(content, str) else content

    def spoil(folder: Path) -> None:
        (folder / name).write_bytes(data)

    return spoil


def no_file(name: str, kind: str) -> Spoil:
    """Not a file, though its name says so."""

    def spoil(folder: Path) -> None:
        path = folder / name
        path.unlink(missing_ok=True)
        if kind == "a pipe":
            os.mkfifo(path)
        elif kind == "a folder":
            path.mkdir()
        elif kind == "a loop of links":
            path.symlink_to(path.name)
        elif kind == "a link to nothing":
            path.symlink_to("nothing")
        elif kind == "a device without end":
            path.symlink_to("/dev/zero")
        elif kind == "a terabyte of holes":
            with open(path, "wb") as file:
                file.truncate(10**12)

    return spoil


KINDS = (
    "a pipe", "a folder", "a loop of links", "a link to nothing", "a device without end",
    "a terabyte of holes",
)  # fmt: skip


def cut(name: str, seed: int) -> Spoil:
    def spoil(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: random.Random(seed).randrange(len(data))])

    return spoil


def start_of_data(path: Path) -> int:
    return 8 + struct.unpack("<Q", path.read_bytes()[:8])[0]


def flipped(name: str, seed: int, part: str = "whole") -> Spoil:
    """One bit the other way, in the whole of a file or a safetensors file's header or data."""

    def spoil(folder: Path) -> None:
        path = folder / name
        data = bytearray(path.read_bytes())
        low, high = 0, len(data)
        if part == "header":
            high = start_of_data(path)
        elif part == "data":
            low = start_of_data(path)
        bit = random.Random(seed).randrange(8 * low, 8 * high)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)

    return spoil


def json_edited(name: str, **changes: object) -> Spoil:
    """Values of a JSON file changed; json.dumps writes NaN and Infinity as readers take them."""

    def spoil(folder: Path) -> None:
        data = json.loads((folder / name).read_text())
        data.update(changes)
        (folder / name).write_text(json.dumps(data))

    return spoil


def text_edited(name: str, old: str, new: str) -> Spoil:
    def spoil(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return spoil


# Safetensors


def header_edited(name: str, edit: Callable[[dict], object], data: bytes = b"") -> Spoil:
    """The header of a safetensors file edited in place; `data` is added at the file's end."""

    def spoil(folder: Path) -> None:
        path = folder / name
        start = start_of_data(path)
        content = path.read_bytes()
        header = json.loads(content[8:start])
        header = edit(header) or header
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + content[start:] + data)

    return spoil


def entry(tensor: str | None = None, **changes: object) -> Callable[[dict], None]:
    """Changes to what a header says of one tensor, the first to be changed by an adapter."""

    def edit(header: dict) -> None:
        name = tensor or next(n for n in header if Q_PROJ in n)
        header[name].update(changes)

    return edit


def added(name: str, shape: list[int], size: int = 0) -> Callable[[dict], None]:
    """One more tensor, of `size` bytes behind all others."""

    def edit(header: dict) -> None:
        end = max(e["data_offsets"][1] for n, e in header.items() if n != "__metadata__")
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}

    return edit


def renamed(old: str, new: str) -> Callable[[dict], None]:
    def edit(header: dict) -> None:
        name = next(name for name in header if old in name)
        header[name.replace(old, new)] = header.pop(name)

    return edit


def claims(length: int) -> Spoil:
    """A header that says it is `length` bytes long."""

    def spoil(folder: Path) -> None:
        data = (folder / BASE).read_bytes()
        (folder / BASE).write_bytes(struct.pack("<Q", length) + data[8:])

    return spoil


def long_header(item: bytes) -> Spoil:
    """A header of 100 MB that repeats one item in a list."""

    def spoil(folder: Path) -> None:
        text = b'{"x":[' + item * (99_999_900 // len(item)) + b"0]}"
        (folder / BASE).write_bytes(struct.pack("<Q", len(text)) + text)

    return spoil


def moved(first: str, second: str) -> Callable[[dict], None]:
    """The bytes of one tensor claimed by another as well."""

    def edit(header: dict) -> None:
        names = [next(n for n in header if n.endswith(part)) for part in (first, second)]
        header[names[0]]["data_offsets"] = header[names[1]]["data_offsets"]

    return edit


def payload(name: str, value: float, place: int = 5) -> Spoil:
    """One number in the data of the first tensor that both adapters change."""

    def spoil(folder: Path) -> None:
        path = folder / name
        data = bytearray(path.read_bytes())
        header = json.loads(data[8 : start_of_data(path)])
        tensor = next(n for n in header if Q_PROJ in n)
        at = start_of_data(path) + header[tensor]["data_offsets"][0] + 4 * place
        data[at : at + 4] = struct.pack("<f", value)
        path.write_bytes(data)

    return spoil


def tensors(name: str, edit: Callable[[dict[str, torch.Tensor]], None]) -> Spoil:
    """The tensors of a file edited and saved again, whole."""
    from safetensors.torch import load_file, save_file

    def spoil(folder: Path) -> None:
        found = load_file(folder / name)
        edit(found)
        save_file({n: t.contiguous() for n, t in found.items()}, folder / name)

    return spoil


def factor(part: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Spoil:
    """One factor of the first adapter changed."""

    def edit(found: dict[str, torch.Tensor]) -> None:
        name = next(n for n in found if n.endswith(f"layers.1.self_attn.q_proj.lora_{part}.weight"))
        found[name] = change(found[name])

    return tensors(ADAPTER, edit)


# Shards and their index


def sharded(edit: Callable[[dict], object] = lambda index: None) -> Spoil:
    """The merge's base in shards, its index edited."""

    def spoil(folder: Path) -> None:
        text_edited(RECIPE, "base_model: base", "base_model: shards")(folder)
        for adapter in ("persona", "agentic"):
            json_edited(f"{adapter}/adapter_config.json", base_model_name_or_path="shards")(folder)
        index = json.loads((folder / INDEX).read_text())
        index = edit(index) or index
        (folder / INDEX).write_text(json.dumps(index))

    return spoil


def points_to(shard: object) -> Spoil:
    """An index in which one tensor lies in another file."""

    def edit(index: dict) -> None:
        index["weight_map"][CHANGED] = shard

    return sharded(edit)


def shard_of(index: dict) -> str:
    return index["weight_map"][CHANGED]


def in_shards(spoil_shard: Callable[[Path], object]) -> Spoil:
    """The merge's base in shards, one of them spoilt."""

    def spoil(folder: Path) -> None:
        sharded()(folder)
        spoil_shard(folder / "shards" / shard_of(json.loads((folder / INDEX).read_text())))

    return spoil


# Pickles


class Code:
    """Unpickled by the pickle module, it leaves a file behind."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / MARKER)

    def __reduce__(self) -> tuple:
        return open, (self.path, "w")


def pickled(
    spoil_pickle: Callable[[Path], object] = lambda path: None,
    *,
    allowed: bool = True,
    adapter: bool = False,
    content: Callable[[dict, Path], object] = lambda found, folder: found,
    how: Callable[[object, Path], None] = torch.save,
) -> Spoil:
    """Weights as a pickle of `content`, in place of the safetensors file."""
    from safetensors.torch import load_file

    def spoil(folder: Path) -> dict:
        source = folder / (ADAPTER if adapter else BASE)
        target = source.with_name("adapter_model.bin" if adapter else "pytorch_model.bin")
        how(content(load_file(source), folder), target)
        source.unlink()
        spoil_pickle(target)
        return {"allow_pickle": allowed}

    return spoil


def plainly(value: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(value))


def inflated(path: Path) -> None:
    """The archive compressed, with two gigabytes behind one of its tensors."""
    with zipfile.ZipFile(path) as archive:
        files = {item.filename: archive.read(item) for item in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in files.items():
            with archive.open(name, "w") as file:
                file.write(data)
                if "/data/" in name and name.endswith("/0"):
                    for _ in range(200):
                        file.write(bytes(10**7))


def without_memory(found: dict, _: Path) -> dict:
    return {**found, CHANGED: torch.zeros(1).expand(10**6, 10**6)}


def copied(path: Path, to: str) -> None:
    shutil.copyfile(path, path.parent / to)
