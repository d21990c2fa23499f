"""A measurement says what `evaluate` says, once, and a run that was killed goes on."""

import json

import pytest

from mergelab import merge
from mergelab.evaluation import evaluate, measuring
from mergelab.evaluation.measuring import Measured, Measurement, measure, measure_all
from mergelab.workers import Workers

RECIPE = {
    "merge_method": "ties",
    "base_model": "base",
    "models": [{"model": "task_api_persona"}, {"model": "task_api_agentic"}],
    "parameters": {"density": 0.5},
    "dtype": "float32",
}


@pytest.fixture
def counted(monkeypatch):
    """`measure` replaced by something quick that notes what it was asked."""
    asked = []

    def quick(what):
        asked.append(what)
        return Measured({skill: "01" for skill in what.skills}, 0.5)

    monkeypatch.setattr(measuring, "measure", quick)
    return asked


def test_it_is_what_evaluate_finds_item_by_item():
    found = measure(Measurement.of(RECIPE, "dev", 6))

    merged = merge(RECIPE)
    expected = evaluate(*merged.load(), split="dev", limit=6)
    for skill, result in expected.skills.items():
        assert found.right[skill] == "".join(str(o.score.strict) for o in result.outcomes)
    again = found.evaluation("m", "dev")
    assert {s: r.rate for s, r in again.skills.items()} == {
        s: r.rate for s, r in expected.skills.items()
    }
    assert found.size == merged.report.total().magnitude_kept


def test_a_seed_changes_what_a_random_method_gives():
    random = {**RECIPE, "merge_method": "dare_linear", "parameters": {"density": 0.3}}
    first, second = (measure(Measurement.of(random, "dev", 1, seed=seed)) for seed in (0, 1))
    assert first.size != second.size


def test_equal_measurements_are_made_once_and_kept(counted, tmp_path):
    kept = tmp_path / "kept.jsonl"
    one, two = Measurement.of("base", "dev", 2), Measurement.of("base", "test", 2)
    seen = []
    found = measure_all(
        [one, two, one], Workers(), kept=kept, progress=lambda *about: seen.append(about[:2])
    )
    assert len(counted) == 2 and set(found) == {one, two}
    assert seen[0] == (0, 2) and seen[-1] == (2, 2)

    counted.clear()
    assert measure_all([two, one], Workers(), kept=kept) == found
    assert counted == []


def test_a_line_that_was_cut_short_is_measured_again(counted, tmp_path):
    kept = tmp_path / "kept.jsonl"
    one, two = Measurement.of("base", "dev", 2), Measurement.of("base", "test", 2)
    measure_all([one, two], Workers(), kept=kept)
    text = kept.read_text()
    kept.write_text(text[: len(text) - 20])
    counted.clear()

    measure_all([one, two], Workers(), kept=kept)
    assert len(counted) == 1
    counted.clear()
    measure_all([one, two], Workers(), kept=kept)
    assert counted == []


def test_other_code_or_models_make_what_was_kept_worthless(counted, tmp_path, monkeypatch):
    kept = tmp_path / "kept.jsonl"
    one = Measurement.of("base", "dev", 2)
    measure_all([one], Workers(), kept=kept)
    monkeypatch.setattr(measuring, "_state", lambda: "other")
    measure_all([one], Workers(), kept=kept)
    assert len(counted) == 2


def test_the_kept_file_is_plain(counted, tmp_path):
    kept = tmp_path / "kept.jsonl"
    measure_all([Measurement.of("base", "dev", 2)], Workers(), kept=kept)
    entry = json.loads(kept.read_text())
    assert entry["right"] == {"persona": "01", "agentic": "01"} and entry["size"] == 0.5
