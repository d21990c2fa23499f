"""Pickled weights are read when asked for, as safetensors are; anything but tensors is refused."""

import json
import os
import shutil
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import llama, save_model

from mergelab.checkpoints import Adapter, Checkpoint, References
from mergelab.checkpoints.loading import load_model
from mergelab.checkpoints.pickled_file import PickledFile
from mergelab.errors import UserError
from mergelab.kernels.operands import dense


def pickled(folder, to, name="model.safetensors", pickle="pytorch_model.bin", **how):
    """A copy of a model whose weights are pickled."""
    shutil.copytree(folder, to)
    torch.save(load_file(to / name), to / pickle, **how)
    (to / name).unlink()
    return to


@pytest.mark.parametrize("zipped", [True, False], ids=["archive", "before PyTorch 1.6"])
def test_a_pickled_model_is_the_same_model(tiny, tmp_path, zipped):
    folder = pickled(tiny.base, tmp_path / "a", _use_new_zipfile_serialization=zipped)
    safe, model = Checkpoint(tiny.base), Checkpoint(folder, allow_pickle=True)
    assert set(model.names) == set(safe.names)
    assert model.fingerprint == safe.fingerprint
    assert model.dtype == torch.float32
    for name in safe.names:
        assert model.entry(name).shape == safe.entry(name).shape
        assert model.entry(name).nbytes == safe.entry(name).nbytes
        assert model.read(name).equal(safe.read(name))
        assert dense(model.operand(name)).equal(safe.read(name))
    name = "model.layers.0.mlp.up_proj.weight"
    assert model.read_rows(name, 3, 9).equal(safe.read_rows(name, 3, 9))
    model.read(name).zero_()
    assert model.read(name).equal(safe.read(name))


def test_pickled_shards_are_read_through_their_index(tiny, tmp_path):
    folder = shutil.copytree(tiny.base, tmp_path / "a")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"pytorch_model-1.bin": names[::2], "pytorch_model-2.bin": names[1::2]}
    for file, held in parts.items():
        torch.save({name: tensors[name] for name in held}, folder / file)
    weight_map = {name: file for file, held in parts.items() for name in held}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    model = Checkpoint(folder, allow_pickle=True)
    assert all(model.read(name).equal(tensors[name]) for name in names)
    with pytest.raises(UserError, match="--allow-pickle"):
        Checkpoint(folder)


def test_a_pickled_adapter_is_the_same_adapter(tiny, tmp_path):
    names = ("adapter_model.safetensors", "adapter_model.bin")
    folder = pickled(tiny.persona, tmp_path / "a", *names)
    with pytest.raises(UserError, match="--allow-pickle"):
        Adapter(folder)
    adapter, safe = Adapter(folder, allow_pickle=True), Adapter(tiny.persona)
    assert adapter.fingerprint == safe.fingerprint
    base = Checkpoint(tiny.base)
    for name in safe.names:
        assert dense(adapter.task_vector(name, base)).equal(dense(safe.task_vector(name, base)))


def test_references_pass_the_permission_on(tiny, tmp_path):
    model = pickled(tiny.base, tmp_path / "model")
    names = ("adapter_model.safetensors", "adapter_model.bin")
    adapter = pickled(tiny.persona, tmp_path / "adapter", *names)
    with pytest.raises(UserError, match="--allow-pickle"):
        References().source(f"{model}+{adapter}")
    source = References(allow_pickle=True).source(f"{model}+{adapter}")
    assert (source.base.path, source.adapter.path) == (model, adapter)
    loaded, _ = load_model(str(model), allow_pickle=True)
    assert loaded.lm_head.weight.equal(Checkpoint(tiny.base).read("lm_head.weight"))


def test_safetensors_go_before_pickles(tiny, tmp_path):
    folder = tiny.copy("base", tmp_path / "a")
    (folder / "pytorch_model.bin").write_bytes(b"no pickle")
    assert Checkpoint(folder, allow_pickle=True).names == Checkpoint(tiny.base).names


def test_a_shared_head_is_listed_once_as_in_safetensors(tmp_path):
    model = llama(1, tied=True)
    folder = save_model(model, tmp_path / "tied")
    safe = Checkpoint(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert set(Checkpoint(folder, allow_pickle=True).names) == set(safe.names)


def test_what_transformers_and_lightning_add_to_a_state_dict_does_no_harm(tmp_path):
    state = OrderedDict(a=torch.nn.Parameter(torch.ones(2, 3)))
    state["b"] = torch.arange(6.0).reshape(2, 3).T
    state._metadata = {"": {"version": 1}}
    torch.save(state, tmp_path / "x.bin")
    file = PickledFile(tmp_path / "x.bin")
    assert type(file.read("a")) is torch.Tensor
    assert file.read("b").equal(state["b"])
    assert file.read_rows("b", 1, 2).equal(torch.tensor([[1.0, 4.0]]))


class Attack:
    """Runs a command when unpickled the ordinary way."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("inside", [True, False], ids=["beside tensors", "instead of them"])
def test_code_in_a_pickle_is_not_run(tmp_path, inside, zipped):
    attack = Attack(f"touch '{tmp_path}/ran'")
    content = {"a": torch.ones(2), "b": attack} if inside else attack
    torch.save(content, tmp_path / "x.bin", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match="holds something that is no tensor"):
        PickledFile(tmp_path / "x.bin")
    assert not (tmp_path / "ran").exists()


CONTENTS = {
    "a number": ({"a": torch.ones(2), "epoch": 3}, r"'epoch' \(int\)"),
    "a nested state": ({"state_dict": {"a": torch.ones(2)}}, r"'state_dict' \(dict\)"),
    "a list": ([torch.ones(2)], "holds a list"),
    "a tensor": (torch.ones(2), "holds a Tensor"),
    "numbered tensors": ({0: torch.ones(2)}, r"'0' \(Tensor\)"),
    "a sparse tensor": ({"a": torch.eye(3).to_sparse()}, "unusual kind"),
    "complex numbers": ({"a": torch.ones(2, dtype=torch.complex64)}, "unusual kind"),
    "a tensor without values": ({"a": torch.empty(9, device="meta")}, "unusual kind"),
    "a tensor larger than its file": ({"a": torch.ones(1).expand(2**40)}, "claim 4,398"),
    "many views of one": (
        {f"a{i}": torch.ones(1000).expand(8 + i, 1000) for i in range(9)},
        "claim",
    ),
}


@pytest.mark.parametrize(("content", "words"), CONTENTS.values(), ids=CONTENTS.keys())
def test_anything_but_tensors_by_name_is_named(tmp_path, content, words):
    torch.save(content, tmp_path / "x.bin")
    with pytest.raises(UserError, match=words) as refused:
        PickledFile(tmp_path / "x.bin")
    assert "x.bin" in str(refused.value)


@pytest.mark.parametrize("cut", [0, 1, 100, 0.5, 0.9, -1])
def test_a_file_cut_short_is_named(tmp_path, cut):
    torch.save({"a": torch.ones(100, 100)}, tmp_path / "x.bin")
    content = (tmp_path / "x.bin").read_bytes()
    end = int(cut * len(content)) if isinstance(cut, float) else cut
    (tmp_path / "x.bin").write_bytes(content[:end])
    with pytest.raises(UserError, match=r"x\.bin"):
        PickledFile(tmp_path / "x.bin")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gone\.bin: cannot be read"):
        PickledFile(tmp_path / "gone.bin")
