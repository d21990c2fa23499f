"""The scales chosen on dev: the file that keeps them, so that a table need not choose again."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from mergelab.errors import UserError
from mergelab.evaluation.measuring import Measured
from mergelab.tables.strategies import PAIRS, STRATEGIES, choose

FILE = "choices.csv"
HEAD = ("pair", "strategy", "lambda", "dev_items", "dev_combined", "chosen")


def choices_csv(found: Mapping[tuple[str, str, float], Measured]) -> str:
    """Every scale that was tried, with its dev score; `chosen` marks the best."""
    chosen = choose(found)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEAD)
    for (pair, name, scale), measured in found.items():
        shares = [right.count("1") / len(right) for right in measured.right.values()]
        items = len(next(iter(measured.right.values())))
        mark = "yes" if chosen[pair, name] == scale else "no"
        writer.writerow([pair, name, f"{scale:g}", items, f"{sum(shares) / len(shares):.4f}", mark])
    return text.getvalue()


def read_choices(path: Path) -> dict[tuple[str, str], float]:
    """The chosen scales by pair and strategy.

    Raises `UserError` for a file that is not such a table, or lacks a choice.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            found = {
                (row["pair"], row["strategy"]): float(row["lambda"])
                for row in csv.DictReader(file)
                if row["chosen"] == "yes"
            }
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); `mergelab tables --full` makes it"
        ) from None
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: is no table of choices ({error})") from None
    for pair in PAIRS:
        for each in STRATEGIES.values():
            if each.scales and (pair, each.name) not in found:
                raise UserError(
                    f"{path}: has no scale for {each.name} on the {pair} pair; "
                    "`mergelab tables --full` chooses again"
                )
    return found
