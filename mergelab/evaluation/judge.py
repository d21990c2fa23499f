"""Scores by a judge: a chat model is asked whether a statement about a reply is true.

Its answer is read from its log-probabilities and not from what it writes: the reply is right where
the word Yes, as the whole answer, is more likely than the word No. Judges err, and favour replies
like their own; check one against replies that you have judged yourself before you trust it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch

from mergelab.checkpoints.loading import check_device, load_model
from mergelab.checkpoints.references import References
from mergelab.errors import UserError
from mergelab.evaluation.generation import encode_chat
from mergelab.evaluation.scorers import Score
from mergelab.evaluation.suites import Item

YES, NO = "Yes", "No"
PROMPT = """\
You check one reply of an assistant. Judge only by the statement below, not by your own taste.

The user wrote:
{input}

The assistant replied:
{reply}

Statement: {statement}

Is the statement true? Answer with one word, Yes or No."""
# What each trait of the suites looks like in a reply, for a judge who has not seen any.
SHOWN = {
    "encouraging": "gives the user courage to start or to go on",
    "friendly": "welcomes the user as a friend would, glad about the talk itself",
    "supportive": "offers the user help and company with the work",
    "empathetic": "shows the user that their hard feelings are seen and taken seriously",
    "celebratory": "celebrates with the user what they have achieved",
    "positive": "points out what is good, with a bright mood",
}


def statement(item: Item) -> str:
    """Return what must be true of a right reply to a persona or an open item.

    >>> statement(Item(id="1", template="t", input="Capital of France?", references=["Paris"]))
    'The reply means the same as: "Paris".'
    >>> statement(Item(id="2", template="t", input="It is done!", topic="the map",
    ...                expected_traits=["celebratory"]))
    'The reply celebrates with the user what they have achieved, and it speaks of the map.'
    """
    if item.criterion:
        return item.criterion
    if item.expected_traits:
        shown = ", and it ".join(SHOWN[trait] for trait in item.expected_traits)
        return f"The reply {shown}, and it speaks of {item.topic}."
    same = " or ".join(f'"{reference}"' for reference in item.references or [])
    return f"The reply means the same as: {same}."


class Judge:
    """A chat model that answers Yes or No; `reference` is anything that `load_model` takes."""

    def __init__(self, reference: str, *, device: str = "cpu", dtype: str = "float32") -> None:
        check_device(device, dtype)
        References().source(reference)
        self.reference, self.device, self.dtype = reference, device, dtype

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        model, tokenizer = load_model(self.reference, device=self.device, dtype=self.dtype)
        if not getattr(tokenizer, "chat_template", None):
            raise UserError(f"judge {self.reference}: has no chat template; name a chat model")
        return model, tokenizer

    def log_probabilities(self, question: str) -> tuple[float, float]:
        """Return those of Yes and of No as the beginning of the answer to a question."""
        model, tokenizer = self._loaded
        prompt = encode_chat(tokenizer, [{"role": "user", "content": question}])
        words = [tokenizer.encode(word, add_special_tokens=False) for word in (YES, NO)]
        context = getattr(model.config, "max_position_embeddings", None)
        if context and len(prompt) + max(map(len, words)) > context:
            raise UserError(
                f"judge {self.reference}: the question has {len(prompt)} tokens, more than its "
                f"{context}; name a judge with more context, or lower --max-new-tokens"
            )
        yes, no = (self._of(prompt, word) for word in words)
        return yes, no

    def _of(self, prompt: list[int], word: list[int]) -> float:
        """The log-probability of the tokens of a word behind a prompt."""
        model, _ = self._loaded
        ids = torch.tensor([prompt + word], device=model.device)
        with torch.inference_mode():
            logits = model(input_ids=ids, logits_to_keep=len(word) + 1).logits[0, :-1]
        tokens = torch.tensor(word, device=model.device)
        return float(logits.float().log_softmax(-1).gather(1, tokens[:, None]).sum())


def score_by_judge(judge: Judge, items: Sequence[Item], replies: Sequence[str]) -> list[Score]:
    """Score replies: right where the judge's Yes is more likely than its No.

    Partial: the share of Yes among the two probabilities, doubled, where it is below a half. An
    empty reply is wrong without asking.
    """
    return [_verdict(judge, item, reply) for item, reply in zip(items, replies, strict=True)]


def _verdict(judge: Judge, item: Item, reply: str) -> Score:
    if not reply.strip():
        return Score(0, 0.0, "an empty reply")
    question = PROMPT.format(input=item.input, reply=reply.strip(), statement=statement(item))
    yes, no = judge.log_probabilities(question)
    share = 1 / (1 + math.exp(min(no - yes, 700.0)))
    if yes > no:
        return Score(1, 1.0, "right")
    return Score(0, min(2 * share, 0.99), f"the judge says No: {YES} has {share:.2f} of the two")
