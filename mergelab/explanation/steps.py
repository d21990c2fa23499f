"""A method's two halves at one entry, in words and numbers.

Every number shown is taken from what the method's own functions return; only what they do not
return (ranks, masses, who agrees) is counted here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from mergelab.explanation.record import Step, number
from mergelab.explanation.rerun import Rerun
from mergelab.kernels.stages import accepted
from mergelab.methods.dare import dare
from mergelab.methods.della import keep_probability, magprune
from mergelab.methods.gram import angle_between, gram
from mergelab.methods.linear import linear, task_arithmetic, weighted_sum
from mergelab.methods.philox import random_words
from mergelab.methods.pruning import band
from mergelab.methods.sce import sce, select
from mergelab.methods.ties import disjoint_merge, elect_and_merge, elect_sign, trim

_SIGNS = {1: "plus", -1: "minus", 0: "no sign"}


class Told:
    """The steps of one entry (its place in the flat tensor) of a tensor that was merged again.

    `names`: what the inputs are called, `order`: in which order they are shown.
    """

    def __init__(self, run: Rerun, place: int, names: Sequence[str], order: Sequence[int]) -> None:
        self.run, self.place, self.names, self.order = run, place, names, order
        self.weights, self.settings = run.weights, run.tensor.settings

    def at(self, tensor: Tensor) -> float:
        """The tensor's number at this entry."""
        return float(tensor.flatten()[self.place])

    def changes(self) -> Iterator[Step]:
        """What each source changes here, and how large that is among its changes."""
        without_base = self.run.base is None
        for i in self.order:
            change = self.run.changes[i]
            if change is None:
                yield Step("changes", self.names[i], 0.0, "changes nothing in this tensor")
                continue
            said = "its weight; there is no base" if without_base else _rank(change, self.place)
            yield Step(
                "weights" if without_base else "changes", self.names[i], self.at(change), said
            )
        if self.run.in_weights and not without_base:
            for i in self.order:
                said = "base plus change; full weights are merged"
                yield Step("weights", self.names[i], self.at(self.run.inputs[i]), said)

    def prepared(self) -> Iterator[Step]:
        """What the method's first half did: trim, or drop at random."""
        prepare = self.run.plan.method.prepare
        if prepare is None:
            return
        step, tell = _PREPARED.get(prepare, ("prepare", _left))
        for i in self.order:
            yield Step(step, self.names[i], self.at(self.run.prepared[i]), tell(self, i))

    def combined(self) -> Iterator[Step]:
        """What the method's second half did: the vote and the mean, or the terms of a sum."""
        method = self.run.plan.method
        tell = _COMBINED.get(method.combine)
        if tell is None and self.run.factors is not None:
            tell = _combination
        if tell is not None:
            yield from tell(self)
        name = "merged" if self.run.in_weights else "merged change"
        yield Step(name, "", self.at(self.run.combined), f"what {method.name} makes of these")


def _rank(change: Tensor, place: int) -> str:
    magnitude = change.flatten().abs()
    mine = magnitude[place]
    if mine == 0:
        return "leaves this entry as it is"
    larger, ties = int((magnitude > mine).sum()), int((magnitude == mine).sum())
    shared = f", with {ties - 1:,} more of that size" if ties > 1 else ""
    return f"number {larger + 1:,} of {magnitude.numel():,} by magnitude{shared}"


# The first half


def _trimmed(told: Told, i: int) -> str:
    before, after = told.run.inputs[i].flatten(), told.run.prepared[i].flatten()
    kept = before[after != 0].abs()
    mine = abs(float(before[told.place]))
    if mine == 0:
        return "nothing to trim"
    density = f"density {told.run.options[i]['density']:g}"
    if not kept.numel():
        return f"trimmed: nothing of this tensor is kept ({density})"
    low, high = float(kept.min()), float(kept.max())
    of = f"{kept.numel():,} of {before.numel():,} are kept, {density}"
    if mine < low:
        return f"trimmed: below the threshold {low:.6g} ({of})"
    if mine > high:
        return f"trimmed: above {high:.6g}, among the largest, taken for outliers ({of})"
    return f"kept: at or above the threshold {low:.6g} ({of})"


def _draw(told: Told, i: int) -> float:
    own = told.run.options[i]
    word = random_words(1, seed=own["seed"], stream=own["stream"], offset=told.place)
    return int(word[0]) / 2**32


def _dropped(told: Told, i: int) -> str:
    return _fate(told, i, told.run.options[i]["density"], "density")


def _magpruned(told: Told, i: int) -> str:
    own, given = told.run.options[i], told.run.inputs[i]
    probability = keep_probability(given, own["density"], own["epsilon"])
    row = given.abs().reshape(-1, given.shape[-1] if given.dim() else 1)
    row = row[told.place // row.shape[1]]
    rank = int((row > row[told.place % len(row)]).sum()) + 1
    word = f"keep probability of number {rank:,} of {len(row):,} in its row"
    return _fate(told, i, told.at(probability), word)


def _fate(told: Told, i: int, chance: float, what: str) -> str:
    before, after = told.at(told.run.inputs[i]), told.at(told.run.prepared[i])
    draw = _draw(told, i)
    if draw >= chance:
        return f"dropped: drew {draw:.6f}, not below {chance:.6g}, the {what}"
    if before == 0:
        return f"drew {draw:.6f}, below {chance:.6g}, the {what}; nothing to enlarge"
    factor = f"{after / before:.6g}"
    enlarged = "not rescaled" if factor == "1" else f"times {factor}"
    return f"kept: drew {draw:.6f}, below {chance:.6g}, the {what}; {enlarged}"


def _left(told: Told, i: int) -> str:
    return f"what is left of {number(told.at(told.run.inputs[i]))}"


_PREPARED: dict[Callable[..., Tensor], tuple[str, Callable[[Told, int], str]]] = {
    trim: ("trim", _trimmed),
    band: ("trim", _trimmed),
    dare: ("drop", _dropped),
    magprune: ("drop", _magpruned),
}


# The second half


def _terms(told: Told, factors: Sequence[float], tensors: Sequence[Tensor]) -> Iterator[Step]:
    for i in told.order:
        value = told.at(tensors[i])
        said = f"{factors[i]:.6g} × {number(value)}"
        yield Step("terms", told.names[i], factors[i] * value, said)


def _sum(told: Told) -> Iterator[Step]:
    """Linear and task arithmetic: weight times value, added, divided, scaled."""
    run = told.run
    total = linear(run.prepared, told.weights, normalize=False)
    yield from _terms(told, told.weights, run.prepared)
    yield Step("sum", "", told.at(total), "of the terms")
    if told.settings.get("normalize"):
        mean = linear(run.prepared, told.weights)
        by = sum(told.weights)
        yield Step("mean", "", told.at(mean), f"the sum over {by:.6g}, the sum of the weights")
    yield from _scaled(told)


def _scaled(told: Told) -> Iterator[Step]:
    lam = told.settings.get("lam", 1.0)
    if lam != 1:
        yield Step("lambda", "", told.at(told.run.combined), f"times lambda {lam:g}")


def _combination(told: Told) -> Iterator[Step]:
    """Methods whose result is a combination of their inputs by angle and length."""
    products = gram(told.run.prepared)
    for i in range(len(told.names)):
        for j in range(i):
            angle = math.degrees(angle_between(products, j, i))
            between = f"between {told.names[j]} and {told.names[i]}"
            said = f"in degrees, {between}, over the whole tensor"
            if math.isnan(angle):
                angle, said = None, f"none {between}: one of them is zero"
            yield Step("angle", "", angle, said)
    yield from _terms(told, told.run.factors, told.run.prepared)


def _election(told: Told) -> Iterator[Step]:
    """The vote and the mean of what agrees, as in TIES."""
    run = told.run
    options = {"weights": told.weights, **told.settings}
    sign = elect_sign(run.prepared, **accepted(elect_sign, options))
    mean = disjoint_merge(run.prepared, sign, **accepted(disjoint_merge, options))
    election = told.settings.get("election", "mass")
    yield from _vote(told, run.prepared, election, told.at(sign), options.get("zero_sign", "zero"))
    terms = [told.at(t) * w for t, w in zip(run.prepared, told.weights, strict=True)]
    agree = [i for i in told.order if terms[i] * told.at(sign) > 0]
    yield from _mean(told, agree, told.weights, told.settings.get("divisor", "weights"), mean)
    yield from _scaled(told)


def _vote(
    told: Told, tensors: Sequence[Tensor], election: str, elected: float, zero_sign: str
) -> Iterator[Step]:
    votes = [told.at(tensor) for tensor in tensors]
    if election != "mass_unweighted":
        votes = [vote * w for vote, w in zip(votes, told.weights, strict=True)]
    for side, word in ((1, "plus"), (-1, "minus")):
        voters = [i for i in told.order if votes[i] * side > 0]
        who = " and ".join(told.names[i] for i in voters) or "nobody"
        mass = sum(abs(votes[i]) for i in voters)
        counts = election == "count"
        said = f"for {word}, by {'number' if counts else 'mass'}: {who}"
        yield Step("vote", "", float(len(voters)) if counts else mass, said)
    said = f"{_SIGNS[int(elected)]} is elected"
    if elected == 0:
        said = "nobody votes" if not any(votes) else "a draw: no sign is elected"
    elif not any(votes) or sum(_ballots(votes, election)) == 0:
        said = f"a draw, decided by zero_sign: {zero_sign}: {said}"
    yield Step("vote", "", None, said)


def _ballots(votes: Sequence[float], election: str) -> list[float]:
    return [float((v > 0) - (v < 0)) for v in votes] if election == "count" else list(votes)


def _mean(
    told: Told, agree: Sequence[int], weights: Sequence[float], divisor: str, mean: Tensor
) -> Iterator[Step]:
    for i in told.order:
        voted = told.at(told.run.prepared[i]) != 0
        said = "agrees" if i in agree else "overruled" if voted and weights[i] else "has no part"
        yield Step("mean", told.names[i], None, f"{said}, weight {weights[i]:.6g}")
    if not agree:
        yield Step("mean", "", told.at(mean), "nobody agrees, so the merged change is 0")
        return
    by = {
        "weights": f"over {sum(abs(weights[i]) for i in agree):.6g}, the agreeing weights",
        "count": f"over {len(agree)}, how many agree",
        "none": "not divided",
    }[divisor]
    yield Step("mean", "", told.at(mean), f"the sum of what agrees, {by}")


def _sce(told: Told) -> Iterator[Step]:
    """Selection by variance, weights by energy, and the vote by mass."""
    run = told.run
    share = told.settings["select_topk"]
    chosen = select(run.prepared, share)
    varies = torch.stack(run.prepared).double().var(dim=0, unbiased=False)
    kept = any(told.at(tensor) for tensor in chosen)
    said = f"{'kept' if kept else 'set to zero'}: variance between the models, top {share:g} stay"
    yield Step("select", "", told.at(varies), said)
    energy = [float(tensor.double().square().sum()) for tensor in chosen]
    total = sum(energy)
    weights = [e / total if total else 1 / len(energy) for e in energy]
    for i in told.order:
        yield Step("weight", told.names[i], weights[i], "its share of the energy of what stayed")
    sign = 1.0 if told.at(weighted_sum(chosen, [1.0] * len(chosen))) >= 0 else -1.0
    yield from _vote(told, chosen, "mass_unweighted", sign, "positive")
    agree = [i for i in told.order if told.at(chosen[i]) * sign > 0]
    yield from _mean(told, agree, weights, "weights", run.combined)


_COMBINED: dict[Callable[..., Tensor], Callable[[Told], Iterator[Step]]] = {
    elect_and_merge: _election,
    linear: _sum,
    task_arithmetic: _sum,
    sce: _sce,
}
