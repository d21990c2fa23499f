"""lm-evaluation-harness itself runs the suites, and scores them as `mergelab evaluate` does."""

import pytest
import yaml

from mergelab.checkpoints.loading import load_model
from mergelab.evaluation import evaluate, load_suite
from mergelab.evaluation.choosing_scorers import FREE
from mergelab.evaluation.harness import FOLDER
from mergelab.evaluation.system_prompts import SYSTEM
from mergelab.paths import data_path

LIMIT = 16


@pytest.fixture(scope="module")
def manager():
    """What the harness knows of after --include_path."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=str(FOLDER), include_defaults=False)


def run(manager, tasks, adapter):
    """The harness's samples by task, and its aggregated results."""
    from lm_eval import simple_evaluate

    found = simple_evaluate(
        model="hf",
        model_args={
            "pretrained": str(data_path("models", "base")),
            "peft": str(data_path("adapters", adapter)),
            "dtype": "float32",
        },
        tasks=tasks,
        limit=LIMIT,
        apply_chat_template=True,
        batch_size=LIMIT,
        device="cpu",
        log_samples=True,
        bootstrap_iters=0,
        task_manager=manager,
    )
    return found["samples"], found["results"]


@pytest.mark.parametrize(
    ("adapter", "task", "skills"),
    [
        ("task_api_persona", "mergelab_dev", ["persona", "agentic"]),
        ("task_api_agentic", "mergelab_dev", ["persona", "agentic"]),
        ("task_api_digest", "mergelab_digest_dev", ["digest"]),
    ],
)
def test_every_item_gets_the_same_reply_and_the_same_scores(manager, adapter, task, skills):
    samples, results = run(manager, [task], adapter)
    model = load_model(adapter)
    asked = {"skills": skills, "split": "dev", "limit": LIMIT}
    as_usual = evaluate(*model, **asked)
    # The base's generation_config.json asks for 96, and in the harness that comes first.
    strict = evaluate(*model, **asked, max_new_tokens=96)
    free = evaluate(*model, **asked, max_new_tokens=96, scorer=FREE)
    some_right = False
    for skill in skills:
        theirs = samples[f"mergelab_{skill}_dev"]
        assert [sample["doc"]["id"] for sample in theirs] == [
            outcome.item.id for outcome in strict.skills[skill].outcomes
        ]
        for sample, usual, ours, freely in zip(
            theirs,
            *(found.skills[skill].outcomes for found in (as_usual, strict, free)),
            strict=True,
        ):
            assert sample["filtered_resps"] == [ours.reply]
            assert sample["strict"] == ours.score.strict == usual.score.strict
            assert sample["partial"] == ours.score.partial
            assert sample["free"] == freely.score.strict
        rate = results[f"mergelab_{skill}_dev"]["strict,none"]
        assert rate == pytest.approx(as_usual.skills[skill].rate.estimate)
        some_right |= rate > 0.5
    assert some_right
    if task == "mergelab_dev":
        assert results[task]["strict,none"] == pytest.approx(as_usual.combined.estimate)


@pytest.mark.parametrize("split", ["dev", "test"])
@pytest.mark.parametrize("skill", ["persona", "agentic", "digest"])
def test_a_task_holds_the_suite_that_it_is_named_after(manager, skill, split):
    name = f"mergelab_{skill}" + ("_dev" if split == "dev" else "")
    (task,) = manager.load([name])["tasks"].values()
    assert [doc["id"] for doc in task.test_docs()] == [i.id for i in load_suite(skill, split)]


def test_groups_are_of_the_pair_and_of_one_split():
    for name, end in (("mergelab", ""), ("mergelab_dev", "_dev")):
        group = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
        assert group["group"] == name
        assert group["task"] == [f"mergelab_persona{end}", f"mergelab_agentic{end}"]


def test_the_command_prints_the_folder_or_a_system_prompt(run_cli):
    assert run_cli("harness") == (0, f"{FOLDER}\n", "")
    assert run_cli("harness", "--system", "agentic") == (0, SYSTEM["agentic"] + "\n", "")
    status, printed, errors = run_cli("harness", "--system", "cooking")
    assert (status, printed) == (2, "")
    assert errors == "error: --system cooking: unknown suite; known are persona, agentic, digest\n"
