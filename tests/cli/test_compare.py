"""`mergelab compare`: one table, one conclusion, files whole or not at all, mistakes at once."""

import csv
import json

import pytest
import yaml
from tiny_models import weights

from mergelab.paths import data_path


@pytest.fixture
def recipe(tiny, tmp_path):
    path = tmp_path / "merge.yaml"
    path.write_text(yaml.safe_dump(tiny.recipe("ties", parameters={"density": 0.5})))
    return path


def test_compare_ranks_keeps_the_items_and_the_winner(run_cli, tmp_path):
    shipped = [data_path("recipes", f"{name}.yaml") for name in ("linear", "ties")]
    kept, folder = tmp_path / "kept", tmp_path / "folder"
    status, printed, errors = run_cli(
        "compare", *shipped, "--limit", "12", "--best", kept, "--out", folder
    )
    assert (status, errors) == (0, "")
    for words in ("lead of", "combined", "dev split, 12 items", "is kept in", "chosen on dev"):
        assert words in printed
    assert "linear baseline" not in printed
    with (folder / "items.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2 * 2 * 12
    best = json.loads((folder / "summary.json").read_text())["rows"][0]
    assert (
        yaml.safe_load((kept / "mergelab_recipe.yaml").read_text())["merge_method"]
        == (best["method"])
    )
    run_cli("merge", data_path("recipes", f"{best['name']}.yaml"), tmp_path / "again")
    again = weights(tmp_path / "again")
    assert all(tensor.equal(again[name]) for name, tensor in weights(kept).items())


def test_compare_prints_json_and_says_what_it_added(run_cli, recipe):
    status, printed, errors = run_cli(
        "compare", recipe, "--limit", "2", "--skills", "digest", "--split", "test", "--json"
    )
    assert (status, errors) == (0, "")
    data = json.loads(printed)
    assert [row["name"] for row in data["rows"]] == ["merge", "linear baseline"]
    assert data["rows"][1]["behind"]["more_than_noise"] is False
    assert list(data["rows"][0]["skills"]) == ["digest"]
    assert data["rows"][0]["split"] == "test"
    assert data["notes"] == ["linear baseline: added, the plain average of the same models"]


def test_full_models_are_compared_and_a_noisy_winner_is_kept_with_a_word(run_cli, tiny, tmp_path):
    path = tmp_path / "full.yaml"
    path.write_text(yaml.safe_dump(tiny.recipe("slerp", "first", "second")))
    status, printed, _ = run_cli("compare", path, "--limit", "2", "--best", tmp_path / "kept")
    assert status == 0
    assert "though its lead over linear baseline is within noise" in printed
    assert (tmp_path / "kept" / "model.safetensors").exists()


def test_random_drops_are_pointed_out(run_cli, tiny, tmp_path):
    path = tmp_path / "dare.yaml"
    path.write_text(yaml.safe_dump(tiny.recipe("dare_linear", parameters={"density": 0.5})))
    _, printed, _ = run_cli("compare", path, "--limit", "1", "--skills", "persona")
    assert "dare: one draw of the random numbers" in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "recipes"),
        (["nowhere.yaml"], "nowhere.yaml: cannot be read"),
        (["merge.yaml", "bad.yaml"], "bad.yaml"),
        (["merge.yaml", "--skills", "persona,digset"], "unknown skill 'digset'"),
        (["merge.yaml", "--split", "train"], "unknown split 'train'"),
        (["merge.yaml", "--limit", "0"], "--limit"),
        (["merge.yaml", "--best", "merge.yaml"], "exists already"),
        (["merge.yaml", "--out", "merge.yaml"], "exists already"),
        (["merge.yaml", "--out", "new", "--best", "new"], "write two folders"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_before_anything_is_merged(
    run_cli, recipe, tmp_path, monkeypatch, arguments, words
):
    from mergelab.evaluation.candidates import Candidate

    def refuse(self, **_):
        raise AssertionError("merged before every recipe was checked")

    monkeypatch.setattr(Candidate, "load", refuse)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text("merge_method: tise\nmodels: [{model: a}]\n")
    status, printed, errors = run_cli("compare", *arguments)
    assert (status, printed) == (2, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert words in errors
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.yaml", "merge.yaml"]
