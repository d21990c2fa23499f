"""Published claims about these methods, beside what the course's models show, with a verdict.

A claim that one merge beats another is tested item by item; all such tests are corrected together
(Holm). A claim about a quantity is held against the measured one within a margin that stands here
before anything is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from mergelab.evaluation.dare_table import Row
from mergelab.evaluation.leads import holm, lead, p_value
from mergelab.evaluation.results import Evaluation, paired_skills
from mergelab.evaluation.statistics import LEVEL, Interval
from mergelab.tables.strategies import p_text
from mergelab.tables.table import Table

LOW, CONFLICT = "low conflict", "conflict"
DEFAULT, BEST = "default", "best on dev"
EXAMPLE = "the course's running example on Llama-3.2-3B"


@dataclass(frozen=True)
class Findings:
    """What claims are held against: test scores by pair, model and setting; two more tables."""

    scores: Mapping[tuple[str, str, str], Evaluation]
    interference: Table
    drops: Sequence[Row]


@dataclass(frozen=True)
class Ahead:
    """The claim that `better` scores above `worse`, both of one pair at one setting each."""

    says: str
    source: str
    published: str
    pair: str
    better: tuple[str, str]
    worse: tuple[str, str]


@dataclass(frozen=True)
class Quantity:
    """The claim that something measured has about a given value."""

    says: str
    source: str
    published: float
    margin: float
    measured: Callable[[Findings], float]


ORDER = (
    ("ties", "dare_ties", ".897 over .887"),
    ("dare_ties", "slerp of weights", ".887 over .881"),
    ("slerp of weights", "linear", ".881 over .867"),
)
AHEAD: tuple[Ahead, ...] = (
    *(
        Ahead(f"{better} beats {worse}, at defaults", EXAMPLE, published, pair,
              (better, DEFAULT), (worse, DEFAULT))
        for pair in (LOW, CONFLICT)
        for better, worse, published in ORDER
    ),
    Ahead("every merge beats the better adapter alone: the plain average does", EXAMPLE,
          ".867 over .629", LOW, ("linear", DEFAULT), ("persona adapter", "alone")),
    Ahead("every merge beats the better adapter alone: the plain average does", EXAMPLE,
          ".867 over .629", CONFLICT, ("linear", DEFAULT), ("persona adapter", "alone")),
    Ahead("resolving conflicts beats a sum of the right size", "Yadav et al. 2023 (TIES)",
          "ties above task arithmetic", CONFLICT, ("ties", BEST), ("task arithmetic", BEST)),
    Ahead("resolving conflicts beats a sum of the right size", "Yadav et al. 2023 (TIES)",
          "ties above task arithmetic", LOW, ("ties", BEST), ("task arithmetic", BEST)),
    Ahead("density .5 beats density .3", EXAMPLE, ".891 over .823", LOW,
          ("ties, density 0.5", DEFAULT), ("ties, density 0.3", DEFAULT)),
    Ahead("density .5 beats density .7", EXAMPLE, ".891 over .854", LOW,
          ("ties, density 0.5", DEFAULT), ("ties, density 0.7", DEFAULT)),
    Ahead("DARE before TIES helps", "Yu et al. 2024 (DARE)", "dare_ties above ties", CONFLICT,
          ("dare_ties", BEST), ("ties", BEST)),
    Ahead("dropping by magnitude beats dropping evenly", "Deep et al. 2024 (DELLA)",
          "della above dare_ties", CONFLICT, ("della", BEST), ("dare_ties", BEST)),
    Ahead("merging in a shared space beats TIES for LoRA", "Stoica et al. 2025 (KnOTS)",
          "knots_ties above ties", CONFLICT, ("knots_ties", BEST), ("ties", BEST)),
    Ahead("singular vectors made orthogonal beat the sum", "Gargiulo et al. 2025 (TSV-Merge)",
          "tsv_merge above task arithmetic", CONFLICT, ("tsv_merge", BEST),
          ("task arithmetic", BEST)),
    Ahead("an even spectrum beats the sum", "Marczak et al. 2025 (Iso-C)",
          "iso_c above task arithmetic", CONFLICT, ("iso_c", BEST), ("task arithmetic", BEST)),
)  # fmt: skip


def _share(columns: tuple[str, ...], top: float) -> Callable[[Findings], float]:
    def measured(findings: Findings) -> float:
        table = findings.interference
        for row in table.rows:
            if row[:3] == (LOW, top, "total"):
                return float(sum(row[table.columns.index(column)] for column in columns))
        raise LookupError(f"the interference table has no row for all layers at top {top}")

    return measured


def _retained(skill: str, density: float) -> Callable[[Findings], float]:
    def measured(findings: Findings) -> float:
        means = {
            row.setting.density: mean(row.rates[skill])
            for row in findings.drops
            if row.setting.label == skill and row.setting.scale == 1 and row.setting.rescale
        }
        return means[density] / means[1.0]

    return measured


_SHARES = (
    ("no overlap: about 70% of the weights", ("unchanged", "one only"), 0.70),
    ("same sign: about 15% of the weights", ("same sign",), 0.15),
    ("opposite sign: about 15% of the weights", ("opposite sign",), 0.15),
)
QUANTITIES: tuple[Quantity, ...] = (
    *(
        Quantity(f"{says} (top {top:.0%} counts as changed)", EXAMPLE, published, 0.05,
                 _share(columns, top))
        for top in (0.2, 0.5)
        for says, columns, published in _SHARES
    ),
    Quantity("70% dropped keeps 88% of the persona skill", EXAMPLE, 0.88, 0.05,
             _retained("persona", 0.3)),
    Quantity("70% dropped keeps 87% of the agentic skill", EXAMPLE, 0.87, 0.05,
             _retained("agentic", 0.3)),
)  # fmt: skip


def claims_table(findings: Findings) -> Table:
    """One row per claim: what was published, what is measured here, and the verdict."""
    scores = findings.scores
    compared = [
        paired_skills(scores[claim.pair, *claim.better], scores[claim.pair, *claim.worse])
        for claim in AHEAD
    ]
    corrected = holm([p_value(each) for each in compared])
    rows: list[tuple[object, ...]] = []
    for claim, each, p in zip(AHEAD, compared, corrected, strict=True):
        difference = lead(each)
        rows.append(
            (
                claim.says,
                claim.pair,
                claim.source,
                claim.published,
                f"{difference.estimate:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]",
                p_text(p),
                claim_verdict(difference, p),
            )
        )
    for quantity in QUANTITIES:
        value = quantity.measured(findings)
        rows.append(
            (
                quantity.says,
                LOW,
                quantity.source,
                f"{quantity.published:g} (± {quantity.margin:g})",
                f"{value:.3f}",
                "",
                quantity_verdict(value, quantity.published, quantity.margin),
            )
        )
    return Table(
        name="claims",
        title="Published claims",
        caption=(
            "Measured: the combined test score of the first minus that of the second, 95% "
            f"interval, p corrected over the {len(AHEAD)} comparisons (Holm). Confirmed: more "
            "than noise in the published direction; not confirmed: more than noise in the "
            "other one; within noise: these items cannot tell. A quantity is confirmed within the "
            "margin in brackets. A claim about another model is not refuted by ours."
        ),
        columns=("claim", "pair", "source", "published", "measured here", "p", "verdict"),
        rows=tuple(rows),
        keys=2,
    )


def quantity_verdict(value: float, published: float, margin: float) -> str:
    """Whether a measured quantity is the published one within the margin, or to which side not.

    >>> quantity_verdict(0.13, 0.15, 0.05), quantity_verdict(0.96, 0.88, 0.05)
    ('confirmed', 'higher here')
    """
    if abs(value - published) <= margin:
        return "confirmed"
    return "higher here" if value > published else "lower here"


def claim_verdict(difference: Interval, p: float) -> str:
    """What a paired difference says of the claim that it is above 0.

    >>> claim_verdict(Interval(0.1, 0.05, 0.15), 0.001)
    'confirmed'
    >>> claim_verdict(Interval(-0.1, -0.15, -0.05), 0.001)
    'not confirmed'
    >>> claim_verdict(Interval(0.01, -0.02, 0.04), 0.5)
    'within noise'
    """
    if p >= 1 - LEVEL:
        return "within noise"
    return "confirmed" if difference.estimate > 0 else "not confirmed"
