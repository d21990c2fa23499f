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
from mergelab.kernels.operands import accepted
from mergelab.methods.dare import dare
from mergelab.methods.della import keep_probability, magprune
from mergelab.methods.gram import angle_between, gram
from mergelab.methods.linear import linear, task_arithmetic, weighted_sum
from mergelab.methods.philox import random_words
from mergelab.methods.pruning import band
from mergelab.methods.sce import energy_weights, sce, select
from mergelab.methods.ties import disjoint_merge, elect_and_merge, elect_sign, is_unweighted
from mergelab.methods.trimming import trim

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
    own = told.run.options[i]
    before, after, place = told.run.inputs[i], told.run.prepared[i], told.place
    if own.get("trim_scope") == "row" and before.dim() > 1:
        row, place = divmod(place, before.shape[-1])
        before, after = (t.reshape(-1, t.shape[-1])[row] for t in (before, after))
    before, after = before.flatten(), after.flatten()
    kept, mine = before[after != 0].abs(), abs(float(before[place]))
    if mine == 0:
        return "nothing to trim"
    of = f"{kept.numel():,} of {before.numel():,} are kept, density {own['density']:g}"
    low = own.get("threshold", float(kept.min()) if kept.numel() else math.inf)
    if mine < low:
        return f"trimmed: below the threshold {low:.6g} ({of})"
    if not after[place]:
        high = float(kept.max())
        return f"trimmed: above {high:.6g}, among the largest, taken for outliers ({of})"
    return f"kept: at or above the threshold {low:.6g} ({of})" + _enlarged(told, i)


def _enlarged(told: Told, i: int) -> str:
    factor = f"{told.at(told.run.prepared[i]) / told.at(told.run.inputs[i]):.6g}"
    return "" if factor == "1" else f"; times {factor}"


def _draw(told: Told, i: int) -> float:
    own = told.run.options[i]
    word = random_words(1, seed=own["seed"], stream=own["stream"], offset=told.place)
    return int(word[0]) / 2**32


def _dropped(told: Told, i: int) -> str:
    return _fate(told, i, told.run.options[i]["density"], "density")


def _magpruned(told: Told, i: int) -> str:
    given = told.run.inputs[i]
    probability = keep_probability(given, **accepted(keep_probability, told.run.options[i]))
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
    drew = f"drew {draw:.6f}, below {chance:.6g}, the {what}"
    if before == 0:
        return f"{drew}; nothing to keep"
    if after == 0:
        return f"{drew}, but trimmed afterwards, among the smaller ones of what was left"
    return f"kept: {drew}" + (_enlarged(told, i) or "; not enlarged")


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
    run, weights = told.run, told.weights
    options = {"weights": weights, **told.settings}
    election = options.get("election", "mass")
    options["unweighted"] = is_unweighted(election)
    sign = elect_sign(run.prepared, **accepted(elect_sign, options))
    mean = disjoint_merge(run.prepared, sign, **accepted(disjoint_merge, options))
    votes = [told.at(tensor) for tensor in run.prepared]
    if not is_unweighted(election):
        votes = [vote * w for vote, w in zip(votes, weights, strict=True)]
    elected = told.at(sign)
    by_count = election.startswith("count")
    yield from _vote(told, votes, by_count, elected, options.get("zero_sign", "zero"))
    agree = [i for i in told.order if votes[i] * elected > 0]
    yield from _mean(told, agree, weights, options.get("divisor", "weights"), mean)
    yield from _scaled(told)


def _vote(
    told: Told, votes: Sequence[float], by_count: bool, elected: float, zero_sign: str
) -> Iterator[Step]:
    sides = []
    for side, word in ((1, "plus"), (-1, "minus")):
        voters = [i for i in told.order if votes[i] * side > 0]
        who = " and ".join(told.names[i] for i in voters) or "nobody"
        sides.append(float(len(voters)) if by_count else sum(abs(votes[i]) for i in voters))
        said = f"for {word}, by {'number' if by_count else 'mass'}: {who}"
        yield Step("vote", "", sides[-1], said)
    said = f"{_SIGNS[int(elected)]} is elected"
    if elected == 0:
        said = "a draw: no sign is elected" if any(votes) else "nobody votes"
    elif sides[0] == sides[1]:
        said = f"a draw, decided by zero_sign, {zero_sign}: {said}"
    yield Step("vote", "", None, said)


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
        "signed_weights": f"over {sum(weights[i] for i in agree):.6g}, the agreeing weights",
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
    weights = energy_weights(chosen, told.settings["energy_floor"])
    for i in told.order:
        yield Step("weight", told.names[i], weights[i], "its share of the energy of what stayed")
    votes = [told.at(tensor) for tensor in chosen]
    sign = 1.0 if told.at(weighted_sum(chosen, [1.0] * len(chosen))) >= 0 else -1.0
    yield from _vote(told, votes, False, sign, "positive")
    agree = [i for i in told.order if votes[i] * sign > 0]
    yield from _mean(told, agree, weights, "weights", run.combined)


_COMBINED: dict[Callable[..., Tensor], Callable[[Told], Iterator[Step]]] = {
    elect_and_merge: _election,
    linear: _sum,
    task_arithmetic: _sum,
    sce: _sce,
}
