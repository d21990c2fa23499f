"""A search tunes on dev only; the same seed gives the same; a stopped one goes on where it was."""

import csv
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import pytest
import yaml

import mergelab.evaluation.suites as suites
from mergelab.errors import UserError
from mergelab.evaluation.comparison import Lead
from mergelab.evaluation.dev_scores import Conditions, Scores
from mergelab.evaluation.ranges import Ranges
from mergelab.evaluation.search_space import Dimension, search_space
from mergelab.evaluation.statistics import Interval
from mergelab.evaluation.tuning import Trial, best, front, run_search
from mergelab.evaluation.tuning_record import Record
from mergelab.evaluation.tuning_result import conclusion, write_choice
from mergelab.evaluation.tuning_run import prepare
from mergelab.methods import REGISTRY
from mergelab.notebook.tuning_plot import tuning_plot
from mergelab.paths import data_path
from mergelab.recipes import make_plan, parse_recipe
from mergelab.workers import Workers

SKILLS = ("persona", "agentic")
CONDITIONS = Conditions(SKILLS, limit=2, seed=3)


def space_of(tiny, method="ties", ranges=(), groups=1, names=(), **more):
    recipe = parse_recipe(tiny.recipe(method, *names, **more))
    return search_space(recipe, make_plan(recipe), Ranges.parse(ranges), groups)


def scores(persona, agentic):
    rates = {"persona": persona, "agentic": agentic}
    found = {skill: Interval(rate, rate - 0.1, rate + 0.1) for skill, rate in rates.items()}
    return Scores(found, Interval((persona + agentic) / 2, 0.0, 1.0))


class Hill:
    """Stands in for merging and asking: the closer to density .3 and lambda 1.2, the higher.

    The persona wants a higher lambda than the agent does. Counts what was measured, and can be
    told to break off, or to be the slower the earlier it is asked.
    """

    def __init__(self, stop_after=None, slow=False):
        self.measured, self.stop_after, self.slow = [], stop_after, slow
        self.lock = threading.Lock()

    def __call__(self, recipe, conditions):
        with self.lock:
            if len(self.measured) == self.stop_after:
                raise KeyboardInterrupt
            self.measured.append(recipe.model_dump_json())
        density = recipe.parameters.get("density", 1.0)
        lam = recipe.parameters.get("lambda", 1.0)
        if self.slow:
            time.sleep(0.02 * density)
        near = 1 - abs(density - 0.3)
        return scores(near - 0.2 * abs(lam - 1.3), near - 0.2 * abs(lam - 1.1))


class InMemory:
    """Stands in for a record where it is of no interest."""

    def __init__(self):
        self.given, self.known = None, {}

    def outcome(self, values):
        return self.known.get(tuple(values.values()))

    def note(self, values, outcome):
        self.known[tuple(values.values())] = outcome


def searched(space, record, how="evolutionary", trials=16, hill=None, workers=None, seed=3):
    conditions = replace(CONDITIONS, seed=seed)
    hill = hill or Hill()
    return run_search(space, how, trials, conditions, record, measure=hill, workers=workers)


def resumed(space, folder, how="evolutionary", trials=10, hill=None, seed=3):
    settings = {"search": how, "trials": trials, "skills": list(SKILLS), "seed": seed}
    with Record(folder, settings, space.dimensions) as record:
        return searched(space, record, how, trials, hill, seed=seed)


# What is searched


@pytest.mark.parametrize(
    ("method", "names"),
    [
        ("linear", ["share"]),
        ("task_arithmetic", ["share", "lambda"]),
        ("slerp", ["t"]),
        ("nuslerp", ["share"]),
        ("ties", ["share", "density", "lambda"]),
        ("dare_linear", ["share", "density", "lambda"]),
        ("della", ["share", "density", "lambda"]),
        ("sce", ["select_topk"]),
        ("tsv_merge", ["share", "lambda", "rank_share"]),
        ("core_space", ["share", "lambda"]),
    ],
)
def test_each_method_has_its_numbers(tiny, method, names):
    assert [dimension.name for dimension in space_of(tiny, method).dimensions] == names


@pytest.mark.parametrize("method", sorted(REGISTRY))
def test_default_ranges_are_allowed_and_ends_can_be_merged(tiny, method):
    one = REGISTRY[method].max_sources == 1
    try:
        space = space_of(tiny, method, names=("persona",) if one else ())
    except UserError as error:
        assert method in {"multislerp", "karcher", "model_stock", "arcee_fusion", "passthrough"}, (
            error
        )
        return
    for end in ("low", "high"):
        values = {dimension.name: getattr(dimension, end) for dimension in space.dimensions}
        make_plan(space.recipe_with(values))  # refuses a value that the method does not allow


def test_values_replace_whatever_the_recipe_says_about_them(tiny):
    recipe = tiny.recipe(parameters={"lambda": 0.7})
    recipe["models"][0]["parameters"] = {"density": 0.9, "weight": 3.0}
    recipe["models"][1]["parameters"] = {
        "density": [{"filter": "mlp", "value": 0.1}, {"value": 0.4}]
    }
    recipe = parse_recipe(recipe)
    space = search_space(recipe, make_plan(recipe))
    made = make_plan(space.recipe_with({"density": 0.25, "share": 0.25, "lambda": 1.5}))
    by_name = {source.name: number for number, source in enumerate(made.sources)}
    for tensor in made.tensors:
        assert tensor.settings["lam"] == 1.5
        for (number, _), own in zip(tensor.inputs, tensor.per_source, strict=True):
            assert own["density"] == 0.25
            # 3 and 1 (the default) in the recipe: the sum of 4 stays, the first gets a quarter
            assert own["weight"] == (1.0 if number == by_name["persona"] else 3.0)


def test_each_group_of_layers_has_values_of_its_own(tiny):
    space = space_of(tiny, "task_arithmetic", groups=2)
    assert [d.name for d in space.dimensions] == ["share.1", "share.2", "lambda.1", "lambda.2"]
    values = {"share.1": 0.25, "share.2": 0.5, "lambda.1": 0.6, "lambda.2": 1.4}
    plan = make_plan(space.recipe_with(values))
    first = next(n for n, source in enumerate(plan.sources) if source.name == "persona")
    found = {}
    for tensor in plan.tensors:
        each = zip(tensor.inputs, tensor.per_source, strict=True)
        weights = {n: own["weight"] for (n, _), own in each}
        found[tensor.layer] = (tensor.settings["lam"], weights[first])
    # three layers in two groups: the first two, the last one
    assert (found[0], found[1], found[2]) == ((0.6, 0.5), (0.6, 0.5), (1.4, 1.0))


def test_slices_and_three_models_can_be_tuned(tiny):
    recipe = parse_recipe(
        {
            "merge_method": "slerp",
            "base_model": str(tiny.first),
            "slices": [
                {
                    "sources": [
                        {"model": str(tiny.first), "layer_range": [0, 3]},
                        {"model": str(tiny.second), "layer_range": [0, 3]},
                    ],
                    "parameters": {"t": 0.1},
                }
            ],
            "parameters": {"t": [{"filter": "mlp", "value": 0.9}, {"value": 0.5}]},
        }
    )
    space = search_space(recipe, make_plan(recipe), groups=3)
    made = make_plan(space.recipe_with({"t.1": 0.2, "t.2": 0.4, "t.3": 0.8}))
    assert {t.layer: t.settings["t"] for t in made.tensors if t.layer is not None} == {
        0: 0.2, 1: 0.4, 2: 0.8
    }  # fmt: skip
    three = space_of(tiny, "linear", names=("first", "second", "base"))
    assert [d.name for d in three.dimensions] == ["weight.first", "weight.second", "weight.base"]
    assert {(d.low, d.high) for d in three.dimensions} == {(0.0, 2.0)}


def test_a_range_narrows_adds_and_holds(tiny):
    space = space_of(tiny, ranges=["density=0.2:0.4", "lambda=1.1", "weight=0:3"])
    assert [(d.name, d.low, d.high) for d in space.dimensions] == [
        ("weight.persona", 0, 3),
        ("weight.agentic", 0, 3),
        ("density", 0.2, 0.4),
    ]
    made = space.recipe_with({"weight.persona": 1, "weight.agentic": 2, "density": 0.3})
    assert made.parameters == {"density": 0.3, "lambda": 1.1}


@pytest.mark.parametrize(
    ("method", "ranges", "groups", "words"),
    [
        ("ties", ["density=0.1:1.5"], 1, "--range density: must lie between 0 and 1, got 1.5"),
        ("ties", ["density=0.1"], 9, "the model has 3 layers; ask for 3 groups at most"),
        ("ties", ["density"], 1, "write NAME=LOW:HIGH, such as density=0.1:0.9"),
        ("ties", ["density=a:b"], 1, "write NAME=LOW:HIGH"),
        ("ties", ["density=.1:.2:.3"], 1, "write NAME=LOW:HIGH"),
        ("ties", ["density=0.9:0.1"], 1, "the first number must be below the second"),
        ("ties", ["density=nan:0.1"], 1, "must be a finite number"),
        ("ties", ["t=0:1"], 1, "--range t: unknown parameter for ties; use one of"),
        ("ties", ["lam=0:1"], 1, "write 'lambda'"),
        ("ties", ["election=0:1"], 1, "--range election: is no number"),
        ("ties", ["density=.1:.2", "density=.1:.3"], 1, "density is given twice"),
        ("ties", ["share=.1:.2", "weight=0:1"], 1, "keep one of them"),
        ("svd", ["rank=1.5:3"], 1, "--range rank: must be a whole number, got 1.5"),
        ("slerp", ["t=0.5"], 1, "every number is held at one value"),
        ("model_stock", [], 1, "model_stock: has no number to tune"),
        ("karcher", [], 1, "such as --range max_iter=LOW:HIGH"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_one_line(tiny, method, ranges, groups, words):
    with pytest.raises(UserError) as refused:
        space_of(tiny, method, ranges, groups)
    assert words in str(refused.value)


def test_a_share_is_for_two_models_and_a_global_trim_for_one_group(tiny):
    with pytest.raises(UserError, match="is for two models, the recipe merges 3"):
        space_of(tiny, "linear", ["share=.1:.9"], names=("first", "second", "base"))
    with pytest.raises(UserError, match="trims all layers together"):
        space_of(tiny, groups=2, compat="paper")


def test_points_and_rounding():
    density = Dimension("density", "density", 0.1, 0.9)
    assert density.points(3) == [0.1, 0.5, 0.9]
    distance = Dimension("t", "t", 1e-5, 1e-2, log=True)
    assert distance.points(4) == [1e-5, 1e-4, 1e-3, 1e-2]
    assert distance.rounded(0.000123456) == 0.000123
    rank = Dimension("rank", "rank", 1, 3, whole=True)
    assert rank.points(7) == [1, 2, 3]


def test_a_grid_has_at_most_the_trials_and_says_what_it_needs(tiny):
    space = space_of(tiny)
    points = space.grid(30)
    assert len(points) == 27
    assert {point["density"] for point in points} == {0.1, 0.55, 1.0}
    with pytest.raises(UserError, match="write --trials 8, or --search random"):
        space.grid(7)


# How it is searched


@pytest.mark.parametrize("how", ["grid", "random", "evolutionary"])
def test_a_search_ends_near_the_top(tiny, how):
    space = space_of(tiny, ranges=["share=0.5"])
    found = searched(space, InMemory(), how, trials=49)
    assert [trial.number for trial in found] == list(range(50))
    chosen = best(found)
    # the grid has densities .1, .25, .4 and lambdas 1.15, 1.43 around the top
    assert chosen.values["density"] == pytest.approx(0.3, abs=0.1)
    assert chosen.values["lambda"] == pytest.approx(1.2, abs=0.3)
    assert chosen.scores.combined.estimate > found[0].scores.combined.estimate


def test_evolution_comes_closer_than_chance(tiny):
    space = space_of(tiny, ranges=["share=0.5"])

    def mean_of_last(how):
        found = searched(space, InMemory(), how, trials=60)[-20:]
        return sum(trial.scores.combined.estimate for trial in found) / len(found)

    assert mean_of_last("evolutionary") > mean_of_last("random") + 0.1


@pytest.mark.parametrize("how", ["random", "evolutionary"])
def test_the_seed_decides_and_neither_workers_nor_their_speed_do(tiny, how):
    space = space_of(tiny)
    alone = searched(space, InMemory(), how)
    workers = Workers(lambda: ThreadPoolExecutor(3))
    together = searched(space, InMemory(), how, hill=Hill(slow=True), workers=workers)
    workers.close()
    assert alone == together
    assert searched(space, InMemory(), how, seed=4) != alone


@pytest.mark.parametrize("stop_after", [0, 1, 6])
def test_a_stopped_search_goes_on_and_ends_the_same(tiny, tmp_path, stop_after):
    space = space_of(tiny)
    whole = Hill()
    expected = resumed(space, tmp_path / "whole", hill=whole)
    first, second = Hill(stop_after), Hill()
    with pytest.raises(KeyboardInterrupt):
        resumed(space, tmp_path / "out", hill=first)
    assert resumed(space, tmp_path / "out", hill=second) == expected
    assert first.measured + second.measured == whole.measured
    again = Hill(stop_after=0)
    assert resumed(space, tmp_path / "out", hill=again) == expected  # nothing is measured again


def test_another_search_does_not_get_into_the_folder(tiny, tmp_path):
    space = space_of(tiny)
    resumed(space, tmp_path / "out", trials=8)
    for other, words in (({"trials": 9}, "trials"), ({"how": "random", "seed": 4}, "search, seed")):
        with pytest.raises(UserError, match=f"differs in {words}; choose another folder"):
            resumed(space, tmp_path / "out", **{"trials": 8, **other})
    with pytest.raises(UserError, match="exists already and holds no search"):
        resumed(space, tmp_path)
    settings = {"search": "evolutionary", "trials": 8, "skills": list(SKILLS), "seed": 3}
    with (
        Record(tmp_path / "out", settings, space.dimensions),
        pytest.raises(UserError, match="another search is at work there"),
    ):
        resumed(space, tmp_path / "out", trials=8)
    (tmp_path / "out" / "search.db").write_bytes(b"no database" * 100)
    with pytest.raises(UserError, match=r"search\.db: cannot be opened"):
        resumed(space, tmp_path / "out", trials=8)


@pytest.mark.parametrize("name", ["a?b=c", "100%25", "#1", "ä ö"])
def test_a_folder_may_be_called_anything(tiny, tmp_path, name):
    assert len(resumed(space_of(tiny), tmp_path / name, trials=4)) == 5
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_cannot_be_merged_is_kept_with_its_reason(tiny, tmp_path):
    def fussy(recipe, conditions):
        if recipe.parameters.get("density", 1.0) < 0.5:
            return "density: too small for this test"
        return Hill()(recipe, conditions)

    space = space_of(tiny)
    found = searched(space, InMemory(), hill=fussy)
    failed = [trial for trial in found if trial.scores is None]
    assert 0 < len(failed) < 16
    assert all(trial.values["density"] < 0.5 for trial in failed)
    assert best(found) not in failed
    write_choice(tmp_path, space, found, {"search": "evolutionary", "seed": 3})
    with (tmp_path / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["trial"] for row in rows] == ["as given", *map(str, range(1, 17))]
    assert {row["problem"] for row in rows if not row["combined"]} == {failed[0].problem}
    with pytest.raises(UserError, match="none of the 4 trials can be merged; the first: no"):
        searched(
            space,
            InMemory(),
            trials=4,
            hill=lambda recipe, conditions: scores(1, 1) if recipe == space.recipe else "no",
        )
    with pytest.raises(UserError, match="not even as given"):
        searched(space, InMemory(), hill=lambda recipe, conditions: "not even as given")


def test_of_equals_the_recipe_as_given_stays_and_the_front_holds_no_beaten_one():
    points = [scores(0.5, 0.5), scores(0.5, 0.5), scores(0.4, 0.6), scores(0.4, 0.5)]
    trials = [Trial(number, {}, each) for number, each in enumerate(points)]
    assert best(trials).number == 0
    assert [trial.number for trial in front(trials)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("low", "high", "p", "words"),
    [
        (
            0.01,
            0.05,
            0.004,
            "0.030 ahead of the recipe as given (0.010 to 0.050, p .004): the gain",
        ),
        (-0.01, 0.07, 0.2, "ahead of the recipe as given (-0.010 to 0.070, p .200): within noise"),
        (-0.05, -0.01, 4e-4, "0.030 behind the recipe as given (-0.050 to -0.010, p below .001): "),
        (-0.01, 0.01, 1.0, "scores as much as the recipe as given (-0.010 to 0.010, p 1.000)"),
    ],
)
def test_the_conclusion_says_whether_the_gain_is_more_than_noise(low, high, p, words):
    lead = Lead(Interval((low + high) / 2, low, high), p)
    assert words in conclusion(Trial(7, {}, scores(1, 1)), lead)
    assert "no gain" in conclusion(Trial(0, {}, scores(1, 1)), None)


@pytest.mark.parametrize("skills", [("persona",), SKILLS, (*SKILLS, "digest")], ids=len)
def test_the_figure_shows_every_trial_the_front_and_both_recipes_on_test(skills):
    rates = [(0.5, 0.5, 0.5), (0.9, 0.2, 0.5), (0.4, 0.4, 0.4), (0.6, 0.9, 0.6)]
    trials = []
    for number, point in enumerate(rates):
        found = {s: Interval(rate, 0, 1) for s, rate in zip(skills, point, strict=False)}
        mean = sum(rate.estimate for rate in found.values()) / len(found)
        trials.append(Trial(number, {}, Scores(found, Interval(mean, 0, 1))))
    trials.append(Trial(4, {}, None, "cannot be merged"))
    test = {name: {skill: [0.7, 0.6, 0.8] for skill in skills} for name in ("as given", "tuned")}
    picture = tuning_plot(trials, test, method="ties")
    axes = picture.figure.axes
    assert len(axes) == {1: 1, 2: 1, 3: 3}[len(skills)]
    lines = {line.get_label(): line for line in axes[0].get_lines()}
    drawn = sorted(zip(*lines["trial, on dev"].get_data(), strict=True))
    wanted = (
        [(n, r[0]) for n, r in enumerate(rates)] if len(skills) == 1 else [r[:2] for r in rates]
    )
    assert drawn == sorted(wanted)
    if len(skills) > 1:
        on_front = sorted(zip(*lines["front, on dev"].get_data(), strict=True))
        assert on_front == [(0.6, 0.9), (0.9, 0.2)]
    legend = [text.get_text() for text in picture.figure.legends[0].get_texts()]
    chosen = 1 if len(skills) == 1 else 3
    for label in (f"tuned (trial {chosen}), on dev", "as given, on test (95%)"):
        assert label in legend
    assert all(axis.get_xlabel() and axis.get_ylabel() for axis in axes)
    assert f"trial {chosen}: persona {rates[chosen][0]:.3f}" in picture.alt


# On dev only


SHIPPED = data_path("recipes", "task_arithmetic.yaml")


def tuned(folder, recipe=SHIPPED):
    """The real thing, small: the shipped pair, three trials, six items of each dev suite."""
    job = prepare(recipe, Conditions(SKILLS, limit=6), "random", 3)
    with job.open(folder) as record:
        trials = job.search(record, Workers(), lambda *_: None)
        chosen = (folder / "best.yaml").read_bytes(), (folder / "trials.csv").read_bytes()
        return chosen, lambda: job.test(record, trials, lambda *_: None)


def test_no_test_item_is_used_in_the_choice(tmp_path, monkeypatch):
    shipped = suites.data_path
    chosen, test = tuned(tmp_path / "plain")
    plain = test()

    def closed(*parts):
        if parts[-1].endswith("_test.jsonl"):
            raise AssertionError(f"{parts[-1]} was opened")
        return shipped(*parts)

    monkeypatch.setattr(suites, "data_path", closed)
    without, test = tuned(tmp_path / "closed")
    assert without == chosen
    with pytest.raises(AssertionError, match=r"persona_test\.jsonl was opened"):
        test()
    assert not (tmp_path / "closed" / "summary.json").exists()

    def scrambled(*parts):
        path = shipped(*parts)
        if not parts[-1].endswith("_test.jsonl"):
            return path
        items = [json.loads(line) for line in path.read_text().splitlines()]
        answers = [key for key in items[0] if key not in ("id", "template", "input")]
        for item, other in pairwise(items):
            item.update({key: other[key] for key in answers})
        made = tmp_path / parts[-1]
        made.write_text("\n".join(json.dumps(item) for item in items))
        return made

    monkeypatch.setattr(suites, "data_path", scrambled)
    other, test = tuned(tmp_path / "scrambled")
    assert other == chosen
    found = test()
    assert found["test"] != plain["test"]
    assert found["chosen"] == plain["chosen"]
    assert found["dev"] == plain["dev"]


def test_the_tuned_recipe_is_measured_beside_the_given_one_on_the_same_test_items(tmp_path):
    poor = yaml.safe_load(SHIPPED.read_text())
    poor["parameters"]["lambda"] = 0.05  # leaves the base nearly as it was
    recipe = tmp_path / "poor.yaml"
    recipe.write_text(yaml.safe_dump(poor))
    _, test = tuned(tmp_path / "out", recipe)
    found = test()
    from mergelab.engine import merge
    from mergelab.evaluation import compare, evaluate

    ends = {"as given": recipe, "tuned": tmp_path / "out" / "best.yaml"}
    measured = {
        name: evaluate(*merge(path).load(), split="test", limit=6) for name, path in ends.items()
    }
    for name, evaluation in measured.items():
        for skill, result in evaluation.skills.items():
            assert found["test"][name][skill][0] == result.rate.estimate
    gain = compare(measured["tuned"], measured["as given"])["combined"].estimate
    assert gain > 0
    assert found["gain"]["difference"] == pytest.approx(gain)
    assert f"{gain:.3f} ahead of the recipe as given" in found["conclusion"]
    assert (tmp_path / "out" / "front.png").read_bytes().startswith(b"\x89PNG")
