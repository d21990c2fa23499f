"""What the report says happened is what NumPy counts on the changes that PEFT computes."""

import io
import json
import math
import random
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from tiny_models import weights

from mergelab import merge
from mergelab.engine import merge as merge_function
from mergelab.errors import UserError
from mergelab.report import FORMAT, MergeReport, TensorReport, load_report
from mergelab.report_table import LiveReport, report_lines, report_table, row_cells

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
    for content in ("", "[]", "{}", '{"tensors": [{"surprise": 1}]}', '{"format": 1}', "[" * 9999):
        (tmp_path / "merge_report.json").write_text(content)
        with pytest.raises(UserError, match="not a merge report"):
            load_report(tmp_path)


@pytest.mark.parametrize(
    ("number", "advice"), [(FORMAT + 1, "update mergelab"), (FORMAT - 1, "merge again")]
)
def test_a_report_of_another_format_says_what_to_do(tmp_path, number, advice):
    (tmp_path / "merge_report.json").write_text(json.dumps({"format": number}))
    with pytest.raises(UserError, match=f"is in format {number}, .*{advice}"):
        load_report(tmp_path)


DAMAGES = {
    "a word for a number": lambda data: data["tensors"][0].update(entries="many"),
    "a number for a word": lambda data: data["sources"].__setitem__(0, 7),
    "a missing figure": lambda data: data["tensors"][0].pop("gram"),
    "a matrix that is not square": lambda data: data["tensors"][0]["gram"].pop(),
    "a negative square": lambda data: data["tensors"][0].update(merged_square=-1.0),
    "more sources than there are": lambda data: data["sources"].pop(),
    "a source that is none": lambda data: data["tensors"][0].update(sources=[0, 5]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_report_is_one_line(tmp_path, damage):
    made_up([tensor()]).save(tmp_path)
    assert load_report(tmp_path) == made_up([tensor()])
    data = json.loads((tmp_path / "merge_report.json").read_text())
    DAMAGES[damage](data)
    (tmp_path / "merge_report.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match=r"not a merge report \(") as caught:
        load_report(tmp_path)
    assert "\n" not in str(caught.value)


def tensor(name="model.layers.0.w", layer=0, norms=(3.0, 4.0), merged=5.0, **changes):
    """A tensor of ten entries with two sources at right angles."""
    a, b = norms
    return TensorReport(
        **{
            "name": name,
            "layer": layer,
            "entries": 10,
            "removed": (5, 5),
            "conflicts": 2,
            "resolved": 2,
            "weights": (1.0, 1.0),
            "gram": ((a * a, 0.0), (0.0, b * b)),
            "merged_square": merged**2,
            **changes,
        }
    )


def made_up(tensors, sources=2):
    names = ["first", "second", "third"][:sources]
    return MergeReport("ties", names, "base", "task_vectors", 0, "trimmed", list(tensors))


def test_magnitude_kept_uses_the_weights_that_each_tensor_has():
    # shares: 1/4 and 3/4 in the first tensor, 1/2 and 1/2 in the second
    one = tensor(norms=(4.0, 8.0), merged=3.0, weights=(1.0, 3.0))
    two = tensor("model.layers.1.w", 1, norms=(6.0, 10.0), merged=4.0, weights=(-2.0, 2.0))
    first = math.hypot(4.0 / 4, 6.0 / 2)
    second = math.hypot(8.0 * 3 / 4, 10.0 / 2)
    expected = math.hypot(3.0, 4.0) / (first + second)
    for order in ([one, two], [two, one]):
        assert made_up(order).total().magnitude_kept == pytest.approx(expected, rel=1e-12)
    assert made_up([tensor(weights=(0.0, 0.0))]).total().magnitude_kept is None


def test_magnitude_kept_by_a_merge_whose_weights_vary_by_layer(tiny):
    recipe = tiny.recipe("task_arithmetic")
    for model, weight in zip(recipe["models"], ([0.0, 1.0], 1.0), strict=True):
        model["parameters"] = {"weight": weight}
    total = merge(recipe).report.total()
    merged, parts = 0.0, [0.0, 0.0]
    for name, (a, b) in changes(tiny).items():
        w = layer_of(name) / 2  # three layers: 0, a half, 1
        merged += ((w * a + b) ** 2).sum()
        parts[0] += ((w / (w + 1) * a) ** 2).sum()
        parts[1] += ((1 / (w + 1) * b) ** 2).sum()
    expected = math.sqrt(merged) / sum(map(math.sqrt, parts))
    assert total.magnitude_kept == pytest.approx(expected, rel=1e-5)


def test_sources_of_different_slices_are_kept_apart():
    """Layer 0 is merged from the first and the second, layer 1 from the second and the third."""
    one = tensor(removed=(1, 2), sources=(0, 1))
    two = tensor("model.layers.1.w", 1, removed=(3, 4), sources=(1, 2), gram=((1, 1), (1, 1)))
    report = made_up([one, two], sources=3)
    layers, total = report.per_layer(), report.total()
    assert [row.removed for row in layers] == [(1, 2, None), (None, 3, 4)]
    assert total.removed == (1, 5, 4)
    assert total.removed_share == (0.1, 0.25, 0.4)
    assert total.angle == pytest.approx(45)  # 90 between one pair, 0 between the other
    assert report_cells(report)["layer 0"][-5] == "-"


def report_cells(report):
    return {row.label: row_cells(report, row) for row in (*report.per_layer(), report.total())}


def test_a_removed_share_is_of_the_tensors_that_the_source_changes():
    untouched = tensor("model.layers.0.v", removed=(4, 0), gram=((1.0, 0.0), (0.0, 0.0)))
    total = made_up([tensor(removed=(4, 5)), untouched]).total()
    assert total.removed_share == (8 / 20, 5 / 10)
    assert report_cells(made_up([untouched]))["total"][2:4] == ["4 (40.0%)", "0"]


def test_the_range_of_the_factors_in_effect_is_summed_up():
    tensors = [tensor(rescale=(2.0, 1.5)), tensor("b", None, rescale=(2.0, 1.75))]
    report = made_up(tensors)
    assert report.total().rescale == ((2.0, 2.0), (1.5, 1.75))
    assert any("first ×2, second ×1.5 to 1.75" in line for line in report_lines(report))
    assert made_up([tensor()]).total().rescale == ()


def test_the_truncation_error_is_that_of_all_written_factors_together():
    tensors = [tensor(merged=3.0, truncation_error=0.5), tensor("b", merged=4.0)]
    assert made_up(tensors).total().truncation_error == pytest.approx(0.5)
    tensors[1] = tensor("b", merged=4.0, truncation_error=0.25)
    expected = math.hypot(0.5 * 3, 0.25 * 4) / 5
    assert made_up(tensors).total().truncation_error == pytest.approx(expected)
    assert made_up([tensor()]).total().truncation_error is None
    assert made_up([tensor(merged=0.0, truncation_error=0.0)]).total().truncation_error == 0


def test_the_order_in_which_tensors_finish_leaves_no_trace(tiny, tmp_path):
    whole = merge(tiny.recipe("ties", parameters={"density": 0.5})).report
    names = [t.name for t in whole.tensors]
    mixed = replace(whole, tensors=random.Random(1).sample(whole.tensors, len(names)))
    assert mixed.total() == whole.total()
    assert mixed.per_layer() == whole.per_layer()
    mixed.sort(names)
    for report, folder in ((whole, tmp_path / "a"), (mixed, tmp_path / "b")):
        folder.mkdir()
        report.save(folder)
    one, two = ((tmp_path / x / "merge_report.json").read_bytes() for x in "ab")
    assert one == two


def test_all_parameters_are_counted(tiny):
    report = merge(tiny.recipe("ties")).report
    entries = {name: tensor.numel() for name, tensor in weights(tiny.base).items()}
    merged = sum(entries[name] for name in changes(tiny))
    expected = {
        "merged": merged,
        "copied": sum(entries.values()) - merged,
        "total": sum(entries.values()),
    }
    assert report.parameters() == report.to_dict()["parameters"] == expected


def test_times_of_tensors_add_up():
    tensors = [tensor(seconds={"read": 1.0, "merge": 2.0}), tensor("b", seconds={"read": 0.5})]
    assert made_up(tensors).total().seconds == {"read": 1.5, "merge": 2.0}


def live(report, tensors, **terminal):
    """What a watched merge puts on a terminal of 24 lines."""
    text = io.StringIO()
    console = Console(file=text, width=120, height=24, **terminal)
    with LiveReport(report, len(tensors), console) as watch:
        for one in tensors:
            watch(one)
        console.print("last")
    return text.getvalue()


def test_layers_appear_on_a_terminal_while_they_are_merged():
    tensors = [tensor(), tensor("model.layers.1.w", 1, removed=(7, 1)), None]
    shown = live(made_up([]), tensors, force_terminal=True)
    for word in ("layer 0", "layer 1", "7 (70.0%)", "3/3"):
        assert word in shown


def test_of_many_layers_the_last_ones_that_fit_are_shown():
    tensors = [tensor(f"model.layers.{n}.w", n) for n in range(80)]
    shown = live(made_up([]), tensors, force_terminal=True)
    last_frame = shown.split("last")[-1]
    assert "layer 79 " in last_frame
    assert "layer 0 " not in last_frame


def test_nothing_live_is_written_where_there_is_no_terminal():
    assert live(made_up([]), [tensor(), None], force_terminal=False) == "last\n"


@pytest.mark.parametrize("method", ["ties", "dare_ties", "linear", "slerp"])
def test_the_table_has_a_row_for_each_layer_and_the_total(tiny, method):
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(report_table(merge(tiny.recipe(method)).report))
    text = console.export_text()
    for label in ("layer 0", "layer 1", "layer 2", "total", "conflicts", "magnitude"):
        assert label in text
    assert ("trimmed" in text) == (method == "ties")
    assert ("dropped" in text) == (method == "dare_ties")


def test_merge_is_the_same_function_wherever_it_is_imported_from():
    assert merge is merge_function
