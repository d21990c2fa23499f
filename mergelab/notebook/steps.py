"""TIES on a handful of entries, every step kept: the numbers behind the stepper and its figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mergelab.methods import disjoint_merge, elect_sign, trim

STEPS = ("the task vectors", "trim", "elect a sign", "merge what agrees")


@dataclass(frozen=True)
class Steps:
    """TIES step by step on the entries shown. Matrices are [sources, entries], vectors [entries].

    `mass` holds, for each entry, the total for plus and the total against it, both at least 0;
    `count` the number of sources on each side. `agrees` marks who takes part in the mean.
    """

    names: tuple[str, ...]
    weights: tuple[float, ...]
    election: str
    raw: Tensor
    trimmed: Tensor
    mass: Tensor
    count: Tensor
    sign: Tensor
    agrees: Tensor
    merged: Tensor
    average: Tensor


def follow(
    vectors: Sequence[Tensor],
    density: float = 0.5,
    weights: Sequence[float] | None = None,
    *,
    election: str = "mass",
    names: Sequence[str] | None = None,
    shown: Sequence[int] | None = None,
) -> Steps:
    """Take task vectors of one shape through trim, elect and merge, keeping every step.

    Whole vectors are trimmed; `shown` are the flat positions to keep for looking at (all of them
    by default). `election` is "mass" or "count".

    Raises `ValueError` as the methods do.

    >>> steps = follow([torch.tensor([0.08]), torch.tensor([-0.05]), torch.tensor([0.12])], 1.0)
    >>> [round(x, 2) for x in steps.mass[:, 0].tolist()], steps.merged
    ([0.2, 0.05], tensor([0.1000]))
    """
    weight = [1.0] * len(vectors) if weights is None else [float(w) for w in weights]
    trimmed = [trim(vector.float(), density) for vector in vectors]
    sign = elect_sign(trimmed, weight, election=election)
    merged = disjoint_merge(trimmed, sign, weight)
    at = list(range(vectors[0].numel())) if shown is None else list(shown)

    def pick(tensor: Tensor) -> Tensor:
        return tensor.float().flatten()[at]

    kept = torch.stack([pick(tensor) for tensor in trimmed])
    votes = kept * torch.tensor(weight)[:, None]
    elected = pick(sign)
    raw = torch.stack([pick(vector) for vector in vectors])
    total = sum(abs(w) for w in weight)
    return Steps(
        names=tuple(names or (f"model {n}" for n in range(1, len(vectors) + 1))),
        weights=tuple(weight),
        election=election,
        raw=raw,
        trimmed=kept,
        mass=torch.stack([votes.clamp(min=0).sum(0), (-votes).clamp(min=0).sum(0)]),
        count=torch.stack([(votes > 0).sum(0), (votes < 0).sum(0)]),
        sign=elected,
        agrees=(votes.sign() == elected) & (elected != 0),
        merged=pick(merged),
        average=(raw * torch.tensor(weight)[:, None]).sum(0) / total if total else raw.sum(0) * 0,
    )


def signed(value: float) -> str:
    """A change with its sign, to two decimals if that is exact, else to three digits.

    >>> signed(0.1), signed(-0.0004321), signed(0.0)
    ('+0.10', '−0.000432', '0')
    """
    if not value:
        return "0"
    text = f"{value:+.2f}" if abs(value - round(value, 2)) < 1e-6 * abs(value) else f"{value:+.3g}"
    return text.replace("-", "−")  # a real minus sign: screen readers skip a hyphen


def story(steps: Steps, entry: int, step: int = len(STEPS)) -> str:
    """What happens to one entry (counted from 0) up to a step (1 to 4), in plain words.

    >>> vectors = [torch.tensor([0.08]), torch.tensor([-0.05]), torch.tensor([0.12])]
    >>> print(story(follow(vectors, 1.0), 0, 3))
    Entry 1: model 1 +0.08, model 2 −0.05, model 3 +0.12. Trim keeps all three. The mass for plus is
    0.2, for minus 0.05: plus is elected.
    """
    sources = range(len(steps.names))
    said = [
        f"Entry {entry + 1}: "
        + ", ".join(f"{steps.names[i]} {signed(float(steps.raw[i, entry]))}" for i in sources)
        + "."
    ]
    if step >= 2:
        said.append(_trim_story(steps, entry))
    if step >= 3:
        said.append(_election_story(steps, entry))
    if step >= 4:
        said.append(_merge_story(steps, entry))
    return " ".join(said)


def _trim_story(steps: Steps, entry: int) -> str:
    here = range(len(steps.names))
    gone = [
        steps.names[i]
        for i in here
        if float(steps.raw[i, entry]) != 0 and float(steps.trimmed[i, entry]) == 0
    ]
    if not gone:
        return (
            f"Trim keeps {'both' if len(here) == 2 else 'all ' + _WORDS.get(len(here), 'of them')}."
        )
    if len(gone) == len(here):
        return "Trim removes every change here."
    return f"Trim removes the change of {' and '.join(gone)}."


_WORDS = {1: "of it", 3: "three", 4: "four"}
_SIGN_WORD = {1: "plus", -1: "minus", 0: "no sign"}


def _election_story(steps: Steps, entry: int) -> str:
    if not bool((steps.trimmed[:, entry] != 0).any()):
        return "Nobody is left to vote, so no sign is elected."
    plus, minus = (float(side) for side in steps.mass[:, entry])
    votes = [int(side) for side in steps.count[:, entry]]
    word = _SIGN_WORD[int(steps.sign[entry])]
    if steps.election == "count":
        result = f"By count it is {votes[0]} for plus, {votes[1]} for minus: {word} is elected"
    else:
        result = f"The mass for plus is {plus:.3g}, for minus {minus:.3g}: {word} is elected"
    other = (votes[0] > votes[1]) - (votes[0] < votes[1])
    if steps.election == "count":
        other = (plus > minus) - (plus < minus)
    if other == int(steps.sign[entry]):
        return result + "."
    rule = "mass" if steps.election == "count" else "count"
    return f"{result}. By {rule} it would be {_SIGN_WORD[other]}."


def _merge_story(steps: Steps, entry: int) -> str:
    agreeing = [steps.names[i] for i in range(len(steps.names)) if bool(steps.agrees[i, entry])]
    value = signed(float(steps.merged[entry]))
    plain = signed(float(steps.average[entry]))
    if not agreeing:
        return f"The merged change is 0; the plain average would be {plain}."
    who = agreeing[0] + " alone" if len(agreeing) == 1 else "the mean of " + " and ".join(agreeing)
    return f"The merged change is {value}, {who}; the plain average would be {plain}."
