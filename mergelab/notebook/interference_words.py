"""Sentences and tables on interference, written from the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from mergelab.evaluation.results import Evaluation
from mergelab.evaluation.statistics import Interval, paired_difference
from mergelab.notebook.interference_views import (
    AS_COACH,
    IN_CHAT,
    Cosine,
    Ledger,
    Shares,
    by_layer,
    cosine,
    ledger,
    manner_marks,
    overlap_curve,
    shares_by_chance,
    wrong_manner,
)
from mergelab.notebook.steps import signed
from mergelab.notebook.tables import Table
from mergelab.notebook.ten import NAMES, ten_parameters
from mergelab.notebook.verdicts import beyond_noise, limits
from mergelab.notebook.weights import Changes

# A share this close to chance, in parts of chance, is called close to it.
CLOSE = 0.15


def ten_table(rows: Mapping[str, Tensor | None] | None = None, *, models: int = 2) -> Table:
    """The ten parameters of the course, and below them what each method makes of them.

    `rows` maps a method's name to its merged changes, or to None for a row still to be filled in.

    >>> "+0.015" in repr(ten_table({"average": sum(ten_parameters()) / 2}))
    True
    """
    whole = dict(zip(NAMES, ten_parameters(models), strict=False)) | dict(rows or {})
    cells = [
        [name, *(["…"] * 10 if row is None else [signed(round(x, 4)) for x in row.tolist()])]
        for name, row in whole.items()
    ]
    return Table(["entry", *range(1, 11)], cells)


def layer_table(found: Changes, share: float = 0.2) -> Table:
    """A row for each layer: overlap at one share, mass of the conflict, cosine; chance last."""
    rows = []
    for label, part in {**by_layer(found), "all layers": found}.items():
        overlap, account = overlap_curve(part, [share])[share], ledger(part)
        shares = (overlap.neither, overlap.one_only, overlap.same, overlap.opposite)
        rows.append(
            [label, *(f"{x:.1%}" for x in shares), f"{account.mass:.1%}", _cosine(cosine(part))]
        )
    chance, coin, spread = shares_by_chance(share), ledger(found).mass_by_coin, cosine(found).chance
    rows.append(
        [
            "chance",
            *(f"{x:.1%}" for x in (chance.neither, chance.one_only, chance.same, chance.opposite)),
            f"{coin:.1%}",
            f"0 ± {2 * spread:.3f}",
        ]
    )
    heads = ["", "neither", "one only", "same direction", "opposite", "conflict mass", "cosine"]
    return Table(
        heads,
        rows,
        caption=f"Changed: the top {share:.0%} of each tensor's magnitudes",
        strong=[len(rows) - 2],
    )


def _cosine(found: Cosine) -> str:
    return f"{found.value:+.3f}".replace("-", "−")


def overlap_verdict(
    curve: Mapping[float, Shares], published: tuple[float, float, float] = (0.70, 0.15, 0.15)
) -> str:
    """Where the published shares are met, if anywhere, and what chance alone gives there.

    `curve` as from `overlap_curve`, fine enough to read a share off; `published`: no overlap, same
    direction, opposite.

    >>> print(overlap_verdict({q / 100: shares_by_chance(q / 100) for q in range(5, 61)}))
    The share without overlap falls from 100% (top 5% count as changed) to 64% (top 60%), so the
    answer is whatever the definition makes it. It passes the published 70% where the top 55%
    count: there, 15% have the same direction and 15% are opposite (published: 15% and 15%). Two
    task vectors that know nothing of each other would give 70%, 15% and 15% there. The published
    shares are met, and they are those of chance.
    """
    least, most = min(curve), max(curve)
    text = (
        f"The share without overlap falls from {curve[least].no_overlap:.0%} (top {least:.0%} "
        f"count as changed) to {curve[most].no_overlap:.0%} (top {most:.0%}), so the answer is "
        "whatever the definition makes it. "
    )
    if not curve[most].no_overlap <= published[0] <= curve[least].no_overlap:
        return text + f"It never passes the published {published[0]:.0%}: not confirmed here."
    at = min(curve, key=lambda q: abs(curve[q].no_overlap - published[0]))
    here, chance = curve[at], shares_by_chance(at)
    text += (
        f"It passes the published {published[0]:.0%} where the top {at:.0%} count: there, "
        f"{here.same:.0%} have the same direction and {here.opposite:.0%} are opposite "
        f"(published: {published[1]:.0%} and {published[2]:.0%}). Two task vectors that know "
        f"nothing of each other would give {chance.no_overlap:.0%}, {chance.same:.0%} and "
        f"{chance.opposite:.0%} there. "
    )
    met = max(abs(here.same - published[1]), abs(here.opposite - published[2])) < 0.02
    by_chance = max(abs(here.same - chance.same), abs(here.opposite - chance.opposite)) < 0.02
    if met and by_chance:
        return text + "The published shares are met, and they are those of chance."
    if met:
        return text + "The published shares are met, and chance would not give them."
    return text + "The published split into same and opposite is not confirmed here."


def chance_sentence(curve: Mapping[float, Shares], share: float = 0.2) -> str:
    """How measured overlap at one share compares with chance.

    >>> print(chance_sentence({0.2: shares_by_chance(0.2)}))
    Top 20%: opposite 2.0%, by chance 2.0%; same direction 2.0%, by chance 2.0%. Both are close to
    chance: where one adapter made its larger changes says next to nothing about the other.
    """
    here, chance = curve[share], shares_by_chance(share)
    text = (
        f"Top {share:.0%}: opposite {here.opposite:.1%}, by chance {chance.opposite:.1%}; same "
        f"direction {here.same:.1%}, by chance {chance.same:.1%}. "
    )
    gaps = [here.opposite / chance.opposite - 1, here.same / chance.same - 1]
    if max(map(abs, gaps)) < CLOSE:
        return text + (
            "Both are close to chance: where one adapter made its larger changes says next to "
            "nothing about the other."
        )
    more = " and ".join(
        f"{name} {'more' if gap > 0 else 'less'} often"
        for name, gap in zip(("opposite", "in the same direction"), gaps, strict=True)
        if abs(gap) >= CLOSE
    )
    return text + f"They are {more} than chance would have it: the two adapters are related."


def ledger_sentence(found: Ledger) -> str:
    """What the conflict costs a sum, and what agreement gives back.

    >>> print(ledger_sentence(Ledger(0.48, 0.13, 0.135, 0.27, 0.29, 0.28)))
    Opposite signs in 48% of all entries. What is cancelled there, the smaller sides counted once,
    is 13% of the mass; signs thrown by a coin would give 14%. In a sum, entries of opposite sign
    take away 27% of the squared norm, and entries of equal sign give 29% back: what is left is
    102%. The sum is as large as that of two vectors at a right angle: on balance, nothing cancels.
    """
    text = (
        f"Opposite signs in {found.opposing:.0%} of all entries. What is cancelled there, the "
        f"smaller sides counted once, is {found.mass:.0%} of the mass; signs thrown by a coin "
        f"would give {found.mass_by_coin:.0%}. In a sum, entries of opposite sign take away "
        f"{found.taken:.0%} of the squared norm, and entries of equal sign give {found.given:.0%} "
        f"back: what is left is {found.left:.0%}. "
    )
    if abs(found.left - 1) < 0.05:
        return text + (
            "The sum is as large as that of two vectors at a right angle: on balance, nothing "
            "cancels."
        )
    if found.left < 1:
        return text + "On balance, the two cancel in part."
    return text + "On balance, the two reinforce each other."


def cosine_sentence(parts: Sequence[Cosine], whole: Cosine) -> str:
    """Whether cosines are beyond chance, and whether that matters.

    >>> print(cosine_sentence([Cosine("layer 0", 0.02, 0.002)], Cosine("all layers", 0.02, 0.002)))
    The cosine is +0.020, an angle of 88.9 degrees; chance stays within ±0.004 (two standard
    deviations). Beyond that in 1 of 1 layers. So it is no accident, but small: nearly a right
    angle.
    """
    beyond = sum(abs(each.value) > 2 * each.chance for each in parts)
    text = (
        f"The cosine is {_cosine(whole)}, an angle of {whole.angle:.1f} degrees; chance stays "
        f"within ±{2 * whole.chance:.3f} (two standard deviations). Beyond that in {beyond} of "
        f"{len(parts)} layers. "
    )
    clear, small = abs(whole.value) > 2 * whole.chance, abs(whole.value) < 0.1
    if not clear:
        return text + "So these two lie as any two vectors would that know nothing of each other."
    if small:
        return text + "So it is no accident, but small: nearly a right angle."
    side = "the same way" if whole.value > 0 else "opposite ways"
    return text + f"So the two point {side} more than chance would have it."


def shares_and_scores(
    shares: Sequence[Shares],
    accounts: Sequence[Ledger],
    scores: Sequence[Evaluation],
    difference: Interval,
) -> str:
    """Whether overlap and conflict mass told two pairs apart whose averages were scored alike.

    `shares`, `accounts`, `scores`: the first pair's, then the second's; `difference`: first score
    minus second, on the same items.
    """
    gap = max(abs(shares[0].opposite - shares[1].opposite), abs(shares[0].same - shares[1].same))
    first, second = (each.combined.estimate for each in scores)
    text = (
        f"Opposite: {shares[0].opposite:.1%} and {shares[1].opposite:.1%}; same direction: "
        f"{shares[0].same:.1%} and {shares[1].same:.1%}. Combined score of the average: "
        f"{first:.2f} and {second:.2f}, a difference of {abs(first - second):.2f} (95% interval "
        f"{limits(difference)}). "
    )
    clear = beyond_noise(difference)
    if not clear:
        return text + "These items cannot tell the two merges apart, so nothing is predicted."
    if gap >= 0.005:
        text += "Shares and scores both differ here; two pairs are too few for a rule. "
    else:
        text += (
            "Nearly the same shares, clearly different merges: the shares do not predict the "
            "quality of the merge. "
        )
    worse, better = (accounts[1], accounts[0]) if clear > 0 else (accounts[0], accounts[1])
    text += f"Conflict mass: {worse.mass:.1%} in the pair with the worse merge, {better.mass:.1%} "
    text += "in the other. "
    if worse.mass > better.mass * (1 + CLOSE):
        return text + "That points the right way."
    if worse.mass <= better.mass:
        return text + "That does not predict it either: the worse merge has no more of it."
    return text + "That is too close to predict it."


def manner_sentence(
    first: Sequence[Evaluation],
    second: Sequence[Evaluation],
    names: tuple[str, str] = ("first pair", "conflict pair"),
) -> str:
    """Whether two pairs of adapters differ in how often they reply in their own manner.

    `first` and `second`: the same adapters in the same order, each scored on the other's prompts.
    """
    parts, clear = [], False
    for one, two in zip(first, second, strict=True):
        for manner in (IN_CHAT, AS_COACH):
            if manner not in wrong_manner(one):
                continue
            marks, clusters = manner_marks(one, manner)
            others, _ = manner_marks(two, manner)
            gap = paired_difference(others, marks, clusters)
            clear = clear or beyond_noise(gap) > 0
            parts.append(
                f"{manner[0].upper()}{manner[1:]}: {wrong_manner(one)[manner]:.0%} in the "
                f"{names[0]}, {wrong_manner(two)[manner]:.0%} in the {names[1]} "
                f"({'more than noise' if beyond_noise(gap) else 'within noise'})."
            )
    end = (
        f"So one look at behaviour marks the {names[1]} as the difficult one before anything is "
        "merged."
        if clear
        else "So this look at behaviour does not tell the pairs apart either."
    )
    return " ".join([*parts, end])


def manner_table(evaluations: Sequence[Evaluation], *, caption: str = "") -> Table:
    """A row for each model: how often it replies in the other skill's manner."""
    found = [wrong_manner(each) for each in evaluations]
    heads = list(dict.fromkeys(head for row in found for head in row))
    rows = [
        [each.model, *(f"{row[head]:.0%}" if head in row else "" for head in heads)]
        for each, row in zip(evaluations, found, strict=True)
    ]
    return Table(["", *heads], rows, caption=caption)
