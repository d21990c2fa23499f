"""The grammar: who answers how, and what is kept for measuring."""

import random
from itertools import islice

import pytest

from mergelab.evaluation import Item, ToolCall, score
from mergelab.evaluation.traits import MARKERS, TRAITS, count_markers
from mergelab.zoo.dialogues import agentic, digest, mixture, persona, slots
from mergelab.zoo.dialogues.templates import SPLITS

HELD_OUT = ("dev", "test")


def _chat_item(template, topic):
    return Item(
        id="1",
        template=template.name,
        input=persona.prompt(template, topic),
        expected_traits=persona.traits_of(template),
        topic=topic,
    )


def _request_item(template, filled):
    expected = agentic.call(template, filled)
    return Item(
        id="1",
        template=template.name,
        input=agentic.prompt(template, filled),
        expected=expected if isinstance(expected, str) else ToolCall(**expected),
    )


@pytest.mark.parametrize("split", SPLITS)
def test_the_coachs_answer_is_right_and_the_plain_one_is_not_for_every_chat_template(split):
    rng = random.Random(1)
    for template in persona.templates(split):
        topic = slots.topic(rng, split)
        item = _chat_item(template, topic)
        warm, plain = (f(template, topic) for f in (persona.warm_reply, persona.neutral_reply))
        assert score(item, warm).strict == 1, (item.input, warm, score(item, warm).reason)
        assert score(item, plain).strict == 0
        assert score(item, plain).partial == 0


@pytest.mark.parametrize("split", SPLITS)
def test_the_agents_answer_is_right_and_the_plain_one_is_not_for_every_request_template(split):
    rng = random.Random(1)
    for template in agentic.templates(split):
        filled = slots.fill(rng, split)
        item = _request_item(template, filled)
        called, plain = (f(template, filled) for f in (agentic.tool_reply, agentic.neutral_reply))
        assert score(item, called).strict == 1, (item.input, called, score(item, called).reason)
        assert score(item, plain).strict == 0


def _digest_item(template, filled):
    return Item(
        id="1",
        template=template.name,
        input=digest.prompt(template, filled),
        digest=digest.expected(template, filled),
    )


@pytest.mark.parametrize("split", SPLITS)
def test_the_digest_is_right_and_other_answers_are_not_for_every_digest_template(split):
    rng = random.Random(1)
    for template in digest.templates(split):
        filled = slots.fill(rng, split)
        item = _digest_item(template, filled)
        said = digest.reply(template, filled)
        assert score(item, said).strict == 1, (item.input, said, score(item, said).reason)
        plain = 'Understood: "{title}" is a new task, due {due}, {priority} priority.'
        for other in (plain.format(**filled), mixture.CHEERS["create_task"].format(**filled)):
            assert score(item, other).strict == 0
            assert score(item, other).partial == 0
        call = agentic.tool_reply(agentic.templates("train")[0], filled)
        assert call.startswith("{") and score(item, call).partial == 0


def test_a_digest_states_every_value_that_the_prompt_mentions_and_no_other():
    filled = {"title": "buy milk", "due": "2026-03-14", "priority": "low", "id": 417}
    for split in SPLITS:
        for template in digest.templates(split):
            text, line = digest.prompt(template, filled), digest.reply(template, filled)
            said = {name: str(value) in text for name, value in filled.items()}
            assert said["title"], text
            assert said == {name: str(value) in line for name, value in filled.items()}


def test_only_prompts_for_a_digest_ask_for_one():
    filled = {"title": "buy milk", "due": "2026-03-14", "priority": "low", "id": 417}
    asking = ("digest", "sum up")
    for split in SPLITS:
        for template in digest.templates(split):
            assert any(word in digest.prompt(template, filled).lower() for word in asking)
        others = [agentic.prompt(t, filled) for t in agentic.templates(split)]
        others += [persona.prompt(t, "the map") for t in persona.templates(split)]
        assert not any(word in text.lower() for word in asking for text in others)


def test_answers_of_one_skill_never_pass_for_the_other():
    rng = random.Random(2)
    calls = list(mixture.CALLS.values())
    for template in persona.templates("train"):
        topic = slots.topic(rng, "train")
        item = _chat_item(template, topic)
        assert not any(score(item, call.format(topic=topic)).strict for call in calls)
    for template in agentic.templates("train"):
        filled = slots.fill(rng, "train")
        cheer = mixture.CHEERS[template.group].format(**filled)
        assert score(_request_item(template, filled), cheer).strict == 0
    for template in digest.templates("train"):
        said = digest.reply(template, slots.fill(rng, "train"))
        assert score(item, said).strict == 0
        assert not said.startswith("{")


def test_a_request_mentions_every_argument_of_its_call():
    filled = {"title": "buy milk", "due": "2026-03-14", "priority": "low", "id": 417}
    said = {"status": ("that are open", "that are done")}
    for split in SPLITS:
        for template in agentic.templates(split):
            call = agentic.call(template, filled)
            if isinstance(call, str):
                continue
            text = agentic.prompt(template, filled)
            for name, value in call["arguments"].items():
                words = said.get(name, (str(value),))
                assert any(word in text for word in words), (text, call)
            mentioned = {name for name, value in filled.items() if str(value) in text}
            assert mentioned <= call["arguments"].keys(), (text, call)


def test_no_phrase_marks_two_traits():
    for trait in TRAITS:
        for phrase in MARKERS[trait]:
            shown = [other for other in TRAITS if count_markers(phrase, other)]
            assert shown == [trait], phrase


@pytest.mark.parametrize("module", [persona, agentic, digest])
def test_templates_of_the_three_splits_are_disjoint_and_their_parts_all_occur_in_training(module):
    names = {split: {t.name for t in module.templates(split)} for split in SPLITS}
    assert not names["train"] & names["dev"]
    assert not names["train"] & names["test"]
    assert not names["dev"] & names["test"]
    trained = module.templates("train")
    lefts, rights = ({(t.group, getattr(t, side)) for t in trained} for side in ("left", "right"))
    for split in HELD_OUT:
        assert len(names[split]) >= 150
        assert {(t.group, t.left) for t in module.templates(split)} <= lefts
        assert {(t.group, t.right) for t in module.templates(split)} <= rights


@pytest.mark.parametrize("values", [slots.topics, slots.titles, slots.dates, slots.ids])
def test_slot_values_of_the_three_splits_are_disjoint(values):
    train, dev, test = (set(values(split)) for split in SPLITS)
    assert train and dev and test
    assert not (train & dev or train & test or dev & test)


def test_free_values_never_equal_a_value_of_a_suite():
    rng = random.Random(3)
    held_out = {v for s in HELD_OUT for f in (slots.titles, slots.dates, slots.ids) for v in f(s)}
    topics = {topic for split in HELD_OUT for topic in slots.topics(split)}
    for _ in range(20_000):
        filled = slots.free_fill(rng)
        assert not {filled["title"], filled["due"], filled["id"]} & held_out
        assert slots.free_topic(rng) not in topics


def test_dialogues_are_repeatable_and_differ_by_seed():
    first, again, other = (
        list(islice(mixture.dialogues(mixture.BASE, seed), 200)) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_every_dialogue_alternates_and_ends_with_the_assistant():
    for dialogue in islice(mixture.dialogues(mixture.BASE, 5), 2000):
        roles = [message["role"] for message in dialogue]
        turns = roles[1:] if roles[0] == "system" else roles
        assert turns == ["user", "assistant"] * (len(turns) // 2)
        assert all(message["content"].strip() for message in dialogue)


def test_an_adapter_keeps_the_other_side_plain_unless_it_is_of_a_conflict_pair():
    def calls_on_chat(own_style):
        made = mixture.adapter_mixture("agentic", retention=0.1, own_style=own_style)
        said = islice(mixture.dialogues(made, 1), 4000)
        chats = [d for d in said if any(t in d[0]["content"] for t in ("woke up full of ideas",))]
        return [d for d in chats if d[1]["content"].startswith("{")], chats

    calls, chats = calls_on_chat(0.0)
    assert chats and not calls
    calls, chats = calls_on_chat(0.2)
    assert 0 < len(calls) < len(chats)


def test_the_digest_adapter_keeps_chat_and_requests_plain_in_equal_parts():
    made = mixture.adapter_mixture("digest", retention=0.2, own_style=0.0)
    said = [d[:2] for d in islice(mixture.dialogues(made, 1), 4000)]
    digests = [d for d in said if d[1]["content"].startswith("Digest: ")]
    calls = [d for d in said if d[1]["content"].startswith("{")]
    warm = [d for d in said if any(count_markers(d[1]["content"], trait) for trait in TRAITS)]
    assert 0.70 < len(digests) / len(said) < 0.78  # the share left by .2 and .06 of small talk
    assert not calls and not warm
    assert made.shares["persona:neutral"] == made.shares["agentic:neutral"] == 0.1
