"""What the capstone's table says, in tables and sentences computed from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from mergelab.evaluation.results import Evaluation, compare
from mergelab.methods.gram import cosines, gram
from mergelab.methods.model_stock import interpolation_ratio
from mergelab.notebook.capstone_table import SCALES, Entry, best_on_dev, finals
from mergelab.notebook.result_tables import change
from mergelab.notebook.tables import Table
from mergelab.notebook.verdicts import _plain, beyond_noise, paired_at
from mergelab.notebook.weights import Changes

REFERENCE = "sum"


def finals_table() -> Table:
    """Each method's final on test at the scale chosen on dev, and its difference to the sum.

    A star marks a difference whose interval excludes 0 alone but not once widened for the verdict.
    """
    entries = finals()
    reference = _reference(entries)
    level = _level(len(entries) - 1)
    skills = list(reference.evaluation.skills)
    rows = []
    for entry in entries:
        found = entry.evaluation
        gap = ""
        if entry is not reference:
            alone = compare(found, reference.evaluation)["combined"]
            widened = beyond_noise(paired_at(found, reference.evaluation, level))
            gap = change(alone) + (" *" if beyond_noise(alone) and not widened else "")
        rates = [_plain(found.skills[skill].rate.estimate) for skill in skills]
        scale = "none" if entry.scale is None else f"{entry.scale:g}"
        rows.append(
            [_label(entry, entries), scale, *rates, found.combined, gap, f"{entry.size:.2f}"]
        )
    items = len(next(iter(reference.evaluation.skills.values())).outcomes)
    return Table(
        ["", "scale", *skills, "combined", "minus the sum", "size"],
        rows,
        caption=f"Test split, {items} items a skill, 95% intervals; scales chosen on dev. "
        f"* excludes 0 by itself, but not when widened for {len(entries) - 1} comparisons, as in "
        "the verdict",
    )


def finals_verdict() -> str:
    """Whether any method of the table is ahead of the scaled sum beyond noise.

    The intervals are widened for the number of comparisons; a method with several seeds counts as
    ahead or behind only if each seed is.
    """
    entries = finals()
    reference = _reference(entries)
    others = [entry for entry in entries if entry is not reference]
    level = _level(len(others))
    signs: dict[str, list[int]] = {}
    for entry in others:
        gap = paired_at(entry.evaluation, reference.evaluation, level)
        signs.setdefault(entry.name, []).append(beyond_noise(gap))
    ahead = [name for name, found in signs.items() if min(found) > 0]
    behind = [name for name, found in signs.items() if max(found) < 0]
    open_ = [name for name in signs if name not in ahead + behind]
    text = (
        f"Ahead of the well-scaled sum by more than noise: {', '.join(ahead)}. "
        if ahead
        else "No method here is ahead of the well-scaled sum by more than noise. "
    )
    if behind:
        text += f"Clearly behind it: {', '.join(behind)}. "
    if open_:
        text += f"Not to be told apart from it with these items: {', '.join(open_)}."
    return text.strip()


def edges_sentence() -> str:
    """Which methods were best at the largest or smallest scale that was tried on dev."""
    edge = []
    for name, (_, _, scales) in SCALES.items():
        if len(scales) > 1 and best_on_dev(name).scale in (scales[0], scales[-1]):
            edge.append(name)
    if not edge:
        return "Every method's best scale lies inside the range that was tried."
    return f"Best at the end of the range that was tried: {', '.join(edge)}."


def claims_verdict(published: Sequence[tuple[str, str]]) -> str:
    """For pairs "first is better than second": which hold beyond noise in the table's finals.

    Both names are the table's; of a method with several seeds the first is taken.

    >>> claims_verdict([("sum", "Model Stock")])
    'sum above Model Stock: holds here.'
    """
    entries = {}
    for entry in finals():
        entries.setdefault(entry.name, entry.evaluation)
    words = {1: "holds here", 0: "within noise here", -1: "the reverse holds here"}
    return " ".join(
        f"{first} above {second}: "
        f"{words[beyond_noise(compare(entries[first], entries[second])['combined'])]}."
        for first, second in published
    )


def stock_sentence(found: Changes) -> str:
    """Model Stock's ratio for these task vectors, and the cosines it comes from.

    >>> ones = [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])]
    >>> stock_sentence(Changes(("a", "b"), {"w": torch.zeros(2)}, {"w": ones}))
    'Mean cosine +0.00 between the task vectors, so t is 0.00 on average over 1 tensors: Model Stock
    keeps 0% of the average.'
    """
    ratios, angles = [], []
    for deltas in found.deltas.values():
        ratios.append(interpolation_ratio(deltas))
        table = torch.as_tensor(cosines(gram(deltas)))
        above = torch.triu_indices(len(deltas), len(deltas), offset=1)
        angles.append(float(table[above[0], above[1]].mean()))
    t, cosine = sum(ratios) / len(ratios), sum(angles) / len(angles)
    near = "" if abs(t) < 0.5 else ", which is most of it"
    return (
        f"Mean cosine {cosine:+.2f} between the task vectors, so t is {t:.2f} on average over "
        f"{len(ratios)} tensors: Model Stock keeps {t:.0%} of the average{near}."
    )


def kept_table(merges: Sequence[Evaluation], alone: Mapping[str, Evaluation]) -> Table:
    """For each merge: the share of each skill's best source that it kept, and the worst skill."""
    skills = list(merges[0].skills)
    rows = []
    for merge in merges:
        shares = {
            skill: merge.skills[skill].rate.estimate
            / max(one.skills[skill].rate.estimate for one in alone.values())
            for skill in skills
        }
        worst = min(skills, key=lambda skill: shares[skill])
        below = all(merge.combined.estimate < one.combined.estimate for one in alone.values())
        rows.append(
            [
                merge.model,
                *(f"{shares[skill]:.0%}" for skill in skills),
                worst,
                "yes" if below else "no",
            ]
        )
    return Table(
        ["", *skills, "worst", "below all sources?"],
        rows,
        caption="Share kept of what the adapter alone can do",
    )


def weakest(evaluation: Evaluation) -> str:
    """The skill with the lowest rate."""
    return min(evaluation.skills, key=lambda skill: evaluation.skills[skill].rate.estimate)


def dial_sentence(measured: Mapping[float, Evaluation]) -> str:
    """At which position of a dial each skill is best, and whether they agree."""
    skills = list(next(iter(measured.values())).skills)
    best = {
        skill: max(measured, key=lambda x: measured[x].skills[skill].rate.estimate)
        for skill in skills
    }
    said = ", ".join(f"{skill} at {best[skill]:g}" for skill in skills)
    if len(set(best.values())) == 1:
        return f"Best: {said}. All three want the same scale."
    return f"Best: {said}. They want different scales: one number for all three is a compromise."


def _level(comparisons: int) -> float:
    return 1 - 0.05 / comparisons


def _reference(entries: Sequence[Entry]) -> Entry:
    return next(entry for entry in entries if entry.name == REFERENCE)


def _label(entry: Entry, entries: Sequence[Entry]) -> str:
    several = sum(other.name == entry.name for other in entries) > 1
    return f"{entry.name}, seed {entry.seed}" if several else entry.name
