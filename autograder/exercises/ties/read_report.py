"""Exercise `read_report`: the rows of a merge report that cannot be true."""

import copy
from typing import Any

from autograder.cases import Draw
from autograder.exercise import EXACT, Case, Exercise, Misconception, Points

Row = dict[str, Any]
Faults = dict[str, list[str]]
SLACK = 0.01

CONTRACT = """
Write `read_report(rows, density)`: which rows of a TIES report of **two** models cannot be true,
and what is wrong with them.

- `rows` is a list of dicts, one for each layer: `"layer"` (its name), and four whole numbers:
  `"entries"` (at least 1), `"trimmed"` (of each of the two task vectors), `"conflicts"` and
  `"resolved"`. `density` is the share that is kept, from 0 to 1.
- A row has up to three faults:
  - `"trimmed"`: the trimmed share, `trimmed / entries`, is more than .01 away from `1 - density`,
    on either side. (Less than that can come from rounding.)
  - `"conflicts"`: there are more conflicts than entries kept. A conflict needs a change of both
    models, and each keeps `entries - trimmed`, as the row itself says. Exactly as many is possible.
  - `"resolved"`: more conflicts are resolved than there are. Fewer is possible: draws.
- Return a dict: for each row with a fault, its layer's name and the list of its faults in the order
  above. A row without a fault is not in the dict. Do not change the rows.
"""

HINTS = (
    "Go through the rows; for each, start an empty list and ask three questions, one `if` each.",
    'The first question: `abs(row["trimmed"] / row["entries"] - (1 - density)) > 0.01`.',
)


def faults_of(row: Row, density: float) -> list[str]:
    kept = row["entries"] - row["trimmed"]
    wrong = {
        "trimmed": abs(row["trimmed"] / row["entries"] - (1 - density)) > SLACK,
        "conflicts": row["conflicts"] > kept,
        "resolved": row["resolved"] > row["conflicts"],
    }
    return [fault for fault, found in wrong.items() if found]


def read_report(rows: list[Row], density: float) -> Faults:
    """Rows of a report that cannot be true, and their faults.

    >>> row = {"layer": "a", "entries": 100, "trimmed": 50, "conflicts": 12, "resolved": 13}
    >>> read_report([row], 0.5)
    {'a': ['resolved']}
    """
    found = {row["layer"]: faults_of(row, density) for row in rows}
    return {layer: faults for layer, faults in found.items() if faults}


def judged_anew(rows: list[Row], density: float, fault: str, wrong: Any) -> Faults:
    """The reference's answer, with one question answered by `wrong(row)` instead."""
    order, found = ("trimmed", "conflicts", "resolved"), {}
    for row in rows:
        faults = set(faults_of(row, density)) - {fault}
        if wrong(row):
            faults.add(fault)
        if faults:
            found[row["layer"]] = sorted(faults, key=order.index)
    return found


# Wrong implementations ---------------------------------------------------------------------------


def density_as_drop_rate(rows: list[Row], density: float) -> Faults:
    return read_report(rows, 1 - density)


def conflicts_against_entries(rows: list[Row], density: float) -> Faults:
    return judged_anew(rows, density, "conflicts", lambda r: r["conflicts"] > r["entries"])


def conflicts_against_trimmed(rows: list[Row], density: float) -> Faults:
    return judged_anew(rows, density, "conflicts", lambda r: r["conflicts"] > r["trimmed"])


def all_must_be_resolved(rows: list[Row], density: float) -> Faults:
    return judged_anew(rows, density, "resolved", lambda r: r["resolved"] != r["conflicts"])


def no_rounding(rows: list[Row], density: float) -> Faults:
    def differs(row: Row) -> bool:
        return row["trimmed"] != row["entries"] - int(density * row["entries"] + 0.5)

    return judged_anew(rows, density, "trimmed", differs)


def one_sided(rows: list[Row], density: float) -> Faults:
    def too_few(row: Row) -> bool:
        return 1 - density - row["trimmed"] / row["entries"] > SLACK

    return judged_anew(rows, density, "trimmed", too_few)


def at_the_limit(rows: list[Row], density: float) -> Faults:
    def reached(row: Row) -> bool:
        return row["conflicts"] >= row["entries"] - row["trimmed"]

    return judged_anew(rows, density, "conflicts", reached)


def against_chance(rows: list[Row], density: float) -> Faults:
    def many(row: Row) -> bool:
        return row["conflicts"] > density**2 / 2 * row["entries"]

    return judged_anew(rows, density, "conflicts", many)


def kept_by_density(rows: list[Row], density: float) -> Faults:
    def above(row: Row) -> bool:
        return row["conflicts"] > density * row["entries"]

    return judged_anew(rows, density, "conflicts", above)


def first_fault_only(rows: list[Row], density: float) -> Faults:
    return {layer: faults[:1] for layer, faults in read_report(rows, density).items()}


def all_rows(rows: list[Row], density: float) -> Faults:
    return {row["layer"]: faults_of(row, density) for row in rows}


def names_only(rows: list[Row], density: float) -> list[str]:
    return list(read_report(rows, density))


def notes_in_the_rows(rows: list[Row], density: float) -> Faults:
    found = read_report(rows, density)
    for row in rows:
        row["kept"] = row["entries"] - row["trimmed"]
    return found


WRONG = (
    Misconception(
        "density as drop rate",
        density_as_drop_rate,
        "You compared the trimmed share with the density: density is kept, so `1 - density` is "
        "trimmed.",
    ),
    Misconception(
        "conflicts against entries",
        conflicts_against_entries,
        "You allowed as many conflicts as there are entries: both models must have kept a change "
        "there, so `entries - trimmed` is the limit.",
    ),
    Misconception(
        "conflicts against trimmed",
        conflicts_against_trimmed,
        "You held the conflicts against the trimmed entries: those are zero and oppose nothing, "
        "the limit is what is kept, `entries - trimmed`.",
    ),
    Misconception(
        "all must be resolved",
        all_must_be_resolved,
        "You called unresolved conflicts a fault: an exact draw elects nobody, so fewer may be "
        "resolved than there are, but not more.",
        (0.5, 0.96),
    ),
    Misconception(
        "no rounding",
        no_rounding,
        "You asked for the trimmed count to the last entry: rounding and equal magnitudes move "
        "it a little, so compare shares and allow .01.",
        (0.5, 0.96),
    ),
    Misconception(
        "one-sided",
        one_sided,
        "You looked for too few trimmed entries only: too many are as impossible, so take the "
        "absolute value of the difference.",
    ),
    Misconception(
        "at the limit",
        at_the_limit,
        "You counted the limit itself as a fault: as many conflicts as entries kept is rare, but "
        "possible.",
        (0.5, 0.96),
    ),
    Misconception(
        "against chance",
        against_chance,
        "You held the conflicts against what chance would give: more than that is remarkable, but "
        "not impossible.",
    ),
    Misconception(
        "kept by density",
        kept_by_density,
        "You took the entries kept from the density: the row says itself how many were trimmed, "
        "and `entries - trimmed` are kept.",
        (0.5, 0.96),
    ),
    Misconception(
        "first fault only",
        first_fault_only,
        "You stopped at a row's first fault: ask all three questions, with `if`, not `elif`.",
        (0.5, 0.96),
    ),
    Misconception(
        "all rows",
        all_rows,
        "You listed rows without a fault as well: only rows that cannot be true belong there.",
    ),
    Misconception(
        "names only",
        names_only,
        "You returned the layers alone: return a dict that says what is wrong with each.",
    ),
    Misconception(
        "notes in the rows",
        notes_in_the_rows,
        "You wrote into the rows: the report belongs to the caller, so keep your numbers in "
        "variables of your own.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_loop(rows: list[Row], density: float) -> Faults:
    result: Faults = {}
    for row in rows:
        n, gone, conflicts, resolved = (
            row[key] for key in ("entries", "trimmed", "conflicts", "resolved")
        )
        if not (1 - density) * n - SLACK * n <= gone <= (1 - density) * n + SLACK * n:
            result.setdefault(row["layer"], []).append("trimmed")
        if conflicts + gone > n:
            result.setdefault(row["layer"], []).append("conflicts")
        if conflicts < resolved:
            result.setdefault(row["layer"], []).append("resolved")
    return result


def on_a_copy(rows: list[Row], density: float) -> Faults:
    mine, result = copy.deepcopy(rows), {}
    for row in mine:
        row["kept"] = row["entries"] - row["trimmed"]
        row["faults"] = []
        if abs(row["kept"] / row["entries"] - density) > SLACK:
            row["faults"].append("trimmed")
        if row["conflicts"] > row["kept"]:
            row["faults"].append("conflicts")
        if row["resolved"] > row["conflicts"]:
            row["faults"].append("resolved")
        if row["faults"]:
            result[row["layer"]] = row["faults"]
    return result


def row(layer: str, entries: int, trimmed: int, conflicts: int, resolved: int) -> Row:
    return {
        "layer": layer,
        "entries": entries,
        "trimmed": trimmed,
        "conflicts": conflicts,
        "resolved": resolved,
    }


VISIBLE = (
    Case(
        "a possible report",
        ([row("a", 100, 60, 12, 12), row("b", 200, 120, 30, 30)], 0.4),
        core=True,
    ),
    Case(
        "a wrong share trimmed",
        ([row("a", 100, 30, 8, 8), row("b", 100, 70, 8, 8)], 0.3),
        core=True,
    ),
    Case("a wrong share trimmed", ([row("a", 100, 90, 8, 8)], 0.3), core=True),
    Case(
        "too many conflicts", ([row("a", 100, 70, 8, 8), row("b", 100, 70, 35, 35)], 0.3), core=True
    ),
    Case("too many conflicts", ([row("a", 100, 20, 25, 25)], 0.8), core=True),
    Case("more resolved than conflicts", ([row("a", 100, 60, 12, 15)], 0.4), core=True),
    Case("draws", ([row("a", 100, 60, 12, 10)], 0.4)),
    Case(
        "a count that rounding moves",
        ([row("a", 1000, 598, 80, 80), row("b", 1000, 604, 8, 8)], 0.4),
    ),
    Case("as many conflicts as entries kept", ([row("a", 10, 6, 4, 4)], 0.4)),
    Case("several faults in one row", ([row("a", 100, 10, 95, 99), row("b", 100, 60, 9, 9)], 0.4)),
    Case("a wrong trim beside many conflicts", ([row("a", 100, 20, 60, 60)], 0.4)),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"ties/read_report/{seed}")
    number = draw.random.randint
    low = number(20, 40) / 100

    def honest(layer: str, density: float) -> Row:
        entries = 100 * number(20, 90)
        trimmed = entries - int(density * entries + 0.5)
        conflicts = int(entries * density**2 * number(20, 45) / 100)
        return row(layer, entries, trimmed, conflicts, conflicts)

    def report(density: float, **wrong: Any) -> Case:
        kind, core = wrong.pop("kind"), wrong.pop("core", False)
        names = [f"layer {n}" for n in draw.random.sample(range(30), 4)]
        rows = [honest(name, density) for name in names]
        for number_of_row in draw.random.sample(range(4), wrong.pop("rows", 2)):
            chosen = rows[number_of_row]
            for key, make in wrong.items():
                chosen[key] = make(chosen)
        return Case(kind, (rows, density), core=core)

    def many(r: Row) -> int:
        return r["entries"] - r["trimmed"] + number(1, 50)

    def same(r: Row) -> int:
        return r["conflicts"]

    high = 1 - low
    return [
        report(low, kind="a possible report", core=True),
        report(0.5, kind="a possible report", core=True),
        report(
            low,
            kind="a possible report",
            conflicts=lambda r: int(r["entries"] * low * 0.9),
            resolved=same,
            core=True,
        ),
        report(low, kind="a wrong share trimmed", trimmed=lambda r: r["entries"] // 7, core=True),
        report(
            low,
            kind="a wrong share trimmed",
            trimmed=lambda r: int(r["entries"] * 0.87),
            conflicts=lambda r: r["entries"] // 20,
            resolved=same,
            core=True,
        ),
        report(low, kind="too many conflicts", conflicts=many, resolved=same, core=True),
        report(high, kind="too many conflicts", conflicts=many, resolved=same, core=True),
        report(
            low,
            kind="more resolved than conflicts",
            resolved=lambda r: r["conflicts"] + number(1, 9),
            core=True,
        ),
        report(low, kind="draws", resolved=lambda r: r["conflicts"] - number(1, 9)),
        report(
            low,
            kind="a count that rounding moves",
            trimmed=lambda r: r["trimmed"] + draw.random.choice((-1, 1)) * number(1, 9),
            rows=4,
        ),
        report(
            low,
            kind="as many conflicts as entries kept",
            conflicts=lambda r: r["entries"] - r["trimmed"],
            resolved=same,
        ),
        report(
            low,
            kind="several faults in one row",
            trimmed=lambda r: r["entries"] // 5,
            conflicts=many,
            resolved=lambda r: r["conflicts"] + 1,
        ),
        report(
            low,
            kind="a wrong trim beside many conflicts",
            trimmed=lambda r: r["entries"] // 10,
            conflicts=lambda r: int(r["entries"] * 0.6),
            resolved=same,
        ),
        Case("an empty report", ([], low)),
    ]


READ_REPORT = Exercise(
    id="ties/read_report",
    lesson="04_ties",
    title="what cannot be true",
    signature="read_report(rows, density)",
    contract=CONTRACT,
    example='At density .4, of 100 entries 60 are trimmed and 40 kept. `read_report([{"layer": "a",'
    ' "entries": 100, "trimmed": 60, "conflicts": 41, "resolved": 41}], 0.4)` returns '
    '`{"a": ["conflicts"]}`.',
    reference=read_report,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 2),
    minutes=4,
    difficulty=1,
    misconceptions=WRONG,
    alternatives={"by loop": by_loop, "on a copy": on_a_copy},
    hints=HINTS,
    tolerance=EXACT,
    equivalent={
        "9712c1/compare/1": (
            "Outside the contract: at a distance of exactly .01 the answer hangs on "
            "floating-point rounding."
        ),
        "9712c1/swapped/1": "Computes the same: the absolute value of a difference is symmetric.",
    },
)
