"""One weight's way through a merge is told as arithmetic finds it, and is what was stored."""

import json
import math
import shutil

import naive
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import LAYERS, edit_json, weights

from mergelab import explain, merge
from mergelab.engine import streams_of
from mergelab.errors import UserError
from mergelab.methods import REGISTRY
from mergelab.recipes import make_plan, parse_recipe

NAME = "model.layers.1.mlp.up_proj.weight"  # changed by both adapters
ROW, COLUMN = 7, 11
ENTRY = f"{NAME}[{ROW}, {COLUMN}]"


def merged(tiny, tmp_path, method, *names, seed=0, dtype=None, **more):
    """A merge written to disk, the folder it lies in."""
    return merge(tiny.recipe(method, *names, **more), tmp_path / "out", seed=seed, dtype=dtype).path


def flat_changes(tiny):
    """The two adapters' changes of the tensor, in PEFT's float64, as flat lists."""
    return [tiny.deltas[source][NAME].flatten().tolist() for source in ("persona", "agentic")]


def place(tiny):
    return ROW * weights(tiny.base)[NAME].shape[1] + COLUMN


def lines(found, step):
    return [line for line in found.steps if line.step == step]


def value_of(found, step, who=""):
    (line,) = [line for line in lines(found, step) if line.who == who and line.value is not None]
    return line.value


def close(value):
    return pytest.approx(value, rel=2e-5, abs=1e-9)


def test_ties_is_told_as_arithmetic_by_hand_finds_it(tiny, tmp_path):
    weight, lam, density = (1.0, 0.5), 0.8, 0.5
    recipe = tiny.recipe("ties", parameters={"density": density, "lambda": lam})
    for model, w in zip(recipe["models"], weight, strict=True):
        model["parameters"] = {"weight": w}
    out = merge(recipe, tmp_path / "out").path
    found = explain(out, ENTRY)
    changes, here = flat_changes(tiny), place(tiny)
    trimmed = [naive.trim(change, density) for change in changes]
    base = float(weights(tiny.base)[NAME][ROW, COLUMN])
    assert value_of(found, "base") == base
    for name, change, left in zip(("persona", "agentic"), changes, trimmed, strict=True):
        assert value_of(found, "changes", name) == close(change[here])
        assert value_of(found, "trim", name) == close(left[here])
        threshold = min(abs(x) for x in left if x)
        (said,) = [line.said for line in lines(found, "trim") if line.who == name]
        assert said.startswith("kept" if abs(change[here]) >= threshold else "trimmed")
        told = float(said.split("threshold ")[1].split()[0])
        assert told == pytest.approx(threshold, rel=1e-4)
        rank = 1 + sum(abs(x) > abs(change[here]) for x in change)
        (said,) = [line.said for line in lines(found, "changes") if line.who == name]
        assert said == f"number {rank:,} of {len(change):,} by magnitude"
    terms = [w * t[here] for w, t in zip(weight, trimmed, strict=True)]
    plus, minus, _ = lines(found, "vote")
    assert plus.value == close(sum(x for x in terms if x > 0))
    assert minus.value == close(-sum(x for x in terms if x < 0))
    expected = naive.ties(changes, [density] * 2, weight, lam)[here]
    assert value_of(found, "mean") == close(expected / lam)
    assert value_of(found, "lambda") == value_of(found, "merged change") == close(expected)
    assert found.merged == close(expected)
    assert found.value == pytest.approx(base + expected, rel=1e-6)
    assert found.belongs


def each_kind_of_vote(tiny):
    """One entry for each outcome: agreement, an overruled source, one alone, nobody."""
    a, b = (np.array(naive.trim(change, 0.5)) for change in flat_changes(tiny))
    kinds = {"agree": a * b > 0, "conflict": a * b < 0, "alone": (a != 0) & (b == 0)}
    kinds["nobody"] = (a == 0) & (b == 0)
    columns = weights(tiny.base)[NAME].shape[1]
    return {
        kind: divmod(int(np.flatnonzero(there)[0]), columns) for kind, there in kinds.items()
    }, (a, b)


def test_who_voted_and_who_was_in_the_mean_is_said(tiny, tmp_path):
    out = merged(tiny, tmp_path, "ties", parameters={"density": 0.5})
    places, (a, b) = each_kind_of_vote(tiny)
    columns = weights(tiny.base)[NAME].shape[1]
    parts = {
        kind: [line.said.split(",")[0] for line in lines(explain(out, f"{NAME}[{r}, {c}]"), "mean")]
        for kind, (r, c) in places.items()
    }
    assert parts["agree"][:2] == ["agrees", "agrees"]
    assert parts["alone"][:2] == ["agrees", "has no part"]
    assert parts["nobody"][:2] == ["has no part", "has no part"]
    assert parts["nobody"][2] == "nobody agrees"
    row, column = places["conflict"]
    here = row * columns + column
    winner = 0 if abs(a[here]) > abs(b[here]) else 1
    assert parts["conflict"][winner] == "agrees"
    assert parts["conflict"][1 - winner] == "overruled"
    vote = lines(explain(out, f"{NAME}[{row}, {column}]"), "vote")
    assert vote[2].said == f"{'plus' if (a, b)[winner][here] > 0 else 'minus'} is elected"


def test_dare_ties_draws_the_numbers_that_its_seed_names(tiny, tmp_path):
    density, seed = 0.4, 5
    out = merged(tiny, tmp_path, "dare_ties", seed=seed, parameters={"density": density})
    recipe = tiny.recipe("dare_ties", parameters={"density": density})
    plan = make_plan(parse_recipe(recipe))
    (tensor,) = [t for t in plan.tensors if t.name == NAME]
    streams = dict(
        zip([number for number, _ in tensor.inputs], streams_of(plan, tensor), strict=True)
    )
    changes, columns = flat_changes(tiny), weights(tiny.base)[NAME].shape[1]
    fates = set()
    for here in range(40):
        found = explain(out, f"{NAME}[{here // columns}, {here % columns}]")
        left = []
        for number, name in enumerate(("persona", "agentic")):
            word = naive.random_word(here, seed, streams[number])
            kept = word / 2**32 < density
            fates.add(kept)
            left.append(changes[number][here] / density if kept else 0.0)
            assert value_of(found, "drop", name) == close(left[-1])
            (said,) = [line.said for line in lines(found, "drop") if line.who == name]
            assert f"drew {word / 2**32:.6f}" in said
            assert said.startswith("kept" if kept else "dropped")
            assert not kept or said.endswith("times 2.5")
        expected = naive.ties([[x] for x in left], [1.0, 1.0], [1.0, 1.0])[0]
        assert found.merged == close(expected)
        assert found.belongs
    assert fates == {True, False}


def test_what_mergekit_would_have_made_of_it_is_its_own_rescale_and_its_sum(tiny, tmp_path):
    """mergekit matches the L1 norm after the drop, and adds up what agrees."""
    density, seed = 0.5, 1
    out = merged(tiny, tmp_path, "dare_ties", seed=seed, parameters={"density": density})
    plan = make_plan(parse_recipe(tiny.recipe("dare_ties")))
    (tensor,) = [t for t in plan.tensors if t.name == NAME]
    numbers = [number for number, _ in tensor.inputs]
    streams = dict(zip(numbers, streams_of(plan, tensor), strict=True))
    left = []
    for number, change in enumerate(map(np.array, flat_changes(tiny))):
        words = [naive.random_word(i, seed, streams[number]) for i in range(change.size)]
        dropped = np.where(np.array(words) < density * 2**32, change, 0)
        left.append(dropped * np.abs(change).sum() / np.abs(dropped).sum())
    columns = weights(tiny.base)[NAME].shape[1]
    both = np.flatnonzero((left[0] * left[1]) > 0)[:3]  # where a sum is not a mean
    for here in (*both, 0, 1, 2):
        found = explain(out, f"{NAME}[{here // columns}, {here % columns}]")
        here_left = [x[here] for x in left]
        total = sum(here_left)
        change = sum(x for x in here_left if x * total > 0)
        (line,) = [line for line in lines(found, "others") if line.who == "mergekit"]
        base = float(weights(tiny.base)[NAME].flatten()[here])
        assert line.value == pytest.approx(base + change, abs=1e-6)
        assert "masks are drawn here from the seed" in line.said


def test_a_party_without_the_method_is_left_out_with_the_reason(tiny, tmp_path):
    found = explain(merged(tiny, tmp_path, "sce"), ENTRY)
    said = {line.who: line for line in lines(found, "others")}
    assert list(said) == ["paper", "mergekit", "PEFT"]
    assert said["PEFT"].value is None
    assert said["PEFT"].said.startswith("left out: peft has no sce")
    assert (said["mergekit"].value, said["mergekit"].said) == (found.rounded, "the same")


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("ties", {"election": "count", "divisor": "count"}),
        ("ties", {"election": "mass_unweighted", "zero_sign": "positive", "density": 0.1}),
        ("ties", {"rescale": "l1", "trim_count": "floor"}),
        ("dare_ties", {"rescale": "l2", "trim_after": 0.2}),
        ("dare_linear", {"rescale": False, "normalize": True}),
        ("breadcrumbs", {"trim_scope": "row", "gamma": 0.1}),
        ("della", {"window": "whole", "rescale": "l1", "divisor": "none"}),
        ("slerp", {"t": 1.0}),
    ],
    ids=str,
)
def test_switches_are_followed(tiny, tmp_path, method, parameters):
    density = {} if method == "slerp" else {"density": 0.5}
    out = merged(tiny, tmp_path, method, seed=4, parameters={**density, **parameters})
    assert all(explain(out, f"{NAME}[{i}, {i}]").belongs for i in range(8))


def test_what_a_switch_did_is_said(tiny, tmp_path):
    settings = {"density": 0.5, "rescale": True, "trim_count": "floor"}
    out = merged(tiny, tmp_path, "ties", parameters=settings)
    kept = [s for i in range(8) for s in said_of(out, "trim", i) if s.startswith("kept")]
    assert kept and all(s.endswith("; times 2") for s in kept)
    out = merge(
        tiny.recipe("dare_ties", parameters={"density": 0.9, "trim_after": 0.1}), tmp_path / "dare"
    ).path
    drops = [s for i in range(8) for s in said_of(out, "drop", i)]
    assert any("but trimmed afterwards" in s for s in drops)


def said_of(out, step, column):
    return [line.said for line in lines(explain(out, f"{NAME}[0, {column}]"), step)]


def test_linear_is_told_as_the_terms_of_a_sum(tiny, tmp_path):
    recipe = tiny.recipe("linear")
    for model, w in zip(recipe["models"], (1.0, 3.0), strict=True):
        model["parameters"] = {"weight": w}
    found = explain(merge(recipe, tmp_path / "out").path, ENTRY)
    a, b = (change[place(tiny)] for change in flat_changes(tiny))
    assert value_of(found, "terms", "persona") == close(a)
    assert value_of(found, "terms", "agentic") == close(3 * b)
    assert value_of(found, "sum") == close(a + 3 * b)
    assert value_of(found, "mean") == close((a + 3 * b) / 4)
    assert found.merged == close((a + 3 * b) / 4)


def test_slerp_is_told_by_its_angle_and_its_two_factors(tiny, tmp_path):
    t = 0.3
    found = explain(merged(tiny, tmp_path, "slerp", parameters={"t": t}), ENTRY)
    one, two = (np.array(change) for change in flat_changes(tiny))
    theta, here = naive.angle(one, two), place(tiny)
    assert value_of(found, "angle") == pytest.approx(math.degrees(theta), abs=1e-4)
    factors = math.sin((1 - t) * theta) / math.sin(theta), math.sin(t * theta) / math.sin(theta)
    assert value_of(found, "terms", "persona") == close(factors[0] * one[here])
    assert value_of(found, "terms", "agentic") == close(factors[1] * two[here])
    assert found.merged == close(naive.slerp(one, two, t)[here])


def test_slerp_of_full_weights_shows_changes_and_weights(tiny, tmp_path):
    recipe = tiny.recipe("slerp", "first", "second", parameters={"t": 0.5, "space": "weights"})
    found = explain(merge({**recipe, "base_model": str(tiny.base)}, tmp_path / "out").path, ENTRY)
    base, first = (float(weights(x)[NAME][ROW, COLUMN]) for x in (tiny.base, tiny.first))
    assert value_of(found, "changes", "first") == close(first - base)
    assert value_of(found, "weights", "first") == close(first)
    assert found.merged == pytest.approx(found.value - base, abs=1e-7)
    alone = explain(merge(recipe_without_space(recipe), tmp_path / "alone").path, ENTRY)
    assert value_of(alone, "weights", "first") == first
    assert not lines(alone, "base") and alone.merged is None and alone.belongs


def recipe_without_space(recipe):
    return {**recipe, "parameters": {"t": 0.5}}


def settings_of(method):
    found = {"density": 0.5} if REGISTRY[method].parameter("density") else {}
    return {**found, "select_topk": 0.5} if method == "sce" else found


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", REGISTRY)
def test_what_is_told_is_what_is_stored_for_every_method(tiny, tmp_path, method, dtype):
    names = ("persona", "agentic")[: REGISTRY[method].max_sources]
    out = merged(
        tiny, tmp_path, method, *names, seed=2, dtype=dtype, parameters=settings_of(method)
    )
    stored = weights(out)
    for name, entry in ((NAME, (ROW, COLUMN)), ("model.layers.0.self_attn.v_proj.weight", (0, 0))):
        found = explain(out, f"{name}[{', '.join(map(str, entry))}]")
        assert found.stored == found.rounded == float(stored[name][entry])
        assert found.belongs
        if method == "passthrough":  # hands weights on, without a base
            assert found.merged is None
        else:
            base = float(weights(tiny.base)[name][entry])
            assert found.value == pytest.approx(base + found.merged, rel=1e-6)
            assert [line for line in found.steps if line.step == "merged change"]
        json.dumps(found.to_dict(), allow_nan=False)


def test_sources_are_shown_in_the_recipes_order(tiny, tmp_path):
    for n, names in enumerate((("persona", "agentic"), ("agentic", "persona"))):
        out = merge(tiny.recipe("ties", *names), tmp_path / str(n)).path
        assert [line.who for line in lines(explain(out, ENTRY), "changes")] == list(names)


def test_a_tensor_that_nobody_changes_is_copied(tiny, tmp_path):
    out = merged(tiny, tmp_path, "ties")
    found = explain(out, "model.norm.weight[3]")
    (line,) = lines(found, "base")
    assert "no source changes this tensor" in line.said
    assert found.stored == float(weights(tiny.base)["model.norm.weight"][3])
    assert found.belongs and found.merged is None


def test_a_source_that_leaves_the_tensor_alone_is_said_to(tiny, tmp_path):
    found = explain(merged(tiny, tmp_path, "ties"), "model.layers.0.self_attn.v_proj.weight[0, 1]")
    (line,) = [line for line in lines(found, "changes") if line.who == "agentic"]
    assert (line.value, line.said) == (0.0, "changes nothing in this tensor")


def test_layers_of_slices_are_traced_to_where_they_come_from(tiny, tmp_path):
    part = [{"model": str(tiny.first), "layer_range": [1, LAYERS]}]
    whole = [{"model": str(tiny.first), "layer_range": [0, LAYERS]}]
    recipe = {"merge_method": "linear", "slices": [{"sources": whole}, {"sources": part}]}
    out = merge(recipe, tmp_path / "out").path
    found = explain(out, f"model.layers.{LAYERS}.mlp.up_proj.weight[{ROW}, {COLUMN}]")
    (line,) = lines(found, "layer")
    assert (line.who, line.said) == ("first", f"taken from {NAME}")
    assert found.stored == float(weights(tiny.first)[NAME][ROW, COLUMN])
    assert found.belongs


def test_negative_indices_count_from_the_end(tiny, tmp_path):
    out = merged(tiny, tmp_path, "ties")
    rows, columns = weights(tiny.base)[NAME].shape
    assert explain(out, f"{NAME}[-1,-2]").weight == f"{NAME}[{rows - 1}, {columns - 2}]"


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        ("model.layers.1.mlp.up_prj.weight[0, 0]", f"did you mean {NAME}"),
        (NAME, r"which entry\? write model.*its shape is \[48, 32\]"),
        (f"{NAME}[3]", "has 1 numbers for 2 dimensions"),
        (f"{NAME}[48, 0]", "lies outside the tensor, entries count from 0"),
        (f"{NAME}[0, -33]", "lies outside the tensor"),
        (f"{NAME}[one, 2]", "is no entry"),
        (f"{NAME}[]", "has 0 numbers"),
        ("", "has no tensor"),
        ("zzz[0]", "has no tensor 'zzz'"),
    ],
)
def test_a_weight_that_is_none_is_one_line(tiny, tmp_path_factory, weight, words):
    out = tmp_path_factory.getbasetemp() / "explained"
    if not out.exists():
        merge(tiny.recipe("ties"), out)
    with pytest.raises(UserError, match=words) as caught:
        explain(out, weight)
    assert "\n" not in str(caught.value)


def test_an_output_that_was_changed_no_longer_belongs_to_its_sources(tiny, tmp_path):
    out = merged(tiny, tmp_path, "ties")
    tensors = load_file(out / "model.safetensors")
    bits = tensors[NAME].view(torch.int32)
    bits[ROW, COLUMN] += 1  # the next float
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    found = explain(out, ENTRY)
    assert not found.belongs
    assert "no longer belongs" in lines(found, "stored")[0].said
    assert explain(out, f"{NAME}[0, 0]").belongs


def test_an_adapter_that_was_written_is_held_against_its_factors(tiny, tmp_path):
    """The linear merge of one adapter is that adapter."""
    out = merged(tiny, tmp_path, "linear", "persona")
    adapter = tiny.copy("persona", tmp_path / "adapter")
    for name in ("merge_report.json", "mergelab_recipe.yaml"):
        shutil.copy(out / name, adapter / name)
    found = explain(adapter, ENTRY)
    base = float(weights(tiny.base)[NAME][ROW, COLUMN])
    assert found.belongs
    assert found.stored == close(base + flat_changes(tiny)[0][place(tiny)])
    edit_json(adapter / "adapter_config.json", lora_alpha=9)
    assert not explain(adapter, ENTRY).belongs


def test_sources_that_were_changed_are_noticed(tiny, tmp_path):
    adapter = tiny.copy("persona", tmp_path / "adapter")
    recipe = {"merge_method": "ties", "base_model": str(tiny.base)}
    out = merge({**recipe, "models": [{"model": str(adapter)}]}, tmp_path / "out").path
    assert explain(out, ENTRY).belongs
    tensors = load_file(adapter / "adapter_model.safetensors")
    save_file({k: t * 2 for k, t in tensors.items()}, adapter / "adapter_model.safetensors")
    assert not explain(out, ENTRY).belongs
    now = make_plan(parse_recipe({**recipe, "models": [{"model": str(adapter)}]}))
    edit_json(out / "merge_report.json", fingerprints=["other", now.base.fingerprint])
    assert "(adapter changed since)" in lines(explain(out, ENTRY), "stored")[0].said
    shutil.rmtree(adapter)
    with pytest.raises(UserError, match=r"no such folder.*--folder"):
        explain(out, ENTRY)


def test_relative_sources_are_found_from_the_folder_that_is_named(tiny, tmp_path, monkeypatch):
    recipe = {"merge_method": "ties", "models": [{"model": "persona"}], "base_model": "base"}
    monkeypatch.chdir(tiny.root)
    out = merge(recipe, tmp_path / "far" / "out").path
    out = shutil.move(out, tmp_path / "out")  # away from where the report's folders start
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="'persona': no such folder"):
        explain(out, ENTRY)
    assert explain(out, ENTRY, folders=[tiny.root]).belongs


def test_relative_sources_are_found_where_the_report_says_they_were(tiny, tmp_path, monkeypatch):
    recipe = {"merge_method": "ties", "models": [{"model": "persona"}], "base_model": "base"}
    monkeypatch.chdir(tiny.root)
    out = merge(recipe, tmp_path / "far" / "out").path
    monkeypatch.chdir(tmp_path)
    assert explain(out, ENTRY).belongs


def test_what_is_no_merge_is_one_line(tiny):
    with pytest.raises(UserError, match=r"merge_report\.json: cannot be read"):
        explain(tiny.base, ENTRY)


def test_an_explanation_reads_as_text_and_as_a_page(tiny, tmp_path):
    recipe = tiny.recipe("ties", parameters={"density": 0.5})
    adapter = tiny.copy("persona", tmp_path / "a<b>[red]")
    recipe["models"][0]["model"] = str(adapter)
    recipe["base_model"] = str(tiny.base)
    found = explain(merge(recipe, tmp_path / "out").path, ENTRY)
    text, page = str(found), found._repr_html_()
    for word in ("base", "trim", "vote", "mean", "merged change", "stored", "a<b>[red]", ENTRY):
        assert word in text
    assert "a&lt;b&gt;[red]" in page and "<b>" not in page
    assert page.count('scope="row"') == len(found.steps) and page.count('scope="col"') == 4
