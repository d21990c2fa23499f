"""What every test relies on: no network, one thread, repeatable properties, none left out in CI."""

import os
import signal
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
from hypothesis import HealthCheck, settings
from nothing_left_out import pytest_configure  # noqa: F401  (a hook)

settings.register_profile(
    "repeatable",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Unless GPUs are tested Triton interprets its kernels; it decides when it is imported."""
    if "gpu" not in session.config.option.markexpr.replace("not gpu", ""):
        os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Workers share the processor, and sums in one thread are the same everywhere."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def keep_signals():
    """The command line sets a handler for SIGTERM; a test that runs it in-process puts it back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory):
    """A tiny base with a tokenizer, two full fine-tunes and two LoRA adapters of it."""
    from tiny_models import Tiny

    return Tiny.build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def run_cli(keep_signals, capfd, monkeypatch):
    """Run `mergelab ARGS` in this process; gives exit status, stdout and stderr."""
    import mergelab.cli

    monkeypatch.setenv("COLUMNS", "160")

    def run(*args: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["mergelab", *map(str, args)])
        monkeypatch.setattr(mergelab.cli, "entry_points", lambda **_: ())
        with pytest.raises(SystemExit) as ended:
            mergelab.cli.main()
        captured = capfd.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run
