"""A recipe is read key by key; whatever is wrong is one line with the place and what to write."""

import pytest

from mergelab.errors import UserError
from mergelab.recipes import parse_recipe, read_recipe

TWO = "models: [{model: a}, {model: b}]\n"


def read(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return read_recipe(path)


def complaint(tmp_path, text):
    with pytest.raises(UserError) as refused:
        read(tmp_path, text)
    message = str(refused.value)
    assert message.startswith(f"{tmp_path / 'recipe.yaml'}: ")
    assert "\n" not in message
    return message.removeprefix(f"{tmp_path / 'recipe.yaml'}: ")


TIES = "merge_method: ties\n"
MISSPELT = [
    # a recipe, the place of the mistake in it, what is suggested
    ("merge_metod: ties\n" + TWO, "merge_metod", "merge_method"),
    ("merge_method: ties\nmodel: [{model: a}]\n", "model", "models"),
    ("merge_method: ties\nbase: x\n" + TWO, "base", "base_model"),
    ("merge_method: ties\ntokeniser_source: base\n" + TWO, "tokeniser_source", "tokenizer_source"),
    ("merge_method: ties\nout_dytpe: float16\n" + TWO, "out_dytpe", "out_dtype"),
    ("merge_method: ties\ndensty: .5\n" + TWO, "densty", "density"),
    ("merge_method: linear\nnormalise: true\n" + TWO, "normalise", "normalize"),
    ("merge_method: ties\nmodels: [{modle: a}]\n", "models[0].modle", "model"),
    (TIES + "models: [{model: a}, {model: b, wieght: 1}]\n", "models[1].wieght", "weight"),
    (TIES + "models: [{model: a, paramters: {}}]\n", "models[0].paramters", "parameters"),
    ("merge_method: ties\nslices: [{source: []}]\n", "slices[0].source", "sources"),
    (
        "merge_method: ties\nslices: [{sources: [{model: a, layer_ranges: [0, 1]}]}]\n",
        "slices[0].sources[0].layer_ranges",
        "layer_range",
    ),
]


@pytest.mark.parametrize(("text", "place", "right"), MISSPELT, ids=[row[1] for row in MISSPELT])
def test_a_misspelt_key_at_any_level_is_named_with_the_nearest_one(tmp_path, text, place, right):
    message = complaint(tmp_path, text)
    assert f"unknown key '{place}'" in message
    assert f"'{right}'" in message.split(";")[1]


def test_a_key_that_resembles_nothing_is_answered_with_the_keys_there_are(tmp_path):
    message = complaint(tmp_path, "merge_method: ties\nmodels: [{model: a, zzz: 1}]\n")
    assert "unknown key 'models[0].zzz'; use one of" in message
    assert "density" in message


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("tise", "did you mean 'ties'?"),
        ("dare_tie", "did you mean 'dare_ties'?"),
        ("task-arithmetic", "did you mean 'task_arithmetic'?"),
        ("average", "write 'linear'"),
        ("zzz", "use one of arcee_fusion, breadcrumbs"),
        ("7", "merge_method: input should be a valid string"),
    ],
)
def test_an_unknown_method_is_answered_with_the_nearest(tmp_path, method, words):
    assert words in complaint(tmp_path, f"merge_method: {method}\n{TWO}")


WRONG = {
    "empty file": ("", "a recipe is a mapping"),
    "a list": ("- merge_method: ties\n", "a recipe is a mapping"),
    "a word": ("ties", "a recipe is a mapping"),
    "no method": (TWO, "'merge_method' is missing"),
    "no models": ("merge_method: ties\n", "write either 'models' or 'slices'"),
    "empty models": ("merge_method: ties\nmodels: []\n", "write either 'models' or 'slices'"),
    "models and slices": (
        "merge_method: ties\nslices: [{sources: [{model: a}]}]\n" + TWO,
        "write either 'models' or 'slices'",
    ),
    "slice without sources": ("merge_method: ties\nslices: [{sources: []}]\n", "slices[0].sources"),
    "entry without model": ("merge_method: ties\nmodels: [{}]\n", "'models[0].model' is missing"),
    "entry as a word": (
        "merge_method: ties\nmodels: [a, b]\n",
        "models[0]: an entry names its model by a key; write 'model: a'",
    ),
    "a date that is none": ("merge_method: 2024-13-45\n" + TWO, "not valid YAML"),
    "a number without end": (f"merge_method: ties\nrank: {'9' * 5000}\n", "not valid YAML"),
    "models as a mapping": ("merge_method: ties\nmodels: {model: a}\n", "models"),
    "parameters as a list": ("merge_method: ties\nparameters: [1]\n" + TWO, "parameters"),
    "unknown dtype": ("merge_method: ties\ndtype: bf16\n" + TWO, "dtype"),
    "layer_range of three": (
        "merge_method: ties\nslices: [{sources: [{model: a, layer_range: [0, 1, 2]}]}]\n",
        "slices[0].sources[0].layer_range",
    ),
    "layer_range of words": (
        "merge_method: ties\nslices: [{sources: [{model: a, layer_range: [first, last]}]}]\n",
        "slices[0].sources[0].layer_range[0]",
    ),
    "template by name": (
        "merge_method: ties\nchat_template: chatml\n" + TWO,
        "chat_template: 'chatml' is no template; write 'auto'",
    ),
    "given twice": (
        "merge_method: ties\nmodels: [{model: a, weight: 1, parameters: {weight: 2}}]\n",
        "'weight' is given twice",
    ),
    "key twice": ("merge_method: ties\nmerge_method: linear\n" + TWO, "line 2: key 'merge_method'"),
    "parameter twice": (
        "merge_method: ties\nparameters:\n  density: .3\n  density: .5\n" + TWO,
        "line 4: key 'density' occurs twice",
    ),
    "several recipes": (
        "merge_method: ties\n" + TWO + "---\nmerge_method: ties\n" + TWO,
        "holds 2 recipes, parted by '---' (mergekit-multi)",
    ),
    "modules": (
        "merge_method: ties\nmodules: {default: {models: [{model: a}]}}\n",
        "'modules': merges of models made of several parts are not supported",
    ),
    "a base for one slice": (
        "merge_method: ties\nslices: [{sources: [{model: a}], base_model: b}]\n",
        "'slices[0].base_model': one base holds for all slices",
    ),
    "residual_weight": (
        "merge_method: ties\nslices: [{sources: [{model: a}], residual_weight: 0.5}]\n",
        "'slices[0].residual_weight': not supported",
    ),
    "a seed in the recipe": ("merge_method: ties\nseed: 3\n" + TWO, "'seed': belongs to the run"),
    "another architecture": (
        "merge_method: ties\nmodels: [{model: {model: a, override_architecture: X}}]\n",
        "models[0].model: 'override_architecture': not supported",
    ),
    "long form, misspelt": (
        "merge_method: ties\nmodels: [{model: {model: a, loar: b}}]\n",
        "models[0].model: unknown key 'loar'; did you mean 'lora'?",
    ),
    "long form without a model": (
        "merge_method: ties\nmodels: [{model: {lora: b}}]\n",
        "models[0].model: 'model' is missing",
    ),
    "an adapter of slices": (
        "merge_method: ties\noutput: adapter\nslices: [{sources: [{model: a}]}]\n",
        "output: an adapter keeps its base's layers",
    ),
    "rank of a model": (
        "merge_method: ties\nrank: 8\n" + TWO,
        "rank: only adapters have one; write 'output: adapter'",
    ),
    "rank 0": ("merge_method: ties\noutput: adapter\nrank: 0\n" + TWO, "rank: "),
    "an output that is none": ("merge_method: ties\noutput: lora\n" + TWO, "output: "),
    "not YAML": ("merge_method: [ties\nmodels: }", "not valid YAML, line 2"),
    "a tab": ("merge_method: ties\n\tmodels: 3", "not valid YAML, line 2"),
    "a Python object": ("!!python/object/apply:os.getcwd []", "not valid YAML"),
    "nested too deep": ("[" * 5000, "not valid YAML"),
}


@pytest.mark.parametrize(("text", "words"), WRONG.values(), ids=WRONG.keys())
def test_what_is_no_recipe_is_one_line_with_the_place(tmp_path, text, words):
    assert words in complaint(tmp_path, text)


def test_a_missing_file_a_folder_and_a_file_that_is_no_text_are_named(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"\xff\xfe\x00\x81")
    for path, words in (
        (tmp_path / "missing.yaml", "cannot be read"),
        (tmp_path, "cannot be read"),
        (tmp_path / "model.safetensors", "not a text file"),
    ):
        with pytest.raises(UserError, match=words) as refused:
            read_recipe(path)
        assert str(path) in str(refused.value)


def test_parameters_beside_a_model_mean_the_same_as_under_parameters(tmp_path):
    direct = read(tmp_path, "merge_method: ties\nmodels: [{model: a, weight: .3, density: .5}]\n")
    under = read(
        tmp_path,
        "merge_method: ties\nmodels: [{model: a, parameters: {weight: .3, density: .5}}]\n",
    )
    assert direct == under
    direct = read(tmp_path, "merge_method: ties\nlambda: .7\n" + TWO)
    under = read(tmp_path, "merge_method: ties\nparameters: {lambda: .7}\n" + TWO)
    assert direct == under


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("a", "a"),
        ("{model: a}", "a"),
        ("{model: a, lora: b}", "a+b"),
        ("{model: {path: org/a, revision: v2}}", "org/a@v2"),
        ("{model: {path: a}, lora: {path: org/b, revision: v1}}", "a+org/b@v1"),
    ],
)
def test_mergekits_long_form_of_a_model_is_the_short_one(tmp_path, written, meant):
    text = f"merge_method: ties\nmodels: [{{model: {written}}}]\nbase_model: {written}\n"
    recipe = read(tmp_path, text + f"tokenizer_source: {written}\n")
    assert (recipe.models[0].model, recipe.base_model) == (meant, meant)
    assert recipe.tokenizer_source == meant


def test_a_recipe_may_have_a_name(tmp_path):
    assert read(tmp_path, "name: mine\nmerge_method: ties\n" + TWO).name == "mine"


def test_a_recipe_may_end_with_a_line_of_dashes_or_begin_with_one(tmp_path):
    assert read(tmp_path, "---\nmerge_method: ties\n" + TWO).merge_method == "ties"


def test_what_is_written_back_means_the_same(tmp_path):
    rows = "c: {source: {kind: model_token, model: x, token_id: 0}}"
    tokens = f"{{a: {{source: x}}, b: {{source: {{kind: zero}}, force: true}}, {rows}}}"
    recipe = read(
        tmp_path,
        f"merge_method: ties\ntokenizer: {{source: union, tokens: {tokens}}}\n" + TWO,
    )
    written = recipe.model_dump(exclude_none=True, mode="json")
    assert parse_recipe(written) == recipe


def test_empty_parameters_are_no_parameters(tmp_path):
    recipe = read(tmp_path, "merge_method: ties\nparameters:\nmodels: [{model: a, parameters: }]\n")
    assert recipe.parameters == {}
    assert recipe.models[0].parameters == {}


def test_plain_data_is_a_recipe_too():
    recipe = parse_recipe({"merge_method": "ties", "models": [{"model": "a"}]})
    assert [entry.model for entry in recipe.models] == ["a"]
    with pytest.raises(UserError, match=r"^my recipe: .*'ties'"):
        parse_recipe({"merge_method": "tie", "models": [{"model": "a"}]}, "my recipe")
