"""The commands do what they print, print JSON when asked, and answer mistakes in one line."""

import json
import os
import subprocess
import sys

import pytest
import yaml
from safetensors.torch import save_file
from tiny_models import weights

from mergelab import merge

MODELS = ("persona", "agentic")


@pytest.fixture
def recipe(tiny, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(tiny.recipe("ties", parameters={"density": 0.5})))
    return path


def test_merge_writes_the_model_and_prints_a_row_per_layer(run_cli, recipe, tmp_path):
    status, printed, errors = run_cli("merge", recipe, tmp_path / "out")
    assert (status, errors) == (0, "")
    expected = merge(recipe)
    assert all(t.equal(expected.tensors[n]) for n, t in weights(tmp_path / "out").items())
    total = expected.report.total()
    for word in ("layer 0", "layer 2", "trimmed", f"{total.conflicts:,}", f"{total.removed[0]:,}"):
        assert word in printed
    assert f"Next: mergelab evaluate {tmp_path / 'out'}" in printed.replace("\n", " ")


def test_merge_takes_seed_and_dtype(run_cli, tiny, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(tiny.recipe("dare_ties", parameters={"density": 0.5})))
    status, _, _ = run_cli(
        "merge", path, tmp_path / "out", "--seed", "7", "--dtype", "bfloat16", "--device", "cpu"
    )
    assert status == 0
    expected = merge(path, seed=7, dtype="bfloat16").tensors
    assert all(t.equal(expected[n]) for n, t in weights(tmp_path / "out").items())


def test_merge_prints_json(run_cli, recipe, tmp_path):
    status, printed, _ = run_cli("merge", recipe, tmp_path / "out", "--json")
    assert status == 0
    data = json.loads(printed)
    saved = json.loads((tmp_path / "out" / "merge_report.json").read_text())
    assert data["out"] == str(tmp_path / "out")
    assert data["report"]["total"] == saved["total"]


def test_json_has_no_nan_where_an_angle_is_undefined(run_cli, tiny, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(tiny.recipe("ties", "persona")))
    status, printed, _ = run_cli("merge", path, tmp_path / "out", "--json")
    assert status == 0

    def refuse(constant):
        raise AssertionError(constant)

    assert json.loads(printed, parse_constant=refuse)["report"]["total"]["angle"] is None


def test_notes_are_printed(run_cli, tiny, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(tiny.recipe("ties", parameters={"int8_mask": True})))
    _, printed, _ = run_cli("merge", path, tmp_path / "out")
    assert "Note: parameters.int8_mask" in printed
    assert "Note: density is 1" in printed


def test_inspect_prints_shares_cosines_norms_and_the_advice(run_cli, tiny):
    status, printed, errors = run_cli("inspect", *(tiny.root / name for name in MODELS))
    assert (status, errors) == (0, "")
    for word in (
        "none",
        "opposite",
        "cosine",
        "layer 1",
        "total",
        "Try first:",
        "Why:",
        "Take care:",
    ):
        assert word in printed


def test_inspect_prints_json_and_takes_a_base_and_a_share(run_cli, tiny):
    status, printed, _ = run_cli(
        "inspect", tiny.first, tiny.second, "--base", tiny.base, "--top", "0.4", "--json"
    )
    assert status == 0
    data = json.loads(printed)
    assert data["top"] == 0.4
    assert data["models"] == ["first", "second"]
    kinds = ("untouched", "one_only", "same_sign", "opposite_sign")
    assert sum(data["total"][kind] for kind in kinds) == pytest.approx(1.0)


def test_chat_answers_each_line_it_is_given(run_cli, tiny, monkeypatch):
    lines = iter(["w1 w2", "w3", ""])
    monkeypatch.setattr("builtins.input", lambda _="": next(lines))
    status, printed, errors = run_cli("chat", tiny.persona, "--max-tokens", "4")
    assert (status, errors) == (0, "")
    assert len(printed.splitlines()) == 2


def test_chat_ends_with_the_input(run_cli, tiny, monkeypatch):
    def end(_=""):
        raise EOFError

    monkeypatch.setattr("builtins.input", end)
    assert run_cli("chat", tiny.base)[0] == 0


def test_json_has_no_nan_where_the_base_is_zero(run_cli, tiny, tmp_path):
    base = tiny.copy("base", tmp_path / "base")
    tensors = weights(base)
    save_file(
        {name: tensor * (".0." not in name) for name, tensor in tensors.items()},
        base / "model.safetensors",
        metadata={"format": "pt"},
    )
    status, printed, _ = run_cli("inspect", tiny.first, tiny.second, "--base", base, "--json")
    assert status == 0

    def refuse(constant):
        raise AssertionError(constant)

    layers = json.loads(printed, parse_constant=refuse)["layers"]
    assert {row["label"]: row["relative_norms"] for row in layers}["layer 0"] == [None, None]


def test_inspecting_full_models_without_a_base_asks_for_it(run_cli, tiny):
    status, printed, errors = run_cli("inspect", tiny.first, tiny.second)
    assert (status, printed, errors.count("\n")) == (2, "", 1)
    assert "--base" in errors


def test_tables_refuses_a_file_as_its_folder_before_it_starts(run_cli, tmp_path):
    (tmp_path / "file").write_text("mine")
    status, printed, errors = run_cli("tables", "--out", tmp_path / "file")
    assert (status, printed, errors.count("\n")) == (2, "", 1)
    assert "file: cannot be created" in errors


def test_ctrl_c_is_one_line(run_cli, tiny, monkeypatch):
    def interrupt(_=""):
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", interrupt)
    assert run_cli("chat", tiny.base) == (
        130,
        "",
        "error: interrupted; nothing half-written is left\n",
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mrge"], "'merge'"),
        (["merge"], "'recipe'"),
        (["merge", "a.yaml"], "'out'"),
        (["merge", "a.yaml", "out", "--sed", "1"], "--sed"),
        (["merge", "a.yaml", "out", "--seed", "one"], "--seed"),
        (["merge", "a.yaml", "out", "--seed", "-1"], "--seed"),
        (["merge", "a.yaml", "out", "--dtype", "bf16"], "--dtype bf16: use float32"),
        (["merge", "nowhere.yaml", "out"], "nowhere.yaml: cannot be read"),
        (["inspect"], "models"),
        (["inspect", "nowhere"], "at least two"),
        (["inspect", "nowhere", "neither"], "'nowhere': no such folder"),
        (["inspect", "a", "b", "--top", "7"], "top"),
        (["inspect", "a", "b", "a"], "named twice"),
        (["inspect", "x" * 5000, "b"], "no such folder"),
        (["inspect", "~nobody-of-this-name/a", "b"], "no such folder"),
        (["chat", "./nowhere"], "'./nowhere': no such folder"),
        (["chat", "./nowhere", "--max-tokens", "0"], "--max-tokens"),
        (["evaluate", "./nowhere"], "'./nowhere': no such folder"),
        (["evaluate", "./nowhere", "--limit", "0"], "--limit"),
        (["evaluate", "./nowhere", "--skills", "persona,digset"], "unknown skill 'digset'; known"),
        (["evaluate", "./nowhere", "--skills", ","], "no skills to evaluate"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_with_status_2(run_cli, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    status, printed, errors = run_cli(*arguments)
    assert status == 2
    assert printed == ""
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert words in errors
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_split_is_one_line(run_cli, tiny):
    status, _, errors = run_cli("evaluate", tiny.base, "--split", "train")
    assert status == 2
    assert errors.count("\n") == 1
    assert "train" in errors


def test_a_defect_of_the_program_is_not_hidden_as_bad_input(run_cli, recipe, tmp_path, monkeypatch):
    import mergelab.cli

    def broken(*_, **__):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("mergelab.engine.merge", broken)
    monkeypatch.setattr("sys.argv", ["mergelab", "merge", str(recipe), str(tmp_path / "out")])
    monkeypatch.setattr(mergelab.cli, "entry_points", lambda **_: ())
    with pytest.raises(ZeroDivisionError):
        mergelab.cli.main()


def test_help_names_every_command_and_its_example(run_cli):
    status, printed, _ = run_cli("--help")
    assert status == 0
    for command in ("merge", "inspect", "evaluate", "chat"):
        assert command in printed
        assert "Example" in run_cli(command, "--help")[1]


def test_commands_of_other_packages_are_plugged_in(monkeypatch, capsys, keep_signals):
    import mergelab.cli

    class Plugged:
        name = "greet"

        @staticmethod
        def load():
            def greet(name: str) -> None:
                """Say hello."""
                print(f"hello {name}")

            return greet

    registered = list(mergelab.cli.app.registered_commands)
    monkeypatch.setattr(mergelab.cli, "entry_points", lambda group: [Plugged])
    monkeypatch.setattr("sys.argv", ["mergelab", "greet", "you"])
    with pytest.raises(SystemExit) as ended:
        mergelab.cli.main()
    mergelab.cli.app.registered_commands[:] = registered
    assert not ended.value.code
    assert capsys.readouterr().out == "hello you\n"


def installed(*arguments, **options):
    """The console script beside this Python."""
    script = os.path.join(os.path.dirname(sys.executable), "mergelab")
    return subprocess.run([script, *map(str, arguments)], capture_output=True, text=True, **options)


def test_the_installed_command_merges_and_answers_mistakes(recipe, tmp_path):
    done = installed("merge", recipe, tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert weights(tmp_path / "out")
    again = installed("merge", recipe, tmp_path / "out")
    assert again.returncode == 2
    assert (
        again.stderr
        == f"error: {tmp_path / 'out'}: exists already; choose another name or remove it first\n"
    )
    assert again.stdout == ""


def test_piped_text_need_not_be_utf8(tiny):
    program = "import mergelab.cli; mergelab.cli.main()"
    command = [sys.executable, "-c", program, "chat", tiny.base, "--max-tokens", "2"]
    for locale in ("C.UTF-8", "POSIX"):
        environment = {**os.environ, "LC_ALL": locale, "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, input=b"w1 caf\xe9\n", capture_output=True, env=environment)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.count(b"\n") == 1


def test_the_installed_command_knows_its_version():
    from importlib.metadata import version

    assert installed("--version").stdout == f"mergelab {version('mergelab')}\n"


def test_help_answers_without_loading_torch():
    code = (
        "import sys, mergelab.cli\n"
        "sys.argv = ['mergelab', '--help']\n"
        "try: mergelab.cli.main()\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_leaves_early_is_no_defect(tiny):
    script = os.path.join(os.path.dirname(sys.executable), "mergelab")
    command = f"{script} inspect {tiny.persona} {tiny.agentic} | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert "Interference" in done.stdout
