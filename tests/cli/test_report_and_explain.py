"""The commands about a finished merge: its report once more, and the way of one weight."""

import json

import pytest
import yaml
from tiny_models import edit_json

ENTRY = "model.layers.1.mlp.up_proj.weight[3, 4]"


@pytest.fixture
def out(run_cli, tiny, tmp_path):
    """A merge made by the command, and what it printed."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(tiny.recipe("ties", parameters={"density": 0.5})))
    status, printed, _ = run_cli("merge", recipe, tmp_path / "out")
    assert status == 0
    (tmp_path / "printed").write_text(printed)
    return tmp_path / "out"


def table(printed):
    return [line for line in printed.splitlines() if line[:1] in "┏┃┡│├└"]


def test_report_prints_the_table_of_the_merge_again(run_cli, out):
    status, printed, errors = run_cli("report", out)
    assert (status, errors) == (0, "")
    assert table(printed) == table((out.parent / "printed").read_text()) != []
    saved = json.loads((out / "merge_report.json").read_text())
    assert f"Parameters: {saved['parameters']['total']:,}" in printed
    assert "Time: " in printed


def test_report_has_a_row_for_each_tensor_if_asked(run_cli, out):
    _, printed, _ = run_cli("report", out, "--tensors")
    saved = json.loads((out / "merge_report.json").read_text())
    assert all(tensor["name"] in printed for tensor in saved["tensors"])


def test_report_prints_json(run_cli, out):
    status, printed, _ = run_cli("report", out, "--json")
    assert status == 0
    assert json.loads(printed) == json.loads((out / "merge_report.json").read_text())


def test_report_writes_a_page_beside_the_model_or_where_it_is_told_to(run_cli, out, tmp_path):
    status, printed, errors = run_cli("report", out, "--html")
    assert (status, printed, errors) == (0, f"Written to {out / 'merge_report.html'}\n", "")
    run_cli("report", out, "--html", tmp_path / "page.html")
    assert (tmp_path / "page.html").read_bytes() == (out / "merge_report.html").read_bytes()
    assert "Trimmed by layer" in (tmp_path / "page.html").read_text()


def test_explain_prints_the_steps_of_one_weight(run_cli, out):
    status, printed, errors = run_cli("explain", out, ENTRY)
    assert (status, errors) == (0, "")
    for word in (ENTRY, "base", "changes", "trim", "vote", "mean", "the same, bit for bit"):
        assert word in printed


def test_explain_prints_json(run_cli, out):
    status, printed, _ = run_cli("explain", out, ENTRY, "--json")
    assert status == 0
    found = json.loads(printed)
    assert found["weight"] == ENTRY
    assert found["belongs"] is True
    assert found["steps"][0]["step"] == "base"


def test_explain_ends_with_1_where_the_output_no_longer_belongs_to_its_sources(
    run_cli, tiny, tmp_path
):
    recipe = tmp_path / "recipe.yaml"
    adapter = tiny.copy("persona", tmp_path / "adapter")
    written = {"merge_method": "ties", "models": [{"model": "adapter"}]}
    recipe.write_text(yaml.safe_dump({**written, "base_model": str(tiny.base)}))
    run_cli("merge", recipe, tmp_path / "far" / "out")
    assert run_cli("explain", tmp_path / "far" / "out", ENTRY, "--folder", tmp_path)[0] == 0
    edit_json(adapter / "adapter_config.json", lora_alpha=3)
    status, printed, _ = run_cli("explain", tmp_path / "far" / "out", ENTRY, "--folder", tmp_path)
    assert status == 1
    assert "no longer" in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["report"], "'out'"),
        (["report", "nowhere"], "merge_report.json: cannot be read"),
        (["report", "nowhere", "page.html"], "write --html"),
        (["report", "nowhere", "page.txt", "--html"], "ends in .html"),
        (["explain", "nowhere"], "'weight'"),
        (["explain", "nowhere", "x[0]"], "merge_report.json: cannot be read"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_with_status_2(run_cli, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    status, printed, errors = run_cli(*arguments)
    assert (status, printed) == (2, "")
    assert errors.startswith("error: ") and errors.count("\n") == 1
    assert words in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["report", "explain"])
def test_help_shows_an_example(run_cli, command):
    status, printed, _ = run_cli(command, "--help")
    assert status == 0
    assert f"Example: mergelab {command} merged" in " ".join(printed.replace("`", "").split())
