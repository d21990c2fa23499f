"""Sentences that read a measurement, written from the numbers: a rebuild cannot make them false."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mergelab.evaluation.results import Evaluation, compare
from mergelab.evaluation.statistics import Interval, mean_of_rates, paired_difference
from mergelab.notebook.weights import Fate
from mergelab.report import MergeReport


def beyond_noise(difference: Interval) -> int:
    """+1 for a gain whose interval excludes 0, -1 for such a loss, 0 where one cannot tell.

    >>> beyond_noise(Interval(0.10, 0.04, 0.16)), beyond_noise(Interval(0.02, -0.03, 0.07))
    (1, 0)
    """
    return (difference.low > 0) - (difference.high < 0)


def difference_sentence(
    first: str, second: str, difference: Interval, *, level: float = 0.95
) -> str:
    """What a difference "first minus second" and its interval say; `level` is the interval's.

    >>> print(difference_sentence("TIES", "the average", Interval(0.10, 0.04, 0.16)))
    TIES scores .10 above the average (95% interval +.04 to +.16): more than noise.
    >>> print(difference_sentence("TIES", "the average", Interval(0.10, 0.004, 0.2)))
    TIES scores .10 above the average (95% interval +.004 to +.20): more than noise.
    """
    if abs(difference.estimate) < 0.005:
        gap = f"{first} and {second} score less than .01 apart"
    else:
        side = "above" if difference.estimate > 0 else "below"
        gap = f"{first} scores {_plain(abs(difference.estimate))} {side} {second}"
    word = "more than noise" if beyond_noise(difference) else "these items cannot tell them apart"
    gap = gap[0].upper() + gap[1:]
    return f"{gap} ({100 * level:.3g}% interval {limits(difference)}): {word}."


def limits(difference: Interval) -> str:
    """The two limits of a difference's interval, so that one can see on which side of 0 they are.

    >>> limits(Interval(-0.06, -0.14, -0.0042)), limits(Interval(0.06, 0.0, 0.12))
    ('−.14 to −.004', '0 to +.12')
    """
    return f"{signed_short(difference.low)} to {signed_short(difference.high)}"


def signed_short(value: float, digits: int = 2) -> str:
    """A difference with its sign and no leading zero, to `digits` decimals; more if it is near 0.

    >>> signed_short(0.104), signed_short(-0.0042), signed_short(0.0)
    ('+.10', '−.004', '0')
    """
    # Rounding to 0 would hide the sign, and the sign of a limit decides the verdict.
    while round(value, digits) == 0 and digits < 6:
        digits += 1
    rounded = round(value, digits)
    return ("−" if rounded < 0 else "+") + _plain(abs(rounded), digits) if rounded else "0"


def scale_or_election(scale: Interval, election: Interval) -> str:
    """Which part of TIES' lead over the plain average is size, and which is trim and election.

    `scale`: a sum of TIES' size minus the average; `election`: TIES minus that sum.

    >>> print(scale_or_election(Interval(0.13, 0.09, 0.17), Interval(-0.02, -0.05, 0.01)))
    Size alone gives +.13, more than noise. Trimming and electing signs on top of it give −.02,
    within noise: here the right size explains the lead, and the election neither helps nor hurts
    measurably.
    """
    text = (
        f"Size alone gives {signed_short(scale.estimate)}, {_noise(scale)}. Trimming and electing "
        f"signs on top of it give {signed_short(election.estimate)}, {_noise(election)}: "
    )
    size, vote = beyond_noise(scale), beyond_noise(election)
    if vote > 0:
        return (
            text
            + "here sign election earns its keep"
            + (", beside the right size." if size > 0 else ", and size alone does not.")
        )
    if vote < 0:
        return text + "here the election costs more than it brings; a sum of the right size wins."
    if size > 0:
        return (
            text + "here the right size explains the lead, and the election neither helps nor hurts"
            " measurably."
        )
    if size < 0:
        return text + "here a larger size is a burden, and the election does not make up for it."
    return text + "here neither makes a difference that these items can show."


def conflicts_sentence(report: MergeReport, density: float) -> str:
    """How many sign conflicts two trimmed task vectors have, beside what chance would give.

    Two unrelated vectors trimmed to `density` meet in density² of the entries and oppose in half
    of those.
    """
    total = report.total()
    share, chance = total.conflicts / total.entries, density**2 / 2
    text = f"Conflicts at {share:.1%} of the entries; chance alone would give {chance:.1%}. "
    if abs(share - chance) < 0.15 * chance:
        return text + (
            "Close to chance: the two adapters did not learn to oppose each other, they just do "
            "not know of each other."
        )
    kind = "fewer" if share < chance else "more"
    return text + f"That is {kind} than chance would give: the two adapters are related."


def overruled_sentence(found: Sequence[Fate]) -> str:
    """Which of two sources loses more in elections, and whether it is the smaller one.

    >>> print(overruled_sentence([Fate("a", .9, .05, .05, 2.0), Fate("b", .8, .05, .15, 1.5)]))
    b loses more in elections: 15% of its change, against 5%. Its task vector is the smaller one
    (0.75 times the other): an election by mass favours the louder adapter, right or wrong.
    """
    loser, winner = sorted(found, key=lambda fate: fate.overruled, reverse=True)
    ratio = loser.norm / winner.norm
    text = (
        f"{loser.name} loses more in elections: {loser.overruled:.0%} of its change, against "
        f"{winner.overruled:.0%}. "
    )
    if round(loser.overruled, 2) == round(winner.overruled, 2):
        text = f"Both lose about {loser.overruled:.0%} of their change in elections. "
    if ratio < 0.98:
        return text + (
            f"Its task vector is the smaller one ({ratio:.2f} times the other): an election by "
            "mass favours the louder adapter, right or wrong."
        )
    return text + f"Its task vector is {ratio:.2f} times as large as the other's."


def density_verdict(
    measured: Mapping[float, Evaluation],
    published: Mapping[float, float],
    reference: float = 0.5,
) -> str:
    """Whether density matters as much here as in the published sweep.

    Compares every other density of the published range with `reference`, the published best, on
    the same items; the intervals are widened for the number of comparisons (Bonferroni). Places
    measured between the published ones are named: the verdict says nothing of them.

    Raises `KeyError` if `measured` lacks a density of `published`.
    """
    others = [d for d in sorted(published) if d != reference]
    level = 1 - 0.05 / len(others)
    differences = {d: paired_at(measured[d], measured[reference], level) for d in others}
    best = max(published, key=lambda d: measured[d].combined.estimate)
    spread = _spread([measured[d].combined.estimate for d in published])
    theirs = _spread(list(published.values()))
    clear = [d for d in others if beyond_noise(differences[d])]
    low, high = min(published), max(published)
    text = (
        f"Published: best at {reference:g}, {_plain(theirs)} between best and worst from {low:g} "
        f"to {high:g}. Of these {_count(published)} the best here is {best:g}, {_plain(spread)} "
        "between best and worst. "
    )
    between = _between(measured, published, reference)
    if not clear:
        return text + (
            f"None of {_list(others)} differs from {reference:g} by more than noise: in this range "
            f"the curve is flat, as far as these items can show. The published peak is not "
            f"confirmed.{between}"
        )
    worse = [d for d in clear if differences[d].estimate < 0]
    better = [d for d in clear if differences[d].estimate > 0]
    parts = []
    if worse:
        parts.append(f"{_list(worse)} {_be(worse)} worse than {reference:g} beyond noise")
    if better:
        parts.append(f"{_list(better)} {_be(better)} better than {reference:g} beyond noise")
    said = " and ".join(parts)
    close = "; among them the published peak is confirmed" if len(worse) == len(others) else ""
    return f"{text}{said[0].upper()}{said[1:]}{close}.{between}"


def _between(
    measured: Mapping[float, Evaluation], published: Mapping[float, float], reference: float
) -> str:
    """What the places measured between the published ones say of the best, if there are any."""
    low, high = min(published), max(published)
    extra = [x for x in sorted(measured) if low < x < high and x not in published]
    if not extra:
        return ""
    level = 1 - 0.05 / len(extra)
    above = [
        x for x in extra if beyond_noise(paired_at(measured[x], measured[reference], level)) > 0
    ]
    scores = _list_of([f"{x:g} ({measured[x].combined.estimate:.3f})" for x in extra])
    if above:
        end = (
            f"{_list(above)} {_be(above)} above {reference:g} by more than noise, so the best "
            "place here is not the published one"
        )
    else:
        none = "it is not" if len(extra) == 1 else "none of them is"
        end = f"{none} above {reference:g} by more than noise"
    return f" Measured here as well: {scores}; {end}."


def ends_verdict(measured: Mapping[float, Evaluation], reference: float = 0.5) -> str:
    """What the ends of a density sweep cost against the middle, one sentence each."""
    ends = [min(measured), max(measured)]
    return " ".join(
        difference_sentence(
            f"Density {end:g}",
            f"density {reference:g}",
            compare(measured[end], measured[reference])["combined"],
        )
        for end in ends
    )


def paired_at(first: Evaluation, second: Evaluation, level: float) -> Interval:
    """First minus second, combined scores, with an interval of the given level (0 to 1).

    For several comparisons that share an error of 5%: 1 - 0.05 / their number (Bonferroni).

    Raises `UserError` when the two did not answer the same items.
    """
    compare(first, second)
    return mean_of_rates(
        [
            paired_difference(
                [o.score.strict for o in result.outcomes],
                [o.score.strict for o in second.skills[skill].outcomes],
                [o.item.template for o in result.outcomes],
                level=level,
            )
            for skill, result in first.skills.items()
        ]
    )


def _spread(values: Sequence[float]) -> float:
    return max(values) - min(values)


def _noise(difference: Interval) -> str:
    return "more than noise" if beyond_noise(difference) else "within noise"


def _count(items: Sequence[float] | Mapping[float, float]) -> str:
    return {2: "two", 3: "three", 4: "four", 5: "five"}.get(len(items), str(len(items)))


def _list(densities: Sequence[float]) -> str:
    return _list_of([f"{d:g}" for d in densities])


def _list_of(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _be(items: Sequence[float]) -> str:
    return "is" if len(items) == 1 else "are"


def _plain(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}".removeprefix("0")
