"""The figure of the overview table: sources and merges of both pairs, skill by skill."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from mergelab.evaluation.overview import PAIRS, Row
from mergelab.notebook.style import SOURCE_OF, new_figure, styled


@styled
def overview_plot(rows: Sequence[Row]) -> Figure:
    """A panel per pair: each model's rates on the two skills, with their intervals."""
    markers = {"persona": "o", "agentic": "s"}

    figure = new_figure(10, 3.6)
    panels = figure.subplots(1, len(PAIRS), sharex=True)
    for panel, pair in zip(panels, PAIRS, strict=True):
        shown = [row for row in rows if row.pair in ("", pair)]
        for place, row in enumerate(shown):
            for shift, (skill, result) in zip(
                (-0.13, 0.13), row.evaluation.skills.items(), strict=True
            ):
                rate = result.rate
                panel.errorbar(
                    rate.estimate,
                    place + shift,
                    xerr=[[rate.estimate - rate.low], [rate.high - rate.estimate]],
                    fmt=markers[skill],
                    color=SOURCE_OF[skill],
                    label=skill if place == 0 else None,
                    capsize=2,
                    linewidth=1.2,
                    clip_on=False,
                )
        panel.set_yticks(range(len(shown)), [row.name for row in shown])
        panel.set_xlim(0, 1)
        panel.set_ylim(len(shown) - 0.5, -0.5)
        panel.set_title(f"{pair} pair")
        panel.set_xlabel("share of held-out prompts answered right")
    panels[0].legend(loc="upper center", title="skill")
    return figure
