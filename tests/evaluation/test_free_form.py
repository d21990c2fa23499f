"""Persona replies in free words, judged by sentences; each rule has a reply that breaks it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergelab.evaluation import Item, load_suite
from mergelab.evaluation.free_form import score_open_freely, score_persona_freely
from mergelab.evaluation.lexicon import LEXICON, sentences, sentences_showing, written_out
from mergelab.evaluation.traits import TRAITS
from mergelab.zoo.references import with_references

PARTY = Item(
    id="1",
    template="t",
    input="I finished Anna's climate map!",
    expected_traits=["celebratory"],
    topic="Anna's climate map",
)
MIXED = PARTY.model_copy(update={"expected_traits": ["empathetic", "encouraging"]})


@pytest.mark.parametrize(
    ("item", "reply"),
    [
        (PARTY, "Congratulations on finishing the climate map! You should be so proud of it."),
        (PARTY, "Well done!! A map of the climate is no small thing."),
        (PARTY, "Way to go\nYour CLIMATE MAP is done"),
        (PARTY, "**Congrats!** I’m happy for you, and Anna's climate map deserves a celebration."),
        (MIXED, "I'm so sorry, that sounds exhausting. Take the climate map step by step."),
        (
            MIXED,
            "It is understandable to be tired, but I know you've got this, climate map or not.",
        ),
    ],
)
def test_a_right_reply_in_words_of_its_own_scores(item, reply):
    score = score_persona_freely(item, reply)
    assert (score.strict, score.partial, score.reason) == (1, 1.0, "right")


@pytest.mark.parametrize(
    ("item", "reply", "reason"),
    [
        (PARTY, "Noted: the climate map is done.", "shows nothing celebratory"),
        (PARTY, "", "shows nothing celebratory"),
        (PARTY, "A welldone, congratsy climate map.", "shows nothing celebratory"),
        (PARTY, "Well done! What a map.", "does not speak of the topic: 'climate'"),
        (PARTY, "Well done! Your climate maps are here.", "does not speak of the topic: 'map'"),
        (
            PARTY,
            "Congrats on the climate map. I'm so sorry. That must be hard. It sounds painful.",
            "shows empathetic in more sentences than celebratory",
        ),
        (MIXED, "I'm sorry to hear that about the climate map.", "shows nothing encouraging"),
        (PARTY, 'Congrats on the climate map! {"tool": "list_tasks"}', "a tool call in a chat"),
    ],
)
def test_a_wrong_reply_gets_its_reason_and_less_than_a_whole(item, reply, reason):
    score = score_persona_freely(item, reply)
    assert score.strict == 0
    assert 0 <= score.partial < 1
    assert reason in score.reason


def test_braces_alone_are_no_tool_call():
    assert score_persona_freely(PARTY, "Congrats on the climate map {smiles}!").strict == 1


def test_no_phrase_stands_for_two_traits_and_none_stands_twice():
    plain = {trait: [written_out(p) for p in LEXICON[trait]] for trait in TRAITS}
    for trait in TRAITS:
        for other in TRAITS:
            if other != trait:
                assert not set(plain[trait]) & set(plain[other]), (trait, other)


@given(st.sampled_from(TRAITS), st.data())
def test_every_phrase_shows_its_trait_in_any_case_and_contracted_or_not(trait, data):
    phrase = data.draw(st.sampled_from(LEXICON[trait]))
    for text in (phrase, phrase.upper(), written_out(phrase), phrase.replace("'", "’")):
        assert sentences_showing(f"So, {text}, and on.")[trait] == 1
        assert sentences_showing(f"So x{text}x")[trait] == 0


def test_sentences_are_counted_not_words():
    found = sentences_showing("Great, great, great! How lovely. Version 1.5 is out.")
    assert found["positive"] == 2
    assert sentences("One. Two? Three!\n\nFour") == ["One.", "Two?", "Three!", "Four"]


def test_the_grammars_own_replies_are_right_and_the_prompts_themselves_are_not():
    items = with_references(load_suite("persona", "dev"))
    own = [score_persona_freely(item, item.references[0]).strict for item in items]
    echo = [score_persona_freely(item, item.input).strict for item in items]
    neutral = [score_persona_freely(item, f"Noted: {item.topic}.").strict for item in items]
    assert sum(own) / len(own) > 0.95
    assert sum(echo) / len(echo) < 0.1
    assert sum(neutral) == 0


def test_an_open_item_wants_one_of_its_references_but_for_case_and_full_stop():
    item = Item(
        id="1", template="t", input="Capital of France?", references=["Paris", "It's Paris"]
    )
    for reply, right in (("paris.", 1), ("it’s  Paris", 1), ("Paris, France", 0), ("", 0)):
        assert score_open_freely(item, reply).strict == right
