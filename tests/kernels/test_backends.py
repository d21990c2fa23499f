"""Which backend does the inner loops: what is asked for by name, or what is there and pays."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tiny_models import weights

import mergelab
from mergelab import merge
from mergelab.engine import run as engine_run
from mergelab.errors import UserError
from mergelab.kernels import BACKENDS, choose
from mergelab.kernels.backends import WORTH_COMPILING


@pytest.fixture
def no_numba(monkeypatch):
    """As on a machine without it."""
    monkeypatch.setitem(sys.modules, "numba", None)
    for name in ("mergelab.kernels.cpu", "mergelab.kernels.cpu_loops"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.delattr(name, raising=False)


def test_a_backend_is_chosen_by_name_however_little_there_is_to_do():
    assert choose("torch", entries=10**12).name == "torch"
    assert choose("cpu", entries=0).name == "cpu"


def test_auto_compiles_where_it_pays():
    assert choose("auto", entries=WORTH_COMPILING).name == "cpu"
    assert choose("auto", entries=WORTH_COMPILING - 1).name == "torch"
    assert choose("auto", device="cuda", entries=WORTH_COMPILING).name == "torch"


def test_tritons_interpreter_is_known_for_what_it_is(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert choose("triton").interpreted
    monkeypatch.delenv("TRITON_INTERPRET")
    for backend in (choose("triton", device="cuda"), choose("cpu"), choose("torch")):
        assert backend.interpreted is False
    assert choose("cpu").entrywise


def test_the_interpreter_gets_one_tensor_at_a_time(monkeypatch, tmp_path):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    seen = []
    run = engine_run.Run.__init__
    monkeypatch.setattr(
        engine_run.Run,
        "__init__",
        lambda self, plan, setting, workers, *rest: (
            seen.append(workers) or run(self, plan, setting, workers, *rest)
        ),
    )
    recipe = {"merge_method": "linear", "models": [{"model": "task_api_persona"}]}
    merge(recipe, backend="triton", workers=4)
    merge(recipe, backend="torch", workers=4)
    merge(recipe, backend="cpu", workers=4)
    assert seen == [1, 4, 4]


def test_auto_falls_back_where_numba_is_missing(no_numba):
    assert choose("auto", entries=WORTH_COMPILING).name == "torch"


def test_numba_by_name_is_refused_where_it_is_missing(no_numba, tiny):
    with pytest.raises(ValueError, match=r"backend cpu needs numba.*pip install"):
        choose("cpu")
    with pytest.raises(UserError, match=r"backend cpu needs numba.*pip install"):
        merge(tiny.recipe("linear"), backend="cpu")


def test_an_unknown_backend_is_refused_with_those_there_are(tiny):
    with pytest.raises(ValueError, match=f"one of {', '.join(BACKENDS)}, got 'cuda'"):
        choose("cuda")
    with pytest.raises(UserError, match="got 'cuda'"):
        merge(tiny.recipe("linear"), backend="cuda")


def test_the_compiled_loops_run_on_the_cpu_only():
    with pytest.raises(ValueError, match="backend cpu does not run on cuda"):
        choose("cpu", device="cuda")


@pytest.mark.parametrize("method", ["linear", "ties", "dare_ties", "breadcrumbs_ties", "slerp"])
def test_backends_write_the_same_bytes(tiny, method):
    parameters = {} if method in ("linear", "slerp") else {"density": 0.4}
    recipe = tiny.recipe(method, parameters=parameters)
    first, second = (merge(recipe, seed=3, backend=name).tensors for name in ("torch", "cpu"))
    assert all(tensor.equal(second[name]) for name, tensor in first.items())


@pytest.mark.slow
def test_where_nothing_can_be_kept_on_disk_the_loops_are_compiled_for_this_run(tiny, tmp_path):
    """Installed where one may not write, run by a user without a home."""
    package = tmp_path / "site" / "mergelab"
    ignored = shutil.ignore_patterns("__pycache__", "data")
    shutil.copytree(Path(mergelab.__file__).parent, package, ignore=ignored)
    (package / "kernels" / "__pycache__").write_text("a file, so that no folder can be made")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tiny.recipe("linear")))
    code = (
        "import sys, mergelab; print(mergelab.__file__); "
        "mergelab.merge(*sys.argv[1:], backend='cpu')"
    )
    command = [sys.executable, "-c", code, tmp_path / "recipe.yaml", tmp_path / "out"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA", "XDG"))}
    environment |= {"PYTHONPATH": str(package.parent), "HOME": "/dev/null"}
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == str(package / "__init__.py")
    expected = merge(tiny.recipe("linear")).tensors
    written = weights(tmp_path / "out")
    assert all(tensor.equal(written[name]) for name, tensor in expected.items())
