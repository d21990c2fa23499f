"""`mergelab tune`: the tuned recipe in one folder, mistakes at once, a kill costs one trial."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml
from tiny_models import weights

from mergelab.paths import data_path

pytestmark = pytest.mark.slow

QUICK = ("--limit", "2", "--trials", "4")


@pytest.fixture
def recipe(tiny, tmp_path):
    """A recipe beside its models, which it names by relative paths."""
    for name in ("base", "persona", "agentic"):
        tiny.copy(name, tmp_path / name)
    path = tmp_path / "merge.yaml"
    said = {
        "merge_method": "ties",
        "base_model": "base",
        "models": [{"model": "persona"}, {"model": "agentic", "parameters": {"density": 0.5}}],
    }
    path.write_text(yaml.safe_dump(said))
    return path


def test_tune_finds_a_better_recipe_and_says_so(run_cli, tmp_path):
    poor = yaml.safe_load(data_path("recipes", "task_arithmetic.yaml").read_text())
    poor["parameters"]["lambda"] = 0.05  # leaves the base nearly as it was
    path, out = tmp_path / "poor.yaml", tmp_path / "out"
    path.write_text(yaml.safe_dump(poor))
    ranges = ("--range", "share=0.5", "--range", "lambda=0.05:0.85")
    command = ("tune", path, "--out", out, "--trials", "3", "--limit", "8", "--search", "grid")
    command += ranges
    status, printed, errors = run_cli(*command)
    assert (status, errors) == (0, "")
    for words in ("as given", "tuned: trial", "test split, 8 items a skill", "more than noise"):
        assert words in printed
    assert sorted(file.name for file in out.iterdir()) == [
        "best.yaml", "front.png", "search.db", "summary.json", "trials.csv"
    ]  # fmt: skip
    status, again, _ = run_cli(*command)
    assert status == 0
    first, rest = again.split("\n", 1)
    assert first == f"{out} holds this search, finished. It found:"
    assert rest == printed
    status, as_json, _ = run_cli(*command, "--json")
    assert json.loads(as_json)["gain"]["more_than_noise"] is True
    with (out / "trials.csv").open(newline="") as file:
        rows = {row["trial"]: row for row in csv.DictReader(file)}
    best = max(rows.values(), key=lambda row: float(row["combined"]))
    assert f"tuned: trial {best['trial']}" in printed
    assert best["on_front"] == "yes"
    assert run_cli("merge", out / "best.yaml", tmp_path / "merged")[0] == 0
    lam = yaml.safe_load((out / "best.yaml").read_text())["parameters"]["lambda"]
    assert lam == float(best["lambda"])


def test_the_best_recipe_can_be_merged_from_anywhere(run_cli, recipe, tmp_path, monkeypatch):
    out = tmp_path / "out"
    status, printed, _ = run_cli("tune", recipe, "--out", out, *QUICK, "--search", "random")
    assert status == 0
    # tiny models answer nothing right, whatever the numbers
    assert "No trial scored higher on dev than the recipe as given" in printed
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run_cli("merge", out / "best.yaml", "merged")[0] == 0
    assert run_cli("merge", recipe, "given")[0] == 0
    given = weights(tmp_path / "elsewhere" / "given")
    made = weights(tmp_path / "elsewhere" / "merged")
    assert all(tensor.equal(given[name]) for name, tensor in made.items())


def test_workers_and_groups_and_one_skill(run_cli, recipe, tmp_path):
    options = (*QUICK, "--groups", "2", "--skills", "agentic")
    for name, more in (("one", ()), ("two", ("--workers", "2"))):
        status, _, errors = run_cli("tune", recipe, "--out", tmp_path / name, *options, *more)
        assert (status, errors) == (0, "")
    for file in ("best.yaml", "trials.csv", "summary.json", "front.png"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    with (tmp_path / "one" / "trials.csv").open(newline="") as file:
        row = list(csv.DictReader(file))[1]
    assert {"density.1", "density.2", "share.1", "lambda.2", "agentic_low"} <= set(row)


def test_a_kill_costs_one_trial_and_the_same_command_goes_on(run_cli, recipe, tmp_path):
    options = ("--trials", "7", "--limit", "1", "--skills", "persona", "--seed", "5")
    assert run_cli("tune", recipe, "--out", tmp_path / "whole", *options)[0] == 0
    out = tmp_path / "out"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "mergelab", "tune", recipe, "--out", out, *options]
    running = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    import sqlite3

    deadline = time.monotonic() + 120
    done = 0
    while done < 2 and time.monotonic() < deadline and running.poll() is None:
        time.sleep(0.02)
        if (out / "search.db").exists():
            with sqlite3.connect(f"file:{out / 'search.db'}?mode=ro", uri=True) as database:
                (done,) = database.execute("select count(*) from trials").fetchone()
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert 2 <= done < 7
    assert not (out / "summary.json").exists()
    status, printed, errors = run_cli("tune", recipe, "--out", out, *options)
    assert (status, errors) == (0, "")
    assert "measured trials; the search goes on after them" in printed
    for file in ("best.yaml", "trials.csv", "summary.json", "front.png"):
        assert (out / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["merge.yaml"], "Missing option '--out'"),
        (["nowhere.yaml", "--out", "new"], "nowhere.yaml: cannot be read"),
        (["bad.yaml", "--out", "new"], "bad.yaml: merge_method 'tise' is not known"),
        (["stock.yaml", "--out", "new"], "stock.yaml: model_stock: has no number to tune"),
        (["merge.yaml", "--out", "new", "--search", "best"], "use grid, random or evolutionary"),
        (["merge.yaml", "--out", "new", "--trials", "0"], "--trials"),
        (["merge.yaml", "--out", "new", "--groups", "4"], "--groups 4: the model has 3 layers"),
        (["merge.yaml", "--out", "new", "--range", "density=0:2"], "must lie between 0 and 1"),
        (["merge.yaml", "--out", "new", "--range", "densty=0:1"], "did you mean 'density'?"),
        (["merge.yaml", "--out", "new", "--skills", "persna"], "unknown skill 'persna'"),
        (["merge.yaml", "--out", "merge.yaml"], "exists already and holds no search"),
        (["merge.yaml", "--out", "base"], "exists already and holds no search"),
        (
            ["merge.yaml", "--out", "new", "--search", "grid", "--trials", "7"],
            "write --trials 8, or --search random",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_before_anything_is_merged(
    run_cli, recipe, tmp_path, monkeypatch, arguments, words
):
    from mergelab.evaluation.candidates import Candidate

    def refuse(self, **_):
        raise AssertionError("merged before everything was checked")

    monkeypatch.setattr(Candidate, "load", refuse)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text("merge_method: tise\nmodels: [{model: a}]\n")
    stock = {**yaml.safe_load(recipe.read_text()), "merge_method": "model_stock"}
    stock["models"] = [{"model": "persona"}, {"model": "agentic"}]
    (tmp_path / "stock.yaml").write_text(yaml.safe_dump(stock))
    before = sorted(path.name for path in tmp_path.iterdir())
    status, printed, errors = run_cli("tune", *arguments)
    assert (status, printed) == (2, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert words in errors
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_without_optuna_one_line_says_what_to_install(run_cli, recipe, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    status, _, errors = run_cli("tune", recipe, "--out", tmp_path / "out")
    assert status == 2
    assert errors == "error: tune needs Optuna: pip install 'mergelab[tune]'\n"
