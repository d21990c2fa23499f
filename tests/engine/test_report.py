"""What the report says happened is what NumPy counts on the changes that PEFT computes."""

import json
import math

import numpy as np
import pytest
from tiny_models import weights

from mergelab import merge
from mergelab.engine import merge as merge_function
from mergelab.errors import UserError
from mergelab.report import load_report, report_table

SOURCES = ("persona", "agentic")


def trimmed(delta, density):
    """Keep the k largest magnitudes, ties at the threshold too."""
    keep = int(np.floor(density * delta.size + 0.5))
    threshold = np.sort(np.abs(delta).ravel())[delta.size - keep]
    return np.where(np.abs(delta) >= threshold, delta, 0)


def changes(tiny):
    """Per changed tensor, the two changes as arrays in float32's accuracy."""
    return {
        name: [tiny.deltas[source][name].float().double().numpy() for source in SOURCES]
        for name in tiny.deltas["persona"]
        if any(tiny.deltas[source][name].any() for source in SOURCES)
    }


def layer_of(name):
    return int(name.split(".")[2]) if ".layers." in name else None


def counted(deltas, density, layer=None):
    """Entries trimmed per source, conflicts after it, entries in all."""
    removed, conflicts, entries = [0, 0], 0, 0
    for name, pair in deltas.items():
        if layer is not None and layer_of(name) != layer:
            continue
        kept = [trimmed(delta, density) for delta in pair]
        for i, (before, after) in enumerate(zip(pair, kept, strict=True)):
            removed[i] += int(((before != 0) & (after == 0)).sum())
        conflicts += int((kept[0] * kept[1] < 0).sum())
        entries += pair[0].size
    return removed, conflicts, entries


@pytest.mark.parametrize("density", [0.25, 0.5, 1.0])
def test_trimmed_entries_and_conflicts_are_counted_per_layer_and_in_total(tiny, density):
    report = merge(tiny.recipe("ties", parameters={"density": density})).report
    deltas = changes(tiny)
    rows = {**{row.label: row for row in report.per_layer()}, "total": report.total()}
    assert list(rows) == ["layer 0", "layer 1", "layer 2", "total"]
    for label, row in rows.items():
        layer = None if label == "total" else int(label.split()[1])
        removed, conflicts, entries = counted(deltas, density, layer)
        assert list(row.removed) == removed
        assert row.conflicts == row.resolved == conflicts
        assert row.entries == entries
        assert row.tensors == sum(layer is None or layer_of(name) == layer for name in deltas)
    assert report.total().conflicts > 0


def test_an_exact_draw_is_a_conflict_that_is_not_resolved(tiny, tmp_path):
    from safetensors.torch import load_file, save_file

    turned = tiny.copy("persona", tmp_path / "turned")
    factors = load_file(turned / "adapter_model.safetensors")
    for name in factors:
        if ".layers.0." in name and "lora_B" in name:
            factors[name] = -factors[name]
    save_file(factors, turned / "adapter_model.safetensors")
    recipe = {
        "merge_method": "ties",
        "models": [{"model": str(tiny.persona)}, {"model": str(turned)}],
    }
    first, second, third = merge(recipe).report.per_layer()
    entries = sum(delta.size for name, (delta, _) in changes(tiny).items() if layer_of(name) == 0)
    assert (first.conflicts, first.resolved) == (entries, 0)
    assert (second.conflicts, third.conflicts) == (0, 0)


@pytest.mark.parametrize("method", ["linear", "task_arithmetic"])
def test_methods_that_elect_no_sign_resolve_no_conflict(tiny, method):
    report = merge(tiny.recipe(method)).report
    assert report.total().conflicts == counted(changes(tiny), 1.0)[1]
    assert report.total().resolved == 0
    assert report.removed_word == ""
    assert report.total().removed == (0, 0)


def test_magnitude_kept_is_the_merged_norm_over_the_mean_norm(tiny):
    recipe = tiny.recipe("task_arithmetic")
    for model, weight in zip(recipe["models"], (0.5, 1.5), strict=True):
        model["parameters"] = {"weight": weight}
    report = merge(recipe).report
    deltas = changes(tiny)
    norms = [math.sqrt(sum((pair[i] ** 2).sum() for pair in deltas.values())) for i in (0, 1)]
    merged = math.sqrt(sum(((0.5 * a + 1.5 * b) ** 2).sum() for a, b in deltas.values()))
    expected = merged / ((0.5 * norms[0] + 1.5 * norms[1]) / 2)
    assert report.total().magnitude_kept == pytest.approx(expected, rel=1e-5)


def test_angles_are_between_the_whole_changes(tiny):
    report = merge(tiny.recipe("linear")).report
    deltas = changes(tiny)
    for row in (*report.per_layer(), report.total()):
        chosen = [p for n, p in deltas.items() if row.label in ("total", f"layer {layer_of(n)}")]
        one, two = (np.concatenate([pair[i].ravel() for pair in chosen]) for i in (0, 1))
        cosine = one @ two / math.sqrt((one @ one) * (two @ two))
        assert row.angle == pytest.approx(math.degrees(math.acos(cosine)), abs=1e-4)


def full_models(tiny, **parameters):
    return {**tiny.recipe("slerp", "first", "second", parameters=parameters)}


def angle_between(tiny, origin=None):
    arrays = []
    for source in (tiny.first, tiny.second):
        tensors = weights(source)
        zero = weights(tiny.base) if origin else {}
        arrays.append(
            np.concatenate(
                [
                    (tensors[n].double() - (zero[n].double() if origin else 0)).numpy().ravel()
                    for n in sorted(tensors)
                ]
            )
        )
    one, two = arrays
    return math.degrees(math.acos(one @ two / math.sqrt((one @ one) * (two @ two))))


def test_slerp_reports_the_angle_between_weights_and_between_changes(tiny):
    recipe = {**full_models(tiny, t=0.5, space="weights"), "base_model": str(tiny.base)}
    total = merge(recipe).report.total()
    assert total.weight_angle == pytest.approx(angle_between(tiny), abs=1e-3)
    assert total.angle == pytest.approx(angle_between(tiny, tiny.base), abs=1e-3)
    without_base = merge(full_models(tiny, t=0.5)).report.total()
    assert without_base.weight_angle == pytest.approx(angle_between(tiny), abs=1e-3)


def test_conflicts_are_between_changes_and_never_between_full_weights(tiny):
    base, first, second = (weights(path) for path in (tiny.base, tiny.first, tiny.second))
    expected = sum(int(((first[n] - base[n]) * (second[n] - base[n]) < 0).sum()) for n in base)
    for space in ("weights", "task_vectors"):
        recipe = {**full_models(tiny, t=0.5, space=space), "base_model": str(tiny.base)}
        assert merge(recipe).report.total().conflicts == expected
    without_base = merge(full_models(tiny, t=0.5)).report
    assert without_base.total().conflicts is None


def test_slerp_counts_the_tensors_in_which_it_became_a_straight_line(tiny, tmp_path):
    recipe = tiny.recipe("slerp", parameters={"t": 0.5})
    total = merge(recipe).report.total()
    alone = [n for n, pair in changes(tiny).items() if not all(delta.any() for delta in pair)]
    assert total.linear_fallbacks == len(alone) > 0


def test_dropped_entries_and_the_factor_in_effect_are_reported(tiny):
    recipe = tiny.recipe("dare_linear", parameters={"density": 0.25})
    result = merge(recipe, seed=2)
    report = result.report
    assert report.removed_word == "dropped"
    for tensor in report.tensors:
        assert tensor.rescale == (4.0, 4.0)
    total, deltas = report.total(), changes(tiny)
    for i in (0, 1):
        n = sum(int((pair[i] != 0).sum()) for pair in deltas.values())
        assert abs(total.removed[i] - 0.75 * n) < 4.5 * math.sqrt(n * 0.25 * 0.75)
    exact = merge(tiny.recipe("dare_linear", "persona", parameters={"density": 0.25})).tensors
    base = weights(tiny.base)
    kept = sum(int((exact[n] != base[n]).sum()) for n in base)
    alone = merge(tiny.recipe("dare_linear", "persona", parameters={"density": 0.25})).report
    # an entry that was kept but is too small to move the base's value counts as kept too
    assert 0 <= alone.total().entries - alone.total().removed[0] - kept <= 5
    plain = tiny.recipe("dare_linear", parameters={"density": 0.25, "rescale": False})
    assert merge(plain).report.tensors[0].rescale == (1.0, 1.0)


def test_sources_are_reported_in_the_recipes_order(tiny):
    one = merge(tiny.recipe("ties", "persona", "agentic", parameters={"density": 0.5})).report
    two = merge(tiny.recipe("ties", "agentic", "persona", parameters={"density": 0.5})).report
    assert (one.sources, two.sources) == (["persona", "agentic"], ["agentic", "persona"])
    assert one.total().removed == two.total().removed[::-1]
    assert one.tensors[0].gram[0][0] == pytest.approx(two.tensors[0].gram[1][1])


def test_the_report_is_saved_beside_the_model_and_can_be_read_again(tiny, tmp_path):
    written = merge(tiny.recipe("ties", parameters={"density": 0.5}), tmp_path / "out").report
    read = load_report(tmp_path / "out")
    assert read.total() == written.total()
    assert read.per_layer() == written.per_layer()
    data = json.loads((tmp_path / "out" / "merge_report.json").read_text())
    assert data["total"]["conflicts"] == written.total().conflicts
    assert set(data["seconds"]) >= {"read", "merge", "write"}


def test_a_report_that_is_none_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"merge_report\.json: cannot be read"):
        load_report(tmp_path)
    for content in ("", "[]", "{}", '{"tensors": [{"surprise": 1}]}'):
        (tmp_path / "merge_report.json").write_text(content)
        with pytest.raises(UserError, match="not a merge report"):
            load_report(tmp_path)


@pytest.mark.parametrize("method", ["ties", "dare_ties", "linear", "slerp"])
def test_the_table_has_a_row_for_each_layer_and_the_total(tiny, method):
    from rich.console import Console

    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(report_table(merge(tiny.recipe(method)).report))
    text = console.export_text()
    for label in ("layer 0", "layer 1", "layer 2", "total", "conflicts", "magnitude"):
        assert label in text
    assert ("trimmed" in text) == (method == "ties")
    assert ("dropped" in text) == (method == "dare_ties")


def test_merge_is_the_same_function_wherever_it_is_imported_from():
    assert merge is merge_function
