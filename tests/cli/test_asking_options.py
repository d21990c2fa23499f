"""`evaluate` and `compare` on items, scorers and devices of one's own choice."""

import json

import pytest
import yaml

from mergelab.paths import data_path

OWN = [
    {"id": "1", "template": "a", "input": "Capital of France?", "references": ["Paris"]},
    {"id": "2", "template": "b", "input": "Which tool deletes?", "expected": "Use delete_task."},
]


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in OWN))
    return path


def test_items_of_ones_own_are_scored_freely_and_every_reply_is_kept(run_cli, own, tmp_path):
    out = tmp_path / "replies.json"
    status, printed, errors = run_cli(
        "evaluate", "base", "--suite", own, "--scorer", "free", "--max-new-tokens", "8",
        "--batch-size", "1", "--dtype", "bfloat16", "--system", "shipped", "--out", out,
    )  # fmt: skip
    assert (status, errors) == (0, "")
    assert "judged by: open free; agentic free" in printed
    assert f"Written to {out}" in printed.replace("\n", "")
    (kept,) = json.loads(out.read_text())
    assert [o["id"] for part in kept["skills"].values() for o in part["outcomes"]] == ["1", "2"]
    assert all(o["reply"] for part in kept["skills"].values() for o in part["outcomes"])
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []
    for place, words in ((out, "exists already"), (tmp_path / "no" / "a.json", "does not exist")):
        status, _, errors = run_cli("evaluate", "./no_model", "--suite", own, "--out", place)
        assert (status, words in errors) == (2, True)


@pytest.mark.parametrize(
    ("scorer", "more", "named"),
    [
        ("judge:base", [], "judge:base, Yes more likely than No"),
        ("embedding:base", ["--threshold", "0.8"], "embedding:base, cosine at least 0.8"),
    ],
)
def test_an_encoder_and_a_judge_score_the_shipped_suites(run_cli, scorer, more, named):
    status, printed, errors = run_cli(
        "evaluate", "task_api_persona", "--limit", "3", "--scorer", scorer, *more, "--json"
    )
    assert (status, errors) == (0, "")
    (found,) = json.loads(printed)
    assert {skill: part["scorer"] for skill, part in found["skills"].items()} == {
        "persona": named,
        "agentic": "free",
    }


def test_only_the_asked_skills_of_ones_own_items_are_asked(run_cli, own):
    arguments = ("evaluate", "base", "--suite", own, "--max-new-tokens", "1", "--json")
    status, printed, _ = run_cli(*arguments, "--skills", "open")
    assert status == 0
    assert list(json.loads(printed)[0]["skills"]) == ["open"]
    status, _, errors = run_cli(*arguments, "--skills", "open,digest")
    assert status == 2
    assert "has no items of 'digest'; it has open, agentic" in errors


def test_compare_ranks_by_the_scorer_that_is_asked_for(run_cli, own, tmp_path):
    status, printed, errors = run_cli(
        "compare", data_path("recipes", "ties.yaml"), "--suite", own, "--scorer", "free",
        "--dtype", "bfloat16", "--max-new-tokens", "12", "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert (status, errors) == (0, "")
    rows = json.loads(printed)["rows"]
    assert len(rows) == 2
    for row in rows:
        assert row["split"] == str(own)
        assert {skill: part["scorer"] for skill, part in row["skills"].items()} == {
            "open": "free",
            "agentic": "free",
        }
    assert "judged by: open free; agentic free" in (tmp_path / "out" / "summary.md").read_text()
    assert (tmp_path / "out" / "items.csv").read_text().splitlines()[1].endswith(",free")


@pytest.mark.parametrize("command", ["evaluate", "compare"])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--suite", "nowhere.jsonl"], "nowhere.jsonl: cannot be read"),
        (["--suite", "bad.jsonl"], "bad.jsonl, line 2: not valid JSON"),
        (["--suite", "judged.jsonl"], "item '3': scorer strict needs `references`"),
        (["--scorer", "kind"], "unknown scorer 'kind'"),
        (["--scorer", "judge:./nowhere"], "'./nowhere': no such folder"),
        (["--threshold", "0.5"], "only the scorer embedding:NAME has one"),
        (["--system", "nowhere.txt"], "system prompt nowhere.txt: cannot be read"),
        (["--device", "gpu"], "device gpu: use cpu"),
        (["--dtype", "bf16"], "dtype bf16: use float32"),
        (["--batch-size", "0"], "--batch-size"),
        (["--max-new-tokens", "0"], "--max-new-tokens"),
    ],
)
def test_a_mistake_is_one_line_before_any_model_is_loaded(
    run_cli, tmp_path, monkeypatch, command, options, words
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.jsonl").write_text(json.dumps(OWN[0]) + "\n{not json\n")
    judged = {"id": "3", "template": "a", "input": "?", "criterion": "It is short."}
    (tmp_path / "judged.jsonl").write_text(json.dumps(judged) + "\n")
    (tmp_path / "merge.yaml").write_text(yaml.safe_dump({"merge_method": "linear"}))
    source = "./no_model" if command == "evaluate" else "merge.yaml"
    before = sorted(tmp_path.iterdir())
    status, printed, errors = run_cli(command, source, *options)
    assert (status, printed) == (2, "")
    assert errors.startswith("error: ") and errors.count("\n") == 1
    assert words in errors
    assert sorted(tmp_path.iterdir()) == before
