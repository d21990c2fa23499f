"""Which scorer judges which skill, chosen by name: strict, free, embedding:NAME, judge:NAME.

A tool call is either the right one or not, and a digest has one form; an encoder and a judge have
nothing to add there. So `embedding` and `judge` judge persona and open items, and leave tool calls
to `free` and digests to `strict`; results say which scorer gave which figure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from mergelab.errors import UserError
from mergelab.evaluation import free_form
from mergelab.evaluation.scorers import Score, score
from mergelab.evaluation.suites import OPEN, SKILLS, Item

Scores = Callable[[Sequence[Item], Sequence[str]], list[Score]]
KINDS = ("strict", "free", "embedding:NAME", "judge:NAME")


@dataclass(frozen=True)
class Part:
    """How one skill is judged: the name that results state, and what gives the scores.

    `needs` names fields of which an item must have one, for this scorer to have something to go by.
    """

    name: str
    scores: Scores
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scorer:
    """A part for each skill."""

    parts: Mapping[str, Part]

    def check(self, items: Sequence[Item]) -> None:
        """Raise `UserError` for the first item that cannot be judged so."""
        for item in items:
            part = self.parts[item.skill]
            if part.needs and not any(getattr(item, field) for field in part.needs):
                fields = " or ".join(f"`{field}`" for field in part.needs)
                raise UserError(
                    f"item {item.id!r}: scorer {part.name} needs {fields}; add it, or take another "
                    "scorer"
                )


def _each(one: Callable[[Item, str], Score]) -> Scores:
    return partial(_one_by_one, one)  # no lambda: a scorer goes to other processes, too


def _one_by_one(
    one: Callable[[Item, str], Score], items: Sequence[Item], replies: Sequence[str]
) -> list[Score]:
    return [one(item, reply) for item, reply in zip(items, replies, strict=True)]


def _parts(**by_skill: Part) -> dict[str, Part]:
    return {skill: by_skill[skill] for skill in (*SKILLS, OPEN)}


_STRICT = Part("strict", _each(score))
_FREE_CALLS = Part("free", _each(free_form.score_call_freely))
STRICT = Scorer(
    _parts(
        persona=_STRICT,
        agentic=_STRICT,
        digest=_STRICT,
        open=Part("strict", _each(score), ("references",)),
    )
)
FREE = Scorer(
    _parts(
        persona=Part("free", _each(free_form.score_persona_freely)),
        agentic=_FREE_CALLS,
        digest=_STRICT,
        open=Part("free", _each(free_form.score_open_freely), ("references",)),
    )
)


def choose_scorer(
    name: str = "strict",
    *,
    threshold: float | None = None,
    device: str = "cpu",
    dtype: str = "float32",
) -> Scorer:
    """Return the scorer of a name; the model of `embedding:NAME` or `judge:NAME` is loaded later.

    NAME is a folder, a shipped model or a hub id; `device` and `dtype` are the model's. `threshold`
    is the least cosine of a right reply, above 0 and at most 1, 0.6 if unsaid; only embedding has
    one. Raises `UserError` for an unknown name, a model that is not there, or a threshold that does
    not fit.

    >>> {skill: part.name for skill, part in choose_scorer("judge:base").parts.items()}
    {'persona': 'judge:base, Yes more likely than No', 'agentic': 'free', 'digest': 'strict',
     'open': 'judge:base, Yes more likely than No'}
    """
    kind, _, model = name.partition(":")
    if threshold is not None and kind != "embedding":
        raise UserError(f"threshold {threshold}: only the scorer embedding:NAME has one")
    if name in ("strict", "free"):
        return STRICT if name == "strict" else FREE
    if kind not in ("embedding", "judge") or not model:
        raise UserError(f"unknown scorer {name!r}; known are {', '.join(KINDS)}")
    part = (
        _embedding(model, threshold, device, dtype)
        if kind == "embedding"
        else _judge(model, device, dtype)
    )
    return Scorer(_parts(persona=part, agentic=_FREE_CALLS, digest=_STRICT, open=part))


def _embedding(model: str, threshold: float | None, device: str, dtype: str) -> Part:
    from mergelab.evaluation.embedding import THRESHOLD, Encoder, score_by_embedding

    least = THRESHOLD if threshold is None else threshold
    if not 0 < least <= 1:
        raise UserError(f"threshold {least}: a cosine above 0 and at most 1")
    encoder = Encoder(model, device=device, dtype=dtype)
    return Part(
        f"embedding:{model}, cosine at least {least:g}",
        partial(score_by_embedding, encoder, threshold=least),
        ("references",),
    )


def _judge(model: str, device: str, dtype: str) -> Part:
    from mergelab.evaluation.judge import NO, YES, Judge, score_by_judge

    judge = Judge(model, device=device, dtype=dtype)
    return Part(
        f"judge:{model}, {YES} more likely than {NO}",
        partial(score_by_judge, judge),
    )
