"""`python -m mergelab.evaluation.coverage_table`: simulate, and write the table of coverage.

It writes `data/tables/coverage.csv`, every cell, and `coverage.md`, the same to read. The seeds are
fixed, so the same versions of numpy and scipy give the same files.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, fields
from pathlib import Path
from statistics import median

from mergelab.evaluation.coverage import (
    ENDS,
    OWN_DIFFERENCE,
    RATES,
    Cell,
    all_cells,
    measured_likeness,
)
from mergelab.evaluation.interval_rules import OTHER_RULES, OWN_RULE
from mergelab.paths import data_path

PROMISED = (0.93, 0.97)
FULL = 1000  # items of a whole suite


def kept(cell: Cell) -> bool | None:
    """Whether a cell keeps the promise of 93 to 97%; None where nothing is promised.

    At a rate of exactly 0 or 1 every draw is the same and the interval always holds the truth.
    """
    if cell.kind == "false lead" or cell.truth in ("0", "1"):
        return None
    return PROMISED[0] <= cell.share <= PROMISED[1]


def write_csv(cells: Sequence[Cell], path: Path) -> None:
    """Write one line per cell."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*(field.name for field in fields(Cell)), "within_93_to_97"])
        for cell in cells:
            row = [f"{v:.4f}" if isinstance(v, float) else v for v in astuple(cell)]
            said = {True: "yes", False: "no", None: ""}[kept(cell)]
            writer.writerow([*row, said])


def as_markdown(cells: Sequence[Cell], alike: dict[str, list[float]]) -> str:
    """Return the table as a page."""
    rates = [cell for cell in cells if cell.kind == "rate"]
    own = [cell for cell in rates if cell.method == OWN_RULE]
    lines = [
        "# How often the 95% intervals hold the truth",
        "",
        "Made by `python -m mergelab.evaluation.coverage_table`, with fixed seeds; every cell is "
        "in `coverage.csv`. Scores are drawn at a known rate for the templates of the shipped test "
        "suites, with their numbers of items. Shares in percent; "
        f"{own[0].replicates:,} draws a cell, so a share of 95 is sure to about "
        f"{196 * (0.95 * 0.05 / own[0].replicates) ** 0.5:.1f} points.",
        "",
        "How alike the items of one template are (intraclass correlation, 0 to 1), in the scores "
        "of `three_skills.json`, median and range over its merges on test: "
        + "; ".join(
            f"{skill} {median(v):.2f} ({min(v):.2f} to {max(v):.2f})" for skill, v in alike.items()
        )
        + ". Hence the values below.",
        "",
        "## Rates",
        "",
        "`rate_interval`: Wilson's interval on the effective number of items.",
        "",
        *_rate_table([cell for cell in own if cell.items == FULL]),
        "",
        _promise([cell for cell in own if cell.items == FULL], "whole suites"),
        "",
        "With `--limit` (first items of the agentic suite), where few items fail or few succeed "
        "the interval errs on the wide side:",
        "",
        *_rate_table([cell for cell in own if cell.items < FULL]),
        "",
        _promise([cell for cell in own if cell.items < FULL], "parts of a suite"),
        "",
        "At a rate of exactly 0 or 1 every draw is the same; an interval there is judged by its "
        "width, which must not be 0. Mean widths at rate 1: "
        + "; ".join(
            f"{cell.suite}, {cell.items} items: {cell.width:.3f}"
            for cell in own
            if cell.truth == "1" and cell.alike == 0.4
        )
        + ".",
        "",
        "## Why this method: others on the agentic suite, alike .4 (500 draws a cell)",
        "",
        *_method_table([cell for cell in rates if cell.suite == "agentic"]),
        "",
        "## Differences of two models on the same items",
        "",
        f"Latent likeness {next(c.alike for c in cells if c.kind == 'difference')}. `related`: how "
        "far the same templates and items are hard for both models.",
        "",
        *_difference_table([cell for cell in cells if cell.kind == "difference"]),
        "",
        _promise(
            [c for c in cells if c.kind == "difference" and c.method == OWN_DIFFERENCE], "`paired`"
        ),
        "",
        "Both suites together, `lead` (true rates on persona, then on agentic):",
        "",
        *_table(
            ["true rates of the two models", "held"],
            [[c.truth, _percent(c)] for c in cells if c.kind == "combined"],
            1,
        ),
        "",
        "## False leads",
        "",
        "Models that are all equally good: how often the one that came out first is called better "
        "than at least one other (percent; it should be 5 or less).",
        "",
        *_lead_table([cell for cell in cells if cell.kind == "false lead"]),
        "",
        "The leader is known only after the scores are seen, so its comparisons are the luckiest "
        "of all pairs, and all pairs have to be paid for.",
        "",
    ]
    return "\n".join(lines)


def _promise(cells: Sequence[Cell], what: str) -> str:
    judged = [cell for cell in cells if kept(cell) is not None]
    out = [cell for cell in judged if not kept(cell)]
    shares = sorted(cell.share for cell in judged)
    text = (
        f"{what[0].upper()}{what[1:]}: {len(judged) - len(out)} of {len(judged)} cells lie between "
        f"93% and 97%; lowest {shares[0]:.2%}, highest {shares[-1]:.2%}."
    )
    if out:
        text += f" Outside: {'; '.join(_place(cell) for cell in out)}."
    return text


def _place(cell: Cell) -> str:
    where = f"{cell.suite}, {cell.items} items, alike {cell.alike:g}"
    return f"{where}, true {cell.truth}: {cell.share:.2%}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> list[str]:
    rule = ["---"] * words + ["---:"] * (len(head) - words)
    return ["| " + " | ".join(row) + " |" for row in (head, rule, *rows)]


def _percent(cell: Cell) -> str:
    return f"**{100 * cell.share:.2f}**" if kept(cell) is False else f"{100 * cell.share:.1f}"


def _rate_table(cells: Sequence[Cell]) -> list[str]:
    truths = [f"{rate:g}" for rate in (0.0, *RATES, 1.0)]
    found = {(c.suite, c.items, c.templates, c.alike, c.truth): _percent(c) for c in cells}
    groups = dict.fromkeys((c.suite, c.items, c.templates, c.alike) for c in cells)
    head = ["suite", "items", "templates", "alike", *truths]
    rows = [[*map(str, group), *(found[(*group, truth)] for truth in truths)] for group in groups]
    return _table(head, rows, 1)


def _method_table(cells: Sequence[Cell]) -> list[str]:
    truths = [f"{rate:g}" for rate in RATES]
    chosen = [cell for cell in cells if cell.items == FULL and cell.alike == 0.4]
    found = {(cell.method, cell.truth): cell for cell in chosen}
    rows = [
        [
            method,
            *(_percent(found[method, truth]) for truth in truths),
            *(f"{found[method, f'{end:g}'].width:.3f}" for end in ENDS),
        ]
        for method in (OWN_RULE, *OTHER_RULES)
    ]
    return _table(["method", *truths, "width at 0", "width at 1"], rows, 1)


def _difference_table(cells: Sequence[Cell]) -> list[str]:
    methods = list(dict.fromkeys(cell.method for cell in cells))
    suites = list(dict.fromkeys(cell.suite for cell in cells))
    found = {(c.method, c.suite, c.truth): _percent(c) for c in cells}
    head = ["true rates", *(f"{suite}: {method}" for method in methods for suite in suites)]
    rows = [
        [truth, *(found[method, suite, truth] for method in methods for suite in suites)]
        for truth in dict.fromkeys(cell.truth for cell in cells)
    ]
    return _table(head, rows, 1)


def _lead_table(cells: Sequence[Cell]) -> list[str]:
    methods = list(dict.fromkeys(cell.method for cell in cells))
    found = {(c.truth, c.method): f"{100 * c.share:.1f}" for c in cells}
    rows = [
        [truth, *(found[truth, method] for method in methods)]
        for truth in dict.fromkeys(cell.truth for cell in cells)
    ]
    return _table(["models", *methods], rows, 1)


def main() -> None:
    """Simulate every cell; write to `data/tables`, or to a folder and with so many processes."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else data_path("tables")
    with ProcessPoolExecutor(int(sys.argv[2]) if len(sys.argv) > 2 else None) as executor:
        cells = all_cells(executor=executor)
    write_csv(cells, folder / "coverage.csv")
    text = as_markdown(cells, measured_likeness())
    (folder / "coverage.md").write_text(text, encoding="utf-8")
    print(f"Written to {folder}: coverage.csv and coverage.md, {len(cells)} cells")


if __name__ == "__main__":
    main()
