"""The shipped suites: what the code makes, and nothing that any model was trained on."""

import re
from itertools import islice

import pytest

from mergelab.evaluation import load_suite
from mergelab.evaluation.suites import SKILLS, SPLITS
from mergelab.paths import data_path
from mergelab.zoo import suites
from mergelab.zoo.dialogues import agentic, digest, mixture, persona
from mergelab.zoo.models import ADAPTERS, BASE_SCHEDULE, BASE_SEED

MODULES = {"persona": persona, "agentic": agentic, "digest": digest}
SUITES = [(skill, split) for skill in SKILLS for split in SPLITS]


@pytest.mark.parametrize(("skill", "split"), SUITES)
def test_a_shipped_suite_is_what_the_code_makes(skill, split):
    shipped = data_path("suites", f"{skill}_{split}.jsonl").read_text("utf-8")
    assert shipped == suites.suite_text(skill, split)


@pytest.mark.parametrize(("skill", "split"), SUITES)
def test_a_suite_has_a_thousand_different_prompts_from_150_templates(skill, split):
    items = load_suite(skill, split)
    assert len(items) == 1000
    assert len({item.input for item in items}) == 1000
    assert len({item.template for item in items}) >= 150
    assert {item.skill for item in items} == {skill}


@pytest.mark.parametrize("skill", SKILLS)
def test_dev_and_test_share_no_template_and_no_prompt(skill):
    dev, test = (load_suite(skill, split) for split in SPLITS)
    assert not {i.template for i in dev} & {i.template for i in test}
    assert not {i.input for i in dev} & {i.input for i in test}


@pytest.mark.parametrize(("skill", "module"), MODULES.items())
def test_no_template_of_a_suite_is_a_training_template(skill, module):
    trained = {template.name for template in module.templates("train")}
    for split in SPLITS:
        assert not {item.template for item in load_suite(skill, split)} & trained


def _training_dialogues():
    """Exactly the dialogues that the models were trained on, and those the tokenizer saw."""
    runs = [(mixture.BASE, BASE_SCHEDULE, BASE_SEED)]
    runs += [(adapter.mixture, adapter.schedule, adapter.seed) for adapter in ADAPTERS]
    for made, schedule, seed in runs:
        yield from islice(mixture.dialogues(made, seed), schedule.steps * schedule.batch)


def test_no_prompt_and_no_held_out_value_of_any_suite_occurs_in_training():
    items = [item for skill, split in SUITES for item in load_suite(skill, split)]
    prompts = {_plain(item.input) for item in items}
    topics = {item.topic for item in items if item.topic}
    calls = [i.expected.arguments for i in items if i.expected and not isinstance(i.expected, str)]
    calls += [item.digest.model_dump(exclude_none=True) for item in items if item.digest]
    titles = {str(arguments["title"]) for arguments in calls if "title" in arguments}
    dates = {str(arguments["due"]) for arguments in calls if "due" in arguments}
    assert topics and titles and dates
    trained = {
        message["content"]
        for dialogue in _training_dialogues()
        for message in dialogue
        if message["role"] == "user"
    }
    assert len(trained) > 50_000
    assert not prompts & {_plain(text) for text in trained}
    everything = "\n".join(trained)
    assert not set(re.findall(r"\d{4}-\d\d-\d\d", everything)) & dates
    # Topics are three words; a training prompt is searched word triple by word triple.
    words = re.findall(r"[\w']+", everything)
    triples = {" ".join(triple) for triple in zip(words, words[1:], words[2:], strict=False)}
    assert not triples & topics
    asked = {text.lower() for text in re.findall(r'"([^"\n]+)"', everything)}
    assert not asked & titles


def _plain(text: str) -> str:
    """A prompt without greeting, case and last mark, so that dressing cannot hide a match."""
    greetings = r"^(hi!|hello\.|hey!|good morning\.|taskmaster!|okay\.) "
    return re.sub(greetings, "", text.lower()).rstrip(".!?")
