"""Sentences that read what random drops did, written from the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mergelab.notebook.dare_rolls import Clash, Noise, Rolls, TableRow
from mergelab.notebook.tables import Table

# Of a skill's score: what still counts as "the skill is kept".
KEPT = 0.95


def ninety_verdict(rows: Sequence[TableRow]) -> str:
    """Whether 90% and 99% of an adapter can go, from the lines of single adapters at scale 1."""
    said = []
    for model in dict.fromkeys(row.models for row in rows):
        by = {row.density: row.mean for row in rows if row.models == model and row.rescale}
        bare = {row.density: row.mean for row in rows if row.models == model and not row.rescale}
        safe = [d for d in by if by[d] >= KEPT * by[1.0]]
        items = next(row.items for row in rows if row.models == model)
        text = (
            f"{model.capitalize()} scores {by[1.0]:.2f} whole, {by[0.1]:.2f} with 90% dropped and "
            f"{by[0.01]:.2f} with 99% dropped ({items} items). Of the shares tried, "
            f"{1 - min(safe):.0%} is the largest that can go without more than 5% of its skill "
            "being lost"
        )
        if 0.5 in bare:
            text += f"; without rescaling, dropping 50% leaves {bare[0.5]:.2f}"
        said.append(text + ".")
    found: dict[str, list[str]] = {}
    for density, share in ((0.1, "90%"), (0.01, "99%")):
        found.setdefault(_held(rows, density), []).append(share)
    said += [f"That {' or '.join(shares)} can go {word}." for word, shares in found.items()]
    return " ".join(said)


def _held(rows: Sequence[TableRow], density: float) -> str:
    """For how many adapters a rescaled drop to this density keeps the skill."""
    singles = [row for row in rows if row.rescale]
    held = [
        row.mean
        >= KEPT * next(w.mean for w in singles if w.models == row.models and w.density == 1)
        for row in singles
        if row.density == density
    ]
    if all(held):
        return "is confirmed here"
    return "holds for one of the two here" if any(held) else "is not confirmed here"


def pair_verdict(
    rows: Sequence[TableRow], published: Mapping[str, Mapping[float, float]], density: float = 0.3
) -> str:
    """What share of a merged pair's skills a drop keeps here, beside what was published."""
    said = []
    for method in dict.fromkeys(row.method for row in rows):
        parts = []
        for skill in published:
            by = {r.density: r.mean for r in rows if r.method == method and r.skill == skill}
            parts.append(
                f"{skill} {by[density] / by[1.0]:.0%} ({by[1.0]:.2f} to {by[density]:.2f})"
            )
        items = next(r.items for r in rows if r.method == method)
        said.append(
            f"At density {density:g}, {method} keeps of the same merge at density 1: "
            f"{' and '.join(parts)}, {items} items a skill."
        )
    top = {skill: max(theirs.values()) for skill, theirs in published.items()}
    at = {skill: theirs[density] for skill, theirs in published.items()}
    low, high = min(next(iter(published.values()))), max(next(iter(published.values())))
    agree = all(
        _of(rows, method, skill, high) > _of(rows, method, skill, low)
        for method in dict.fromkeys(row.method for row in rows)
        for skill in published
    )
    said.append(
        f"Published at density {density:g}: "
        + " and ".join(
            f"{skill} {at[skill]:.2f} ({at[skill] / top[skill]:.0%} of the best of its sweep)"
            for skill in at
        )
        + f". The shape, {low:g} clearly below {high:g}, is "
        + ("the same here." if agree else "not the same here.")
    )
    return " ".join(said)


def _of(rows: Sequence[TableRow], method: str, skill: str, density: float) -> float:
    return next(r.mean for r in rows if (r.method, r.skill, r.density) == (method, skill, density))


def scaled_verdict(rows: Sequence[TableRow], density: float = 0.3) -> str:
    """Whether larger adapters stand the same drop worse."""
    said, worse = [], []
    for model in dict.fromkeys(row.models for row in rows):
        mine = [row for row in rows if row.models == model and row.rescale]
        kept = {}
        for scale in sorted({row.scale for row in mine}):
            by = {row.density: row.mean for row in mine if row.scale == scale}
            kept[scale] = by[density] / by[1.0]
        said.append(
            f"{model.capitalize()} with {1 - density:.0%} dropped keeps "
            + ", ".join(f"{share:.0%} at {scale:g} times its size" for scale, share in kept.items())
            + "."
        )
        worse.append(kept[max(kept)] < kept[1.0])
    said.append(
        "The larger the change, the less gracefully it stands a drop."
        if all(worse)
        else "Size does not explain it for both adapters here."
    )
    return " ".join(said)


def noise_sentence(found: Noise) -> str:
    """What one drop rate does, weight by weight and in a layer's output.

    >>> print(noise_sentence(Noise(0.9, 3.0, 0.8, 0.1)))
    At a drop rate of 90% the noise in a single weight is 3.0 times its change. In an output of the
    layer it is 0.80 times what the adapter adds there, and 10% of the whole output. The sum over
    many entries has averaged out 73% of it.
    """
    text = (
        f"At a drop rate of {found.drop_rate:.0%} the noise in a single weight is "
        f"{found.weight:.1f} times its change. In an output of the layer it is {found.change:.2f} "
        f"times what the adapter adds there, and {found.output:.0%} of the whole output. "
    )
    ratio = found.change / found.weight
    if ratio > 0.95:
        return text + "Here the sum over many entries has averaged out next to nothing."
    return text + f"The sum over many entries has averaged out {1 - ratio:.0%} of it."


def clash_sentence(before: Clash, after: Clash, density: float) -> str:
    """What a drop does to conflicts, by count and by what they cancel.

    >>> print(clash_sentence(Clash(0.5, 0.2), Clash(0.045, 0.06), 0.3))
    Conflicts at 50.0% of the entries before the drop and at 4.5% after it: the drop makes them
    fewer, by about density squared (0.09). But the survivors are enlarged. Together the conflicts
    cancelled 20.0% of all change before, and 6.0% after: that fell by less, about as the density
    (0.3).
    """
    count = after.entries / before.entries
    amount = after.cancelled / before.cancelled
    text = (
        f"Conflicts at {before.entries:.1%} of the entries before the drop and at "
        f"{after.entries:.1%} after it: the drop makes them fewer"
    )
    text += (
        f", by about density squared ({density**2:.2g}). "
        if abs(count - density**2) < 0.2 * density**2
        else f", by a factor of {count:.2g}. "
    )
    text += (
        f"But the survivors are enlarged. Together the conflicts cancelled {before.cancelled:.1%} "
        f"of all change before, and {after.cancelled:.1%} after: "
    )
    if amount > count * 1.5:
        text += "that fell by less"
        return text + (
            f", about as the density ({density:g})."
            if abs(amount - density) < 0.2 * density
            else "."
        )
    return text + "that fell as much as their number."


def rolls_table(rolls: Sequence[Rolls]) -> Table:
    """A row for each merge: the mean over its seeds on each skill, the spread, the size."""
    skills = list(rolls[0].results[0].skills)
    result = next(iter(rolls[0].results[0].skills.values()))
    rows = [
        [
            each.name,
            len(each.results),
            *(f"{each.mean(skill):.3f}" for skill in skills),
            *([f"{each.mean():.3f}"] if len(skills) > 1 else []),
            f"{each.spread():.3f}" if len(each.results) > 1 else "",
            f"{each.size:.2f}",
        ]
        for each in rolls
    ]
    return Table(
        ["", "seeds", *skills, *(["combined"] if len(skills) > 1 else []),
         "spread from seed to seed", "size"],
        rows,
        caption=f"{rolls[0].results[0].split.capitalize()} split, {len(result.outcomes)} items a "
        "skill",
    )  # fmt: skip


def spread_sentence(first: Rolls, second: Rolls) -> str:
    """The gap between two merges against what changes from one seed to the next."""
    gap = first.mean() - second.mean()
    reach = max(max(r.rates()) - min(r.rates()) for r in (first, second))
    ahead, behind = (first, second) if gap >= 0 else (second, first)
    wrong = sum(a < b for a in ahead.rates() for b in behind.rates())
    pairs = len(ahead.rates()) * len(behind.rates())
    text = (
        f"On average '{ahead.name}' leads '{behind.name}' by {abs(gap):.3f}. From seed to seed one "
        f"merge moves by up to {reach:.3f}. With one seed for each, {wrong} of {pairs} pairs would "
        "have shown the other one ahead"
    )
    return text + (
        ": never compare random methods by one seed." if wrong else ", so here one seed would do."
    )


def speed_sentence(plain: float, dropped: float) -> str:
    """Whether a merge with a drop is quicker than one without, from seconds measured side by side.

    >>> print(speed_sentence(1.0, 2.4))
    The drop makes the merge slower, not faster: random numbers have to be made for every entry, and
    zeros are added like any other number.
    """
    if dropped > 1.1 * plain:
        return (
            "The drop makes the merge slower, not faster: random numbers have to be made for every "
            "entry, and zeros are added like any other number."
        )
    if dropped < 0.9 * plain:
        return "The drop makes the merge faster here."
    return "The drop changes the time of a merge by less than a tenth."
