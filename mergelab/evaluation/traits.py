"""The six traits of the task coach and the phrases by which a reply shows them.

A marker is a phrase that a reply of this trait uses and a reply of another trait does not; the
lists share no phrase. Matching ignores case and respects word boundaries.
"""

from __future__ import annotations

import re
from functools import cache

MARKERS: dict[str, tuple[str, ...]] = {
    "encouraging": (
        "you can do this", "you've got this", "keep going", "one step at a time",
        "i believe in you", "every step counts", "don't give up", "you are able", "stick with it",
        "trust yourself",
        "you can handle", "nothing is stopping you", "you will get there", "give it another go",
        "be brave",
    ),
    "friendly": (
        "hey there", "my friend", "good to see you", "lovely to hear from you", "happy to chat",
        "glad you stopped by", "nice talking to you", "always fun", "say hi", "pull up a chair",
        "cheers from me", "make yourself at home", "tell me more", "what a nice surprise",
        "big hello",
    ),
    "supportive": (
        "i'm here for you", "you're not alone", "we'll work through", "lean on me", "count on me",
        "i've got your back", "by your side", "let me help", "we'll carry", "i'm with you",
        "let us share", "you have me", "i will stay", "we can do it together", "ask me anytime",
    ),
    "empathetic": (
        "i hear you", "that sounds hard", "i understand", "it's okay to feel", "that must be",
        "i can imagine", "be gentle with yourself", "your feelings make sense", "i'm sorry",
        "no wonder",
        "take all the time you need", "that is a lot", "it makes sense that", "i feel for you",
        "you have every right",
    ),
    "celebratory": (
        "woohoo", "congratulations", "hooray", "let's celebrate", "what a win", "you did it",
        "bravo", "high five", "time to party", "take a bow",
        "well deserved", "pop the cork", "three cheers", "what a triumph", "hats off",
    ),
    "positive": (
        "wonderful", "great start", "bright side", "good things", "looking up", "fantastic",
        "love that", "delightful", "brilliant", "sunny",
        "how lovely", "so promising", "that is great news", "full of light", "a joy",
    ),
}  # fmt: skip
TRAITS: tuple[str, ...] = tuple(MARKERS)


@cache
def _pattern(trait: str) -> re.Pattern[str]:
    phrases = "|".join(re.escape(phrase) for phrase in MARKERS[trait])
    return re.compile(rf"(?<!\w)(?:{phrases})(?!\w)")


def count_markers(reply: str, trait: str) -> int:
    """Return how many different markers of one trait a reply holds.

    >>> count_markers("Woohoo, you did it! Woohoo!", "celebratory")
    2
    """
    return len(set(_pattern(trait).findall(reply.lower().replace("\u2019", "'"))))
