"""A trial for the judged exercise: one learner's merge of three, asked held-out items.

Answers are kept by what they depend on: the merged change, the skill and the items.
"""

from functools import cache
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from mergelab.zoo.fresh import fresh_items

SKILLS = ("persona", "agentic", "digest")
ADAPTERS = tuple(f"task_api_{skill}" for skill in SKILLS)
ITEMS = 50
DEV = "dev"
SAME = 0.01  # distance over size that two calls of a method may differ by
SHARE = 0.25  # of what the adapter alone gets right on the same items

Deltas = dict[str, list[Tensor]]
_right: dict[tuple[str, str, str], int] = {}


@cache
def real_deltas() -> Deltas:
    """The three shipped adapters' task vectors by tensor name, in the order of `ADAPTERS`."""
    from mergelab.notebook.weights import changes

    return {name: list(three) for name, three in changes(*ADAPTERS).deltas.items()}


def problem_with_merge(value: Any, skill: str, items: str) -> str | None:
    """What is wrong with a merged change, as the rest of a sentence that starts with "it".

    `items`: "dev", or the seed of fresh ones.
    """
    problem = problem_with_form(value)
    if problem:
        return problem
    alone = {name: three[SKILLS.index(skill)] for name, three in real_deltas().items()}
    if _count_right(value, skill, items) < SHARE * _count_right(alone, skill, items):
        return f"keeps less than {SHARE:g} of what the {skill} adapter alone gets right"
    return None


def alike(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Whether two merged changes of the right form are the same, up to what rounding may do.

    >>> change, other = {"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([2.0, 1.0])}
    >>> alike(change, {"w": change["w"] + 1e-6}), alike(change, other)
    (True, False)
    """
    apart = sum(float((first[name] - second[name]).double().square().sum()) for name in first)
    size = sum(float(first[name].double().square().sum()) for name in first)
    return apart <= SAME**2 * size


def problem_with_form(value: Any) -> str | None:
    """What is wrong with a merged change before it is asked anything, or None."""
    if type(value) is not dict:
        return "does not return a dict with one tensor for each name"
    deltas = real_deltas()
    if value.keys() != deltas.keys():
        return "returns other names than those of `deltas`"
    for name, three in deltas.items():
        merged = value[name]
        if type(merged) is not Tensor or merged.shape != three[0].shape:
            return "returns something else than one tensor of the deltas' shape for a name"
        if merged.dtype != torch.float32:
            return f"returns {merged.dtype}, not float32".replace("torch.", "")
        if not bool(merged.isfinite().all()):
            return "returns NaN or infinity"
    return None


def _count_right(change: dict[str, Tensor], skill: str, items: str) -> int:
    digest = sha256()
    for name in sorted(change):
        digest.update(change[name].contiguous().numpy().tobytes())
    key = (digest.hexdigest(), skill, items)
    if key not in _right:
        _right[key] = _ask(change, skill, items)
    return _right[key]


def _ask(change: dict[str, Tensor], skill: str, items: str) -> int:
    from mergelab.evaluation.generation import generate_replies
    from mergelab.evaluation.scorers import score
    from mergelab.evaluation.suites import load_suite

    asked = load_suite(skill, "dev")[:ITEMS] if items == DEV else fresh_items(skill, items, ITEMS)
    model, tokenizer, base = _base()
    state = {name: base[name] + change[name] if name in change else base[name] for name in base}
    model.load_state_dict(state)
    replies = generate_replies(model, tokenizer, asked)
    return sum(score(item, reply).strict for item, reply in zip(asked, replies, strict=True))


@cache
def _base() -> tuple[Any, Any, dict[str, Tensor]]:
    from mergelab.checkpoints.loading import load_model

    model, tokenizer = load_model("base")
    return model, tokenizer, {name: t.clone() for name, t in model.state_dict().items()}
