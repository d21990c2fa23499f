"""The build: it runs, it is repeatable, and it never leaves half a result."""

import shutil
from pathlib import Path

import pytest

from mergelab.errors import UserError
from mergelab.paths import data_path
from mergelab.zoo import build as building
from mergelab.zoo.__main__ import main
from mergelab.zoo.build import build
from mergelab.zoo.models import ADAPTERS, BASE_SCHEDULE, build_adapter, build_base
from mergelab.zoo.tokenizer import save_tokenizer, train_tokenizer

pytestmark = pytest.mark.slow


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.usefixtures("keep_signals")
def test_a_short_training_of_base_and_adapters_can_be_repeated_byte_by_byte(tmp_path, monkeypatch):
    pair = ADAPTERS[:2]
    monkeypatch.setattr(building, "ADAPTERS", pair)
    assert main(["base", "--training-steps", "2", "--out", str(tmp_path / "data")]) == 0
    made = _contents(tmp_path / "data")
    assert {"models/base/model.safetensors", "models/base/README.md"} <= made.keys()
    for adapter in pair:
        assert f"adapters/{adapter.name}/adapter_model.safetensors" in made
        assert adapter.name in made[f"adapters/{adapter.name}/README.md"].decode()

    base, again = tmp_path / "again" / "models" / "base", tmp_path / "again"
    save_tokenizer(train_tokenizer(building.tokenizer_text()), base)
    build_base(base, report=print, schedule=BASE_SCHEDULE.shortened(2))
    name = pair[0].name
    build_adapter(pair[0].shortened(2), base, again / "adapters" / name, report=print)
    repeated = {path: text for path, text in _contents(again).items() if "README" not in path}
    assert len(repeated) == 8
    assert repeated == {path: made[path] for path in repeated}


def test_suites_are_built_alone_and_replace_what_was_there(tmp_path):
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "old.jsonl").write_text("old")
    build(["suites"], tmp_path)
    names = {path.name for path in (tmp_path / "suites").iterdir()}
    assert names == {
        f"{s}_{p}.jsonl" for s in ("persona", "agentic", "digest") for p in ("dev", "test")
    }
    assert [path.name for path in tmp_path.iterdir()] == ["suites"]


def test_a_build_that_fails_leaves_the_old_data_as_it_was(tmp_path, monkeypatch):
    build(["suites"], tmp_path)
    before = _contents(tmp_path)

    def fail(skill, split):
        raise RuntimeError("out of disk")

    monkeypatch.setattr(building, "suite_text", fail)
    with pytest.raises(RuntimeError):
        build(["suites"], tmp_path)
    assert _contents(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["suites"]


@pytest.mark.usefixtures("keep_signals")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["suits"], "unknown step 'suits'; the steps are suites, base, adapters"),
        (["adapters"], "no base model to train adapters on; add the step `base`"),
        (["base", "--training-steps", "0"], "train at least 1 step"),
        (["adapters", "--only", "task_api_digset"], "unknown adapter 'task_api_digset'; the adap"),
        (["base", "--only", "task_api_digest"], "trained on the base as it is: use the step `ada"),
        (["suites", "--only", "task_api_digest"], "use the step `adapters`"),
    ],
)
def test_a_wrong_command_ends_with_one_line_and_status_2(tmp_path, capsys, arguments, words):
    assert main([*arguments, "--out", str(tmp_path / "data")]) == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1


def test_an_unknown_step_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(UserError):
        build(["base", "bases"], tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.usefixtures("keep_signals")
def test_adapters_named_by_only_are_trained_and_the_others_stay(tmp_path):
    shutil.copytree(data_path("models", "base"), tmp_path / "models" / "base")
    old = tmp_path / "adapters" / "task_api_persona" / "adapter_model.safetensors"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"as it was")
    names = ["task_api_digest", "task_api_agentic_own05"]
    only = ["--only", *names, "--training-steps", "1", "--out", str(tmp_path)]
    assert main(["adapters", *only]) == 0
    assert old.read_bytes() == b"as it was"
    made = {path.name for path in (tmp_path / "adapters").iterdir()}
    assert made == {*names, "task_api_persona"}
    card = (tmp_path / "adapters" / "task_api_digest" / "README.md").read_text("utf-8")
    assert "| tasks to sum up | with a digest |" in card
