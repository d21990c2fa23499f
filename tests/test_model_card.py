"""The card beside a merge: read by the hub, true to the merge, silent about the machine."""

import shutil
from dataclasses import replace
from importlib.metadata import version

import pytest
import yaml
from huggingface_hub import ModelCard
from tiny_models import edit_json

from mergelab.engine import merge
from mergelab.model_card import NOT_STATED, model_card, stated_licence

LICENCE = "---\nlicense: {}\n---\n# A model\n"


@pytest.fixture
def folders(tiny, tmp_path):
    """Copies of a base, two adapters and a model, each with a card that states its licence."""
    for name in ("base", "persona", "agentic", "first", "second"):
        tiny.copy(name, tmp_path / name)
        (tmp_path / name / "README.md").write_text(LICENCE.format("apache-2.0"))
    for name in ("persona", "agentic"):
        edit_json(tmp_path / name / "adapter_config.json", base_model_name_or_path="base")
    return tmp_path


def ties(folders, *names, **more):
    """What a TIES merge of these models gave."""
    return merge(
        {
            "merge_method": "ties",
            "models": [{"model": str(folders / name)} for name in names],
            "parameters": {"density": 0.5},
            **more,
        }
    )


def card_of(result, output="model"):
    return model_card(result.plan, result.report, output=output)


def recipe_in(text):
    return yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])


@pytest.mark.parametrize(("output", "library"), [("model", "transformers"), ("adapter", "peft")])
def test_the_hub_reads_its_front_matter(folders, output, library):
    card = ModelCard(card_of(ties(folders, "persona", "agentic"), output))
    data = card.data.to_dict()
    assert data["base_model"] == ["base", "persona", "agentic"]
    assert data["base_model_relation"] == "merge"
    assert data["tags"] == ["merge", "mergelab"]
    assert data["library_name"] == library
    assert data["license"] == "apache-2.0"
    assert card.text.lstrip().startswith("# ties of persona and agentic")


def test_it_says_what_was_merged_how_and_with_what(folders):
    result = ties(folders, "persona", "agentic")
    text = card_of(result)
    assert recipe_in(text) == {
        "merge_method": "ties",
        "models": [{"model": "persona"}, {"model": "agentic"}],
        "parameters": {"density": 0.5},
    }
    for row in ("| base | base |", "| persona | adapter |", "| agentic | adapter |"):
        assert f"{row} apache-2.0 |" in text
    for package in ("mergelab", "torch", "transformers"):
        assert f"{package} {version(package)}" in text
    total = result.report.total()
    assert f"{total.entries:,} parameters in {total.tensors} tensors" in text
    assert f"{total.conflicts / total.entries:.1%}" in text
    assert f"{total.magnitude_kept:.3f}" in text
    assert f"{total.angle:.1f}°" in text
    assert "evaluate it on what each of its sources can do" in text
    assert "licences of the sources carry over" in text


def test_it_shows_how_to_load_what_was_written(folders):
    result = ties(folders, "persona", "agentic")
    assert "AutoModelForCausalLM.from_pretrained(folder)" in card_of(result)
    adapter = card_of(result, "adapter")
    assert "PeftModel.from_pretrained" in adapter
    assert 'base = "path/to/base"' in adapter
    assert f"peft {version('peft')}" in adapter


def test_the_same_merge_gives_the_same_card_wherever_it_is_made(folders, tmp_path):
    first = card_of(ties(folders, "persona", "agentic", base_model=str(folders / "base")))
    elsewhere = shutil.copytree(folders, tmp_path / "elsewhere" / "deep")
    again = card_of(ties(elsewhere, "persona", "agentic", base_model=str(elsewhere / "base")))
    assert first == again
    assert str(tmp_path) not in first
    assert str(tmp_path.parent) not in first


def test_slices_and_tokenizers_are_named_without_their_paths_too(folders):
    sources = [{"model": str(folders / n), "layer_range": [0, 3]} for n in ("first", "second")]
    result = merge(
        {
            "merge_method": "slerp",
            "slices": [{"sources": sources}],
            "base_model": str(folders / "first"),
            "tokenizer_source": str(folders / "second"),
            "parameters": {"t": 0.5},
        }
    )
    text = card_of(result)
    assert str(folders) not in text
    recipe = recipe_in(text)
    assert [s["model"] for s in recipe["slices"][0]["sources"]] == ["first", "second"]
    assert (recipe["base_model"], recipe["tokenizer_source"]) == ("first", "second")
    assert ModelCard(text).data.base_model == ["first", "second"]


def test_an_adapter_on_a_named_base_is_shown_as_it_was_written(folders):
    result = merge(
        {
            "merge_method": "linear",
            "models": [
                {"model": f"{folders / 'base'}+{folders / name}"} for name in ("persona", "agentic")
            ],
        }
    )
    names = [entry["model"] for entry in recipe_in(card_of(result))["models"]]
    assert names == ["base+persona", "base+agentic"]


def test_models_of_the_hub_are_named_by_their_id_and_revision(folders):
    snapshot = folders / "hub" / "models--org--persona" / "snapshots" / "1a2b3c"
    shutil.copytree(folders / "persona", snapshot)
    result = merge(
        {
            "merge_method": "linear",
            "base_model": str(folders / "base"),
            "models": [{"model": str(snapshot)}, {"model": str(folders / "agentic")}],
        }
    )
    sources = list(result.plan.sources)
    sources[0] = replace(sources[0], reference="org/persona@v2")
    recipe = result.plan.recipe.model_copy(deep=True)
    recipe.models[0].model = "org/persona@v2"
    result.plan = replace(result.plan, sources=tuple(sources), recipe=recipe)
    text = card_of(result)
    assert "| org/persona@v2 | adapter | apache-2.0 |" in text
    assert recipe_in(text)["models"][0] == {"model": "org/persona@v2"}
    assert ModelCard(text).data.base_model == ["base", "org/persona", "agentic"]


def test_a_licence_of_no_name_is_left_to_a_person(folders):
    for card in folders.glob("*/README.md"):
        card.write_text(LICENCE.format("other"))
    text = card_of(ties(folders, "persona", "agentic"))
    assert ModelCard(text).data.license == "other"
    assert "set `license` above" in text


@pytest.mark.parametrize("stated", ["mit", None], ids=["another licence", "no card"])
def test_licences_that_do_not_agree_are_left_to_a_person(folders, stated):
    card = folders / "agentic" / "README.md"
    card.write_text(LICENCE.format(stated)) if stated else card.unlink()
    text = card_of(ties(folders, "persona", "agentic"))
    assert f"| agentic | adapter | {stated or NOT_STATED} |" in text
    assert ModelCard(text).data.license == "other"
    assert "set `license` above" in text


@pytest.mark.parametrize(
    ("stated", "found"),
    [
        ("other\nlicense_name: small-1.0", {"license": "other", "license_name": "small-1.0"}),
        ("[mit, apache-2.0]", {"license": ["mit", "apache-2.0"]}),
    ],
)
def test_a_licence_that_all_sources_have_is_the_merges(folders, stated, found):
    for card in folders.glob("*/README.md"):
        card.write_text(LICENCE.format(stated))
    text = card_of(ties(folders, "persona", "agentic"))
    data = ModelCard(text).data.to_dict()
    assert {key: data[key] for key in data if key.startswith("license")} == found
    assert "set `license` above" not in text


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        (LICENCE.format("mit"), "mit"),
        (LICENCE.format("[mit, apache-2.0]"), "mit, apache-2.0"),
        (LICENCE.format("other\nlicense_name: small-1.0"), "other (small-1.0)"),
        (LICENCE.format("other"), "other"),
        ("---\r\nlicense: mit\r\n---\r\n", "mit"),
        (LICENCE.format('"mit | x |\\n# Heading <script>"'), "mit x Heading script"),
        (LICENCE.format("m" * 5000), "m" * 100),
        ("# No front matter\nlicense: mit\n", NOT_STATED),
        ("---\nlicense: mit\n", NOT_STATED),
        ("---\nlanguage: en\n---\n", NOT_STATED),
        (LICENCE.format(""), NOT_STATED),
        (LICENCE.format("[]"), NOT_STATED),
        (LICENCE.format("3"), NOT_STATED),
        (LICENCE.format("{mit: 1}"), NOT_STATED),
        (LICENCE.format('"***"'), NOT_STATED),
        (LICENCE.format("[unclosed"), NOT_STATED),
        ("---\n- a list\n---\n", NOT_STATED),
        (LICENCE.format("!!python/object/apply:os.system ['true']"), NOT_STATED),
    ],
)
def test_a_licence_is_what_a_models_own_card_states(tmp_path, text, licence):
    (tmp_path / "README.md").write_bytes(text.encode())
    assert stated_licence(tmp_path) == licence


def test_a_card_that_is_no_text_states_no_licence(tmp_path):
    (tmp_path / "README.md").write_bytes(b"---\nlicense: \xff\n---\n")
    assert stated_licence(tmp_path) == NOT_STATED
    assert stated_licence(tmp_path / "nowhere") == NOT_STATED
