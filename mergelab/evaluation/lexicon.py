"""Words and phrases by which a reply in ordinary English shows one of the six traits.

`traits.MARKERS` are the few phrases that the course's own data keep to; a model that was trained
on other data says the same in other words. `LEXICON` adds common ones. A phrase stands in one
trait only. Matching ignores case, respects word boundaries, and reads "I'm" as "I am".
"""

from __future__ import annotations

import re
from functools import cache

from mergelab.evaluation.traits import MARKERS, TRAITS

_MORE: dict[str, tuple[str, ...]] = {
    "encouraging": (
        "you can manage", "you can get", "you can make", "you will manage", "you'll get there",
        "keep at it", "keep it up", "hang in there", "step by step", "small step", "small steps",
        "first step", "next step", "break it down", "capable", "have what it takes",
        "believe in yourself", "have faith in yourself", "making progress", "stay strong",
        "push through", "don't be discouraged", "don't lose heart", "worth the effort",
    ),
    "friendly": (
        "hi there", "hello there", "hey", "welcome back", "nice to hear from you",
        "great to hear from you", "good to hear from you", "great to see you", "nice to see you",
        "how are you", "how have you been", "how is it going", "what's new", "what's up",
        "let's chat", "chat with you", "talk with you", "catch up", "tell me about",
        "i'd love to hear", "fun to talk",
    ),
    "supportive": (
        "here to help", "here for you", "happy to help", "glad to help", "i can help", "i'll help",
        "i'm here", "i'll be here", "not alone", "together", "support you",
        "you can count on", "rely on me", "we can work", "we can tackle", "let's work",
        "let's tackle", "let's figure", "let's look at", "we'll get through",
    ),
    "empathetic": (
        "sorry to hear", "so sorry", "sorry you", "sorry that", "must be hard", "must feel",
        "understandable", "understandably", "normal to feel", "natural to feel", "okay to be",
        "ok to feel", "sounds tough", "sounds difficult", "sounds exhausting", "sounds painful",
        "sounds frustrating", "overwhelming", "exhausting", "painful", "frustrating",
        "your feelings", "feelings are valid", "be kind to yourself", "go easy on yourself",
        "that hurts",
    ),
    "celebratory": (
        "congrats", "well done", "way to go", "celebrate", "celebrating", "celebration",
        "achievement", "accomplishment", "accomplished", "proud of", "nailed it", "kudos",
        "cheers to", "yay", "you made it", "big win", "huge win", "milestone", "good job",
        "great job",
    ),
    "positive": (
        "great", "good news", "excellent", "awesome", "exciting", "excited", "lovely", "bright",
        "enjoy", "enjoying", "enjoyable", "happy for you", "glad to hear", "optimistic", "hopeful",
        "look forward", "looking forward", "promising", "that's good", "sounds good", "sounds fun",
        "beautiful", "inspiring",
    ),
}  # fmt: skip

LEXICON: dict[str, tuple[str, ...]] = {trait: MARKERS[trait] + _MORE[trait] for trait in TRAITS}

_SHORT = (
    (r"\bcan't\b|\bcannot\b", "can not"),
    (r"\bwon't\b", "will not"),
    (r"n't\b", " not"),
    (r"\blet's\b", "let us"),
    (r"\b(it|that|there|here|what|how)'s\b", r"\1 is"),
    (r"'m\b", " am"),
    (r"'re\b", " are"),
    (r"'ve\b", " have"),
    (r"'ll\b", " will"),
    (r"'d\b", " would"),
)
_SENTENCE_END = re.compile(r"(?<=[.!?\u2026])[\"')*_]*\s+|\n+")


def written_out(text: str) -> str:
    """Return a text in lower case, with one kind of apostrophe and contractions written out.

    >>> written_out("I’m here, and you CAN'T lose.")
    'i am here, and you can not lose.'
    """
    text = text.lower().replace("\u2019", "'")
    for short, long in _SHORT:
        text = re.sub(short, long, text)
    return text


@cache
def _pattern(trait: str) -> re.Pattern[str]:
    phrases = sorted({written_out(phrase) for phrase in LEXICON[trait]}, key=len, reverse=True)
    spaced = "|".join(re.escape(phrase).replace(r"\ ", r"\s+") for phrase in phrases)
    return re.compile(rf"(?<!\w)(?:{spaced})(?!\w)")


def sentences(text: str) -> list[str]:
    """Return the sentences of a text: what ends with . ! ? or … before a space, or with a line.

    >>> sentences("Well done! Task 3.5 is over.\\nNext?")
    ['Well done!', 'Task 3.5 is over.', 'Next?']
    """
    return [part.strip() for part in _SENTENCE_END.split(text) if part.strip()]


def sentences_showing(text: str) -> dict[str, int]:
    """Return, for each trait, how many sentences of a text hold one of its words.

    >>> found = sentences_showing("Congrats, well done! I'm so sorry that it hurt.")
    >>> {trait: count for trait, count in found.items() if count}
    {'empathetic': 1, 'celebratory': 1}
    """
    said = [written_out(sentence) for sentence in sentences(text)]
    return {trait: sum(bool(_pattern(trait).search(s)) for s in said) for trait in TRAITS}
