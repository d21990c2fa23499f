"""How two adapters interfere, layer by layer: nothing is merged and nothing is asked."""

from __future__ import annotations

from mergelab.tables.strategies import PAIRS, adapters
from mergelab.tables.table import Table

TOPS = (0.1, 0.2, 0.5)  # what counts as changed: this share of a tensor's entries, the largest


def interference_table() -> Table:
    """Shares of entries that one or both adapters change, and the cosine, per layer and pair."""
    from mergelab.interference import inspect_models

    rows = []
    for pair in PAIRS:
        for top in TOPS:
            found = inspect_models(list(adapters(pair).values()), top=top)
            for layer in (*found.layers, found.total):
                rows.append(
                    (
                        pair,
                        top,
                        layer.label,
                        layer.entries,
                        layer.untouched,
                        layer.one_only,
                        layer.same_sign,
                        layer.opposite_sign,
                        layer.conflict_mass,
                        layer.cosine,
                        *layer.relative_norms,
                    )
                )
    return Table(
        name="interference",
        title="Interference, layer by layer",
        caption=(
            "Top: an entry counts as changed if it is among this share of a tensor's changes by "
            "magnitude; chance alone would give same and opposite signs in half of top squared "
            "each. Conflict mass: the share of the summed magnitude that opposes the elected sign. "
            "Sizes: the norm of each task vector over the base's. Nothing here is a sample: no "
            "intervals."
        ),
        columns=(
            "pair",
            "top",
            "layer",
            "entries",
            "unchanged",
            "one only",
            "same sign",
            "opposite sign",
            "conflict mass",
            "cosine",
            "persona size",
            "agentic size",
        ),
        rows=tuple(rows),
        keys=3,
        figure="interference.png",
        alt="Shares of same and opposite sign per layer for both pairs, with what chance gives.",
    )
