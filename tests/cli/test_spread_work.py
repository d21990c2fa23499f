"""What is spread over processes or a Dask cluster says the same to the last digit."""

import json

import pytest
from clusters import local_cluster

pytestmark = pytest.mark.slow

RECIPES = ("ties", "dare_ties")


@pytest.fixture
def arguments():
    from mergelab.paths import data_path

    paths = [str(data_path("recipes", f"{name}.yaml")) for name in RECIPES]
    return ["compare", *paths, "--limit", "4", "--json"]


def found(run_cli, arguments):
    status, printed, errors = run_cli(*arguments)
    assert (status, errors) == (0, "")
    return json.loads(printed)


def test_compare_with_one_worker_and_with_two(run_cli, arguments):
    one = found(run_cli, [*arguments, "--workers", "1"])
    assert found(run_cli, [*arguments, "--workers", "2"]) == one
    assert {row["name"] for row in one["rows"]} == {*RECIPES, "linear baseline"}


def test_compare_on_a_cluster_from_another_folder(run_cli, arguments, tmp_path, monkeypatch):
    (tmp_path / "merge.yaml").write_text(
        "merge_method: ties\nbase_model: base\nmodels: [{model: one}, {model: two}]\n"
        "parameters: {density: 0.5}\n"
    )
    from mergelab.paths import data_path

    for name, skill in (("one", "persona"), ("two", "agentic")):
        (tmp_path / name).symlink_to(data_path("adapters", f"task_api_{skill}"))
    with local_cluster(1) as cluster:
        monkeypatch.chdir(tmp_path)  # the worker stays where it was started
        here = ["compare", "merge.yaml", "--limit", "4", "--json"]
        spread = found(run_cli, [*here, "--scheduler", cluster.scheduler_address])
    assert spread == found(run_cli, [*here, "--workers", "1"])


def test_a_search_on_a_cluster_leaves_the_same_files(run_cli, tmp_path):
    from mergelab.paths import data_path

    search = ["tune", str(data_path("recipes", "ties.yaml")), "--trials", "4", "--limit", "2"]
    with local_cluster(2) as cluster:
        for name, more in (("here", []), ("there", ["--scheduler", cluster.scheduler_address])):
            status, _, errors = run_cli(*search, "--out", tmp_path / name, *more)
            assert (status, errors) == (0, "")
    for file in ("best.yaml", "trials.csv", "summary.json", "front.png"):
        assert (tmp_path / "here" / file).read_bytes() == (tmp_path / "there" / file).read_bytes()
