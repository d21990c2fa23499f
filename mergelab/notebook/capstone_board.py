"""A leaderboard of merges on fresh items, kept by the learner in a file of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from mergelab.errors import UserError
from mergelab.evaluation.results import Evaluation
from mergelab.notebook.tables import Table
from mergelab.notebook.weights import Changes

SKILLS = ("persona", "agentic", "digest")


def on_fresh_items(
    name: str, change: Mapping[str, Tensor], found: Changes, *, seed: str = "board", items: int = 80
) -> Evaluation:
    """Add a merged change to the base and score it on items drawn for the seed.

    `change` maps tensor names to what is added to the base; `found` holds the base's values.
    """
    import mergelab
    from mergelab.evaluation.generation import generate_replies
    from mergelab.evaluation.results import score_replies
    from mergelab.zoo.fresh import fresh_items

    model, tokenizer = mergelab.load_model("base")
    state = model.state_dict()
    for tensor, delta in change.items():
        state[tensor] = found.base[tensor].float() + delta
    model.load_state_dict(state)
    skills = {}
    for skill in SKILLS:
        asked = fresh_items(skill, seed, items)
        skills[skill] = score_replies(skill, asked, generate_replies(model, tokenizer, asked))
    return Evaluation(name, f"fresh, seed {seed}", skills)


def fits(change: Any, found: Changes) -> bool:
    """Whether a learner's merge can be added to the base: each name, each shape, real numbers.

    >>> import torch
    >>> found = Changes(("a",), {"w": torch.zeros(2)}, {"w": [torch.ones(2)]})
    >>> fits({"w": torch.ones(2)}, found), fits({"w": torch.ones(3)}, found), fits(None, found)
    (True, False, False)
    """
    return (
        isinstance(change, dict)
        and change.keys() == found.base.keys()
        and all(isinstance(each, Tensor) for each in change.values())
        and all(change[name].shape == base.shape for name, base in found.base.items())
        and all(bool(each.isfinite().all()) for each in change.values())
    )


def leaderboard(evaluations: Sequence[Evaluation], file: str | Path | None = None) -> Table:
    """All entries, best first, with intervals, equals on one place; earlier runs' from `file`.

    With a file, what is shown is also written there, one entry for each name and set of items.
    Only entries on the same items share a board: the seed is part of it.

    Raises `UserError` if the file holds something else.
    """
    rows = {(row["name"], row["items"]): row for row in _read(file)}
    for one in evaluations:
        row = _row(one)
        rows[row["name"], row["items"]] = row
    if file is not None:
        text = json.dumps(list(rows.values()), indent=1)
        Path(file).write_text(text + "\n", encoding="utf-8")
    here = {_row(one)["items"] for one in evaluations}
    shown = [row for row in rows.values() if row["items"] in here]
    shown.sort(key=lambda row: (-row["combined"][0], row["name"]))
    scores = [row["combined"][0] for row in shown]
    cells = [  # equal scores share a place
        [
            f"{scores.index(row['combined'][0]) + 1}. {row['name']}",
            *(_rate(row[column]) for column in (*SKILLS, "combined")),
        ]
        for row in shown
    ]
    return Table(
        ["", *SKILLS, "combined"], cells, caption=f"Leaderboard, {', '.join(sorted(here))}"
    )


def _row(one: Evaluation) -> dict[str, Any]:
    count = len(next(iter(one.skills.values())).outcomes)
    intervals = {s: one.skills[s].rate for s in SKILLS} | {"combined": one.combined}
    numbers = {key: [x.estimate, x.low, x.high] for key, x in intervals.items()}
    return {"name": one.model, "items": f"{count} items a skill, {one.split}", **numbers}


def _read(file: str | Path | None) -> list[dict[str, Any]]:
    if file is None or not Path(file).exists():
        return []
    try:
        rows = json.loads(Path(file).read_text(encoding="utf-8"))
        return [{key: row[key] for key in ("name", "items", "combined", *SKILLS)} for row in rows]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{file}: is no leaderboard; delete it or name another file") from None


def _rate(interval: Sequence[float]) -> str:
    estimate, low, high = interval
    return f"{estimate:.3f} [{low:.3f}, {high:.3f}]"
